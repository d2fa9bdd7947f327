"""A worker as its authors typed it for pika: callbacks, acknowledgements from another thread, a clean end."""

from __future__ import annotations

import functools
import logging
import threading
from typing import Callable

import pika
import pika.exceptions
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
from pika.exchange_type import ExchangeType
from pika.spec import Basic, BasicProperties

logger = logging.getLogger(__name__)
Handler = Callable[[bytes], None]


class Worker:
    def __init__(self, url: str, queue: str, handler: Handler) -> None:
        self.parameters = pika.URLParameters(url)
        self.queue = queue
        self.handler = handler
        self.connection: BlockingConnection | None = None
        self.channel: BlockingChannel | None = None
        self.timer: object | None = None

    def connect(self) -> BlockingChannel:
        self.connection = pika.BlockingConnection(self.parameters)
        self.channel = self.connection.channel()
        self.channel.exchange_declare(
            exchange=f"{self.queue}.events", exchange_type=ExchangeType.topic, durable=True
        )
        self.channel.queue_declare(self.queue, durable=True, arguments={"x-dead-letter-exchange": "dead"})
        self.channel.queue_bind(self.queue, f"{self.queue}.events", routing_key="#")
        self.channel.basic_qos(prefetch_count=4)
        self.timer = self.connection.call_later(60, self.report)
        self.connection.add_on_connection_blocked_callback(lambda connection, frame: self.warn(str(frame)))
        return self.channel

    def report(self) -> None:
        logger.info("alive")

    def warn(self, text: str) -> None:
        logger.warning("blocked: %s", text)

    def settle(self, channel: BlockingChannel, tag: int, done: bool) -> None:
        if done:
            channel.basic_ack(delivery_tag=tag)
        else:
            channel.basic_nack(delivery_tag=tag, requeue=False)

    def on_message(
        self, channel: BlockingChannel, method: Basic.Deliver, properties: BasicProperties, body: bytes
    ) -> None:
        headers = dict(properties.headers or {})
        logger.debug("%s %s %s", method.routing_key, properties.message_id, headers.get("attempt", 0))
        threading.Thread(target=self.work, args=(channel, method, body)).start()

    def work(self, channel: BlockingChannel, method: Basic.Deliver, body: bytes) -> None:
        try:
            self.handler(body)
        except Exception:
            logger.exception("cannot handle what came with %s", method.routing_key)
            done = False
        else:
            done = True
        if method.delivery_tag is not None and self.connection is not None:
            settle = functools.partial(self.settle, channel, method.delivery_tag, done)
            self.connection.add_callback_threadsafe(settle)

    def run(self) -> None:
        while True:
            channel = self.connect()
            tag = channel.basic_consume(queue=self.queue, on_message_callback=self.on_message)
            try:
                channel.start_consuming()
            except KeyboardInterrupt:
                channel.stop_consuming(tag)
                break
            except pika.exceptions.ConnectionClosedByBroker as error:
                logger.error("closed by the broker: %d %s", error.reply_code, error.reply_text)
                break
            except (pika.exceptions.StreamLostError, pika.exceptions.AMQPHeartbeatTimeout):
                continue
        if self.connection is not None and self.connection.is_open:
            if self.timer is not None:
                self.connection.remove_timeout(self.timer)
            self.connection.close()
