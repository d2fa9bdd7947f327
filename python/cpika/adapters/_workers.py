"""For the thread-safe connection: threads that run callbacks, and calls that wait for the loop's thread."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Generic, TypeVar, cast

from cpika import exceptions
from cpika._core import raise_again

LOGGER = logging.getLogger("pika.adapters.thread_safe_connection")

Callback = Callable[..., Any]
T = TypeVar("T")


class _Here(threading.local):
    """What each thread is.

    Its ident does not tell: the system gives that again, once its thread has ended or is not in a child.
    """

    pid = 0  # in a child the thread that has forked is the program's
    role: object = None

    def __init__(self) -> None:
        self.telling: set[Telling] = set()  # publishes of this thread that have not told their delivery tags


_here = _Here()


def become(role: object) -> None:
    """Say what the calling thread is, for as long as it lasts."""
    _here.pid, _here.role = os.getpid(), role


def here() -> object:
    """Return what the calling thread has become; None for the program's threads."""
    return _here.role if _here.role is not None and _here.pid == os.getpid() else None


def telling_here() -> set[Telling]:
    """Return the set of the calling thread's publishes that have not told their delivery tags."""
    return _here.telling


def held_up() -> list[Worker]:
    """Return the workers that get no further as long as the calling thread does not."""
    role = here()
    workers = [role] if isinstance(role, Worker) else []
    return workers + [telling.worker for telling in _here.telling.copy()]


def lasting(timeout: float | None) -> float | None:
    """Return seconds that the standard library can wait for, neither negative nor infinite; or None."""
    return None if timeout is None else max(0.0, min(timeout, 1e6))


class Telling:
    """A publish that has not told its delivery tag; what the broker says of it waits until this is gone.

    So it stands in sets, and in no variable: a traceback would keep it.

    :param worker: runs the callback of its confirm
    """

    __slots__ = ("__weakref__", "worker")

    def __init__(self, worker: Worker) -> None:
        self.worker = worker


class Worker:
    """One thread that runs callbacks in order; it starts with the first.

    :param name: of the thread
    :param maxsize: how many callbacks may wait; 0 or less is no limit, as in `queue.Queue`
    :param put_timeout: seconds that `put` waits for room
    :param on_full: called with a WorkQueueFullError where there was none in time
    :param on_death: called in its thread with what has ended that, SystemExit for example
    """

    def __init__(
        self,
        name: str,
        maxsize: int,
        put_timeout: float,
        on_full: Callable[[exceptions.WorkQueueFullError], Any],
        on_death: Callable[[BaseException], Any],
    ) -> None:
        self._name = name
        self._maxsize: float = maxsize if maxsize > 0 else math.inf
        self._put_timeout = put_timeout
        self._on_full = on_full
        self._on_death = on_death
        self._queue: SimpleQueue[Any] = SimpleQueue()  # callbacks; else it is time to look at those held back
        self._held: deque[tuple[list[weakref.ref[Telling]], Callback, tuple[Any, ...]]] = deque()
        self._room = threading.Event()
        self._short = False  # whether somebody waits for room
        self.waiting: set[object] = set()  # calls that wait for the loop's thread, and hold this one up
        self._ended = False
        self._thread: threading.Thread | None = None

    def put(self, callback: Callback, *args: Any) -> None:
        """Have `callback(*args)` called; to be called in the loop's thread.

        Once the channel is closed nothing is: what was delivered goes back to its queue.
        """
        if self._takes():
            self._queue.put((callback, args))

    def put_behind(self, telling: set[Telling], callback: Callback, *args: Any) -> None:
        """As `put`, but not before these publishes have told their tags; what is put so runs in order.

        Nobody waits for that: it is held back, and the death of the last `Telling` puts word of it into the
        queue, in C, whatever strikes the thread that has published.
        """
        if not telling and not self._held:
            self.put(callback, *args)
        elif self._takes():
            # One that has a reference is awaited by what is held back already, and this stands behind it.
            bells = [
                weakref.ref(each, self._queue.put)
                for each in telling.copy()
                if not weakref.getweakrefcount(each)
            ]
            self._held.append((bells, callback, args))
            if not any(bell() for bell in bells):  # they rang before this stood there, if there are any
                self._queue.put(self)

    def _takes(self) -> bool:
        """Return whether one more may be put: it has not ended, and there is room, if need be in a while."""
        if self._ended:
            return False
        if self._thread is None:
            self._start()
        if self._count() >= self._maxsize:
            try:
                self._wait_for_room()
            except exceptions.WorkQueueFullError as error:
                self.end()
                self._on_full(error)
        return not self._ended

    def _count(self) -> int:
        return self._queue.qsize() + len(self._held)

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        thread.start()
        self._thread = thread  # who closes meanwhile cannot join one that has not begun

    def _wait_for_room(self) -> None:
        deadline = time.monotonic() + self._put_timeout
        self._short = True
        try:
            # Who waits for the loop's thread must not be waited for by it: the worker, and who holds it up.
            while self._count() >= self._maxsize and not self._ended and not self.waiting:
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
        """A call that holds the worker up, now in `waiting`, begins to wait for the loop's thread."""
        self._room.set()

    def end(self) -> None:
        """Take nothing any more; what is in the queue or held back is run. Safe to repeat."""
        if not self._ended:
            self._ended = True
            self._room.set()
            self._queue.put(None)

    def join(self, deadline: float | None) -> bool:
        """Wait for the end, and return whether it has ended.

        A thread of callbacks waits for none of them, itself or another: that one may wait for it. Nor does
        one that has a delivery tag to tell.

        :param deadline: of `time.monotonic()`; None for no limit
        """
        thread = self._thread
        if thread is None or held_up():
            return True
        thread.join(lasting(None if deadline is None else deadline - time.monotonic()))
        return not thread.is_alive()

    def _run(self) -> None:
        become(self)
        try:
            self._call_all()
        except BaseException as error:
            self._ended = True
            self._room.set()  # the loop's thread need not wait for room: what it hears next is this end
            self._on_death(error)
            raise

    def _call_all(self) -> None:
        get = self._queue.get
        last = False
        while True:
            item = get()
            if type(item) is tuple:
                self._call(*item)
                continue
            last = last or item is None
            self._call_held()
            if last and not self._held:
                return

    def _call_held(self) -> None:
        """Call what has been held back, up to the first that still has to be."""
        held = self._held
        while held and not any(bell() for bell in held[0][0]):
            _bells, callback, args = held.popleft()
            self._call(callback, args)
        self._tell_room()  # what led here has had a place in the queue, too

    def _call(self, callback: Callback, args: tuple[Any, ...]) -> None:
        try:
            callback(*args)
        except Exception:
            LOGGER.exception("Unhandled exception in callback %r", callback)
        if self._short:
            self._tell_room()

    def _tell_room(self) -> None:
        if self._short and self._count() <= self._maxsize / 2:
            self._room.set()


class Call(Generic[T]):
    """A call that waits for something which happens in the loop's thread.

    :param undo: takes the result back, in the loop's thread, where nobody has got it
    """

    __slots__ = ("_done", "_has_result", "_result", "_said", "_undo", "error")

    def __init__(self, undo: Callable[[T], Any] | None = None) -> None:
        self._done = threading.Lock()
        self._done.acquire()
        self._said = threading.Lock()  # held from the first word on; those who wait hold the other one, too
        self._undo = undo
        self._result: T | None = None
        self._has_result = False
        self.error: BaseException | None = None

    @property
    def is_over(self) -> bool:
        """Whether it has happened, will not happen, or is nobody's any more."""
        return self._said.locked()

    def begin(self, begin: Callable[[Call[T]], Any]) -> None:
        """Run `begin(call)`, unless the call is over; it fails with what that raises."""
        if self.is_over:
            return
        try:
            begin(self)
        except Exception as error:
            self.fail(error)

    def succeed(self, result: T) -> None:
        """It has happened; only the first word counts."""
        if self._said.acquire(blocking=False):
            self._result = result  # into a place that is there: nothing can fail between the two locks
            self._has_result = True
            self._done.release()
        elif self._undo is not None:
            self._undo(result)

    def fail(self, error: BaseException) -> None:
        """It will not happen."""
        if self._said.acquire(blocking=False):
            self.error = error
            self._done.release()

    def give_up(self) -> bool:
        """Nobody waits for it any more; return whether `take_back` is to be called, in the loop's thread."""
        return not self._said.acquire(blocking=False) and self._undo is not None

    def take_back(self) -> None:
        """Undo what has happened, if it has: nobody has got the result."""
        if self._undo is not None and self._has_result:
            self._has_result = False
            self._undo(cast("T", self._result))

    def wait(self, timeout: float | None, what: str) -> T:
        """Return the result.

        :raises TimeoutError: there was none in time
        :raises BaseException: what it failed with
        """
        seconds = lasting(timeout)
        if not self._done.acquire(timeout=-1 if seconds is None else seconds):
            if self._said.acquire(blocking=False):
                raise TimeoutError(f"{what} timed out after {timeout} seconds")
            self._done.acquire()  # the word is being said
        self._done.release()
        if self.error is not None:
            raise_again(self.error)
        return cast("T", self._result)
