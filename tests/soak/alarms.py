"""Part 4: memory alarms of a real node: publishers block and go on, and those with a timeout give up."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

from support.nodes import LocalNode
from support.subject import exceptions, pika

from . import memory
from .case import Case, Part, Room
from .judge import Judge
from .stages import no_node
from .traffic import parameters

QUEUE = "soak-alarms"
BLOCKED_FOR = 2.0  # seconds that an alarm stands
TIMEOUT = 1.5  # seconds of blocked_connection_timeout
SOON = 20.0
FEW_BYTES = 8 << 20


@contextlib.contextmanager
def alarm(node: LocalNode) -> Iterator[None]:
    """The node believes that its memory is full."""
    node.ctl("set_vm_memory_high_watermark", "0.0000001")
    try:
        yield
    finally:
        node.ctl("set_vm_memory_high_watermark", "absolute", "1GB")


class Publisher(threading.Thread):
    """Publishes with confirms and dispatches after each; keeps what it hears of blocking."""

    def __init__(self, room: Room, node: LocalNode, number: int, **options: Any) -> None:
        super().__init__(daemon=True)
        self.room, self.number = room, number
        self.confirmed: list[bytes] = []
        self.heard: list[str] = []
        self.error: BaseException | None = None
        self.stop = threading.Event()
        self.changed = threading.Condition()
        self.last = time.monotonic()
        self.connection = pika.BlockingConnection(parameters(node.port, **options))
        self.connection.add_on_connection_blocked_callback(lambda *args: self.heard.append("blocked"))
        self.connection.add_on_connection_unblocked_callback(lambda *args: self.heard.append("unblocked"))

    def run(self) -> None:
        try:
            channel = self.connection.channel()
            channel.confirm_delivery()
            while not self.stop.is_set():
                body = b"%d %d" % (self.number, len(self.confirmed))
                channel.basic_publish("", QUEUE, body, mandatory=True)
                with self.changed:
                    self.confirmed.append(body)
                    self.last = time.monotonic()
                    self.changed.notify_all()
                self.connection.process_data_events()
            self.connection.process_data_events(time_limit=0.2)
            self.connection.close()
        except Exception as error:
            self.error = error
            self.last_error = time.monotonic()

    def await_more(self) -> bool:
        """True when another message is confirmed soon."""
        with self.changed:
            before = len(self.confirmed)
            return self.changed.wait_for(lambda: len(self.confirmed) > before, SOON)


def all_go_on(publishers: list[Publisher]) -> bool:
    """True when each of them has another message confirmed soon; all are waited for."""
    return [publisher.await_more() for publisher in publishers] == [True] * len(publishers)


def consume(node: LocalNode, seen: list[bytes], stop: threading.Event) -> threading.Thread:
    """A consumer on a connection of its own, which no alarm blocks."""

    def run() -> None:
        with pika.BlockingConnection(parameters(node.port)) as connection:
            channel = connection.channel()
            channel.basic_consume(
                QUEUE, lambda ch, method, properties, body: seen.append(body), auto_ack=True
            )
            while not stop.is_set():
                connection.process_data_events(time_limit=0.2)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def blocks_and_goes_on(room: Room) -> None:
    """Alarms come and go; nothing that is confirmed is lost, and the callbacks come in order."""
    ledger = room.ledger
    ledger.unit = "confirmed"
    cycles = room.count(6)
    with LocalNode() as node:
        judge = Judge(node.url)
        judge.channel.queue_declare(QUEUE, durable=True)
        seen: list[bytes] = []
        stop = threading.Event()
        consumer = consume(node, seen, stop)
        publishers = [Publisher(room, node, number) for number in range(3)]
        for publisher in publishers:
            publisher.start()
        for _ in range(cycles):
            if not all_go_on(publishers):
                ledger.fault("wrong", "a publisher does not go on")
            with alarm(node):
                time.sleep(BLOCKED_FOR)  # the alarm stands for so long
                still = [time.monotonic() - publisher.last for publisher in publishers]
                if min(still) < BLOCKED_FOR / 2:
                    ledger.fault("wrong", "confirms come while the alarm stands")
            begin = time.monotonic()
            if not all_go_on(publishers):
                ledger.fault("wrong", "a publisher does not go on after an alarm")
            ledger.timed("going on after an alarm", time.monotonic() - begin, SOON)
        end(publishers, stop, consumer)
        check(room, judge, publishers, seen, cycles)


def end(publishers: list[Publisher], stop: threading.Event, consumer: threading.Thread) -> None:
    for publisher in publishers:
        publisher.stop.set()
    for publisher in publishers:
        publisher.join(SOON)
    stop.set()
    consumer.join(SOON)


def check(room: Room, judge: Judge, publishers: list[Publisher], seen: list[bytes], cycles: int) -> None:
    ledger = room.ledger
    confirmed = {body for publisher in publishers for body in publisher.confirmed}
    left = {body for body, _ in judge.take(QUEUE, confirmed - set(seen), 10)}
    ledger.done = len(confirmed)
    lost = confirmed - set(seen) - left
    if lost:
        ledger.fault("lost", f"confirmed and gone: {sorted(lost)[:3]}", len(lost))
    if len(set(seen)) != len(seen):
        ledger.fault("doubled", "messages were seen twice", len(seen) - len(set(seen)))
    for publisher in publishers:
        if publisher.is_alive() or publisher.error is not None:
            ledger.fault("wrong", f"publisher {publisher.number}: {publisher.error!r}")
        if publisher.heard != ["blocked", "unblocked"] * cycles:
            ledger.fault("wrong", f"publisher {publisher.number} heard {publisher.heard}")
    ledger.note(f"{cycles} alarms of {BLOCKED_FOR:g} s and more; each publisher heard of each begin and end")


def gives_up(room: Room) -> None:
    """With blocked_connection_timeout the waiting call ends with its exception, in time."""
    ledger = room.ledger
    ledger.unit = "connections"
    with LocalNode() as node:
        Judge(node.url).channel.queue_declare(QUEUE, durable=True)
        patient = Publisher(room, node, 0)
        others = [Publisher(room, node, n, blocked_connection_timeout=TIMEOUT) for n in range(1, 6)]
        for publisher in (patient, *others):
            publisher.start()
        if not all_go_on([patient, *others]):
            ledger.fault("wrong", "a publisher does not begin")
        with alarm(node):
            for publisher in others:
                publisher.join(SOON)
        for publisher in others:
            ledger.done += 1
            if not isinstance(publisher.error, exceptions.ConnectionBlockedTimeout):
                ledger.fault("wrong", f"{publisher.error!r}, wanted ConnectionBlockedTimeout")
                continue
            blocked = publisher.last_error - publisher.last
            ledger.timed("blocked publish", blocked, TIMEOUT + 5)
            if blocked < TIMEOUT - 0.5:
                ledger.fault("wrong", f"gave up after {blocked:.1f} s")
            if not publisher.connection.is_closed:
                ledger.fault("wrong", "the connection is open after ConnectionBlockedTimeout")
        if not patient.await_more():
            ledger.fault("wrong", f"the one without a timeout does not go on: {patient.error!r}")
        patient.stop.set()
        patient.join(SOON)


def without_confirms(room: Room) -> None:
    """Publishes until the pipe is full: the call waits, in little memory; all of it arrives afterwards."""
    ledger = room.ledger
    ledger.unit = "messages"
    count, body = room.count(40), b"x" * (1 << 20)
    with LocalNode() as node:
        judge = Judge(node.url)
        judge.channel.queue_declare(QUEUE, durable=True)
        connection = pika.BlockingConnection(parameters(node.port))
        channel = connection.channel()
        channel.basic_publish("", "nowhere", b"a publisher")
        published: list[int] = []

        def run() -> None:
            for number in range(count):
                channel.basic_publish("", QUEUE, body)
                published.append(number)

        thread = threading.Thread(target=run, daemon=True)
        with alarm(node):
            before = memory.status("VmRSS")
            thread.start()
            thread.join(BLOCKED_FOR * 2)
            grown = memory.status("VmRSS") - before
            if len(published) == count and room.scale >= 1:
                ledger.fault("wrong", "nothing made the publisher wait")
            if grown > FEW_BYTES:
                ledger.fault("wrong", f"the waiting publisher has taken {grown:,} bytes")
            ledger.note(
                f"{len(published)} of {count} MB left, then the publisher waited; grown by {grown:,} bytes"
            )
        thread.join(60)
        connection.close()
        bodies = judge.consume_all(QUEUE, count, 30)
        ledger.done = sum(one == body for one in bodies)
        if ledger.done != count:
            ledger.fault("lost", f"{ledger.done} of {count} arrived", count - ledger.done)
        if thread.is_alive() or len(published) != count:
            ledger.fault("wrong", f"{len(published)} of {count} publishes returned")


def cases(scale: float) -> list[Case]:
    """The three."""
    return [
        Case("block", "alarms under three publishers with confirms", blocks_and_goes_on, 150),
        Case("timeout", "blocked_connection_timeout", gives_up, 90),
        Case("pipe", "unconfirmed megabytes into an alarm", without_confirms, 120),
    ]


PART = Part("alarms", "memory alarms of a real node", cases, no_node)
