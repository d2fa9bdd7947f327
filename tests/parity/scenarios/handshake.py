"""Connections that do not come about, and what the client says in the handshake."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Any

import pika as oracle_pika

from parity.harness import covers
from parity.render import hierarchy

START = oracle_pika.frame.Method(
    0,
    oracle_pika.spec.Connection.Start(
        server_properties={
            "product": "stub",
            "capabilities": {"publisher_confirms": True, "basic.nack": True},
        },
        mechanisms="PLAIN AMQPLAIN",
        locales="en_US",
    ),
).marshal()
TUNE = oracle_pika.frame.Method(0, oracle_pika.spec.Connection.Tune(100, 65536, 40)).marshal()


def read_frame(client: socket.socket) -> Any:
    """Return the next frame the client sends, decoded by pika; None at the end of its stream."""
    data = read_exactly(client, 7)
    data += read_exactly(client, 1 if data[:4] == b"AMQP" else int.from_bytes(data[3:7], "big") + 1)
    return oracle_pika.frame.decode_frame(data)[1]


def read_exactly(client: socket.socket, size: int) -> bytes:
    """Return the next `size` bytes, fewer at the end of the stream."""
    data = b""
    while len(data) < size:
        chunk = client.recv(size - len(data))
        if not chunk:
            break
        data += chunk
    return data


def shake_hands(client: socket.socket) -> None:
    """Open the connection as a broker does."""
    read_frame(client)
    client.sendall(START)
    read_frame(client)
    client.sendall(TUNE)
    read_frame(client)
    read_frame(client)
    client.sendall(oracle_pika.frame.Method(0, oracle_pika.spec.Connection.OpenOk()).marshal())


def end(client: socket.socket) -> None:
    """End our side in peace: all that the client sent is read, so that it sees an EOF and no reset."""
    client.shutdown(socket.SHUT_WR)
    listen(client)


def listen(client: socket.socket) -> None:
    """Read what the client sends until it hangs up."""
    with contextlib.suppress(OSError):
        while client.recv(65536):
            pass


def connect(pika: Any, env: Any, talk: Any, **changes: Any) -> Any:
    """Connect the library to a server of our own that follows `talk`; record how it fails."""
    given = {
        "host": "127.0.0.1",
        "port": env.serve(talk),
        "credentials": pika.PlainCredentials("someone", "pass"),
    }
    given.update(changes)
    return env.call("connect", pika.BlockingConnection, pika.ConnectionParameters(**given))


@covers("exceptions.ProbableAuthenticationError", "semantics.drop-during-the-handshake", broker=True)
def a_wrong_password_is_probably_an_authentication_error(pika: Any, env: Any) -> None:
    env.call("connect", env.connect, credentials=pika.PlainCredentials(env.broker.user, "wrong"))


@covers("exceptions.ProbableAuthenticationError", "semantics.drop-during-the-handshake", broker=True)
def an_unknown_user_is_probably_an_authentication_error(pika: Any, env: Any) -> None:
    env.call("connect", env.connect, credentials=pika.PlainCredentials("no-such-user", "wrong"))


@covers("exceptions.ProbableAccessDeniedError", "semantics.drop-during-the-handshake", broker=True)
def an_unknown_virtual_host_is_probably_denied_access(pika: Any, env: Any) -> None:
    env.call("connect", env.connect, virtual_host="no-such-vhost")


@covers("semantics.connect-errors", "exceptions.AMQPConnectionError", cases=[1, 3])
def a_refused_connection_is_an_amqp_connection_error(pika: Any, env: Any, case: Any) -> None:
    parameters = pika.ConnectionParameters(
        "127.0.0.1", env.refusing_port(), connection_attempts=case, retry_delay=0.01
    )
    env.call("connect", pika.BlockingConnection, parameters)


@covers("semantics.connect-errors")
def a_host_that_does_not_resolve_is_a_gaierror(pika: Any, env: Any) -> None:
    env.call("connect", pika.BlockingConnection, pika.ConnectionParameters("no-such-host.invalid"))


@covers("Parameters.stack_timeout", "semantics.connect-errors")
def a_server_that_says_nothing_is_a_stack_timeout(pika: Any, env: Any) -> None:
    connect(pika, env, lambda client: client.recv(65536) and client.recv(1), stack_timeout=0.2)


@covers("exceptions.IncompatibleProtocolError", "semantics.drop-during-the-handshake")
def a_drop_before_start_is_an_incompatible_protocol(pika: Any, env: Any) -> None:
    def talk(client: socket.socket) -> None:
        env.show("header", read_frame(client).marshal())
        end(client)

    connect(pika, env, talk)


@covers("exceptions.IncompatibleProtocolError", "semantics.drop-during-the-handshake")
def another_protocol_version_is_an_incompatible_protocol(pika: Any, env: Any) -> None:
    def talk(client: socket.socket) -> None:
        read_frame(client)
        client.sendall(b"AMQP\x00\x01\x00\x00")
        end(client)

    try:
        pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", env.serve(talk)))
    except pika.exceptions.AMQPConnectionError as error:
        env.show("raised", hierarchy(type(error)))


@covers("exceptions.AuthenticationError")
def a_server_without_our_mechanism_is_an_authentication_error(pika: Any, env: Any) -> None:
    def talk(client: socket.socket) -> None:
        read_frame(client)
        client.sendall(START.replace(b"PLAIN AMQPLAIN", b"KERBEROS-SMILE"))
        end(client)

    connect(pika, env, talk)


@covers("credentials.ExternalCredentials", "exceptions.AuthenticationError")
def external_credentials_need_a_server_that_offers_them(pika: Any, env: Any) -> None:
    def talk(client: socket.socket) -> None:
        read_frame(client)
        client.sendall(START)
        end(client)

    connect(pika, env, talk, credentials=pika.credentials.ExternalCredentials())


@covers("exceptions.ProtocolVersionMismatch")
def a_server_of_another_version_is_a_protocol_version_mismatch(pika: Any, env: Any) -> None:
    start = oracle_pika.spec.Connection.Start(version_major=8, version_minor=0, server_properties={})

    def talk(client: socket.socket) -> None:
        read_frame(client)
        client.sendall(oracle_pika.frame.Method(0, start).marshal())
        end(client)

    connect(pika, env, talk)


@covers("Parameters.client_properties", "semantics.drop-during-the-handshake")
def start_ok_tells_who_we_are_and_a_drop_after_it_is_about_authentication(pika: Any, env: Any) -> None:
    def talk(client: socket.socket) -> None:
        read_frame(client)
        client.sendall(START)
        method = read_frame(client).method
        env.show("method", method.NAME)
        env.show("mechanism", method.mechanism)
        env.show("response", method.response)
        env.show("locale", method.locale)
        env.show("capabilities", sorted(method.client_properties["capabilities"].items()))
        env.show("keys", sorted(method.client_properties))
        env.show(
            "added", (method.client_properties["connection_name"], method.client_properties["information"])
        )
        end(client)

    properties = {"connection_name": "parity", "information": "mine"}
    connect(pika, env, talk, client_properties=properties, locale="en_US")


@covers(
    "Parameters.virtual_host", "Parameters.channel_max.negotiation", "semantics.drop-during-the-handshake"
)
def tune_ok_and_open_follow_tune_and_a_drop_then_is_about_the_virtual_host(pika: Any, env: Any) -> None:
    def talk(client: socket.socket) -> None:
        read_frame(client)
        client.sendall(START)
        read_frame(client)
        client.sendall(TUNE)
        env.show("tune-ok", read_frame(client).method)
        env.show("open", read_frame(client).method)
        end(client)

    connect(pika, env, talk, virtual_host="somewhere")


@covers("semantics.drop-during-the-handshake", cases=["start", "tune"])
def a_connection_close_in_the_handshake_says_what_it_was_about(pika: Any, env: Any, case: Any) -> None:
    close = oracle_pika.frame.Method(0, oracle_pika.spec.Connection.Close(320, "going down", 0, 0)).marshal()

    def talk(client: socket.socket) -> None:
        read_frame(client)
        client.sendall(START)
        read_frame(client)
        if case == "tune":
            client.sendall(TUNE)
            read_frame(client)
            read_frame(client)
        client.sendall(close)
        read_frame(client)
        end(client)

    connect(pika, env, talk)


@covers("Parameters.host", "semantics.connect-errors")
def every_address_of_a_name_is_tried(pika: Any, env: Any) -> None:
    def talk(client: socket.socket) -> None:
        env.show("reached", read_frame(client).NAME)
        end(client)

    connect(pika, env, talk, host="localhost")


@covers("Parameters.connection_attempts", "Parameters.retry_delay")
def every_attempt_is_made(pika: Any, env: Any) -> None:
    seen: list[Any] = []
    port = env.serve(lambda client: seen.append(read_frame(client).NAME) or end(client), clients=3)
    parameters = pika.ConnectionParameters("127.0.0.1", port, connection_attempts=3, retry_delay=0.01)
    env.call("connect", pika.BlockingConnection, parameters)
    env.show("attempts", seen)


@covers("semantics.lost-connection", "exceptions.StreamLostError")
def a_connection_that_is_cut_raises_once_and_is_a_wrong_state_then(pika: Any, env: Any) -> None:
    def talk(client: socket.socket) -> None:
        shake_hands(client)
        read_frame(client)
        end(client)

    parameters = pika.ConnectionParameters("127.0.0.1", env.serve(talk))
    connection = env.keep(pika.BlockingConnection(parameters))
    env.call("channel", connection.channel)
    env.show_state("connection", connection)
    env.call("again", connection.channel)
    env.call("close", connection.close)


BLOCKED = oracle_pika.frame.Method(0, oracle_pika.spec.Connection.Blocked("low on memory")).marshal()
UNBLOCKED = oracle_pika.frame.Method(0, oracle_pika.spec.Connection.Unblocked()).marshal()


@covers(
    "semantics.blocked",
    "BlockingConnection.add_on_connection_blocked_callback",
    "BlockingConnection.add_on_connection_unblocked_callback",
)
def callbacks_hear_of_blocked_and_unblocked(pika: Any, env: Any) -> None:
    go = threading.Event()

    def talk(client: socket.socket) -> None:
        shake_hands(client)
        go.wait(10)
        client.sendall(BLOCKED + UNBLOCKED + BLOCKED)
        read_frame(client)
        end(client)

    connection = env.keep(pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", env.serve(talk))))
    heard: list[Any] = []

    def hear(label: str) -> Any:
        def callback(*args: Any) -> None:
            env.show(label, args)
            env.show("connection is ours", args[0] is connection)
            heard.append(label)

        return callback

    connection.add_on_connection_blocked_callback(hear("blocked"))
    connection.add_on_connection_unblocked_callback(hear("unblocked"))
    connection.add_on_connection_blocked_callback(hear("blocked too"))
    go.set()
    env.pump(connection, lambda: len(heard) == 5)
    env.show_state("connection", connection)
    env.call("cut", connection.channel)


@covers(
    "semantics.blocked-timeout",
    "exceptions.ConnectionBlockedTimeout",
    "Parameters.blocked_connection_timeout",
)
def a_connection_that_stays_blocked_times_out(pika: Any, env: Any) -> None:
    def talk(client: socket.socket) -> None:
        shake_hands(client)
        client.sendall(BLOCKED)
        listen(client)

    parameters = pika.ConnectionParameters("127.0.0.1", env.serve(talk), blocked_connection_timeout=0.1)
    connection = env.keep(pika.BlockingConnection(parameters))
    env.call("wait", connection.sleep, 10)
    env.show_state("connection", connection)
    env.call("again", connection.channel)


@covers("semantics.blocked-timeout", "Parameters.blocked_connection_timeout")
def a_connection_that_is_unblocked_in_time_does_not_time_out(pika: Any, env: Any) -> None:
    def talk(client: socket.socket) -> None:
        shake_hands(client)
        client.sendall(BLOCKED + UNBLOCKED)
        read_frame(client)
        end(client)

    parameters = pika.ConnectionParameters("127.0.0.1", env.serve(talk), blocked_connection_timeout=0.2)
    connection = env.keep(pika.BlockingConnection(parameters))
    env.call("wait", connection.sleep, 0.4)
    env.show_state("connection", connection)
    env.call("cut", connection.channel)


@covers("semantics.heartbeat-timeout", "exceptions.AMQPHeartbeatTimeout", "Parameters.heartbeat")
def a_silent_peer_is_a_heartbeat_timeout(pika: Any, env: Any) -> None:
    def talk(client: socket.socket) -> None:
        shake_hands(client)
        listen(client)

    parameters = pika.ConnectionParameters("127.0.0.1", env.serve(talk), heartbeat=1)
    connection = env.keep(pika.BlockingConnection(parameters))
    env.call("wait", connection.sleep, 15)
    env.show_state("connection", connection)
    env.call("again", connection.channel)


@covers("Parameters.socket_timeout", "semantics.connect-errors")
def a_socket_timeout_is_a_float(pika: Any, env: Any) -> None:
    parameters = pika.ConnectionParameters(
        "127.0.0.1", env.refusing_port(), socket_timeout=1, stack_timeout=None
    )
    env.show("value", (parameters.socket_timeout, parameters.stack_timeout))
    env.call("connect", pika.BlockingConnection, parameters)


@covers("Parameters.client_properties")
def a_product_that_the_program_names_is_told(pika: Any, env: Any) -> None:
    def talk(client: socket.socket) -> None:
        read_frame(client)
        client.sendall(START)
        env.show("product", read_frame(client).method.client_properties["product"])
        end(client)

    plain, pika.connection.PRODUCT = pika.connection.PRODUCT, "mine"
    try:
        connect(pika, env, talk)
    finally:
        pika.connection.PRODUCT = plain
