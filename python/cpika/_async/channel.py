"""A channel whose answers, messages and events come by callbacks: pika's `Channel` on a loop."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from cpika import exceptions, spec, validators
from cpika._async.hot import HotChannel
from cpika._async.requests import Answer, Arguments, Requests
from cpika._forgetting import CLOSE_KEY, Forgetting

if TYPE_CHECKING:
    from cpika._async.connection import Connection

LOGGER = logging.getLogger("pika.channel")


class Channel(Requests, Forgetting, HotChannel):
    """One channel of a connection on an event loop; `connection.channel()` makes it.

    :param connection: the connection
    :param channel_number: 1 to 65535
    :param on_open_callback: called with the channel when it is open
    :raises pika.exceptions.InvalidChannelNumber: a number that is no int
    :raises TypeError: `on_open_callback` is neither callable nor None
    """

    CLOSED = 0
    OPENING = 1
    OPEN = 2
    CLOSING = 3  # client-initiated close in progress

    _STATE_NAMES: ClassVar[dict[int, str]] = {
        CLOSED: "CLOSED",
        OPENING: "OPENING",
        OPEN: "OPEN",
        CLOSING: "CLOSING",
    }

    _closing_reason: BaseException | None = None
    connection: Any

    _ON_CHANNEL_CLEANUP_CB_KEY = "_on_channel_cleanup"

    def __init__(
        self,
        connection: Connection,
        channel_number: int,
        on_open_callback: Callable[[Any], Any] | None = None,
    ) -> None:
        if not isinstance(channel_number, int):
            raise exceptions.InvalidChannelNumber(channel_number)
        validators.rpc_completion_callback(on_open_callback)
        engine = connection._engine
        if engine is None:
            raise exceptions.ConnectionWrongStateError(f"A channel requires an open connection: {connection}")
        super().__init__(engine, channel_number)
        self.callbacks = connection.callbacks
        self.connection = connection
        self.flow_active = True
        self._blocked: deque[Any] = deque()  # requests behind the one that awaits its answer
        self._blocking: str | None = None  # the name of that one
        self._has_on_flow_callback = False
        self._consumers_with_noack: set[str] = set()
        self._on_flowok_callback: Callable[[bool], Any] | None = None
        self._on_getok_callback: Callable[..., Any] | None = None
        self._on_openok_callback = on_open_callback
        self._cookie: Any = None

    def __int__(self) -> int:
        return self.channel_number

    def __repr__(self) -> str:
        state = self._STATE_NAMES[self._state]
        return f"<{self.__class__.__name__} number={self.channel_number} {state} conn={self.connection!r}>"

    # ---- callbacks ----

    def add_callback(
        self, callback: Callable[..., Any], replies: Iterable[type[Any]], one_shot: bool = True
    ) -> None:
        """Have `callback(frame)` called for methods of these classes that come on this channel.

        :param one_shot: only for the first
        """
        for reply in replies:
            self.callbacks.add(self.channel_number, reply, callback, one_shot)

    def add_on_cancel_callback(self, callback: Callable[[Any], Any]) -> None:
        """Have `callback(frame)` called when the broker cancels a consumer."""
        self.callbacks.add(self.channel_number, spec.Basic.Cancel, callback, False)

    def add_on_close_callback(self, callback: Callable[[Any, BaseException], Any]) -> None:
        """Have `callback(channel, exception)` called when the channel has ended, for whatever reason."""
        self.callbacks.add(self.channel_number, CLOSE_KEY, callback, False, self)

    def add_on_flow_callback(self, callback: Callable[[Any], Any]) -> None:
        """Have `callback(frame)` called for Channel.Flow of the broker."""
        self._has_on_flow_callback = True
        self.callbacks.add(self.channel_number, spec.Channel.Flow, callback, False)

    def add_on_return_callback(self, callback: Callable[..., Any]) -> None:
        """Have `callback(channel, method, properties, body)` called for messages that come back."""
        self.callbacks.add(self.channel_number, "_on_return", callback, False)

    # ---- consuming ----

    def basic_consume(
        self,
        queue: str,
        on_message_callback: Callable[..., Any],
        auto_ack: bool = False,
        exclusive: bool = False,
        consumer_tag: str | None = None,
        arguments: Arguments = None,
        callback: Answer = None,
    ) -> str:
        """Have the messages of a queue delivered (AMQP Basic.Consume); the answer is awaited in any case.

        :param queue: its name
        :param on_message_callback: called with channel, method, properties and body of each message
        :param auto_ack: the broker expects no acknowledgements
        :param exclusive: no other consumer on the queue
        :param consumer_tag: None for one that is made here
        :param arguments: for the broker
        :param callback: gets the frame of ConsumeOk
        :returns: the consumer's tag
        :raises pika.exceptions.DuplicateConsumerTag: the channel has a consumer of this tag
        """
        validators.require_string(queue, "queue")
        validators.require_callback(on_message_callback)
        self._raise_if_not_open()
        validators.rpc_completion_callback(callback)
        tag = consumer_tag or self._generate_consumer_tag()
        if tag in self._consumers or tag in self._cancelled:
            raise exceptions.DuplicateConsumerTag(tag)
        validators.require_tag(tag)
        if auto_ack:
            self._consumers_with_noack.add(tag)
        self._consumers[tag] = on_message_callback
        self._rpc(
            spec.Basic.Consume(
                queue=queue,
                consumer_tag=tag,
                no_ack=auto_ack,
                exclusive=exclusive,
                arguments=arguments or {},
            ),
            self._on_eventok if callback is None else callback,
            [(spec.Basic.ConsumeOk, {"consumer_tag": tag})],
        )
        return tag

    def basic_cancel(self, consumer_tag: str = "", callback: Answer = None) -> None:
        """End a consumer (AMQP Basic.Cancel); what is delivered to it by then goes back to its queue.

        :param consumer_tag: of the consumer; one that is not there is logged
        :param callback: gets the frame of CancelOk; without it the broker does not answer
        """
        validators.require_string(consumer_tag, "consumer_tag")
        self._raise_if_not_open()
        nowait = validators.rpc_completion_callback(callback)
        if consumer_tag in self._cancelled:
            LOGGER.warning("basic_cancel - consumer is already cancelling: %s", consumer_tag)
            return
        if consumer_tag not in self._consumers:
            LOGGER.warning("basic_cancel - consumer not found: %s", consumer_tag)
            return
        if nowait:
            del self._consumers[consumer_tag]
        if callback is not None:
            # With the tag: the answer to another consumer's cancel is not this one's.
            mine = {"consumer_tag": consumer_tag}
            self.callbacks.add(self.channel_number, spec.Basic.CancelOk, callback, arguments=mine)
        self._cancelled.add(consumer_tag)
        self._rpc(
            spec.Basic.Cancel(consumer_tag=consumer_tag, nowait=nowait),
            None if nowait else self._on_cancelok,
            [] if nowait else [(spec.Basic.CancelOk, {"consumer_tag": consumer_tag})],
        )

    @property
    def consumer_tags(self) -> list[str]:
        """Tags of the consumers."""
        return list(self._consumers)

    def basic_get(  # type: ignore[override]
        self, queue: str, callback: Callable[..., Any], auto_ack: bool = False
    ) -> None:
        """Get one message (AMQP Basic.Get).

        :param queue: its name
        :param callback: called with channel, method, properties and body; not called for an empty queue,
            which `add_callback(..., [spec.Basic.GetEmpty])` tells of
        :param auto_ack: the broker expects no acknowledgement
        :raises pika.exceptions.DuplicateGetOkCallback: the one before has not been answered
        :raises pika.exceptions.ChannelWrongStateError: the channel is closing, or closed
        """
        validators.require_string(queue, "queue")
        validators.require_callback(callback)
        if not self.is_opening:
            self._raise_if_not_open()
        if self._on_getok_callback is not None:
            raise exceptions.DuplicateGetOkCallback()
        get = spec.Basic.Get(queue=queue, no_ack=auto_ack)
        self._on_getok_callback = callback
        try:
            self._send_method(get)
        except BaseException:
            self._on_getok_callback = None
            raise

    # ---- the channel itself ----

    def confirm_delivery(self, ack_nack_callback: Callable[[Any], Any], callback: Answer = None) -> None:
        """Have the broker confirm what is published from now on (RabbitMQ's Confirm.Select).

        :param ack_nack_callback: called with the frame of each Basic.Ack and Basic.Nack
        :param callback: gets the frame of SelectOk; without it the broker does not answer
        :raises ValueError: `ack_nack_callback` is not callable
        :raises pika.exceptions.MethodNotImplemented: the broker cannot do that
        """
        if not callable(ack_nack_callback):
            # pika's own words, with their spelling
            raise ValueError(
                "confirm_delivery requires a callback to receieve Basic.Ack/Basic.Nack notifications"
            )
        self._raise_if_not_open()
        nowait = validators.rpc_completion_callback(callback)
        if not (self.connection.publisher_confirms and self.connection.basic_nack):
            raise exceptions.MethodNotImplemented("Confirm.Select not Supported by Server")
        self.callbacks.add(self.channel_number, spec.Basic.Ack, ack_nack_callback, False)
        self.callbacks.add(self.channel_number, spec.Basic.Nack, ack_nack_callback, False)
        self._request(spec.Confirm.Select(nowait), callback, spec.Confirm.SelectOk, nowait)

    def flow(self, active: bool, callback: Callable[[bool], Any] | None = None) -> None:
        """Have deliveries stop and go on (AMQP Channel.Flow); RabbitMQ takes True only.

        :param callback: gets the bool that the broker answers
        """
        self._raise_if_not_open()
        validators.rpc_completion_callback(callback)
        self._on_flowok_callback = callback
        self._rpc(spec.Channel.Flow(active), self._on_flowok, [spec.Channel.FlowOk])

    def open(self) -> None:
        """Open the channel (AMQP Channel.Open); `connection.channel()` has done so."""
        self._attach()
        self._set_state(self.OPENING)
        number = self.channel_number
        self.callbacks.add(number, spec.Basic.GetEmpty, self._on_getempty, False)
        self.callbacks.add(number, spec.Basic.Cancel, self._on_cancel, False)
        self.callbacks.add(number, spec.Channel.Flow, self._on_flow, False)
        self.callbacks.add(number, spec.Channel.Close, self._on_close_from_broker, True)
        self._rpc(spec.Channel.Open(), self._on_openok, [spec.Channel.OpenOk])

    def close(self, reply_code: int = 0, reply_text: str = "Normal shutdown") -> None:
        """Close the channel (AMQP Channel.Close) behind the requests that it still has.

        :raises pika.exceptions.ChannelWrongStateError: it is closed or being closed
        """
        if self.is_closed or self.is_closing:
            self._raise_if_not_open()
        close = spec.Channel.Close(reply_code, reply_text, 0, 0)
        close.encode()  # a bad argument is the caller's, and closes nothing
        LOGGER.info("Closing channel (%s): %r on %s", reply_code, reply_text, self)
        for tag in list(self._consumers):
            if tag not in self._cancelled:
                self.basic_cancel(consumer_tag=tag)
        self._closing_reason = exceptions.ChannelClosedByClient(reply_code, reply_text)
        self._set_state(self.CLOSING)
        self._rpc(close, self._on_closeok, [spec.Channel.CloseOk])

    @property
    def is_opening(self) -> bool:
        """True until the broker has answered Channel.Open."""
        return self._state == self.OPENING

    @property
    def is_closing(self) -> bool:
        """True until the broker has answered Channel.Close."""
        return self._state == self.CLOSING

    def _set_state(self, connection_state: int) -> None:
        self._state = connection_state

    def _raise_if_not_open(self) -> None:
        """
        :raises pika.exceptions.ChannelWrongStateError: the channel is not open
        """
        self._check_open()

    def _set_cookie(self, cookie: Any) -> None:
        """Remember an object that stands for this channel."""
        self._cookie = cookie

    def _get_cookie(self) -> Any:
        """Return that object."""
        return self._cookie

    def _generate_consumer_tag(self) -> str:
        """Return a consumer tag that is used nowhere else."""
        return f"ctag{self.channel_number}.{os.urandom(16).hex()}"

    # ---- requests, one at a time ----

    def _send_method(self, method: Any, content: Any = None) -> None:
        self.connection._send_method(self.channel_number, method, content)

    def _rpc(  # type: ignore[override]
        self, method: Any, callback: Answer = None, acceptable_replies: list[Any] | None = None
    ) -> None:
        """Send a method now, or once those before it are answered.

        :param callback: gets the frame of the answer
        :param acceptable_replies: classes of the answer, or (class, {field: value}); none: there is no answer
        """
        if not isinstance(acceptable_replies, (type(None), list)):
            raise TypeError("acceptable_replies should be list or None")
        if callback is not None and not callable(callback):
            raise TypeError("callback should be None or a callable")
        if callback is not None and not acceptable_replies:
            raise ValueError("Unexpected callback for asynchronous (nowait) operation.")
        if self.is_closed:
            self._raise_if_not_open()
        if self._blocking:
            self._blocked.append([method, callback, acceptable_replies])
            return
        self._send_method(method)
        if acceptable_replies:
            self._expect(method, callback, acceptable_replies)

    def _expect(self, method: Any, callback: Answer, acceptable_replies: list[Any]) -> None:
        """A method has been sent: the next one waits for its answer."""
        self._blocking = method.NAME
        add, prefix = self.callbacks.add, str(self.channel_number)
        for reply in acceptable_replies:
            kind, arguments = reply if isinstance(reply, tuple) else (reply, None)
            add(prefix, kind.NAME, self._on_synchronous_complete, arguments=arguments)
            if callback is not None:
                add(prefix, kind.NAME, callback, arguments=arguments)

    def _on_synchronous_complete(self, _method_frame: Any) -> None:
        """The request under way is answered: the next ones leave."""
        self._blocking = None
        while self._blocked and self._blocking is None:
            self._rpc(*self._blocked.popleft())

    # ---- what comes ----

    def _deliver(self, method_frame: Any, header_frame: Any, body: bytes) -> None:
        """A message for a consumer; the common case goes from the core to the callback without this."""
        deliver = method_frame.method
        tag = deliver.consumer_tag
        if tag in self._cancelled:
            if self.is_open and tag not in self._consumers_with_noack:
                self.basic_reject(deliver.delivery_tag)
            return
        callback = self._consumers.get(tag)
        if callback is None:
            LOGGER.error("Unexpected delivery: %r", method_frame)
            return
        callback(self, deliver, header_frame.properties, body)

    def _on_getok(self, method_frame: Any, header_frame: Any, body: bytes) -> None:
        callback, self._on_getok_callback = self._on_getok_callback, None
        if callback is None:
            LOGGER.error("Basic.GetOk received with no active callback")
        else:
            callback(self, method_frame.method, header_frame.properties, body)

    def _on_getempty(self, _method_frame: Any) -> None:
        self._on_getok_callback = None

    def _on_return(self, method_frame: Any, header_frame: Any, body: bytes) -> None:
        self.callbacks.process(
            self.channel_number,
            "_on_return",
            self,
            self,
            method_frame.method,
            header_frame.properties,
            body,
        )

    def _on_cancel(self, method_frame: Any) -> None:
        """The broker has cancelled a consumer."""
        tag = method_frame.method.consumer_tag
        if tag not in self._cancelled:  # else the answer to our own request is on its way
            self._cleanup_consumer_ref(tag)

    def _on_cancelok(self, method_frame: Any) -> None:
        self._cleanup_consumer_ref(method_frame.method.consumer_tag)

    def _cleanup_consumer_ref(self, consumer_tag: str) -> None:
        self._consumers_with_noack.discard(consumer_tag)
        self._consumers.pop(consumer_tag, None)
        self._cancelled.discard(consumer_tag)

    def _on_eventok(self, _method_frame: Any) -> None:
        """An answer that nobody asked to see."""

    def _on_flow(self, _method_frame: Any) -> None:
        if not self._has_on_flow_callback:
            LOGGER.warning("Channel.Flow received from server")

    def _on_flowok(self, method_frame: Any) -> None:
        self.flow_active = method_frame.method.active
        callback, self._on_flowok_callback = self._on_flowok_callback, None
        if callback is None:
            LOGGER.warning("Channel.FlowOk received with no active callbacks")
        else:
            callback(method_frame.method.active)

    def _on_openok(self, _method_frame: Any) -> None:
        if self.is_closing:
            return
        self._set_state(self.OPEN)
        if self._on_openok_callback is not None:
            self._on_openok_callback(self)

    def _on_unexpected_frame(self, frame_value: Any) -> None:
        LOGGER.error("Unexpected frame: %r", frame_value)

    # ---- the end ----

    def _add_on_cleanup_callback(self, callback: Callable[[Any], Any]) -> None:
        """Have `callback(channel)` called once the channel's close callbacks have been."""
        self.callbacks.add(
            self.channel_number, self._ON_CHANNEL_CLEANUP_CB_KEY, callback, one_shot=True, only_caller=self
        )

    def _on_close_from_broker(self, method_frame: Any) -> None:
        close = method_frame.method
        LOGGER.warning(
            "Received remote Channel.Close (%s): %r on %s", close.reply_code, close.reply_text, self
        )
        closing = self.is_closing
        self._set_state(self.CLOSING)  # before CloseOk: nothing may follow that, from other threads neither
        self._closing_reason = exceptions.ChannelClosedByBroker(close.reply_code, close.reply_text)
        queued, self._blocked = self._blocked, deque()
        if not closing or any(isinstance(method, spec.Channel.Close) for method, _, _ in queued):
            self._send_method(spec.Channel.CloseOk())  # ours has not left, and never will
        else:
            self._cross()
        self._transition_to_closed()

    def _on_closeok(self, method_frame: Any) -> None:
        LOGGER.info("Received %s on %s", method_frame.method, self)
        self._transition_to_closed()

    def _on_close_meta(self, reason: BaseException | None) -> None:
        """The connection has ended."""
        if not self.is_closed:
            self._closing_reason = reason
            self._transition_to_closed()

    def _transition_to_closed(self) -> None:
        self._set_state(self.CLOSED)
        try:
            self.callbacks.process(self.channel_number, CLOSE_KEY, self, self, self._closing_reason)
        finally:
            self._cleanup()

    def _cleanup(self) -> None:
        self._detach()
        self.callbacks.process(self.channel_number, self._ON_CHANNEL_CLEANUP_CB_KEY, self, self)
        self._consumers = {}
        self.callbacks.cleanup(str(self.channel_number))
        self._cookie = None
