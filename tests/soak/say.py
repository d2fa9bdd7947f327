"""Words and sentences of hostile servers: what `support.amqp` has no name for, and scripts made of it."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Callable

from support import amqp
from support.amqp import Frame

from .peers import CountingPeer, HangUpError, Script

FRAME_MAX = 131072
TAG = "tag"
FRAME_ERROR, SYNTAX_ERROR, COMMAND_INVALID, CHANNEL_ERROR, UNEXPECTED_FRAME = 501, 502, 503, 504, 505
NOT_IMPLEMENTED = 540
ANY_CODE = frozenset((501, 502, 503, 504, 505, 530, 540, 541))


def raw(channel: int, class_id: int, method_id: int, arguments: bytes = b"") -> bytes:
    """A method frame by numbers."""
    return amqp.frame(amqp.FRAME_METHOD, channel, struct.pack(">HH", class_id, method_id) + arguments)


def close(code: int = 320, text: bytes = b"CONNECTION_FORCED - go away") -> bytes:
    """Connection.Close."""
    return raw(0, 10, 50, struct.pack(">HB", code, len(text)) + text + struct.pack(">HH", 0, 0))


def close_channel(channel: int = 1, code: int = 404, text: bytes = b"NOT_FOUND - nothing") -> bytes:
    """Channel.Close."""
    return raw(channel, 20, 40, struct.pack(">HB", code, len(text)) + text + struct.pack(">HH", 50, 10))


def flow(active: bool, channel: int = 1) -> bytes:
    """Channel.Flow."""
    return raw(channel, 20, 20, bytes([active]))


def acked(tag: int, multiple: int = 0, channel: int = 1, method_id: int = 80) -> bytes:
    """Basic.Ack, or Basic.Nack with 120."""
    return raw(channel, 60, method_id, struct.pack(">QB", tag, multiple))


def returned(key: str = "nowhere", data: bytes = b"body", channel: int = 1) -> bytes:
    """A whole Basic.Return."""
    arguments = struct.pack(">H", 312) + amqp.short("NO_ROUTE") + amqp.short("") + amqp.short(key)
    return (
        raw(channel, 60, 50, arguments) + amqp.content_header(channel, len(data)) + amqp.body(channel, data)
    )


def got(data: bytes = b"body", channel: int = 1, announced: int | None = None) -> bytes:
    """A whole Basic.GetOk."""
    arguments = struct.pack(">QB", 1, 0) + amqp.short("") + amqp.short("q") + struct.pack(">I", 3)
    header = amqp.content_header(channel, len(data) if announced is None else announced)
    return raw(channel, 60, 71, arguments) + header + amqp.body(channel, data)


def declared(channel: int = 1) -> bytes:
    """Queue.DeclareOk."""
    return raw(channel, 50, 11, amqp.short("q") + struct.pack(">II", 0, 0))


def headers(entries: bytes) -> bytes:
    """Properties whose headers have these entries, encoded already."""
    return struct.pack(">H", 1 << 13) + amqp.long(entries)


def delivery(properties: bytes, data: bytes = b"body") -> bytes:
    """A message with these properties."""
    return amqp.message(1, TAG, 1, data, properties)


def nested(depth: int, entry: bytes) -> bytes:
    """Headers with arrays (`entry` b"A") or tables (b"\\x01aF") in each other, so deep."""
    value = b"".join(
        entry + struct.pack(">I", (len(entry) + 4) * inside) for inside in reversed(range(depth))
    )
    return headers(amqp.short("a") + value[len(entry) - 1 :])


def start(
    properties: bytes = b"", mechanisms: bytes = b"PLAIN EXTERNAL", version: bytes = b"\x00\x09"
) -> bytes:
    """Connection.Start."""
    return raw(0, 10, 10, version + amqp.long(properties) + amqp.long(mechanisms) + amqp.long(b"en_US"))


def tune(channel_max: int = 2047, frame_max: int = FRAME_MAX, heartbeat: int = 0) -> bytes:
    """Connection.Tune."""
    return raw(0, 10, 30, struct.pack(">HIH", channel_max, frame_max, heartbeat))


WORK = b"work for a second"
"""The body of a message at which the client's callback does so."""
LAST = amqp.message(1, TAG, 99, b"last")
OPEN_OK = raw(0, 10, 41, amqp.short(""))


# ---- scripts ----


def after_consume(*data: bytes, last: bool = True, frame_max: int = FRAME_MAX) -> Script:
    """Sends a good message, `data` and, to see whether the client lives, a last good one."""

    def script(peer: CountingPeer) -> None:
        peer.handshake(frame_max=frame_max)
        peer.serve_until("Basic.Consume")
        peer.send(amqp.message(1, TAG, 7, b"good"))
        for part in data:
            peer.send(part)
        if last:
            peer.send(LAST)
        peer.serve_to_end()

    return script


def answering(name: str, answer: bytes | Callable[[Frame], bytes], hang_up: bool = False) -> Script:
    """Answers the requests called `name` with these bytes, others as usual."""

    def script(peer: CountingPeer) -> None:
        peer.handshake()
        while True:
            frame = peer.receive()
            if frame.name == name:
                peer.send(answer if isinstance(answer, bytes) else answer(frame))
                if hang_up:
                    raise HangUpError
            elif frame.name == "Connection.Close":
                peer.send(raw(0, 10, 51))
            else:
                peer.answer(frame)

    return script


def instead_of_start(*data: bytes, hang_up: bool = False) -> Script:
    """Answers the protocol header with these bytes."""

    def script(peer: CountingPeer) -> None:
        peer.sock.recv(8)
        for part in data:
            peer.send(part)
        if hang_up:
            raise HangUpError
        drain(peer)

    return script


def after_start_ok(*data: bytes, hang_up: bool = False) -> Script:
    """Answers Connection.StartOk with these bytes."""

    def script(peer: CountingPeer) -> None:
        peer.send(start())
        peer.expect("Connection.StartOk")
        for part in data:
            peer.send(part)
        if hang_up:
            raise HangUpError
        drain(peer)

    return script


def after_open(*data: bytes, hang_up: bool = False) -> Script:
    """Answers Connection.Open with these bytes."""

    def script(peer: CountingPeer) -> None:
        peer.send(start())
        peer.expect("Connection.StartOk")
        peer.send(tune())
        peer.expect("Connection.TuneOk")
        peer.expect("Connection.Open")
        for part in data:
            peer.send(part)
        if hang_up:
            raise HangUpError
        drain(peer)

    return script


def drain(peer: CountingPeer) -> None:
    """Reads until the client has closed; what stands there need not be AMQP."""
    with contextlib.suppress(socket.timeout):
        while peer.sock.recv(1 << 16):
            pass


def dribble(peer: CountingPeer, data: bytes, seconds: float) -> None:
    """A byte every so many seconds."""
    for at in range(len(data)):
        peer.send(data[at : at + 1])
        time.sleep(seconds)  # the slowness is what is tried
