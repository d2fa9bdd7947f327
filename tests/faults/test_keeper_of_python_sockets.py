"""The thread that keeps connections over Python sockets goes on, whatever is interrupted around it."""

from __future__ import annotations

import sys
import threading
from types import FrameType
from typing import Any

import pytest
from cpika.adapters import _pykeeper
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
