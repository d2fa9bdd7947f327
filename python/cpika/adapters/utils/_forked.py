"""What a child made by fork does about its parent's loops: it waits for nothing that is its parent's.

A descriptor of epoll is one for both: what the child takes out of it, the parent does not watch any more.
And what the child reads, of a socket or of the pair that ends a wait, is lost to the parent.
"""

from __future__ import annotations

import os
import weakref
from typing import Any

engines: weakref.WeakSet[Any] = weakref.WeakSet()
"""Of connections on loops: what their loops watch ends in a child."""
pollers: weakref.WeakSet[Any] = weakref.WeakSet()
"""Of loops of our own: a child gets others."""


def _in_child() -> None:
    for engine in list(engines):
        engine._loop_leave_to_parent()  # first: what is registered with a poller is the file, not its number
    for poller in list(pollers):
        poller.leave_to_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
