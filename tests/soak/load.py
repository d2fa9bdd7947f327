"""Part 7: many of everything, and large."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable
from typing import Any

from support.subject import exceptions, pika

from . import memory
from .case import Case, Part, Room
from .stages import own_node

MEGABYTE = 1 << 20
LARGE = 64 * MEGABYTE
QUEUE = "soak-load"


def connect(room: Room, **options: Any) -> Any:
    parameters = pika.URLParameters(room.url)
    for name, value in options.items():
        setattr(parameters, name, value)
    return room.ledger.call("connect", 20, pika.BlockingConnection, parameters)


def dispatch_until(room: Room, connection: Any, done: Callable[[], bool], seconds: float) -> None:
    """Dispatches; a fault when it is not done in time."""
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            room.ledger.fault("wrong", f"not done after {seconds:g} s")
            return
        connection.process_data_events(time_limit=1)


def publish_all(channel: Any, messages: Any) -> None:
    """In bulk where the library can."""
    if hasattr(channel, "publish_many"):
        channel.publish_many(messages)
    else:
        for exchange, key, body in messages:
            channel.basic_publish(exchange, key, body)


def consumers(room: Room) -> None:
    """500 consumers of as many queues on one channel: each message to its own, in order."""
    room.ledger.unit = "messages"
    count, each = room.count(500, 10), 40
    with connect(room) as connection:
        channel = connection.channel()
        received: dict[int, list[bytes]] = {number: [] for number in range(count)}
        queues = []
        for number in range(count):
            queue = channel.queue_declare("", exclusive=True).method.queue
            queues.append(queue)

            def on_message(ch: Any, method: Any, properties: Any, body: bytes, number: int = number) -> None:
                received[number].append(body)
                ch.basic_ack(method.delivery_tag)

            channel.basic_consume(queue, on_message)
        if len(channel.consumer_tags) != count:
            room.ledger.fault("wrong", f"{len(channel.consumer_tags)} consumer tags")
        publish_all(channel, (("", queues[n], b"%d %d" % (n, m)) for m in range(each) for n in range(count)))
        total = count * each
        dispatch_until(room, connection, lambda: sum(map(len, received.values())) >= total, 60)
        for number, bodies in received.items():
            wanted = [b"%d %d" % (number, m) for m in range(each)]
            if bodies != wanted:
                room.ledger.fault("lost", f"consumer {number}: {len(bodies)} of {each}, or out of order")
            room.ledger.done += len(bodies)
        room.ledger.call("cancel one of many", 5, channel.basic_cancel, channel.consumer_tags[0])


def channels(room: Room) -> None:
    """All 2,047 channels; one more is refused; closed in any order, they can be opened again."""
    room.ledger.unit = "channels"
    rng = random.Random(2047)
    with connect(room) as connection:
        opened = []
        for _ in range(2047):
            opened.append(connection.channel())
        if sorted(int(channel) for channel in opened) != list(range(1, 2048)):
            room.ledger.fault("wrong", "the numbers of the channels are not 1 to 2047")
        try:
            connection.channel()
            room.ledger.fault("wrong", "channel 2048 was opened")
        except exceptions.NoFreeChannels:
            pass
        queue = opened[0].queue_declare("", exclusive=True).method.queue
        for channel in opened:
            channel.basic_publish("", queue, b"%d" % int(channel))
        got = set()
        for channel in opened:
            _, _, body = room.ledger.call("basic_get", 10, channel.basic_get, queue, True)
            got.add(body)
        if len(got) != 2047 or None in got:
            room.ledger.fault("lost", f"{len(got)} of 2047 messages came by as many channels")
        rng.shuffle(opened)
        for channel in opened[:1000]:
            room.ledger.call("close of a channel", 10, channel.close)
        again = [connection.channel() for _ in range(1000)]
        room.ledger.done = len(opened) + len(again)
        room.ledger.call("a call among 2,047 channels", 5, again[-1].queue_declare, queue, True)


def connections(room: Room) -> None:
    """300 connections at a time, with heartbeats of a second while the program does nothing."""
    room.ledger.unit = "connections"
    count = room.count(300, 5)
    opened = [connect(room, heartbeat=1) for _ in range(count)]
    channels = [connection.channel() for connection in opened]
    queue = channels[0].queue_declare("", exclusive=False, auto_delete=True).method.queue
    for channel in channels:
        channel.confirm_delivery()
        room.ledger.call("publish", 10, channel.basic_publish, "", queue, b"x")
    time.sleep(4)  # four intervals without a call
    for number, channel in enumerate(channels):
        try:
            room.ledger.call("publish", 10, channel.basic_publish, "", queue, b"%d" % number)
            room.ledger.done += 1
        except exceptions.AMQPError as error:
            room.ledger.fault("wrong", f"connection {number}: {error!r:.200}")
    there = channels[0].queue_declare(queue, passive=True).method.message_count
    if there != 2 * count:
        room.ledger.fault("lost", f"{there} of {2 * count} confirmed messages are there")
    channels[0].queue_delete(queue)
    for connection in opened:
        room.ledger.call("close", 10, connection.close)


def large(room: Room) -> None:
    """64 MB messages published with confirms, got and consumed; what they took is given back."""
    ledger = room.ledger
    ledger.unit = "messages of 64 MB"
    body = random.Random(64).randbytes(MEGABYTE) * max(1, round(LARGE * min(1.0, room.scale) / MEGABYTE))
    wanted = hashlib.sha256(body).digest()
    with connect(room) as connection:
        channel = connection.channel()
        channel.queue_declare(QUEUE, exclusive=True)
        channel.confirm_delivery()
        before = 0
        for number in range(3):
            ledger.call("publish", 60, channel.basic_publish, "", QUEUE, body)
            ledger.call("publish", 60, channel.basic_publish, "", QUEUE, bytearray(body))
            _, _, got = ledger.call("basic_get", 60, channel.basic_get, QUEUE, True)
            check_digest(room, "basic_get", got, wanted)
            for method, _, consumed in channel.consume(QUEUE, inactivity_timeout=60):
                check_digest(room, "consume", consumed, wanted)
                if method is not None:
                    channel.basic_ack(method.delivery_tag)
                break
            channel.cancel()
            del got, consumed
            if number == 0:
                before = memory.status("VmRSS")
        grown = memory.status("VmRSS") - before
        ledger.note(f"resident memory grew by {grown:,} bytes from the first round to the third")
        if grown > 16 * MEGABYTE:
            ledger.fault(
                "wrong", f"resident memory grew by {grown:,} bytes from the first round to the third"
            )


def check_digest(room: Room, what: str, body: bytes | None, wanted: bytes) -> None:
    room.ledger.done += 1
    if body is None or hashlib.sha256(body).digest() != wanted:
        room.ledger.fault(
            "lost" if body is None else "wrong", f"{what}: {body and len(body)} bytes, not those sent"
        )


def small(room: Room) -> None:
    """100,000 small messages through one consumer with acks, in order, in memory that does not grow."""
    ledger = room.ledger
    ledger.unit = "messages"
    count = room.count(100_000, 1000)
    with connect(room) as connection:
        channel = connection.channel()
        channel.queue_declare(QUEUE, exclusive=True)
        publish_all(channel, (("", QUEUE, b"%d" % number) for number in range(count)))
        channel.basic_qos(prefetch_count=500)
        expected, after_a_tenth = 0, 0
        begin = time.monotonic()

        def on_message(ch: Any, method: Any, properties: Any, body: bytes) -> None:
            nonlocal expected, after_a_tenth
            if int(body) != expected or method.delivery_tag != expected + 1:
                ledger.fault("lost" if int(body) > expected else "doubled", f"{body!r} after {expected - 1}")
            expected = int(body) + 1
            ch.basic_ack(method.delivery_tag)
            if expected == count // 10:
                after_a_tenth = memory.status("VmRSS")

        channel.basic_consume(QUEUE, on_message)
        dispatch_until(room, connection, lambda: expected >= count, 90)
        grown = memory.status("VmRSS") - after_a_tenth
        ledger.done = expected
        rate = expected / (time.monotonic() - begin)
        ledger.note(
            f"{rate:,.0f} messages a second; resident memory grew by {grown:,} bytes in the last nine tenths"
        )
        if grown > 4 * MEGABYTE:
            ledger.fault("wrong", f"resident memory grew by {grown:,} bytes")
        connection.process_data_events(time_limit=0.2)
        channel.basic_recover(requeue=True)
        if channel.basic_get(QUEUE)[0] is not None:
            ledger.fault("lost", "an ack has not arrived")


def cases(scale: float) -> list[Case]:
    """One a kind."""
    return [
        Case("consumers", "500 consumers on a channel", consumers, 120),
        Case("channels", "2,047 channels, and half of them again", channels, 120),
        Case("connections", "300 connections, heartbeats of a second", connections, 120),
        Case("large", "64 MB: publish, get, consume", large, 170),
        Case("small", "100,000 messages, each acknowledged", small, 150),
    ]


PART = Part("load", "many of everything, and large", cases, own_node)
