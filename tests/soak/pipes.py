"""Part 5: pipes that are full or slow in both directions: no deadlock, little memory, heartbeats leave."""

from __future__ import annotations

import threading
import time
from typing import Any

from support import amqp
from support.proxy import CLIENT, SERVER, Proxy
from support.subject import exceptions, pika
from support.urls import host_and_port

from . import memory, say
from .case import Case, Part, Room
from .judge import QUEUE_LIFE, Judge
from .peers import CountingPeer, PeerProcess
from .stages import own_node
from .traffic import parameters

MEGABYTE = 1 << 20
SLOW = 0.004  # seconds that the proxy keeps each read of at most 64 KB
SMALL_BUFFER = 8192
FLOOD = 48 * MEGABYTE
LITTLE = 6 * MEGABYTE  # what may be taken while a pipe is full
QUEUE, ECHO = "soak-pipes", "soak-pipes-echo"
WORK = 5.0  # seconds that a callback works


def queues(judge: Judge) -> None:
    for queue in (QUEUE, ECHO):
        judge.channel.queue_declare(queue, arguments=QUEUE_LIFE)
        judge.channel.queue_purge(queue)


def both_write(room: Room, lockstep: bool) -> None:
    """All messages of a queue are published again by the callback, through a slow and narrow proxy."""
    ledger = room.ledger
    ledger.unit = "messages"
    judge = Judge(room.url)
    queues(judge)
    bodies = [b"%06d" % number + bytes(20_000) for number in range(room.count(1500, 50))]
    for body in bodies:
        judge.channel.basic_publish("", QUEUE, body)
    with Proxy(
        *host_and_port(room.url), lockstep=lockstep, receive_buffer=SMALL_BUFFER, record=False
    ) as proxy:
        proxy.delay(SLOW)
        connection = pika.BlockingConnection(parameters(proxy.port, heartbeat=2))
        channel = connection.channel()
        seen: list[bytes] = []

        def on_message(ch: Any, method: Any, properties: Any, body: bytes) -> None:
            seen.append(body)
            begin = time.monotonic()
            ch.basic_publish("", ECHO, body)
            ledger.timed("publish in a callback", time.monotonic() - begin, 20)
            ch.basic_ack(method.delivery_tag)

        before = memory.status("VmRSS")
        channel.basic_consume(QUEUE, on_message)
        end = time.monotonic() + 60
        most = 0
        while len(seen) < len(bodies) and time.monotonic() < end:
            connection.process_data_events(time_limit=1)
            most = max(most, memory.status("VmRSS") - before - sum(map(len, seen)))
        connection.close()
    echoed = judge.consume_all(ECHO, len(bodies), 10)
    ledger.done = len(echoed)
    if seen != bodies:
        ledger.fault("lost", f"{len(seen)} of {len(bodies)} seen, or out of order")
    if echoed != bodies:
        ledger.fault("lost", f"{len(echoed)} of {len(bodies)} published again, or out of order")
    judge.close()


def stuck_publisher(room: Room, how: str) -> None:
    """Nothing is read of what is published for two seconds; then all of it arrives."""
    ledger = room.ledger
    ledger.unit = "messages"
    judge = Judge(room.url)
    queues(judge)
    count, body = 60, b"x" * MEGABYTE
    with Proxy(*host_and_port(room.url), record=False) as proxy:
        connection = pika.BlockingConnection(parameters(proxy.port, heartbeat=2))
        channel = connection.channel()
        channel.basic_publish("", QUEUE, body)
        channel.queue_purge(QUEUE)
        proxy.pause(CLIENT)
        thread = threading.Thread(target=PUBLISHING[how], args=(channel, body, count), daemon=True)
        before = memory.status("VmRSS")
        thread.start()
        thread.join(2)
        grown = memory.status("VmRSS") - before
        waits = thread.is_alive()
        proxy.resume()
        thread.join(60)
        connection.close()
    ledger.note(f"{how} grew by {grown:,} bytes while it waited")
    if grown > LITTLE:
        ledger.fault("wrong", f"{how}: grew by {grown:,} bytes while it waited")
    if not waits or thread.is_alive():
        ledger.fault("wrong", f"{how}: {'hangs' if waits else 'nothing made it wait'}")
    bodies = judge.consume_all(QUEUE, count, 10)
    ledger.done = sum(one == body for one in bodies)
    if ledger.done != count:
        ledger.fault("lost", f"{how}: {ledger.done} of {count} arrived", count - ledger.done)
    judge.close()


def publish_each(channel: Any, body: bytes, count: int) -> None:
    for _ in range(count):
        channel.basic_publish("", QUEUE, body)


def publish_buffered(channel: Any, body: bytes, count: int) -> None:
    with channel.buffered():
        publish_each(channel, body, count)


def publish_many(channel: Any, body: bytes, count: int) -> None:
    channel.publish_many(("", QUEUE, body) for _ in range(count))


PUBLISHING = {"basic_publish": publish_each, "buffered": publish_buffered, "publish_many": publish_many}


def flood(peer: CountingPeer) -> None:
    """48 MB of messages as fast as they are taken."""
    peer.handshake()
    peer.serve_until("Basic.Consume")
    some = amqp.message(1, say.TAG, 1, b"x" * 10_000) * 100
    for _ in range(FLOOD // len(some)):
        peer.send(some)
    peer.send(say.LAST)
    peer.serve_to_end()


def slow_consumer(room: Room) -> None:
    """The callback works for a second while 48 MB wait: they are not read before it is done."""
    ledger = room.ledger
    ledger.unit = "messages"
    with PeerProcess(flood) as peer:
        connection = pika.BlockingConnection(parameters(peer.port, heartbeat=0))
        channel = connection.channel()
        seen = 0
        last = threading.Event()
        before = memory.status("VmRSS")

        def on_message(ch: Any, method: Any, properties: Any, body: bytes) -> None:
            nonlocal seen
            seen += 1
            if body == b"last":
                last.set()
            elif seen in (1, 1000, 2000):
                time.sleep(1)  # a callback that works
                grown = memory.status("VmRSS") - before
                if grown > LITTLE:
                    ledger.fault("wrong", f"grew by {grown:,} bytes while a callback worked")

        channel.basic_consume("q", on_message, auto_ack=True, consumer_tag=say.TAG)
        end = time.monotonic() + 60
        while not last.is_set() and time.monotonic() < end:
            connection.process_data_events(time_limit=1)
        ledger.done = seen
        if not last.is_set():
            ledger.fault("lost", "the last message did not come")
        connection.close()


def busy(seconds: float) -> None:
    """Computes; the interpreter's lock changes hands as it does."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sum(range(1000))


def heartbeats(room: Room, work: str) -> None:
    """A callback works through ten intervals; heartbeats leave all the same, through a pipe that is slow."""
    ledger = room.ledger
    ledger.unit = "heartbeats"
    judge = Judge(room.url)
    queues(judge)
    judge.channel.basic_publish("", QUEUE, b"work")
    with Proxy(*host_and_port(room.url)) as proxy:
        connection = pika.BlockingConnection(parameters(proxy.port, heartbeat=1))
        channel = connection.channel()
        proxy.delay(0.05)

        def on_message(ch: Any, method: Any, properties: Any, body: bytes) -> None:
            time.sleep(WORK) if work == "sleeps" else busy(WORK)
            ch.basic_ack(method.delivery_tag)

        channel.basic_consume(QUEUE, on_message)
        start = proxy.mark()
        begin = time.monotonic()
        try:
            connection.process_data_events(time_limit=10)
            channel.queue_declare(QUEUE, passive=True)
            connection.close()
        except exceptions.AMQPError as error:
            ledger.fault("wrong", f"the connection did not survive: {error!r:.200}")
        beats = [event.time for event in proxy.frames("HEARTBEAT", CLIENT, start)]
        ledger.done = len([beat for beat in beats if beat < begin + WORK + 1])
        gaps = [later - sooner for sooner, later in zip([begin, *beats], beats) if later < begin + WORK + 1]
        if ledger.done < WORK - 1 or max(gaps, default=WORK) > 1.5:
            ledger.fault(
                "wrong",
                f"{len(beats)} heartbeats in {WORK:g} s, the longest gap {max(gaps, default=0):.2f} s",
            )
        ledger.note(f"the callback {work}: longest gap {max(gaps, default=0):.2f} s")
    judge.close()


def silent_direction(room: Room, origin: str) -> None:
    """One direction stops for two heartbeats while the program publishes and consumes; the call ends."""
    ledger = room.ledger
    ledger.unit = "connections"
    judge = Judge(room.url)
    queues(judge)
    with Proxy(*host_and_port(room.url), record=False) as proxy:
        connection = pika.BlockingConnection(parameters(proxy.port, heartbeat=1))
        channel = connection.channel()
        channel.confirm_delivery()
        proxy.pause(origin)
        begin = time.monotonic()
        try:
            while time.monotonic() < begin + 40:
                channel.basic_publish("", QUEUE, bytes(100_000))
            ledger.fault("wrong", "the publisher goes on without an answer")
        except exceptions.AMQPConnectionError as error:
            ledger.outcome(type(error).__name__)
        ledger.timed("publish to who is silent", time.monotonic() - begin, 20)
        ledger.done = 1
        if not connection.is_closed:
            ledger.fault("wrong", "the connection is open")
    judge.close()


def cases(scale: float) -> list[Case]:
    """All of this part."""
    listed = [
        Case("both", "both sides write at once", lambda room: both_write(room, lockstep=False), 120),
        Case(
            "lockstep", "both write, and read only in turn", lambda room: both_write(room, lockstep=True), 120
        ),
        Case("slow-consumer", "48 MB before a callback that works", slow_consumer, 90),
    ]
    blocking = pika.adapters.blocking_connection.BlockingChannel
    for how in PUBLISHING:
        if hasattr(blocking, how):
            listed.append(
                Case(
                    f"stuck-{how}",
                    "60 MB into a pipe that is stuck",
                    lambda room, how=how: stuck_publisher(room, how),
                    90,
                )
            )
    for work in ("sleeps", "computes"):
        listed.append(
            Case(
                f"heartbeats-{work}",
                "heartbeats while a callback works",
                lambda room, work=work: heartbeats(room, work),
                60,
            )
        )
    for origin in (CLIENT, SERVER):
        listed.append(
            Case(
                f"silent-{origin}",
                "one direction stops",
                lambda room, origin=origin: silent_direction(room, origin),
                60,
            )
        )
    return listed


PART = Part("pipes", "full and slow pipes", cases, own_node)
