"""Threads that look something up, and that nobody waits for at the end."""

from __future__ import annotations

import _thread
import threading
from collections.abc import Callable


def start_thread(target: Callable[[], object], name: str) -> None:
    """Start one that the end of the interpreter does not wait for.

    Each name is looked up when it is used: a monkey-patched program gets a greenlet.
    """
    try:
        threading.Thread(target=target, name=name, daemon=True).start()
    except RuntimeError:  # an interpreter with a GIL of its own allows no daemons
        _thread.start_new_thread(target, ())
