"""Attempts to connect that fail, beside pika's own."""

from __future__ import annotations

import contextlib
import select
import signal
import socket
import ssl
import time
from collections.abc import Iterator
from typing import Any, Callable

import cpika.connection as connection
import pika
from cpika.adapters.utils import connection_workflow as workflow
from cpika.adapters.utils.connection_workflow import open_stream
from parity.render import mask

Attempt = Callable[[socket.socket, connection.Parameters, Any], Any]


@contextlib.contextmanager
def full_port() -> Iterator[int]:
    """A port that neither accepts nor refuses: its queue is full, and Linux drops what asks for more."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(server.getsockname())
        yield server.getsockname()[1]


def take_socket(
    sock: socket.socket, _params: connection.Parameters, _deadline: float | None
) -> socket.socket:
    """A handshake that is content with the socket."""
    return sock


def wait_in_vain(sock: socket.socket, _params: connection.Parameters, deadline: float | None) -> None:
    """A handshake with a peer that says nothing."""
    assert deadline is not None
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    assert not poll.poll((deadline - time.monotonic()) * 1000)
    raise workflow.AMQPConnectorStackTimeout


def described(error: BaseException) -> Any:
    """Type, arguments and texts of an exception and of those in it."""
    inner = [described(argument) for argument in error.args if isinstance(argument, BaseException)]
    wrapped = getattr(error, "exception", None)
    return (
        type(error).__name__,
        str(error),
        mask(repr(error)),
        inner,
        wrapped and described(wrapped),
        getattr(error, "errno", None),
    )


def failure_of(call: Callable[[], Any]) -> BaseException:
    try:
        call()
    except Exception as error:
        return error
    raise AssertionError("it did not fail")


def both_fail(
    *addresses: tuple[str, int],
    attempt: Attempt = take_socket,
    tls: tuple[ssl.SSLContext, str | None] | None = None,
    **options: Any,
) -> BaseException:
    """Return our failure to connect, after it was compared with pika's."""
    made = []
    for module in (pika, connection):
        if tls is not None:
            options["ssl_options"] = module.SSLOptions(*tls)
        made.append([module.ConnectionParameters(host, port, **options) for host, port in addresses])
    theirs, ours = made
    expected = failure_of(lambda: pika.BlockingConnection(theirs))
    error = failure_of(lambda: open_stream(ours, attempt))
    assert described(error) == described(expected)
    return error


def port_of(server: socket.socket) -> int:
    port: int = server.getsockname()[1]
    return port


class Interrupted(Exception):
    """Stands for the KeyboardInterrupt that a signal handler raises."""


def answers_a_signal(call: Callable[[], Any]) -> bool:
    """Return whether a signal ends the call within 100 ms; on a busy machine it may take a second look."""

    def interrupt(*_args: Any) -> None:
        raise Interrupted

    def delay() -> float:
        due = time.monotonic() + 0.2
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        try:
            call()
        except Interrupted:
            return time.monotonic() - due
        raise AssertionError("the call returned")

    previous = signal.signal(signal.SIGALRM, interrupt)
    try:
        return any(delay() < 0.1 for _ in range(5))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
