"""What waits to be dispatched to a user's callback, and what `consume()` keeps."""

from __future__ import annotations

import logging
from abc import ABC
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cpika import spec
from cpika._core import _ConsumerDeliveryEvt

if TYPE_CHECKING:
    from cpika.adapters.blocking_connection import BlockingChannel

_LOG = logging.getLogger("pika.adapters.blocking_connection")


class _ChannelPendingEvt(ABC):  # noqa: B024  # pika's name for the three kinds of them
    """Something that was received for a channel."""

    __slots__ = ()


_ChannelPendingEvt.register(_ConsumerDeliveryEvt)


class _TimerEvt:
    """A timer of `BlockingConnection.call_later`; also the opaque timer id that the user gets.

    `deadline` is the moment of `time.monotonic()` when it is due.

    :param callback: called without arguments; None once the timer is removed or has fired
    """

    __slots__ = ("callback", "deadline", "timer_id")

    def __init__(self, callback: Callable[[], Any]) -> None:
        self.callback: Callable[[], Any] | None = callback
        self.deadline = 0.0
        self.timer_id: object = None  # pika's name; here the timer is its own id

    def __repr__(self) -> str:
        return f"<{self.__class__.__name__} timer_id={self.timer_id} callback={self.callback}>"

    @property
    def _callback(self) -> Callable[[], Any] | None:
        """pika's name."""
        return self.callback

    def dispatch(self) -> None:
        """Call the user's callback, once."""
        callback = self.callback
        self.callback = None
        if callback is not None:
            _LOG.debug("_TimerEvt.dispatch: invoking callback=%r", callback)
            callback()


class _ConnectionBlockedUnblockedEvtBase:
    """What is common to the next two: something for a user's callback.

    :param callback: called with the method frame
    :param method_frame: what the broker sent
    """

    __slots__ = ("_callback", "_method_frame")

    def __init__(self, callback: Callable[[Any], Any], method_frame: Any) -> None:
        self._callback = callback
        self._method_frame = method_frame

    def __repr__(self) -> str:
        return f"<{self.__class__.__name__} callback={self._callback}, frame={self._method_frame}>"

    def dispatch(self) -> None:
        """Call the user's callback."""
        self._callback(self._method_frame)


class _ConnectionBlockedEvt(_ConnectionBlockedUnblockedEvtBase):
    """A Connection.Blocked of the broker."""

    __slots__ = ()


class _ConnectionUnblockedEvt(_ConnectionBlockedUnblockedEvtBase):
    """A Connection.Unblocked of the broker."""

    __slots__ = ()


class _ConsumerCancellationEvt(_ChannelPendingEvt):
    """The broker has cancelled a consumer (AMQP Basic.Cancel).

    :param method_frame: what the broker sent
    """

    __slots__ = ("_channel", "method_frame")

    def __init__(self, method_frame: Any) -> None:
        self.method_frame = method_frame
        self._channel: Any = None  # the channel of the consumer, which `dispatch` tells

    def __repr__(self) -> str:
        return f"<{self.__class__.__name__} method_frame={self.method_frame!r}>"

    @property
    def method(self) -> spec.Basic.Cancel:
        """The Basic.Cancel."""
        method: spec.Basic.Cancel = self.method_frame.method
        return method

    def dispatch(self) -> None:
        """Forget the consumer and call the callbacks of `add_on_cancel_callback`."""
        if self._channel is not None:
            self._channel._forget_cancelled_consumer(self.method_frame)


class _ReturnedMessageEvt(_ChannelPendingEvt):
    """A message that the broker returned (AMQP Basic.Return), for a callback of `add_on_return_callback`."""

    __slots__ = ("body", "callback", "channel", "method", "properties")

    def __init__(
        self,
        callback: Callable[[BlockingChannel, Any, Any, bytes], Any],
        channel: BlockingChannel,
        method: spec.Basic.Return,
        properties: spec.BasicProperties,
        body: bytes,
    ) -> None:
        self.callback = callback
        self.channel = channel
        self.method = method
        self.properties = properties
        self.body = body

    def __repr__(self) -> str:
        return (
            f"<{self.__class__.__name__} callback={self.callback!r} channel={self.channel!r} "
            f"method={self.method!r} properties={self.properties!r} body={self.body!r:.300}>"
        )

    def dispatch(self) -> None:
        """Call the user's callback."""
        self.callback(self.channel, self.method, self.properties, self.body)


class ReturnedMessage:
    """A message that was published with confirms and came back.

    :param method: spec.Basic.Return
    :param properties: spec.BasicProperties
    :param body: bytes, empty if there is none
    """

    __slots__ = {
        "body": "The body, bytes.",
        "method": "`spec.Basic.Return`: why it came back, and where it was published to.",
        "properties": "`spec.BasicProperties`.",
    }

    def __init__(self, method: spec.Basic.Return, properties: spec.BasicProperties, body: bytes) -> None:
        self.method = method
        self.properties = properties
        self.body = body


class _QueueConsumerGeneratorInfo:
    """What the channel knows of the consumer of `consume()`.

    :param params: (queue, auto_ack, exclusive) of the consumer
    :param consumer_tag: its tag
    """

    __slots__ = ("consumer_tag", "params", "pending_events")

    def __init__(self, params: tuple[str, bool, bool], consumer_tag: str) -> None:
        self.params = params
        self.consumer_tag = consumer_tag
        # A tracer replaces it by a proxy that has popleft(): every use goes through the attribute.
        self.pending_events: deque[Any] = deque()

    def __repr__(self) -> str:
        return f"<{self.__class__.__name__} params={self.params!r} consumer_tag={self.consumer_tag!r}>"
