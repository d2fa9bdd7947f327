"""The messages of a queue, to be read by `async for`."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

import cpika
from cpika import exceptions
from cpika._aio.messages import Message
from cpika._aio.parts import settle
from cpika._core import raise_again

if TYPE_CHECKING:
    import cpika.aio


class Consumer(AsyncIterator[Message]):
    """The messages of a queue; `Channel.consume` makes it.

    `async with` begins it and ends it again, and inside of it it is read: reading is a RuntimeError before.
    What has come by its end and was not read goes back to its queue. Reading raises ConsumerCancelled when
    the broker has cancelled it, and the reason when the channel has ended, behind the messages that came
    before.
    """

    def __init__(
        self,
        channel: cpika.aio.Channel,
        queue: str,
        auto_ack: bool,
        exclusive: bool,
        prefetch: int | None,
        consumer_tag: str | None,
        arguments: Any,
    ) -> None:
        self.channel = channel
        self.queue = queue
        self.consumer_tag = consumer_tag
        self._options = auto_ack, exclusive, arguments
        self._prefetch = prefetch
        self._messages: deque[Message] = deque()
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._reason: BaseException | None = RuntimeError("a consumer is read inside of `async with` on it")

    async def __aenter__(self) -> Consumer:
        channel = self.channel
        await channel._until(lambda: channel._cancelling.get(self.consumer_tag or ""))
        if self._prefetch is not None:
            await channel.qos(self._prefetch)
            channel._raise_end()
        auto_ack, exclusive, arguments = self._options
        begun: asyncio.Future[Any] = channel._loop.create_future()
        tag = self.consumer_tag = channel.raw.basic_consume(
            self.queue,
            self._on_message,
            auto_ack,
            exclusive,
            self.consumer_tag,
            arguments,
            lambda frame: settle(begun, frame),
        )
        self._reason = None  # why it could not be read before
        channel._consumers[tag] = self
        channel._waiting.add(begun)
        try:
            await begun
        except BaseException:
            self._cancel()
            self._give_back()  # messages may have come in the turn in which it was cancelled
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
            await asyncio.wait([ended])
            with contextlib.suppress(exceptions.AMQPError):  # the channel has ended, and the consumer with it
                ended.result()
        self._give_back()

    def _cancel(self) -> asyncio.Future[Any] | None:
        """Ask for the end, and tell who reads; what is delivered from now on goes back."""
        channel, tag = self.channel, self.consumer_tag or ""
        if channel._consumers.pop(tag, None) is None:
            return None
        self._end(self._reason or exceptions.ConsumerCancelled())
        raw = channel.raw
        if not raw.is_open or channel._loop.is_closed():
            return None
        if tag not in raw.consumer_tags or tag in raw._cancelled:  # the program has cancelled it by itself
            return None
        ended: asyncio.Future[Any] = channel._loop.create_future()

        def cancelled(frame: Any) -> None:
            channel._waiting.discard(ended)
            del channel._cancelling[tag]
            settle(ended, frame)

        raw.basic_cancel(tag, cancelled)
        channel._waiting.add(ended)
        channel._cancelling[tag] = ended
        return ended

    def _give_back(self) -> None:
        auto_ack = self._options[0]
        messages, self._messages = self._messages, deque()
        if not auto_ack and self.channel.raw.is_open and not self.channel._loop.is_closed():
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
                raise_again(self._reason)
            waiter: asyncio.Future[None] = self.channel._loop.create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.cancelled():
                    if waiter in self._waiters:  # a message may have come since, and passed it by
                        self._waiters.remove(waiter)
                else:
                    self._wake()  # it was woken for a message that another task may take
                raise
            messages = self._messages
        return messages.popleft()


Consumer.__module__ = "cpika.aio"
