"""How a stream to a broker is opened: names, TCP, TLS, several parameters, timeouts, and how it fails.

Failures are compared with pika's own on the same sockets in the same test. `open_stream` gets a handshake of
the test's own.
"""

from __future__ import annotations

import contextlib
import logging
import re
import select
import socket
import ssl
import threading
import time
from typing import Any, Callable

import cpika.connection as connection
import cpika.exceptions as exceptions
import pika
import pytest
from cpika.adapters.utils import connection_workflow as workflow
from cpika.adapters.utils.connection_workflow import as_configs, open_stream
from parity.render import mask
from support.certs import Certificates
from support.connects import (
    answers_a_signal,
    both_fail,
    described,
    failure_of,
    port_of,
    take_socket,
    wait_in_vain,
)

# --- TCP


def test_a_refused_connect_is_wrapped_as_in_pika(closed_port: int) -> None:
    error = both_fail(("127.0.0.1", closed_port))
    assert isinstance(error, exceptions.AMQPConnectionError)
    assert isinstance(error.args[0].exception, ConnectionRefusedError)


def test_a_refused_connect_logs_what_pika_logs(closed_port: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    both_fail(("127.0.0.1", closed_port))
    logged = [
        (record.name, record.levelname, mask(re.sub(r"fd=\d+|, laddr=[^)]*\)", "", record.message)))
        for record in caplog.records
    ]
    assert len(logged) == 14
    assert logged[7:] == logged[:7]


def test_a_connect_that_hangs_ends_by_the_socket_timeout(full_port: int) -> None:
    error = both_fail(("127.0.0.1", full_port), socket_timeout=0.1)
    assert isinstance(error.args[0].exception, socket.timeout)


@pytest.mark.parametrize("socket_timeout", [None, 5])
def test_a_connect_that_hangs_ends_by_the_stack_timeout(full_port: int, socket_timeout: float | None) -> None:
    error = both_fail(("127.0.0.1", full_port), socket_timeout=socket_timeout, stack_timeout=0.1)
    assert isinstance(error.args[0].exception, workflow.AMQPConnectorStackTimeout)


def test_a_port_that_is_none_fails_as_in_pika() -> None:
    both_fail(("127.0.0.1", -1))


def test_a_name_that_does_not_resolve_is_not_wrapped() -> None:
    error = both_fail(("nosuchhost.invalid", 5672))
    assert isinstance(error, socket.gaierror)


@pytest.mark.parametrize("host", ["a..b", "x" * 70, "nul\0host"])
def test_a_name_that_cannot_be_fails_as_in_pika(host: str) -> None:
    both_fail((host, 5672))


def test_the_socket_is_ready_for_a_nonblocking_engine(listener: socket.socket) -> None:
    options = {"TCP_USER_TIMEOUT": 4000, "TCP_KEEPIDLE": 9}
    params = connection.ConnectionParameters("127.0.0.1", port_of(listener), tcp_options=options)
    with open_stream([params], take_socket) as sock:
        assert sock.getpeername() == listener.getsockname()
        assert not sock.getblocking()
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 4000
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 9


def test_a_refused_tcp_option_is_told_at_once(listener: socket.socket) -> None:
    for options, kind in (({"TCP_KEEPIDLE": -1}, OSError), ({"TCP_KEEPIDLE": "x"}, TypeError)):
        params: Any = connection.ConnectionParameters("127.0.0.1", port_of(listener), tcp_options=options)
        with pytest.raises(kind):
            open_stream([params], take_socket)


def test_ipv6_is_reached() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        params = connection.ConnectionParameters("::1", port_of(server))
        with open_stream([params], take_socket) as sock:
            assert sock.family == socket.AF_INET6


def test_all_addresses_of_a_name_are_tried(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve = socket.getaddrinfo

    def two_addresses(host: str, port: int, *args: Any, **kwargs: Any) -> list[Any]:
        if host != "two.test":
            return resolve(host, port, *args, **kwargs)
        return [*resolve("127.0.0.9", port, *args, **kwargs), *resolve("127.0.0.1", port, *args, **kwargs)]

    monkeypatch.setattr(socket, "getaddrinfo", two_addresses)
    params = connection.ConnectionParameters("two.test", port_of(listener))
    with open_stream([params], take_socket) as sock:
        assert sock.getpeername()[0] == "127.0.0.1"


def test_sockets_and_polls_of_a_patched_program_are_used(
    full_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Patched(socket.socket):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            made.append(1)

    made: list[int] = []
    polls: list[int] = []
    poll = select.poll
    monkeypatch.setattr(socket, "socket", Patched)
    monkeypatch.setattr(select, "poll", lambda: polls.append(1) or poll())
    params = connection.ConnectionParameters("127.0.0.1", full_port, socket_timeout=0.01)
    failure_of(lambda: open_stream([params], take_socket))
    assert polls and made


# --- several parameters, attempts


def test_the_next_parameters_follow_a_refusal(closed_port: int, listener: socket.socket) -> None:
    configs = [
        connection.ConnectionParameters("127.0.0.1", closed_port),
        connection.ConnectionParameters("127.0.0.1", port_of(listener), "second"),
    ]
    seen = []

    def attempt(sock: socket.socket, params: connection.Parameters, deadline: float | None) -> socket.socket:
        seen.append((params.virtual_host, deadline is not None))
        return sock

    open_stream(configs, attempt).close()
    assert seen == [("second", True)]


def test_the_next_parameters_follow_a_name_that_does_not_resolve(listener: socket.socket) -> None:
    # pika: gives the others up and raises gaierror.
    configs = [
        connection.ConnectionParameters("nosuchhost.invalid"),
        connection.ConnectionParameters("127.0.0.1", port_of(listener)),
    ]
    open_stream(configs, take_socket).close()


def test_the_last_failure_is_the_one_raised(closed_port: int, full_port: int) -> None:
    both_fail(("127.0.0.1", closed_port), ("127.0.0.1", full_port), socket_timeout=0.1)
    both_fail(("127.0.0.1", full_port), ("127.0.0.1", closed_port), socket_timeout=0.1)


def test_the_last_parameters_say_how_often_and_how_fast(listener: socket.socket) -> None:
    moments = []

    def attempt(*_args: Any) -> None:
        moments.append(time.monotonic())
        raise workflow.AMQPConnectorAMQPHandshakeError(exceptions.IncompatibleProtocolError("no"))

    configs = [
        connection.ConnectionParameters("127.0.0.1", port_of(listener), connection_attempts=9, retry_delay=9),
        connection.ConnectionParameters(
            "127.0.0.1", port_of(listener), connection_attempts=3, retry_delay=0.1
        ),
    ]
    error = failure_of(lambda: open_stream(configs, attempt))
    assert isinstance(error, exceptions.IncompatibleProtocolError)
    assert len(moments) == 6
    assert 0.2 <= moments[-1] - moments[0] < 5


@pytest.mark.parametrize("nothing", [[], (), {}])
def test_no_parameters_are_refused_as_in_pika(nothing: Any) -> None:
    expected = failure_of(lambda: pika.BlockingConnection(nothing))
    assert described(failure_of(lambda: as_configs(nothing))) == described(expected)


def test_what_is_no_parameters_is_refused_without_being_shown() -> None:
    for wrong in ("amqp://u:s3cret@h", 5, [None], [connection.ConnectionParameters(), "amqp://u:s3cret@h"]):
        error = failure_of(lambda: as_configs(wrong))  # type: ignore[arg-type]  # noqa: B023
        assert isinstance(error, TypeError) and "s3cret" not in str(error)


def test_parameters_alone_and_none_make_a_sequence_of_one() -> None:
    one = connection.ConnectionParameters("h")
    assert as_configs(one) == (one,)
    assert as_configs(iter([one, one])) == (one, one)
    assert as_configs(None) == (connection.Parameters(),)


# --- TLS


def test_tls_is_set_up_before_the_handshake(
    certificates: Certificates, serve: Callable[..., int], caplog: pytest.LogCaptureFixture
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server_cert, certificates.server_key)

    def greet(client: socket.socket) -> None:
        with context.wrap_socket(client, server_side=True) as tls:
            tls.sendall(b"hello")
            tls.recv(1)

    options = connection.SSLOptions(certificates.client_context(), "localhost")
    params = connection.ConnectionParameters("127.0.0.1", serve(greet), ssl_options=options)
    with open_stream([params], take_socket) as sock:
        assert isinstance(sock, ssl.SSLSocket)
        assert not sock.getblocking() and not sock.suppress_ragged_eofs
        assert received(sock) == b"hello"


def received(sock: socket.socket) -> bytes:
    """What comes first from a TLS socket; its session tickets wake a poll as well."""
    while True:
        assert select.select([sock], [], [], 10)[0]
        with contextlib.suppress(ssl.SSLWantReadError):
            return sock.recv(100)


@pytest.mark.parametrize("hostname", ["wrong.test", None])
def test_a_server_of_another_name_is_refused_as_in_pika(
    certificates: Certificates, serve: Callable[..., int], hostname: str | None
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server_cert, certificates.server_key)
    port = serve(lambda client: context.wrap_socket(client, server_side=True).close())
    authority = certificates.authority if hostname else certificates.stranger
    error = both_fail(("127.0.0.1", port), tls=(certificates.client_context(authority=authority), hostname))
    assert isinstance(error, ssl.SSLCertVerificationError)


@pytest.mark.parametrize("answer", [b"", b"AMQP\0\0\x09\x01", b"HTTP/1.0 400 Bad Request\r\n\r\n"])
def test_a_peer_that_speaks_no_tls_is_refused_as_in_pika(
    certificates: Certificates, serve: Callable[..., int], answer: bytes
) -> None:
    def reply(client: socket.socket) -> None:
        client.recv(4096)
        client.sendall(answer)

    error = both_fail(("127.0.0.1", serve(reply)), tls=(certificates.client_context(), None))
    assert isinstance(error, OSError)


def test_a_silent_peer_ends_tls_by_the_stack_timeout(
    certificates: Certificates, listener: socket.socket
) -> None:
    error = both_fail(
        ("127.0.0.1", port_of(listener)), tls=(certificates.client_context(), None), stack_timeout=0.1
    )
    assert isinstance(error, workflow.AMQPConnectorStackTimeout)


def test_a_host_name_to_check_that_is_missing_is_refused_as_in_pika(
    certificates: Certificates, listener: socket.socket
) -> None:
    both_fail(("127.0.0.1", port_of(listener)), tls=(certificates.client_context(), ""), stack_timeout=5)


# --- the handshake's part


def test_a_silent_broker_ends_the_handshake_by_the_stack_timeout(listener: socket.socket) -> None:
    error = both_fail(("127.0.0.1", port_of(listener)), attempt=wait_in_vain, stack_timeout=0.1)
    assert isinstance(error, workflow.AMQPConnectorStackTimeout)


def test_a_broker_that_hangs_up_leads_to_the_next_parameters(
    serve: Callable[..., int], listener: socket.socket
) -> None:
    def attempt(
        sock: socket.socket, _params: connection.Parameters, _deadline: float | None
    ) -> socket.socket:
        if sock.getpeername()[1] != port_of(listener):
            select.select([sock], [], [], 10)
            assert sock.recv(1) == b""
            hung_up = exceptions.IncompatibleProtocolError("hung up")
            raise workflow.AMQPConnectorAMQPHandshakeError(hung_up)
        return sock

    configs = [
        connection.ConnectionParameters("127.0.0.1", serve(lambda client: None)),
        connection.ConnectionParameters("127.0.0.1", port_of(listener)),
    ]
    open_stream(configs, attempt).close()


@pytest.mark.parametrize(
    "error", [exceptions.ProbableAuthenticationError("x"), ConnectionResetError(104, "y")]
)
def test_what_the_handshake_raises_comes_out_as_it_is(listener: socket.socket, error: Exception) -> None:
    def attempt(*_args: Any) -> None:
        raise error

    params = connection.ConnectionParameters("127.0.0.1", port_of(listener))
    assert failure_of(lambda: open_stream([params], attempt)) is error


def test_a_mistake_in_the_users_code_is_not_tried_again(listener: socket.socket) -> None:
    calls = []

    def attempt(*_args: Any) -> None:
        calls.append(1)
        raise ZeroDivisionError

    params = connection.ConnectionParameters(
        "127.0.0.1", port_of(listener), connection_attempts=5, retry_delay=0
    )
    with pytest.raises(ZeroDivisionError):
        open_stream([params], attempt)
    assert calls == [1]


def test_each_attempt_gets_parameters_of_its_own(listener: socket.socket) -> None:
    seen = []

    def attempt(sock: socket.socket, params: connection.Parameters, _deadline: float | None) -> Any:
        seen.append(vars(params.credentials)["password"])
        params.credentials.erase_credentials()
        if len(seen) == 1:
            raise workflow.AMQPConnectorAMQPHandshakeError(exceptions.AMQPConnectionError("again"))
        return sock

    params = connection.ConnectionParameters(
        "127.0.0.1", port_of(listener), connection_attempts=2, retry_delay=0
    )
    params.credentials.erase_on_connect = True
    open_stream([params], attempt).close()
    assert seen == ["guest", "guest"]
    assert vars(params.credentials)["password"] == "guest"


def test_success_is_logged(listener: socket.socket, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    params = connection.ConnectionParameters("127.0.0.1", port_of(listener))
    open_stream([params], take_socket).close()
    texts = [(record.name, record.levelname, record.message.partition(": ")[0]) for record in caplog.records]
    address = repr(listener.getsockname())
    assert texts == [
        ("pika.adapters.utils.connection_workflow", "INFO", f"Pika version 1.4.4 connecting to {address}"),
        ("pika.adapters.utils.io_services_utils", "INFO", "Socket connected"),
        ("pika.adapters.utils.connection_workflow", "INFO", "AMQPConnector - reporting success"),
        ("pika.adapters.utils.connection_workflow", "INFO", "AMQPConnectionWorkflow - reporting success"),
        ("pika.adapters.blocking_connection", "INFO", "Connection workflow succeeded"),
    ]


# --- Ctrl-C


@pytest.mark.rule(8)
def test_a_signal_ends_the_wait_for_a_connect(full_port: int) -> None:
    params = connection.ConnectionParameters("127.0.0.1", full_port)
    assert answers_a_signal(lambda: open_stream([params], take_socket))


@pytest.mark.rule(8)
def test_a_signal_ends_the_wait_for_tls(certificates: Certificates, listener: socket.socket) -> None:
    options = connection.SSLOptions(certificates.client_context())
    params = connection.ConnectionParameters("127.0.0.1", port_of(listener), ssl_options=options)
    assert answers_a_signal(lambda: open_stream([params], take_socket))


@pytest.mark.rule(8)
def test_a_signal_ends_the_pause_between_attempts(closed_port: int) -> None:
    params = connection.ConnectionParameters("127.0.0.1", closed_port, connection_attempts=2, retry_delay=30)
    assert answers_a_signal(lambda: open_stream([params], take_socket))


@pytest.mark.rule(8)
def test_a_signal_ends_the_wait_for_a_name_server(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()
    resolve = socket.getaddrinfo

    def slow(host: str, *args: Any, flags: int = 0, **kwargs: Any) -> Any:
        if not flags & socket.AI_NUMERICHOST:
            answered.wait()
        return resolve(host, *args, flags=flags, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    params = connection.ConnectionParameters("slow.invalid")
    assert answers_a_signal(lambda: open_stream([params], take_socket))
    answered.set()
    for thread in threading.enumerate():
        if thread.name == "pika-getaddrinfo" and thread.is_alive():  # else it never began
            thread.join()
