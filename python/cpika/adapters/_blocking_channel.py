"""`BlockingChannel`: its life, its consumers, publishing with confirms and in blocks."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, overload

import cpika
from cpika import exceptions, frame, spec, validators
from cpika._core import BufferedPublishing, Claim, _ConsumerInfo, raise_again
from cpika._wrappers import outside
from cpika.adapters import _blocking_inside
from cpika.adapters import _blocking_through as _through
from cpika.adapters._blocking_events import (
    _ConsumerCancellationEvt,
    _QueueConsumerGeneratorInfo,
    _ReturnedMessageEvt,
)
from cpika.channel import Channel

if TYPE_CHECKING:
    import cpika.adapters.blocking_connection

Message = tuple[spec.Basic.Deliver, spec.BasicProperties, bytes]
OnMessage = Callable[["BlockingChannel", spec.Basic.Deliver, spec.BasicProperties, bytes], Any]
OnReturn = Callable[["BlockingChannel", spec.Basic.Return, spec.BasicProperties, bytes], Any]
OnCancel = Callable[[frame.Method[spec.Basic.Cancel]], Any]

LOGGER = logging.getLogger("pika.adapters.blocking_connection")
_CHANNEL_LOGGER = logging.getLogger("pika.channel")
_CALLBACK_LOGGER = logging.getLogger("pika.callback")


# `basic_publish`, `basic_ack`, `basic_nack`, `basic_reject` and `basic_get` come from the C base, what is one
# request and its answer from `_blocking_calls`, pika's private names from `_blocking_inside`.
class BlockingChannel(_blocking_inside.BlockingChannel):
    """A channel whose methods return when the broker has answered; `BlockingConnection.channel` makes it.

    As a context manager it closes itself, if it is still open, at the end of the block.

    :param channel_impl: what stands behind it, `pika.channel.Channel`
    :param connection: its connection
    """

    def __init__(
        self, channel_impl: Channel, connection: cpika.adapters.blocking_connection.BlockingConnection
    ) -> None:
        try:
            super().__init__(connection._impl, channel_impl.channel_number)
            self._impl, self._connection = channel_impl, connection
            self._begin_inside()
            self._queue_consumer_generator = None
            LOGGER.info("Created channel=%s", self.channel_number)
        except BaseException:
            own = self.__dict__  # no call stands before the end: behind each a signal's handler may raise
            if "_impl" not in own or own["_impl"] is channel_impl:  # else it stays the channel that it is
                self._close_for_nobody()  # the traceback keeps this object, which must not keep its number
            raise

    def __int__(self) -> int:
        return self.channel_number

    def __repr__(self) -> str:
        return f"<{self.__class__.__name__} impl={self._impl!r}>"

    def __enter__(self) -> BlockingChannel:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.is_open:
            self.close()

    @property
    def connection(self) -> cpika.adapters.blocking_connection.BlockingConnection:
        """The channel's BlockingConnection."""
        return self._connection

    @property
    def consumer_tags(self) -> list[str]:
        """Tags of the active consumers."""
        return list(self._consumer_infos)

    # ---- the way to the broker ----

    def close(self, reply_code: int = 0, reply_text: str = "Normal shutdown") -> None:
        """Cancel the consumers and close the channel (AMQP Channel.Close).

        :param reply_code: code for the broker's log
        :param reply_text: text for the broker's log
        :raises pika.exceptions.ChannelWrongStateError: it is not open
        :raises pika.exceptions.ChannelClosedByBroker: the broker was first
        """
        LOGGER.debug("Channel.close(%s, %s)", reply_code, reply_text)
        self._check_open()
        close = spec.Channel.Close(reply_code, reply_text, 0, 0)
        close.encode()  # an impossible argument is the caller's, and closes nothing
        self._connection._impl._check_may_wait()
        try:
            self._cancel_all_consumers()
            self._check_open()
            if "close" in self._impl._wrapped:
                with outside():
                    self._impl.close(reply_code=reply_code, reply_text=reply_text)
                return
            _CHANNEL_LOGGER.info("Closing channel (%s): %r on %s", reply_code, reply_text, self._impl)
            self._close_now(close)
        finally:
            self._close_for_nobody()  # however this ends: what interrupts it saves only the broker's answer
            self._cleanup()

    def _cleanup(self) -> None:
        """Drop what refers to users' objects."""
        self._consumer_infos = {}
        self._forget_inside()
        self._queue_consumer_generator = None

    # ---- called by the core, by whatever call drives the connection: what these raise leaves that call ----

    def _on_closed_by_broker(self, reason: exceptions.ChannelClosedByBroker, state: int) -> None:
        """Channel.Close came, and was answered; `state` is the one before."""
        self._cleanup()
        # pika logs it first, and then acts.
        before = repr(self._impl).replace(" CLOSED ", f" {self._impl._STATE_NAMES[state]} ", 1)
        _CHANNEL_LOGGER.warning(
            "Received remote Channel.Close (%s): %r on %s", reason.reply_code, reason.reply_text, before
        )
        self._impl._tell_closed(reason)

    def _on_cancelled_by_broker(self, method: spec.Basic.Cancel) -> None:
        """Basic.Cancel came: the queue is gone, for example. It is dispatched in its turn."""
        info = self._consumer_infos.get(method.consumer_tag)
        if info is not None and not info.tearing_down:  # else our own cancel is under way, and ends it
            info.state = _ConsumerInfo.CANCELLED_BY_BROKER

    # ---- called by the core, by a call that dispatches ----

    def _dispatch_return(
        self, number: int, method: spec.Basic.Return, properties: spec.BasicProperties, body: bytes
    ) -> None:
        """Call one of the callbacks of `add_on_return_callback`."""
        self._dispatch_one(
            _ReturnedMessageEvt(self._return_callbacks[number], self, method, properties, body)
        )

    def _dispatch_cancel(self, method: spec.Basic.Cancel) -> None:
        """A cancellation by the broker: for consume(), or for the callbacks of `add_on_cancel_callback`."""
        info = self._consumer_infos.get(method.consumer_tag)
        if info is None:
            return
        evt = _ConsumerCancellationEvt(frame.Method(self.channel_number, method))
        evt._channel = self
        if info.alternate_event_sink is not None:
            info.alternate_event_sink(evt)
            self._connection._request_channel_dispatch(-self.channel_number)
        else:
            self._dispatch_one(evt)

    def _on_consumer_generator_event(self, evt: Any) -> None:
        """Keep an event for `consume()`; the core ends its wait then.

        The core does the same without calling it, unless it was replaced.
        """
        generator = self._queue_consumer_generator
        if generator is not None and generator.consumer_tag == evt.method.consumer_tag:
            generator.pending_events.append(evt)
        elif self.is_open:  # cancel() in another thread or greenlet was faster than this message
            self._give_back_all(deque((evt,)))

    # ---- callbacks ----

    def add_on_cancel_callback(self, callback: OnCancel) -> None:
        """Have a callback called when the broker cancels a consumer (AMQP Basic.Cancel).

        :param callback: called with the method frame by a method that dispatches
        """
        if callback in self._cancel_callbacks:
            _CALLBACK_LOGGER.warning(
                'Duplicate callback found for "%s:%s"',
                self.channel_number,
                "blocking_channel_consumer_cancelled",
            )
            return
        self._cancel_callbacks.append(callback)

    def add_on_return_callback(self, callback: OnReturn) -> None:
        """Have a callback called when the broker returns a message (AMQP Basic.Return).

        :param callback: called with (channel, method, properties, body) by a method that dispatches
        """
        self._return_callbacks.append(callback)
        self._return_callback_count = len(self._return_callbacks)

    # ---- consumers ----

    def basic_consume(
        self,
        queue: str,
        on_message_callback: OnMessage,
        auto_ack: bool = False,
        exclusive: bool = False,
        consumer_tag: str | None = None,
        arguments: Mapping[str, Any] | None = None,
    ) -> str:
        """Have the messages of a queue delivered to a callback (AMQP Basic.Consume).

        :param queue: its name
        :param on_message_callback: called with (channel, method, properties, body) when dispatched
        :param auto_ack: the broker expects no acknowledgements
        :param exclusive: no other consumer may read the queue
        :param consumer_tag: a name for the consumer; None or '' for one that is made up
        :param arguments: further arguments, e.g. x-priority
        :returns: the consumer tag
        :raises pika.exceptions.DuplicateConsumerTag: the channel has such a consumer
        :raises pika.exceptions.ChannelClosedByBroker: no such queue, or access refused
        """
        validators.require_string(queue, "queue")
        validators.require_callback(on_message_callback, "on_message_callback")
        return self._basic_consume_impl(
            queue, auto_ack, exclusive, consumer_tag, arguments, on_message_callback=on_message_callback
        )

    def _basic_consume_impl(
        self,
        queue: str,
        auto_ack: bool,
        exclusive: bool,
        consumer_tag: str | None,
        arguments: Mapping[str, Any] | None = None,
        on_message_callback: OnMessage | None = None,
        alternate_event_sink: Callable[[Any], Any] | None = None,
        store: _QueueConsumerGeneratorInfo | None = None,
    ) -> str:
        """Consume for a callback, or for a sink that gets each event as it arrives.

        :param store: where `_on_consumer_generator_event` as the sink keeps them
        """
        if (on_message_callback is None) == (alternate_event_sink is None):
            raise ValueError(
                (
                    "exactly one of on_message_callback/alternate_event_sink must be non-None",
                    on_message_callback,
                    alternate_event_sink,
                )
            )
        consumer_tag = validators.itself(consumer_tag) or self._impl._generate_consumer_tag()
        if consumer_tag in self._consumer_infos:
            raise exceptions.DuplicateConsumerTag(consumer_tag)
        validators.require_tag(consumer_tag)
        validators.require_string(queue, "queue")
        self._check_open()
        info = _ConsumerInfo(consumer_tag, auto_ack, on_message_callback, alternate_event_sink)
        if store is not None and getattr(alternate_event_sink, "__func__", None) is _KEEP:
            info._keep_in(store)
        if not self._delivers_plainly():
            info.alternate_event_sink = _through.ThroughConsumer(self, alternate_event_sink)
        if "basic_consume" in self._impl._wrapped:
            _through.consume(self, info, queue, exclusive, arguments)
            return consumer_tag
        # The core knows it before the request leaves: messages may come right behind its answer.
        self._consume(
            info,
            spec.Basic.Consume(
                queue=queue,
                consumer_tag=consumer_tag,
                no_ack=auto_ack,
                exclusive=exclusive,
                arguments=arguments or {},
            ),
            self._connection._time_left(),
        )
        return consumer_tag

    def basic_cancel(self, consumer_tag: str) -> list[Message]:
        """Cancel a consumer (AMQP Basic.Cancel).

        Its messages that were not dispatched yet go back to the queue; with auto_ack, where they cannot, they
        are returned.

        :param consumer_tag: what `basic_consume` returned; an unknown one is logged
        :returns: list of (method, properties, body); empty without auto_ack
        """
        info = self._consumer_infos.get(consumer_tag)
        if info is None:
            LOGGER.warning(
                "User is attempting to cancel an unknown consumer=%s; already cancelled by user or broker?",
                consumer_tag,
            )
            return []
        if info.cancelled_by_broker:
            _CHANNEL_LOGGER.warning("basic_cancel - consumer not found: %s", consumer_tag)
        received = self._remove_pending_deliveries(consumer_tag)
        if not info.auto_ack:
            for evt in received:
                self._impl.basic_reject(evt.method.delivery_tag, requeue=True)
        if _through.is_asked_for(self, "basic_cancel", "basic_reject"):
            messages = _through.cancel(self, info)
        else:  # the core gives back what still arrives, or keeps it with auto_ack
            messages = self._cancel(info, self._connection._time_left())
        if received and info.auto_ack:
            return [(evt.method, evt.properties, evt.body) for evt in received] + messages
        return messages

    def _cancel_all_consumers(self) -> None:
        if self._consumer_infos:
            LOGGER.debug("Cancelling %i consumers", len(self._consumer_infos))
            if self._queue_consumer_generator is not None:
                self.cancel()
            for consumer_tag in list(self._consumer_infos):
                self.basic_cancel(consumer_tag)

    def start_consuming(self) -> None:
        """Dispatch messages, timers and callbacks until this channel has no consumers any more.

        Where several threads dispatch, the messages of this channel are for the calls of this kind on it.

        :raises pika.exceptions.ReentrancyError: called from a callback
        :raises pika.exceptions.ChannelClosedByBroker: the broker closed the channel
        """
        with self._connection._acquire_event_dispatch() as dispatch_allowed:
            if not dispatch_allowed:
                raise exceptions.ReentrancyError(
                    "start_consuming may not be called from the scope of "
                    "another BlockingConnection or BlockingChannel callback"
                )
        self._check_open()
        with Claim(self):  # also between two turns
            while True:
                asks = self._connection._impl._asks  # before the look: what changes behind it asks again
                if not self._consumer_infos:
                    return
                self._process_data_events(None, asks)
                if self._closed_alone:
                    return

    def stop_consuming(self, consumer_tag: str | None = None) -> None:
        """Cancel one consumer, or all: then `start_consuming` returns.

        :param consumer_tag: the one to cancel; None for all
        """
        if consumer_tag:
            self.basic_cancel(consumer_tag)
        else:
            self._cancel_all_consumers()

    def _process_data_events(
        self, time_limit: float | None, asks: int | None = None, sink: str | None = None
    ) -> None:
        """`BlockingConnection.process_data_events` for this channel, whose end by the broker it raises.

        :param asks: the connection's `_asks` when the caller last looked at what it waits for
        :param sink: tag of the consumer whose messages it takes even inside a callback
        """
        self._connection._process_for(self, time_limit, sink, asks)
        if self.is_closed and isinstance(self._closing_reason, exceptions.ChannelClosedByBroker):
            LOGGER.debug("Channel close by broker detected, raising %r; %r", self._closing_reason, self)
            raise_again(self._closing_reason)

    @property
    def _closed_alone(self) -> bool:
        """By a thread or greenlet that has not cleared away the consumers yet; not with its connection."""
        return self.is_closed and self._connection.is_open

    # ---- consume() ----

    @overload
    def consume(
        self,
        queue: str,
        auto_ack: bool = False,
        exclusive: bool = False,
        arguments: Mapping[str, Any] | None = None,
        inactivity_timeout: None = None,
        consumer_tag: str | None = None,
    ) -> Generator[Message, None, None]: ...

    @overload
    def consume(
        self,
        queue: str,
        auto_ack: bool = False,
        exclusive: bool = False,
        arguments: Mapping[str, Any] | None = None,
        inactivity_timeout: float | None = None,
        consumer_tag: str | None = None,
    ) -> Generator[Message | tuple[None, None, None], None, None]: ...

    def consume(
        self,
        queue: str,
        auto_ack: bool = False,
        exclusive: bool = False,
        arguments: Mapping[str, Any] | None = None,
        inactivity_timeout: float | None = None,
        consumer_tag: str | None = None,
    ) -> Generator[Message | tuple[None, None, None], None, None]:
        """Generate the messages of a queue (AMQP Basic.Consume).

        Call `cancel()` after leaving the loop. Calling it again before that, with the same first three
        arguments, goes on with the same consumer.

        :param queue: its name
        :param auto_ack: the broker expects no acknowledgements
        :param exclusive: no other consumer may read the queue
        :param arguments: further arguments, e.g. x-priority
        :param inactivity_timeout: seconds without a message after which (None, None, None) comes; None: never
        :param consumer_tag: a name for the consumer
        :returns: generator of (method, properties, body); ends when the consumer is cancelled
        :raises ValueError: another consumer than this one is active
        :raises pika.exceptions.ChannelClosedByBroker: the broker closed the channel
        """
        self._check_open()
        self._start_generator((queue, auto_ack, exclusive), arguments, consumer_tag)
        hand: list[Any] = [None]
        be_fair = self._connection._impl._be_fair if self._connection._impl._cooperative else None
        while True:
            hand[0], generator = None, self._queue_consumer_generator  # cancel() may have ended it
            if generator is None:
                return
            try:
                kept = self._next_kept(generator, hand)
                kind = type(kept)  # in here: a handler may run where something is called
            except BaseException:  # a signal handler's: the message is for the next who asks
                self._keep_again(generator, hand)
                if not auto_ack and self._queue_consumer_generator is not generator and self.is_open:
                    self._give_back_all(generator.pending_events)
                raise
            if kind is tuple:
                yield kept
                if be_fair is not None:
                    be_fair()
            elif kind is not int:
                if kind is _ConsumerCancellationEvt:
                    self._consumer_infos.pop(generator.consumer_tag, None)
                    self._end_generator(generator)
                    return
                yield (kept.method, kept.properties, kept.body)  # a tracer's
            elif self._queue_consumer_generator is generator:  # else cancelled before it counted who asks
                in_time = True
                if inactivity_timeout is None:
                    self._process_data_events(None, kept, generator.consumer_tag)
                else:
                    in_time = self._await_generator_event(inactivity_timeout)
                if self._closed_alone and not generator.pending_events:
                    return
                if not in_time:
                    yield (None, None, None)

    def _start_generator(
        self, params: tuple[str, bool, bool], arguments: Mapping[str, Any] | None, consumer_tag: str | None
    ) -> None:
        """Begin the consumer of `consume()`, or make sure that the one there is has these parameters."""
        found = self._queue_consumer_generator
        if found is not None:
            self._check_generator(found, params)
            return
        LOGGER.debug("Creating new queue consumer generator; params: %r", params)
        consumer_tag = validators.itself(consumer_tag) or self._impl._generate_consumer_tag()
        generator = _QueueConsumerGeneratorInfo(params, consumer_tag)
        try:
            found = self._begin_generator(generator)
            if found is not generator:  # another thread's, meanwhile
                self._check_generator(found, params)
                return
            queue, auto_ack, exclusive = params
            self._basic_consume_impl(
                queue,
                auto_ack,
                exclusive,
                consumer_tag,
                arguments,
                alternate_event_sink=self._on_consumer_generator_event,
                store=generator,
            )
            if self._queue_consumer_generator is not generator and consumer_tag in self._consumer_infos:
                # Cancelled by somebody else before there was a consumer.
                self.basic_cancel(consumer_tag)
                if not auto_ack:
                    self._give_back(generator.pending_events)
        except BaseException:
            self._end_generator(generator)
            info = self._consumer_infos.get(consumer_tag)
            if info is not None and _through.sink_of(info) == self._on_consumer_generator_event:
                self._cancel_for_nobody(consumer_tag)  # interrupted behind the answer
            raise
        LOGGER.info("Created new queue consumer generator %r", self._queue_consumer_generator)

    def _await_generator_event(self, timeout: float) -> bool:
        """Wait for an event of `consume()`, or its end. Returns False when there was none in time."""
        deadline = time.monotonic() + timeout
        left = timeout
        while True:
            asks = self._connection._impl._asks
            generator = self._queue_consumer_generator
            if generator is None or generator.pending_events:
                return True
            self._process_data_events(left, asks, generator.consumer_tag)
            generator = self._queue_consumer_generator
            if generator is None or generator.pending_events or self._closed_alone:
                return True
            left = deadline - time.monotonic()
            if left <= 0.0:
                return False

    def get_waiting_message_count(self) -> int:
        """Return how many messages `consume()` has in store."""
        generator = self._queue_consumer_generator
        if generator is None:
            return 0
        pending_events = generator.pending_events
        count = len(pending_events)
        if count and type(pending_events[-1]) is _ConsumerCancellationEvt:
            count -= 1
        return count + self._pending_count(generator.consumer_tag)

    def cancel(self) -> int:
        """Cancel the consumer of `consume()` (AMQP Basic.Cancel); messages in store go back to the queue.

        :returns: 0
        """
        generator = self._queue_consumer_generator
        if generator is None:
            LOGGER.warning(
                "cancel: queue consumer generator is inactive (already cancelled by client or broker?)"
            )
            return 0
        _, auto_ack, _ = generator.params
        self._connection._impl._check_may_wait()
        try:
            if not auto_ack:
                self._give_back(generator.pending_events)
            self.basic_cancel(generator.consumer_tag)
        finally:
            if not auto_ack and self.is_open:
                # What arrived while the broker had not answered yet.
                self._give_back(generator.pending_events)
            self._end_generator(generator)
        return 0

    # ---- publishing ----

    def confirm_delivery(self) -> None:
        """Have the broker confirm each publish (RabbitMQ's Confirm.Select); a second call only logs.

        :raises pika.exceptions.MethodNotImplemented: the broker cannot
        """
        if self._delivery_confirmation:
            LOGGER.error(
                "confirm_delivery: confirmation was already enabled on channel=%s", self.channel_number
            )
            return
        self._check_open()
        if not (self._impl.connection.publisher_confirms and self._impl.connection.basic_nack):
            raise exceptions.MethodNotImplemented("Confirm.Select not Supported by Server")
        try:
            if "confirm_delivery" in self._impl._wrapped:
                ack_nack_callback = self._message_confirmation_result.set_value_once
                _through.signal(self, "confirm_delivery", ack_nack_callback=ack_nack_callback)
            else:
                self._call(spec.Confirm.Select(False), spec.Confirm.SelectOk)
        except exceptions.ChannelClosed:
            self._delivery_confirmation = False  # counted from when the question left, and refused
            raise
        self._delivery_confirmation = True

    def buffered(self, max_bytes: int = 65536, max_delay: float = 0.001) -> BufferedPublishing:
        """Publish many messages to one send: `with channel.buffered(): ...`; not in pika.

        Inside, `basic_publish` returns once the message is encoded. What is encoded leaves when it is
        `max_bytes` long, after `max_delay` at the latest, before any call that waits, and at the end of the
        block. With confirms the end of the block awaits them all. A block inside another belongs to it: the
        inner one's end sends, the outer one's end awaits. Left by an exception, the block sends what it has
        and awaits nothing. The block is its thread's: publishes of other threads on the channel go as ever,
        unless these are inside a block of their own.

        :param max_bytes: bytes that may stand together
        :param max_delay: seconds that a message may stand
        :raises pika.exceptions.NackError: at the end of the block, with `.messages` and `.indexes` (0 for the
            first publish of the block)
        :raises pika.exceptions.UnroutableError: in the same way
        :raises pika.exceptions.AMQPConnectionError: with `.confirmed`, how many from the first on are
            confirmed, and `.unconfirmed`, the indexes of those that are not; also at the end of the block,
            when something that it held back was lost
        """
        return BufferedPublishing(self, max_bytes, max_delay)


_KEEP = BlockingChannel._on_consumer_generator_event
