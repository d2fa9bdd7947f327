"""Times, and waiting for descriptors and for times.

Every name of `time` and `select` is looked up when it is used: a monkey-patched program waits in its own way.
eventlet takes `select.poll` away; then `select.select` does it, or what stands for it (`_green`).

A time without end is None here. A user may also have said inf, or a number of seconds too large for what the
system takes, or nan, which no moment is later than: all of them mean no limit.
"""

from __future__ import annotations

import math
import select
import time
from collections.abc import Sequence

from cpika.adapters.utils import _green

MOST_MS = 2**31 - 1  # what poll() takes: 24 days
_LONGEST_SLEEP = 86400.0  # seconds at a time; time.sleep() has a limit of its own


def moment_after(seconds: float | None) -> float | None:
    """Return the moment of `time.monotonic()` at which that many seconds are over; None: never."""
    if seconds is None:
        return None
    try:
        moment = time.monotonic() + seconds
    except OverflowError:  # an int beyond all floats
        return None
    return moment if moment < math.inf else None


def seconds_until(moment: float | None) -> float | None:
    """Return the seconds until a moment of `time.monotonic()`, not less than 0; None: it never comes."""
    return None if moment is None else max(0.0, moment - time.monotonic())


def as_milliseconds(seconds: float | None) -> int:
    """Return the whole milliseconds to wait, -1 for no limit, cut to what poll() takes.

    Rounded up: rounded down, the last of them would be spent spinning.
    """
    if seconds is None:
        return -1
    return MOST_MS if seconds >= MOST_MS / 1000 else math.ceil(max(0.0, seconds) * 1000)


def sleep(seconds: float) -> None:
    """Sleep, without end if need be.

    :raises ValueError: a negative time
    :raises OverflowError: an int beyond all floats
    """
    if seconds < 0:
        raise ValueError(f"call_later: delay must be non-negative, but got {seconds!r}")  # pika's words
    moment = moment_after(float(seconds))
    while True:
        left = seconds_until(moment)
        time.sleep(_LONGEST_SLEEP if left is None else min(left, _LONGEST_SLEEP))
        if left is not None and left <= _LONGEST_SLEEP:
            return


def wait(
    descriptor: int,
    *,
    read: bool = False,
    write: bool = False,
    wakes: Sequence[int] = (),
    milliseconds: int = -1,
) -> bool:
    """Wait once until a descriptor is ready, or one of `wakes` can be read.

    :param descriptor: -1 to wait for `wakes` alone
    :param read: for reading
    :param write: for writing
    :param wakes: other descriptors that end the wait
    :param milliseconds: the longest to wait, -1 for no limit
    :returns: False if nothing was ready in time
    """
    if hasattr(select, "poll"):
        poller = select.poll()
        if descriptor >= 0:
            poller.register(descriptor, (select.POLLIN if read else 0) | (select.POLLOUT if write else 0))
        for wake in wakes:
            poller.register(wake, select.POLLIN)
        return bool(poller.poll(milliseconds if milliseconds >= 0 else None))
    readers = [*([descriptor] if read and descriptor >= 0 else []), *wakes]
    writers = [descriptor] if write and descriptor >= 0 else []
    # What poll() tells of a lost connection, select() tells as ready for reading or writing.
    return any(
        _green.wait_by_select(readers, writers, [], milliseconds / 1000 if milliseconds >= 0 else None)
    )


def wait_until(descriptor: int, moment: float | None, *, read: bool = False, write: bool = False) -> bool:
    """Wait until a descriptor is ready.

    :param moment: of `time.monotonic()`; None for no limit
    :returns: False if the moment came first
    """
    while True:
        left = seconds_until(moment)
        if wait(descriptor, read=read, write=write, milliseconds=as_milliseconds(left)):
            return True
        if left == 0.0:
            return False
