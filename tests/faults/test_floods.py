"""Row 6: work done while a frame is being handled, here by a peer that floods.

What a frame asks of us is noted and leaves later: two megabytes of frames that each want an answer neither
pile up on the stack nor crash.
"""

from __future__ import annotations

import fcntl
import select
import socket
import struct
import sys
import termios
import threading
import time
from typing import Any

import pytest
from support import amqp, answers
from support.apart import Together, apart, connect
from support.fakeserver import FakeServer, Peer

SIZE = 2 << 20  # bytes of a flood
STACK = 192 << 10  # bytes of the client's stack: what recurses falls off it

FLOODS: dict[str, bytes] = {
    "Connection.Close": answers.connection_close(320, ""),
    "Channel.Close": answers.channel_close(1, 406, ""),
    "Channel.Flow": amqp.method(1, "Channel.Flow", b"\x00") + amqp.method(1, "Channel.Flow", b"\x01"),
    "Basic.Cancel": amqp.method(1, "Basic.Cancel", amqp.short("nobody") + b"\x00"),
    "unasked messages": amqp.message(1, "nobody", 1, b"x"),
}


def pour(peer: Peer, data: bytes, deaf: bool) -> None:
    """Sends as much of `data` as goes; reads what comes meanwhile, unless it is deaf."""
    sent = 0
    idle = 0
    peer.sock.setblocking(False)
    while sent < len(data) and idle < 5:
        readable, writable, _ = select.select([] if deaf else [peer.sock], [peer.sock], [], 0.1)
        idle = 0 if readable or writable else idle + 1
        if writable:
            sent += peer.sock.send(data[sent : sent + (1 << 18)])
        if readable and not peer.sock.recv(1 << 18):
            raise EOFError
    peer.sock.settimeout(30)


def arrive(peer: Peer) -> None:
    """Waits, for want of an event, until all that was sent is in the client's kernel: no reset drops that."""
    end = time.monotonic() + 30
    while int.from_bytes(fcntl.ioctl(peer.sock, termios.TIOCOUTQ, bytes(4)), sys.byteorder):
        assert time.monotonic() < end
        time.sleep(0.005)


class FloodingServer(FakeServer):
    """Floods its first consumer; `full` is set when no more goes.

    :param manner: `reading` what the client says; `deaf`, and resets the stream later; `gone`: resets it
        before the client looks
    """

    def __init__(self, kind: str, manner: str) -> None:
        self.full, self.never = threading.Event(), threading.Event()
        self._unit = FLOODS[kind]
        self._manner = manner
        super().__init__(self._flood)

    def _flood(self, peer: Peer) -> None:
        peer.handshake()
        channel = peer.serve_until("Basic.Consume").channel
        # Large messages make the kernel's buffers grow, so that much of the flood is there at once.
        for _ in range(300):
            peer.send(amqp.message(channel, peer.consumer_tag, 1, b"x" * 100000))
        peer.send(amqp.message(channel, peer.consumer_tag, 2, b"wait"))
        if self._manner != "gone":
            threading.Timer(0.5, self.full.set).start()
        peer.send(self._unit)
        arrive(peer)
        pour(peer, self._unit * (SIZE // len(self._unit)), self._manner != "reading")
        if self._manner == "reading":
            while True:
                answers.reply(peer, peer.receive())
        if self._manner == "deaf":
            self.full.wait(10)
            self.never.wait(0.5)
        peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.sock.close()
        self.full.set()


def flood(kind: str, manner: str, stack: int) -> Any:
    """The flood meets a client that is in a callback until the buffers are full."""
    with FloodingServer(kind, manner) as server:
        connection = connect(server)
        channel = connection.channel()

        def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
            if body == b"wait":
                assert server.full.wait(10)

        def run() -> str:
            channel.basic_consume("q", on_message, auto_ack=True)
            try:
                connection.sleep(1)
                connection.close()
            except Exception as error:
                return f"{type(error).__name__} {getattr(error, 'reply_code', '')}".strip()
            return "goes on"

        if stack == 0:
            return run()
        threading.stack_size(stack)
        client = Together(run)
        threading.stack_size(0)
        return client.join(12)[0]


@pytest.mark.parametrize(
    ("manner", "stack"), [("reading", STACK), ("deaf", STACK), ("gone", STACK), ("gone", 0)]
)
@pytest.mark.parametrize("kind", FLOODS)
def test_a_flood_neither_recurses_nor_crashes(kind: str, manner: str, stack: int) -> None:
    """Row 6, work while a frame is handled: the client ends with a reason or goes on, and does not crash."""
    told = apart(flood, kind, manner, stack)
    if kind == "Connection.Close":
        assert told == "ConnectionClosedByBroker 320"
    elif manner == "gone":
        assert told == "StreamLostError"
    elif manner == "deaf" or kind == "Channel.Close":
        # What follows the first Close of a channel belongs to a channel that is not there.
        assert told in ("goes on", "StreamLostError")
    else:
        assert told == "goes on"


def floods_of_answers() -> list[int]:
    """Each Channel.Flow is answered once, in order, and the messages between them all arrive."""
    count = 5000
    seen = [0]
    told: list[int] = []

    def script(peer: Peer) -> None:
        peer.handshake()
        peer.serve_until("Basic.Consume")
        unit = [
            amqp.method(1, "Channel.Flow", bytes([number % 2]))
            + amqp.message(1, peer.consumer_tag, number + 1, b"x")
            for number in range(count)
        ]
        threading.Thread(target=lambda: peer.send(b"".join(unit)), daemon=True).start()
        for number in range(count):
            frame = peer.expect("Channel.FlowOk")
            told.append(struct.unpack_from(">B", frame.payload, 4)[0] & 1 == number % 2)
        answers.serve_to_end(peer)

    with FakeServer(script) as server:
        connection = connect(server)
        channel = connection.channel()

        def on_message(*args: Any) -> None:
            seen[0] += 1

        channel.basic_consume("q", on_message, auto_ack=True)
        while len(told) < count:
            connection.process_data_events(1)
        connection.process_data_events(0)
        connection.close()
    return [seen[0], sum(told)]


def test_each_of_many_flows_is_answered_in_order() -> None:
    """Row 6, work while a frame is handled: what is owed to the peer leaves, whole and in order."""
    assert apart(floods_of_answers) == [5000, 5000]
