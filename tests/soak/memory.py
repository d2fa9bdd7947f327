"""How much memory this process has: counted by the allocators where they can, else by the kernel."""

from __future__ import annotations

import ctypes
import gc
import sys
from typing import NamedTuple

from support.caches import clear_caches


class _Mallinfo2(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in ("arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split())
    ]


def _find_mallinfo() -> ctypes._FuncPointer | None:  # type: ignore[name-defined]
    try:
        function = ctypes.CDLL(None).mallinfo2
    except (AttributeError, OSError):
        return None
    function.restype = _Mallinfo2
    return function


_mallinfo = _find_mallinfo()


class Memory(NamedTuple):
    """`blocks` that Python has, `heap` bytes from malloc (resident ones where it cannot say), `objects` that
    the collector knows.
    """

    blocks: int
    heap: int
    objects: int


def status(key: str) -> int:
    """Bytes that /proc/self/status says: VmRSS, VmSize, VmPeak, VmHWM."""
    with open("/proc/self/status", encoding="ascii") as file:
        for line in file:
            name, _, value = line.partition(":")
            if name == key:
                return int(value.split()[0]) * 1024
    raise KeyError(key)


def heap_bytes() -> int:
    """Bytes in use that malloc has given out; resident bytes where it cannot say."""
    if _mallinfo is None:
        return status("VmRSS")
    info = _mallinfo()
    return int(info.uordblks + info.hblkhd)


def measure() -> Memory:
    """After a collection, and without CPython's own cache of attributes looked up."""
    gc.collect()
    clear_caches()
    return Memory(sys.getallocatedblocks(), heap_bytes(), len(gc.get_objects()))
