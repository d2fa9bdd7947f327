"""Hostile inputs: malformed frames, wrong order, wrong channels, sizes that are announced, tables."""

from __future__ import annotations

import random
import struct

from support import amqp
from support.amqp import body, content_header, deliver, frame, message, short

from . import say
from .hostile_input import EITHER, LIVES, REFUSED, Input
from .say import TAG, after_consume, delivery, headers, raw

BODY = amqp.FRAME_BODY
HEADER = amqp.FRAME_HEADER
METHOD = amqp.FRAME_METHOD
NOISE = random.Random(6).randbytes(1 << 20)
CONSUME_OK = raw(1, 60, 21, short(TAG))

FRAMING: dict[str, tuple[bytes, frozenset[int]]] = {
    "a frame without its end": (frame(METHOD, 1, deliver(1, TAG, 1)[7:-1], end=0), frozenset((501,))),
    "a frame one byte too long": (frame(BODY, 1, bytes(say.FRAME_MAX - 7)), frozenset((501,))),
    "a frame of 1 MB": (frame(BODY, 1, bytes(1 << 20)), frozenset((501,))),
    "frame type 0": (bytes(64), frozenset((501,))),
    "frame type 4": (frame(4, 1, b"xxxx"), frozenset((501,))),
    "frame type 255": (frame(255, 1, b"xxxx"), frozenset((501,))),
    "a heartbeat with a payload": (frame(8, 0, b"x" * 100), say.ANY_CODE),
    "a heartbeat on channel 1": (frame(8, 1, b""), say.ANY_CODE),
    "an empty method frame": (frame(METHOD, 1, b""), frozenset((501, 502))),
    "a method frame of 2 bytes": (frame(METHOD, 1, b"\x00\x3c"), frozenset((501, 502))),
    "a method of no class": (raw(1, 9999, 10), frozenset((503, 540))),
    "a method of no number": (raw(1, 60, 999), frozenset((503, 540))),
    "a method without arguments": (raw(1, 60, 60), frozenset((501, 502))),
    "arguments cut short": (raw(1, 60, 60, short(TAG) + b"\x00\x00"), frozenset((501, 502))),
    "a short string over the end": (raw(1, 60, 60, b"\xff" + b"t" * 20), frozenset((501, 502))),
    "noise": (NOISE, say.ANY_CODE),
    "another protocol header": (amqp.PROTOCOL_HEADER, say.ANY_CODE),
    "an answer of HTTP": (b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", say.ANY_CODE),
    "a TLS alert": (b"\x15\x03\x03\x00\x02\x02\x28" * 20, say.ANY_CODE),
}

ORDER: dict[str, tuple[bytes, frozenset[int]]] = {
    "a header without a method": (content_header(1, 4), frozenset((505,))),
    "a body without a method": (body(1, b"body"), frozenset((505,))),
    "a body without a header": (deliver(1, TAG, 1) + body(1, b"body"), frozenset((505,))),
    "a method amid content": (deliver(1, TAG, 1) * 2, frozenset((505,))),
    "a method amid a body": (
        deliver(1, TAG, 1) + content_header(1, 8) + body(1, b"body") + CONSUME_OK,
        frozenset((505,)),
    ),
    "two headers": (deliver(1, TAG, 1) + content_header(1, 4) * 2, frozenset((505,))),
    "a header of another class": (deliver(1, TAG, 1) + content_header(1, 4, class_id=50), say.ANY_CODE),
    "a body too long": (
        deliver(1, TAG, 1) + content_header(1, 4) + body(1, b"too long"),
        frozenset((501, 505)),
    ),
    "a body after an empty one": (
        deliver(1, TAG, 1) + content_header(1, 0) + body(1, b"more"),
        frozenset((505,)),
    ),
    "a header of 4 bytes": (
        deliver(1, TAG, 1) + frame(HEADER, 1, b"\x00\x3c\x00\x00"),
        frozenset((501, 502)),
    ),
    "Start a second time": (say.start(), say.ANY_CODE),
    "Tune a second time": (say.tune(), say.ANY_CODE),
    "our own Publish": (raw(1, 60, 40, b"\x00\x00" + short("") + short("q") + b"\x00"), say.ANY_CODE),
    "our own Declare": (raw(1, 50, 10, b"\x00\x00" + short("q") + b"\x00" + amqp.long(b"")), say.ANY_CODE),
    "our own StartOk": (
        raw(0, 10, 11, amqp.long(b"") + short("PLAIN") + amqp.long(b"\0guest\0s0ak-secret") + short("en")),
        say.ANY_CODE,
    ),
}

CHANNELS: dict[str, tuple[bytes, frozenset[int]]] = {
    "a delivery on channel 0": (message(0, TAG, 1, b"strange"), frozenset((503, 504, 505))),
    "a delivery on channel 9": (message(9, TAG, 1, b"strange"), frozenset((504,))),
    "a delivery on channel 65535": (message(65535, TAG, 1, b"strange"), frozenset((504,))),
    "a body on channel 0": (body(0, b"strange"), frozenset((501, 503, 504, 505))),
    "a header on channel 9": (content_header(9, 4), frozenset((504, 505))),
    "Connection.Close on channel 1": (
        raw(1, 10, 50, struct.pack(">H", 320) + short("") + bytes(4)),
        frozenset((503, 504)),
    ),
    "Connection.Blocked on channel 1": (raw(1, 10, 60, short("no")), frozenset((503, 504))),
    "Channel.Close on channel 0": (say.close_channel(0), frozenset((503, 504))),
    "Channel.Close on channel 9": (say.close_channel(9), frozenset((504,))),
    "Channel.Flow on channel 9": (say.flow(True, 9), frozenset((504,))),
    "an ack on channel 9": (say.acked(1, channel=9), frozenset((504,))),
    "OpenOk on channel 9": (raw(9, 20, 11, amqp.long(b"")), frozenset((504,))),
    "ConsumeOk on channel 9": (raw(9, 60, 21, short(TAG)), frozenset((504,))),
}

SIZES: dict[str, tuple[bytes, frozenset[int]]] = {
    "a frame of 4 GB": (struct.pack(">BHI", BODY, 1, 0xFFFFFFFF) + bytes(64), frozenset((501,))),
    "a frame of 2 GB": (struct.pack(">BHI", METHOD, 1, 0x80000000) + bytes(64), frozenset((501,))),
    "a frame of 4 GB on channel 0": (
        struct.pack(">BHI", METHOD, 0, 0xFFFFFFF8) + bytes(64),
        frozenset((501,)),
    ),
    "headers of 4 GB": (delivery(struct.pack(">HI", 1 << 13, 0xFFFFFFFF)), frozenset((501, 502))),
    "a header value of 2 GB": (
        delivery(headers(short("k") + b"S" + struct.pack(">I", 0x80000000))),
        frozenset((501, 502)),
    ),
    "an array of 4 GB": (
        delivery(headers(short("k") + b"A" + struct.pack(">I", 0xFFFFFFFF))),
        frozenset((501, 502)),
    ),
}

LENIENT = {  # against the specification, and no harm is done by who goes on
    "a heartbeat with a payload",
    "a heartbeat on channel 1",
    "Start a second time",
    "Tune a second time",
    "our own Publish",
    "our own Declare",
    "our own StartOk",
    "Connection.Blocked on channel 1",
    "Channel.Close on channel 0",
}

ANNOUNCED = {  # bodies of which little or nothing comes: the client has to wait, in little room
    "a body of 1 TB": 1 << 40,
    "a body of 2**63": 1 << 63,
    "a body of 2**64-1": (1 << 64) - 1,
    "a body of 4 GB": 1 << 32,
    "a body of 1 GB": 1 << 30,
}

TABLES: dict[str, tuple[bytes, frozenset[int]]] = {
    "properties cut short": (delivery(struct.pack(">H", 1 << 15)), frozenset((501, 502))),
    "a property over the end": (delivery(struct.pack(">H", 1 << 15) + b"\xfftext"), frozenset((501, 502))),
    "property flags without end": (delivery(b"\xff\xff" * 1000), frozenset((501, 502))),
    "all flags and nothing": (delivery(b"\xff\xfc"), frozenset((501, 502))),
    "a table cut in a key": (delivery(headers(b"\x20key")), frozenset((501, 502))),
    "a table cut in a value": (delivery(headers(short("k") + b"l\x00\x00")), frozenset((501, 502))),
    "a key and nothing": (delivery(headers(short("k"))), frozenset((501, 502))),
    "an array over the table's end": (
        delivery(headers(short("k") + b"A" + struct.pack(">I", 100) + b"t\x01")),
        frozenset((501, 502)),
    ),
    "a table over the table's end": (
        delivery(headers(short("k") + b"F" + struct.pack(">I", 100) + b"\x01at\x01")),
        frozenset((501, 502)),
    ),
    "an unknown kind of value": (delivery(headers(short("k") + b"?\x01")), frozenset((501, 502))),
    "18,000 arrays in each other": (delivery(say.nested(18_000, b"A")), frozenset((501, 502))),
    "16,000 tables in each other": (delivery(say.nested(16_000, b"\x01aF")), frozenset((501, 502))),
}

ODD_VALUES = {  # strange and not forbidden: the client lives, or refuses
    "a decimal with 255 places": short("k") + b"D\xff" + struct.pack(">i", -5),
    "a timestamp of 2**64-1": short("k") + b"T" + struct.pack(">Q", (1 << 64) - 1),
    "a float that is none": short("k") + b"d" + struct.pack(">d", float("nan")),
    "a key that is not UTF-8": b"\x02\xff\xfet\x01",
    "an empty key": b"\x00t\x01",
    "a key 10,000 times": (short("k") + b"t\x01") * 10_000,
    "10,000 keys": b"".join(short(f"k{n}") + b"V" for n in range(10_000)),
    "a string that is not UTF-8": short("k") + b"S" + amqp.long(b"\xff\xfe\x00"),
    "an array of 60,000 nothings": short("k") + b"A" + amqp.long(b"V" * 60_000),
    "99 levels": say.nested(95, b"A")[6:],
}

ODD_DELIVERIES = {
    "delivery tag 0": message(1, TAG, 0, b"odd"),
    "delivery tag 2**64-1": message(1, TAG, (1 << 64) - 1, b"odd"),
    "a delivery tag twice": message(1, TAG, 5, b"odd") * 2,
    "an empty body frame": deliver(1, TAG, 1) + content_header(1, 4) + body(1, b"") * 3 + body(1, b"body"),
    "a body of nothing": deliver(1, TAG, 1) + content_header(1, 0),
    "a tag that is not UTF-8": raw(1, 60, 60, b"\x02\xff\xfe" + struct.pack(">QB", 1, 0) + short("") * 2)
    + content_header(1, 4)
    + body(1, b"body"),
    "an exchange that is not UTF-8": raw(
        1, 60, 60, short(TAG) + struct.pack(">QB", 1, 0) + b"\x02\xff\xfe" + short("q")
    )
    + content_header(1, 4)
    + body(1, b"body"),
    "arguments too many": frame(METHOD, 1, deliver(1, TAG, 1)[7:-1] + b"more")
    + content_header(1, 4)
    + body(1, b"body"),
    "a weight that is not 0": deliver(1, TAG, 1)
    + frame(HEADER, 1, struct.pack(">HHQH", 60, 7, 4, 0))
    + body(1, b"body"),
}


def refused(group: str, table: dict[str, tuple[bytes, frozenset[int]]]) -> list[Input]:
    """Violations in the middle of deliveries."""
    return [
        Input(name, group, after_consume(data), REFUSED, codes=codes) for name, (data, codes) in table.items()
    ]


def inputs() -> list[Input]:
    """All of this file."""
    listed = [
        *refused("malformed frames", FRAMING),
        *refused("wrong order", ORDER),
        *refused("wrong channels", CHANNELS),
        *refused("sizes announced", SIZES),
        *refused("tables", TABLES),
    ]
    listed = [one._replace(wanted=EITHER) if one.name in LENIENT else one for one in listed]
    listed = [one._replace(told=one.name != "another protocol header") for one in listed]
    for name, size in ANNOUNCED.items():
        part = deliver(1, TAG, 1) + content_header(1, size) + body(1, bytes(1000))
        listed.append(
            Input(name, "sizes announced", after_consume(part, last=False), EITHER, seconds=0.5, strict=True)
        )
        answer = say.got(bytes(1000), announced=size)
        listed.append(
            Input(
                f"{name}, by Get",
                "sizes announced",
                say.answering("Basic.Get", answer, hang_up=True),
                REFUSED,
                play="get",
                told=False,
                strict=True,
            )
        )
    for name, entries in ODD_VALUES.items():
        listed.append(Input(name, "tables", after_consume(delivery(headers(entries))), EITHER))
    for name, data in ODD_DELIVERIES.items():
        listed.append(Input(name, "odd deliveries", after_consume(data), EITHER))
    listed.append(Input("good messages only", "odd deliveries", after_consume(), LIVES))
    return listed
