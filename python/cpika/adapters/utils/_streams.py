"""Streams over sockets, on a loop that watches descriptors.

The stream of a `Connection` is its engine, which reads, dispatches and sends in C. Any other protocol gets
its bytes by `data_received`.
"""

from __future__ import annotations

import functools
import logging
import socket
import ssl
from collections import deque
from collections.abc import Callable
from typing import Any

from cpika._async.engine import ENDED, MORE, WANTS_WRITE, LoopEngine
from cpika.adapters.utils import _forked, _lost
from cpika.adapters.utils.nbio_interface import AbstractStreamProtocol, AbstractStreamTransport

_LOGGER = logging.getLogger("pika.adapters.utils.io_services_utils")


def transport_for(sock: Any, protocol: Any, nbio: Any) -> _Transport:
    """Return a stream over a connected socket, TLS done; it owns the socket from now on."""
    connection = getattr(protocol, "engine_owner", None)
    if connection is not None:
        return EngineTransport(sock, protocol, nbio, connection)
    return PlainTransport(sock, protocol, nbio)


class _Transport(AbstractStreamTransport):
    """How a stream ends, and the watching of its descriptor."""

    _STATE_ACTIVE = 1
    _STATE_FAILED = 2
    _STATE_ABORTED_BY_USER = 3
    _STATE_COMPLETED = 4

    def __init__(self, protocol: AbstractStreamProtocol, nbio: Any) -> None:
        self._protocol: Any = protocol
        self._nbio = nbio
        self._state = self._STATE_ACTIVE
        self._writing = False
        self._fd = -1

    def get_protocol(self) -> AbstractStreamProtocol:
        """Return the protocol."""
        protocol: AbstractStreamProtocol = self._protocol
        return protocol

    def abort(self) -> None:
        """End the stream at once; `connection_lost(None)` follows in another turn of the loop."""
        _LOGGER.info("Aborting transport connection: state=%s; %s", self._state, self)
        self._initiate_abort(None)

    def _close_socket(self) -> None:
        raise NotImplementedError

    def _watch(self, fd: int, on_readable: Callable[[], Any], on_writable: Callable[[], Any]) -> None:
        self._fd = fd
        self._on_readable, self._on_writable = on_readable, on_writable
        self._nbio.set_reader(fd, on_readable)

    def _set_writing(self, wanted: bool) -> None:
        if wanted != self._writing:
            self._writing = wanted
            if wanted:
                self._nbio.set_writer(self._fd, self._on_writable)
            else:
                self._nbio.remove_writer(self._fd)

    def _stop(self) -> None:
        """Nothing is read or sent any more; the socket stays open until `connection_lost` has been called."""
        if self._fd >= 0:
            self._nbio.remove_reader(self._fd)
            self._set_writing(False)
            self._fd = -1

    def _initiate_abort(self, error: BaseException | None) -> None:
        if self._state == self._STATE_COMPLETED:
            return
        if error is None:
            if self._state == self._STATE_ABORTED_BY_USER:
                return
            state = self._STATE_ABORTED_BY_USER
        else:
            if self._state != self._STATE_ACTIVE:
                return
            state = self._STATE_FAILED
        _LOGGER.info("Abrupt shutdown of transport: state=%s; error=%r; %s", self._state, error, self)
        try:
            if self._state == self._STATE_ACTIVE:
                self._stop()
        finally:  # whatever the loop says to that: it is over, and is told
            self._state = state
            self._nbio.add_callback_threadsafe(functools.partial(self._connection_lost_notify_async, error))

    def _connection_lost_notify_async(self, error: BaseException | None) -> None:
        if self._state == self._STATE_COMPLETED:
            return
        if error is not None and self._state != self._STATE_FAILED:
            return  # aborted meanwhile, which is told by a call of its own
        protocol = self._protocol
        try:
            protocol.connection_lost(error)
        except Exception as raised:
            _LOGGER.exception("protocol.connection_lost(%r) failed: exc=%r", error, raised)
            raise
        finally:
            self._finish()

    def _finish(self) -> None:
        if self._state != self._STATE_COMPLETED:
            self._state = self._STATE_COMPLETED
            self._protocol = None
            self._close_socket()

    def _discard(self) -> None:
        """It was never linked: close it, and tell nobody."""
        self._stop()
        self._finish()


class RxEndOfFile(OSError):
    """The peer has ended a TLS stream in good order: pika's own error, which says so."""

    def __init__(self) -> None:
        super().__init__(-1, "End of input stream (EOF)")


class EngineTransport(_Transport):
    """The stream of a `Connection`: its engine over the socket."""

    def __init__(self, sock: Any, protocol: AbstractStreamProtocol, nbio: Any, connection: Any) -> None:
        super().__init__(protocol, nbio)
        self.engine = engine = LoopEngine.over(sock)
        self._given = sock if engine.over_python else None
        self._copy: socket.socket | None = None
        # Services of ours know a cheaper way than the one for all threads, where the caller runs the loop.
        soon = getattr(nbio, "_call_soon", nbio.add_callback_threadsafe)
        flush = engine._loop_on_writable
        engine._loop_begin(connection, soon, flush, self._on_outcome)
        self._watch(engine._loop_fileno(), engine._loop_on_readable, flush)
        if engine.over_python:
            nbio.add_callback_threadsafe(self._on_readable)  # TLS may hold bytes already

    def write(self, data: bytes) -> None:
        """Queue bytes, which have to be whole frames.

        :raises ValueError: there are none
        """
        if not data:
            raise ValueError(f"write() called with empty data {data!r}")
        if self._state == self._STATE_ACTIVE:
            self.engine._loop_write(data)

    def get_write_buffer_size(self) -> int:
        """Return how many bytes are queued."""
        return self.engine._loop_queued()

    @property
    def _sock(self) -> socket.socket | None:
        """The socket; of a plain one, another descriptor of the same connection; None when closed."""
        fd = self.engine._loop_fileno()
        if fd < 0 or self._given is not None:
            return None if fd < 0 else self._given
        if self._copy is None:
            self._copy = _forked.copy_of(fd)
        return self._copy

    def _on_outcome(self, bits: int | None, raised: BaseException | None) -> None:
        """The loop has called the engine, and there is something to do; called by the core."""
        if bits is not None:
            self._note(bits)
        elif isinstance(raised, Exception):
            _LOGGER.error(_lost.FAILED["_consume"], repr(raised), self, exc_info=raised)
            self._initiate_abort(raised)
        elif raised is not None:
            # It leaves the loop. What had come stands ready for the loop's next run.
            self._nbio.add_callback_threadsafe(self._on_readable)
            try:
                raise raised
            finally:
                del raised  # its traceback has this frame

    def _note(self, bits: int) -> None:
        if self._state != self._STATE_ACTIVE:
            return  # a callback has ended it
        if bits & ENDED:
            error = self.engine._error
            if error is not None and error.args == (_lost.END_OF_FILE,):
                _lost.log_lost(error, self)
                error = None
                self._protocol.eof_received()
            elif error is not None and error.args == (f"Stream connection lost: {RxEndOfFile()!r}",):
                _LOGGER.error("Socket EOF; %s", self)
                error = RxEndOfFile()
            elif error is not None:
                _lost.log_lost(error, self)
            self._initiate_abort(error)
            return
        self._set_writing(bool(bits & WANTS_WRITE))
        if bits & MORE:
            self._nbio.add_callback_threadsafe(self._on_readable)

    def _stop(self) -> None:
        try:
            super()._stop()
        finally:
            self.engine._loop_stop()

    def _close_socket(self) -> None:
        if self._copy is not None:
            self._copy.close()
        self.engine._loop_close()


class PlainTransport(_Transport):
    """The stream of a protocol that wants its bytes."""

    _MAX_RECV_BYTES = 65536
    _MAX_RECVS = 4  # in one turn of the loop

    def __init__(self, sock: Any, protocol: AbstractStreamProtocol, nbio: Any) -> None:
        super().__init__(protocol, nbio)
        self._sock: Any = sock
        self._queue: deque[bytes] = deque()
        self._queued = 0
        self._read_wants_write = False
        self._write_wants_read = False
        self._watch(sock.fileno(), self._on_readable_or_eof, self._on_room)
        if isinstance(sock, ssl.SSLSocket):
            nbio.add_callback_threadsafe(self._on_readable)

    def write(self, data: bytes) -> None:
        """Queue bytes.

        :raises ValueError: there are none
        """
        if not data:
            raise ValueError(f"write() called with empty data {data!r}")
        if self._state == self._STATE_ACTIVE:
            self._queue.append(data)
            self._queued += len(data)
            self._update()

    def get_write_buffer_size(self) -> int:
        """Return how many bytes are queued."""
        return self._queued

    def _update(self) -> None:
        if self._state == self._STATE_ACTIVE:
            self._set_writing(self._read_wants_write or (bool(self._queue) and not self._write_wants_read))

    def _on_readable_or_eof(self) -> None:
        if self._state == self._STATE_ACTIVE:
            self._write_wants_read = False
            self._guard(self._consume)

    def _on_room(self) -> None:
        if self._state == self._STATE_ACTIVE:
            if self._read_wants_write:
                self._guard(self._consume)
            self._guard(self._produce)

    def _guard(self, action: Callable[[], None]) -> None:
        try:
            if self._state == self._STATE_ACTIVE:
                action()
        except (BlockingIOError, InterruptedError):
            pass
        except Exception as error:
            _LOGGER.exception(_lost.FAILED[action.__name__], repr(error), self._sock)
            self._initiate_abort(error)
        self._update()

    def _consume(self) -> None:
        self._read_wants_write = False
        for _ in range(self._MAX_RECVS):
            try:
                data = self._sock.recv(self._MAX_RECV_BYTES)
            except ssl.SSLWantReadError:
                return
            except ssl.SSLWantWriteError:
                self._read_wants_write = True
                return
            if not data:
                self._on_eof()
                return
            self._protocol.data_received(data)
            if self._state != self._STATE_ACTIVE:
                return
        if isinstance(self._sock, ssl.SSLSocket) and self._sock.pending():
            self._nbio.add_callback_threadsafe(self._on_readable)

    def _on_eof(self) -> None:
        _LOGGER.error("Socket EOF; %s", self._sock)
        if isinstance(self._sock, ssl.SSLSocket):
            self._initiate_abort(RxEndOfFile())
        elif self._protocol.eof_received():
            self._nbio.remove_reader(self._fd)
        else:
            self._initiate_abort(None)

    def _produce(self) -> None:
        while self._queue:
            try:
                sent = self._sock.send(self._queue[0])
            except ssl.SSLWantWriteError:
                return
            except ssl.SSLWantReadError:
                self._write_wants_read = True
                return
            first = self._queue.popleft()
            self._queued -= sent
            if sent < len(first):
                self._queue.appendleft(first[sent:])

    def _stop(self) -> None:
        super()._stop()
        self._queue.clear()
        self._queued = 0

    def _close_socket(self) -> None:
        sock, self._sock = self._sock, None
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        sock.close()
