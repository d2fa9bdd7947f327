"""Row 22: returned messages are told apart, however large they are and however little they differ."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support import answers
from support.apart import Together, apart, connect
from support.fakeserver import FakeServer, Peer
from support.subject import exceptions

NOWHERE = "cpika-test-nowhere"  # routing key of no queue
SIZE = 1 << 20


def body_of(number: int, place: str) -> bytes:
    """A megabyte that differs from others in one byte, at the beginning, the middle or the end."""
    body = bytearray(SIZE)
    body[{"beginning": 0, "middle": SIZE // 2 + 77, "end": SIZE - 1}[place]] = number
    return bytes(body)


def large_returns(place: str) -> list[Any]:
    """Four threads publish with confirms; what comes back has to be what the thread published."""
    channel = connect().channel()
    channel.confirm_delivery()

    def work(number: int) -> Callable[[], int]:
        def run() -> int:
            mine = 0
            for round_number in range(3):
                body = body_of(16 * number + round_number, place)
                try:
                    channel.basic_publish("", NOWHERE, body, mandatory=True)
                except exceptions.UnroutableError as error:
                    mine += [message.body for message in error.messages] == [body]
            return mine

        return run

    return Together(*map(work, range(4))).join(10)


@pytest.mark.parametrize("place", ["beginning", "middle", "end"])
def test_large_returns_reach_their_publishers(broker_url: str, place: str) -> None:
    """Row 22, what identifies a message: one byte in a megabyte, wherever it is."""
    assert apart(large_returns, place) == [3] * 4


def returns_in_a_block(place: str) -> list[Any]:
    """In a block of large messages some come back, in another order than they went."""
    back = [5, 2, 3]

    def script(peer: Peer) -> None:
        peer.handshake()
        peer.serve_until("Confirm.Select")
        count = 0
        received = 0
        while received < 6 * SIZE:
            frame = peer.receive()
            count += frame.name == "Basic.Publish"
            received += frame.size if frame.name == "BODY" else 0
        for number in back:
            body = body_of(number, place)
            whole = answers.returned(1, NOWHERE, b"")[:-8]  # without the empty body
            head = whole[: whole.rindex(b"\x02\x00\x01")]
            peer.send(head, content(body))
        peer.send(answers.confirm(1, 6, multiple=True))
        answers.serve_to_end(peer)

    with FakeServer(script) as server:
        channel = connect(server).channel()
        channel.confirm_delivery()
        try:
            with channel.buffered():
                for number in range(6):
                    channel.basic_publish("", NOWHERE, body_of(number, place), mandatory=True)
        except exceptions.UnroutableError as error:
            return [sorted(error.indexes), [message.body[SIZE // 2 + 77] for message in error.messages]]
    return ["confirmed"]


def content(body: bytes) -> bytes:
    """A content in frames of the negotiated size."""
    from support import amqp

    step = 131072 - 8
    parts = [amqp.body(1, body[start : start + step]) for start in range(0, len(body), step)]
    return amqp.content_header(1, len(body)) + b"".join(parts)


def test_large_returns_in_a_block_are_those_of_their_indexes(broker_url: str) -> None:
    """Row 22, what identifies a message: the indexes are those of the bodies that came back."""
    indexes, bytes_back = apart(returns_in_a_block, "middle")
    assert indexes == [2, 3, 5]
    assert sorted(bytes_back) == [2, 3, 5]


def equal_messages() -> list[Any]:
    """Messages that are equal in all: as many errors as messages."""
    channel = connect().channel()
    channel.confirm_delivery()

    def run() -> int:
        unroutable = 0
        for _ in range(20):
            try:
                channel.basic_publish("", NOWHERE, b"the same", mandatory=True)
            except exceptions.UnroutableError as error:
                unroutable += len(error.messages)
        return unroutable

    return Together(*[run] * 4).join(10)


def test_equal_messages_each_come_back_to_one_publisher(broker_url: str) -> None:
    """Row 22, what identifies a message: of equal ones only the number counts."""
    assert apart(equal_messages) == [20] * 4
