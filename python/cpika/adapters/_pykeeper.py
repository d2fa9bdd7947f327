"""Heartbeats of connections over Python sockets (TLS, monkey-patched): one daemon thread an interpreter.

The core's own background thread must not touch Python objects; this one may. It is a thread of the system
where threading's are greenlets, too: a greenlet would not run while another one computes.
"""

from __future__ import annotations

import atexit
import os
import weakref
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from cpika.adapters.utils import _green

if TYPE_CHECKING:
    from cpika._core import Connection as Engine

_IDLE_S = 60.0
_AFTER_FAILURE_S = 0.1


class _Keeper:
    """Asks each engine to send what is due.

    No lock is held over Python code: a signal handler's exception in a Condition's `__enter__` would leave
    it locked. What others do to it is one call each that no handler divides.
    """

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._added: deque[weakref.ref[Engine]] = deque()
        self._engines: set[weakref.ref[Engine]] = set()  # the thread's own, as are these two:
        self._unasked: deque[weakref.ref[Engine]] = deque()  # whom the round under way has not come to
        self._pause = 0.0  # seconds until the next round
        allocate_lock, self._start_new_thread = _green.system_threads()
        self._sleep = allocate_lock()  # released to wake it
        self._sleep.acquire()
        self._over = allocate_lock()  # released when the thread has ended
        self._over.acquire()
        self._ended = False
        self._started = False

    def start(self) -> None:
        """Start its thread."""
        atexit.register(self.end)
        self._start_new_thread(self._run, (0.0,))
        self._started = True

    @property
    def alive(self) -> bool:
        """False before the start, and in a child made by fork: it has no such thread."""
        return self._pid == os.getpid() and self._started and self._over.locked()

    def add(self, engine: Engine) -> None:
        """Keep this engine as long as it lives and is open."""
        self._added.append(weakref.ref(engine))
        self._wake()

    def send_held(self) -> None:
        """Send what the engines hold, in the thread of whoever calls."""
        for reference in (*self._added, *self._engines):
            engine = reference()
            if engine is not None:
                engine._hold_no_more()
                engine._keep()

    def end(self) -> None:
        """End the thread, so that it does not run in an interpreter that is being taken down."""
        if self.alive:
            self._ended = True
            self._wake()
            if self._over.acquire(timeout=1.0):
                self._over.release()

    def _wake(self) -> None:
        with suppress(RuntimeError):  # it has been woken already
            self._sleep.release()

    def _run(self, pause: float) -> None:
        """Keep until the end.  What is raised is told and ends this thread; another goes on after a pause.

        An engine raises nothing of its socket's: memory was short, a hook of the interpreter has raised, or
        somebody has set an exception for the thread.
        """
        try:
            goes_on = False
            if pause:
                self._sleep.acquire(timeout=pause)
            while not self._ended:
                self._sleep.acquire(timeout=self._keep_all())
        except BaseException:
            goes_on = True
            try:
                self._start_new_thread(self._run, (_AFTER_FAILURE_S,))
            except BaseException:
                goes_on = False
                raise
            raise
        finally:
            if not goes_on:
                self._over.release()

    def _keep_all(self) -> float:
        """Send what is due; return the seconds until more is."""
        while self._added:
            reference = self._added[0]
            engine = reference()
            if engine is not None:  # else its hash is gone with it
                self._engines.add(reference)
            self._added.popleft()  # only now: what is raised before loses nobody
        if not self._unasked:
            self._unasked, self._pause = deque(self._engines), _IDLE_S
        while self._unasked:
            reference = self._unasked.popleft()
            pause, self._pause = self._pause, _AFTER_FAILURE_S  # where it raises, it is asked again soon
            engine = reference()
            due = engine._keep() if engine is not None else None
            if due is None:
                self._engines.discard(reference)
            self._pause = pause if due is None else min(pause, due)
        return self._pause


_keeper: _Keeper | None = None


def keep(engine: Engine) -> None:
    """Send this engine's heartbeats from now on, whatever its thread does with Python."""
    global _keeper
    keeper = _keeper
    if keeper is None or not keeper.alive:
        keeper = _keeper = _Keeper()
        keeper.start()
    keeper.add(engine)


def send_held() -> None:
    """Send what all engines hold: the process is about to become another program."""
    if _keeper is not None and _keeper.alive:
        _keeper.send_held()
