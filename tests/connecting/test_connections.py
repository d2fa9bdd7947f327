"""How a connection is reached, with the real handshake."""

from __future__ import annotations

import socket
from typing import Callable

import cpika.connection as connection
import cpika.exceptions as exceptions
import pika
import pytest
from cpika.adapters.blocking_connection import BlockingConnection
from cpika.adapters.utils import connection_workflow as workflow
from support.connects import answers_a_signal, described, failure_of, port_of


@pytest.fixture
def broker_says(serve: Callable[..., int]) -> Callable[[bytes], int]:
    """Starts brokers that answer a protocol header with these bytes and hang up."""

    def start(answer: bytes) -> int:
        def reply(client: socket.socket) -> None:
            client.recv(8, socket.MSG_WAITALL)
            client.sendall(answer)

        return serve(reply)

    return start


def test_a_heartbeat_that_amqp_cannot_carry_is_named(broker_url: str) -> None:
    params = connection.URLParameters(broker_url)
    params.heartbeat = 65536
    error = failure_of(lambda: BlockingConnection(params))
    assert isinstance(error, ValueError)
    assert str(error) == "heartbeat must be <= 65535, but got 65536"


def test_a_broker_that_hangs_up_before_start_fails_as_in_pika(broker_says: Callable[[bytes], int]) -> None:
    port = broker_says(b"")
    expected = failure_of(lambda: pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", port)))
    error = failure_of(lambda: BlockingConnection(connection.ConnectionParameters("127.0.0.1", port)))
    assert isinstance(error, exceptions.IncompatibleProtocolError)
    assert described(error) == described(expected)


def test_a_broker_of_another_version_is_told(broker_says: Callable[[bytes], int]) -> None:
    params = connection.ConnectionParameters("127.0.0.1", broker_says(b"AMQP\x01\x01\x00\x0a"))
    error = failure_of(lambda: BlockingConnection(params))
    assert isinstance(error, exceptions.IncompatibleProtocolError)
    assert "protocol header" in str(error)


def test_a_silent_broker_ends_a_connection_by_the_stack_timeout(listener: socket.socket) -> None:
    error, expected = (
        failure_of(
            lambda: connect(make("127.0.0.1", port_of(listener), stack_timeout=0.2))  # noqa: B023
        )
        for connect, make in (
            (BlockingConnection, connection.ConnectionParameters),
            (pika.BlockingConnection, pika.ConnectionParameters),
        )
    )
    assert isinstance(error, workflow.AMQPConnectorStackTimeout)
    assert described(error) == described(expected)


def test_a_broker_is_found_behind_one_that_refuses_and_one_that_hangs_up(
    broker_url: str, closed_port: int, broker_says: Callable[[bytes], int]
) -> None:
    configs = [
        connection.ConnectionParameters("127.0.0.1", closed_port),
        connection.ConnectionParameters("127.0.0.1", broker_says(b"")),
        connection.URLParameters(broker_url),
    ]
    with BlockingConnection(configs) as found:
        assert found.is_open


@pytest.mark.rule(8)
def test_a_signal_ends_the_wait_for_the_broker(listener: socket.socket) -> None:
    params = connection.ConnectionParameters("127.0.0.1", port_of(listener))
    assert answers_a_signal(lambda: BlockingConnection(params))
