"""The ways in which pika's I/O loop waits: select, poll, epoll, kqueue."""

from __future__ import annotations

import abc
import select
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from cpika.adapters.utils import _forked, _green
from cpika.compat import AbstractBase


class PollEvents:
    """The events that the loop knows, as bits."""

    READ = getattr(select, "POLLIN", 0x01)
    WRITE = getattr(select, "POLLOUT", 0x04)
    ERROR = getattr(select, "POLLERR", 0x08)
    HANGUP = getattr(select, "POLLHUP", 0x10)


_EVENTS = PollEvents.READ | PollEvents.WRITE | PollEvents.ERROR
_FAILED = PollEvents.HANGUP | PollEvents.ERROR
_READY = PollEvents.READ | PollEvents.WRITE


def has(name: str) -> bool:
    """Return whether the system has "poll", "epoll" or "kqueue"."""
    return hasattr(select, name)


class _Interrupt(socket.socket):
    """One end of the pair that ends a wait; it is closed when nobody uses it any more.

    So the loop can give it up while other threads and signal handlers are in its `send`, without a lock that
    an exception, or a handler in the thread that holds it, would keep held for good.
    """

    def __del__(self) -> None:
        self.close()


class _PollerBase(AbstractBase):
    """Handlers of descriptors, and the loop.

    :param get_wait_seconds: returns how long to wait at most, None for no limit
    :param process_timeouts: called after each wait
    """

    _MAX_POLL_TIMEOUT = 5  # seconds
    POLL_TIMEOUT_MULT = 1

    def __init__(
        self, get_wait_seconds: Callable[[], float | None], process_timeouts: Callable[[], Any]
    ) -> None:
        self._get_wait_seconds = get_wait_seconds
        self._process_timeouts = process_timeouts
        self.before_handlers: Callable[[], Any] | None = None
        """Called after a wait that has found something, before its handlers are."""
        self._fd_handlers: dict[int, Callable[[int, int], Any]] = {}
        self._fd_masks: dict[int, int] = {}  # what each descriptor is watched for
        self._processing_fd_event_map: dict[int, int] = {}
        self._active = False
        self._running = False
        self._stopping = False
        self._r_interrupt: socket.socket | None
        self._w_interrupt: socket.socket | None
        self._r_interrupt, self._w_interrupt = self._get_interrupt_pair()
        self.add_handler(self._r_interrupt.fileno(), self._read_interrupt, PollEvents.READ)
        _forked.pollers.add(self)

    @staticmethod
    def _get_interrupt_pair() -> tuple[socket.socket, socket.socket]:
        reader, writer = (_Interrupt(fileno=end.detach()) for end in socket.socketpair())
        reader.setblocking(False)
        writer.setblocking(False)
        return reader, writer

    def close(self) -> None:
        """Release its descriptors; the loop must not run. Safe to repeat."""
        assert not self._running, "Cannot call close() before start() unwinds."
        self._w_interrupt = None
        if self._r_interrupt is not None:
            if self._r_interrupt.fileno() in self._fd_handlers:
                self.remove_handler(self._r_interrupt.fileno())
            self._r_interrupt = None
        self.deactivate_poller()
        self._fd_handlers = {}
        self._processing_fd_event_map = {}

    def wake_threadsafe(self) -> None:
        """End the wait; from any thread."""
        interrupt = self._w_interrupt
        if interrupt is not None:
            try:
                interrupt.send(b"X")
            except (BlockingIOError, ConnectionError):
                pass  # it has been woken often enough, or has given up its own end

    def _read_interrupt(self, _fd: int, _events: int) -> None:
        if self._r_interrupt is not None:
            try:
                self._r_interrupt.recv(512)
            except BlockingIOError:
                pass

    def _get_max_wait(self) -> float:
        delay = self._get_wait_seconds()
        longest = self._MAX_POLL_TIMEOUT if delay is None else min(delay, self._MAX_POLL_TIMEOUT)
        return longest * self.POLL_TIMEOUT_MULT

    # ---- handlers ----

    def add_handler(self, fileno: int, handler: Callable[[int, int], Any], events: int) -> None:
        """Call `handler(fileno, events)` for these events."""
        self._fd_handlers[fileno] = handler
        self._fd_masks[fileno] = events & _EVENTS
        self._register_fd(fileno, events)

    def update_handler(self, fileno: int, events: int) -> None:
        """Watch for other events."""
        before, after = self._fd_masks.get(fileno, 0), events & _EVENTS
        self._fd_masks[fileno] = after
        self._modify_fd_events(
            fileno, events=events, events_to_clear=before & ~after, events_to_set=after & ~before
        )

    def remove_handler(self, fileno: int) -> None:
        """Watch the descriptor no more, also in the turn that runs."""
        self._processing_fd_event_map.pop(fileno, None)
        del self._fd_handlers[fileno]
        self._unregister_fd(fileno, events_to_clear=self._fd_masks.pop(fileno, 0))

    # ---- the loop ----

    def activate_poller(self) -> None:
        """Take what the system has for waiting, and register all descriptors."""
        self._init_poller()
        self._active = True
        self._register_all()

    def _register_all(self, *passed_over: type[Exception]) -> None:
        for fileno, mask in self._fd_masks.items():
            if mask:
                with suppress(*passed_over):
                    self._register_fd(fileno, mask)

    def deactivate_poller(self) -> None:
        """Give it back."""
        self._active = False
        self._uninit_poller()

    def leave_to_parent(self) -> None:
        """In a child made by fork: wait for the same descriptors by means of its own."""
        if self._r_interrupt is None:
            return
        before = self._r_interrupt.fileno()
        for known in (self._fd_handlers, self._fd_masks, self._processing_fd_event_map):
            known.pop(before, None)
        self._r_interrupt, self._w_interrupt = self._get_interrupt_pair()
        active = self._active
        with suppress(OSError):  # kqueue's descriptor is not inherited
            self.deactivate_poller()
        self.add_handler(self._r_interrupt.fileno(), self._read_interrupt, PollEvents.READ)
        if active:
            self._init_poller()
            self._active = True
            self._register_all(OSError)  # what another handler of the fork has closed

    def start(self) -> None:
        """Run until `stop`.

        :raises RuntimeError: it runs already, or is closed
        """
        if self._running:
            raise RuntimeError("IOLoop is not reentrant and is already running")
        if self._r_interrupt is None:  # nothing could end the wait
            raise RuntimeError("IOLoop is closed")
        self._running = True
        try:
            self.activate_poller()
            while not self._stopping:
                self.poll()
                self._process_timeouts()
        finally:
            try:
                self.deactivate_poller()
            finally:
                self._stopping = False
                self._running = False

    def stop(self) -> None:
        """Have `start` return soon."""
        self._stopping = True
        self.wake_threadsafe()

    def _dispatch_fd_events(self, fd_event_map: dict[int, int]) -> None:
        self._processing_fd_event_map.clear()  # of a call around this one, which has nothing left to tell
        self._processing_fd_event_map = fd_event_map
        if self.before_handlers is not None:
            self.before_handlers()
        for fileno in list(fd_event_map):
            # None, where a handler has removed it; others than it is watched for, where one has changed that.
            events = fd_event_map.get(fileno, 0) & (self._fd_masks.get(fileno, 0) | ~_EVENTS)
            if events:
                self._fd_handlers[fileno](fileno, events)

    @abc.abstractmethod
    def poll(self) -> None:
        """Wait once and call the handlers."""

    @abc.abstractmethod
    def _init_poller(self) -> None: ...

    @abc.abstractmethod
    def _uninit_poller(self) -> None: ...

    @abc.abstractmethod
    def _register_fd(self, fileno: int, events: int) -> None: ...

    @abc.abstractmethod
    def _modify_fd_events(
        self, fileno: int, events: int, events_to_clear: int, events_to_set: int
    ) -> None: ...

    @abc.abstractmethod
    def _unregister_fd(self, fileno: int, events_to_clear: int) -> None: ...


def _merged(ready: Iterable[tuple[int, int]]) -> dict[int, int]:
    events: dict[int, int] = {}
    for fileno, event in ready:
        events[fileno] = events.get(fileno, 0) | event
    return events


class SelectPoller(_PollerBase):
    """Waits by `select.select`: descriptors below 1024."""

    def poll(self) -> None:
        """Wait once and call the handlers."""
        kinds = PollEvents.READ, PollEvents.WRITE, PollEvents.ERROR
        readers, writers, failing = (
            [fileno for fileno, mask in self._fd_masks.items() if mask & kind] for kind in kinds
        )
        wait = self._get_max_wait()
        if not (readers or writers or failing):
            time.sleep(wait)
            return
        found = _green.wait_by_select(readers, writers, failing, wait)
        self._dispatch_fd_events(
            _merged((fileno, kind) for filenos, kind in zip(found, kinds) for fileno in filenos)
        )

    def _init_poller(self) -> None: ...
    def _uninit_poller(self) -> None: ...
    def _register_fd(self, fileno: int, events: int) -> None: ...
    def _modify_fd_events(
        self, fileno: int, events: int, events_to_clear: int, events_to_set: int
    ) -> None: ...
    def _unregister_fd(self, fileno: int, events_to_clear: int) -> None: ...


class PollPoller(_PollerBase):
    """Waits by `select.poll`."""

    POLL_TIMEOUT_MULT = 1000

    def __init__(
        self, get_wait_seconds: Callable[[], float | None], process_timeouts: Callable[[], Any]
    ) -> None:
        self._poll: Any = None
        super().__init__(get_wait_seconds, process_timeouts)

    @staticmethod
    def _create_poller() -> Any:
        return select.poll()

    def poll(self) -> None:
        """Wait once and call the handlers."""
        ready = self._poll.poll(self._get_max_wait())
        if ready:
            # A hang-up or an error counts as readiness: whoever reads or writes then is told.
            self._dispatch_fd_events(
                {fileno: event | _READY if event & _FAILED else event for fileno, event in ready}
            )

    def _init_poller(self) -> None:
        assert self._poll is None, "the poller is active already"
        self._poll = self._create_poller()

    def _uninit_poller(self) -> None:
        poller, self._poll = self._poll, None
        if hasattr(poller, "close"):
            poller.close()

    def _register_fd(self, fileno: int, events: int) -> None:
        if self._poll is not None:
            self._poll.register(fileno, events)

    def _modify_fd_events(self, fileno: int, events: int, events_to_clear: int, events_to_set: int) -> None:
        if self._poll is not None:
            self._poll.modify(fileno, events)

    def _unregister_fd(self, fileno: int, events_to_clear: int) -> None:
        if self._poll is not None:
            self._poll.unregister(fileno)


class EPollPoller(PollPoller):
    """Waits by `select.epoll`."""

    POLL_TIMEOUT_MULT = 1

    @staticmethod
    def _create_poller() -> Any:
        return select.epoll()


class KQueuePoller(_PollerBase):
    """Waits by `select.kqueue`, which BSD and macOS have."""

    def __init__(
        self, get_wait_seconds: Callable[[], float | None], process_timeouts: Callable[[], Any]
    ) -> None:
        self._kqueue: Any = None
        self._module: Any = select
        super().__init__(get_wait_seconds, process_timeouts)

    def _event(self, kevent: Any) -> int:
        module = self._module
        if kevent.filter == module.KQ_FILTER_READ:
            return int(PollEvents.READ)
        if kevent.filter == module.KQ_FILTER_WRITE:
            return int(PollEvents.WRITE | (PollEvents.ERROR if kevent.flags & module.KQ_EV_EOF else 0))
        return int(PollEvents.ERROR)

    def poll(self) -> None:
        """Wait once and call the handlers."""
        kevents = self._kqueue.control(None, 1000, self._get_max_wait())
        self._dispatch_fd_events(_merged((kevent.ident, self._event(kevent)) for kevent in kevents))

    def _init_poller(self) -> None:
        assert self._kqueue is None, "the poller is active already"
        self._kqueue = self._module.kqueue()

    def _uninit_poller(self) -> None:
        queue, self._kqueue = self._kqueue, None
        if queue is not None:
            queue.close()

    def _register_fd(self, fileno: int, events: int) -> None:
        self._modify_fd_events(fileno, events=events, events_to_clear=0, events_to_set=events)

    def _modify_fd_events(self, fileno: int, events: int, events_to_clear: int, events_to_set: int) -> None:
        if self._kqueue is None:
            return
        module = self._module
        filters = ((PollEvents.READ, module.KQ_FILTER_READ), (PollEvents.WRITE, module.KQ_FILTER_WRITE))
        changes = [
            module.kevent(fileno, filter=kind, flags=flags)
            for event, kind in filters
            for mask, flags in ((events_to_clear, module.KQ_EV_DELETE), (events_to_set, module.KQ_EV_ADD))
            if mask & event
        ]
        if changes:
            self._kqueue.control(changes, 0)

    def _unregister_fd(self, fileno: int, events_to_clear: int) -> None:
        self._modify_fd_events(fileno, events=0, events_to_clear=events_to_clear, events_to_set=0)
