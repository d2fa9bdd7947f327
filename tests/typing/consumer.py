"""Typical consumers, as a type checker sees them; never run."""

from __future__ import annotations

from datetime import datetime

import cpika as pika
from cpika.adapters.blocking_connection import BlockingChannel
from cpika.spec import Basic, BasicProperties
from typing_extensions import assert_type


def on_message(
    channel: pika.adapters.blocking_connection.BlockingChannel,
    method: pika.spec.Basic.Deliver,
    properties: pika.spec.BasicProperties,
    body: bytes,
) -> None:
    assert_type(method.delivery_tag, int)
    assert_type(method.redelivered, bool)
    assert_type(method.routing_key, str)
    assert_type(properties.correlation_id, "str | None")
    assert_type(properties.timestamp, "int | None")
    if properties.headers is not None and isinstance(properties.headers.get("at"), datetime):
        channel.basic_reject(method.delivery_tag, requeue=False)
    elif properties.reply_to is not None:
        answer = BasicProperties(correlation_id=properties.correlation_id)
        channel.basic_publish("", properties.reply_to, body, answer)
    channel.basic_ack(method.delivery_tag)


def on_cancel(frame: pika.frame.Method[Basic.Cancel]) -> None:
    assert_type(frame.method.consumer_tag, str)
    assert_type(frame.channel_number, int)


def by_callback(channel: BlockingChannel) -> None:
    channel.basic_qos(prefetch_count=10)
    channel.add_on_cancel_callback(on_cancel)
    assert_type(channel.basic_consume("tasks", on_message), str)
    tag = channel.basic_consume(
        queue="tasks", on_message_callback=lambda channel, method, properties, body: None, auto_ack=True
    )
    try:
        channel.start_consuming()
    except KeyboardInterrupt:
        for method, _, body in channel.basic_cancel(tag):
            assert_type(method, Basic.Deliver)
            assert_type(body, bytes)
        channel.stop_consuming()


def by_generator(channel: BlockingChannel) -> None:
    for method, properties, body in channel.consume("tasks"):
        assert_type(properties, BasicProperties)
        assert_type(body, bytes)
        channel.basic_ack(method.delivery_tag)
    for delivered, _, _ in channel.consume("tasks", inactivity_timeout=5):
        assert_type(delivered, "Basic.Deliver | None")
        if delivered is None:
            break
    assert_type(channel.cancel(), int)


def by_get(channel: BlockingChannel) -> bytes | None:
    method, properties, body = channel.basic_get("tasks")
    if method is None or properties is None:
        return None
    assert_type(method.message_count, int)
    assert_type(properties.content_type, "str | None")
    return body
