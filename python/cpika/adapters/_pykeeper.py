"""Heartbeats of connections over Python sockets (TLS, monkey-patched): one daemon thread an interpreter.

The core's own background thread must not touch Python objects; this one may.
"""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cpika.adapters._engine import Engine

_IDLE_S = 60.0


class _Keeper:
    """Asks each engine to send what is due."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._engines: weakref.WeakSet[Engine] = weakref.WeakSet()
        self._changed = threading.Condition()
        self._ended = False
        self._added = False
        self._thread = threading.Thread(target=self._run, name="cpika-keeper", daemon=True)
        self._thread.start()
        atexit.register(self.end)

    @property
    def alive(self) -> bool:
        """False in a child made by fork: it has no such thread."""
        return self._pid == os.getpid() and self._thread.is_alive()

    def add(self, engine: Engine) -> None:
        """Keep this engine as long as it lives and is open."""
        with self._changed:
            self._engines.add(engine)
            self._added = True
            self._changed.notify()

    def end(self) -> None:
        """End the thread, so that it does not run in an interpreter that is being taken down."""
        if self.alive:
            with self._changed:
                self._ended = True
                self._changed.notify()
            self._thread.join(1.0)

    def _run(self) -> None:
        while not self._ended:
            pause = self._keep_all()
            with self._changed:
                if not self._ended and not self._added:
                    self._changed.wait(pause)
                self._added = False

    def _keep_all(self) -> float:
        """Send what is due; return the seconds until more is."""
        pause = _IDLE_S
        with self._changed:
            engines = list(self._engines)
        for engine in engines:
            due = engine._keep()
            if due is None:
                with self._changed:
                    self._engines.discard(engine)
            else:
                pause = min(pause, due)
        return pause


_keeper: _Keeper | None = None


def keep(engine: Engine) -> None:
    """Send this engine's heartbeats from now on, whatever its thread does with Python."""
    global _keeper
    if _keeper is None or not _keeper.alive:
        _keeper = _Keeper()
    _keeper.add(engine)
