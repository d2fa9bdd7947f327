"""A hostile server against the whole engine: valid frames, mutated, cut at random places.

    python fuzz_engine.py SECONDS [SEED [FIRST]]

Whatever comes, a call returns or raises one of pika's exceptions; it never hangs and never crashes.  It is
meant for an extension built with sanitizers.  The same seed gives the same sessions; FIRST begins with a
later one.
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import random
import socket
import struct
import sys
import time
from typing import Any

from support import amqp
from support.fakeserver import FakeServer, Peer
from support.subject import exceptions, pika

HANG_SECONDS = 30
UNANSWERED = ("Basic.Get", "Queue.Declare", "Connection.Close")  # by the peer: see answers()
SIZES = (0, 1, 10, 4000, 16384, 131064, 131065, 300_000)


class CallbackError(Exception):
    """What a callback raises of its own."""


# ---- the server ----


def properties(rng: random.Random) -> bytes:
    """Flags and values: none, a content type, or headers with nested tables."""
    kind = rng.randrange(3)
    if kind == 0:
        return b"\x00\x00"
    if kind == 1:
        return b"\x80\x00" + amqp.short("text/plain")
    inner = amqp.short("n") + b"I" + struct.pack(">i", -5) + amqp.short("s") + b"S" + amqp.long(b"\xffx")
    array = b"A" + amqp.long(b"t\x01" + b"V" + b"T" + struct.pack(">Q", 1_700_000_000))
    table = amqp.short("f") + b"F" + amqp.long(inner) + amqp.short("a") + array
    return b"\x20\x00" + amqp.long(table)


def content(rng: random.Random, channel: int) -> list[bytes]:
    """Header and body frames."""
    size = rng.choice(SIZES)
    frames = [amqp.content_header(channel, size, properties(rng))]
    while size > 0:
        part = min(size, rng.choice((1000, 4096, 131064)) if size < 20_000 else 131064)
        frames.append(amqp.body(channel, b"b" * part))
        size -= part
    return frames


def unasked(rng: random.Random, channel: int, tag: str) -> list[bytes]:
    """Something that a broker may say by itself."""
    number = rng.randrange(1, 50)
    kind = rng.randrange(11)
    if kind < 4:
        return [amqp.deliver(channel, tag, number), *content(rng, channel)]
    if kind == 4:
        arguments = struct.pack(">H", 312) + amqp.short("NO_ROUTE") + amqp.short("") + amqp.short("k")
        return [amqp.method(channel, "Basic.Return", arguments), *content(rng, channel)]
    if kind == 5:
        return [amqp.method(channel, "Basic.Ack", struct.pack(">QB", number, rng.randrange(2)))]
    if kind == 6:
        return [amqp.method(channel, "Basic.Nack", struct.pack(">QB", number, 0))]
    if kind == 7:
        return [
            amqp.frame(amqp.FRAME_METHOD, channel, struct.pack(">HH", 60, 30) + amqp.short(tag) + b"\x01")
        ]
    if kind == 8:
        return [amqp.method(0, "Connection.Blocked", amqp.short("low on memory"))]
    if kind == 9:
        return [amqp.HEARTBEAT]
    arguments = struct.pack(">H", 404) + amqp.short("NOT_FOUND") + struct.pack(">HH", 60, 40)
    return [amqp.method(*rng.choice(((channel, "Channel.Close"), (0, "Connection.Close"))), arguments)]


def answers(rng: random.Random, frame: amqp.Frame) -> list[bytes]:
    """What answers a request; GetOk carries a message."""
    if frame.name == "Basic.Get" and rng.random() < 0.7:
        arguments = struct.pack(">QB", 1, 0) + amqp.short("") + amqp.short("q") + struct.pack(">I", 3)
        return [amqp.method(frame.channel, "Basic.GetOk", arguments), *content(rng, frame.channel)]
    if frame.name == "Basic.Get":
        return [amqp.method(frame.channel, "Basic.GetEmpty", amqp.short(""))]
    if frame.name == "Queue.Declare":
        arguments = amqp.short("q") + struct.pack(">II", 0, 0)
        return [amqp.method(frame.channel, "Queue.DeclareOk", arguments)]
    if frame.name == "Connection.Close":
        return [amqp.method(0, "Connection.CloseOk")]
    return []


def mutate(rng: random.Random, frames: list[bytes]) -> bytes:
    """The frames as bytes, mostly with something wrong."""
    frames = list(frames)
    if frames and rng.random() < 0.15:
        at = rng.randrange(len(frames))
        what = rng.randrange(3)
        if what == 0:
            del frames[at]
        elif what == 1:
            frames.insert(at, frames[at])
        else:
            frames.append(frames.pop(at))
    data = bytearray(b"".join(frames))
    if data and rng.random() < 0.2:
        what = rng.randrange(4)
        # Heads and methods stand at the beginning: half of the hits go there.
        at = rng.randrange(min(len(data), 40)) if rng.random() < 0.5 else rng.randrange(len(data))
        if what == 0:
            data[at] = rng.choice((0, 1, 0x7F, 0x80, 0xCE, 0xFF, rng.randrange(256)))
        elif what == 1:
            del data[at : at + rng.randrange(1, 9)]
        elif what == 2:
            data[at:at] = rng.randbytes(rng.randrange(1, 9))
        else:
            data[at : at + 8] = struct.pack(
                ">Q", rng.choice((0, 1 << 31, 1 << 40, (1 << 63) - 1, (1 << 64) - 1))
            )
    return bytes(data)


def dribble(rng: random.Random, peer: Peer, data: bytes) -> None:
    """Sends bytes in pieces whose ends fall anywhere."""
    at = 0
    while at < len(data):
        size = rng.choice((1, 3, 7, 8, 50, 5000, 70_000, len(data)))
        peer.send(data[at : at + size])
        at += size


def serve(rng: random.Random, peer: Peer) -> None:
    """One session; it hangs up when it is through, or nothing comes for a while."""
    peer.sock.settimeout(0.2)
    with contextlib.suppress(socket.timeout):
        talk(rng, peer)


def talk(rng: random.Random, peer: Peer) -> None:
    """The handshake mostly as it should be, then what comes to mind."""
    if rng.random() < 0.1:
        start = b"\x00\x09" + amqp.long(b"") + amqp.long(b"PLAIN") + amqp.long(b"en_US")
        dribble(rng, peer, mutate(rng, [amqp.method(0, "Connection.Start", start)] * 2))
        return
    peer.handshake(frame_max=rng.choice((4096, 131072)))
    for _ in range(rng.randrange(1, 30)):
        frame = peer.receive()
        if rng.random() < 0.95 and frame.name not in UNANSWERED:
            peer.answer(frame)
        out = answers(rng, frame)
        while rng.random() < 0.6:
            out += unasked(rng, frame.channel or 1, peer.consumer_tag or "t")
        if frame.channel and rng.random() < 0.3:
            # Frames of two channels between each other.
            other = unasked(rng, 2, "t")
            out = [f for pair in zip(out, other) for f in pair] + out[len(other) :]
        dribble(rng, peer, mutate(rng, out))


# ---- the client ----


def make_callback(rng: random.Random) -> Any:
    """A consumer's callback that does what rule 11 allows."""

    def on_message(channel: Any, method: Any, props: Any, body: bytes) -> None:
        repr((method, props, props.headers, len(body)))
        what = rng.randrange(12)
        if what < 6:
            channel.basic_ack(method.delivery_tag)
        elif what == 6:
            raise CallbackError
        elif what == 7:
            channel.queue_declare("q")
        elif what == 8:
            channel.basic_publish("", "q", b"x" * rng.choice((10, 100_000)))
        elif what == 9:
            channel.connection.process_data_events()
        elif what == 10:
            channel.stop_consuming()
        elif rng.random() < 0.3:
            rng.choice((channel, channel.connection)).close()

    return on_message


def use_channel(rng: random.Random, connection: Any, channel: Any) -> None:
    """One call."""
    what = rng.randrange(9)
    if what == 0:
        channel.basic_consume("q", make_callback(rng), auto_ack=rng.random() < 0.3)
    elif what == 1:
        channel.basic_get("q")
    elif what == 2:
        channel.queue_declare("q", arguments={"a": 1})
    elif what == 3:
        channel.basic_publish("", "k", b"x" * rng.choice(SIZES), mandatory=True)
    elif what == 4:
        channel.confirm_delivery()
    elif what == 5:
        for _, message in zip(range(3), channel.consume("q", inactivity_timeout=0.01)):
            repr(message)
        channel.cancel()
    elif what == 6 and channel.consumer_tags:
        channel.basic_cancel(rng.choice(channel.consumer_tags))
    else:
        connection.process_data_events(0.01)


def session(rng: random.Random, server: FakeServer) -> None:
    parameters = pika.ConnectionParameters(
        server.host, server.port, stack_timeout=3, socket_timeout=3, blocked_connection_timeout=1
    )
    connection = None
    try:
        connection = pika.BlockingConnection(parameters)
        channel = connection.channel()
        channel.add_on_return_callback(lambda *args: None)
        channel.add_on_cancel_callback(lambda *args: None)
        connection.channel()
        for _ in range(rng.randrange(1, 25)):
            with contextlib.suppress(exceptions.ChannelError, CallbackError):
                if channel.is_closed:
                    channel = connection.channel()
                use_channel(rng, connection, channel)
        connection.close()
    except (exceptions.AMQPError, CallbackError):
        pass
    if connection is not None and connection.is_open:
        with contextlib.suppress(exceptions.AMQPError):
            connection.close()


def main(seconds: float, seed: int, first: int) -> None:
    logging.disable()
    number = first
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
        server_rng = random.Random(f"{seed} {number} server")
        try:
            with FakeServer(lambda peer, rng=server_rng: serve(rng, peer)) as server:
                session(random.Random(f"{seed} {number} client"), server)
        except BaseException:
            print(f"session {number} of seed {seed}", file=sys.stderr)
            raise
        number += 1
    faulthandler.cancel_dump_traceback_later()
    print(f"{number - first} sessions")


if __name__ == "__main__":
    numbers = [*map(int, sys.argv[2:]), 1, 0]
    main(float(sys.argv[1]), *(numbers[:2] if len(sys.argv) > 2 else (1, 0)))
