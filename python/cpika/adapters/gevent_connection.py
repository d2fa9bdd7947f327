"""The adapter for gevent: callbacks run in the hub, so none of them may wait."""

from __future__ import annotations

import functools
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import gevent
import gevent.hub
import gevent.socket

from cpika import connection
from cpika.adapters.base_connection import BaseConnection
from cpika.adapters.utils import connection_workflow
from cpika.adapters.utils.io_services_utils import check_callback_arg
from cpika.adapters.utils.nbio_interface import AbstractIOReference, AbstractIOServices
from cpika.adapters.utils.selector_ioloop_adapter import AbstractSelectorIOLoop, SelectorIOServicesAdapter

LOGGER = logging.getLogger("pika.adapters.gevent_connection")


class GeventConnection(BaseConnection):
    """A connection on gevent's hub.

    :param parameters: how to connect; None for the defaults
    :param on_open_callback: called with the connection when it is open
    :param on_open_error_callback: called with the connection and an exception when it could not be opened
    :param on_close_callback: called with the connection and an exception when an open one has ended
    :param custom_ioloop: a `_GeventSelectorIOLoop`, or services of one; None: of this thread's hub
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
        ready = isinstance(custom_ioloop, AbstractIOServices)
        super().__init__(
            parameters,
            on_open_callback,
            on_open_error_callback,
            on_close_callback,
            custom_ioloop if ready else _services(custom_ioloop),
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
        return cls._create_on(_services(custom_ioloop), connection_configs, on_done, workflow)


def _services(loop: Any) -> AbstractIOServices:
    return _GeventSelectorIOServicesAdapter(loop or _GeventSelectorIOLoop(gevent.get_hub()))


class _TSafeCallbackQueue:
    """Callbacks from other threads: the hub watches a pipe."""

    def __init__(self) -> None:
        self._queue: deque[Callable[[], Any]] = deque()
        self._read_fd, self._write_fd = os.pipe()
        os.set_blocking(self._read_fd, False)
        os.set_blocking(self._write_fd, False)

    @property
    def fd(self) -> int:
        """The descriptor that is readable when there are callbacks."""
        return self._read_fd

    def add_callback_threadsafe(self, callback: Callable[[], Any]) -> None:
        """Add a callback, from any thread."""
        self._queue.append(callback)
        self._tell()

    def _tell(self) -> None:
        try:
            os.write(self._write_fd, b"\xff")
        except BlockingIOError:
            pass  # the hub has been told often enough

    def run_callbacks(self) -> None:
        """Run those that are there, in the hub."""
        try:
            os.read(self._read_fd, 4096)
        except BlockingIOError:
            pass
        try:
            for _ in range(len(self._queue)):
                self._queue.popleft()()
        finally:
            if self._queue:  # a signal handler has raised, or more have come
                self._tell()

    def close(self) -> None:
        """Close the pipe."""
        os.close(self._read_fd)
        os.close(self._write_fd)


class _GeventSelectorIOLoop(AbstractSelectorIOLoop):
    """gevent's hub in the shape that connections ask for.

    :param gevent_hub: None: this thread's
    """

    # gevent's own bits; it has none for errors, which make a descriptor readable and writable.
    READ = 1
    WRITE = 2
    ERROR = 0

    def __init__(self, gevent_hub: Any = None) -> None:
        self._hub: Any = gevent_hub or gevent.get_hub()
        self._thread = threading.get_ident()
        self._io_watchers_by_fd: dict[int, tuple[Any, Callable[[int, int], Any]]] = {}
        self._waiter = gevent.hub.Waiter()
        self._callback_queue = _TSafeCallbackQueue()
        self.add_handler(
            self._callback_queue.fd, lambda _fd, _events: self._callback_queue.run_callbacks(), self.READ
        )

    def close(self) -> None:
        """Release the loop and its hub."""
        self._hub.loop.destroy()
        self._hub = None

    def start(self) -> None:
        """Have this greenlet wait until `stop`; the hub runs callbacks meanwhile."""
        self._waiter.get()
        self._waiter.clear()

    def stop(self) -> None:
        """Have `start` return; to be called in the loop's thread."""
        self._waiter.switch(None)

    def add_callback(self, callback: Callable[[], Any]) -> None:
        """Call `callback()` in the hub, soon; from any thread."""
        if gevent.get_hub() is self._hub:
            self._hub.loop.run_callback(callback)
        else:
            # Not called where the pipe is read, but as others are, each by itself: it may raise.
            run = functools.partial(self._hub.loop.run_callback, callback)
            self._callback_queue.add_callback_threadsafe(run)

    def call_later(self, delay: float, callback: Callable[[], Any]) -> Any:
        """Call `callback()` after `delay` seconds; returns what `remove_timeout` takes."""
        timer = self._hub.loop.timer(delay)
        timer.start(callback)
        return timer

    def remove_timeout(self, timeout_handle: Any) -> None:
        """Cancel a timer."""
        timeout_handle.close()

    def add_handler(self, fd: int, handler: Callable[[int, int], Any], events: int) -> None:
        """Call `handler(fd, events)` when one of the events has come to the descriptor."""
        watcher = self._hub.loop.io(fd, events)
        self._io_watchers_by_fd[fd] = watcher, handler
        watcher.start(self._handle, handler, fd, events)

    def _handle(self, handler: Callable[[int, int], Any], fd: int, events: int) -> None:
        """Call a handler.

        gevent watches no more for one that has raised, and says nothing of that. So what it raises is raised
        from a callback of the hub, which gevent reports in the same way.
        """
        try:
            handler(fd, events)
        except BaseException as error:
            self._hub.loop.run_callback(_raise, error)

    def update_handler(self, fd: int, events: int) -> None:
        """Watch for other events."""
        watcher, handler = self._io_watchers_by_fd.pop(fd)
        watcher.close()
        self.add_handler(fd, handler, events)

    def remove_handler(self, fd: int) -> None:
        """Watch the descriptor no more."""
        self._io_watchers_by_fd.pop(fd)[0].close()


def _raise(error: BaseException) -> None:
    try:
        raise error
    finally:
        del error  # its traceback has this frame


class _GeventSelectorIOServicesAdapter(SelectorIOServicesAdapter):
    """The services of gevent's hub, with gevent's name look-up."""

    def getaddrinfo(
        self,
        host: str | bytes | None,
        port: str | bytes | int | None,
        on_done: Callable[[Any], Any],
        family: int = 0,
        socktype: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> AbstractIOReference:
        """Look a name up, in a greenlet of its own."""
        resolver = _GeventAddressResolver(self._loop, host, port, family, socktype, proto, flags, on_done)
        resolver.start()
        return _GeventIOLoopIOHandle(resolver)


class _GeventIOLoopIOHandle(AbstractIOReference):
    """A look-up under way."""

    def __init__(self, subject: Any) -> None:
        self._cancel = subject.cancel

    def cancel(self) -> bool:
        return bool(self._cancel())


class _GeventAddressResolver:
    """Looks one name up in a greenlet, and tells in the hub."""

    def __init__(
        self,
        native_loop: Any,
        host: str | bytes | None,
        port: str | bytes | int | None,
        family: int,
        socktype: int,
        proto: int,
        flags: int,
        on_done: Callable[[Any], Any],
    ) -> None:
        check_callback_arg(on_done, "on_done")
        self._loop = native_loop
        self._on_done: Callable[[Any], Any] | None = on_done
        self._args = (host, port, family, socktype, proto, flags)
        self._greenlet: Any = None

    def start(self) -> None:
        """Begin."""
        self._greenlet = gevent.spawn_raw(self._resolve)

    def cancel(self) -> bool:
        """Tell nobody; returns False when that is too late."""
        pending, self._on_done = self._on_done, None
        return pending is not None

    def _resolve(self) -> None:
        result: Any
        try:
            result = gevent.socket.getaddrinfo(*self._args)
        except Exception as error:
            LOGGER.error("Address resolution failed: %r", error)
            result = error
        self._loop.add_callback(lambda: self._dispatch_callback(result))

    def _dispatch_callback(self, result: Any) -> None:
        on_done, self._on_done = self._on_done, None
        if on_done is not None:
            on_done(result)
