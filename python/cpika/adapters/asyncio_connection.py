"""The adapter for asyncio: any of its loops, uvloop's too."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from asyncio import _get_running_loop  # what get_running_loop() asks; it raises nothing
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from cpika import connection
from cpika.adapters import base_connection
from cpika.adapters.utils import connection_workflow, io_services_utils, nbio_interface

LOGGER = logging.getLogger("pika.adapters.asyncio_connection")


class _Fork:
    """The loop that ran in the thread that has forked: in the child that thread still runs it.

    asyncio does not say so there, and a wake-up from another thread would be the parent's in uvloop.
    """

    def __init__(self) -> None:
        self._at_fork: dict[int, asyncio.AbstractEventLoop | None] = {}  # by thread: several may fork at once
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=self._before, after_in_parent=self._in_parent, after_in_child=self._in_child
            )

    def _before(self) -> None:
        loop = _get_running_loop()
        if loop is None and self._thread == threading.get_ident():
            loop = self._loop  # a child that forks again
        self._at_fork[threading.get_ident()] = loop

    def _in_parent(self) -> None:
        self._at_fork.pop(threading.get_ident(), None)

    def _in_child(self) -> None:
        self._thread = threading.get_ident()
        self._loop = self._at_fork.pop(self._thread, None)
        self._at_fork.clear()

    def inherited(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Return whether this thread of a child goes on with the loop that it had in the parent."""
        return self._loop is loop and self._thread == threading.get_ident()


_fork = _Fork()


class AsyncioConnection(base_connection.BaseConnection):
    """A connection on an asyncio event loop.

    :param parameters: how to connect; None for the defaults
    :param on_open_callback: called with the connection when it is open
    :param on_open_error_callback: called with the connection and an exception when it could not be opened
    :param on_close_callback: called with the connection and an exception when an open one has ended
    :param custom_ioloop: the loop, or services of one; None: the running loop, or else a new one
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
            custom_ioloop if ready else _AsyncioIOServicesAdapter(custom_ioloop),
            internal_connection_workflow=internal_connection_workflow,
        )

    @classmethod
    def create_connection(
        cls,
        connection_configs: Sequence[connection.Parameters],
        on_done: Callable[[Any], Any],
        custom_ioloop: asyncio.AbstractEventLoop | None = None,
        workflow: Any = None,
    ) -> connection_workflow.AbstractAMQPConnectionWorkflow:
        """See `BaseConnection.create_connection`."""
        nbio = _AsyncioIOServicesAdapter(custom_ioloop)
        return cls._create_on(nbio, connection_configs, on_done, workflow)


class _AsyncioIOServicesAdapter(
    io_services_utils.SocketConnectionMixin,
    io_services_utils.StreamingConnectionMixin,
    nbio_interface.AbstractIOServices,
    nbio_interface.AbstractFileDescriptorServices,
):
    """The services of an asyncio loop.

    :param loop: None: the running loop, or else a new one
    """

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        if loop is None:
            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:
                loop = asyncio.new_event_loop()
        self._loop = loop

    def get_native_ioloop(self) -> asyncio.AbstractEventLoop:
        """Return the loop."""
        return self._loop

    def close(self) -> None:
        """Close the loop."""
        self._loop.close()

    def run(self) -> None:
        """Run the loop until `stop`."""
        self._loop.run_forever()

    def stop(self) -> None:
        """Have `run` return soon."""
        self._loop.stop()

    def add_callback_threadsafe(self, callback: Callable[[], Any]) -> None:
        """Call `callback()` in the loop's thread, soon."""
        self._loop.call_soon_threadsafe(callback)

    def _call_soon(self, callback: Callable[[], Any]) -> None:
        """Call `callback()` in the loop's next turn; at less cost from the thread that runs it."""
        loop = self._loop
        own = _get_running_loop() is loop or _fork.inherited(loop)
        (loop.call_soon if own else loop.call_soon_threadsafe)(callback)

    def call_later(self, delay: float, callback: Callable[[], Any]) -> _TimerHandle:
        """Call `callback()` after `delay` seconds."""
        return _TimerHandle(self._loop.call_later(delay, callback))

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
        """Look a name up, as the loop does."""
        io_services_utils.check_callback_arg(on_done, "on_done")
        coro = self._loop.getaddrinfo(host, port, family=family, type=socktype, proto=proto, flags=flags)
        return self._schedule_and_wrap_in_io_ref(coro, on_done)

    def _schedule_and_wrap_in_io_ref(
        self, coro: Awaitable[Any], on_done: Callable[[Any], Any]
    ) -> _AsyncioIOReference:
        return _AsyncioIOReference(asyncio.ensure_future(coro, loop=self._loop), on_done)

    def set_reader(self, fd: int, on_readable: Callable[[], Any]) -> None:
        """Call `on_readable()` whenever the descriptor can be read."""
        self._loop.add_reader(fd, on_readable)

    def remove_reader(self, fd: int) -> bool:
        """Do not any more; returns whether there was a reader."""
        return bool(self._loop.remove_reader(fd))

    def set_writer(self, fd: int, on_writable: Callable[[], Any]) -> None:
        """Call `on_writable()` whenever the descriptor can be written."""
        self._loop.add_writer(fd, on_writable)

    def remove_writer(self, fd: int) -> bool:
        """Do not any more; returns whether there was a writer."""
        return bool(self._loop.remove_writer(fd))


class _TimerHandle(nbio_interface.AbstractTimerReference):
    """A timer of the loop."""

    def __init__(self, handle: asyncio.Handle) -> None:
        self._handle: asyncio.Handle | None = handle

    def cancel(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.cancel()


class _AsyncioIOReference(nbio_interface.AbstractIOReference):
    """A future whose result goes to a callback."""

    def __init__(self, future: asyncio.Future[Any], on_done: Callable[[Any], Any]) -> None:
        io_services_utils.check_callback_arg(on_done, "on_done")
        self._future = future
        self._on_done: Callable[[Any], Any] | None = on_done
        future.add_done_callback(self._tell)

    def _tell(self, done: asyncio.Future[Any]) -> None:
        result = None if done.cancelled() else done.exception() or done.result()
        on_done, self._on_done = self._on_done, None
        if on_done is not None and not done.cancelled():
            on_done(result)

    def cancel(self) -> bool:
        """Give it up, also where it is done and its callback waits for its turn."""
        waits, self._on_done = self._on_done is not None, None
        self._future.cancel()
        return waits
