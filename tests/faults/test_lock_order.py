"""Row 1: lock order.  No lock is awaited with the interpreter's lock held.

A connection ends while threads contend for it: all of them end as well.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from support import answers
from support.apart import Together, apart, connect, outcome
from support.fakeserver import FakeServer, Peer

ROUNDS = 8
AMQP_ERRORS = {
    "ChannelWrongStateError",
    "ConnectionWrongStateError",
    "ConnectionClosedByBroker",
    "StreamLostError",
    "ChannelClosedByClient",
}

ENDINGS = ["end", "reset", "Close", "half end"]


def hang_up(peer: Peer, ending: str) -> None:
    """Ends the connection while the client writes."""
    if ending == "Close":
        peer.send(answers.connection_close())
    elif ending == "reset":
        peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    elif ending == "half end":
        peer.sock.shutdown(socket.SHUT_WR)
        try:
            while peer.sock.recv(1 << 20):
                pass
        except OSError:
            pass
    peer.sock.close()


def forever(call: Callable[[], Any]) -> Callable[[], str]:
    """Calls again and again; the name of what that raises in the end."""

    def run() -> str:
        def repeat() -> None:
            while True:
                call()

        return outcome(repeat)

    return run


def workers(connection: Any, writing_only: bool, size: int = 100) -> list[Callable[[], str]]:
    """What the threads do: publish, publish in a block; and, unless they only write, ack and dispatch.

    :param size: bytes of a body
    """
    plain, acking, blocks = connection.channel(), connection.channel(), connection.channel()

    def in_a_block() -> None:
        with blocks.buffered(max_delay=0.0005):
            for _ in range(20):
                blocks.basic_publish("", "q", bytes(size))
            time.sleep(0.001)  # so that the background thread sends what is held

    calls: list[Callable[[], Any]] = [lambda: plain.basic_publish("", "q", bytes(size))] * 4
    calls.append(in_a_block)
    if not writing_only:
        calls[:2] = [lambda: acking.basic_ack(1), lambda: connection.process_data_events(0.001)]
    return [forever(call) for call in calls]


def contend_while_it_ends(ending: str, writing_only: bool) -> list[Any]:
    """Round after round: five threads on one connection, and the peer hangs up."""
    told: set[str] = set()
    for number in range(ROUNDS):

        def script(peer: Peer, number: int = number) -> None:
            peer.handshake()
            for _ in range(3):
                peer.serve_until("Channel.Open")
            end = time.monotonic() + 0.1 + 0.01 * number
            while time.monotonic() < end:
                if not peer.sock.recv(1 << 20):
                    return
            hang_up(peer, ending)

        with FakeServer(script) as server:
            told.update(Together(*workers(connect(server), writing_only)).join(6))
    return sorted(told)


@pytest.mark.parametrize("writing_only", [True, False], ids=["writing", "dispatching"])
@pytest.mark.parametrize("ending", ENDINGS)
def test_threads_that_contend_for_a_connection_end_with_it(
    ending: str, writing_only: bool, slow_sends: dict[str, str]
) -> None:
    """Row 1, lock order: sends that take long without the interpreter's lock make threads meet."""
    told = apart(contend_while_it_ends, ending, writing_only, timeout=12, environment=slow_sends)
    assert set(told) <= AMQP_ERRORS, told


def contend_while_it_is_closed() -> list[Any]:
    """The same, with `close()` by one of the program's own threads."""
    told: set[str] = set()
    for number in range(ROUNDS):

        def script(peer: Peer) -> None:
            peer.handshake()
            answers.serve_to_end(peer)

        with FakeServer(script) as server:
            connection = connect(server, stack_timeout=3)
            # The peer goes through all that is under way before it answers: few frames in full pipes.
            threads = Together(*workers(connection, True, size=20_000))
            threading.Event().wait(0.1 + 0.01 * number)
            Together(connection.close).join(6)
            told.update(threads.join(6))
    return sorted(told)


def test_threads_that_contend_for_a_connection_end_when_it_is_closed(slow_sends: dict[str, str]) -> None:
    """Row 1, lock order: the same when the program closes it."""
    told = apart(contend_while_it_is_closed, timeout=25, environment=slow_sends)
    assert set(told) <= AMQP_ERRORS, told


def contend_with_requests() -> list[Any]:
    """Threads that wait for answers, among those that write, when the peer goes."""
    told: set[str] = set()
    for number in range(ROUNDS):

        def script(peer: Peer, number: int = number) -> None:
            peer.handshake()
            for _ in range(3):
                peer.serve_until("Channel.Open")
            end = time.monotonic() + 0.1 + 0.01 * number
            while time.monotonic() < end:
                answers.reply(peer, peer.receive())
            peer.sock.close()

        with FakeServer(script) as server:
            connection = connect(server)
            channels = [connection.channel() for _ in range(3)]

            def declares(channel: Any) -> Callable[[], str]:
                return forever(lambda: channel.queue_declare("q"))

            threads = Together(
                *map(declares, channels),
                declares(channels[0]),
                forever(lambda channel=channels[1]: channel.basic_publish("", "q", bytes(100))),
                forever(lambda connection=connection: connection.channel().close()),
            )
            told.update(threads.join(6))
    return sorted(told)


def test_threads_that_await_answers_end_with_the_connection(slow_sends: dict[str, str]) -> None:
    """Row 1, lock order: waiting for an answer, for a turn, or for the lock: all end."""
    told = apart(contend_with_requests, timeout=25, environment=slow_sends)
    assert set(told) <= AMQP_ERRORS, told
