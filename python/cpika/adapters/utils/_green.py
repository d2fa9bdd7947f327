"""What a program with green threads (gevent, eventlet) needs besides waits that let others run.

Both libraries put functions of their own in the place of the standard library's. Whatever the connection
waits for goes through those; here is what has to be the system's own all the same, and what may not be called
from a library's event loop.
"""

from __future__ import annotations

import functools
import select
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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


def _wait_in_eventlets_hub(
    readers: Sequence[int], writers: Sequence[int], seconds: float | None
) -> tuple[list[int], list[int], list[int]]:
    hub = sys.modules["eventlet.hubs"].get_hub()
    current = sys.modules["greenlet"].getcurrent()
    if hub.greenlet is current:
        raise RuntimeError("waiting inside eventlet's own loop")
    found: tuple[list[int], list[int], list[int]] = [], [], []
    waits = True
    timers, listeners = [], []

    def resume(how: Callable[..., Any], *args: Any) -> None:
        nonlocal waits
        if waits:
            waits = False
            how(*args)

    def over() -> None:  # it has not looked at the descriptors in this turn
        timers.append(hub.schedule_call_global(0, resume, current.switch))

    def ready(filenos: list[int], fileno: int) -> None:
        if waits:
            filenos.append(fileno)
        resume(current.switch)

    try:
        if seconds is not None:
            timers.append(hub.schedule_call_global(seconds, over))
        for kind, wanted, filenos in ((hub.READ, readers, found[0]), (hub.WRITE, writers, found[1])):
            on_ready = functools.partial(ready, filenos)
            on_error = functools.partial(resume, current.throw)
            for fileno in wanted:
                listeners.append(hub.add(kind, fileno, on_ready, on_error, lambda: None))
        hub.switch()
    finally:
        waits = False
        for listener in listeners:
            hub.remove(listener)
        for timer in timers:
            timer.cancel()
    return found


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
