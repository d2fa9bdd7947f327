"""For the thread-safe connection: threads that run callbacks, and calls that wait for the loop's thread."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from cpika import exceptions
from cpika._core import raise_again

LOGGER = logging.getLogger("pika.adapters.thread_safe_connection")

Callback = Callable[..., Any]


def is_current(thread: threading.Thread | None) -> bool:
    """Return whether the caller runs in this thread."""
    # The system gives an ident again, once its thread has ended, or was not there in a child.
    return thread is not None and thread.ident == threading.get_ident() and thread.is_alive()


class Worker:
    """One thread that runs callbacks in order; it starts with the first.

    :param name: of the thread
    :param maxsize: how many callbacks may wait
    :param put_timeout: seconds that `put` waits for room
    :param on_full: called with a WorkQueueFullError where there was none in time
    """

    def __init__(
        self,
        name: str,
        maxsize: int,
        put_timeout: float,
        on_full: Callable[[exceptions.WorkQueueFullError], Any],
    ) -> None:
        self._name = name
        self._maxsize = maxsize
        self._put_timeout = put_timeout
        self._on_full = on_full
        self._queue: SimpleQueue[Any] = SimpleQueue()
        self._room = threading.Event()
        self._short = False  # whether somebody waits for room
        self._relaxed = 0  # calls of the worker's own that wait for the loop's thread
        self._ended = False
        self._thread: threading.Thread | None = None

    @property
    def is_current(self) -> bool:
        """Whether this is its thread."""
        return is_current(self._thread)

    def put(self, callback: Callback, *args: Any) -> None:
        """Have `callback(*args)` called; to be called in the loop's thread.

        Once the channel is closed nothing is: what was delivered goes back to its queue.
        """
        if self._ended:
            return
        if self._thread is None:
            self._start()
        if self._queue.qsize() >= self._maxsize:
            try:
                self._wait_for_room()
            except exceptions.WorkQueueFullError as error:
                self.end()
                self._on_full(error)
            if self._ended:
                return
        self._queue.put((callback, args))

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def _wait_for_room(self) -> None:
        deadline = time.monotonic() + self._put_timeout
        self._short = True
        try:
            # A worker that waits for the loop's thread must not be waited for by it.
            while self._queue.qsize() >= self._maxsize and not self._ended and not self._relaxed:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise exceptions.WorkQueueFullError(
                        f"work queue full for {self._put_timeout} seconds (maxsize={self._maxsize})"
                    )
                self._room.wait(left)
                self._room.clear()
        finally:
            self._short = False

    def relax(self) -> None:
        """The worker's callback begins to wait for the loop's thread."""
        self._relaxed += 1
        self._room.set()

    def tighten(self) -> None:
        """It waits no more."""
        self._relaxed -= 1

    def end(self) -> None:
        """Take nothing any more; what is in the queue is run. Safe to repeat."""
        if not self._ended:
            self._ended = True
            self._room.set()
            self._queue.put(None)

    def join(self, deadline: float | None) -> bool:
        """Wait for the end, unless this is its own thread; returns whether it has ended.

        :param deadline: of `time.monotonic()`; None for no limit
        """
        thread = self._thread
        if thread is None or self.is_current:
            return True
        thread.join(None if deadline is None else max(0.0, deadline - time.monotonic()))
        return not thread.is_alive()

    def _run(self) -> None:
        get = self._queue.get
        half = self._maxsize // 2
        while True:
            item = get()
            if item is None:
                return
            callback, args = item
            try:
                callback(*args)
            except Exception:
                LOGGER.exception("Unhandled exception in callback %r", callback)
            if self._short and self._queue.qsize() <= half:
                self._room.set()


class Call:
    """A call that waits for something which happens in the loop's thread."""

    __slots__ = ("_done", "_said", "error", "result")

    def __init__(self) -> None:
        self._done = threading.Lock()
        self._done.acquire()
        self._said = threading.Lock()  # held from the first word on; those who wait hold the other one, too
        self.result: Any = None
        self.error: BaseException | None = None

    @property
    def is_over(self) -> bool:
        """Whether it has happened, will not happen, or is nobody's any more."""
        return self._said.locked()

    def begin(self, begin: Callable[[Call], Any]) -> None:
        """Run `begin(call)`, unless the call is over; it fails with what that raises."""
        if self.is_over:
            return
        try:
            begin(self)
        except Exception as error:
            self.fail(error)

    def succeed(self, *results: Any) -> bool:
        """It has happened; returns whether that was the first word, which counts."""
        if not self._said.acquire(blocking=False):
            return False
        self.result = results[0] if len(results) == 1 else results
        self._done.release()
        return True

    def fail(self, error: BaseException) -> None:
        """It will not happen."""
        if self._said.acquire(blocking=False):
            self.error = error
            self._done.release()

    def give_up(self) -> None:
        """Nobody waits for it any more."""
        self._said.acquire(blocking=False)

    def wait(self, timeout: float | None, what: str) -> Any:
        """Return the result.

        :raises TimeoutError: there was none in time
        :raises BaseException: what it failed with
        """
        if not self._done.acquire(timeout=-1 if timeout is None else max(0.0, min(timeout, 1e6))):
            if self._said.acquire(blocking=False):
                raise TimeoutError(f"{what} timed out after {timeout} seconds")
            self._done.acquire()  # the word is being said
        self._done.release()
        if self.error is not None:
            raise_again(self.error)
        return self.result
