"""RabbitMQ for `async` programs: connections, channels and messages to await, on asyncio.

    async with cpika.aio.connect("amqp://guest:guest@localhost/") as connection:
        channel = await connection.channel()
        await channel.queue_declare("tasks", durable=True)
        await channel.publish("", "tasks", b"work")
        async with channel.consume("tasks", prefetch=10) as messages:
            async for message in messages:
                message.ack()

Not in pika. It stands on `AsyncioConnection`, whose objects are at hand as `connection.raw` and
`channel.raw`. Everything is to be used in the loop that it was made in. Any await may be cancelled: what it
has asked of the broker is finished or undone behind it, and the channel stays usable.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar, Union

from cpika import exceptions, spec
from cpika.adapters.asyncio_connection import AsyncioConnection
from cpika.adapters.utils import connection_workflow
from cpika.connection import Parameters, URLParameters

if TYPE_CHECKING:
    from typing_extensions import Buffer, Self

__all__ = ["Channel", "Connection", "Consumer", "Message", "ReturnedMessage", "connect"]

T = TypeVar("T", bound="_Closing")

Configs = Union[str, Parameters, Sequence[Union[str, Parameters]], None]
Arguments = Any  # a mapping, or None

WRITE_HIGH = 1024 * 1024
"""Bytes of unsent output above which `Channel.publish` waits before it publishes."""
WRITE_LOW = 256 * 1024
"""Bytes at which it goes on."""


class _Closing:
    """Something that ends with `async with`."""

    async def close(self) -> None:
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


class _Opening(Generic[T], Awaitable[T]):
    """What opens something: to be awaited, or entered by `async with`, which closes it again."""

    def __init__(self, opening: Callable[[], Awaitable[T]]) -> None:
        self._opening = opening
        self._opened: T | None = None

    def __await__(self) -> Generator[Any, Any, T]:
        return self._opening().__await__()

    async def __aenter__(self) -> T:
        self._opened = await self._opening()
        return self._opened

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._opened is not None:
            await self._opened.close()


def _settle(future: asyncio.Future[Any], result: Any) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # nobody may be waiting for it any more


# ---- connections ----


def connect(parameters: Configs = None) -> _Opening[Connection]:
    """Open a connection: `await connect(...)`, or `async with connect(...) as connection`.

    :param parameters: parameters or a URL, or several of them, to be tried in order; None for the defaults
    :raises pika.exceptions.AMQPConnectionError: the last failure, where it was a TCP connect or the broker's
    :raises OSError: the last failure of a name look-up or of TLS
    """
    several = [parameters] if parameters is None or isinstance(parameters, (str, Parameters)) else parameters
    configs = [
        URLParameters(config) if isinstance(config, str) else Parameters() if config is None else config
        for config in several
    ]
    return _Opening(lambda: _connect(configs))


async def _connect(configs: list[Parameters]) -> Connection:
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()

    def on_done(result: Any) -> None:
        if not done.done():
            done.set_result(result)
        elif not isinstance(result, BaseException):  # given up meanwhile
            result.close()

    workflow = AsyncioConnection.create_connection(configs, on_done, loop)
    try:
        result = await done
    except asyncio.CancelledError:
        try:
            workflow.abort()
        except connection_workflow.AMQPConnectorWrongState:
            if not done.cancelled():
                _close_quietly(done.result())
        raise
    if isinstance(result, BaseException):
        raise _failure(result)
    return Connection(result)


def _close_quietly(result: Any) -> None:
    if not isinstance(result, BaseException) and result.is_open:
        result.close()


def _failure(error: BaseException) -> BaseException:
    """Return what a `BlockingConnection` raises for it."""
    if isinstance(error, connection_workflow.AMQPConnectionWorkflowFailed):
        error = error.exceptions[-1]
    if isinstance(error, connection_workflow.AMQPConnectorSocketConnectError):
        return exceptions.AMQPConnectionError(error)
    if isinstance(error, connection_workflow.AMQPConnectorPhaseErrorBase):
        return error.exception
    return error


class Connection(_Closing):
    """An open connection; `connect` makes it.

    :param raw: an open `AsyncioConnection`
    """

    def __init__(self, raw: AsyncioConnection) -> None:
        self.raw = raw
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[BaseException] = self._loop.create_future()
        self._drained: asyncio.Future[None] | None = None
        raw.add_on_close_callback(self._on_close)
        raw.set_write_buffer_limits(WRITE_HIGH, WRITE_LOW)
        raw.add_on_write_buffer_high_callback(self._on_high)
        raw.add_on_write_buffer_low_callback(self._on_low)

    def __repr__(self) -> str:
        return f"<aio.Connection {self.raw!r}>"

    @property
    def is_open(self) -> bool:
        """True while the connection may be used."""
        return self.raw.is_open

    async def wait_closed(self) -> BaseException:
        """Wait for the end of the connection, whoever brings it, and return the reason."""
        return await asyncio.shield(self._ended)

    def channel(self, confirms: bool = True) -> _Opening[Channel]:
        """Open a channel (AMQP Channel.Open): `await`, or `async with ... as channel`.

        :param confirms: have the broker confirm what is published, which `publish` awaits
        """
        return _Opening(lambda: self._channel(confirms))

    async def _channel(self, confirms: bool) -> Channel:
        opened: asyncio.Future[Any] = self._loop.create_future()
        raw = self.raw.channel(on_open_callback=lambda channel: _settle(opened, channel))
        raw.add_on_close_callback(lambda _raw, reason: _fail(opened, reason))
        try:
            await opened
            channel = Channel(self, raw)
            if confirms:
                await channel._confirm()
        except asyncio.CancelledError:
            if not (raw.is_closed or raw.is_closing):
                raw.close()
            raise
        return channel

    async def close(self) -> None:
        """Close the connection (AMQP Connection.Close) and wait for its end; safe to repeat."""
        if self.raw.is_open:
            self.raw.close()
        if not self._ended.done():
            await asyncio.shield(self._ended)

    async def update_secret(self, new_secret: str, reason: str) -> None:
        """Give the broker a new secret (AMQP Connection.UpdateSecret)."""
        answered: asyncio.Future[Any] = self._loop.create_future()
        self.raw.update_secret(new_secret, reason, lambda frame: _settle(answered, frame))
        await asyncio.wait([answered, self._ended], return_when=asyncio.FIRST_COMPLETED)
        if not answered.done():
            raise self._ended.result()

    # ---- what the connection tells ----

    def _on_close(self, _raw: Any, reason: BaseException) -> None:
        _settle(self._ended, reason)
        self._on_low(_raw)

    def _on_high(self, _raw: Any) -> None:
        self._drained = self._loop.create_future()

    def _on_low(self, _raw: Any) -> None:
        drained, self._drained = self._drained, None
        if drained is not None:
            _settle(drained, None)

    async def drain(self) -> None:
        """Wait while much output is unsent: until it has come down to `WRITE_LOW` bytes."""
        while self._drained is not None:
            await asyncio.shield(self._drained)


# ---- messages ----


class Message:
    """A message that was delivered, or that `Channel.get` brought."""

    __slots__ = {
        "_channel": "",
        "body": "Its bytes.",
        "delivery": "spec.Basic.Deliver, or GetOk: exchange, routing key, whether it is redelivered.",
        "properties": "spec.BasicProperties.",
    }

    def __init__(
        self, channel: Channel, delivery: Any, properties: spec.BasicProperties, body: bytes
    ) -> None:
        self._channel = channel
        self.delivery = delivery
        self.properties = properties
        self.body = body

    def __repr__(self) -> str:
        return f"<aio.Message {self.delivery!r} {len(self.body)} bytes>"

    @property
    def delivery_tag(self) -> int:
        """Its number on the channel."""
        tag: int = self.delivery.delivery_tag
        return tag

    def ack(self, multiple: bool = False) -> None:
        """Acknowledge it (AMQP Basic.Ack), or all up to it; leaves at the end of the loop's turn."""
        self._channel.raw.basic_ack(self.delivery.delivery_tag, multiple)

    def nack(self, requeue: bool = True, multiple: bool = False) -> None:
        """Refuse it (RabbitMQ's Basic.Nack), or all up to it."""
        self._channel.raw.basic_nack(self.delivery.delivery_tag, multiple, requeue)

    def reject(self, requeue: bool = True) -> None:
        """Refuse it (AMQP Basic.Reject)."""
        self._channel.raw.basic_reject(self.delivery.delivery_tag, requeue)


class ReturnedMessage:
    """A message that the broker could not route: in `UnroutableError.messages`."""

    __slots__ = {
        "body": "Its bytes.",
        "method": "spec.Basic.Return: reply code and text, exchange, routing key.",
        "properties": "spec.BasicProperties.",
    }

    def __init__(self, method: Any, properties: spec.BasicProperties, body: bytes) -> None:
        self.method = method
        self.properties = properties
        self.body = body


class _Pending:
    """A publish that awaits the broker's word."""

    __slots__ = ("future", "origin", "returned")

    def __init__(self, future: asyncio.Future[Any], origin: tuple[str, str, bytes] | None) -> None:
        self.future = future
        self.origin = origin  # of one that may come back: exchange, routing key, body
        self.returned: ReturnedMessage | None = None


# ---- channels ----


class Channel(_Closing):
    """An open channel; `Connection.channel` makes it.

    A method that asks the broker for something returns the method of the answer (`spec.Queue.DeclareOk` and
    the like). It raises ChannelClosedByBroker when the broker refuses, which closes the channel, or why the
    connection has ended.
    """

    def __init__(self, connection: Connection, raw: Any) -> None:
        self.connection = connection
        self.raw = raw
        self._loop = connection._loop
        self._waiting: set[asyncio.Future[Any]] = set()
        self._pending: dict[int, _Pending] = {}
        self._mandatory: dict[tuple[str, str, bytes], deque[_Pending]] = {}
        self._consumers: dict[str, Consumer] = {}
        self._confirming = False
        self._get_lock = asyncio.Lock()
        self._got: asyncio.Future[Any] | None = None
        self._ended: asyncio.Future[BaseException] = self._loop.create_future()
        raw.add_on_close_callback(self._on_close)
        raw.add_on_cancel_callback(self._on_cancel)
        raw.add_on_return_callback(self._on_return)
        raw.add_callback(self._on_get_empty, [spec.Basic.GetEmpty], False)

    def __repr__(self) -> str:
        return f"<aio.Channel {self.raw!r}>"

    @property
    def is_open(self) -> bool:
        """True while the channel may be used."""
        return bool(self.raw.is_open)

    async def close(self) -> None:
        """Close the channel (AMQP Channel.Close) and wait for its end; safe to repeat."""
        if self.raw.is_open:
            self.raw.close()
        if not self._ended.done():
            await asyncio.shield(self._ended)

    async def wait_closed(self) -> BaseException:
        """Wait for the end of the channel, whoever brings it, and return the reason."""
        return await asyncio.shield(self._ended)

    # ---- requests ----

    async def _ask(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call the channel's method; return the method of the answer."""
        answered: asyncio.Future[Any] = self._loop.create_future()
        getattr(self.raw, name)(*args, callback=lambda frame: _settle(answered, frame), **kwargs)
        self._waiting.add(answered)
        try:
            return (await answered).method
        finally:
            self._waiting.discard(answered)

    async def queue_declare(
        self,
        queue: str = "",
        passive: bool = False,
        durable: bool = False,
        exclusive: bool = False,
        auto_delete: bool = False,
        arguments: Arguments = None,
    ) -> Any:
        """Declare a queue (AMQP Queue.Declare); returns DeclareOk with `.queue` and `.message_count`."""
        return await self._ask("queue_declare", queue, passive, durable, exclusive, auto_delete, arguments)

    async def queue_bind(
        self, queue: str, exchange: str, routing_key: str | None = None, arguments: Arguments = None
    ) -> Any:
        """Bind a queue to an exchange (AMQP Queue.Bind)."""
        return await self._ask("queue_bind", queue, exchange, routing_key, arguments)

    async def queue_unbind(
        self, queue: str, exchange: str, routing_key: str | None = None, arguments: Arguments = None
    ) -> Any:
        """Take a binding of a queue away (AMQP Queue.Unbind)."""
        return await self._ask("queue_unbind", queue, exchange, routing_key, arguments)

    async def queue_delete(self, queue: str, if_unused: bool = False, if_empty: bool = False) -> Any:
        """Delete a queue (AMQP Queue.Delete); returns DeleteOk with `.message_count`."""
        return await self._ask("queue_delete", queue, if_unused, if_empty)

    async def queue_purge(self, queue: str) -> Any:
        """Drop the messages of a queue (AMQP Queue.Purge); returns PurgeOk with `.message_count`."""
        return await self._ask("queue_purge", queue)

    async def exchange_declare(
        self,
        exchange: str,
        exchange_type: Any = "direct",
        passive: bool = False,
        durable: bool = False,
        auto_delete: bool = False,
        internal: bool = False,
        arguments: Arguments = None,
    ) -> Any:
        """Declare an exchange (AMQP Exchange.Declare)."""
        return await self._ask(
            "exchange_declare",
            exchange,
            exchange_type,
            passive,
            durable,
            auto_delete,
            internal,
            arguments,
        )

    async def exchange_delete(self, exchange: str, if_unused: bool = False) -> Any:
        """Delete an exchange (AMQP Exchange.Delete)."""
        return await self._ask("exchange_delete", exchange, if_unused)

    async def exchange_bind(
        self, destination: str, source: str, routing_key: str = "", arguments: Arguments = None
    ) -> Any:
        """Bind an exchange to another (RabbitMQ's Exchange.Bind)."""
        return await self._ask("exchange_bind", destination, source, routing_key, arguments)

    async def exchange_unbind(
        self, destination: str, source: str, routing_key: str = "", arguments: Arguments = None
    ) -> Any:
        """Take a binding of exchanges away (RabbitMQ's Exchange.Unbind)."""
        return await self._ask("exchange_unbind", destination, source, routing_key, arguments)

    async def qos(self, prefetch_count: int, global_qos: bool = False) -> Any:
        """Limit the unacknowledged messages (AMQP Basic.Qos) of each consumer that begins from now on.

        :param prefetch_count: messages, 0 for no limit
        :param global_qos: of the channel together
        """
        return await self._ask("basic_qos", 0, prefetch_count, global_qos)

    async def tx_select(self) -> Any:
        """Begin to use transactions (AMQP Tx.Select): on a channel without confirms."""
        return await self._ask("tx_select")

    async def tx_commit(self) -> Any:
        """Commit the transaction (AMQP Tx.Commit)."""
        return await self._ask("tx_commit")

    async def tx_rollback(self) -> Any:
        """Roll the transaction back (AMQP Tx.Rollback)."""
        return await self._ask("tx_rollback")

    # ---- publishing ----

    async def _confirm(self) -> None:
        await self._ask("confirm_delivery", self._on_verdict)
        self._confirming = True

    async def publish(
        self,
        exchange: str,
        routing_key: str,
        body: str | Buffer,
        properties: spec.BasicProperties | None = None,
        mandatory: bool = False,
    ) -> None:
        """Publish a message (AMQP Basic.Publish) and await the broker's confirm, if the channel has confirms.

        Many may be under way at once: `asyncio.gather(*(channel.publish(...) for ...))`. It waits first while
        much output is unsent (`Connection.drain`).

        :raises pika.exceptions.UnroutableError: a mandatory message came back
        :raises pika.exceptions.NackError: the broker refused it
        """
        if self.connection._drained is not None:
            await self.connection.drain()
        tag = self.raw._publish_tagged(exchange, routing_key, body, properties, mandatory)
        if not tag:
            return
        future: asyncio.Future[Any] = self._loop.create_future()
        pending = _Pending(future, None)
        if mandatory:
            sent = body.encode() if isinstance(body, str) else bytes(body)
            pending.origin = (exchange, routing_key, sent)
            self._mandatory.setdefault(pending.origin, deque()).append(pending)
        self._pending[tag] = pending
        await future

    def _on_verdict(self, frame: Any) -> None:
        verdict = frame.method
        tag = verdict.delivery_tag
        if not verdict.multiple:
            pending = self._pending.pop(tag, None)
            if pending is not None:
                self._settle(pending, verdict)
            return
        # Tags are given in order, and a dict keeps it: the first that is later ends the search.
        covered = []
        for number in self._pending:
            if tag and number > tag:
                break
            covered.append(number)
        for number in covered:
            self._settle(self._pending.pop(number), verdict)

    def _settle(self, pending: _Pending, verdict: Any) -> None:
        if pending.origin is not None:
            same = self._mandatory[pending.origin]
            same.remove(pending)
            if not same:
                del self._mandatory[pending.origin]
        returned: Any = [] if pending.returned is None else [pending.returned]
        if isinstance(verdict, spec.Basic.Nack):
            _fail(pending.future, exceptions.NackError(returned))
        elif returned:
            _fail(pending.future, exceptions.UnroutableError(returned))
        else:
            _settle(pending.future, None)

    def _on_return(self, _raw: Any, method: Any, properties: Any, body: bytes) -> None:
        """A message came back: the oldest that is like it, since Basic.Return has no delivery tag."""
        for pending in self._mandatory.get((method.exchange, method.routing_key, body), ()):
            if pending.returned is None:
                pending.returned = ReturnedMessage(method, properties, body)
                return

    # ---- getting and consuming ----

    async def get(self, queue: str, auto_ack: bool = False) -> Message | None:
        """Get one message (AMQP Basic.Get); None when the queue is empty. Tasks take turns.

        :param auto_ack: the broker expects no acknowledgement
        """
        async with self._get_lock:
            while (
                self._got is not None and not self._ended.done()
            ):  # a task that was cancelled has left its answer behind
                await asyncio.wait([self._got, self._ended], return_when=asyncio.FIRST_COMPLETED)
            got: asyncio.Future[Any] = self._loop.create_future()

            def on_get_ok(_raw: Any, method: Any, properties: Any, body: bytes) -> None:
                self._got = None
                if not asked.done():
                    asked.set_result(Message(self, method, properties, body))
                elif not auto_ack and self.raw.is_open:
                    self.raw.basic_reject(method.delivery_tag)  # nobody waits for it: back to the queue
                _settle(got, None)

            asked: asyncio.Future[Message | None] = self._loop.create_future()
            self.raw._raise_if_not_open()
            self.raw.basic_get(queue, on_get_ok, auto_ack)
            self._got = got
            self._asked = asked
            self._waiting.add(asked)
            try:
                return await asked
            finally:
                self._waiting.discard(asked)

    def _on_get_empty(self, _frame: Any) -> None:
        got, self._got = self._got, None
        if got is not None:
            _settle(self._asked, None)
            _settle(got, None)

    def consume(
        self,
        queue: str,
        auto_ack: bool = False,
        exclusive: bool = False,
        prefetch: int | None = None,
        consumer_tag: str | None = None,
        arguments: Arguments = None,
    ) -> Consumer:
        """Return a consumer (AMQP Basic.Consume), to be entered by `async with` and read by `async for`.

        :param queue: its name
        :param auto_ack: the broker expects no acknowledgements
        :param exclusive: no other consumer on the queue
        :param prefetch: most unacknowledged messages; None: as `qos` has said
        :param consumer_tag: None for one that is made here
        :param arguments: for the broker
        """
        return Consumer(self, queue, auto_ack, exclusive, prefetch, consumer_tag, arguments)

    # ---- the end ----

    def _on_close(self, _raw: Any, reason: BaseException) -> None:
        _settle(self._ended, reason)
        waiting, self._waiting = self._waiting, set()
        pending, self._pending = self._pending, {}
        consumers, self._consumers = self._consumers, {}
        self._mandatory.clear()
        for future in waiting:
            _fail(future, reason)
        for publish in pending.values():
            _fail(publish.future, reason)
        for consumer in consumers.values():
            consumer._end(reason)

    def _on_cancel(self, frame: Any) -> None:
        tag = frame.method.consumer_tag
        consumer = self._consumers.pop(tag, None)
        if consumer is not None:
            consumer._end(exceptions.ConsumerCancelled())


class Consumer(AsyncIterator[Message]):
    """The messages of a queue; `Channel.consume` makes it.

    `async with` begins it and ends it again; what has come by then and was not read goes back to its queue.
    Reading raises ConsumerCancelled when the broker has cancelled it, and the reason when the channel has
    ended, behind the messages that came before.
    """

    def __init__(
        self,
        channel: Channel,
        queue: str,
        auto_ack: bool,
        exclusive: bool,
        prefetch: int | None,
        consumer_tag: str | None,
        arguments: Arguments,
    ) -> None:
        self.channel = channel
        self.queue = queue
        self.consumer_tag = consumer_tag
        self._options = auto_ack, exclusive, arguments
        self._prefetch = prefetch
        self._messages: deque[Message] = deque()
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._reason: BaseException | None = None

    async def __aenter__(self) -> Consumer:
        channel = self.channel
        if self._prefetch is not None:
            await channel.qos(self._prefetch)
        auto_ack, exclusive, arguments = self._options
        begun: asyncio.Future[Any] = channel._loop.create_future()
        tag = self.consumer_tag = channel.raw.basic_consume(
            self.queue,
            self._on_message,
            auto_ack,
            exclusive,
            self.consumer_tag,
            arguments,
            lambda frame: _settle(begun, frame),
        )
        channel._consumers[tag] = self
        channel._waiting.add(begun)
        try:
            await begun
        except asyncio.CancelledError:
            self._cancel()
            raise
        finally:
            channel._waiting.discard(begun)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        ended = self._cancel()
        self._give_back()
        if ended is not None:
            try:
                await asyncio.shield(ended)
            except exceptions.AMQPError:
                pass  # the channel has ended, and the consumer with it
        self._give_back()

    def _cancel(self) -> asyncio.Future[Any] | None:
        """Ask for the end; what is delivered from now on goes back."""
        channel, tag = self.channel, self.consumer_tag
        if channel._consumers.pop(tag or "", None) is None or not channel.raw.is_open:
            return None
        ended: asyncio.Future[Any] = channel._loop.create_future()
        channel._waiting.add(ended)

        def cancelled(frame: Any) -> None:
            channel._waiting.discard(ended)
            _settle(ended, frame)

        channel.raw.basic_cancel(tag, cancelled)
        self._reason = self._reason or exceptions.ConsumerCancelled()
        return ended

    def _give_back(self) -> None:
        auto_ack = self._options[0]
        messages, self._messages = self._messages, deque()
        if not auto_ack and self.channel.raw.is_open:
            for message in messages:
                message.reject()

    def _on_message(self, _raw: Any, method: Any, properties: Any, body: bytes) -> None:
        self._messages.append(Message(self.channel, method, properties, body))
        if self._waiters:
            self._wake()

    def _end(self, reason: BaseException) -> None:
        self._reason = reason
        self._wake()

    def _wake(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                if self._reason is None:
                    return

    async def __anext__(self) -> Message:
        messages = self._messages
        while not messages:
            if self._reason is not None:
                raise self._reason
            waiter: asyncio.Future[None] = self.channel._loop.create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    self._wake()  # it was woken for a message that another task may take
                raise
            messages = self._messages
        return messages.popleft()
