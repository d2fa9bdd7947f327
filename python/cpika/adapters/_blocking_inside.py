"""The half of `BlockingChannel` that pika keeps to itself, as far as programs and tracers use it.

Nothing here runs on the way of a call or a message, unless somebody has replaced or wrapped what pika would
call there.
"""

from __future__ import annotations

import logging
import time
from collections import deque, namedtuple
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Callable, cast

from cpika import exceptions, frame, spec
from cpika._core import _ConsumerDeliveryEvt, _ConsumerInfo, raise_again
from cpika.adapters import _blocking_calls
from cpika.adapters._blocking_events import (
    ReturnedMessage,
    _ConsumerCancellationEvt,
    _QueueConsumerGeneratorInfo,
    _ReturnedMessageEvt,
)
from cpika.adapters._blocking_through import ThroughConsumer, reject_all, sink_of

if TYPE_CHECKING:
    from cpika.amqp_object import Method

LOGGER = logging.getLogger("pika.adapters.blocking_connection")
_CHANNEL_LOGGER = logging.getLogger("pika.channel")
_CALLBACK_LOGGER = logging.getLogger("pika.callback")


class _Confirmations:
    """What pika's channels tell of confirms; here the core keeps the books."""

    def set_value_once(self, *args: Any, **kwargs: Any) -> None:
        """Take a confirm."""

    def reset(self) -> None:
        """Forget it."""


class _PendingEvents(deque):  # type: ignore[type-arg]
    """What waits to be dispatched: holds what went through `Channel`, and what a program has had a look at.

    The rest is the core's.  Its length counts that, too; who asks for the events themselves gets it out of
    there, in one step.  While something is held here, the core dispatches it before all else of the channel.
    """

    channel: BlockingChannel

    def own_length(self) -> int:
        """How many are here."""
        return super().__len__()

    def __len__(self) -> int:
        return self.own_length() + self.channel._waiting_events()

    def __bool__(self) -> bool:
        return len(self) > 0

    def _fetch(self) -> None:
        """Take in what the core holds, but what is not for a callback."""
        channel = self.channel
        while channel._waiting_events():
            shown, seen = channel._show_events()
            if channel._take_shown([channel._as_pending(evt) for evt in shown], self, seen):
                break  # else something has been dispatched meanwhile

    def queue(self) -> None:
        """Have the next dispatching call go on with what is here."""
        self.channel._queue_events(self)

    def popleft(self) -> Any:
        """Take out the first one."""
        self._fetch()
        evt = super().popleft()
        self.queue()
        return evt

    def pop(self) -> Any:  # type: ignore[override]
        """Take out the last one."""
        self._fetch()
        evt = super().pop()
        self.queue()
        return evt

    def clear(self) -> None:
        """Drop all."""
        self._fetch()
        super().clear()
        self.queue()

    def append(self, evt: Any) -> None:
        """Have one dispatched behind all others."""
        self._fetch()
        super().append(evt)
        self.queue()

    def appendleft(self, evt: Any) -> None:
        """Have one dispatched before all others."""
        super().appendleft(evt)
        self.queue()

    def extend(self, events: Iterable[Any]) -> None:
        """Have some dispatched behind all others."""
        self._fetch()
        super().extend(events)
        self.queue()

    def __iter__(self) -> Iterator[Any]:
        self._fetch()
        return super().__iter__()

    def __getitem__(self, index: Any) -> Any:
        self._fetch()
        return super().__getitem__(index)

    def copy(self) -> deque[Any]:  # type: ignore[override]
        """Return a plain deque of what waits."""
        return deque(self)

    __copy__ = copy  # type: ignore[assignment]

    def held(self) -> Iterator[Any]:
        """Take out, one by one, what is here."""
        while self.own_length():
            yield super().popleft()

    def dispatch(self) -> None:
        """Called by the core: dispatch what is here.  What an exception leaves stays queued."""
        self.channel._dispatch_events()


def _nobody(*_message: Any) -> None:
    """Stand where a callback stood that is called no more."""


class BlockingChannel(_blocking_calls.BlockingChannel):
    """Names that begin with an underscore.

    It has the name of the class that users know: the errors about a call's arguments show it.
    """

    _RxMessageArgs = namedtuple(  # type: ignore[name-match]
        "BlockingChannel__RxMessageArgs", ["channel", "method", "properties", "body"]
    )
    _MethodFrameCallbackResultArgs = namedtuple(  # type: ignore[name-match]
        "BlockingChannel__MethodFrameCallbackResultArgs", "method_frame"
    )
    _OnMessageConfirmationReportArgs = namedtuple(  # type: ignore[name-match]
        "BlockingChannel__OnMessageConfirmationReportArgs", "method_frame"
    )
    _FlowOkCallbackResultArgs = namedtuple(  # type: ignore[name-match]
        "BlockingChannel__FlowOkCallbackResultArgs", "active"
    )

    _CONSUMER_CANCELLED_CB_KEY = "blocking_channel_consumer_cancelled"
    _ALWAYS_READY_WAITERS: tuple[Callable[[], bool], ...] = (lambda: True,)

    _message_confirmation_result = _Confirmations()

    _opened_at = 0.0  # an interrupt may come before it is set

    def _begin_inside(self) -> None:
        """Set up the attributes of this half."""
        self._expected_consumers: dict[str, _ConsumerInfo] = {}
        self._cancelled_messages: dict[str, list[Any]] = {}
        self._own_pending_events: _PendingEvents | None = None
        self._return_callbacks: list[Callable[..., Any]] = []
        self._cancel_callbacks: list[Callable[..., Any]] = []
        self._opened_at = time.monotonic()

    def _forget_inside(self) -> None:
        """Drop what refers to users' objects."""
        self._expected_consumers.clear()
        self._cancelled_messages.clear()
        self._own_pending_events = None

    # ---- called by pika.channel.Channel ----

    def _forget_return_callback(self, callback: Callable[..., Any]) -> bool:
        """Call a callback of `add_on_return_callback` no more; return whether there was one."""
        places = [place for place, kept in enumerate(self._return_callbacks) if kept == callback]
        for place in places:  # messages that have come already know the others by their places
            self._return_callbacks[place] = _nobody
        return bool(places)

    def _exchange(self, method: Method, reply: type[Method]) -> Any:
        """Send a method and return its answer."""
        left = self._connection._time_left()
        if isinstance(method, spec.Basic.Consume):
            return self._consume(self._expected_consumers.pop(method.consumer_tag), method, left)
        if isinstance(method, spec.Basic.Cancel):
            info = self._consumer_infos.get(method.consumer_tag)
            if info is not None:
                self._cancelled_messages[method.consumer_tag] = self._cancel_openly(info, left)
            return spec.Basic.CancelOk(method.consumer_tag)
        if isinstance(method, spec.Channel.Close):
            self._close_now(method)
            return spec.Channel.CloseOk()
        return self._rpc(method, reply.INDEX, left)

    def _cancel_openly(self, info: _ConsumerInfo, timeout: float | None) -> list[Any]:
        """`_cancel`, but the core rejects nothing by itself where `Channel.basic_reject` is wrapped."""
        if info.auto_ack or "basic_reject" not in self._impl._wrapped:
            return self._cancel(info, timeout)
        info.auto_ack = True
        try:
            late = self._cancel(info, timeout)
        finally:
            info.auto_ack = False
        for method, _, _ in late:
            self._impl.basic_reject(method.delivery_tag)
        return []

    def _close_now(self, close: spec.Channel.Close) -> None:
        """Send Channel.Close and await the answer.

        :raises pika.exceptions.ChannelClosedByBroker: the broker was first
        """
        answer = self._call(close, spec.Channel.CloseOk)
        _CHANNEL_LOGGER.info("Received %s on %s", answer.method, self._impl)
        reason = exceptions.ChannelClosedByClient(close.reply_code, close.reply_text)
        self._set_closed(reason)
        self._impl._tell_closed(reason)

    def _expect_consumer(self, consumer_tag: str, auto_ack: bool, callback: Callable[..., Any]) -> None:
        """Make what the core knows of a consumer that `Channel.basic_consume` is about to begin."""
        info = self._expected_consumers.get(consumer_tag)
        if info is None:  # a program's own call
            info = _ConsumerInfo(consumer_tag, auto_ack, callback)
            self._expected_consumers[consumer_tag] = info
        if callback != self._on_consumer_message_delivery:
            info.alternate_event_sink = ThroughConsumer(self, sink_of(info))
            dict.__setitem__(self._impl._consumers, consumer_tag, callback)

    def _lead_through(self, consumer_tag: str) -> None:
        """From now on what is delivered to a consumer goes through `Channel._on_deliver`."""
        info = self._consumer_infos.get(consumer_tag)
        if info is not None and not isinstance(info.alternate_event_sink, ThroughConsumer):
            info.alternate_event_sink = ThroughConsumer(self, info.alternate_event_sink)

    def _delivers_plainly(self) -> bool:
        """Return whether the core may call the callback of a consumer without anybody missing a call."""
        if "_on_deliver" in self._impl._wrapped:
            return False
        # No generator: where there is no memory for one, CPython 3.13 itself crashes.
        for name, plain in _PLAIN.items():
            if name in vars(self) or getattr(type(self), name) is not plain:
                return False
        return True

    # ---- deliveries ----

    def _on_consumer_message_delivery(
        self, _channel: Any, method: spec.Basic.Deliver, properties: spec.BasicProperties, body: bytes
    ) -> None:
        """Take a message for a consumer: pika's `Channel` calls it for each."""
        evt = _ConsumerDeliveryEvt(method, properties, body)
        sink = sink_of(self._consumer_infos[method.consumer_tag])
        if sink is not None:
            sink(evt)
        else:
            self._add_pending_event(evt)

    @property
    def _pending_events(self) -> _PendingEvents:
        """What was received and waits to be dispatched."""
        if self._own_pending_events is None:
            self._own_pending_events = _PendingEvents()
            self._own_pending_events.channel = self
        return self._own_pending_events

    def _as_pending(self, evt: Any) -> Any:
        """Return what the core shows as pika has it in `_pending_events`; None: it would not be in there."""
        tag = None
        if isinstance(evt, tuple):
            number, *message = evt
            evt = _ReturnedMessageEvt(self._return_callbacks[number], cast("Any", self), *message)
        elif isinstance(evt, spec.Basic.Cancel):
            tag = evt.consumer_tag
            evt = _ConsumerCancellationEvt(frame.Method(self.channel_number, evt))
            evt._channel = self
        elif type(evt) is _ConsumerDeliveryEvt:
            tag = evt.method.consumer_tag
        if tag is None:
            return evt
        info = self._consumer_infos.get(tag)
        return None if info is None or sink_of(info) is not None else evt

    def _add_pending_event(self, evt: Any) -> None:
        """Have an event dispatched."""
        deque.append(self._pending_events, evt)  # it is the oldest one: what is behind it is the core's

    def _dispatch_events(self) -> None:
        """Dispatch what waits; that of the core, in the turn of a dispatching call."""
        pending = self._pending_events
        try:
            for evt in pending.held():
                self._dispatch_event(evt)
        except BaseException:
            pending.queue()
            raise

    def _dispatch_one(self, evt: Any) -> None:
        """Dispatch an event that the core has brought; by what a subclass has put in the place of ours."""
        if self._delivers_plainly():
            evt.dispatch()
        else:
            self._add_pending_event(evt)
            self._dispatch_events()

    def _dispatch_event(self, evt: Any) -> None:
        if type(evt) is _ConsumerDeliveryEvt:
            callback = self._consumer_infos[evt.method.consumer_tag].on_message_callback
            if callback is not None:
                callback(cast("Any", self), evt.method, evt.properties, evt.body)
        elif type(evt) is _ConsumerCancellationEvt:
            self._forget_cancelled_consumer(evt.method_frame)
        else:
            evt.dispatch()

    def _remove_pending_deliveries(self, consumer_tag: str) -> list[_ConsumerDeliveryEvt]:
        """Take out the messages of a consumer that went through `Channel` and wait to be dispatched."""
        pending = self._own_pending_events
        if pending is None:
            return []
        events = list(pending.held())
        removed = [
            evt
            for evt in events
            if type(evt) is _ConsumerDeliveryEvt and evt.method.consumer_tag == consumer_tag
        ]
        deque.extend(pending, (evt for evt in events if evt not in removed))
        pending.queue()
        return removed

    def _forget_cancelled_consumer(self, method_frame: frame.Method[spec.Basic.Cancel]) -> None:
        """Dispatch a cancellation by the broker."""
        self._consumer_infos.pop(method_frame.method.consumer_tag, None)
        self._connection._request_channel_dispatch(-self.channel_number)
        for callback in list(self._cancel_callbacks):
            try:
                callback(method_frame)
            except Exception:
                key = f"{self.channel_number}:blocking_channel_consumer_cancelled"  # pika's
                _CALLBACK_LOGGER.exception('Calling %s for "%s" failed', callback, key)
                raise

    @staticmethod
    def _check_generator(found: _QueueConsumerGeneratorInfo, params: tuple[str, bool, bool]) -> None:
        """Raise ValueError if `consume()` goes on with other arguments than it has begun with."""
        if params != found.params:
            raise ValueError(
                "Consume with different params not allowed on existing queue consumer generator; "
                f"previous params: {found.params!r}; new params: {params!r}"
            )

    def _give_back(self, events: Any) -> None:
        """Requeue the messages of `consume()` that nobody has taken."""
        if "basic_reject" in self._impl._wrapped:
            reject_all(self, events)
        else:
            self._give_back_all(events)

    # ---- called by the core, for the log ----

    def _on_unexpected(self, method: spec.Basic.Deliver) -> None:
        """A delivery came for a consumer that is not there."""
        _CHANNEL_LOGGER.error("Unexpected delivery: %r", frame.Method(self.channel_number, method))

    def _on_nack(self, nack: spec.Basic.Nack, exchange: str, routing_key: str, mandatory: bool) -> None:
        """The broker refused a publish."""
        LOGGER.warning(
            "Message was Nack'ed by broker: nack=%r; channel=%s; exchange=%s; routing_key=%s; mandatory=%r; ",
            nack,
            self.channel_number,
            exchange,
            routing_key,
            mandatory,
        )

    def _on_returned(self, method: spec.Basic.Return, properties: spec.BasicProperties, body: bytes) -> None:
        """Basic.Return came in confirm mode; the core has noted it for the publish in flight."""
        LOGGER.warning(
            "Published message was returned: _delivery_confirmation=%s; channel=%s; method=%r; "
            "properties=%r; body_size=%d; body_prefix=%.255r",
            True,
            self.channel_number,
            method,
            properties,
            len(body),
            body,
        )

    # ---- waiting ----

    def _flush_output(self, *waiters: Callable[[], bool]) -> None:
        """Do input and output until one of the waiters returns true; without any, until everything is sent.

        :raises pika.exceptions.ChannelClosedByBroker: the broker closed the channel
        """
        if self._state == self._impl.OPENING:
            self._open()
            self._impl._opened()
        self._check_open()
        self._connection._flush_output(lambda: self.is_closed, *(waiters or self._ALWAYS_READY_WAITERS))
        if self.is_closed and isinstance(self._closing_reason, exceptions.ChannelClosedByBroker):
            raise_again(self._closing_reason)

    def _on_puback_message_returned(
        self, channel: Any, method: spec.Basic.Return, properties: spec.BasicProperties, body: bytes
    ) -> None:
        """pika notes a returned message with it; the core has done so."""

    @staticmethod
    def _returned_message(
        method: spec.Basic.Return, properties: spec.BasicProperties, body: bytes
    ) -> ReturnedMessage:
        """Make what UnroutableError and NackError carry."""
        return ReturnedMessage(method, properties, body)


_PLAIN = {
    name: vars(BlockingChannel)[name]
    for name in ("_on_consumer_message_delivery", "_add_pending_event", "_dispatch_events")
}
