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
from collections.abc import Sequence
from typing import Any, Union

from cpika import exceptions, spec
from cpika._aio.consumer import Consumer
from cpika._aio.messages import Message, ReturnedMessage
from cpika._aio.parts import Closing, Opening, fail, settle
from cpika._async.mandatory import Mandatory, covered, frozen
from cpika._buffer import Buffer
from cpika.adapters.asyncio_connection import AsyncioConnection
from cpika.adapters.utils import connection_workflow
from cpika.connection import Parameters, URLParameters

__all__ = ["Channel", "Connection", "Consumer", "Message", "ReturnedMessage", "connect"]

Configs = Union[str, Parameters, Sequence[Union[str, Parameters]], None]
Arguments = Any  # a mapping, or None

WRITE_HIGH = 1024 * 1024
"""Bytes of unsent output above which `Channel.publish` waits before it publishes."""
WRITE_LOW = 256 * 1024
"""Bytes at which it goes on."""


# ---- connections ----


def connect(parameters: Configs = None) -> Opening[Connection]:
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
    return Opening(lambda: _connect(configs))


async def _connect(configs: list[Parameters]) -> Connection:
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()

    def on_done(result: Any) -> None:
        if not done.done():
            # In the turn in which it opened: it may end in the same one, and is to be told of that.
            done.set_result(result if isinstance(result, BaseException) else Connection(result))
        elif not isinstance(result, BaseException):  # given up meanwhile
            result.close()

    workflow = AsyncioConnection.create_connection(configs, on_done, loop)
    try:
        result = await done
    except BaseException:
        if not loop.is_closed():
            try:
                workflow.abort()
            except connection_workflow.AMQPConnectorWrongState:
                if not done.cancelled():
                    _close_quietly(done.result())
        raise
    if isinstance(result, BaseException):
        raise _failure(result)
    return result  # type: ignore[no-any-return]  # at once: an exception would lose it


def _close_quietly(result: Any) -> None:
    if not isinstance(result, BaseException) and result.is_open:
        result.raw.close()


def _failure(error: BaseException) -> BaseException:
    """Return what a `BlockingConnection` raises for it."""
    if isinstance(error, connection_workflow.AMQPConnectionWorkflowFailed):
        error = error.exceptions[-1]
    if isinstance(error, connection_workflow.AMQPConnectorSocketConnectError):
        return exceptions.AMQPConnectionError(error, host=error.host, port=error.port)
    if isinstance(error, connection_workflow.AMQPConnectorPhaseErrorBase):
        return error.exception
    return error


class Connection(Closing):
    """An open connection; `connect` makes it.

    :param raw: an open `AsyncioConnection`
    """

    def __init__(self, raw: AsyncioConnection) -> None:
        super().__init__(asyncio.get_running_loop())
        self.raw = raw
        self._drained: asyncio.Future[None] | None = None
        self._secret_lock = asyncio.Lock()
        self._secret_answered: asyncio.Future[Any] | None = None
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

    def channel(self, confirms: bool = True) -> Opening[Channel]:
        """Open a channel (AMQP Channel.Open): `await`, or `async with ... as channel`.

        :param confirms: have the broker confirm what is published, which `publish` awaits
        """
        return Opening(lambda: self._channel(confirms))

    async def _channel(self, confirms: bool) -> Channel:
        opened: asyncio.Future[Any] = self._loop.create_future()
        raw = self.raw.channel(on_open_callback=lambda channel: settle(opened, channel))
        try:
            channel = Channel(self, raw)  # in time: it may end in the turn in which it opens
            channel._waiting.add(opened)
            try:
                await opened
            finally:
                channel._waiting.discard(opened)
            channel._raise_end()
            if confirms:
                await channel._confirm()
            return channel
        except BaseException:
            if not (raw.is_closed or raw.is_closing or self._loop.is_closed()):
                raw.close()
            raise

    async def close(self) -> None:
        """Close the connection (AMQP Connection.Close) and wait for its end; safe to repeat."""
        if self.raw.is_open:
            self.raw.close()
        if not self._ended.done():
            await asyncio.shield(self._ended)

    async def update_secret(self, new_secret: str, reason: str) -> None:
        """Give the broker a new secret (AMQP Connection.UpdateSecret)."""
        async with self._turn(self._secret_lock):
            # Answers have no number: one that is given up is awaited by the next.
            await self._until(lambda: self._secret_answered)
            answered: asyncio.Future[Any] = self._loop.create_future()
            self.raw.update_secret(new_secret, reason, self._on_secret)
            self._secret_answered = answered
            self._waiting.add(answered)
            await asyncio.wait([answered])  # a shield logs the exception of what nobody awaits any more
            answered.result()

    def _on_secret(self, frame: Any) -> None:
        answered, self._secret_answered = self._secret_answered, None
        if answered is not None:
            self._waiting.discard(answered)
            settle(answered, frame)

    # ---- what the connection tells ----

    def _on_close(self, _raw: Any, reason: BaseException) -> None:
        self._told_end(reason)
        self._on_low(_raw)

    def _on_high(self, _raw: Any) -> None:
        self._drained = self._loop.create_future()

    def _on_low(self, _raw: Any) -> None:
        drained, self._drained = self._drained, None
        if drained is not None:
            settle(drained, None)

    async def drain(self) -> None:
        """Wait while much output is unsent: until it has come down to `WRITE_LOW` bytes."""
        while self._drained is not None:
            await asyncio.shield(self._drained)


# ---- channels ----


class Channel(Closing):
    """An open channel; `Connection.channel` makes it.

    A method that asks the broker for something returns the method of the answer (`spec.Queue.DeclareOk` and
    the like). It raises ChannelClosedByBroker when the broker refuses, which closes the channel, or why the
    connection has ended.
    """

    def __init__(self, connection: Connection, raw: Any) -> None:
        super().__init__(connection._loop)
        self.connection = connection
        self.raw = raw
        self._pending: dict[int, asyncio.Future[Any]] = {}
        self._mandatory = Mandatory()
        self._consumers: dict[str, Consumer] = {}
        self._cancelling: dict[str, asyncio.Future[Any]] = {}  # the cancels under way, by their tags
        self._get_lock = asyncio.Lock()
        self._got: asyncio.Future[Any] | None = None
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
        getattr(self.raw, name)(*args, callback=lambda frame: settle(answered, frame), **kwargs)
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
            await self._until(lambda: self.connection._drained)
        if mandatory:
            body = frozen(body)
        tag = self.raw._publish_tagged(exchange, routing_key, body, properties, mandatory)
        if not tag:
            return
        future = self._pending[tag] = self._loop.create_future()
        if mandatory:
            self._mandatory.add(tag, exchange, routing_key, body)
        await future

    def _on_verdict(self, frame: Any) -> None:
        verdict = frame.method
        for tag in covered(self._pending, verdict):
            self._settle(tag, verdict)

    def _settle(self, tag: int, verdict: Any) -> None:
        future = self._pending.pop(tag)
        message = self._mandatory.settle(tag)
        returned: Any = [] if message is None else [message]
        if isinstance(verdict, spec.Basic.Nack):
            fail(future, exceptions.NackError(returned))
        elif returned:
            fail(future, exceptions.UnroutableError(returned))
        else:
            settle(future, None)

    def _on_return(self, _raw: Any, method: Any, properties: Any, body: bytes) -> None:
        self._mandatory.note(method, body, ReturnedMessage(method, properties, body))

    # ---- getting and consuming ----

    async def get(self, queue: str, auto_ack: bool = False) -> Message | None:
        """Get one message (AMQP Basic.Get); None when the queue is empty. Tasks take turns.

        :param auto_ack: the broker expects no acknowledgement
        """
        async with self._turn(self._get_lock):
            await self._until(lambda: self._got)  # a task that was cancelled has left its answer behind
            got: asyncio.Future[Any] = self._loop.create_future()

            def on_get_ok(_raw: Any, method: Any, properties: Any, body: bytes) -> None:
                self._got = None
                if not asked.done():
                    asked.set_result(Message(self, method, properties, body))
                elif not auto_ack and self.raw.is_open:
                    self.raw.basic_reject(method.delivery_tag)  # nobody waits for it: back to the queue
                settle(got, None)

            asked: asyncio.Future[Message | None] = self._loop.create_future()
            self.raw._raise_if_not_open()
            self.raw.basic_get(queue, on_get_ok, auto_ack)
            self._got = got
            self._asked = asked
            self._waiting.add(asked)
            try:
                return await asked
            except BaseException:
                if not asked.cancel():
                    self._give_back(asked, auto_ack)  # answered in the turn in which it was given up
                raise
            finally:
                self._waiting.discard(asked)

    def _give_back(self, asked: asyncio.Future[Message | None], auto_ack: bool) -> None:
        message = None if asked.cancelled() or asked.exception() is not None else asked.result()
        if message is not None and not auto_ack and self.raw.is_open and not self._loop.is_closed():
            message.reject()

    def _on_get_empty(self, _frame: Any) -> None:
        got, self._got = self._got, None
        if got is not None:
            settle(self._asked, None)
            settle(got, None)

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
        self._told_end(reason)
        pending, self._pending = self._pending, {}
        consumers, self._consumers = self._consumers, {}
        self._mandatory.clear()
        for future in pending.values():
            fail(future, reason)
        for consumer in consumers.values():
            consumer._end(reason)

    def _on_cancel(self, frame: Any) -> None:
        tag = frame.method.consumer_tag
        consumer = self._consumers.pop(tag, None)
        if consumer is not None:
            consumer._end(exceptions.ConsumerCancelled())
