"""Connecting sockets and setting up streams on a loop that watches descriptors."""

from __future__ import annotations

import errno
import logging
import numbers
import os
import socket
import ssl
from collections.abc import Callable
from typing import Any

from cpika.adapters.utils import _forked, _streams
from cpika.adapters.utils.nbio_interface import AbstractIOReference, AbstractStreamProtocol

LOGGER = _LOGGER = logging.getLogger("pika.adapters.utils.io_services_utils")


def check_callback_arg(callback: Any, name: str) -> None:
    """Require a callable.

    :raises TypeError: `callback` is something else
    """
    if not callable(callback):
        raise TypeError(f"{name} must be callable, but got {callback!r}")


def check_fd_arg(fd: Any) -> None:
    """Require an integer for a file descriptor.

    :raises TypeError: `fd` is something else
    """
    if not isinstance(fd, numbers.Integral):
        raise TypeError(f"Paramter must be a file descriptor, but got {fd!r}")


class SocketConnectionMixin:
    """`connect_socket` for `AbstractIOServices` that are `AbstractFileDescriptorServices` too."""

    def connect_socket(
        self, sock: socket.socket, resolved_addr: Any, on_done: Callable[[BaseException | None], Any]
    ) -> AbstractIOReference:
        """See `AbstractIOServices.connect_socket`."""
        return _AsyncSocketConnector(self, sock, resolved_addr, on_done).start()


class StreamingConnectionMixin:
    """`create_streaming_connection` for such services."""

    def create_streaming_connection(
        self,
        protocol_factory: Callable[[], AbstractStreamProtocol],
        sock: socket.socket,
        on_done: Callable[[Any], Any],
        ssl_context: ssl.SSLContext | None = None,
        server_hostname: str | None = None,
    ) -> AbstractIOReference:
        """See `AbstractIOServices.create_streaming_connection`."""
        try:
            connector = _AsyncStreamConnector(
                self, protocol_factory, sock, ssl_context, server_hostname, on_done
            )
            return connector.start()
        except Exception as error:
            _LOGGER.error("create_streaming_connection(%s) failed: %r", sock, error)
            sock.close()
            raise


class _AsyncServiceAsyncHandle(AbstractIOReference):
    """What the two methods above return."""

    def __init__(self, subject: Any) -> None:
        self._cancel = subject.cancel

    def cancel(self) -> bool:
        return bool(self._cancel())


class _Operation:
    """Something that is started once, and done or cancelled once."""

    _STATE_NOT_STARTED = 0
    _STATE_ACTIVE = 1
    _STATE_CANCELED = 2
    _STATE_COMPLETED = 3

    def __init__(self, nbio: Any) -> None:
        self._nbio = nbio
        self._state = self._STATE_NOT_STARTED

    def start(self) -> AbstractIOReference:
        """Begin in the loop's next turn: nothing is told while its caller still runs."""
        assert self._state == self._STATE_NOT_STARTED, self._state
        self._state = self._STATE_ACTIVE
        self._nbio.add_callback_threadsafe(self._begin)
        return _AsyncServiceAsyncHandle(self)

    def _begin(self) -> None:
        if self._state == self._STATE_ACTIVE:
            self._start_async()

    def _start_async(self) -> None:
        raise NotImplementedError

    def _cleanup(self, close: bool) -> None:
        raise NotImplementedError

    def cancel(self) -> bool:
        """Give it up; returns False when it was done or cancelled already."""
        if self._state != self._STATE_ACTIVE:
            return False
        self._state = self._STATE_CANCELED
        self._cleanup(True)
        return True


class _AsyncSocketConnector(_Operation):
    """Connects one socket."""

    def __init__(
        self,
        nbio: Any,
        sock: socket.socket,
        resolved_addr: Any,
        on_done: Callable[[BaseException | None], Any],
    ) -> None:
        super().__init__(nbio)
        check_callback_arg(on_done, "on_done")
        try:
            socket.inet_pton(sock.family, resolved_addr[0])
        except Exception as error:
            message = f"Invalid or unresolved IP address {resolved_addr!r} for socket {sock}: {error!r}"
            _LOGGER.error(message)
            raise ValueError(message) from error
        self._sock = sock
        self._addr = resolved_addr
        self._on_done = on_done
        self._watched: int | None = None

    def _cleanup(self, close: bool = False) -> None:
        watched, self._watched = self._watched, None
        if watched is not None:
            self._nbio.remove_writer(watched)

    def _start_async(self) -> None:
        try:
            self._sock.connect(self._addr)
        except Exception as error:
            if not (isinstance(error, OSError) and error.errno in (errno.EINPROGRESS, errno.EWOULDBLOCK)):
                _LOGGER.error("%s.connect(%s) failed: %r", self._sock, self._addr, error)
                self._report_completion(error)
                return
        try:
            self._nbio.set_writer(self._sock.fileno(), self._on_writable)
        except Exception as error:
            _LOGGER.exception("async.set_writer(%s) failed: %r", self._sock, error)
            self._report_completion(error)
        else:
            self._watched = self._sock.fileno()

    def _on_writable(self) -> None:
        if self._state != self._STATE_ACTIVE:
            return
        code = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            error = OSError(code, os.strerror(code))
            _LOGGER.error("Socket failed to connect: %s; error=%s (%s)", self._sock, code, os.strerror(code))
            self._report_completion(error)
        else:
            _LOGGER.info("Socket connected: %s", self._sock)
            self._report_completion(None)

    def _report_completion(self, result: BaseException | None) -> None:
        self._state = self._STATE_COMPLETED
        try:
            self._cleanup()
        finally:  # whatever the loop says to that
            self._on_done(result)


class _AsyncStreamConnector(_Operation):
    """Puts a stream on one connected socket."""

    def __init__(
        self,
        nbio: Any,
        protocol_factory: Callable[[], AbstractStreamProtocol],
        sock: socket.socket,
        ssl_context: ssl.SSLContext | None,
        server_hostname: str | None,
        on_done: Callable[[Any], Any],
    ) -> None:
        super().__init__(nbio)
        check_callback_arg(protocol_factory, "protocol_factory")
        check_callback_arg(on_done, "on_done")
        if not isinstance(ssl_context, (type(None), ssl.SSLContext)):
            raise ValueError(f"Expected ssl_context=None | ssl.SSLContext, but got {ssl_context!r}")
        if server_hostname is not None and ssl_context is None:
            raise ValueError("Non-None server_hostname must not be passed without ssl context")
        try:
            sock.getpeername()
        except Exception as error:
            raise ValueError(
                f"Expected connected socket, but getpeername() failed: error={error!r}; {sock}; "
            ) from error
        self._protocol_factory: Any = protocol_factory
        self._sock: Any = sock
        self._ssl_context = ssl_context
        self._server_hostname = server_hostname
        self._on_done: Any = on_done
        self._watching = False

    def _cleanup(self, close: bool) -> None:
        try:
            self._unwatch()
        finally:
            sock, self._sock = self._sock, None
            self._protocol_factory = self._on_done = self._ssl_context = None
            if close:
                sock.close()

    def _unwatch(self) -> None:
        if self._watching:
            self._watching = False
            self._nbio.remove_reader(self._sock.fileno())
            self._nbio.remove_writer(self._sock.fileno())

    def _start_async(self) -> None:
        if self._ssl_context is None:
            self._linkup()
            return
        try:
            self._sock = self._ssl_context.wrap_socket(
                self._sock,
                server_side=False,
                do_handshake_on_connect=False,
                suppress_ragged_eofs=False,
                server_hostname=self._server_hostname,
            )
            _forked.sockets.add(self._sock)
        except Exception as error:
            _LOGGER.exception("SSL wrap_socket(%s) failed: %r", self._sock, error)
            self._report_completion(error)
            return
        self._do_ssl_handshake()

    def _do_ssl_handshake(self) -> None:
        if self._state != self._STATE_ACTIVE:
            return
        try:
            if not self._shake_hands():
                return
            _LOGGER.info("SSL handshake completed successfully: %s", self._sock)
            self._unwatch()
        except Exception as error:
            _LOGGER.exception("SSL do_handshake failed: error=%r; %s", error, self._sock)
            self._report_completion(error)
        else:
            self._linkup()

    def _shake_hands(self) -> bool:
        """Return whether TLS is done; else the loop is watching for what it wants."""
        try:
            self._sock.do_handshake()
        except ssl.SSLWantReadError:
            self._watch(self._nbio.set_reader, self._nbio.remove_writer)
        except ssl.SSLWantWriteError:
            self._watch(self._nbio.set_writer, self._nbio.remove_reader)
        else:
            return True
        return False

    def _watch(self, add: Callable[..., Any], remove: Callable[..., Any]) -> None:
        self._watching = True
        add(self._sock.fileno(), self._do_ssl_handshake)
        remove(self._sock.fileno())

    def _linkup(self) -> None:
        transport = None
        result: Any
        try:
            protocol = self._protocol_factory()
            transport = _streams.transport_for(self._sock, protocol, self._nbio)
            protocol.connection_made(transport)
            result = transport, protocol
        except Exception as error:
            _LOGGER.exception("Linking transport and protocol failed: error=%r; %s", error, self._sock)
            if transport is not None:
                transport._discard()
            result = error
        self._report_completion(result)

    def _report_completion(self, result: Any) -> None:
        self._state = self._STATE_COMPLETED
        on_done = self._on_done
        try:
            on_done(result)
        except Exception:
            _LOGGER.exception("on_done(%r) failed.", result)
            raise
        finally:
            self._cleanup(isinstance(result, BaseException))
