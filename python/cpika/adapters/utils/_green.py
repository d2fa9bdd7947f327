"""What a program with green threads (gevent, eventlet) needs besides waits that let others run.

Both libraries put functions of their own in the place of the standard library's. Whatever the connection
waits for goes through those; here is what has to be the system's own all the same, and what may not be called
from a library's event loop.
"""

from __future__ import annotations

import functools
import os
import select
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

# Not 0: gevent comes back from that before it has looked at its timers and descriptors.
_ONE_TURN_S = 1e-6

# Modules whose select() waits in an event loop, and where that loop is found.
_HUBS: dict[str, Callable[[], Any]] = {
    "gevent.select": lambda: sys.modules["gevent.hub"].get_hub(),
    "eventlet.green.select": lambda: sys.modules["eventlet.hubs"].get_hub().greenlet,
}


def let_others_run() -> None:
    """Let the other greenlets of this thread run, each until it waits.

    Does nothing inside the event loop itself, whose callbacks may not wait.
    """
    hub = _HUBS.get(select.select.__module__)
    if hub is None or hub() is not sys.modules["greenlet"].getcurrent():
        time.sleep(_ONE_TURN_S)


def wait_by_select(
    readers: Sequence[int], writers: Sequence[int], failing: Sequence[int], seconds: float | None
) -> tuple[list[int], list[int], list[int]]:
    """Wait as `select.select` does; a greenlet of eventlet is resumed once.

    eventlet's own resumes it once for each descriptor that is ready, the second time wherever it waits by
    then: a queue's `get()` returns what nobody has put there, a `sleep()` ends early.
    """
    if select.select.__module__ != "eventlet.green.select":
        return select.select(readers, writers, failing, seconds)
    return _wait_in_eventlets_hub(readers, writers, seconds)


class _Wait:
    """One wait of a greenlet in eventlet's hub, which ends once."""

    def __init__(self, hub: Any, current: Any) -> None:
        self.hub = hub
        self.current = current
        self.found: tuple[list[int], list[int], list[int]] = [], [], []
        self.over = False

    def end(self, how: Callable[..., Any], *args: Any) -> None:
        """Resume the greenlet by its `switch` or `throw`, unless that has been done."""
        if not self.over:
            self.over = True
            how(*args)


class _OnReady:
    """What the hub calls when a descriptor is ready."""

    def __init__(self, wait: _Wait, kind: str, filenos: list[int], fileno: int) -> None:
        self.wait = wait
        self._kind = kind
        self._filenos = filenos
        self.file = _file_of(fileno)

    def __call__(self, fileno: int) -> None:
        """End the wait, or leave the hub: a signal handler's exception may have left this there."""
        if self.wait.over:
            _remove_if_over(self.wait.hub, self._kind, fileno)
            return
        self._filenos.append(fileno)
        self.wait.end(self.wait.current.switch)


def _file_of(fileno: int) -> tuple[int, int]:
    """Return what tells the file behind a descriptor from others."""
    status = os.fstat(fileno)
    return status.st_dev, status.st_ino


def _remove_if_over(hub: Any, kind: str, fileno: int) -> None:
    """Remove what waits in eventlet's hub for a descriptor, if it is of a wait here that is over."""
    listener = hub.listeners[kind].get(fileno)
    if listener is not None and isinstance(listener.cb, _OnReady) and listener.cb.wait.over:
        hub.remove(listener)
        listener.defang()


def _remove_left_over(hub: Any, fileno: int) -> None:
    """Have eventlet's hub forget what waits for the descriptor that had this number before, or for nobody.

    Who closes the descriptor of a greenlet that waits wakes that one, too; but it may run only when the
    number is another's. The hub wants to be told then, and hears of its own sockets alone.
    """
    for kind in (hub.READ, hub.WRITE):
        _remove_if_over(hub, kind, fileno)
        callback = getattr(hub.listeners[kind].get(fileno), "cb", None)
        if isinstance(callback, _OnReady) and callback.file != _file_of(fileno):
            hub.mark_as_reopened(fileno)


def _wait_in_eventlets_hub(
    readers: Sequence[int], writers: Sequence[int], seconds: float | None
) -> tuple[list[int], list[int], list[int]]:
    hub = sys.modules["eventlet.hubs"].get_hub()
    current = sys.modules["greenlet"].getcurrent()
    if hub.greenlet is current:
        raise RuntimeError("waiting inside eventlet's own loop")
    wait = _Wait(hub, current)
    timers, listeners = [], []

    def late() -> None:  # in this turn the hub has not looked at the descriptors yet
        timers.append(hub.schedule_call_global(0, wait.end, current.switch))

    try:
        if seconds is not None:
            timers.append(hub.schedule_call_global(seconds, late))
        for fileno in (*readers, *writers):
            _remove_left_over(hub, fileno)
        for kind, wanted, filenos in (
            (hub.READ, readers, wait.found[0]),
            (hub.WRITE, writers, wait.found[1]),
        ):
            on_error = functools.partial(wait.end, current.throw)
            for fileno in wanted:
                on_ready = _OnReady(wait, kind, filenos, fileno)
                listeners.append(hub.add(kind, fileno, on_ready, on_error, lambda: None))
        hub.switch()
    finally:
        wait.over = True
        for listener in listeners:
            hub.remove(listener)
        for timer in timers:
            timer.cancel()
    return wait.found


def system_threads() -> tuple[Callable[[], Any], Callable[..., Any]]:
    """Return what makes a lock and what starts a thread: `_thread`'s, from before any patching."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None and monkey.is_module_patched("_thread"):
        allocate_lock, start_new_thread = monkey.get_original(
            "_thread", ["allocate_lock", "start_new_thread"]
        )
        return allocate_lock, start_new_thread
    patcher = sys.modules.get("eventlet.patcher")
    if patcher is not None and patcher.is_monkey_patched("thread"):
        original = patcher.original("_thread")
        return original.allocate_lock, original.start_new_thread
    import _thread

    return _thread.allocate_lock, _thread.start_new_thread
