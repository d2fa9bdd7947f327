"""The thread that keeps connections over Python sockets goes on, whatever is interrupted around it."""

from __future__ import annotations

import asyncio
import ctypes
import socket
import sys
import threading
from types import FrameType
from typing import Any

import pytest
from cpika._async.engine import LoopEngine
from cpika.adapters import _pykeeper
from cpika.adapters.asyncio_connection import AsyncioConnection
from support.apart import apart

ROUNDS = 60  # more than keep() has moments


class Kept:
    """What the keeper knows of an engine: that it has a `_keep`."""

    def __init__(self) -> None:
        self.asked = threading.Event()

    def _keep(self) -> float:
        self.asked.set()
        return 60.0


class Interrupt(BaseException):
    """What a signal handler raises."""


def interrupt_at(moment: int) -> bool:
    """Calls keep(), and raises at its n-th moment: a line, a call or a return, in whatever it calls.

    :returns: False when it had no such moment
    """
    left = moment

    def tracer(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal left
        left -= 1
        if left == 0:
            raise Interrupt
        return tracer

    engine: Any = Kept()
    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        _pykeeper.keep(engine)
    except Interrupt:
        return True
    finally:
        sys.settrace(before)
    return False


def after_interrupts(fresh: bool) -> int:
    """keep() after an interrupt at each of its moments. Returns how many there were.

    :param fresh: there is no keeper yet, each time
    """
    interrupted = 0
    for moment in range(1, ROUNDS):
        if fresh:
            _pykeeper._keeper = None
        interrupted += interrupt_at(moment)
        engine: Any = Kept()
        _pykeeper.keep(engine)
        assert engine.asked.wait(5.0), f"not after an interrupt at moment {moment}"
    return interrupted


@pytest.mark.parametrize("fresh", [False, True])
def test_an_interrupt_at_any_moment_leaves_the_keeper_working(fresh: bool) -> None:
    """In an interpreter of its own: what a trace function raises in an except clause stays as a context."""
    assert apart(after_interrupts, fresh) > 3


class Green(socket.socket):
    """A socket that has to be asked itself, as TLS's."""


def after_a_closed_loop() -> None:
    """One connection has ended, and its loop is closed: others are kept as before."""
    loop = asyncio.new_event_loop()
    connection = AsyncioConnection(custom_ioloop=loop, internal_connection_workflow=False)
    loop.close()
    ours, theirs = socket.socketpair()
    ended = LoopEngine(Green(fileno=ours.detach()))
    theirs.close()
    ended._loop_readable()
    assert ended._error is not None
    before: Any = Kept()
    _pykeeper.keep(before)
    assert before.asked.wait(5.0)
    before.asked.clear()
    keeper = _pykeeper._keeper
    ended.keep(connection._wake)
    after: Any = Kept()
    _pykeeper.keep(after)
    assert after.asked.wait(5.0)
    assert before.asked.wait(5.0), "the others are kept no more"
    assert _pykeeper._keeper is keeper


def test_a_loop_that_has_been_closed_costs_no_other_connection() -> None:
    apart(after_a_closed_loop)


class Raising(Kept):
    """An engine whose turns raise for some time."""

    def __init__(self, *raised: BaseException) -> None:
        super().__init__()
        self._raised = list(raised)

    def _keep(self) -> float:
        if self._raised:
            raise self._raised.pop()
        return super()._keep()


def after_exceptions_in_its_thread() -> list[bool]:
    """An engine whose turn raises; then an exception that another thread has set for the keeper's."""
    engine: Any = Raising(MemoryError(), KeyboardInterrupt())
    _pykeeper.keep(engine)
    asked = [engine.asked.wait(5.0)]
    keeper = _pykeeper._keeper
    assert keeper is not None
    mine = {threading.get_ident()}
    while len(threads := set(sys._current_frames()) - mine) > 1:  # the one before is about to end
        pass
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(*threads), ctypes.py_object(Interrupt))
    for _ in range(2):
        later: Any = Kept()
        _pykeeper.keep(later)
        asked.append(later.asked.wait(5.0))
    asked.append(keeper.alive)
    keeper.end()
    asked.append(not keeper.alive)
    return asked


def test_what_is_raised_in_the_keepers_thread_ends_no_heartbeats() -> None:
    """One exception ended it, and with it the heartbeats of all connections over Python sockets, untold."""
    assert apart(after_exceptions_in_its_thread) == [True] * 5


def beside_one_that_raises() -> int:
    """How many of eight engines are asked where another one raises each time."""
    raising: Any = Raising(*[MemoryError() for _ in range(10_000)])
    _pykeeper.keep(raising)
    kept: list[Any] = [Kept() for _ in range(8)]
    for engine in kept:
        _pykeeper.keep(engine)
    return sum(engine.asked.wait(2.0) for engine in kept)


def test_an_engine_that_raises_keeps_no_other_waiting() -> None:
    assert apart(beside_one_that_raises) == 8
