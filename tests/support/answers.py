"""What a broker says, for scripted servers: answers and closings with their arguments."""

from __future__ import annotations

import socket
import struct

from . import amqp
from .amqp import Frame
from .fakeserver import Peer

SHUTDOWN = "CONNECTION_FORCED - shutdown"  # what a broker says that an operator stops


def declared_queue(frame: Frame) -> str:
    """The name in a Queue.Declare."""
    return frame.payload[7 : 7 + frame.payload[6]].decode()


def declare_ok(frame: Frame, messages: int = 0) -> bytes:
    """The answer to a Queue.Declare: the name that it asks for."""
    arguments = amqp.short(declared_queue(frame)) + struct.pack(">II", messages, 0)
    return amqp.method(frame.channel, "Queue.DeclareOk", arguments)


def purge_ok(channel: int, messages: int = 0) -> bytes:
    """The answer to a Queue.Purge."""
    return amqp.method(channel, "Queue.PurgeOk", struct.pack(">I", messages))


def get_ok(channel: int, tag: int, body: bytes) -> bytes:
    """The answer to a Basic.Get that finds a message, with the message."""
    arguments = struct.pack(">QB", tag, 0) + amqp.short("") + amqp.short("q") + struct.pack(">I", 0)
    method = amqp.method(channel, "Basic.GetOk", arguments)
    return method + amqp.content_header(channel, len(body)) + amqp.body(channel, body)


def get_empty(channel: int) -> bytes:
    """The answer to a Basic.Get that finds none."""
    return amqp.method(channel, "Basic.GetEmpty", amqp.short(""))


def confirm(channel: int, tag: int, multiple: bool = False) -> bytes:
    """A Basic.Ack of the broker's."""
    return amqp.method(channel, "Basic.Ack", struct.pack(">QB", tag, multiple))


def returned(channel: int, key: str, body: bytes) -> bytes:
    """A message that the broker sends back, with its content."""
    arguments = struct.pack(">H", 312) + amqp.short("NO_ROUTE") + amqp.short("") + amqp.short(key)
    method = amqp.method(channel, "Basic.Return", arguments)
    return method + amqp.content_header(channel, len(body)) + amqp.body(channel, body)


def _closing(code: int, text: str) -> bytes:
    return struct.pack(">H", code) + amqp.short(text) + struct.pack(">HH", 0, 0)


def connection_close(code: int = 320, text: str = SHUTDOWN) -> bytes:
    """Connection.Close by the broker."""
    return amqp.method(0, "Connection.Close", _closing(code, text))


def channel_close(channel: int, code: int = 406, text: str = "PRECONDITION_FAILED - x") -> bytes:
    """Channel.Close by the broker."""
    return amqp.method(channel, "Channel.Close", _closing(code, text))


def given_back(frame: Frame) -> bool:
    """Whether a frame has the broker requeue a message: Basic.Reject or Basic.Nack."""
    place = {"Basic.Reject": (12, 1), "Basic.Nack": (12, 2)}.get(frame.name)
    return place is not None and bool(frame.payload[place[0]] & place[1])


def reply(peer: Peer, frame: Frame) -> None:
    """Answers any request that these tests make as a broker with empty queues would."""
    if frame.name == "Queue.Declare":
        peer.send(declare_ok(frame))
    elif frame.name == "Queue.Purge":
        peer.send(purge_ok(frame.channel))
    elif frame.name == "Basic.Get":
        peer.send(get_empty(frame.channel))
    elif frame.name == "Connection.Close":
        peer.send(amqp.method(0, "Connection.CloseOk"))
    else:
        peer.answer(frame)


def serve_to_end(peer: Peer) -> None:
    """Answers every request until the client has closed the connection."""
    try:
        while True:
            reply(peer, peer.receive())
    except (EOFError, OSError):
        pass


def silence(peer: Peer, seconds: float) -> list[str]:
    """The names of the frames that come within `seconds` although none should."""
    names: list[str] = []
    before = peer.sock.gettimeout()
    peer.sock.settimeout(seconds)
    try:
        while True:
            names.append(peer.receive().name)
    except socket.timeout:
        pass
    finally:
        peer.sock.settimeout(before)
    return names
