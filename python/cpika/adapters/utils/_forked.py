"""What a child made by fork does about its parent's connections: it waits for nothing that is its parent's.

A descriptor of epoll is one for both: what the child takes out of it, the parent does not watch any more.
And what the child reads, of a socket or of the pair that ends a wait, is lost to the parent.
"""

from __future__ import annotations

import os
import weakref
from contextlib import suppress
from typing import Any

# Sets of references that take themselves out by a function in C: in a WeakSet's, which is Python, a signal
# handler may run, and the interpreter drops what that raises.
_engines: set[weakref.ref[Any]] = set()
_pollers: set[weakref.ref[Any]] = set()


def note_engine(engine: Any) -> None:
    """Note a connection on a loop or over a Python socket: what it reads from has ended in a child.

    A copy of the parent's socket would hide the parent's death from the broker, too. (The core closes those
    that are its own and that no loop watches.)
    """
    _engines.add(weakref.ref(engine, _engines.discard))


def note_poller(poller: Any) -> None:
    """Note what a loop of our own waits with: a child gets another."""
    _pollers.add(weakref.ref(poller, _pollers.discard))


def _in_child() -> None:
    for reference in list(_engines):  # first: what is registered with a poller is the file, not its number
        engine = reference()
        if engine is not None:
            with suppress(Exception):  # a socket of somebody else's making; the others are to be left, too
                engine._leave_to_parent()
    for reference in list(_pollers):
        poller = reference()
        if poller is not None:
            poller.leave_to_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
