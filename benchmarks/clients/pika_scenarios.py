"""The scenarios for pika and, unchanged, for cpika: each takes the job and gets the package as `pika`."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from common import DROP, HEADERS, PROPERTIES, Job, resident_bytes, stats_queue

Scenario = Callable[[Job], None]


def connect(pika: ModuleType, job: Job) -> Any:
    parameters = pika.URLParameters(job.url)
    if job.cafile is not None:
        parameters.ssl_options = pika.SSLOptions(ssl.create_default_context(cafile=job.cafile), "localhost")
    return pika.BlockingConnection(parameters)


def messages_of(channel: Any, queue: str) -> int:
    return channel.queue_declare(queue, passive=True).method.message_count  # type: ignore[no-any-return]


def counter(channel: Any, name: str) -> int:
    return messages_of(channel, stats_queue(name))


@contextmanager
def busy_thread() -> Iterator[None]:
    """A thread that computes in pure Python as long as the block runs."""
    ended = threading.Event()

    def compute() -> None:
        n = 0
        while not ended.is_set():
            for i in range(1000):
                n ^= i

    thread = threading.Thread(target=compute, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def publish_loop(job: Job, channel: Any) -> None:
    body = job.body
    job.start()
    for _ in range(job.count):
        channel.basic_publish("", DROP, body)
    published = counter(channel, "publishes")  # all have arrived
    job.stop()
    job.expect("publishes", published)


def read_everything(properties: Any) -> tuple[Any, ...]:
    """Every property and every header."""
    headers = properties.headers
    return (
        properties.content_type,
        properties.content_encoding,
        headers["x-source"],
        headers["x-trace"],
        headers["x-sampled"],
        headers["x-attempt"],
        headers["x-sequence"],
        properties.delivery_mode,
        properties.priority,
        properties.correlation_id,
        properties.reply_to,
        properties.expiration,
        properties.message_id,
        properties.timestamp,
        properties.type,
        properties.user_id,
        properties.app_id,
        properties.cluster_id,
    )


def server_scenarios(pika: ModuleType) -> dict[str, Scenario]:
    def publish(job: Job) -> None:
        with connect(pika, job) as connection:
            publish_loop(job, connection.channel())

    def publish_props(job: Job) -> None:
        with connect(pika, job) as connection:
            channel = connection.channel()
            body = job.body
            job.start()
            for i in range(job.count):
                properties = pika.BasicProperties(headers={**HEADERS, "x-sequence": i}, **PROPERTIES)
                channel.basic_publish("", DROP, body, properties)
            published = counter(channel, "publishes")
            job.stop()
            job.expect("publishes", published)

    def publish_beside_thread(job: Job) -> None:
        with connect(pika, job) as connection, busy_thread():
            publish_loop(job, connection.channel())

    def confirm(job: Job) -> None:
        with connect(pika, job) as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            body = job.body
            job.start()
            for _ in range(job.count):
                channel.basic_publish("", DROP, body)
            job.stop()
            job.expect("confirms", counter(channel, "confirms"))

    def consume_auto(job: Job) -> None:
        left = job.count

        def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
            nonlocal left
            left -= 1
            if not left:
                channel.stop_consuming()

        with connect(pika, job) as connection:
            channel = connection.channel()
            job.start()
            channel.basic_consume(job.queue(), on_message, auto_ack=True)
            channel.start_consuming()
            job.stop()
            job.expect("messages left", left, 0)
            job.expect("acks", counter(channel, "acks"), 0)

    def consume_ack(job: Job) -> None:
        left = job.count

        def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
            nonlocal left
            channel.basic_ack(method.delivery_tag)
            left -= 1
            if not left:
                channel.stop_consuming()

        with connect(pika, job) as connection:
            channel = connection.channel()
            if job.prefetch:
                channel.basic_qos(prefetch_count=job.prefetch)
            job.start()
            channel.basic_consume(job.queue(), on_message)
            channel.start_consuming()
            acks = counter(channel, "acks")  # all have arrived
            job.stop()
            job.expect("acks", acks)
            job.expect("acks with multiple", counter(channel, "acks_multiple"), 0)

    def consume_read_props(job: Job) -> None:
        left = job.count
        last: tuple[Any, ...] = ()

        def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
            nonlocal left, last
            last = read_everything(properties)
            left -= 1
            if not left:
                channel.stop_consuming()

        with connect(pika, job) as connection:
            channel = connection.channel()
            job.start()
            channel.basic_consume(job.queue("props"), on_message, auto_ack=True)
            channel.start_consuming()
            job.stop()
            wanted = pika.BasicProperties(headers={**HEADERS, "x-sequence": 9000000000}, **PROPERTIES)
            job.expect("properties as sent", int(last == read_everything(wanted)), 1)

    def generator(job: Job) -> None:
        left = job.count
        with connect(pika, job) as connection:
            channel = connection.channel()
            job.start()
            for _method, _properties, _body in channel.consume(job.queue(), auto_ack=True):
                left -= 1
                if not left:
                    break
            job.stop()
            channel.cancel()
            job.expect("messages left", left, 0)

    def get(job: Job) -> None:
        with connect(pika, job) as connection:
            channel = connection.channel()
            queue = job.queue()
            size = 0
            job.start()
            for _ in range(job.count):
                _method, _properties, body = channel.basic_get(queue, auto_ack=True)
                size += len(body)
            job.stop()
            job.expect("bytes", size, job.count * job.size)

    def fan(job: Job) -> None:
        """`channels` times `consumers` consumers take the messages in turn."""
        left = job.count

        def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
            nonlocal left
            left -= 1

        with connect(pika, job) as connection:
            queue = job.queue(f"after{job.channels * job.consumers + 1}")
            channels = [connection.channel() for _ in range(job.channels)]
            for channel in channels:
                for _ in range(job.consumers):
                    channel.basic_consume(queue, on_message, auto_ack=True)
            job.start()
            channels[0].basic_consume(queue, on_message, auto_ack=True)  # the last one lets them flow
            while left:
                connection.process_data_events(time_limit=None)
            job.stop()
            job.expect("deliveries", counter(channels[0], "deliveries"))

    def memory(job: Job) -> None:
        """Each message is taken, published again and acked; resident bytes after 20 % and after all."""
        done = 0
        marks = {job.count // 5: "rss_20", job.count: "rss_100"}

        def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
            nonlocal done
            channel.basic_publish("", DROP, body)
            channel.basic_ack(method.delivery_tag)
            done += 1
            if done in marks:
                job.extra[marks[done]] = resident_bytes()
                if done == job.count:
                    channel.stop_consuming()

        with connect(pika, job) as connection:
            channel = connection.channel()
            channel.basic_qos(prefetch_count=job.prefetch)
            job.start()
            channel.basic_consume(job.queue(), on_message)
            channel.start_consuming()
            job.expect("acks", counter(channel, "acks"))
            job.stop()
            job.expect("publishes", counter(channel, "publishes"))

    return {
        "publish": publish,
        "publish_props": publish_props,
        "publish_beside_thread": publish_beside_thread,
        "confirm": confirm,
        "consume_auto": consume_auto,
        "consume_ack": consume_ack,
        "consume_read_props": consume_read_props,
        "generator": generator,
        "get": get,
        "fan": fan,
        "memory": memory,
    }


def broker_scenarios(pika: ModuleType) -> dict[str, Scenario]:
    def fill(job: Job, channel: Any, queue: str) -> None:
        body = job.body
        for _ in range(job.count):
            channel.basic_publish("", queue, body)
        messages_of(channel, queue)  # all have arrived

    def new_queue(channel: Any) -> str:
        return channel.queue_declare("", exclusive=True).method.queue  # type: ignore[no-any-return]

    def broker_publish(job: Job) -> None:
        with connect(pika, job) as connection:
            channel = connection.channel()
            queue = new_queue(channel)
            job.start()
            fill(job, channel, queue)
            job.stop()

    def broker_consume_ack(job: Job) -> None:
        left = job.count

        def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
            nonlocal left
            channel.basic_ack(method.delivery_tag)
            left -= 1
            if not left:
                channel.stop_consuming()

        with connect(pika, job) as connection:
            channel = connection.channel()
            queue = new_queue(channel)
            fill(job, channel, queue)
            channel.basic_qos(prefetch_count=job.prefetch)
            job.start()
            channel.basic_consume(queue, on_message)
            channel.start_consuming()
            remaining = messages_of(channel, queue)
            job.stop()
            job.expect("messages left", remaining, 0)

    def broker_confirm(job: Job) -> None:
        """Persistent messages to a durable queue, each confirmed before the next."""
        with connect(pika, job) as connection:
            channel = connection.channel()
            queue = channel.queue_declare("", durable=True, auto_delete=False, exclusive=True).method.queue
            channel.confirm_delivery()
            properties = pika.BasicProperties(delivery_mode=2)
            body = job.body
            job.start()
            for _ in range(job.count):
                channel.basic_publish("", queue, body, properties)
            job.stop()
            job.expect("messages", messages_of(channel, queue))

    def roundtrip(job: Job) -> None:
        took: list[float] = []
        arrived = 0

        def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
            nonlocal arrived
            arrived = time.perf_counter_ns()

        with connect(pika, job) as connection:
            channel = connection.channel()
            queue = new_queue(channel)
            channel.basic_consume(queue, on_message, auto_ack=True)
            body = job.body
            job.start()
            for _ in range(job.count):
                arrived = 0
                began = time.perf_counter_ns()
                channel.basic_publish("", queue, body)
                while not arrived:
                    connection.process_data_events(time_limit=None)
                took.append((arrived - began) / 1e9)
            job.stop()
            job.percentiles(took)

    return {
        "broker_publish": broker_publish,
        "broker_consume_ack": broker_consume_ack,
        "broker_confirm": broker_confirm,
        "roundtrip": roundtrip,
    }


def all_scenarios(pika: ModuleType) -> dict[str, Scenario]:
    return server_scenarios(pika) | broker_scenarios(pika)
