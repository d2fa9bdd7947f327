"""What ends with `async with`, and futures that may have been given up."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from types import TracebackType
from typing import Any, Generic, TypeVar

from cpika._core import raise_again

T = TypeVar("T", bound="Closing")


class Closing:
    """Something that ends with `async with`, and tells why it has ended.

    :param loop: the loop
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._ended: asyncio.Future[BaseException] = loop.create_future()
        self._waiting: set[asyncio.Future[Any]] = set()  # fail with the reason

    # Who finds that it has ended is told so by the raw object. Whoever has waited meanwhile, for an answer or
    # for his turn to ask, is told the reason.

    def _raise_end(self) -> None:
        """Raise why it has ended, if it has."""
        if self._ended.done():
            raise_again(self._ended.result())

    @contextlib.asynccontextmanager
    async def _turn(self, lock: asyncio.Lock) -> AsyncIterator[None]:
        """Wait for one's turn to ask, which lasts as long as the block."""
        had_ended = self._ended.done()
        async with lock:
            if not had_ended:
                self._raise_end()
            yield

    async def _until(self, awaited: Callable[[], asyncio.Future[Any] | None]) -> None:
        """Wait, before something is asked, as long as there is a future to be awaited."""
        while not self._ended.done() and (future := awaited()) is not None:
            told: asyncio.Future[Any] = self._loop.create_future()
            self._waiting.add(told)
            tell = functools.partial(settle, told)
            future.add_done_callback(tell)
            try:
                await told
            finally:
                self._waiting.discard(told)
                future.remove_done_callback(tell)
            self._raise_end()

    def _told_end(self, reason: BaseException) -> None:
        settle(self._ended, reason)
        waiting, self._waiting = self._waiting, set()
        for future in waiting:
            fail(future, reason)

    async def close(self) -> None:
        raise NotImplementedError

    async def __aenter__(self: T) -> T:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


class Opening(Generic[T], Awaitable[T]):
    """What opens something: to be awaited, or entered by `async with`, which closes it again.

    Each await, and each `async with` behind the one before, opens another one. Inside of one a second is a
    RuntimeError: which of the two is left first would not be known.
    """

    def __init__(self, opening: Callable[[], Awaitable[T]]) -> None:
        self._opening = opening
        self._entered = False
        self._opened: T | None = None

    def __await__(self) -> Generator[Any, Any, T]:
        return self._opening().__await__()

    async def __aenter__(self) -> T:
        if self._entered:
            raise RuntimeError("it is entered already: for another one, call connect() or channel() again")
        self._entered = True
        try:
            self._opened = await self._opening()
        except BaseException:
            self._entered = False
            raise
        return self._opened

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        opened, self._opened = self._opened, None
        self._entered = False
        if opened is not None:
            await opened.close()


def settle(future: asyncio.Future[Any], result: Any) -> None:
    if not future.done():
        future.set_result(result)


def fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # nobody may be waiting for it any more
