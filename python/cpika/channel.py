"""`pika.channel`: the channel that stands behind a `BlockingChannel`, as tracers and programs know it."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any, Callable

from cpika import _home, _wrappers, exceptions, spec, validators
from cpika._channel_inside import ChannelInside
from cpika._content import ContentFrameAssembler as ContentFrameAssembler
from cpika._forgetting import CLOSE_KEY
from cpika.amqp_object import Method
from cpika.exchange_type import ExchangeType

LOGGER = logging.getLogger("pika.channel")

_home.at_home(__name__, ContentFrameAssembler)

MAX_CHANNELS: int = 65535  # AMQP 0-9-1: channel numbers have 16 bits, and 0 is the connection

_Callback = Callable[..., Any]


class _ForReturns:
    """Calls a callback with the `Channel` where the blocking channel would give itself."""

    def __init__(self, channel: Channel, callback: _Callback) -> None:
        self._all = channel, callback

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ForReturns) and self._all == other._all

    __hash__ = None  # type: ignore[assignment]

    def __call__(self, _blocking: Any, *message: Any) -> None:
        channel, callback = self._all
        callback(channel, *message)


class Channel(ChannelInside):
    """What `BlockingChannel._impl` is.  A `BlockingChannel` does its work itself, on the C core.

    Its methods have pika's arguments: `callback` is called with the frame of the answer (None: the broker is
    asked not to answer, where AMQP knows that).  Called by a program, they return when the answer has come;
    called by the `BlockingChannel`, because somebody has wrapped them, it awaits the answer after them.
    """

    @property
    def is_open(self) -> bool:
        """True while the channel may be used."""
        return self._state == self.OPEN

    @property
    def is_opening(self) -> bool:
        """True until the broker has answered Channel.Open."""
        return self._state == self.OPENING

    @property
    def is_closing(self) -> bool:
        """True until the broker has answered Channel.Close."""
        return self._state == self.CLOSING

    @property
    def is_closed(self) -> bool:
        """True when the channel cannot be used any more."""
        return self._state == self.CLOSED

    @property
    def consumer_tags(self) -> list[str]:
        """Tags of the active consumers."""
        cookie = self._cookie
        return [] if cookie is None else cookie.consumer_tags

    # ---- callbacks ----

    def add_callback(
        self, callback: _Callback, replies: Iterable[type[Method]], one_shot: bool = True
    ) -> None:
        """Have a callback called when the broker sends one of these methods.

        :param callback: called with the method frame
        :param replies: classes of `spec`, such as spec.Basic.Ack
        :param one_shot: for the first only
        """
        for reply in replies:
            self.callbacks.add(self.channel_number, reply, callback, one_shot)

    def add_on_cancel_callback(self, callback: _Callback) -> None:
        """Have a callback called when the broker cancels a consumer (AMQP Basic.Cancel).

        :param callback: called with the method frame
        """
        self.callbacks.add(self.channel_number, spec.Basic.Cancel, callback, False)

    def add_on_close_callback(self, callback: _Callback) -> None:
        """Have a callback called when the channel is closed.

        :param callback: called with the channel and an exception that says why
        """
        self.callbacks.add(self.channel_number, CLOSE_KEY, callback, False, self)

    def add_on_flow_callback(self, callback: _Callback) -> None:
        """Have a callback called when the broker stops or resumes publishing (AMQP Channel.Flow).

        :param callback: called with the method frame
        """
        self.callbacks.add(self.channel_number, spec.Channel.Flow, callback, False)

    def add_on_return_callback(self, callback: _Callback) -> None:
        """Have a callback called when the broker returns a message (AMQP Basic.Return).

        :param callback: called with (this channel, method, properties, body) by a method that dispatches
        """
        self._open_cookie().add_on_return_callback(_ForReturns(self, callback))

    def remove_on_return_callback(self, callback: _Callback) -> bool:
        """Forget a callback of `add_on_return_callback`; return whether there was one."""
        cookie = self._cookie
        return cookie is not None and cookie._forget_return_callback(_ForReturns(self, callback))

    # ---- messages ----

    def basic_publish(
        self,
        exchange: str,
        routing_key: str,
        body: str | bytes,
        properties: spec.BasicProperties | None = None,
        mandatory: bool = False,
    ) -> None:
        """Publish a message, see `BlockingChannel.basic_publish`."""
        self._raise_if_not_open()
        publish = spec.Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=mandatory)
        self._send_method(publish, (properties or spec.BasicProperties(), body))

    def basic_ack(self, delivery_tag: int = 0, multiple: bool = False) -> None:
        """Acknowledge a message, see `BlockingChannel.basic_ack`."""
        self._raise_if_not_open()
        return self._send_method(spec.Basic.Ack(delivery_tag, multiple))

    def basic_nack(self, delivery_tag: int = 0, multiple: bool = False, requeue: bool = True) -> None:
        """Refuse messages, see `BlockingChannel.basic_nack`."""
        self._raise_if_not_open()
        return self._send_method(spec.Basic.Nack(delivery_tag, multiple, requeue))

    def basic_reject(self, delivery_tag: int = 0, requeue: bool = True) -> None:
        """Refuse a message, see `BlockingChannel.basic_reject`."""
        self._raise_if_not_open()
        if not isinstance(delivery_tag, int):
            raise TypeError("delivery_tag must be an integer")
        return self._send_method(spec.Basic.Reject(delivery_tag, requeue))

    def basic_get(self, queue: str, callback: _Callback, auto_ack: bool = False) -> None:
        """Get one message (AMQP Basic.Get).

        :param callback: called with (channel, method, properties, body), unless the queue is empty
        :raises pika.exceptions.DuplicateGetOkCallback: the one before has not been answered
        """
        validators.require_string(queue, "queue")
        validators.require_callback(callback)
        if self._on_getok_callback is not None:
            raise exceptions.DuplicateGetOkCallback()
        with self._requesting() as request:
            self._send_method(spec.Basic.Get(queue=queue, no_ack=auto_ack))
        self._on_getok_callback = callback
        if request.method is not None:
            _wrappers.later(functools.partial(self._await_message, request.method))

    def basic_consume(
        self,
        queue: str,
        on_message_callback: _Callback,
        auto_ack: bool = False,
        exclusive: bool = False,
        consumer_tag: str | None = None,
        arguments: Mapping[str, Any] | None = None,
        callback: _Callback | None = None,
    ) -> str:
        """Have the messages of a queue delivered to a callback (AMQP Basic.Consume).

        :param on_message_callback: called with (channel, method, properties, body)
        :returns: the consumer tag
        :raises pika.exceptions.DuplicateConsumerTag: the channel has such a consumer
        """
        validators.require_string(queue, "queue")
        validators.require_callback(on_message_callback)
        cookie = self._open_cookie()
        validators.rpc_completion_callback(callback)
        if not consumer_tag:
            consumer_tag = self._generate_consumer_tag()
        if consumer_tag in cookie._consumer_infos:
            raise exceptions.DuplicateConsumerTag(consumer_tag)
        validators.require_tag(consumer_tag)
        consume = spec.Basic.Consume(
            queue=queue,
            consumer_tag=consumer_tag,
            no_ack=auto_ack,
            exclusive=exclusive,
            arguments=arguments or {},
        )
        cookie._expect_consumer(consumer_tag, auto_ack, on_message_callback)
        self._rpc(consume, callback, [(spec.Basic.ConsumeOk, {"consumer_tag": consumer_tag})])
        return consumer_tag

    def basic_cancel(self, consumer_tag: str = "", callback: _Callback | None = None) -> None:
        """Cancel a consumer (AMQP Basic.Cancel)."""
        validators.require_string(consumer_tag, "consumer_tag")
        cookie = self._open_cookie()
        nowait = validators.rpc_completion_callback(callback)
        if consumer_tag in self._cancelled:
            LOGGER.warning("basic_cancel - consumer is already cancelling: %s", consumer_tag)
            return
        if consumer_tag not in cookie._consumer_infos:
            LOGGER.warning("basic_cancel - consumer not found: %s", consumer_tag)
            return
        LOGGER.debug("Cancelling consumer: %s (nowait=%s)", consumer_tag, nowait)
        # The core awaits the answer in any case: it gives back what still arrives.
        self._rpc(
            spec.Basic.Cancel(consumer_tag=consumer_tag),
            callback,
            [(spec.Basic.CancelOk, {"consumer_tag": consumer_tag})],
        )

    # ---- the channel ----

    def close(self, reply_code: int = 0, reply_text: str = "Normal shutdown") -> None:
        """Close the channel (AMQP Channel.Close); its consumers are cancelled first.

        :raises pika.exceptions.ChannelWrongStateError: it is closed, or being closed
        """
        if self.is_closed or self.is_closing:
            self._raise_if_not_open()
        LOGGER.info("Closing channel (%s): %r on %s", reply_code, reply_text, self)
        for consumer_tag in self.consumer_tags:
            if consumer_tag not in self._cancelled:
                self.basic_cancel(consumer_tag=consumer_tag)
        self._rpc(spec.Channel.Close(reply_code, reply_text, 0, 0), None, [spec.Channel.CloseOk])

    def flow(self, active: bool, callback: _Callback | None = None) -> None:
        """Ask the broker to stop or go on delivering (AMQP Channel.Flow).

        :param callback: called with what the broker does now, a bool
        """
        self._raise_if_not_open()
        validators.rpc_completion_callback(callback)

        def on_flowok(method_frame: Any) -> None:
            self.flow_active = method_frame.method.active
            if callback is not None:
                callback(method_frame.method.active)

        self._rpc(spec.Channel.Flow(active), on_flowok, [spec.Channel.FlowOk])

    def confirm_delivery(self, ack_nack_callback: _Callback, callback: _Callback | None = None) -> None:
        """Have the broker confirm each publish (RabbitMQ's Confirm.Select).

        :param ack_nack_callback: called with the frame of each Basic.Ack and Basic.Nack of the broker
        :raises ValueError: it cannot be called
        :raises pika.exceptions.MethodNotImplemented: the broker cannot
        """
        if not callable(ack_nack_callback):
            raise ValueError(
                "confirm_delivery requires a callback to receieve Basic.Ack/Basic.Nack notifications"
            )
        cookie = self._open_cookie()
        validators.rpc_completion_callback(callback)
        if not (self.connection.publisher_confirms and self.connection.basic_nack):
            raise exceptions.MethodNotImplemented("Confirm.Select not Supported by Server")
        if ack_nack_callback != cookie._message_confirmation_result.set_value_once:
            self.add_callback(ack_nack_callback, [spec.Basic.Ack, spec.Basic.Nack], False)
        self._rpc(spec.Confirm.Select(False), callback, [spec.Confirm.SelectOk])

    def open(self) -> None:
        """Open the channel (AMQP Channel.Open): its `BlockingChannel` does, when it has been made."""

    # ---- quality of service ----

    def basic_qos(
        self,
        prefetch_size: int = 0,
        prefetch_count: int = 0,
        global_qos: bool = False,
        callback: _Callback | None = None,
    ) -> None:
        """Limit what is delivered and not acknowledged, see `BlockingChannel.basic_qos`."""
        self._raise_if_not_open()
        validators.rpc_completion_callback(callback)
        validators.zero_or_greater("prefetch_size", prefetch_size)
        validators.zero_or_greater("prefetch_count", prefetch_count)
        qos = spec.Basic.Qos(prefetch_size, prefetch_count, global_qos)
        return self._rpc(qos, callback, [spec.Basic.QosOk])

    def basic_recover(self, requeue: bool = False, callback: _Callback | None = None) -> None:
        """Have what is not acknowledged delivered again, see `BlockingChannel.basic_recover`."""
        self._raise_if_not_open()
        validators.rpc_completion_callback(callback)
        return self._rpc(spec.Basic.Recover(requeue), callback, [spec.Basic.RecoverOk])

    # ---- exchanges ----

    def exchange_declare(
        self,
        exchange: str,
        exchange_type: str = ExchangeType.direct,
        passive: bool = False,
        durable: bool = False,
        auto_delete: bool = False,
        internal: bool = False,
        arguments: Mapping[str, Any] | None = None,
        callback: _Callback | None = None,
    ) -> None:
        """Make an exchange, see `BlockingChannel.exchange_declare`."""
        validators.require_string(exchange, "exchange")
        self._raise_if_not_open()
        nowait = validators.rpc_completion_callback(callback)
        if isinstance(exchange_type, Enum):
            exchange_type = exchange_type.value
        declare = spec.Exchange.Declare(
            0, exchange, exchange_type, passive, durable, auto_delete, internal, nowait, arguments or {}
        )
        return self._rpc(declare, callback, _unless(nowait, spec.Exchange.DeclareOk))

    def exchange_delete(
        self, exchange: str | None = None, if_unused: bool = False, callback: _Callback | None = None
    ) -> None:
        """Delete an exchange, see `BlockingChannel.exchange_delete`."""
        self._raise_if_not_open()
        nowait = validators.rpc_completion_callback(callback)
        delete = spec.Exchange.Delete(0, exchange, if_unused, nowait)
        return self._rpc(delete, callback, _unless(nowait, spec.Exchange.DeleteOk))

    def exchange_bind(
        self,
        destination: str,
        source: str,
        routing_key: str = "",
        arguments: Mapping[str, Any] | None = None,
        callback: _Callback | None = None,
    ) -> None:
        """Bind an exchange to another, see `BlockingChannel.exchange_bind`."""
        self._raise_if_not_open()
        validators.require_string(destination, "destination")
        validators.require_string(source, "source")
        nowait = validators.rpc_completion_callback(callback)
        bind = spec.Exchange.Bind(0, destination, source, routing_key, nowait, arguments or {})
        return self._rpc(bind, callback, _unless(nowait, spec.Exchange.BindOk))

    def exchange_unbind(
        self,
        destination: str | None = None,
        source: str | None = None,
        routing_key: str = "",
        arguments: Mapping[str, Any] | None = None,
        callback: _Callback | None = None,
    ) -> None:
        """Undo `exchange_bind`, see `BlockingChannel.exchange_unbind`."""
        self._raise_if_not_open()
        nowait = validators.rpc_completion_callback(callback)
        unbind = spec.Exchange.Unbind(0, destination, source, routing_key, nowait, arguments)
        return self._rpc(unbind, callback, _unless(nowait, spec.Exchange.UnbindOk))

    # ---- queues ----

    def queue_declare(
        self,
        queue: str,
        passive: bool = False,
        durable: bool = False,
        exclusive: bool = False,
        auto_delete: bool = False,
        arguments: Mapping[str, Any] | None = None,
        callback: _Callback | None = None,
    ) -> None:
        """Make a queue, see `BlockingChannel.queue_declare`."""
        validators.require_string(queue, "queue")
        self._raise_if_not_open()
        nowait = validators.rpc_completion_callback(callback)
        declare = spec.Queue.Declare(
            0, queue, passive, durable, exclusive, auto_delete, nowait, arguments or {}
        )
        return self._rpc(declare, callback, _unless(nowait, spec.Queue.DeclareOk))

    def queue_delete(
        self,
        queue: str,
        if_unused: bool = False,
        if_empty: bool = False,
        callback: _Callback | None = None,
    ) -> None:
        """Delete a queue, see `BlockingChannel.queue_delete`."""
        self._raise_if_not_open()
        validators.require_string(queue, "queue")
        nowait = validators.rpc_completion_callback(callback)
        delete = spec.Queue.Delete(0, queue, if_unused, if_empty, nowait)
        return self._rpc(delete, callback, _unless(nowait, spec.Queue.DeleteOk))

    def queue_purge(self, queue: str, callback: _Callback | None = None) -> None:
        """Drop the messages of a queue, see `BlockingChannel.queue_purge`."""
        self._raise_if_not_open()
        validators.require_string(queue, "queue")
        nowait = validators.rpc_completion_callback(callback)
        return self._rpc(spec.Queue.Purge(0, queue, nowait), callback, _unless(nowait, spec.Queue.PurgeOk))

    def queue_bind(
        self,
        queue: str,
        exchange: str,
        routing_key: str | None = None,
        arguments: Mapping[str, Any] | None = None,
        callback: _Callback | None = None,
    ) -> None:
        """Bind a queue to an exchange, see `BlockingChannel.queue_bind`."""
        self._raise_if_not_open()
        validators.require_string(queue, "queue")
        validators.require_string(exchange, "exchange")
        nowait = validators.rpc_completion_callback(callback)
        if routing_key is None:
            routing_key = queue
        bind = spec.Queue.Bind(0, queue, exchange, routing_key, nowait, arguments or {})
        return self._rpc(bind, callback, _unless(nowait, spec.Queue.BindOk))

    def queue_unbind(
        self,
        queue: str,
        exchange: str | None = None,
        routing_key: str | None = None,
        arguments: Mapping[str, Any] | None = None,
        callback: _Callback | None = None,
    ) -> None:
        """Undo `queue_bind`, see `BlockingChannel.queue_unbind`."""
        self._raise_if_not_open()
        validators.require_string(queue, "queue")
        validators.rpc_completion_callback(callback)
        if routing_key is None:
            routing_key = queue
        unbind = spec.Queue.Unbind(0, queue, exchange, routing_key, arguments or {})
        return self._rpc(unbind, callback, [spec.Queue.UnbindOk])

    # ---- transactions ----

    def tx_select(self, callback: _Callback | None = None) -> None:
        """Begin to use transactions (AMQP Tx.Select)."""
        self._raise_if_not_open()
        validators.rpc_completion_callback(callback)
        return self._rpc(spec.Tx.Select(), callback, [spec.Tx.SelectOk])

    def tx_commit(self, callback: _Callback | None = None) -> None:
        """Commit a transaction (AMQP Tx.Commit)."""
        self._raise_if_not_open()
        validators.rpc_completion_callback(callback)
        return self._rpc(spec.Tx.Commit(), callback, [spec.Tx.CommitOk])

    def tx_rollback(self, callback: _Callback | None = None) -> None:
        """Undo a transaction (AMQP Tx.Rollback)."""
        self._raise_if_not_open()
        validators.rpc_completion_callback(callback)
        return self._rpc(spec.Tx.Rollback(), callback, [spec.Tx.RollbackOk])


def _unless(nowait: bool, reply: type[Method]) -> list[type[Method]]:
    """Return what answers a method."""
    return [] if nowait else [reply]


_wrappers.watch(Channel)
