"""The methods of `BlockingChannel` that go with every message: C, with the looks of the functions here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

from cpika import _wrappers, spec
from cpika._buffer import Buffer
from cpika._core import Channel as _CoreChannel
from cpika._core import hot_method
from cpika.adapters import _blocking_through as _through

if TYPE_CHECKING:
    from cpika.channel import Channel

# Further methods of pika.channel.Channel that have a part in the work of one of these.
_ALSO_WRAPPED = {"basic_get": ("_on_getok", "_on_getempty")}

_MethodT = TypeVar("_MethodT", bound=Callable[..., Any])


def _in_c(twin: _MethodT) -> _MethodT:
    """Have the C method of the same name called in place of this function, which tools go on to see."""
    method = hot_method(getattr(_CoreChannel, twin.__name__), twin)
    _wrappers.add_shortcut(method, twin.__name__, *_ALSO_WRAPPED.get(twin.__name__, ()))
    return cast("_MethodT", method)  # to a type checker, it is that function


class BlockingChannel(_CoreChannel):
    """Publishing, acknowledging, getting.

    It has the name of the class that users know: the errors about a call's arguments show it.
    """

    if TYPE_CHECKING:
        _impl: Channel

    def __copy__(self) -> BlockingChannel:
        """`copy.copy`: what it holds is the channel itself, and there are no two of one number."""
        return self

    @_in_c
    def basic_publish(
        self,
        exchange: str,
        routing_key: str,
        body: str | Buffer,
        properties: spec.BasicProperties | None = None,
        mandatory: bool = False,
    ) -> None:
        """Publish a message (AMQP Basic.Publish), in one send.

        Without `confirm_delivery` it returns when the message has been handed to the socket; what the broker
        objects to surfaces in a later call. With it, it awaits the broker's confirm.

        :param exchange: its name, at most 255 bytes of UTF-8; "" for the default exchange
        :param routing_key: at most 255 bytes of UTF-8
        :param body: bytes, str (sent as UTF-8), bytearray or memoryview
        :param properties: the message's properties, or None
        :param mandatory: have the broker return a message that it cannot route
        :raises pika.exceptions.UnroutableError: with `confirm_delivery`: the message came back
        :raises pika.exceptions.NackError: with `confirm_delivery`: the broker refused it
        :raises pika.exceptions.ChannelWrongStateError: the channel is not open
        :raises pika.exceptions.ChannelClosedByBroker: the broker closed the channel
        :raises pika.exceptions.ShortStringTooLong: a name over 255 bytes
        :raises pika.exceptions.UnsupportedAMQPFieldException: a header of a type that AMQP does not have
        :raises AssertionError: a name that is no string
        """
        if _through.is_asked_for(self, "basic_publish"):
            _through.publish(self, exchange, routing_key, body, properties, mandatory)
        else:
            _CoreChannel.basic_publish(self, exchange, routing_key, body, properties, mandatory)

    @_in_c
    def publish_many(self, messages: Iterable[Sequence[Any]], window: int = 1024) -> int:
        """Publish what an iterable gives (AMQP Basic.Publish), many messages to one send; not in pika.

        At the first message that the broker refuses it takes no more, awaits the rest and raises. An
        exception of the iterable is raised once what it gave has been sent and confirmed.

        :param messages: iterable of (exchange, routing_key, body), (..., properties) or
            (..., properties, mandatory); it is read as it goes, so it may be endless
        :param window: with `confirm_delivery`, how many of its publishes may be unconfirmed at a time
        :returns: the number of messages; with `confirm_delivery` all of them are confirmed
        :raises pika.exceptions.UnroutableError: all that the broker refused came back; it has `.messages`
            (those that came back) and the `.indexes` of all that it refused
        :raises pika.exceptions.NackError: the broker refused some, with the same attributes
        :raises pika.exceptions.AMQPConnectionError: the connection is lost; `.confirmed` is how many from the
            first on are confirmed, `.unconfirmed` has the indexes of those that are not
        """
        return _CoreChannel.publish_many(self, messages, window)

    @_in_c
    def basic_ack(self, delivery_tag: int = 0, multiple: bool = False) -> None:
        """Acknowledge a message (AMQP Basic.Ack).

        Given in a callback while more messages stand ready, it leaves together with the acks of those, at
        most 1 ms later.

        :param delivery_tag: from the delivery
        :param multiple: all messages of this channel up to and including that tag; with tag 0, all
            outstanding ones
        :raises pika.exceptions.ChannelWrongStateError: the channel is not open
        """
        if _through.is_asked_for(self, "basic_ack"):
            with _wrappers.outside():
                self._impl.basic_ack(delivery_tag=delivery_tag, multiple=multiple)
        else:
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
        if _through.is_asked_for(self, "basic_nack"):
            with _wrappers.outside():
                self._impl.basic_nack(delivery_tag=delivery_tag, multiple=multiple, requeue=requeue)
        else:
            _CoreChannel.basic_nack(self, delivery_tag, multiple, requeue)

    @_in_c
    def basic_reject(self, delivery_tag: int = 0, requeue: bool = True) -> None:
        """Refuse one message (AMQP Basic.Reject).

        :param delivery_tag: from the delivery
        :param requeue: back to the queue; else it is dropped or dead-lettered
        :raises TypeError: a delivery tag that is no int
        :raises pika.exceptions.ChannelWrongStateError: the channel is not open
        """
        if _through.is_asked_for(self, "basic_reject"):
            with _wrappers.outside():
                self._impl.basic_reject(delivery_tag=delivery_tag, requeue=requeue)
        else:
            _CoreChannel.basic_reject(self, delivery_tag, requeue)

    @_in_c
    def basic_get(
        self, queue: str, auto_ack: bool = False
    ) -> tuple[spec.Basic.GetOk, spec.BasicProperties, bytes] | tuple[None, None, None]:
        """Get one message (AMQP Basic.Get).

        :param queue: its name
        :param auto_ack: the broker expects no acknowledgement
        :returns: (method, properties, body), or (None, None, None) when the queue is empty
        :raises pika.exceptions.ChannelClosedByBroker: no such queue, or access refused
        :raises pika.exceptions.ChannelWrongStateError: the channel is not open
        """
        if _through.is_asked_for(self, "basic_get", *_ALSO_WRAPPED["basic_get"]):
            return _through.get(self, queue, auto_ack)
        return _CoreChannel.basic_get(self, queue, auto_ack)
