"""What goes with every message of a channel on a loop: C, with the looks of the functions here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from cpika import spec
from cpika._buffer import Buffer
from cpika._core import LoopChannel as _CoreChannel
from cpika._core import hot_method

_MethodT = TypeVar("_MethodT", bound=Callable[..., Any])


def _in_c(twin: _MethodT) -> _MethodT:
    """Have the C method of the same name called in place of this function, which tools go on to see."""
    # To a type checker, it is that function.
    return cast("_MethodT", hot_method(getattr(_CoreChannel, twin.__name__), twin))


class HotChannel(_CoreChannel):
    """Publishing and acknowledging: what leaves without an answer."""

    @_in_c
    def basic_publish(
        self,
        exchange: str,
        routing_key: str,
        body: str | Buffer,
        properties: spec.BasicProperties | None = None,
        mandatory: bool = False,
    ) -> None:
        """Publish a message (AMQP Basic.Publish); it leaves at the end of the loop's turn.

        :param exchange: its name, at most 255 bytes of UTF-8; "" for the default exchange
        :param routing_key: at most 255 bytes of UTF-8
        :param body: bytes, str (sent as UTF-8), bytearray or memoryview
        :param properties: the message's properties, or None
        :param mandatory: have the broker return a message that it cannot route
        :raises pika.exceptions.ChannelWrongStateError: the channel is not open
        :raises pika.exceptions.ShortStringTooLong: a name over 255 bytes
        :raises pika.exceptions.UnsupportedAMQPFieldException: a header of a type that AMQP does not have
        :raises AssertionError: a name that is no string
        """
        _CoreChannel.basic_publish(self, exchange, routing_key, body, properties, mandatory)

    @_in_c
    def basic_ack(self, delivery_tag: int = 0, multiple: bool = False) -> None:
        """Acknowledge a message (AMQP Basic.Ack).

        :param delivery_tag: from the delivery
        :param multiple: all messages of this channel up to and including that tag; with tag 0, all
            outstanding ones
        :raises pika.exceptions.ChannelWrongStateError: the channel is not open
        """
        _CoreChannel.basic_ack(self, delivery_tag, multiple)

    @_in_c
    def basic_nack(self, delivery_tag: int = 0, multiple: bool = False, requeue: bool = True) -> None:
        """Refuse messages (RabbitMQ's Basic.Nack).

        :param delivery_tag: from the delivery
        :param multiple: all messages of this channel up to and including that tag; with tag 0, all
            outstanding ones
        :param requeue: back to the queue; else they are dropped or dead-lettered
        :raises pika.exceptions.ChannelWrongStateError: the channel is not open
        """
        _CoreChannel.basic_nack(self, delivery_tag, multiple, requeue)

    @_in_c
    def basic_reject(self, delivery_tag: int = 0, requeue: bool = True) -> None:
        """Refuse one message (AMQP Basic.Reject).

        :param delivery_tag: from the delivery
        :param requeue: back to the queue; else it is dropped or dead-lettered
        :raises TypeError: a delivery tag that is no int
        :raises pika.exceptions.ChannelWrongStateError: the channel is not open
        """
        _CoreChannel.basic_reject(self, delivery_tag, requeue)
