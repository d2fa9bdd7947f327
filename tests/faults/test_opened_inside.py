"""A channel opened by a signal's handler, or a finalizer, in the middle of the opening of another one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from support.subject import pika

LIBRARY = str(Path(pika.__file__).parent)


PLACES = 300  # in the opening of the outer one


def at_instruction(number: int, run: Callable[[], Any], call: Callable[[], Any]) -> tuple[Any, int]:
    """What `call()` returns, having called `run()` before so manieth of its instructions of the library; and
    how many there were.
    """
    done = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal done
        if not frame.f_code.co_filename.startswith(LIBRARY):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            done += 1
            if done == number:
                run()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        return call(), done
    finally:
        sys.settrace(before)


def everywhere(open_two: Callable[[int], int]) -> None:
    """Calls `open_two(number of an instruction)` for many of them, from the first to the last."""
    total = open_two(0)
    for number in range(1, total, max(1, total // PLACES)):
        open_two(number)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("wanted", [None, 7])
def test_of_a_blocking_connection(connect: Callable[..., Any], wanted: int | None) -> None:
    """Each has a number of its own; who asks for the one that the other has is told so."""
    connection = connect()

    def open_two(number: int) -> int:
        opened: list[Any] = []

        def open_one() -> None:
            try:
                opened.append(connection.channel(wanted))
            except pika.exceptions.InvalidChannelNumber:
                assert wanted, "one that may be any is free"

        _, total = at_instruction(number, open_one, open_one)
        numbers = [channel.channel_number for channel in opened]
        assert len(set(numbers)) == len(numbers), f"at instruction {number}: {numbers}"
        both = 0 < number <= total and not wanted
        assert len(numbers) == (2 if both else 1), f"at instruction {number}: {numbers}"
        for channel in opened:
            channel.queue_declare("", exclusive=True)
            channel.close()
        return total

    everywhere(open_two)
    assert connection.channel().channel_number == 1, "no number is lost"
