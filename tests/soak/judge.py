"""Looks at queues with pika itself, past the proxies: who judges is not who is judged."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import pika

QUEUE_LIFE = {"x-expires": 120_000}  # ms; what a case leaves behind goes by itself


class Judge:
    """A connection of pika's to a broker.

    :param url: its AMQP URL
    """

    def __init__(self, url: str) -> None:
        parameters = pika.URLParameters(url)
        parameters.heartbeat = 0
        self.connection: Any = pika.BlockingConnection(parameters)
        self.channel: Any = self.connection.channel()

    def close(self) -> None:
        """Ends it."""
        self.connection.close()

    def take(self, queue: str, wanted: Iterable[bytes], seconds: float) -> list[tuple[bytes, bool]]:
        """What stands in the queue, (body, redelivered) each, until all that is wanted was there.

        It gives up after so many seconds.
        """
        missing = set(wanted)
        taken: list[tuple[bytes, bool]] = []
        deadline = time.monotonic() + seconds
        while True:
            method, _, body = self.channel.basic_get(queue, auto_ack=True)
            if method is not None:
                taken.append((body, method.redelivered))
                missing.discard(body)
            elif not missing or time.monotonic() > deadline:
                return taken
            else:
                time.sleep(0.005)  # the broker says nothing when a message is requeued

    def consume_all(self, queue: str, count: int, seconds: float) -> list[bytes]:
        """The bodies in the queue, in order, until so many have come or nothing more does for so long."""
        bodies: list[bytes] = []
        if count == 0:
            return bodies
        for method, _, body in self.channel.consume(queue, auto_ack=True, inactivity_timeout=seconds):
            if method is None:
                break
            bodies.append(body)
            if len(bodies) == count:
                break
        self.channel.cancel()
        return bodies

    def delete(self, queue: str) -> None:
        """Deletes the queue, if it is there."""
        self.channel.queue_delete(queue)
