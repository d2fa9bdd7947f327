"""The C engine of a connection that an event loop drives."""

from __future__ import annotations

import socket
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from cpika import _core
from cpika.adapters import _pykeeper
from cpika.adapters.utils import _forked

WANTS_WRITE = 1
ENDED = 2
MORE = 4


class LoopEngine(_core.Connection):
    """One stream's engine.

    :param sock: connected, non-blocking socket, TLS done, or its descriptor; it belongs to the engine from
        now on. None: somebody else reads and writes, and feeds it
    """

    def __init__(self, sock: socket.socket | int | None) -> None:
        super().__init__(sock)
        self.over_python = sock is not None and not isinstance(sock, int)
        self._wake: Callable[[], None] | None = None
        if sock is not None:
            _forked.engines.add(self)

    @classmethod
    def over(cls, sock: socket.socket) -> LoopEngine:
        """Return the engine over a socket: over its descriptor, unless the socket itself has to be asked.

        A loop waits for descriptors itself, so a green socket need not: without TLS its descriptor will do.
        """
        kind = type(sock)
        green = kind.__module__.startswith("gevent.")
        return cls(sock.detach() if kind is socket.socket or (green and hasattr(sock, "detach")) else sock)

    def keep(self, wake: Callable[[], None]) -> None:
        """Have heartbeats sent over a Python socket, whatever the loop's thread does.

        :param wake: has the loop look at the connection, from any thread
        """
        if self.over_python:
            self._wake = _weak(wake)
            _pykeeper.keep(self)

    def _keep(self) -> float | None:
        due = super()._keep()
        if due is None and self._wake is not None:
            wake, self._wake = self._wake, None
            with suppress(Exception):  # a loop that has been closed says so: nobody is left to look
                wake()
        return due


def _weak(method: Any) -> Callable[[], None]:
    reference = weakref.WeakMethod(method)

    def call() -> None:
        target = reference()
        if target is not None:
            target()

    return call
