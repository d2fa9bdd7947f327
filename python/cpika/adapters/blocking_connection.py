"""`pika.adapters.blocking_connection`: a connection whose methods return when their work is done."""

from __future__ import annotations

import contextlib
import functools
import heapq
import itertools
import logging
import math
import threading
import time
import weakref
from collections import deque, namedtuple
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import attrgetter
from types import TracebackType
from typing import Any

from cpika import _home, exceptions, frame, spec, validators
from cpika._core import Claim, Within, _ConsumerDeliveryEvt, _ConsumerInfo
from cpika._states import ConnectionStates
from cpika.adapters._blocking_channel import BlockingChannel
from cpika.adapters._blocking_events import (
    ReturnedMessage,
    _ChannelPendingEvt,
    _ConnectionBlockedEvt,
    _ConnectionBlockedUnblockedEvtBase,
    _ConnectionUnblockedEvt,
    _ConsumerCancellationEvt,
    _QueueConsumerGeneratorInfo,
    _ReturnedMessageEvt,
    _TimerEvt,
)
from cpika.adapters._blocking_results import _CallbackResult
from cpika.adapters._engine import Engine
from cpika.adapters.utils.connection_workflow import as_configs, open_stream
from cpika.connection import Parameters
from cpika.credentials import encode_secret

# They get this connection, although pika's annotations say `pika.connection.Connection`: programs that
# are typed either way are right.
OnBlocked = Callable[[Any, frame.Method[spec.Connection.Blocked]], Any]
OnUnblocked = Callable[[Any, frame.Method[spec.Connection.Unblocked]], Any]

__all__ = [
    "BlockingChannel",
    "BlockingConnection",
    "ReturnedMessage",
    "_ConsumerCancellationEvt",
    "_ConsumerDeliveryEvt",
    "_ConsumerInfo",
    "_QueueConsumerGeneratorInfo",
    "_ReturnedMessageEvt",
]

LOGGER = logging.getLogger("pika.adapters.blocking_connection")

_home.at_home(
    __name__,
    *(kind for kind in BlockingChannel.__mro__ if kind.__name__ == BlockingChannel.__name__),
    ReturnedMessage,
    _CallbackResult,
    _ChannelPendingEvt,
    _ConnectionBlockedEvt,
    _ConnectionBlockedUnblockedEvtBase,
    _ConnectionUnblockedEvt,
    _ConsumerCancellationEvt,
    _ConsumerDeliveryEvt,
    _ConsumerInfo,
    _QueueConsumerGeneratorInfo,
    _ReturnedMessageEvt,
    _TimerEvt,
)


class _ReadyEvents(deque):  # type: ignore[type-arg]
    """What a dispatching call runs that is no channel's: timers that are due, and what programs append."""

    def __init__(self, connection: BlockingConnection) -> None:
        super().__init__()
        self._connection = weakref.ref(connection)

    def append(self, evt: Any) -> None:
        """Have `evt.dispatch()` called by the next call that dispatches, or by one that waits now."""
        super().append(evt)
        self._wake()

    def extend(self, events: Iterable[Any]) -> None:
        """The same with some."""
        super().extend(events)
        self._wake()

    def _wake(self) -> None:
        impl = getattr(self._connection(), "_impl", None)
        if isinstance(impl, Engine):  # else it is being made, or a test's
            impl._set_timer(0.0)


class BlockingConnection:
    """A connection to a broker whose methods block until their answer has come.

    Callbacks - of consumers, timers, blocked connections - run only inside `process_data_events`, `sleep`,
    `BlockingChannel.start_consuming` and `BlockingChannel.consume`; what arrives during other calls waits.
    Beyond pika: every method may be called from any thread, and heartbeats are sent whatever this process is
    busy with.

    :param parameters: one `Parameters`, a non-empty sequence of them (tried in turn; the last one says how
        often and with what pause), or None for a broker on this host
    :param _impl_class: pika's hook for its own tests; the default, None, is the only value here
    :raises pika.exceptions.AMQPConnectionError: no broker let us in: what the last attempt failed with
    :raises socket.gaierror: a name that does not resolve
    :raises ValueError: an empty sequence
    """

    _OnClosedArgs = namedtuple(  # type: ignore[name-match]
        "BlockingConnection__OnClosedArgs", "connection error"
    )
    _OnChannelOpenedArgs = namedtuple(  # type: ignore[name-match]
        "BlockingConnection__OnChannelOpenedArgs", "channel"
    )

    def __init__(
        self, parameters: Parameters | Sequence[Parameters] | None = None, _impl_class: Any = None
    ) -> None:
        self._impl: Engine = None  # type: ignore[assignment]  # shown by what subclasses do when this fails
        self._ready_events = _ReadyEvents(self)
        self._threadsafe_callbacks: deque[Callable[[], Any]] = deque()
        self._timers: list[tuple[float, int, _TimerEvt]] = []
        self._timer_order = itertools.count()
        self._removed_timers = 0
        self._close_deadlines: set[tuple[float, int]] = set()  # of calls of close(), each with its thread
        self._impl = self._create_connection(parameters, _impl_class)
        if issubclass(type(self._impl), ConnectionStates) and not isinstance(self._impl, Engine):
            raise TypeError(f"_create_connection() must not return a connection of a loop: {self._impl!r}")
        self._impl._owner = weakref.ref(self)

    def _create_connection(
        self, configs: Parameters | Sequence[Parameters] | None, impl_class: Any
    ) -> Engine:
        """Connect: return what `_impl` is from now on.  Programs' tests put something of theirs here."""
        if impl_class is not None:
            raise TypeError(f"_impl_class must be None, but got {impl_class!r}")
        return open_stream(as_configs(configs), Engine.open)

    def __repr__(self) -> str:
        return f"<{self.__class__.__name__} impl={self._impl!r}>"

    def __enter__(self) -> BlockingConnection:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.is_open:
            self.close()

    # ---- dispatch ----

    @contextlib.contextmanager
    def _acquire_event_dispatch(self) -> Iterator[bool]:
        """Give False to who is inside a callback: further up in the same stack somebody dispatches."""
        yield not self._impl._is_dispatching()

    @property
    def _event_dispatch_suspend_depth(self) -> int:
        """pika's name for how deep in dispatching calls whoever asks is: here 0 or 1."""
        return int(self._impl._is_dispatching())

    def process_data_events(self, time_limit: float | None = 0) -> None:
        """Do input and output, and dispatch what is ready to the callbacks.

        One call runs the timers and thread-safe callbacks that are due, then what has arrived and what one
        more read brings. As in pika, what an earlier call has received comes before timers that have become
        due behind it. Inside a callback it does input and output only. Several threads may do this at
        once: a channel's callbacks run in one of them at a time.

        :param time_limit: seconds to wait for something to dispatch; 0 does not wait, None waits forever
        :raises pika.exceptions.ConnectionWrongStateError: the connection is closed
        :raises pika.exceptions.AMQPConnectionError: it broke
        :raises Exception: what a callback raises; what was not dispatched waits for the next call
        """
        self._drive(time_limit)

    def _process_for(
        self, channel: BlockingChannel, time_limit: float | None, sink: str | None, asks: int | None
    ) -> None:
        """`process_data_events` for a call of a channel: a subclass's or a tracer's, too; see `_drive`."""
        if type(self).process_data_events is _PROCESS and "process_data_events" not in self.__dict__:
            self._drive(time_limit, channel, sink, asks)
            return
        with Claim(channel, sink, self._impl._asks if asks is None else asks):
            self.process_data_events(time_limit=time_limit)

    def _drive(
        self,
        time_limit: float | None,
        channel: BlockingChannel | None = None,
        sink: str | None = None,
        asks: int | None = None,
    ) -> None:
        """One dispatching call, see `_core.Connection._process`.

        :param channel: the one whose messages it takes before other calls do; None: what its user has claimed
        :param sink: tag of the consumer of `consume()`, whose messages it takes even inside a callback
        :param asks: the engine's `_asks` when the caller last looked at what it waits for
        """
        if time_limit is not None and time_limit < 0:
            self._impl._check()
            raise ValueError(f"call_later: delay must be non-negative, but got {time_limit!r}")
        impl = self._impl
        impl._process(self, time_limit, channel, sink, impl._asks if asks is None else asks)

    def _run_due(self) -> bool:
        """Dispatch the timers and callbacks that are ready now. Returns whether there were any.

        Called by the core, by one dispatching call at a time.
        """
        self._collect_due()
        any_ready = False
        try:
            for _ in range(len(self._ready_events)):
                try:
                    evt = self._ready_events.popleft()
                except IndexError:  # a callback has closed the connection
                    break
                if isinstance(evt, _TimerEvt) and evt.callback is None:
                    continue  # removed since it was due
                any_ready = True
                evt.dispatch()
        finally:
            self._tell_next_timer()
            if self._ready_events:
                self._impl._set_due()
        return any_ready

    def _collect_due(self) -> None:
        """Move what is due behind what is ready: timers that are due by now, then thread-safe callbacks."""
        if self._removed_timers > len(self._timers) // 2:
            self._sweep_timers(timing=True)
        if self._timers:
            now = time.monotonic()
            with contextlib.suppress(IndexError):  # the connection is closed by another thread meanwhile
                while self._timers[0][0] <= now:
                    evt = heapq.heappop(self._timers)[2]
                    if evt.callback is not None:
                        deque.append(self._ready_events, evt)
        with contextlib.suppress(IndexError):
            for _ in range(len(self._threadsafe_callbacks)):
                deque.append(self._ready_events, _TimerEvt(self._threadsafe_callbacks.popleft()))

    def _sweep_timers(self, timing: bool) -> None:
        if self._impl._sweep_timers(self._timers, timing):
            self._removed_timers = 0

    def _tell_next_timer(self) -> None:
        """Tell the core when the earliest timer is due, which may be one that is removed."""
        with contextlib.suppress(IndexError):
            self._impl._set_timer(max(0.0, self._timers[0][0] - time.monotonic()))

    def sleep(self, duration: float) -> None:
        """Do input and output, and dispatch callbacks, for a time.

        :param duration: seconds, not negative
        :raises AssertionError: a negative duration
        """
        assert duration >= 0, duration
        deadline = time.monotonic() + duration
        time_limit = duration
        while True:
            self.process_data_events(time_limit)
            time_limit = deadline - time.monotonic()
            if time_limit <= 0:
                break

    # ---- timers and callbacks ----

    def call_later(self, delay: float, callback: Callable[[], Any]) -> int:
        """Have a callback called once, after a time, by a method that dispatches.

        :param delay: seconds, not negative
        :param callback: called without arguments
        :returns: opaque id for `remove_timeout`
        :raises TypeError: the callback cannot be called
        :raises ValueError: a negative delay, or the connection is closed
        """
        validators.require_callback(callback)
        if self._impl.is_closed:
            raise ValueError("Timeout closed before call")
        if delay < 0:
            raise ValueError(f"call_later: delay must be non-negative, but got {delay!r}")
        # A delay that is no number is never over.
        evt = _TimerEvt(callback)
        evt.deadline = time.monotonic() + delay if delay == delay else math.inf
        heapq.heappush(self._timers, (evt.deadline, next(self._timer_order), evt))
        self._tell_next_timer()
        return evt  # type: ignore[return-value] # pika's annotation of what is opaque in both

    def remove_timeout(self, timeout_id: object) -> None:
        """Remove a timer that has not been dispatched yet.

        :param timeout_id: what `call_later` returned
        """
        timeout_id.callback = None  # type: ignore[attr-defined]
        # What is removed would stay until its time: swept out when it is half of what there is.
        self._removed_timers += 1
        if self._removed_timers > len(self._timers) // 2:
            self._sweep_timers(timing=False)

    def add_callback_threadsafe(self, callback: Callable[[], Any]) -> None:
        """Have a callback called as soon as possible by the thread that dispatches; for other threads.

        Callbacks are called in the order in which they were added.

        :param callback: called without arguments
        :raises TypeError: it cannot be called
        :raises pika.exceptions.ConnectionWrongStateError: the connection is closed
        """
        if self.is_closed:
            raise exceptions.ConnectionWrongStateError(
                "BlockingConnection.add_callback_threadsafe() called on closed or closing connection."
            )
        if not callable(callback):
            raise TypeError(f"callback must be a callable, but got {callback!r}")
        self._threadsafe_callbacks.append(callback)
        self._impl._set_timer(0.0)

    def add_on_connection_blocked_callback(self, callback: OnBlocked) -> None:
        """Have a callback called when a broker short of memory or disk stops reading (Connection.Blocked).

        :param callback: called with (connection, method frame) by a method that dispatches
        """
        self._impl._blocked_callbacks.append(self._connection_evt_maker(_ConnectionBlockedEvt, callback))

    def add_on_connection_unblocked_callback(self, callback: OnUnblocked) -> None:
        """Have a callback called when the broker reads again (Connection.Unblocked).

        :param callback: called with (connection, method frame) by a method that dispatches
        """
        self._impl._unblocked_callbacks.append(self._connection_evt_maker(_ConnectionUnblockedEvt, callback))

    def _connection_evt_maker(
        self, kind: type[_ConnectionBlockedUnblockedEvtBase], callback: OnBlocked | OnUnblocked
    ) -> Callable[[Any], None]:
        user_callback = functools.partial(callback, self)

        def queue(method_frame: Any) -> None:
            deque.append(self._ready_events, kind(user_callback, method_frame))
            self._impl._set_due()

        return queue

    def _request_channel_dispatch(self, channel_number: int) -> None:
        """Have the method that dispatches, in whatever thread, look again at what there is to do.

        :param channel_number: kept for pika's signature
        """
        self._impl._ask_return()

    # ---- life ----

    def channel(self, channel_number: int | None = None) -> BlockingChannel:
        """Open a channel (AMQP Channel.Open).

        :param channel_number: 1 to the negotiated channel_max; None or 0 for the lowest that is free
        :raises pika.exceptions.ConnectionWrongStateError: the connection is not open
        :raises pika.exceptions.NoFreeChannels: channel_max channels are open
        :raises pika.exceptions.InvalidChannelNumber: a number that is no int, out of range or in use
        """
        impl = self._impl
        if not impl.is_open:
            impl._tell()
        channel = opened_args = None
        try:
            with _CallbackResult(self._OnChannelOpenedArgs) as opened_args:
                impl_channel = impl.channel(
                    channel_number=channel_number, on_open_callback=opened_args.set_value_once
                )
                channel = BlockingChannel(impl_channel, self)  # the core keeps its number from now on
                impl._numbers_taken.pop(impl_channel.channel_number, None)
                impl_channel._set_cookie(channel)
                channel._flush_output(opened_args.is_ready)
            return channel
        except BaseException:
            # Wherever an interrupt has struck, nobody else can: tracebacks keep what has been made.
            if opened_args is not None:
                impl._give_up_channel(impl._numbers_taken, opened_args.set_value_once, channel)
            raise

    def _flush_output(self, *waiters: Callable[[], bool]) -> None:
        """Do input and output until one of the waiters returns true; without any, until everything is sent.

        :raises pika.exceptions.AMQPConnectionError: the connection broke
        """
        if self.is_closed:
            self._impl._tell()
            raise exceptions.ConnectionWrongStateError()
        while waiters and not any(ready() for ready in waiters):
            self._impl._await_frame(None)

    def close(self, reply_code: int = 200, reply_text: str = "Normal shutdown") -> None:
        """Close the channels and the connection (AMQP Connection.Close).

        Returns within the parameters' stack_timeout even when the broker does not answer.

        :param reply_code: code for the broker's log
        :param reply_text: text for the broker's log
        :raises pika.exceptions.ConnectionWrongStateError: it is closed already
        """
        if not self.is_open:
            msg = (
                f"{self.__class__.__name__}.close({reply_code}, {reply_text!r}) called on closed connection."
            )
            LOGGER.error(msg)
            raise exceptions.ConnectionWrongStateError(msg)
        self._impl._check_may_wait()
        LOGGER.info("Closing connection (%s): %s", reply_code, reply_text)
        timeout = self._impl.params.stack_timeout
        limit = time.monotonic() + (timeout or 0), threading.get_ident()
        try:
            with Within(limit, *([] if timeout is None else [self._close_deadlines])):
                self._close_channels(reply_code, reply_text)
                self._impl.close(reply_code, reply_text, self._time_left())
        finally:
            if self._impl.is_closed:
                self._forget_events()

    def _close_channels(self, reply_code: int, reply_text: str) -> None:
        for channel in sorted(self._impl._open_channels.values(), key=attrgetter("_opened_at")):
            try:
                if channel.is_open:
                    channel.close(reply_code, reply_text)
                else:  # another thread closes it, or an interrupted call has begun to
                    channel._await_requests(self._time_left())
            except exceptions.ChannelClosed as exc:
                LOGGER.warning("Got ChannelClosed while closing channel from connection.close: %r", exc)
            except exceptions.ChannelWrongStateError:
                pass  # closed by another thread meanwhile
            except exceptions._AnswerTimeout:
                LOGGER.warning("The broker did not answer Channel.Close of channel %s in time", int(channel))
                return

    def _time_left(self) -> float | None:
        """Seconds that an answer may take while the connection closes; None for no limit."""
        if not self._close_deadlines:
            return None
        deadlines = [deadline for deadline, _ in self._close_deadlines.copy()]  # other threads come and go
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None

    def _forget_events(self) -> None:
        """Drop what will not be dispatched any more."""
        self._impl._forget_events()
        self._ready_events.clear()
        self._threadsafe_callbacks.clear()
        self._timers.clear()

    def update_secret(self, new_secret: str, reason: str) -> None:
        """Give the broker a new secret before the old one expires (RabbitMQ's Connection.UpdateSecret).

        :param new_secret: password or token
        :param reason: text for the broker's log
        :raises pika.exceptions.ConnectionWrongStateError: the connection is not open
        :raises ValueError: UTF-8 cannot express the secret
        """
        if not self._impl.is_open:
            self._impl._tell()
            raise exceptions.ConnectionWrongStateError(
                f"Secret update requires an open connection: {self._impl}"
            )
        # Encoded here so that an error does not show it; what is no str is refused like any other field.
        secret = encode_secret("new_secret", new_secret) if isinstance(new_secret, str) else new_secret
        method = spec.Connection.UpdateSecret(secret, reason)
        self._impl._rpc(method, spec.Connection.UpdateSecretOk.INDEX)

    # ---- state ----

    @property
    def is_closed(self) -> bool:
        """True when the connection cannot be used any more."""
        return self._impl.is_closed

    @property
    def is_open(self) -> bool:
        """True while the connection may be used."""
        return self._impl.is_open

    @property
    def basic_nack_supported(self) -> bool:
        """Whether the broker takes Basic.Nack."""
        return self._impl.basic_nack

    @property
    def consumer_cancel_notify_supported(self) -> bool:
        """Whether the broker tells of consumers that it cancels."""
        return self._impl.consumer_cancel_notify

    @property
    def exchange_exchange_bindings_supported(self) -> bool:
        """Whether the broker binds exchanges to exchanges."""
        return self._impl.exchange_exchange_bindings

    @property
    def publisher_confirms_supported(self) -> bool:
        """Whether the broker confirms publishes."""
        return self._impl.publisher_confirms

    # The names that these had before.
    basic_nack = basic_nack_supported
    consumer_cancel_notify = consumer_cancel_notify_supported
    exchange_exchange_bindings = exchange_exchange_bindings_supported
    publisher_confirms = publisher_confirms_supported


_PROCESS = BlockingConnection.process_data_events
