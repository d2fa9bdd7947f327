"""TLS with an own broker node and certificates of the tests' own."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from support.certs import CLIENT_NAME, Certificates
from support.nodes import LocalNode
from support.subject import StackTimeout, exceptions, pika

LIMIT = 5.0  # seconds: socket_timeout and stack_timeout of connections that are to fail


def parameters(
    node: LocalNode, context: ssl.SSLContext, name: str | None = "localhost", **options: Any
) -> Any:
    """ConnectionParameters for the node's TLS listener; `name` is what the certificate is checked against."""
    options.setdefault("port", node.tls_port)
    return pika.ConnectionParameters(
        "127.0.0.1", ssl_options=pika.SSLOptions(context, name), connection_attempts=1, **options
    )


def fail_to_connect(wanted: Any) -> BaseException:
    """The exception of a connection attempt that has to fail within the parameters' timeouts."""
    begin = time.monotonic()
    with pytest.raises((exceptions.AMQPError, StackTimeout, OSError)) as caught:
        pika.BlockingConnection(wanted)
    assert time.monotonic() - begin < 2 * LIMIT
    return caught.value


def round_trip(connection: Any, body: bytes) -> bytes:
    channel = connection.channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.basic_publish("", queue, body)
    for method, _, got in channel.consume(queue, auto_ack=True, inactivity_timeout=20):
        assert method is not None, "no message"
        channel.cancel()
        return bytes(got)
    raise AssertionError("the generator ended")


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_a_server_whose_certificate_fits_is_accepted(
    tls_node: LocalNode, certificates: Certificates, name: str
) -> None:
    with pika.BlockingConnection(parameters(tls_node, certificates.client_context(), name)) as connection:
        assert round_trip(connection, b"over TLS") == b"over TLS"


def test_a_url_selects_tls(tls_node: LocalNode, certificates: Certificates) -> None:
    url = pika.URLParameters(tls_node.tls_url)
    url.ssl_options = pika.SSLOptions(certificates.client_context(), "localhost")
    with pika.BlockingConnection(url) as connection:
        assert round_trip(connection, b"x") == b"x"


def test_a_client_certificate_logs_in_with_external(tls_node: LocalNode, certificates: Certificates) -> None:
    context = certificates.client_context(with_certificate=True)
    wanted = parameters(tls_node, context, credentials=pika.credentials.ExternalCredentials())
    with pika.BlockingConnection(wanted) as connection:
        assert round_trip(connection, b"x") == b"x"
        users = tls_node.eval(
            "[binary_to_list(U) || [{user, U}] <- rabbit_networking:connection_info_all([user])]."
        )
        assert CLIENT_NAME in users


def test_external_without_a_certificate_is_refused(tls_node: LocalNode, certificates: Certificates) -> None:
    wanted = parameters(
        tls_node, certificates.client_context(), credentials=pika.credentials.ExternalCredentials()
    )
    assert isinstance(fail_to_connect(wanted), exceptions.ProbableAuthenticationError)


def test_a_wrong_password_is_refused_and_not_shown(tls_node: LocalNode, certificates: Certificates) -> None:
    credentials = pika.PlainCredentials("guest", "not-the-pass-word")
    error = fail_to_connect(parameters(tls_node, certificates.client_context(), credentials=credentials))
    assert isinstance(error, exceptions.ProbableAuthenticationError)
    assert "not-the-pass-word" not in repr(error) + str(error)


def test_a_host_name_that_does_not_fit_is_refused(tls_node: LocalNode, certificates: Certificates) -> None:
    error = fail_to_connect(parameters(tls_node, certificates.client_context(), "elsewhere.example"))
    assert isinstance(error, ssl.SSLCertVerificationError)


def test_an_authority_that_is_not_trusted_is_refused(tls_node: LocalNode, certificates: Certificates) -> None:
    context = certificates.client_context(authority=certificates.stranger)
    assert isinstance(fail_to_connect(parameters(tls_node, context)), ssl.SSLCertVerificationError)


def test_a_plain_client_on_the_tls_port_fails(tls_node: LocalNode) -> None:
    wanted = pika.ConnectionParameters(
        "127.0.0.1", tls_node.tls_port, connection_attempts=1, socket_timeout=LIMIT, stack_timeout=LIMIT
    )
    assert isinstance(fail_to_connect(wanted), exceptions.IncompatibleProtocolError)


def test_a_tls_client_on_the_plain_port_fails(tls_node: LocalNode, certificates: Certificates) -> None:
    context = certificates.client_context()
    wanted = parameters(tls_node, context, port=tls_node.port, socket_timeout=LIMIT, stack_timeout=LIMIT)
    assert isinstance(fail_to_connect(wanted), (ssl.SSLError, OSError))


def test_a_tls_handshake_that_gets_no_answer_ends_with_the_stack_timeout(certificates: Certificates) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        wanted = pika.ConnectionParameters(
            "127.0.0.1",
            silent.getsockname()[1],
            ssl_options=pika.SSLOptions(certificates.client_context(), "localhost"),
            connection_attempts=1,
            socket_timeout=1,
            stack_timeout=1,
        )
        assert isinstance(fail_to_connect(wanted), StackTimeout)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_large_messages_go_both_ways(
    tls_node: LocalNode, certificates: Certificates, version: ssl.TLSVersion
) -> None:
    context = certificates.client_context()
    context.minimum_version = context.maximum_version = version
    body = bytes(range(256)) * 40_000  # 10 MB
    with pika.BlockingConnection(parameters(tls_node, context)) as connection:
        assert round_trip(connection, body) == body


def test_messages_of_every_size_around_a_record_arrive_whole(
    tls_node: LocalNode, certificates: Certificates
) -> None:
    """A TLS record carries 16 KB: bodies end just before, at and after its edge."""
    sizes = [0, 1, 100, 16383, 16384, 16385, 65535, 131063, 131064, 131065, 300_000]
    with pika.BlockingConnection(parameters(tls_node, certificates.client_context())) as connection:
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        got: list[bytes] = []
        channel.basic_consume(queue, lambda *args: got.append(args[3]), auto_ack=True)
        for size in sizes:
            channel.basic_publish("", queue, bytes([size % 251]) * size)
        end = time.monotonic() + 20
        while len(got) < len(sizes) and time.monotonic() < end:
            connection.process_data_events(time_limit=1)
    assert got == [bytes([size % 251]) * size for size in sizes]


def test_confirms_and_threads_work_over_tls(tls_node: LocalNode, certificates: Certificates) -> None:
    with pika.BlockingConnection(parameters(tls_node, certificates.client_context())) as connection:
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.confirm_delivery()
        errors: list[BaseException] = []

        def publish(number: int) -> None:
            try:
                for _ in range(25):
                    channel.basic_publish("", queue, b"%d" % number, mandatory=True)
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=publish, args=(number,), daemon=True) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert not errors
        assert channel.queue_declare(queue, passive=True).method.message_count == 100


def test_a_cut_tls_connection_is_a_lost_stream(
    tls_node: LocalNode, certificates: Certificates, make_proxy: Callable[..., Any]
) -> None:
    proxy = make_proxy(tls_node.tls_url)
    connection = pika.BlockingConnection(parameters(tls_node, certificates.client_context(), port=proxy.port))
    proxy.cut()
    with pytest.raises(exceptions.StreamLostError):
        connection.process_data_events(time_limit=10)
    assert connection.is_closed
