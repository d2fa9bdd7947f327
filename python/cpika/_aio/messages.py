"""Messages as `async` programs get them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cpika
from cpika import spec

if TYPE_CHECKING:
    import cpika.aio


class Message:
    """A message that was delivered, or that `Channel.get` brought."""

    __slots__ = {
        "_channel": "",
        "body": "Its bytes.",
        "delivery": "spec.Basic.Deliver, or GetOk: exchange, routing key, whether it is redelivered.",
        "properties": "spec.BasicProperties.",
    }

    def __init__(
        self, channel: cpika.aio.Channel, delivery: Any, properties: spec.BasicProperties, body: bytes
    ) -> None:
        self._channel = channel
        self.delivery = delivery
        self.properties = properties
        self.body = body

    def __repr__(self) -> str:
        return f"<aio.Message {self.delivery!r} {len(self.body)} bytes>"

    @property
    def delivery_tag(self) -> int:
        """Its number on the channel."""
        tag: int = self.delivery.delivery_tag
        return tag

    def ack(self, multiple: bool = False) -> None:
        """Acknowledge it (AMQP Basic.Ack), or all up to it; leaves at the end of the loop's turn."""
        self._channel.raw.basic_ack(self.delivery.delivery_tag, multiple)

    def nack(self, requeue: bool = True, multiple: bool = False) -> None:
        """Refuse it (RabbitMQ's Basic.Nack), or all up to it."""
        self._channel.raw.basic_nack(self.delivery.delivery_tag, multiple, requeue)

    def reject(self, requeue: bool = True) -> None:
        """Refuse it (AMQP Basic.Reject)."""
        self._channel.raw.basic_reject(self.delivery.delivery_tag, requeue)


class ReturnedMessage:
    """A message that the broker could not route: in `UnroutableError.messages`."""

    __slots__ = {
        "body": "Its bytes.",
        "method": "spec.Basic.Return: reply code and text, exchange, routing key.",
        "properties": "spec.BasicProperties.",
    }

    def __init__(self, method: Any, properties: spec.BasicProperties, body: bytes) -> None:
        self.method = method
        self.properties = properties
        self.body = body


for _public in (Message, ReturnedMessage):
    _public.__module__ = "cpika.aio"
