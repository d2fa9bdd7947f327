"""Just enough AMQP 0-9-1 to watch a connection and to play a server: frames, method names, a few methods.

Written apart from the library on purpose: a test that used the library's own codec could not see its
mistakes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
FRAME_METHOD, FRAME_HEADER, FRAME_BODY, FRAME_HEARTBEAT = 1, 2, 3, 8
FRAME_END = 0xCE
HEARTBEAT = b"\x08\x00\x00\x00\x00\x00\x00\xce"

METHOD_NAMES = {
    (10, 10): "Connection.Start",
    (10, 11): "Connection.StartOk",
    (10, 30): "Connection.Tune",
    (10, 31): "Connection.TuneOk",
    (10, 40): "Connection.Open",
    (10, 41): "Connection.OpenOk",
    (10, 50): "Connection.Close",
    (10, 51): "Connection.CloseOk",
    (10, 60): "Connection.Blocked",
    (10, 61): "Connection.Unblocked",
    (20, 10): "Channel.Open",
    (20, 11): "Channel.OpenOk",
    (20, 20): "Channel.Flow",
    (20, 21): "Channel.FlowOk",
    (20, 40): "Channel.Close",
    (20, 41): "Channel.CloseOk",
    (50, 10): "Queue.Declare",
    (50, 11): "Queue.DeclareOk",
    (50, 30): "Queue.Purge",
    (50, 31): "Queue.PurgeOk",
    (60, 10): "Basic.Qos",
    (60, 11): "Basic.QosOk",
    (60, 20): "Basic.Consume",
    (60, 21): "Basic.ConsumeOk",
    (60, 30): "Basic.Cancel",
    (60, 31): "Basic.CancelOk",
    (60, 40): "Basic.Publish",
    (60, 50): "Basic.Return",
    (60, 60): "Basic.Deliver",
    (60, 70): "Basic.Get",
    (60, 71): "Basic.GetOk",
    (60, 72): "Basic.GetEmpty",
    (60, 80): "Basic.Ack",
    (60, 90): "Basic.Reject",
    (60, 120): "Basic.Nack",
    (85, 10): "Confirm.Select",
    (85, 11): "Confirm.SelectOk",
}
METHOD_IDS = {name: ids for ids, name in METHOD_NAMES.items()}


class Frame(NamedTuple):
    """One frame; `payload` may have been cut short by whoever recorded it, `size` tells its true length."""

    type: int
    channel: int
    size: int
    payload: bytes

    @property
    def name(self) -> str:
        """`Basic.Ack`, `HEADER`, `BODY`, `HEARTBEAT`, or numbers for what this file does not know."""
        if self.type == FRAME_METHOD:
            ids = struct.unpack_from(">HH", self.payload)
            return METHOD_NAMES.get(ids, f"{ids[0]}.{ids[1]}")
        return {FRAME_HEADER: "HEADER", FRAME_BODY: "BODY", FRAME_HEARTBEAT: "HEARTBEAT"}.get(self.type, "?")

    @property
    def delivery_tag(self) -> int:
        """Of Basic.Ack, Basic.Nack and Basic.Reject."""
        return int(struct.unpack_from(">Q", self.payload, 4)[0])

    @property
    def multiple(self) -> bool:
        """Of Basic.Ack and Basic.Nack."""
        return bool(self.payload[12] & 1)


class FrameSplitter:
    """Splits one direction of a connection into frames, however its bytes arrive."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._header_seen = False

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yields the frames that `data` completes.  ValueError: the stream is not AMQP, or out of step."""
        self._buffer += data
        if not self._header_seen:
            if self._buffer[:4] == PROTOCOL_HEADER[:4]:
                if len(self._buffer) < 8:
                    return
                del self._buffer[:8]
            elif PROTOCOL_HEADER.startswith(bytes(self._buffer[:4])):
                return
            self._header_seen = True
        while len(self._buffer) >= 7:
            kind, channel, size = struct.unpack_from(">BHI", self._buffer)
            if kind not in (FRAME_METHOD, FRAME_HEADER, FRAME_BODY, FRAME_HEARTBEAT):
                raise ValueError(f"frame type {kind}")
            if len(self._buffer) < size + 8:
                return
            if self._buffer[size + 7] != FRAME_END:
                raise ValueError("no frame end where one has to be")
            payload = bytes(self._buffer[7 : size + 7])
            del self._buffer[: size + 8]
            yield Frame(kind, channel, size, payload)


def frame(kind: int, channel: int, payload: bytes, end: int = FRAME_END) -> bytes:
    """The bytes of a frame."""
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + bytes([end])


def method(channel: int, name: str, arguments: bytes = b"") -> bytes:
    """The bytes of a method frame; `arguments` are encoded already."""
    return frame(FRAME_METHOD, channel, struct.pack(">HH", *METHOD_IDS[name]) + arguments)


def short(text: str) -> bytes:
    """A short string."""
    data = text.encode()
    return bytes([len(data)]) + data


def long(data: bytes) -> bytes:
    """A long string, or a table whose entries are encoded already."""
    return struct.pack(">I", len(data)) + data


def content_header(
    channel: int, body_size: int, properties: bytes = b"\x00\x00", class_id: int = 60
) -> bytes:
    """The bytes of a content header frame; `properties` are flags and values."""
    return frame(FRAME_HEADER, channel, struct.pack(">HHQ", class_id, 0, body_size) + properties)


def body(channel: int, data: bytes) -> bytes:
    """The bytes of a body frame."""
    return frame(FRAME_BODY, channel, data)


def deliver(
    channel: int, consumer_tag: str, delivery_tag: int, exchange: str = "", routing_key: str = "q"
) -> bytes:
    """The bytes of a Basic.Deliver without its content."""
    arguments = (
        short(consumer_tag) + struct.pack(">QB", delivery_tag, 0) + short(exchange) + short(routing_key)
    )
    return method(channel, "Basic.Deliver", arguments)


def message(
    channel: int, consumer_tag: str, delivery_tag: int, data: bytes, properties: bytes = b"\x00\x00"
) -> bytes:
    """The bytes of a whole delivery."""
    content = body(channel, data) if data else b""
    return (
        deliver(channel, consumer_tag, delivery_tag)
        + content_header(channel, len(data), properties)
        + content
    )
