"""What a child made by fork does about its parent's connections: it waits for nothing that is its parent's.

A descriptor of epoll is one for both: what the child takes out of it, the parent does not watch any more.
And what the child reads, of a socket or of the pair that ends a wait, is lost to the parent.
"""

from __future__ import annotations

import os
import socket
import sys
from contextlib import suppress
from typing import Any

from cpika import _core
from cpika._references import References

engines: References[Any] = References()
"""Of connections on loops and over Python sockets: what they read from has ended in a child.

A copy of the parent's socket would hide the parent's death from the broker, too. (The core closes those
that are its own and that no loop watches.)
"""
sockets: References[socket.socket] = References()
"""Of connections on loops that are being made: ended in a child, which would go on in its parent's place.
And the copies that `_transport._sock` gives."""
pollers: References[Any] = References()
"""What loops of our own wait with: a child gets others."""


def copy_of(descriptor: int) -> socket.socket:
    """Return a socket object for a stream, by a descriptor of its own."""
    made = socket.socket(fileno=os.dup(descriptor))
    made.setblocking(False)
    sockets.add(made)
    return made


def _end(sock: socket.socket) -> None:
    """Put a stream that has ended in the place of its descriptor, which a loop may watch."""
    if sock.fileno() >= 0:  # else it is closed, or an engine's
        ours, others = socket.socketpair()
        with ours, others:
            os.dup2(ours.fileno(), sock.fileno(), inheritable=False)


def _in_child() -> None:
    for sock in sockets.living():
        with suppress(Exception):
            _end(sock)
    for engine in engines.living():  # first: what is registered with a poller is the file, not its number
        with suppress(Exception):  # a socket of somebody else's making; the others are to be left, too
            engine._leave_to_parent()
    for poller in pollers.living():
        poller.leave_to_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
    if sys.version_info >= (3, 12):  # from here on os.fork() warns of other threads, whatever they do
        os.register_at_fork(before=_core.pause_keeper, after_in_parent=_core.resume_keeper)
