"""Publishes and consumes some messages through `pika` and prints both rates as JSON, in messages a second.

    python tools/demo_rate.py URL COUNT

A short look, good for a demonstration and for nothing else.
"""

from __future__ import annotations

import json
import sys
import time

import pika

BODY = b"x" * 100
PREFETCH = 100


def measure_publish(channel, queue: str, count: int) -> float:
    """Publish `count` transient messages; the time ends when the broker has answered behind the last one."""
    started = time.perf_counter()
    for _ in range(count):
        channel.basic_publish("", queue, BODY)
    channel.queue_declare(queue, passive=True)
    return count / (time.perf_counter() - started)


def measure_consume(channel, queue: str, count: int) -> float:
    """Consume them, each acknowledged by hand."""
    seen = 0

    def on_message(channel, method, properties, body) -> None:
        nonlocal seen
        channel.basic_ack(method.delivery_tag)
        seen += 1
        if seen == count:
            channel.stop_consuming()

    channel.basic_qos(prefetch_count=PREFETCH)
    started = time.perf_counter()
    channel.basic_consume(queue, on_message)
    channel.start_consuming()
    return count / (time.perf_counter() - started)


def main() -> None:
    url, count = sys.argv[1], int(sys.argv[2])
    with pika.BlockingConnection(pika.URLParameters(url)) as connection, connection.channel() as channel:
        queue = channel.queue_declare("", exclusive=True).method.queue  # goes with the connection
        publish = measure_publish(channel, queue, count)
        print(json.dumps({"publish": publish, "consume": measure_consume(channel, queue, count)}))


if __name__ == "__main__":
    main()
