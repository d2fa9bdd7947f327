"""A channel for any thread: its calls wait, its callbacks run in a thread of its own."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar

import cpika
from cpika import exceptions, spec
from cpika._async.requests import Answer, Requests
from cpika._buffer import Buffer
from cpika._core import Within
from cpika.adapters._workers import Call, Callback, Telling, Worker, telling_here

if TYPE_CHECKING:
    import cpika.adapters.thread_safe_connection

_TIMEOUT = 10
_TAG = attrgetter("method.consumer_tag")

T = TypeVar("T")

Arguments = Any  # a mapping, or None
_Message = tuple[Any, Any, Any]  # method, properties, body


class _Request(Requests):
    """One request, made in the caller's thread: sent by it while the I/O thread waits, else by that."""

    def __init__(self, raw: Any, loop: Any, call: Call[Any]) -> None:
        self._raw = raw
        self._loop = loop
        self._call = call

    def _raise_if_not_open(self) -> None:
        self._raw._raise_if_not_open()

    def _rpc(self, method: Any, callback: Answer = None, acceptable_replies: list[Any] | None = None) -> None:
        raw, loop = self._raw, self._loop
        engine = raw.connection._engine

        def expect() -> None:
            if raw.is_open:
                raw._expect(method, callback, acceptable_replies)

        def send(_call: Call[Any]) -> None:
            raw._raise_if_not_open()  # a close may have been quicker, and nothing may follow that
            raw._rpc(method, callback, acceptable_replies)

        if engine is None or not engine._loop_request(loop, loop._callbacks, raw, method, expect):
            loop.add_callback_threadsafe(lambda: self._call.begin(send))


class Channel:
    """One channel; `Connection.channel()` makes it.

    Where a method takes `timeout`, it waits for the broker so many seconds (None: no limit) and returns the
    frame of the answer. It raises TimeoutError, the broker's reason when that closes the channel, or why the
    connection has ended.
    """

    def __init__(
        self, channel: Any, wrapper: cpika.adapters.thread_safe_connection.Connection, worker: Worker
    ) -> None:
        self._channel = channel
        self._wrapper = wrapper
        self._worker = worker
        self._confirm_select_ok: Any = None
        self._ack_nack_callback: Callback | None = None
        self._telling: set[Telling] = set()  # publishes that have not told their delivery tags yet
        self._calls: set[Any] = set()
        self._getting: Call[_Message] | None = None  # the call of the Basic.Get that is with the broker
        self._gets: deque[tuple[Call[_Message], str, bool]] = deque()  # those behind it
        channel.add_on_close_callback(self._on_close)
        channel.add_callback(self._on_get_empty, [spec.Basic.GetEmpty], False)

    # ---- the I/O thread ----

    def _on_close(self, _channel: Any, reason: BaseException) -> None:
        for call in list(self._calls):  # their own threads add and discard meanwhile
            call.fail(reason)
        self._getting = None  # the calls are among those above
        self._gets.clear()
        self._worker.end()
        if self in self._wrapper._channels and self._wrapper._connection.is_open:
            self._wrapper._channels.remove(self)

    def _rpc(
        self,
        name: str,
        timeout: float | None,
        *args: Any,
        result: Callback | None = None,
        undo: Callback | None = None,
        **kwargs: Any,
    ) -> Any:
        """Return the frame of the answer, or `result(frame)`; `undo` takes that back when nobody gets it."""
        raw = self._channel
        at_once = hasattr(Requests, name) and name not in vars(raw)  # unless somebody has wrapped it

        def begin(call: Call[Any]) -> None:
            def told(frame: Any) -> None:
                call.succeed(frame if result is None else result(frame))

            ask = getattr(_Request(raw, self._wrapper._ioloop, call) if at_once else raw, name)
            ask(*args, callback=told, **kwargs)

        return self._wait_for(name, begin, timeout, at_once, undo)

    def _wait_for(
        self,
        name: str,
        begin: Callable[[Call[T]], Any],
        timeout: float | None,
        at_once: bool = False,
        undo: Callable[[T], Any] | None = None,
    ) -> T:
        return self._wrapper._wait_for(name, begin, timeout, self._calls, at_once, undo)

    # ---- publishing ----

    def _check_open(self) -> None:
        """Raise why nothing can be sent."""
        if self._channel.is_open:
            return
        self._wrapper._check_usable()
        try:
            self._channel._raise_if_not_open()
        except exceptions.ChannelWrongStateError as error:
            raise error from self._channel._closing_reason

    def basic_publish(
        self,
        exchange: str,
        routing_key: str,
        body: str | Buffer,
        properties: spec.BasicProperties | None = None,
        mandatory: bool = False,
        on_publish: Callback | None = None,
    ) -> None:
        """Publish a message (AMQP Basic.Publish); it leaves behind those before, soon.

        :param exchange: its name; "" for the default exchange
        :param routing_key: at most 255 bytes of UTF-8
        :param body: bytes, str (sent as UTF-8), bytearray or memoryview
        :param properties: the message's properties, or None
        :param mandatory: have the broker return a message that it cannot route
        :param on_publish: after `confirm_delivery`: called here with the message's delivery tag, before the
            callback of its confirm is
        :raises pika.exceptions.ChannelWrongStateError: the channel is not open; the broker's reason is its
            `__cause__`
        :raises pika.exceptions.AMQPConnectionError: why the connection has ended
        """
        channel = self._channel
        if not channel.is_open:
            self._check_open()
        if on_publish is None:
            channel._publish_tagged(exchange, routing_key, body, properties, mandatory)
            return
        with Within(Telling(self._worker), self._telling, telling_here()):
            tag = channel._publish_tagged(exchange, routing_key, body, properties, mandatory)
            if tag:
                on_publish(tag)

    def basic_ack(self, delivery_tag: int = 0, multiple: bool = False) -> None:
        """Acknowledge a message (AMQP Basic.Ack), or all up to it; raises as `basic_publish`."""
        if not self._channel.is_open:
            self._check_open()
        self._channel.basic_ack(delivery_tag, multiple)

    def basic_nack(self, delivery_tag: int = 0, multiple: bool = False, requeue: bool = True) -> None:
        """Refuse a message (RabbitMQ's Basic.Nack), or all up to it; raises as `basic_publish`."""
        if not self._channel.is_open:
            self._check_open()
        self._channel.basic_nack(delivery_tag, multiple, requeue)

    def basic_reject(self, delivery_tag: int = 0, requeue: bool = True) -> None:
        """Refuse one message (AMQP Basic.Reject); raises as `basic_publish`."""
        if not self._channel.is_open:
            self._check_open()
        self._channel.basic_reject(delivery_tag, requeue)

    def confirm_delivery(self, ack_nack_callback: Callback, timeout: float | None = _TIMEOUT) -> Any:
        """Have the broker confirm what is published (RabbitMQ's Confirm.Select).

        :param ack_nack_callback: called with the frame of each Basic.Ack and Basic.Nack, in the channel's
            thread; a later call replaces it
        :returns: the frame of SelectOk
        :raises TypeError: it is not callable
        """
        if not callable(ack_nack_callback):
            raise TypeError(f"ack_nack_callback must be callable, but got {ack_nack_callback!r}")
        self._ack_nack_callback = ack_nack_callback
        if self._confirm_select_ok is None:
            self._confirm_select_ok = self._rpc(
                "confirm_delivery", timeout, ack_nack_callback=self._on_verdict
            )
        elif not self._channel.is_open:
            self._check_open()
        return self._confirm_select_ok

    def _on_verdict(self, frame: Any) -> None:
        callback = self._ack_nack_callback
        assert callback is not None
        self._worker.put_behind(self._telling, callback, frame)  # which the broker may overtake

    @property
    def next_publish_seq_no(self) -> int | None:
        """The delivery tag of the next publish, after `confirm_delivery`; else None."""
        return None if self._confirm_select_ok is None else self._channel._published + 1

    # ---- consuming ----

    def basic_consume(
        self,
        queue: str,
        on_message_callback: Callback,
        auto_ack: bool = False,
        exclusive: bool = False,
        consumer_tag: str | None = None,
        arguments: Arguments = None,
        timeout: float | None = _TIMEOUT,
    ) -> str:
        """Have the messages of a queue delivered (AMQP Basic.Consume).

        :param on_message_callback: called with this channel, method, properties and body, in its thread
        :returns: the consumer's tag
        """
        if not callable(on_message_callback):
            raise TypeError(f"on_message_callback must be callable, but got {on_message_callback!r}")
        put = self._worker.put

        def message(_raw: Any, method: Any, properties: Any, body: bytes) -> None:
            put(on_message_callback, self, method, properties, body)

        def undo(tag: str) -> None:
            if self._channel.is_open:
                self._channel.basic_cancel(tag)

        return self._rpc(  # type: ignore[no-any-return]  # at once: an exception would lose it
            "basic_consume",
            timeout,
            queue,
            message,
            result=_TAG,
            undo=undo,
            auto_ack=auto_ack,
            exclusive=exclusive,
            consumer_tag=consumer_tag,
            arguments=arguments,
        )

    def basic_cancel(self, consumer_tag: str, timeout: float | None = _TIMEOUT) -> Any:
        """End a consumer (AMQP Basic.Cancel).

        :returns: the frame of CancelOk; None: there is no such consumer
        """

        def begin(call: Call[Any]) -> None:
            raw = self._channel
            if consumer_tag in raw._consumers and consumer_tag not in raw._cancelled:
                raw.basic_cancel(consumer_tag, call.succeed)
            else:
                raw.basic_cancel(consumer_tag)  # logs it
                call.succeed(None)

        return self._wait_for("basic_cancel", begin, timeout)

    def basic_get(
        self, queue: str, auto_ack: bool = False, timeout: float | None = _TIMEOUT
    ) -> tuple[Any, Any, Any]:
        """Get one message (AMQP Basic.Get); threads take turns.

        :returns: (GetOk, properties, body), or (None, None, None) for an empty queue
        """

        def begin(call: Call[_Message]) -> None:
            self._channel._raise_if_not_open()  # behind the end nobody would call it
            self._gets.append((call, queue, auto_ack))
            self._next_get()

        def undo(answer: _Message) -> None:
            if answer[0] is not None and not auto_ack and self._channel.is_open:
                self._channel.basic_reject(answer[0].delivery_tag)  # back to the queue

        return self._wait_for("basic_get", begin, timeout, undo=undo)

    def _next_get(self) -> None:
        while self._gets and self._getting is None:
            call, queue, auto_ack = self._gets.popleft()
            if call.is_over:
                continue
            self._getting = call
            try:
                self._channel.basic_get(queue, self._on_get_ok, auto_ack)
            except Exception as error:
                self._getting = None
                call.fail(error)

    def _got(self, message: _Message) -> None:
        call, self._getting = self._getting, None
        if call is not None:
            try:
                call.succeed(message)
            finally:
                self._next_get()

    def _on_get_ok(self, _raw: Any, method: Any, properties: Any, body: bytes) -> None:
        self._got((method, properties, body))

    def _on_get_empty(self, _frame: Any) -> None:
        self._got((None, None, None))

    def basic_qos(
        self,
        prefetch_size: int = 0,
        prefetch_count: int = 0,
        global_qos: bool = False,
        timeout: float | None = _TIMEOUT,
    ) -> Any:
        """Limit the unacknowledged messages (AMQP Basic.Qos)."""
        return self._rpc("basic_qos", timeout, prefetch_size, prefetch_count, global_qos)

    def add_on_cancel_callback(self, callback: Callback) -> None:
        """Have `callback(frame)` called, in the channel's thread, when the broker cancels a consumer."""
        self._add_on(
            "add_on_cancel_callback",
            callback,
            lambda frame: self._worker.put(callback, frame),
        )

    def add_on_return_callback(self, callback: Callback) -> None:
        """Have `callback(channel, method, properties, body)` called in its thread for what comes back."""
        self._add_on(
            "add_on_return_callback",
            callback,
            lambda _raw, *message: self._worker.put(callback, self, *message),
        )

    def _add_on(self, name: str, callback: Callback, told: Callback) -> None:
        if not callable(callback):
            raise TypeError(f"callback must be callable, but got {callback!r}")
        self._wrapper._check_usable()

        def add() -> None:
            if not self._channel.is_closed:  # else it would stand where the next channel of the number looks
                getattr(self._channel, name)(told)

        self._wrapper._ioloop.add_callback_threadsafe(add)

    # ---- queues and exchanges ----

    def queue_declare(
        self,
        queue: str,
        passive: bool = False,
        durable: bool = False,
        exclusive: bool = False,
        auto_delete: bool = False,
        arguments: Arguments = None,
        timeout: float | None = _TIMEOUT,
    ) -> Any:
        """Declare a queue (AMQP Queue.Declare)."""
        return self._rpc("queue_declare", timeout, queue, passive, durable, exclusive, auto_delete, arguments)

    def queue_bind(
        self,
        queue: str,
        exchange: str,
        routing_key: str | None = None,
        arguments: Arguments = None,
        timeout: float | None = _TIMEOUT,
    ) -> Any:
        """Bind a queue to an exchange (AMQP Queue.Bind)."""
        return self._rpc("queue_bind", timeout, queue, exchange, routing_key, arguments)

    def queue_unbind(
        self,
        queue: str,
        exchange: str | None = None,
        routing_key: str | None = None,
        arguments: Arguments = None,
        timeout: float | None = _TIMEOUT,
    ) -> Any:
        """Take a binding of a queue away (AMQP Queue.Unbind)."""
        return self._rpc("queue_unbind", timeout, queue, exchange, routing_key, arguments)

    def queue_delete(
        self,
        queue: str,
        if_unused: bool = False,
        if_empty: bool = False,
        timeout: float | None = _TIMEOUT,
    ) -> Any:
        """Delete a queue (AMQP Queue.Delete)."""
        return self._rpc("queue_delete", timeout, queue, if_unused, if_empty)

    def queue_purge(self, queue: str, timeout: float | None = _TIMEOUT) -> Any:
        """Drop the messages of a queue (AMQP Queue.Purge)."""
        return self._rpc("queue_purge", timeout, queue)

    def exchange_declare(
        self,
        exchange: str,
        exchange_type: Any = "direct",
        passive: bool = False,
        durable: bool = False,
        auto_delete: bool = False,
        internal: bool = False,
        arguments: Arguments = None,
        timeout: float | None = _TIMEOUT,
    ) -> Any:
        """Declare an exchange (AMQP Exchange.Declare)."""
        return self._rpc(
            "exchange_declare",
            timeout,
            exchange,
            exchange_type,
            passive,
            durable,
            auto_delete,
            internal,
            arguments,
        )

    def exchange_delete(
        self, exchange: str | None = None, if_unused: bool = False, timeout: float | None = _TIMEOUT
    ) -> Any:
        """Delete an exchange (AMQP Exchange.Delete)."""
        return self._rpc("exchange_delete", timeout, exchange, if_unused)

    def exchange_bind(
        self,
        destination: str,
        source: str,
        routing_key: str = "",
        arguments: Arguments = None,
        timeout: float | None = _TIMEOUT,
    ) -> Any:
        """Bind an exchange to another (RabbitMQ's Exchange.Bind)."""
        return self._rpc("exchange_bind", timeout, destination, source, routing_key, arguments)

    def exchange_unbind(
        self,
        destination: str | None = None,
        source: str | None = None,
        routing_key: str = "",
        arguments: Arguments = None,
        timeout: float | None = _TIMEOUT,
    ) -> Any:
        """Take a binding of exchanges away (RabbitMQ's Exchange.Unbind)."""
        return self._rpc("exchange_unbind", timeout, destination, source, routing_key, arguments)

    # ---- the end ----

    def close(
        self,
        reply_code: int = 0,
        reply_text: str = "Normal shutdown",
        timeout: float | None = 10,
    ) -> None:
        """Close the channel (AMQP Channel.Close) and wait for its thread, unless a callback calls it.

        :raises pika.exceptions.ChannelClosedByBroker: the broker closed it, for this reason
        """
        deadline = None if timeout is None else time.monotonic() + timeout

        def begin(call: Call[None]) -> None:
            raw = self._channel
            if raw.is_closed:
                call.succeed(None)
                return

            def ended(_raw: Any, reason: BaseException) -> None:
                if isinstance(reason, exceptions.ChannelClosedByClient):
                    call.succeed(None)
                else:
                    call.fail(reason)

            raw.add_on_close_callback(ended)
            if not raw.is_closing:
                raw.close(reply_code, reply_text)

        # Not one of the channel's calls, which its end fails.
        self._wrapper._wait_for("channel close", begin, timeout)
        self._worker.join(deadline)

    def abort(
        self,
        reply_code: int = 0,
        reply_text: str = "Normal shutdown",
        timeout: float | None = 10,
    ) -> None:
        """Close the channel, whatever happens."""
        try:
            self.close(reply_code, reply_text, timeout)
        except Exception:
            pass  # it is closed, or as good as that

    @property
    def channel_number(self) -> int:
        """1 to 65535."""
        number: int = self._channel.channel_number
        return number

    @property
    def is_open(self) -> bool:
        """True while the channel may be used."""
        return bool(self._channel.is_open) and self._wrapper.is_open

    @property
    def is_closed(self) -> bool:
        """True when it cannot be used any more."""
        return bool(self._channel.is_closed)
