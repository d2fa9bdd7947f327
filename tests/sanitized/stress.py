"""Many threads on one connection, and every kind of use, against a real broker.

For an extension built with sanitizers:

python stress.py URL SECONDS
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import logging
import os
import random
import sys
import threading
import time
from typing import Any

from support.subject import exceptions, pika

HANG_SECONDS = 40
BODIES = (b"", b"x", b"y" * 5_000, bytearray(b"z" * 20_000), b"w" * 400_000)


class Garbage:
    """A cycle whose end uses a channel: the collector runs it anywhere, in the middle of a frame too."""

    def __init__(self, channel: Any, queue: str) -> None:
        self.channel, self.queue, self.itself = channel, queue, self

    def __del__(self) -> None:
        with contextlib.suppress(exceptions.AMQPError):
            self.channel.basic_publish("", self.queue, b"from a finalizer")


def publish(connection: Any, queue: str, stop: threading.Event, rng: random.Random) -> None:
    """Publishes with confirms on a channel of its own, and asks for answers between."""
    channel = connection.channel()
    channel.confirm_delivery()
    while not stop.is_set():
        channel.basic_publish("", queue, rng.choice(BODIES), pika.BasicProperties(headers={"a": [1, "b"]}))
        if rng.random() < 0.1:
            with contextlib.suppress(exceptions.UnroutableError):
                channel.basic_publish("", "cpika-test-nowhere", b"back", mandatory=True)
        if rng.random() < 0.1:
            channel.queue_declare(queue, passive=True)
    channel.close()


def share(channel: Any, queue: str, stop: threading.Event, rng: random.Random) -> None:
    """Requests on a channel that others use as well."""
    while not stop.is_set():
        method, _, _ = channel.basic_get(queue)
        if method is not None:
            channel.basic_ack(method.delivery_tag)
        assert channel.queue_declare(queue, passive=True).method.queue == queue
        channel.basic_publish("", queue, rng.choice(BODIES))


def open_and_close(connection: Any, queue: str, stop: threading.Event, rng: random.Random) -> None:
    """Channels come and go, some closed by the broker."""
    while not stop.is_set():
        channel = connection.channel()
        if rng.random() < 0.5:
            channel.close()
            continue
        with contextlib.suppress(exceptions.ChannelClosedByBroker):
            channel.queue_declare("cpika-test-nowhere", passive=True)


def consume(connection: Any, queue: str, end: float, rng: random.Random) -> int:
    """Dispatches in this thread until `end`, with callbacks that do all that they may."""
    channel = connection.channel()
    channel.basic_qos(prefetch_count=50)
    seen = 0

    def on_message(ch: Any, method: Any, properties: Any, body: bytes) -> None:
        nonlocal seen
        seen += 1
        repr(properties.headers)
        Garbage(ch, queue)
        ch.basic_ack(method.delivery_tag)
        if rng.random() < 0.02:
            connection.process_data_events()
        if rng.random() < 0.02:
            raise LookupError
        if rng.random() < 0.01:
            ch.stop_consuming()

    while time.monotonic() < end:
        if not channel.consumer_tags:
            channel.basic_consume(queue, on_message)
        with contextlib.suppress(LookupError):
            connection.process_data_events(0.05)
    channel.close()
    return seen


def main(url: str, seconds: float) -> None:
    logging.disable()
    faulthandler.dump_traceback_later(seconds + HANG_SECONDS, exit=True)
    gc.set_threshold(60)
    queue = f"cpika-test-stress-{os.getpid()}"
    connection = pika.BlockingConnection(pika.URLParameters(url))
    shared = connection.channel()
    shared.queue_declare(queue, exclusive=True, arguments={"x-max-length": 200})
    stop = threading.Event()
    errors: list[BaseException] = []

    def run(work: Any, first: Any, seed: int) -> None:
        try:
            work(first, queue, stop, random.Random(seed))
        except BaseException as error:
            errors.append(error)
            raise

    works = [publish, publish, publish, open_and_close, share, share, share]
    threads = [
        threading.Thread(target=run, args=(work, shared if work is share else connection, seed))
        for seed, work in enumerate(works)
    ]
    for thread in threads:
        thread.start()
    seen = 0
    try:
        seen = consume(connection, queue, time.monotonic() + seconds, random.Random(99))
    finally:
        stop.set()
    for thread in threads:
        thread.join()
    connection.close()
    assert not errors, errors
    print(f"{seen} messages")


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
