"""The scenarios of the thread-safe Connection, for pika's main branch and, unchanged, for cpika."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable
from queue import SimpleQueue
from types import ModuleType
from typing import Any

from common import DROP, Job, stats_queue
from loop_scenarios import CONFIRM_WINDOW
from pika_scenarios import busy_thread

PATIENCE = 120.0
"""Seconds that a call may take: pika's answers wait behind all that was published before."""


def connect(pika: ModuleType, job: Job) -> Any:
    module = importlib.import_module(f"{pika.__name__}.adapters.thread_safe_connection")
    return module.Connection(pika.URLParameters(job.url))


def counter(channel: Any, name: str) -> int:
    frame = channel.queue_declare(stats_queue(name), passive=True, timeout=PATIENCE)
    return frame.method.message_count  # type: ignore[no-any-return]


def thread_scenarios(pika: ModuleType) -> dict[str, Callable[[Job], None]]:
    def publish(job: Job) -> None:
        """From `--threads` threads, each on a channel of its own."""
        body = job.body
        with connect(pika, job) as connection:
            channels = [connection.channel() for _ in range(job.threads)]
            share, rest = divmod(job.count, job.threads)
            began = threading.Barrier(job.threads + 1)

            def work(channel: Any, count: int) -> None:
                began.wait()
                for _ in range(count):
                    channel.basic_publish("", DROP, body)

            threads = [
                threading.Thread(target=work, args=(channel, share + (i < rest)))
                for i, channel in enumerate(channels)
            ]
            for thread in threads:
                thread.start()
            began.wait()
            job.start()
            for thread in threads:
                thread.join()
            # Each channel's messages are behind each other only.
            arrived = max(counter(channel, "publishes") for channel in channels)
            job.stop()
            job.expect("publishes", arrived)

    def publish_beside_thread(job: Job) -> None:
        with connect(pika, job) as connection, busy_thread():
            channel = connection.channel()
            body = job.body
            job.start()
            for _ in range(job.count):
                channel.basic_publish("", DROP, body)
            arrived = counter(channel, "publishes")
            job.stop()
            job.expect("publishes", arrived)

    def consume(job: Job, ack: bool) -> None:
        left = job.count
        ended = threading.Event()

        def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
            nonlocal left
            if ack:
                channel.basic_ack(method.delivery_tag)
            left -= 1
            if not left:
                ended.set()

        with connect(pika, job) as connection:
            channel = connection.channel()
            job.start()
            channel.basic_consume(job.queue(), on_message, auto_ack=not ack)
            ended.wait()
            acks = counter(channel, "acks")
            job.stop()
            job.expect("acks", acks, job.count if ack else 0)

    def consume_auto(job: Job) -> None:
        consume(job, ack=False)

    def consume_ack(job: Job) -> None:
        """Acknowledged by the thread that runs the callbacks."""
        consume(job, ack=True)

    def confirms(job: Job) -> None:
        """Some publishes under way: each confirm's callback publishes the next message."""
        body = job.body
        unsent = unconfirmed = job.count
        ended = threading.Event()

        def on_confirm(_frame: Any) -> None:
            nonlocal unsent, unconfirmed
            unconfirmed -= 1
            if unsent:
                unsent -= 1
                channel.basic_publish("", DROP, body)
            elif not unconfirmed:
                ended.set()

        with connect(pika, job) as connection:
            channel = connection.channel()
            channel.confirm_delivery(on_confirm)
            first = min(CONFIRM_WINDOW, unsent)
            unsent -= first
            job.start()
            for _ in range(first):
                channel.basic_publish("", DROP, body)
            ended.wait()
            job.stop()
            job.expect("confirms", counter(channel, "confirms"))

    def confirm(job: Job) -> None:
        """One by one: the publishing thread waits for the callback."""
        body = job.body
        confirmed: SimpleQueue[Any] = SimpleQueue()
        with connect(pika, job) as connection:
            channel = connection.channel()
            channel.confirm_delivery(confirmed.put)
            job.start()
            for _ in range(job.count):
                channel.basic_publish("", DROP, body)
                confirmed.get()
            job.stop()
            job.expect("confirms", counter(channel, "confirms"))

    def declare(job: Job) -> None:
        with connect(pika, job) as connection:
            channel = connection.channel()
            job.start()
            for _ in range(job.count):
                channel.queue_declare("bench.declared")
            job.stop()

    scenarios = (publish, publish_beside_thread, consume_auto, consume_ack, confirms, confirm, declare)
    return {f"threads_{scenario.__name__}": scenario for scenario in scenarios}
