"""Frames: what stands around methods, content headers and bodies on the wire.

The engine splits and builds frames in C; these classes are what a program sees (`frame.Method` is the answer
of most calls) and what tools use to take bytes apart.
"""

from __future__ import annotations

import logging
import struct
from typing import Generic, TypeVar

from cpika import amqp_object, exceptions, spec

LOGGER = logging.getLogger("pika.frame")

_MethodT = TypeVar("_MethodT", bound=amqp_object.Method)


class Frame(amqp_object.AMQPObject):
    """What all frames have: a type and a channel number."""

    NAME = "Frame"

    def __init__(self, frame_type: int, channel_number: int) -> None:
        self.frame_type = frame_type
        self.channel_number = channel_number

    def _marshal(self, pieces: list[bytes]) -> bytes:
        payload = b"".join(pieces)
        head = struct.pack(">BHI", self.frame_type, self.channel_number, len(payload))
        return head + payload + bytes((spec.FRAME_END,))

    def marshal(self) -> bytes:
        """Return the bytes of the frame."""
        raise NotImplementedError


class Method(Frame, Generic[_MethodT]):
    """A method frame; `method` is the object of `cpika.spec`."""

    NAME = "METHOD"

    def __init__(self, channel_number: int, method: _MethodT) -> None:
        self.frame_type = spec.FRAME_METHOD  # as Frame does, for every answer and confirm
        self.channel_number = channel_number
        self.method = method

    def marshal(self) -> bytes:
        """Return the bytes of the frame."""
        return self._marshal([struct.pack(">I", self.method.INDEX), *self.method.encode()])


class Header(Frame):
    """A content header frame: size of the body in bytes, properties of the message."""

    NAME = "Header"

    def __init__(self, channel_number: int, body_size: int, props: spec.BasicProperties) -> None:
        Frame.__init__(self, spec.FRAME_HEADER, channel_number)
        self.body_size = body_size
        self.properties = props

    def marshal(self) -> bytes:
        """Return the bytes of the frame."""
        return self._marshal(
            [struct.pack(">HxxQ", self.properties.INDEX, self.body_size), *self.properties.encode()]
        )


class Body(Frame):
    """A content body frame: a part of a message's body."""

    NAME = "Body"

    def __init__(self, channel_number: int, fragment: bytes) -> None:
        Frame.__init__(self, spec.FRAME_BODY, channel_number)
        self.fragment = fragment

    def marshal(self) -> bytes:
        """Return the bytes of the frame."""
        return self._marshal([self.fragment])


class Heartbeat(Frame):
    """A heartbeat frame; its channel is 0."""

    NAME = "Heartbeat"

    def __init__(self) -> None:
        Frame.__init__(self, spec.FRAME_HEARTBEAT, 0)

    def marshal(self) -> bytes:
        """Return the bytes of the frame."""
        return self._marshal([])


class ProtocolHeader(amqp_object.AMQPObject):
    """The greeting of a connection: the protocol's name and version."""

    NAME = "ProtocolHeader"

    def __init__(
        self, major: int | None = None, minor: int | None = None, revision: int | None = None
    ) -> None:
        self.frame_type = -1
        self.major = major or spec.PROTOCOL_VERSION[0]
        self.minor = minor or spec.PROTOCOL_VERSION[1]
        self.revision = revision or spec.PROTOCOL_VERSION[2]

    def marshal(self) -> bytes:
        """Return the eight bytes of the header."""
        return b"AMQP" + struct.pack("BBBB", 0, self.major, self.minor, self.revision)


def _decode_protocol_header(data_in: bytes) -> tuple[int, ProtocolHeader | None]:
    if len(data_in) < 8:
        return 0, None
    return 8, ProtocolHeader(*data_in[5:8])


def _decode_method(channel_number: int, payload: bytes) -> Method[amqp_object.Method]:
    (method_id,) = struct.unpack_from(">I", payload)
    return Method(channel_number, spec.methods[method_id]().decode(payload, 4))


def _decode_header(channel_number: int, payload: bytes) -> Header:
    class_id, body_size = struct.unpack_from(">HxxQ", payload)
    return Header(channel_number, body_size, spec.props[class_id]().decode(payload, 12))


def decode_frame(data_in: bytes) -> tuple[int, Frame | ProtocolHeader | None]:
    """Take the first frame off `data_in`.

    Returns the number of bytes it took and the frame, or `(0, None)` while it is not complete.

    :raises InvalidFrameError: the frame's type or its end is none that AMQP knows
    """
    if data_in[0:4] == b"AMQP":
        return _decode_protocol_header(data_in)
    if len(data_in) < spec.FRAME_HEADER_SIZE:
        return 0, None
    frame_type, channel_number, size = struct.unpack_from(">BHL", data_in)
    frame_end = spec.FRAME_HEADER_SIZE + size + spec.FRAME_END_SIZE
    if frame_end > len(data_in):
        return 0, None
    if data_in[frame_end - 1] != spec.FRAME_END:
        raise exceptions.InvalidFrameError("Invalid FRAME_END marker")
    payload = data_in[spec.FRAME_HEADER_SIZE : frame_end - 1]
    if frame_type == spec.FRAME_METHOD:
        return frame_end, _decode_method(channel_number, payload)
    if frame_type == spec.FRAME_HEADER:
        return frame_end, _decode_header(channel_number, payload)
    if frame_type == spec.FRAME_BODY:
        return frame_end, Body(channel_number, payload)
    if frame_type == spec.FRAME_HEARTBEAT:
        return frame_end, Heartbeat()
    raise exceptions.InvalidFrameError(f"Unknown frame type: {frame_type}")
