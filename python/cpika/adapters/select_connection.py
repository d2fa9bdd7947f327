"""pika's own I/O loop, on the best way of waiting that the system has, and the adapter on it."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

from cpika import _home, connection
from cpika.adapters._pollers import EPollPoller as EPollPoller
from cpika.adapters._pollers import KQueuePoller as KQueuePoller
from cpika.adapters._pollers import PollEvents as PollEvents
from cpika.adapters._pollers import PollPoller as PollPoller
from cpika.adapters._pollers import SelectPoller as SelectPoller
from cpika.adapters._pollers import has
from cpika.adapters.base_connection import BaseConnection
from cpika.adapters.utils import connection_workflow, nbio_interface
from cpika.adapters.utils.selector_ioloop_adapter import AbstractSelectorIOLoop, SelectorIOServicesAdapter

LOGGER = logging.getLogger("pika.adapters.select_connection")

_home.at_home(__name__, PollEvents, SelectPoller, PollPoller, EPollPoller, KQueuePoller)

SELECT_TYPE: str | None = None
"""Which way of waiting new loops use: "select", "poll", "epoll" or "kqueue"; None for the best there is."""


class SelectConnection(BaseConnection):
    """A connection on an `IOLoop`.

    :param parameters: how to connect; None for the defaults
    :param on_open_callback: called with the connection when it is open
    :param on_open_error_callback: called with the connection and an exception when it could not be opened
    :param on_close_callback: called with the connection and an exception when an open one has ended
    :param custom_ioloop: the loop, or services of one; None: a new `IOLoop`
    :param internal_connection_workflow: connect by itself; False: `create_connection` does
    """

    def __init__(
        self,
        parameters: connection.Parameters | None = None,
        on_open_callback: Callable[[Any], Any] | None = None,
        on_open_error_callback: Callable[[Any, Exception], Any] | None = None,
        on_close_callback: Callable[[Any, Exception], Any] | None = None,
        custom_ioloop: Any = None,
        internal_connection_workflow: bool = True,
    ) -> None:
        ready = isinstance(custom_ioloop, nbio_interface.AbstractIOServices)
        super().__init__(
            parameters,
            on_open_callback,
            on_open_error_callback,
            on_close_callback,
            custom_ioloop if ready else SelectorIOServicesAdapter(custom_ioloop or IOLoop()),
            internal_connection_workflow=internal_connection_workflow,
        )

    @classmethod
    def create_connection(
        cls,
        connection_configs: Sequence[connection.Parameters],
        on_done: Callable[[Any], Any],
        custom_ioloop: Any = None,
        workflow: Any = None,
    ) -> connection_workflow.AbstractAMQPConnectionWorkflow:
        """See `BaseConnection.create_connection`."""
        nbio = SelectorIOServicesAdapter(custom_ioloop or IOLoop())
        return cls._create_on(nbio, connection_configs, on_done, workflow)

    def _get_write_buffer_size(self) -> int:
        """Return how many bytes are queued."""
        return int(self._transport.get_write_buffer_size())


class _Timeout:
    """One timer; timers are ordered by their deadline."""

    __slots__ = ("callback", "deadline")

    def __init__(self, deadline: float, callback: Callable[[], Any]) -> None:
        if deadline < 0:
            raise ValueError(f"deadline must be non-negative epoch number, but got {deadline!r}")
        if not callable(callback):
            raise TypeError(f"callback must be a callable, but got {callback!r}")
        self.deadline = deadline
        self.callback: Callable[[], Any] | None = callback

    def __eq__(self, other: object) -> bool:
        return self.deadline == other.deadline if isinstance(other, _Timeout) else NotImplemented

    def __lt__(self, other: object) -> bool:
        return self.deadline < other.deadline if isinstance(other, _Timeout) else NotImplemented

    def __gt__(self, other: object) -> bool:
        return self.deadline > other.deadline if isinstance(other, _Timeout) else NotImplemented

    def __le__(self, other: object) -> bool:
        return self.deadline <= other.deadline if isinstance(other, _Timeout) else NotImplemented

    def __ge__(self, other: object) -> bool:
        return self.deadline >= other.deadline if isinstance(other, _Timeout) else NotImplemented

    __hash__ = None  # type: ignore[assignment]


class _Timer:
    """The timers of one loop: a heap, in which cancelled ones stay until they are due, or are too many."""

    _GC_CANCELLATION_THRESHOLD = 1024

    def __init__(self) -> None:
        # Deadline and number come first: the heap compares them, never a timer, whose methods are Python's.
        self._timeout_heap: list[tuple[float, int, _Timeout]] | None = []
        self._numbers = itertools.count()
        self._num_cancellations = 0

    def close(self) -> None:
        """Forget all timers."""
        for _, _, timeout in self._timeout_heap or ():
            timeout.callback = None
        self._timeout_heap = None

    def call_later(self, delay: float, callback: Callable[[], Any]) -> _Timeout:
        """Return a timer that is due after `delay` seconds.

        :raises ValueError: a negative delay, or the loop is closed
        :raises TypeError: `callback` is not callable
        """
        if self._timeout_heap is None:
            raise ValueError("Timeout closed before call")
        if delay < 0:
            raise ValueError(f"call_later: delay must be non-negative, but got {delay!r}")
        timeout = _Timeout(monotonic() + delay, callback)
        heapq.heappush(self._timeout_heap, (timeout.deadline, next(self._numbers), timeout))
        return timeout

    def remove_timeout(self, timeout: _Timeout) -> None:
        """Cancel a timer; safe to repeat."""
        if timeout.callback is not None:
            timeout.callback = None
            self._num_cancellations += 1

    def get_remaining_interval(self) -> float | None:
        """Return the seconds until the next timer is due; None: there is none."""
        if not self._timeout_heap:
            return None
        left = self._timeout_heap[0][0] - monotonic()
        return left if left > 0 else 0

    def process_timeouts(self) -> None:
        """Run what is due; what a callback adds waits for the next time."""
        heap = self._timeout_heap
        if not heap:
            return
        now = monotonic()
        if heap[0][0] <= now:
            self._run_due(heap, now)
        if self._num_cancellations >= self._GC_CANCELLATION_THRESHOLD:
            self._collect()

    def _run_due(self, heap: list[tuple[float, int, _Timeout]], now: float) -> None:
        ready = []
        while heap and heap[0][0] <= now:
            due = heapq.heappop(heap)
            if due[2].callback is None:
                self._num_cancellations -= 1
            else:
                ready.append(due)
        for place, (_, _, timeout) in enumerate(ready):
            callback, timeout.callback = timeout.callback, None
            if callback is None:
                self._num_cancellations -= 1
                continue
            try:
                callback()
            except BaseException:
                for left in ready[place + 1 :]:  # it leaves the loop, which may run again
                    heapq.heappush(heap, left)
                raise

    def _collect(self) -> None:
        """Let cancelled timers go, where they are more than the others."""
        heap = self._timeout_heap
        if heap and self._num_cancellations > len(heap) >> 1:
            self._num_cancellations = 0
            heap[:] = [entry for entry in heap if entry[2].callback is not None]  # who runs it has it in hand
            heapq.heapify(heap)


class IOLoop(AbstractSelectorIOLoop):
    """pika's loop: descriptors, timers, and callbacks from any thread."""

    # The bits, which AbstractSelectorIOLoop wants as attributes.
    READ = PollEvents.READ
    WRITE = PollEvents.WRITE
    ERROR = PollEvents.ERROR

    def __init__(self) -> None:
        self._timer = _Timer()
        self._callbacks: deque[Callable[[], Any]] = deque()
        self._flushes: deque[Callable[[], Any]] = deque()
        self._thread = threading.get_ident()
        self._waiting = False  # for descriptors, with nothing to do before
        self._poller: Any = self._get_poller(self._get_remaining_interval, self.process_timeouts)

    @staticmethod
    def _get_poller(get_wait_seconds: Callable[[], float | None], process_timeouts: Callable[[], Any]) -> Any:
        """Return a poller of the kind that SELECT_TYPE asks for, if the system has it; else the next best."""
        for name, kind in (("epoll", EPollPoller), ("kqueue", KQueuePoller), ("poll", PollPoller)):
            if SELECT_TYPE in (None, "", name) and has(name):
                LOGGER.debug("Using %s", kind.__name__)
                return kind(get_wait_seconds=get_wait_seconds, process_timeouts=process_timeouts)
        return SelectPoller(get_wait_seconds=get_wait_seconds, process_timeouts=process_timeouts)

    def close(self) -> None:
        """Release what the loop holds; it does not run any more. Safe to repeat."""
        if self._poller is not None:
            self._poller.close()
            self._timer.close()
            self._callbacks.clear()
            self._flushes.clear()

    def call_later(self, delay: float, callback: Callable[[], Any]) -> Any:
        """Call `callback()` after `delay` seconds.

        :returns: what `remove_timeout` takes
        :raises ValueError: a negative delay
        :raises TypeError: `callback` is not callable
        """
        return self._timer.call_later(delay, callback)

    def remove_timeout(self, timeout_handle: Any) -> None:
        """Cancel a timer; safe to repeat."""
        self._timer.remove_timeout(timeout_handle)

    def add_callback_threadsafe(self, callback: Callable[[], Any]) -> None:
        """Call `callback()` in the loop's thread, soon; from any thread.

        :raises TypeError: `callback` is not callable
        """
        if not callable(callback):
            raise TypeError(f"callback must be a callable, but got {callback!r}")
        self._callbacks.append(callback)
        self._poller.wake_threadsafe()

    add_callback = add_callback_threadsafe

    def _call_soon(self, callback: Callable[[], Any]) -> None:
        """Call `callback()` at the end of this turn, or of the next one: a turn's output leaves then."""
        self._flushes.append(callback)
        if threading.get_ident() != self._thread:
            self._poller.wake_threadsafe()

    def process_timeouts(self) -> None:
        """Run the callbacks that were added, and the timers that are due."""
        self._waiting = False
        if self._callbacks:
            self._run_callbacks()
        self._timer.process_timeouts()
        if self._flushes:
            for _ in range(len(self._flushes)):
                self._flushes.popleft()()

    def _run_callbacks(self) -> None:
        for _ in range(len(self._callbacks)):
            self._callbacks.popleft()()

    def _get_remaining_interval(self) -> float | None:
        self._waiting = True  # first: what is added from now on may be sent by who adds it
        return 0 if self._callbacks or self._flushes else self._timer.get_remaining_interval()

    def add_handler(self, fd: int, handler: Callable[[int, int], Any], events: int) -> None:
        """Call `handler(fd, events)` when one of the events (READ, WRITE, ERROR) has come."""
        self._poller.add_handler(fd, handler, events)

    def update_handler(self, fd: int, events: int) -> None:
        """Watch for other events."""
        self._poller.update_handler(fd, events)

    def remove_handler(self, fd: int) -> None:
        """Watch the descriptor no more."""
        self._poller.remove_handler(fd)

    def start(self) -> None:
        """Run until `stop`; it may be started again, after an exception too.

        :raises RuntimeError: it runs already
        """
        self._thread = threading.get_ident()
        self._poller.start()

    def stop(self) -> None:
        """Have `start` return soon; before the start, as soon as it is started."""
        self._poller.stop()

    def activate_poller(self) -> None:
        """Take the system's descriptor for waiting, for `poll`; `start` does so by itself."""
        self._poller.activate_poller()

    def deactivate_poller(self) -> None:
        """Give it back."""
        self._poller.deactivate_poller()

    def poll(self) -> None:
        """Wait once, at most 5 seconds, and call the handlers of what has happened."""
        self._poller.poll()
