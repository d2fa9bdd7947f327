"""Reaching a broker: names to addresses, TCP, TLS, and one try after another.

Plain synchronous Python. Every wait is one in which a signal is handled at once; sockets, polls and threads
are looked up when they are used, so that a monkey-patched program waits in its own way.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401  getaddrinfo() would load it, in a call
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from cpika import _home, exceptions
from cpika.adapters.utils import _waiting
from cpika.adapters.utils._threads import start_thread
from cpika.compat import SOL_TCP
from cpika.connection import Parameters, copy_parameters
from cpika.tcp_socket_opts import set_sock_opts

if TYPE_CHECKING:
    from cpika.adapters.utils._workflow import (
        AbstractAMQPConnectionWorkflow as AbstractAMQPConnectionWorkflow,
    )
    from cpika.adapters.utils._workflow import AMQPConnectionWorkflow as AMQPConnectionWorkflow
    from cpika.adapters.utils._workflow import AMQPConnector as AMQPConnector

Address = tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]

T = TypeVar("T")

_LOG = logging.getLogger("pika.adapters.utils.connection_workflow")
_IO_LOG = logging.getLogger("pika.adapters.utils.io_services_utils")
_RESOLVER_LOG = logging.getLogger("pika.adapters.utils.selector_ioloop_adapter")
_BLOCKING_LOG = logging.getLogger("pika.adapters.blocking_connection")

# The release that the log names as connecting; `cpika.__version__`, which is not there yet while this loads.
_PIKA_VERSION = "1.4.4"


class AMQPConnectorException(Exception):
    """Root of this module's exceptions."""


class AMQPConnectorStackTimeout(AMQPConnectorException):
    """TCP, TLS and AMQP handshake together took longer than `stack_timeout`."""


class AMQPConnectorAborted(AMQPConnectorException):
    """One attempt was aborted."""


class AMQPConnectorWrongState(AMQPConnectorException):
    """An attempt is not in a state for the call."""


class AMQPConnectorPhaseErrorBase(AMQPConnectorException):
    """Wraps the exception that ended one phase of an attempt.

    `host` and `port` are the broker's, as the parameters name it.
    """

    host: str | None = None
    port: int | None = None

    def __init__(
        self, exception: BaseException, *args: Any, host: str | None = None, port: int | None = None
    ) -> None:
        """
        :param exception: what ended the phase
        :param args: arguments of the base class
        :param host: name or address of the broker that it is about
        :param port: the broker's TCP port
        """
        super().__init__(*args)
        self.exception = exception
        if host is not None:
            self.host, self.port = host, port

    def _name_peer(self, host: str, port: int) -> None:
        """Say which broker it is about, and have what ended the phase say so."""
        self.host, self.port = host, port
        if isinstance(self.exception, exceptions.AMQPConnectionError):
            self.exception._name_peer(host, port)

    def __repr__(self) -> str:
        return f"{type(self).__name__}: {self.exception!r}"

    def __reduce__(self) -> tuple[Any, ...]:
        # The default would leave out `exception`, which the constructor wants.
        return type(self), (self.exception, *self.args), vars(self)


class AMQPConnectorSocketConnectError(AMQPConnectorPhaseErrorBase):
    """The TCP connect failed."""


class AMQPConnectorTransportSetupError(AMQPConnectorPhaseErrorBase):
    """TLS failed."""


class AMQPConnectorAMQPHandshakeError(AMQPConnectorPhaseErrorBase):
    """The AMQP handshake failed."""


class AMQPConnectionWorkflowAborted(AMQPConnectorException):
    """The whole workflow was aborted."""


class AMQPConnectionWorkflowWrongState(AMQPConnectorException):
    """The workflow is not in a state for the call."""


class AMQPConnectionWorkflowFailed(AMQPConnectorException):
    """All attempts failed."""

    def __init__(self, exceptions: Iterable[BaseException], *args: Any) -> None:
        """
        :param exceptions: what each attempt failed with, in order
        :param args: arguments of the base class
        """
        super().__init__(*args)
        self.exceptions = tuple(exceptions)

    def __repr__(self) -> str:
        first = self.exceptions[0] if len(self.exceptions) > 1 else None
        last = self.exceptions[-1] if self.exceptions else None  # none: a program's own workflow
        return (
            f"{type(self).__name__}: {len(self.exceptions)} exceptions in all; last exception - "
            f"{last!r}; first exception - {first!r}"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.exceptions, *self.args)


_ON_A_LOOP = ("AMQPConnector", "AbstractAMQPConnectionWorkflow", "AMQPConnectionWorkflow")


def __getattr__(name: str) -> Any:
    """Load what connects from an I/O loop when it is first asked for."""
    if name not in _ON_A_LOOP:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from cpika.adapters.utils import _workflow

    value = globals()[name] = getattr(_workflow, name)
    _home.at_home(__name__, value)
    return value


def without_addresses(config: Parameters) -> AMQPConnectorSocketConnectError:
    """Return the failure of a look-up that has succeeded, and found nothing to connect to."""
    failure = AMQPConnectorSocketConnectError(socket.gaierror(socket.EAI_NONAME, "no addresses were found"))
    failure._name_peer(config.host, config.port)
    return failure


def _none_given(parameters: object) -> ValueError:
    return ValueError(f"Expected a non-empty sequence of connection parameters, but got {parameters!r}.")


def as_configs(parameters: Parameters | Iterable[Parameters] | None) -> tuple[Parameters, ...]:
    """Return the argument of `BlockingConnection` as a non-empty tuple of parameters.

    :raises ValueError: a sequence without elements
    :raises TypeError: something that is not parameters
    """
    if parameters is None:
        return (Parameters(),)
    if isinstance(parameters, Parameters):
        return (parameters,)
    if not parameters:
        raise _none_given(parameters)
    # An error shows types only: a URL given as a string would show its password.
    if isinstance(parameters, (str, bytes)):
        raise TypeError(
            f"Expected connection parameters, but got an object of type {type(parameters).__name__}; "
            "a URL goes through URLParameters"
        )
    if not hasattr(parameters, "__iter__"):
        raise TypeError(
            f"Expected connection parameters, but got an object of type {type(parameters).__name__}"
        )
    configs = tuple(parameters)
    if not configs:
        raise _none_given(parameters)
    for config in configs:
        if not isinstance(config, Parameters):
            raise TypeError(
                f"Expected connection parameters, but got an object of type {type(config).__name__}"
            )
    return configs


def open_stream(
    configs: Sequence[Parameters], attempt: Callable[[socket.socket, Parameters, float | None], T]
) -> T:
    """Connect to the first broker that lets us, and return what `attempt` returns.

    Each cycle goes through all addresses of all elements; the last element says how many cycles there are and
    how long the pause between them is. A name that does not resolve counts as one failure; the next element
    follows.

    :param configs: non-empty sequence of parameters
    :param attempt: does the AMQP handshake. It gets a connected socket, TLS done, non-blocking (it owns the
        socket if it returns), a copy of the parameters for its own use, and the moment of `time.monotonic()`
        at which it has to raise `AMQPConnectorStackTimeout`, whose text is set here. An
        `AMQPConnectorAMQPHandshakeError` is a failure of this address; anything else it raises, a signal
        handler's exception for example, leaves `open_stream`
    :raises AMQPConnectionError: the last failure was a TCP connect; its argument is an
        `AMQPConnectorSocketConnectError`
    :raises Exception: the last failure as it is: `socket.gaierror`, an OSError of TLS, an
        `AMQPConnectorStackTimeout`, or what `attempt` raised
    """
    failures: list[Exception] = []
    last = configs[-1]
    for cycle in range(last.connection_attempts):
        if cycle:
            _waiting.sleep(last.retry_delay)
        for config in configs:
            addresses = _resolve(config) or without_addresses(config)
            if isinstance(addresses, Exception):
                _LOG.error("getaddrinfo failed: %r.", addresses)
                failures.append(addresses)
                continue
            for address in addresses:
                try:
                    stream = _connect(address, config, attempt)
                except AMQPConnectorPhaseErrorBase as error:
                    error._name_peer(config.host, config.port)
                    _LOG.error("AMQPConnector - reporting failure: %r", error)
                    failures.append(error)
                else:
                    _LOG.info("AMQPConnector - reporting success: %r", stream)
                    _LOG.info("AMQPConnectionWorkflow - reporting success: %r", stream)
                    _BLOCKING_LOG.info("Connection workflow succeeded: %r", stream)
                    return stream
    try:
        _fail(failures)
    finally:
        failures.clear()  # the exception's traceback holds this frame


def _fail(failures: list[Exception]) -> NoReturn:
    """Raise the last failure as pika's `BlockingConnection` does."""
    outcome = AMQPConnectionWorkflowFailed(failures)
    _LOG.error("AMQP connection workflow failed: %r.", outcome)
    _LOG.error("AMQPConnectionWorkflow - reporting failure: %r", outcome)
    _BLOCKING_LOG.error("Connection workflow failed: %r", outcome)

    last: BaseException = failures[-1]
    if isinstance(last, AMQPConnectorSocketConnectError):
        last = exceptions.AMQPConnectionError(last, host=last.host, port=last.port)
    elif isinstance(last, AMQPConnectorPhaseErrorBase):
        last = last.exception
    try:
        raise last
    except Exception:
        _BLOCKING_LOG.exception("Error in _create_connection().")
        raise
    finally:
        # The exception's traceback holds this frame: leave no circle behind.
        del last, outcome, failures


def _resolve(config: Parameters) -> list[Address] | Exception:
    """Return the addresses of the host, or why there are none.

    A name is looked up in a thread of its own: Ctrl-C must not wait for a name server. That is also why the
    failure is returned: what is raised here is the signal handler's.
    """
    try:
        # An address in digits, the common case in tests and containers, needs no thread.
        return _getaddrinfo(config, socket.AI_NUMERICHOST)
    except (socket.gaierror, ValueError, OverflowError):
        pass  # a name, possible or not
    outcome: list[list[Address] | Exception] = []
    done = threading.Lock()  # an Event has a lock inside, which a signal's exception can leave held
    done.acquire()

    def look_up() -> None:
        try:
            outcome.append(_getaddrinfo(config, 0))
        except Exception as error:  # also the UnicodeError of an impossible name
            _RESOLVER_LOG.error("Address resolution failed: %r", error)
            outcome.append(error)
        finally:
            done.release()

    if sys.is_finalizing():
        look_up()  # a thread would not begin any more
    else:
        start_thread(look_up, "pika-getaddrinfo")
    done.acquire()
    return outcome.pop()


def _getaddrinfo(config: Parameters, flags: int) -> list[Address]:
    """Return the TCP addresses of the host."""
    return [
        *socket.getaddrinfo(
            config.host, config.port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=flags
        )
    ]


def _connect(
    address: Address,
    config: Parameters,
    attempt: Callable[[socket.socket, Parameters, float | None], T],
) -> T:
    """Connect to one address and return what `attempt` returns; else the socket is closed.

    :raises AMQPConnectorPhaseErrorBase: a phase failed
    """
    try:
        sock = socket.socket(*address[:3])
    except OSError as error:
        raise AMQPConnectorSocketConnectError(error) from None
    try:
        deadline = _waiting.moment_after(config.stack_timeout)
        _connect_tcp(sock, address, config, deadline)
        if config.ssl_options is not None:
            sock = _start_tls(sock, address, config, deadline)
        return _handshake(sock, address, config, deadline, attempt)
    except BaseException:
        sock.close()
        raise


def _connect_tcp(sock: socket.socket, address: Address, config: Parameters, deadline: float | None) -> None:
    """Connect the socket, which is non-blocking afterwards.

    :raises AMQPConnectorSocketConnectError: refused, unreachable or too slow
    :raises OSError: the system refuses one of `tcp_options`
    """
    sock.setsockopt(SOL_TCP, socket.TCP_NODELAY, 1)
    set_sock_opts(config.tcp_options, sock)
    sock.setblocking(False)
    _LOG.info("Pika version %s connecting to %r", _PIKA_VERSION, address[4])

    tcp_deadline = _waiting.moment_after(config.socket_timeout)
    failure: Exception | None = None
    try:
        sock.connect(address[4])
    except (BlockingIOError, InterruptedError):
        if not _waiting.wait_until(sock.fileno(), _earlier(tcp_deadline, deadline), write=True):
            failure = _connect_timeout(address, config)
            raise AMQPConnectorSocketConnectError(failure) from None
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            failure = OSError(code, os.strerror(code))
            _IO_LOG.error("Socket failed to connect: %s; error=%s (%s)", sock, code, failure.strerror)
    except (OSError, OverflowError) as error:
        failure = error
        _IO_LOG.error("%s.connect(%s) failed: %r", sock, address[4], error)
    if failure is not None:
        _LOG.error("TCP Connection attempt failed: %r; dest=%r", failure, address)
        raise AMQPConnectorSocketConnectError(failure)
    _IO_LOG.info("Socket connected: %s", sock)


def _connect_timeout(address: Address, config: Parameters) -> Exception:
    """Return the error of a TCP connect that took too long: the shorter of the two timeouts names it."""
    if config.socket_timeout is not None and (
        config.stack_timeout is None or config.socket_timeout <= config.stack_timeout
    ):
        return socket.timeout(f"TCP connection attempt timed out: {config.host!r}/{address}")
    return AMQPConnectorStackTimeout(f"Timeout while connecting socket to {config.host!r}/{address}")


def _start_tls(
    sock: socket.socket, address: Address, config: Parameters, deadline: float | None
) -> socket.socket:
    """Return the TLS socket on a connected one, its handshake done. On failure the descriptor is closed.

    :raises AMQPConnectorTransportSetupError: no agreement, no trust, a drop, or too slow
    """
    options = config.ssl_options
    assert options is not None
    hostname = config.host if options.server_hostname is None else options.server_hostname
    try:
        tls = options.context.wrap_socket(
            sock,
            server_side=False,
            do_handshake_on_connect=False,
            suppress_ragged_eofs=False,
            server_hostname=hostname,
        )
    except _TLS_FAILURES as error:
        raise _no_transport(error, address, config) from None
    try:
        _handshake_tls(tls, address, config, deadline)
    except BaseException:
        tls.close()
        raise
    _IO_LOG.info("SSL handshake completed successfully: %s", tls)
    return tls


_TLS_FAILURES = OSError, ValueError, TypeError


def _no_transport(error: Exception, address: Address, config: Parameters) -> AMQPConnectorTransportSetupError:
    """Return the failure of this attempt."""
    _LOG.error(
        "Attempt to create the streaming transport failed: %r; %r/%s; ssl=True", error, config.host, address
    )
    return AMQPConnectorTransportSetupError(error)


def _handshake_tls(tls: Any, address: Address, config: Parameters, deadline: float | None) -> None:
    """Do the TLS handshake of a non-blocking socket.

    :raises AMQPConnectorTransportSetupError: no agreement, no trust, a drop, or too slow
    """
    import ssl

    while True:
        # The wait is not in here: what is raised there is a signal handler's, and no failure of TLS.
        try:
            tls.do_handshake()
            return
        except ssl.SSLWantReadError:
            writing = False
        except ssl.SSLWantWriteError:
            writing = True
        except _TLS_FAILURES as error:
            raise _no_transport(error, address, config) from None
        if not _waiting.wait_until(tls.fileno(), deadline, read=not writing, write=writing):
            timeout = AMQPConnectorStackTimeout(
                f"Timeout while setting up transport to {config.host!r}/{address}; ssl=True"
            )
            raise _no_transport(timeout, address, config)


def _handshake(
    sock: socket.socket,
    address: Address,
    config: Parameters,
    deadline: float | None,
    attempt: Callable[[socket.socket, Parameters, float | None], T],
) -> T:
    """Return what `attempt` returns.

    :raises AMQPConnectorAMQPHandshakeError: it raised that, or was too slow
    """
    try:
        return attempt(sock, copy_parameters(config), deadline)
    except AMQPConnectorStackTimeout:
        ssl = config.ssl_options is not None
        _LOG.error("Timeout while setting up AMQP to %r/%s; ssl=%s", config.host, address, ssl)
        timeout = AMQPConnectorStackTimeout(
            f"Timeout during AMQP handshake{config.host!r}/{address}; ssl={ssl}"
        )
        raise AMQPConnectorAMQPHandshakeError(timeout) from None


def _earlier(a: float | None, b: float | None) -> float | None:
    """Return the earlier of two moments; None is never."""
    if a is None or b is None:
        return b if a is None else a
    return min(a, b)
