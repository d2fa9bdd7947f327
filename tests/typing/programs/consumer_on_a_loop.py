"""A consumer on an event loop as its authors typed it for pika: callbacks all the way."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Union

import pika
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.channel import Channel
from pika.connection import Connection
from pika.exceptions import ConnectionClosedByBroker
from pika.spec import Basic, BasicProperties

logger = logging.getLogger(__name__)
Adapter = Union[pika.SelectConnection, AsyncioConnection]


class Consumer:
    def __init__(self, url: str, queue: str) -> None:
        self.parameters = pika.URLParameters(url)
        self.queue = queue
        self.channel: Channel | None = None
        self.tag: str | None = None
        self.unconfirmed: set[int] = set()

    def connect(self, loop: asyncio.AbstractEventLoop | None) -> Adapter:
        if loop is None:
            return pika.SelectConnection(
                self.parameters,
                on_open_callback=self.on_open,
                on_open_error_callback=self.on_end,
                on_close_callback=self.on_end,
            )
        return AsyncioConnection(self.parameters, self.on_open, self.on_end, self.on_end, custom_ioloop=loop)

    def on_open(self, connection: Connection) -> None:
        connection.channel(on_open_callback=self.on_channel)

    def on_end(self, connection: Connection, reason: BaseException | str) -> None:
        if isinstance(reason, ConnectionClosedByBroker):
            logger.warning("%s: %d %s", connection, reason.reply_code, reason.reply_text)

    def on_channel(self, channel: Channel) -> None:
        self.channel = channel
        channel.add_on_close_callback(self.on_channel_closed)
        channel.queue_declare(self.queue, durable=True, callback=self.on_queue)

    def on_channel_closed(self, channel: Channel, reason: Exception) -> None:
        logger.warning("channel %d: %s", channel.channel_number, reason)
        channel.connection.close()

    def on_queue(self, frame: Any) -> None:
        assert self.channel is not None
        self.channel.confirm_delivery(self.on_confirm)
        self.channel.basic_qos(prefetch_count=10)
        self.tag = self.channel.basic_consume(self.queue, self.on_message)

    def on_message(
        self, channel: Channel, method: Basic.Deliver, props: BasicProperties, body: bytes
    ) -> None:
        if props.reply_to is not None:
            channel.basic_publish("", props.reply_to, body, BasicProperties(correlation_id="1"))
        channel.basic_ack(method.delivery_tag or 0)

    def on_confirm(self, frame: Any) -> None:
        self.unconfirmed.discard(frame.method.delivery_tag)


def main() -> None:
    connection = Consumer("amqp://localhost", "tasks").connect(None)
    assert isinstance(connection, pika.SelectConnection)
    connection.ioloop.call_later(1.0, lambda: logger.info("alive"))
    connection.ioloop.start()
