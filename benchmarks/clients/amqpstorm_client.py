"""The benchmark's client on amqpstorm."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any

import amqpstorm
from common import DROP, HEADERS, PROPERTIES, Job, main, stats_queue, time_import


@contextmanager
def open_channel(job: Job) -> Iterator[Any]:
    with amqpstorm.UriConnection(job.url) as connection, connection.channel() as channel:
        yield channel


def counter(channel: Any, name: str) -> int:
    return channel.queue.declare(stats_queue(name), passive=True)["message_count"]  # type: ignore[no-any-return]


def publish(job: Job) -> None:
    with open_channel(job) as channel:
        body = job.body
        job.start()
        for _ in range(job.count):
            channel.basic.publish(body, DROP)
        published = counter(channel, "publishes")
        job.stop()
        job.expect("publishes", published)


def publish_props(job: Job) -> None:
    properties = {
        **PROPERTIES,
        "message_type": PROPERTIES["type"],
        "timestamp": datetime.fromtimestamp(PROPERTIES["timestamp"], tz=timezone.utc),
    }
    del properties["type"]
    with open_channel(job) as channel:
        body = job.body
        job.start()
        for i in range(job.count):
            channel.basic.publish(
                body, DROP, properties={**properties, "headers": {**HEADERS, "x-sequence": i}}
            )
        published = counter(channel, "publishes")
        job.stop()
        job.expect("publishes", published)


def confirm(job: Job) -> None:
    with open_channel(job) as channel:
        channel.confirm_deliveries()
        body = job.body
        job.start()
        for _ in range(job.count):
            if not channel.basic.publish(body, DROP):
                raise RuntimeError("not confirmed")
        job.stop()
        job.expect("confirms", counter(channel, "confirms"))


def consume(job: Job, ack: bool) -> None:
    left = job.count

    def on_message(body: bytes, channel: Any, method: dict[str, Any], properties: dict[str, Any]) -> None:
        nonlocal left
        if ack:
            channel.basic.ack(method["delivery_tag"])
        left -= 1
        if not left:
            channel.stop_consuming()

    with open_channel(job) as channel:
        if job.prefetch:
            channel.basic.qos(job.prefetch)
        job.start()
        channel.basic.consume(on_message, job.queue(), no_ack=not ack)
        channel.start_consuming(to_tuple=True, auto_decode=False)
        acks = counter(channel, "acks")
        job.stop()
        job.expect("messages left", left, 0)
        job.expect("acks", acks, job.count if ack else 0)


def consume_auto(job: Job) -> None:
    consume(job, ack=False)


def consume_ack(job: Job) -> None:
    consume(job, ack=True)


def get(job: Job) -> None:
    with open_channel(job) as channel:
        size = 0
        job.start()
        for _ in range(job.count):
            message = channel.basic.get(job.queue(), no_ack=True, auto_decode=False)
            size += len(message.body)
        job.stop()
        job.expect("bytes", size, job.count * job.size)


SCENARIOS = {
    "publish": publish,
    "publish_props": publish_props,
    "confirm": confirm,
    "consume_auto": consume_auto,
    "consume_ack": consume_ack,
    "get": get,
    "import": time_import("amqpstorm"),
}

if __name__ == "__main__":
    sys.exit(main("amqpstorm", f"amqpstorm {amqpstorm.__version__}", SCENARIOS))
