"""Hostile inputs: floods, answers to nothing, answers twice, confirms for nothing, a byte at a time."""

from __future__ import annotations

import contextlib
import socket

from support import amqp
from support.amqp import Frame, message, short

from . import say
from .cutter import RESET_ON_CLOSE
from .hostile_input import EITHER, ENDED, LIVES, REFUSED, Input
from .peers import CountingPeer, HangUpError, Script
from .say import TAG, after_consume, answering, raw

FLOOD = 1 << 20  # bytes
SIP = 64 << 10
GROWTH = 40 << 20  # bytes of deliveries after which the kernel takes megabytes ahead
QOS_OK = raw(1, 60, 11)


def many(data: bytes, size: int = FLOOD) -> bytes:
    """`data` over and over."""
    return data * (size // len(data))


def flooding(data: bytes) -> Script:
    """Many deliveries, one at which the client works for a second, and then all of `data`, before a reset."""

    def script(peer: CountingPeer) -> None:
        peer.handshake()
        peer.serve_until("Basic.Consume")
        large = message(1, TAG, 1, b"x" * 100_000)
        for _ in range(GROWTH // len(large)):
            peer.send(large)
        peer.send(message(1, TAG, 2, say.WORK))
        peer.sock.settimeout(1.5)
        with contextlib.suppress(socket.timeout):
            for at in range(0, len(data), SIP):
                peer.send(data[at : at + SIP])
        peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        peer.sock.close()

    return script


FLOODS: dict[str, tuple[bytes, str]] = {  # what, and what has to come of it when a good message follows
    "Connection.Close": (many(say.close(320, b""), 2 * FLOOD), ENDED),
    "Channel.Close": (many(say.close_channel()), EITHER),
    "Flow on and off": (many(say.flow(False) + say.flow(True)), LIVES),
    "Blocked": (many(raw(0, 10, 60, short("no"))), EITHER),
    "Blocked and Unblocked": (many(raw(0, 10, 60, short("no")) + raw(0, 10, 61)), LIVES),
    "heartbeats": (many(amqp.HEARTBEAT), LIVES),
    "unknown methods": (many(raw(1, 60, 999)), REFUSED),
    "unknown classes": (many(raw(0, 77, 10)), REFUSED),
    "acks for nothing": (many(say.acked(1)), EITHER),
    "cancels of nobody": (many(raw(1, 60, 30, short("nobody") + b"\x01")), LIVES),
    "cancels of the consumer": (many(raw(1, 60, 30, short(TAG) + b"\x01")), EITHER),
    "ConsumeOk": (many(raw(1, 60, 21, short(TAG))), EITHER),
    "QosOk": (many(QOS_OK), EITHER),
    "Channel.CloseOk": (many(raw(1, 20, 41)), EITHER),
    "Connection.CloseOk": (many(raw(0, 10, 51)), EITHER),
    "returns": (many(say.returned()), LIVES),
    "deliveries for nobody": (many(message(1, "nobody", 1, b"strange")), EITHER),
    "GetOk": (many(say.got()), EITHER),
    "GetEmpty": (many(raw(1, 60, 72, short(""))), EITHER),
    "empty messages": (many(message(1, TAG, 1, b"")), LIVES),
    "empty body frames": (
        amqp.deliver(1, TAG, 1) + amqp.content_header(1, 4) + many(amqp.body(1, b"")) + amqp.body(1, b"body"),
        EITHER,
    ),
    "bodies of one byte a frame": (
        amqp.deliver(1, TAG, 1) + amqp.content_header(1, FLOOD // 9) + amqp.body(1, b"x") * (FLOOD // 9),
        LIVES,
    ),
    "Channel.Close on every channel": (
        b"".join(say.close_channel(number) for number in range(1, 65536, 2)),
        EITHER,
    ),
    "Start": (many(say.start()), EITHER),
    "our own Publish": (many(raw(1, 60, 40, b"\0\0" + short("") + short("q") + b"\0")), EITHER),
}
# A message, or a record of the log, is some hundred bytes of Python's where the peer sent a dozen.
PYTHON_OBJECTS = 16.0


def twice(frame: Frame) -> bytes:
    """DeclareOk and again."""
    return say.declared(frame.channel) * 2


def echo(peer: CountingPeer) -> None:
    """After the handshake, whatever the client says comes back; the end, when it has nothing more to say."""
    peer.handshake()
    peer.sock.settimeout(2)
    while True:
        frame = peer.receive()
        peer.send(amqp.frame(frame.type, frame.channel, frame.payload))


def messages_and_an_end(*data: bytes) -> Script:
    """Five messages, then this, then the end of the stream: all in one."""

    def script(peer: CountingPeer) -> None:
        peer.handshake()
        peer.serve_until("Basic.Consume")
        messages = [message(1, TAG, number, b"message %d" % number) for number in range(1, 6)]
        peer.send(*messages, *data)
        raise HangUpError

    return script


def an_end_in_time(peer: CountingPeer) -> None:
    """Close and the end, soon after the channel is open."""
    peer.handshake(heartbeat=1)
    peer.serve_until("Channel.Open")
    peer.send(say.close())
    raise HangUpError


def loris(peer: CountingPeer) -> None:
    """A delivery a byte at a time, a hundredth of a second between them."""
    peer.handshake()
    peer.serve_until("Basic.Consume")
    peer.send(message(1, TAG, 7, b"good"))
    say.dribble(peer, say.LAST, 0.02)
    peer.serve_to_end()


def a_byte_a_second(peer: CountingPeer) -> None:
    """Six bytes of a delivery in six seconds, then nothing more: the client's wait has an end."""
    peer.handshake()
    peer.serve_until("Basic.Consume")
    say.dribble(peer, say.LAST[:6], 1.0)
    peer.serve_to_end()


def slow_answer(peer: CountingPeer) -> None:
    """DeclareOk a byte at a time, a heartbeat amid nothing."""
    peer.handshake()
    peer.serve_until("Channel.Open")
    peer.expect("Queue.Declare")
    say.dribble(peer, amqp.HEARTBEAT + say.declared(), 0.02)
    peer.serve_to_end()


def published(*data: bytes) -> Script:
    """Answers each publish with these frames."""

    def script(peer: CountingPeer) -> None:
        peer.handshake()
        peer.sock.settimeout(2)
        while True:
            frame = peer.receive()
            if frame.name == "BODY":
                peer.send(*data)
            elif frame.name == "Connection.Close":
                peer.send(raw(0, 10, 51))
            else:
                peer.answer(frame)

    return script


def both_write(peer: CountingPeer) -> None:
    """Floods without reading, then reads."""
    peer.handshake()
    peer.serve_until("Basic.Consume")
    peer.send(many(message(1, TAG, 1, b"x" * 1000), 16 << 20), say.LAST)
    peer.serve_to_end()


def answers() -> list[Input]:
    """Answers for nobody, twice, of another kind, by another channel; confirms."""
    group = "answers for nobody, and twice"
    closed = "ConnectionClosedByBroker"
    return [
        Input("DeclareOk twice", group, answering("Queue.Declare", twice), EITHER, "declare"),
        Input(
            "QosOk for Declare",
            group,
            answering("Queue.Declare", QOS_OK, True),
            REFUSED,
            "declare",
            told=False,
        ),
        Input(
            "Declare's answer by channel 2",
            group,
            answering("Queue.Declare", say.declared(2), True),
            REFUSED,
            "declare",
            told=False,
        ),
        Input(
            "a Close for Declare",
            group,
            answering("Queue.Declare", say.close()),
            ENDED,
            "declare",
            family=closed,
        ),
        Input("GetOk without a message", group, answering("Basic.Get", say.got()[:40], True), ENDED, "get"),
        Input("GetOk twice", group, answering("Basic.Get", say.got() * 2), EITHER, "get"),
        Input(
            "GetEmpty and GetOk",
            group,
            answering("Basic.Get", raw(1, 60, 72, b"\0") + say.got()),
            EITHER,
            "get",
        ),
    ]


def confirms() -> list[Input]:
    """Acks for nothing, twice and of impossible tags; returns; echoes."""
    ack, nack = say.acked(1), say.acked(1, method_id=120)
    return [
        Input("an ack twice", "confirms", published(ack, ack), EITHER, "publish"),
        Input("an ack and a nack", "confirms", published(ack, nack), EITHER, "publish"),
        Input("an ack of tag 0", "confirms", published(say.acked(0)), EITHER, "publish"),
        Input("acks up to tag 0", "confirms", published(say.acked(0, 1)), LIVES, "publish"),
        Input("an ack of 2**64-1", "confirms", published(say.acked(2**64 - 1), ack), EITHER, "publish"),
        Input("acks up to 2**64-1", "confirms", published(say.acked(2**64 - 1, 1)), EITHER, "publish"),
        Input("a nack", "confirms", published(nack), LIVES, "publish"),
        Input("a return and an ack", "confirms", published(say.returned(), ack), LIVES, "publish"),
        Input("a return of another", "confirms", published(say.returned("x", b"y"), ack), EITHER, "publish"),
        Input(
            "a return without content", "confirms", published(say.returned()[:40], ack), REFUSED, "publish"
        ),
        Input(
            "a flood of acks for a publish",
            "confirms",
            published(ack, many(ack)),
            EITHER,
            "publish",
            grown=PYTHON_OBJECTS,
        ),
        Input(
            "a flood of returns for a publish",
            "confirms",
            published(many(say.returned()), ack),
            EITHER,
            "publish",
            grown=64,
        ),
        Input("acks unasked", "confirms", after_consume(ack, nack), EITHER),
        Input("echoes while consuming", "echoes", echo, ENDED),
        Input("an echo of Declare", "echoes", echo, ENDED, "declare"),
        Input("an echo of Publish", "echoes", echo, ENDED, "publish"),
        Input("an echo of Close", "echoes", echo, EITHER, "close"),
    ]


def closes() -> list[Input]:
    """Closes with odd reasons, and ends of the stream."""
    group = "closes and ends"
    closed, lost = "ConnectionClosedByBroker", "StreamLostError"
    odd = {
        "code 0": say.close(0, b""),
        "code 65535": say.close(65535, b"x" * 255),
        "a text that is not UTF-8": say.close(320, b"\xff\xfe\xfd"),
        "a line break": say.close(320, b"a\r\nb\0c"),
    }
    listed = [
        Input(f"Close with {name}", group, after_consume(data, last=False), ENDED, family=closed)
        for name, data in odd.items()
    ]
    listed += [
        Input(
            "Close behind a message",
            group,
            after_consume(message(1, TAG, 8, b"x") + say.close()),
            ENDED,
            family=closed,
        ),
        Input("Channel.Close, odd text", group, after_consume(say.close_channel(1, 0, b"\xff\xfe")), EITHER),
        Input("Close for Close", group, answering("Connection.Close", say.close()), EITHER, "close"),
        Input("nothing for Close", group, answering("Connection.Close", b""), EITHER, "close"),
        Input(
            "half a frame, then the end",
            group,
            answering("Basic.Consume", say.LAST[:20], True),
            ENDED,
            family=lost,
        ),
    ]
    return listed


def ends() -> list[Input]:
    """What had come before an end; slow peers."""
    group = "closes and ends"
    closed, lost = "ConnectionClosedByBroker", "StreamLostError"
    return [
        Input("messages and the end", group, messages_and_an_end(), ENDED, family=lost, bodies=5),
        Input(
            "messages, Close and the end",
            group,
            messages_and_an_end(say.close()),
            ENDED,
            family=closed,
            bodies=5,
        ),
        Input(
            "messages and the end, answered",
            group,
            messages_and_an_end(),
            ENDED,
            "answer",
            family=lost,
            bodies=5,
        ),
        Input(
            "messages, Close and the end, answered",
            group,
            messages_and_an_end(say.close()),
            ENDED,
            "answer",
            family=closed,
            bodies=5,
        ),
        Input("Close noticed late", group, an_end_in_time, ENDED, "publish late", family=closed, heartbeat=1),
        Input("a slow delivery", "slow peers", loris, LIVES),
        Input("a byte a second", "slow peers", a_byte_a_second, EITHER, seconds=8),
        Input("a slow answer", "slow peers", slow_answer, LIVES, "declare"),
        Input("16 MB while we write 2", "slow peers", both_write, LIVES, "publish much", seconds=15, grown=4),
    ]


def inputs() -> list[Input]:
    """All of this file."""
    listed = [
        Input(f"a flood of {name}", "floods", after_consume(data), wanted, grown=PYTHON_OBJECTS, seconds=40)
        for name, (data, wanted) in FLOODS.items()
    ]
    listed += [
        Input(
            f"a flood of {name} before a reset",
            "floods before a reset",
            flooding(data),
            ENDED,
            grown=4,
            seconds=30,
        )
        for name, (data, wanted) in FLOODS.items()
        if wanted != REFUSED
    ]
    return [*listed, *answers(), *confirms(), *closes(), *ends()]
