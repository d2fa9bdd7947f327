"""The benchmark's client on py-amqp (the library under kombu and Celery)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

import amqp
from common import DROP, HEADERS, PROPERTIES, Job, main, stats_queue, time_import


@contextmanager
def open_channel(job: Job, **options: Any) -> Iterator[tuple[Any, Any]]:
    url = urlsplit(job.url)
    connection = amqp.Connection(
        host=f"{url.hostname}:{url.port}",
        userid=url.username,
        password=url.password,
        virtual_host=unquote(url.path[1:]) or "/",
        **options,
    )
    with connection:
        yield connection, connection.channel()


def counter(channel: Any, name: str) -> int:
    return channel.queue_declare(stats_queue(name), passive=True).message_count  # type: ignore[no-any-return]


def publish(job: Job) -> None:
    with open_channel(job) as (_, channel):
        body = job.body
        job.start()
        for _ in range(job.count):
            channel.basic_publish(amqp.Message(body), "", DROP)
        published = counter(channel, "publishes")
        job.stop()
        job.expect("publishes", published)


def publish_props(job: Job) -> None:
    with open_channel(job) as (_, channel):
        body = job.body
        job.start()
        for i in range(job.count):
            message = amqp.Message(body, application_headers={**HEADERS, "x-sequence": i}, **PROPERTIES)
            channel.basic_publish(message, "", DROP)
        published = counter(channel, "publishes")
        job.stop()
        job.expect("publishes", published)


def confirm(job: Job) -> None:
    with open_channel(job, confirm_publish=True) as (_, channel):
        body = job.body
        job.start()
        for _ in range(job.count):
            channel.basic_publish(amqp.Message(body), "", DROP)
        job.stop()
        job.expect("confirms", counter(channel, "confirms"))


def consume(job: Job, ack: bool) -> None:
    left = job.count

    def on_message(message: Any) -> None:
        nonlocal left
        if ack:
            channel.basic_ack(message.delivery_tag)
        left -= 1

    with open_channel(job) as (connection, channel):
        if job.prefetch:
            channel.basic_qos(0, job.prefetch, False)
        job.start()
        channel.basic_consume(job.queue(), callback=on_message, no_ack=not ack)
        while left:
            connection.drain_events()
        acks = counter(channel, "acks")
        job.stop()
        job.expect("acks", acks, job.count if ack else 0)


def consume_auto(job: Job) -> None:
    consume(job, ack=False)


def consume_ack(job: Job) -> None:
    consume(job, ack=True)


def get(job: Job) -> None:
    with open_channel(job) as (_, channel):
        size = 0
        job.start()
        for _ in range(job.count):
            size += len(channel.basic_get(job.queue(), no_ack=True).body)
        job.stop()
        job.expect("bytes", size, job.count * job.size)


SCENARIOS = {
    "publish": publish,
    "publish_props": publish_props,
    "confirm": confirm,
    "consume_auto": consume_auto,
    "consume_ack": consume_ack,
    "get": get,
    "import": time_import("amqp"),
}

if __name__ == "__main__":
    sys.exit(main("py-amqp", f"py-amqp {amqp.__version__}", SCENARIOS))
