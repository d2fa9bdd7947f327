"""The inside of `pika.channel.Channel`: its state, its callbacks, and the two methods that all others call.

Programs and tracers know much of it by pika's private names.
"""

from __future__ import annotations

import functools
import logging
import uuid
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import cpika
from cpika import _wrappers, exceptions, frame, spec, validators
from cpika._core import Channel as _CoreChannel
from cpika._core import LoopChannel
from cpika._forgetting import CLOSE_KEY, Forgetting
from cpika.amqp_object import Method
from cpika.callback import CallbackManager

if TYPE_CHECKING:
    import cpika.connection
    from cpika.adapters.blocking_connection import BlockingChannel

LOGGER = logging.getLogger("pika.channel")


class _Request:
    """A method that is sent when its answer is awaited."""

    method: Any = None


_request: ContextVar[_Request | None] = ContextVar("_request", default=None)


class _Consumers(dict[str, Any]):
    """`_consumers`: what gets a consumer's messages, by tag; what is put in gets them from then on."""

    def __init__(self, channel: ChannelInside) -> None:
        super().__init__()
        self._channel = weakref.ref(channel)

    def __setitem__(self, consumer_tag: str, callback: Any) -> None:
        super().__setitem__(consumer_tag, callback)
        channel = self._channel()
        cookie = None if channel is None else channel._cookie
        if cookie is not None:
            cookie._lead_through(consumer_tag)


class ChannelInside(Forgetting, _wrappers.Traceable):
    """What is not public in `Channel`.

    :param connection: the engine of the connection
    :param channel_number: 1 to 65535
    :param on_open_callback: called with the channel when the broker has opened it; or None
    :raises pika.exceptions.InvalidChannelNumber: a number that is no int
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

    _ON_CHANNEL_CLEANUP_CB_KEY = "_on_channel_cleanup"

    def __init__(
        self,
        connection: Any,
        channel_number: int,
        on_open_callback: Callable[[Any], Any] | None,
    ) -> None:
        if isinstance(self, LoopChannel):  # a program's subclass on an event loop, which names this class
            _wrappers.begin_loop_channel(self, connection, channel_number, on_open_callback)
            return
        if not isinstance(channel_number, int):
            raise exceptions.InvalidChannelNumber(channel_number)
        validators.rpc_completion_callback(on_open_callback)
        super().__init__()
        self.channel_number = channel_number
        self.connection: cpika.connection.Connection = connection  # or what stands for one
        self.flow_active = True
        self._on_openok_callback = on_open_callback
        self._reservation: object = None  # while that lives, its number is taken
        self._on_getok_callback: Callable[..., Any] | None = None
        self._own_consumers: _Consumers | None = None
        self._listens = False
        # Weak: the BlockingChannel holds this object; a circle would outlive both until the next collection.
        self._cookie_ref: weakref.ref[BlockingChannel] | None = None

    def __int__(self) -> int:
        return self.channel_number

    def __repr__(self) -> str:
        state = self._STATE_NAMES[self._state]
        return f"<{self.__class__.__name__} number={self.channel_number} {state} conn={self.connection!r}>"

    # ---- state ----

    def _set_cookie(self, cookie: BlockingChannel) -> None:
        """Remember the `BlockingChannel` that this channel stands behind."""
        self._cookie_ref = weakref.ref(cookie)

    def _get_cookie(self) -> BlockingChannel | None:
        """Return the `BlockingChannel` that this channel stands behind."""
        return self._cookie

    @property
    def _cookie(self) -> BlockingChannel | None:
        return None if self._cookie_ref is None else self._cookie_ref()

    @property
    def _state(self) -> int:
        if self._cookie_ref is None:
            return self.OPENING
        cookie = self._cookie_ref()
        return self.CLOSED if cookie is None else cookie._state

    @property
    def _closing_reason(self) -> BaseException | None:
        cookie = self._cookie
        return None if cookie is None else cookie._closing_reason

    def _opened(self) -> None:
        """The broker has opened the channel: tell who asked for it."""
        callback, self._on_openok_callback = self._on_openok_callback, None
        if callback is not None:
            callback(self)

    def _raise_if_not_open(self) -> None:
        """
        :raises pika.exceptions.ChannelWrongStateError: the channel is not open
        """
        cookie = self._cookie
        if cookie is not None:
            cookie._check_open()
        elif self._cookie_ref is None:
            raise exceptions.ChannelWrongStateError("Channel is opening, but is not usable yet.")
        else:
            raise exceptions.ChannelWrongStateError("Channel is closed.")

    def _open_cookie(self) -> BlockingChannel:
        """
        :raises pika.exceptions.ChannelWrongStateError: the channel is not open
        """
        self._raise_if_not_open()
        cookie = self._cookie
        assert cookie is not None
        return cookie

    def _generate_consumer_tag(self) -> str:
        """Return a consumer tag that is used nowhere else."""
        return f"ctag{self.channel_number}.{uuid.uuid4().hex}"

    # ---- callbacks ----

    @property
    def callbacks(self) -> CallbackManager:
        """Callbacks for methods of the broker, by channel number and method; `add_callback` adds to them."""
        self._listen()
        return self.connection.callbacks

    def _listen(self) -> None:
        """From now on each answer is shown to the callbacks: calls go the long way."""
        if not self._listens:
            self._listens = True
            engine: Any = self.connection
            engine._listeners[self.channel_number] = self
            self._look_again()
            self._set_wrapped(self._with_more(self._wrapped))

    def _with_more(self, names: frozenset[str]) -> frozenset[str]:
        return names.union(self._originals) - {"_on_deliver"} | names if self._listens else names

    def _tell(self, method_frame: frame.Method[Any]) -> None:
        """Call the callbacks for a method of the broker."""
        if self._listens:
            self.connection.callbacks.process(self.channel_number, method_frame.method, self, method_frame)

    def _tell_closed(self, reason: BaseException | None) -> None:
        """Call the callbacks of `add_on_close_callback`, once."""
        if self._listens:
            self._listens = False
            callbacks = self.connection.callbacks
            try:
                callbacks.process(self.channel_number, CLOSE_KEY, self, self, reason)
            finally:
                callbacks.process(self.channel_number, self._ON_CHANNEL_CLEANUP_CB_KEY, self, self)
                callbacks.cleanup(str(self.channel_number))
                self._look_again()  # nobody listens any more

    def _add_on_cleanup_callback(self, callback: Callable[..., Any]) -> None:
        """Have a callback called with the channel when everything else has been told that it is closed."""
        self.callbacks.add(
            self.channel_number, self._ON_CHANNEL_CLEANUP_CB_KEY, callback, one_shot=True, only_caller=self
        )

    # ---- consumers ----

    @property
    def _consumers(self) -> _Consumers:
        """What gets each consumer's messages, by tag; that of a `BlockingChannel`, unless it was replaced."""
        consumers = self._own_consumers
        if consumers is None:
            consumers = self._own_consumers = _Consumers(self)
        cookie = self._cookie
        infos: Any = {} if cookie is None else cookie._consumer_infos
        for consumer_tag in [tag for tag in consumers if tag not in infos]:
            del consumers[consumer_tag]
        for consumer_tag in list(infos):
            if consumer_tag not in consumers:
                dict.__setitem__(consumers, consumer_tag, cookie._on_consumer_message_delivery)  # type: ignore[union-attr]
        return consumers

    def _consumer_infos(self) -> dict[str, Any]:
        cookie = self._cookie
        return {} if cookie is None else dict(cookie._consumer_infos)

    @property
    def _cancelled(self) -> set[str]:
        """Tags of the consumers whose cancellation is under way."""
        return {tag for tag, info in self._consumer_infos().items() if info.tearing_down}

    @property
    def _consumers_with_noack(self) -> set[str]:
        """Tags of the consumers whose messages nobody acknowledges."""
        return {tag for tag, info in self._consumer_infos().items() if info.auto_ack}

    def _wrapping_changed(self) -> None:
        cookie = self._cookie
        if cookie is not None and "_on_deliver" in self._wrapped:
            for consumer_tag in list(cookie._consumer_infos):
                cookie._lead_through(consumer_tag)

    # ---- out ----

    def _send_method(
        self, method: Method, content: tuple[spec.BasicProperties, str | bytes] | None = None
    ) -> None:
        """Send a method, and with it a message.

        :param content: properties and body
        """
        request = _request.get()
        if request is not None and content is None and method.synchronous:
            method.encode()  # what cannot be sent is the sender's error
            request.method = method
            return
        cookie = self._open_cookie()
        try:
            self._send_now(cookie, method, content)
        except exceptions.AMQPConnectionError as error:
            # pika sends when the wrappers have returned, and finds then that the connection is lost.
            _wrappers.later(functools.partial(_raise, error))

    @staticmethod
    def _send_now(
        cookie: BlockingChannel, method: Method, content: tuple[spec.BasicProperties, str | bytes] | None
    ) -> None:
        if isinstance(method, spec.Basic.Publish):
            properties, body = content or (None, b"")
            _CoreChannel.basic_publish(
                cookie, method.exchange, method.routing_key, body, properties, method.mandatory
            )
        elif isinstance(method, spec.Basic.Ack):
            _CoreChannel.basic_ack(cookie, method.delivery_tag, method.multiple)
        elif isinstance(method, spec.Basic.Nack):
            _CoreChannel.basic_nack(cookie, method.delivery_tag, method.multiple, method.requeue)
        elif isinstance(method, spec.Basic.Reject):
            _CoreChannel.basic_reject(cookie, method.delivery_tag, method.requeue)
        else:
            _CoreChannel._send_method(cookie, method)

    @contextmanager
    def _requesting(self) -> Iterator[_Request]:
        """Inside, `_send_method` leaves a synchronous method to who awaits its answer."""
        request = _Request()
        token = _request.set(request)
        try:
            yield request
        finally:
            _request.reset(token)

    def _rpc(
        self,
        method: Method,
        callback: Callable[..., Any] | None = None,
        acceptable_replies: Sequence[Any] | None = None,
    ) -> None:
        """Send a method and have a callback called with the frame of its answer.

        Called by a `BlockingChannel`, it is sent when all wrappers have returned; by others, at once.

        :param acceptable_replies: list of the methods that answer it, each alone or with its arguments
        """
        assert method.synchronous, f"Only synchronous-capable methods may be used with _rpc: {method!r}"
        if not isinstance(acceptable_replies, (type(None), list)):
            raise TypeError("acceptable_replies should be list or None")
        if callback is not None:
            if not callable(callback):
                raise TypeError("callback should be None or a callable")
            if not acceptable_replies:
                raise ValueError("Unexpected callback for asynchronous (nowait) operation.")
        if self._state == self.CLOSED:
            self._raise_if_not_open()
        if not acceptable_replies:
            self._send_method(method)
            return
        with self._requesting() as request:
            self._send_method(method)
        if request.method is not None:
            reply = acceptable_replies[0]
            reply = reply[0] if isinstance(reply, tuple) else reply
            _wrappers.later(functools.partial(self._await_answer, request.method, reply, callback))

    def _await_answer(self, method: Method, reply: type[Method], callback: Callable[..., Any] | None) -> None:
        answer = self._open_cookie()._exchange(method, reply)
        method_frame = frame.Method(self.channel_number, answer)
        if not isinstance(method, spec.Channel.Close):
            self._tell(method_frame)
        if callback is not None:
            callback(method_frame)

    # ---- in ----

    def _on_deliver(self, method_frame: frame.Method[Any], header_frame: frame.Header, body: bytes) -> None:
        """Give a delivered message to its consumer."""
        consumer_tag = method_frame.method.consumer_tag
        consumer = self._consumers.get(consumer_tag)
        if consumer is None:
            LOGGER.error("Unexpected delivery: %r", method_frame)
            return
        consumer(self, method_frame.method, header_frame.properties, body)

    def _on_getok(self, method_frame: frame.Method[Any], header_frame: frame.Header, body: bytes) -> None:
        """Give the message that `basic_get` asked for to its callback."""
        callback = self._on_getok_callback
        if callback is None:
            LOGGER.error("Basic.GetOk received with no active callback")
            return
        self._on_getok_callback = None
        callback(self, method_frame.method, header_frame.properties, body)

    def _on_getempty(self, method_frame: frame.Method[Any]) -> None:
        """The queue of `basic_get` is empty."""
        LOGGER.debug("Received Basic.GetEmpty: %r", method_frame)
        self._on_getok_callback = None

    def _await_message(self, method: spec.Basic.Get) -> None:
        """Send a Basic.Get and give the message to its callback."""
        try:
            got = _CoreChannel.basic_get(self._open_cookie(), method.queue, method.no_ack)
        except BaseException:
            self._on_getok_callback = None
            raise
        number = self.channel_number
        if got[0] is None:
            empty: frame.Method[Any] = frame.Method(number, spec.Basic.GetEmpty())
            self._on_getempty(empty)
            self._tell(empty)
        else:
            self._on_getok(frame.Method(number, got[0]), frame.Header(number, len(got[2]), got[1]), got[2])


def _raise(error: BaseException) -> NoReturn:
    raise error
