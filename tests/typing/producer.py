"""A typical producer, as a type checker sees it; never run."""

from __future__ import annotations

import ssl

import cpika as pika
from typing_extensions import assert_type


def connect(url: str) -> pika.BlockingConnection:
    parameters = pika.URLParameters(url)
    parameters.heartbeat = 30
    return pika.BlockingConnection([parameters, pika.ConnectionParameters("localhost", 5672)])


def connect_with_tls(context: ssl.SSLContext) -> pika.BlockingConnection:
    return pika.BlockingConnection(
        pika.ConnectionParameters(
            host="broker",
            credentials=pika.PlainCredentials("dev_user", "secret"),
            ssl_options=pika.SSLOptions(context, "broker"),
            connection_attempts=3,
            retry_delay=0.5,
        )
    )


def publish(connection: pika.BlockingConnection) -> None:
    with connection.channel() as channel:
        assert_type(channel, pika.adapters.blocking_connection.BlockingChannel)
        answer = channel.queue_declare("tasks", durable=True, arguments={"x-max-priority": 5})
        assert_type(answer, pika.frame.Method[pika.spec.Queue.DeclareOk])
        assert_type(answer.method.queue, str)
        assert_type(answer.method.message_count, int)
        channel.exchange_declare("events", pika.exchange_type.ExchangeType.fanout)
        channel.exchange_declare("logs", exchange_type="topic")
        channel.confirm_delivery()
        properties = pika.BasicProperties(
            content_type="text/plain", delivery_mode=pika.DeliveryMode.Persistent, headers={"tries": 0}
        )
        for body in (b"bytes", "text", bytearray(b"array"), memoryview(b"view")):
            channel.basic_publish("", "tasks", body, properties, mandatory=True)
        try:
            channel.basic_publish(exchange="events", routing_key="", body=b"{}")
        except pika.exceptions.UnroutableError as error:
            for message in error.messages:
                assert_type(message.method, pika.spec.Basic.Return)


def on_return(
    channel: pika.adapters.blocking_connection.BlockingChannel,
    method: pika.spec.Basic.Return,
    properties: pika.spec.BasicProperties,
    body: bytes,
) -> None:
    assert_type(method.reply_code, int)
    assert_type(method.reply_text, str)
    assert_type(channel.connection, pika.BlockingConnection)


def watch(channel: pika.adapters.blocking_connection.BlockingChannel) -> None:
    channel.add_on_return_callback(on_return)
    timer = channel.connection.call_later(1.5, lambda: None)
    channel.connection.remove_timeout(timer)
