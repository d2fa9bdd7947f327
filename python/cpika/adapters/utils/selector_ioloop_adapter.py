"""From a loop of tornado's shape to what connections ask for."""

from __future__ import annotations

import abc
import logging
import socket
from collections.abc import Callable
from typing import Any

from cpika.adapters.utils import io_services_utils, nbio_interface
from cpika.adapters.utils._threads import start_thread
from cpika.adapters.utils.io_services_utils import check_callback_arg, check_fd_arg

LOGGER = logging.getLogger("pika.adapters.utils.selector_ioloop_adapter")


class AbstractSelectorIOLoop:
    """The loop that a `SelectorIOServicesAdapter` needs; tornado's is one."""

    @property
    @abc.abstractmethod
    def READ(self) -> int:
        """The bit of a descriptor that can be read."""

    @property
    @abc.abstractmethod
    def WRITE(self) -> int:
        """The bit of a descriptor that can be written."""

    @property
    @abc.abstractmethod
    def ERROR(self) -> int:
        """The bit of a descriptor that has failed."""

    @abc.abstractmethod
    def close(self) -> None:
        """Release what the loop holds."""

    @abc.abstractmethod
    def start(self) -> None:
        """Run until `stop`."""

    @abc.abstractmethod
    def stop(self) -> None:
        """Have `start` return soon."""

    @abc.abstractmethod
    def call_later(self, delay: float, callback: Callable[[], Any]) -> Any:
        """Call `callback()` after `delay` seconds; returns what `remove_timeout` takes."""

    @abc.abstractmethod
    def remove_timeout(self, timeout_handle: Any) -> None:
        """Forget a timer."""

    @abc.abstractmethod
    def add_callback(self, callback: Callable[[], Any]) -> None:
        """Call `callback()` in the loop's thread, soon; from any thread."""

    @abc.abstractmethod
    def add_handler(self, fd: int, handler: Callable[[int, int], Any], events: int) -> None:
        """Call `handler(fd, events)` when one of the events has come to the descriptor."""

    @abc.abstractmethod
    def update_handler(self, fd: int, events: int) -> None:
        """Watch for other events."""

    @abc.abstractmethod
    def remove_handler(self, fd: int) -> None:
        """Watch the descriptor no more."""


class SelectorIOServicesAdapter(
    io_services_utils.SocketConnectionMixin,
    io_services_utils.StreamingConnectionMixin,
    nbio_interface.AbstractIOServices,
    nbio_interface.AbstractFileDescriptorServices,
):
    """The services of such a loop.

    :param native_loop: the loop
    """

    def __init__(self, native_loop: AbstractSelectorIOLoop) -> None:
        self._loop = native_loop
        self._watchers: dict[int, _FileDescriptorCallbacks] = {}
        # Failures count as readiness for both: who reads or writes then is told.
        self._readable_mask = native_loop.READ
        self._writable_mask = native_loop.WRITE | native_loop.ERROR
        soon = getattr(native_loop, "_call_soon", None)
        if soon is not None:
            self._call_soon = soon

    def get_native_ioloop(self) -> AbstractSelectorIOLoop:
        """Return the loop."""
        return self._loop

    def close(self) -> None:
        """Close the loop."""
        self._loop.close()

    def run(self) -> None:
        """Run the loop until `stop`."""
        self._loop.start()

    def stop(self) -> None:
        """Have `run` return soon."""
        self._loop.stop()

    def add_callback_threadsafe(self, callback: Callable[[], Any]) -> None:
        """Call `callback()` in the loop's thread, soon."""
        self._loop.add_callback(callback)

    def call_later(self, delay: float, callback: Callable[[], Any]) -> nbio_interface.AbstractTimerReference:
        """Call `callback()` after `delay` seconds."""
        return _TimerHandle(self._loop.call_later(delay, callback), self._loop)

    def getaddrinfo(
        self,
        host: str | bytes | None,
        port: str | bytes | int | None,
        on_done: Callable[[Any], Any],
        family: int = 0,
        socktype: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> nbio_interface.AbstractIOReference:
        """Look a name up, in a thread of its own."""
        return _AddressResolver(self._loop, host, port, family, socktype, proto, flags, on_done).start()

    def set_reader(self, fd: int, on_readable: Callable[[], Any]) -> None:
        """Call `on_readable()` whenever the descriptor can be read."""
        check_fd_arg(fd)
        check_callback_arg(on_readable, "on_readable")
        self._change(fd, lambda callbacks: setattr(callbacks, "reader", on_readable))

    def remove_reader(self, fd: int) -> bool:
        """Do not any more; returns whether there was a reader."""
        check_fd_arg(fd)
        had = fd in self._watchers and self._watchers[fd].reader is not None
        if had:
            self._change(fd, lambda callbacks: setattr(callbacks, "reader", None))
        return had

    def set_writer(self, fd: int, on_writable: Callable[[], Any]) -> None:
        """Call `on_writable()` whenever the descriptor can be written, or has failed."""
        check_fd_arg(fd)
        check_callback_arg(on_writable, "on_writable")
        self._change(fd, lambda callbacks: setattr(callbacks, "writer", on_writable))

    def remove_writer(self, fd: int) -> bool:
        """Do not any more; returns whether there was a writer."""
        check_fd_arg(fd)
        had = fd in self._watchers and self._watchers[fd].writer is not None
        if had:
            self._change(fd, lambda callbacks: setattr(callbacks, "writer", None))
        return had

    def _change(self, fd: int, change: Callable[[_FileDescriptorCallbacks], None]) -> None:
        """Change who is called for a descriptor, and have the loop watch accordingly."""
        callbacks = self._watchers.get(fd)
        before = self._mask(callbacks)
        if callbacks is None:
            callbacks = _FileDescriptorCallbacks()
        change(callbacks)
        after = self._mask(callbacks)
        if not before and after:
            self._loop.add_handler(fd, self._on_reader_writer_fd_events, after)
            self._watchers[fd] = callbacks
        elif not after and before:
            del self._watchers[fd]
            self._loop.remove_handler(fd)
        elif after != before:
            self._loop.update_handler(fd, after)

    def _mask(self, callbacks: _FileDescriptorCallbacks | None) -> int:
        mask = 0
        if callbacks is not None and callbacks.reader is not None:
            mask |= self._readable_mask
        if callbacks is not None and callbacks.writer is not None:
            mask |= self._writable_mask
        return mask

    def _on_reader_writer_fd_events(self, fd: int, events: int) -> None:
        callbacks = self._watchers.get(fd)
        if callbacks is None:
            return
        if events & self._writable_mask and callbacks.writer is not None:
            callbacks.writer()
        if events & self._readable_mask and callbacks.reader is not None:
            callbacks.reader()


class _FileDescriptorCallbacks:
    """Who is called for a descriptor."""

    __slots__ = ("reader", "writer")

    def __init__(self) -> None:
        self.reader: Callable[[], Any] | None = None
        self.writer: Callable[[], Any] | None = None


class _TimerHandle(nbio_interface.AbstractTimerReference):
    """A timer of the loop."""

    def __init__(self, handle: Any, loop: Any) -> None:
        self._handle = handle
        self._loop = loop

    def cancel(self) -> None:
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.remove_timeout(self._handle)
            self._handle = None


class _SelectorIOLoopIOHandle(nbio_interface.AbstractIOReference):
    """A look-up under way."""

    def __init__(self, subject: Any) -> None:
        self._cancel = subject.cancel

    def cancel(self) -> bool:
        return bool(self._cancel())


class _AddressResolver:
    """Looks one name up in a thread, and tells on the loop."""

    NOT_STARTED = 0
    ACTIVE = 1
    CANCELED = 2
    COMPLETED = 3

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
        self._state = self.NOT_STARTED
        self._loop = native_loop
        self._args = (host, port, family, socktype, proto, flags)
        self._on_done = on_done

    def start(self) -> nbio_interface.AbstractIOReference:
        """Begin."""
        assert self._state == self.NOT_STARTED, self._state
        self._state = self.ACTIVE
        start_thread(self._resolve, "pika-getaddrinfo")
        return _SelectorIOLoopIOHandle(self)

    def cancel(self) -> bool:
        """Tell nobody; returns False when that is too late."""
        if self._state != self.ACTIVE:
            return False
        self._state = self.CANCELED
        return True

    def _resolve(self) -> None:
        result: Any
        try:
            result = socket.getaddrinfo(*self._args)
        except Exception as error:
            LOGGER.error("Address resolution failed: %r", error)
            result = error
        if self._state != self.ACTIVE:
            return
        try:
            self._loop.add_callback(lambda: self._dispatch_result(result))
        except Exception:
            if self._state == self.ACTIVE:
                raise
            LOGGER.debug("Address resolution was cancelled, and its loop has gone", exc_info=True)

    def _dispatch_result(self, result: Any) -> None:
        if self._state == self.ACTIVE:
            self._state = self.COMPLETED
            self._on_done(result)
