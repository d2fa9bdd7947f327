"""Hostile inputs: before and amid the handshake.  The client connects, and tries the next host after each."""

from __future__ import annotations

import random
import struct

from support import amqp
from support.amqp import short

from . import say
from .hostile_input import EITHER, ENDED, Input
from .peers import CountingPeer, Script
from .say import after_open, after_start_ok, instead_of_start, raw, start, tune

NOISE = random.Random(60).randbytes(200_000)
GROUP = "handshake"


def echo_start_ok(peer: CountingPeer) -> None:
    """StartOk, with the password in it, comes back."""
    peer.send(start())
    frame = peer.expect("Connection.StartOk")
    peer.send(amqp.frame(frame.type, frame.channel, frame.payload))
    say.drain(peer)


def echo_all(peer: CountingPeer) -> None:
    """Every byte comes back."""
    while True:
        data = peer.sock.recv(1 << 16)
        if not data:
            return
        peer.send(data)


def tuned(data: bytes) -> Script:
    """Tunes as told, then goes on as a broker would."""

    def script(peer: CountingPeer) -> None:
        peer.send(start())
        peer.expect("Connection.StartOk")
        peer.send(data)
        peer.expect("Connection.TuneOk")
        peer.expect("Connection.Open")
        peer.send(say.OPEN_OK)
        peer.serve_to_end()

    return script


def loris(peer: CountingPeer) -> None:
    """Start, a byte a second: the client gives up after its stack_timeout of 3."""
    peer.sock.recv(8)
    say.dribble(peer, start()[:9], 1.0)
    say.drain(peer)


BEFORE_START = {
    "another protocol header": amqp.PROTOCOL_HEADER,
    "AMQP 1.0": b"AMQP\x00\x01\x00\x00",
    "HTTP": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "zeros": bytes(1000),
    "noise": NOISE,
    "a lone byte": b"\x01",
    "a heartbeat": amqp.HEARTBEAT * 3,
    "OpenOk": say.OPEN_OK,
    "Close": say.close(),
    "a delivery": amqp.message(1, "tag", 1, b"strange"),
    "Start without arguments": raw(0, 10, 10),
    "Start on channel 1": amqp.frame(1, 1, start()[7:-1]),
    "Start of version 0.8": start(version=b"\x00\x08"),
    "Start without mechanisms": start(mechanisms=b""),
    "Start of an unknown mechanism": start(mechanisms=b"GSSAPI"),
    "mechanisms that are not UTF-8": start(mechanisms=b"\xff\xfe"),
    "Start with 18,000 arrays in each other": start(say.nested(18_000, b"A")[6:]),
    "Start with a table cut short": start(short("k") + b"l\x00"),
    "Start with a string of 2 GB": start(short("k") + b"S" + struct.pack(">I", 1 << 31)),
    "Start with an unknown kind": start(short("k") + b"?\x01"),
    "Start of 1 MB": start(short("k") + b"S" + amqp.long(bytes(1 << 20))),
    "a frame of 4 GB": struct.pack(">BHI", 1, 0, 0xFFFFFFF0) + bytes(64),
    "a frame without its end": start()[:-1] + b"\x00",
    "2 MB of Start": start() * (2 << 20 >> 6),
    "2 MB of heartbeats": amqp.HEARTBEAT * (1 << 18),
    "2 MB of Close": say.close() * 50_000,
    "nothing": b"",
}
AFTER_START_OK = {
    "Secure": raw(0, 10, 20, amqp.long(b"challenge")),
    "2 MB of Secure": raw(0, 10, 20, amqp.long(b"challenge")) * 70_000,
    "Start again": start(),
    "OpenOk without Tune": say.OPEN_OK,
    "TuneOk for StartOk": raw(0, 10, 31, struct.pack(">HIH", 0, 131072, 0)),
    "Close 403": say.close(403, b"ACCESS_REFUSED - no"),
    "Tune on channel 1": amqp.frame(1, 1, tune()[7:-1]),
    "Tune cut short": raw(0, 10, 30, b"\x00"),
    "a content header": amqp.content_header(0, 4),
    "noise": NOISE,
}
TUNES = {  # what the client may take, and has to live with when it does
    "frame_max 0": tune(frame_max=0),
    "frame_max 1": tune(frame_max=1),
    "frame_max 8": tune(frame_max=8),
    "frame_max 4095": tune(frame_max=4095),
    "frame_max 2**32-1": tune(frame_max=0xFFFFFFFF),
    "channel_max 0": tune(channel_max=0),
    "channel_max 65535": tune(channel_max=65535),
    "a heartbeat of 65535": tune(heartbeat=65535),
    "Tune twice": tune() * 2,
}
AFTER_OPEN = {
    "Close 530": say.close(530, b"NOT_ALLOWED - vhost"),
    "Tune again": tune(),
    "a delivery before OpenOk": amqp.message(1, "tag", 1, b"strange"),
    "OpenOk on channel 1": amqp.frame(1, 1, say.OPEN_OK[7:-1]),
    "CloseOk": raw(0, 10, 51),
    "2 MB of Blocked": raw(0, 10, 60, short("no")) * 100_000,
    "noise": NOISE,
}


def silent(peer: CountingPeer) -> None:
    """Accepts, and no more."""
    peer.sock.recv(8)
    say.drain(peer)


def inputs() -> list[Input]:
    """All of this file."""
    listed = []
    steps = (
        ("instead of Start", instead_of_start, BEFORE_START),
        ("after StartOk", after_start_ok, AFTER_START_OK),
        ("after Open", after_open, AFTER_OPEN),
    )
    for when, make, table in steps:
        for name, data in table.items():
            one = Input(f"{name} {when}", GROUP, make(data), ENDED, "connect", told=False)
            # pika's exception for it is no AMQPConnectionError.
            listed.append(one._replace(family="AMQPError") if "version" in name else one)
        listed.append(Input(f"an end {when}", GROUP, make(hang_up=True), ENDED, "connect", told=False))
    listed += [
        Input(f"Tune with {name}", GROUP, tuned(data), EITHER, "connect") for name, data in TUNES.items()
    ]
    listed += [
        Input("StartOk echoed", GROUP, echo_start_ok, ENDED, "connect"),
        Input("everything echoed", GROUP, echo_all, ENDED, "connect"),
        Input("Start, a byte a second", GROUP, loris, ENDED, "connect"),
        Input("plain text for TLS", GROUP, silent, ENDED, "connect", raw=True),
        Input("AMQP for TLS", GROUP, instead_of_start(start()), ENDED, "connect", raw=True),
        Input("noise for TLS", GROUP, instead_of_start(NOISE), ENDED, "connect", raw=True),
        Input("an end for TLS", GROUP, instead_of_start(hang_up=True), ENDED, "connect", raw=True),
    ]
    return listed
