"""The interfaces between asynchronous connections and their I/O loops.

A program may give a connection its own `AbstractIOServices` as `custom_ioloop`.
"""

from __future__ import annotations

import abc
import socket
import ssl
from collections.abc import Callable
from typing import Any, Union

from cpika.compat import AbstractBase

Linked = Union[BaseException, "tuple[AbstractStreamTransport, AbstractStreamProtocol]"]


class AbstractIOServices(AbstractBase):
    """What a connection asks of an I/O loop; one of each loop, for any number of connections."""

    @abc.abstractmethod
    def get_native_ioloop(self) -> Any:
        """Return the loop itself."""

    @abc.abstractmethod
    def close(self) -> None:
        """Release what the loop holds; it does not run any more."""

    @abc.abstractmethod
    def run(self) -> None:
        """Run the loop until `stop`."""

    @abc.abstractmethod
    def stop(self) -> None:
        """Have `run` return soon; to be called in the loop's thread."""

    @abc.abstractmethod
    def add_callback_threadsafe(self, callback: Callable[[], Any]) -> None:
        """Call `callback()` in the loop's thread, soon; may be called from any thread."""

    @abc.abstractmethod
    def call_later(self, delay: float, callback: Callable[[], Any]) -> AbstractTimerReference:
        """Call `callback()` after `delay` seconds, unless the timer is cancelled."""

    @abc.abstractmethod
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
        """Look a name up, as `socket.getaddrinfo` does.

        :param on_done: called with the list of addresses, or with an exception; not after `cancel`
        """

    @abc.abstractmethod
    def connect_socket(
        self,
        sock: socket.socket,
        resolved_addr: Any,
        on_done: Callable[[BaseException | None], Any],
    ) -> AbstractIOReference:
        """Connect a non-blocking socket.

        :param resolved_addr: an address in digits, for `sock.connect`
        :param on_done: called with None, or with an exception; not after `cancel`
        :raises ValueError: a host that is no address, or none of the socket's family
        """

    @abc.abstractmethod
    def create_streaming_connection(
        self,
        protocol_factory: Callable[[], AbstractStreamProtocol],
        sock: socket.socket,
        on_done: Callable[[Linked], Any],
        ssl_context: ssl.SSLContext | None = None,
        server_hostname: str | None = None,
    ) -> AbstractIOReference:
        """Put a stream on a connected socket, which it owns from then on; TLS first if there is a context.

        :param protocol_factory: makes the protocol, whose `connection_made` gets the transport
        :param on_done: called with (transport, protocol), or with an exception; not after `cancel`
        """


class AbstractFileDescriptorServices(AbstractBase):
    """How a loop watches descriptors."""

    @abc.abstractmethod
    def set_reader(self, fd: int, on_readable: Callable[[], Any]) -> None:
        """Call `on_readable()` whenever the descriptor can be read, instead of the reader before."""

    @abc.abstractmethod
    def remove_reader(self, fd: int) -> bool:
        """Do not any more; returns whether there was a reader."""

    @abc.abstractmethod
    def set_writer(self, fd: int, on_writable: Callable[[], Any]) -> None:
        """Call `on_writable()` whenever the descriptor can be written, or has failed."""

    @abc.abstractmethod
    def remove_writer(self, fd: int) -> bool:
        """Do not any more; returns whether there was a writer."""


class AbstractTimerReference(AbstractBase):
    """A timer."""

    @abc.abstractmethod
    def cancel(self) -> None:
        """Forget it; safe to repeat."""


class AbstractIOReference(AbstractBase):
    """An operation that is under way."""

    @abc.abstractmethod
    def cancel(self) -> bool:
        """Give it up; returns False when it was done or cancelled already."""


class AbstractStreamProtocol(AbstractBase):
    """What a stream tells."""

    @abc.abstractmethod
    def connection_made(self, transport: AbstractStreamTransport) -> None:
        """The stream is there."""

    @abc.abstractmethod
    def connection_lost(self, error: BaseException | None) -> None:
        """It has ended; None: it was aborted, or closed after `eof_received`."""

    @abc.abstractmethod
    def eof_received(self) -> bool | None:
        """The peer sends no more; a false value has the stream closed."""

    @abc.abstractmethod
    def data_received(self, data: bytes) -> None:
        """Bytes have come."""


class AbstractStreamTransport(AbstractBase):
    """What can be asked of a stream."""

    @abc.abstractmethod
    def abort(self) -> None:
        """End it at once; the protocol's `connection_lost` follows in another turn of the loop."""

    @abc.abstractmethod
    def get_protocol(self) -> AbstractStreamProtocol:
        """Return its protocol."""

    @abc.abstractmethod
    def write(self, data: bytes) -> None:
        """Queue bytes.

        :raises ValueError: there are none
        """

    @abc.abstractmethod
    def get_write_buffer_size(self) -> int:
        """Return how many bytes are queued."""
