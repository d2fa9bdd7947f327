"""What a program with green threads (gevent, eventlet) needs besides waits that let others run.

Both libraries put functions of their own in the place of the standard library's. Whatever the connection
waits for goes through those; here is what has to be the system's own all the same, and what may not be called
from a library's event loop.
"""

from __future__ import annotations

import select
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

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
