"""A call that something meets at each of its moments, as a signal handler or a finalizer would."""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from .apart import Interrupted
from .subject import pika

PACKAGE = str(Path(pika.__file__).parent)

# Right before these no signal handler runs.
UNDIVIDED = {"LOAD_CONST", "LOAD_COMMON_CONSTANT", "RETURN_CONST", "RETURN_VALUE"}


def at_moment(
    call: Callable[[], Any], number: int, action: Callable[[], Any], again: int | None = None
) -> bool:
    """Makes a call; `action()` runs as a handler would, at the n-th moment in the library.

    A moment is right before an instruction, and right after a call of a function in C, still within the
    instruction that calls: what it returns is lost when the action raises, a block behind it has not begun.

    :param again: it runs once more, so many of the library's calls later, of functions in C or its own: where
        CPython looks for signals; None: it does not
    :returns: whether it has so many
    """
    left = number
    calls_left = again or 0

    def pass_moment() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            sys.settrace(None)
            if again is None:
                sys.setprofile(None)
            action()

    def pass_call() -> None:
        nonlocal calls_left
        calls_left -= 1
        if calls_left < 0:
            sys.setprofile(None)
            action()

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        if PACKAGE not in frame.f_code.co_filename:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode" and dis.opname[frame.f_code.co_code[frame.f_lasti]] not in UNDIVIDED:
            pass_moment()
        return trace

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        inside = PACKAGE in frame.f_code.co_filename
        del argument  # a method that has returned, with its object, which tracebacks would keep
        if inside and left < 0 and event in ("call", "c_return"):
            pass_call()
        elif inside and left >= 0 and event == "c_return":
            pass_moment()

    # 3.12 asks for instructions only if some frame wants them when the tracer is set.
    sys._getframe().f_trace_opcodes = True
    sys.settrace(trace)
    sys.setprofile(profile)
    try:
        call()
    finally:
        sys.settrace(None)
        sys.setprofile(None)
    return left < 0


def interrupted_at_moment(
    call: Callable[[], Any], number: int, again: int | None = None
) -> Interrupted | None:
    """Makes a call whose n-th moment in the library's Python raises, and one behind it as `at_moment` has it;
    None: it has not so many.
    """

    def interrupt() -> None:
        raise Interrupted

    try:
        at_moment(call, number, interrupt, again)
    except Interrupted as error:
        return error
    return None
