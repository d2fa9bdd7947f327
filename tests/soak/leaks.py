"""Part 8: what grows with each call: as it should be, refused, on what is closed, interrupted."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import random
import signal
import sys
import time
import weakref
from collections.abc import Callable
from typing import Any

from support.subject import exceptions, pika
from support.urls import host_and_port

from . import memory
from .case import Case, Part, Room
from .cutter import FIN, SERVER, Cutter, Knife
from .leak_calls import CHANNEL, TAG, Call, Use, World, all_calls, not_in_the_table
from .stages import own_node

WARM_UP = 60
CALLS = 1000
WINDOWS = 4  # at most; the smallest growth counts, since caches grow and fill
FEW_BLOCKS, FEW_BYTES, FEW_OBJECTS, FEW_REFERENCES = 60.0, 24_000.0, 60.0, 60.0  # per 1000 calls
NOTHING = memory.Memory(0, 0, 0)
LATEST = 0.0007  # seconds after the begin of a call at which it is interrupted
COLUMNS = ("call", "form", "calls", "blocks /1000", "bytes /1000", "objects /1000", "references /1000", "")


class InterruptedCallError(Exception):
    """What the signal handler raises."""


def on_alarm(number: int, frame: Any) -> None:
    raise InterruptedCallError


def target(world: World, call: Call) -> Any:
    return world.channel if call.owner == CHANNEL else world.connection


def good_form(world: World, call: Call) -> None:
    call.good(world, target(world, call))
    world.tidy()


def bad_form(world: World, call: Call) -> None:
    owner = target(world, call)
    for use in call.bad:
        raises(use, world, owner)
    if not owner.is_open:
        raise AssertionError(f"{call.name} with bad arguments has closed what it was made on")


def refused_form(world: World, call: Call) -> None:
    assert call.refused is not None
    raises(call.refused, world, world.connection.channel(), exceptions.ChannelClosedByBroker)


def closed_channel_form(world: World, call: Call) -> None:
    raises(call.good, world, world.closed_channel, may_return=True)


def closed_connection_form(world: World, call: Call) -> None:
    owner = world.dead_channel if call.owner == CHANNEL else world.closed_connection
    raises(call.good, world, owner, may_return=True)


def raises(
    use: Use, world: World, owner: Any, family: type[BaseException] = Exception, may_return: bool = False
) -> None:
    try:
        use(world, owner)
    except family:
        return
    if not may_return:
        raise AssertionError("no exception came of what cannot be")


class Interruptions:
    """A form: the call is broken off at a random moment; what it was made on can be closed afterwards."""

    def __init__(self, room: Room, name: str) -> None:
        self._room, self._name = room, name
        self._rng = random.Random(name)
        self.count = 0
        signal.signal(signal.SIGALRM, on_alarm)

    def __call__(self, world: World, call: Call) -> None:
        owner = world.connection.channel() if call.owner == CHANNEL else world.connection
        world.interrupting = True
        try:
            try:
                signal.setitimer(signal.ITIMER_REAL, self._rng.uniform(0.00001, LATEST))
                call.good(world, owner)
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        except InterruptedCallError:
            self.count += 1
        except exceptions.AMQPError as error:
            self._room.ledger.fault("wrong", f"{self._name}, interrupted: {error!r:.200}")
        world.interrupting = False
        self._check(world, owner)

    def _check(self, world: World, owner: Any) -> None:
        """The channel can be closed, and the connection works."""
        begin = time.monotonic()
        try:
            world.tidy()
            if owner is not world.connection and owner.is_open:
                owner.close()
            world.channel.queue_purge(world.queue)
        except Exception as error:
            self._room.ledger.fault("wrong", f"{self._name}, afterwards: {error!r:.200}")
            world.heal()
        self._room.ledger.timed("after an interruption", time.monotonic() - begin, 5)


Form = Callable[[World, Call], None]


def measure_form(room: Room, world: World, call: Call, form: str, run: Form) -> None:
    """A line of the table: growth for 1000 calls."""
    calls = max(5, room.count(CALLS, 20) // call.fewer)
    for _ in range(max(3, WARM_UP // call.fewer)):
        run(world, call)
    best: tuple[float, ...] = ()
    for _ in range(WINDOWS):
        before, counts = memory.measure(), references(world)
        for _ in range(calls):
            run(world, call)
        after = memory.measure()
        more = max(now - then for now, then in zip(references(world), counts))
        grown = (after.blocks - before.blocks, after.heap - before.heap, after.objects - before.objects, more)
        rates = tuple(1000 * value / calls for value in grown)
        best = tuple(map(min, best, rates)) if best else rates
        room.ledger.done += calls
        if is_flat(best):
            break
    verdict = "" if is_flat(best) else "GROWS"
    figures = [f"{max(0.0, rate):,.0f}" for rate in best]
    room.ledger.measures.append((call.name, form, f"{calls:,}", *figures, verdict))
    if verdict:
        room.ledger.fault(
            "wrong",
            f"{call.name}, {form}: 1000 calls leave {figures[0]} blocks, {figures[1]} bytes from malloc, "
            f"{figures[2]} objects, {figures[3]} references to an argument",
        )


def references(world: World) -> list[int]:
    return [sys.getrefcount(argument) for argument in world.counted()]


def is_flat(rates: tuple[float, ...]) -> bool:
    limits = (FEW_BLOCKS, FEW_BYTES, FEW_OBJECTS, FEW_REFERENCES)
    return all(rate < limit for rate, limit in zip(rates, limits))


def one_call(room: Room, call: Call) -> None:
    """All forms of one call."""
    room.ledger.unit = "calls"
    world = World(room.url)
    resident = memory.status("VmRSS")
    forms: list[tuple[str, Form]] = [("as it should be", good_form)]
    if call.bad:
        forms.append(("bad arguments", bad_form))
    if call.refused is not None:
        forms.append(("refused by the broker", refused_form))
    if call.closed:
        if call.owner == CHANNEL:
            forms.append(("closed channel", closed_channel_form))
        forms.append(("closed connection", closed_connection_form))
    if call.waits:
        forms.append(("interrupted", Interruptions(room, call.name)))
    for form, run in forms:
        begin = time.monotonic()
        try:
            measure_form(room, world, call, form, run)
        except Exception as error:
            room.ledger.fault("wrong", f"{call.name}, {form}: {error!r:.300}")
            world.heal()
        room.ledger.timed(f"{call.name}, {form} (all)", time.monotonic() - begin)
        if isinstance(run, Interruptions):
            room.ledger.outcome("interrupted", run.count)
    room.ledger.outcome("RSS grown by KB", (memory.status("VmRSS") - resident) // 1024)


# ---- what is let go dies ----


def watched(connection: Any, queue: str) -> list[weakref.ref[Any]]:
    """Uses a connection, and gives weak references to what came of it."""
    channel = connection.channel()
    channel.queue_declare(queue, exclusive=True)
    kept: list[Any] = []

    class Watched:
        def __call__(self, *message: Any) -> None:
            kept.extend(message)
            channel.stop_consuming()

    callback = Watched()
    channel.basic_publish("", queue, b"body", pika.BasicProperties(headers={"a": 1}))
    channel.basic_consume(queue, callback, consumer_tag=TAG, auto_ack=True)
    channel.start_consuming()
    generator = channel.consume(queue, inactivity_timeout=0.001)
    next(generator)
    timer = connection.call_later(1000, callback)
    references = []
    for thing in (connection, channel, callback, generator, connection._impl, timer, *kept):
        with contextlib.suppress(TypeError):
            references.append(weakref.ref(thing))
    return references


def end_by(how: str, connection: Any, cutter: Cutter) -> None:
    """Ends a connection, or not."""
    if how == "closed":
        connection.close()
    elif how == "cut":
        connection._impl._write(b"\x01\x00\x01\x00\x00\x00\x04\x00\x14\x00\x0a\x00")
        with contextlib.suppress(exceptions.AMQPError):
            connection.process_data_events(5)
        if connection.is_open:
            raise AssertionError("the broken frame did no harm")


def let_go(room: Room, how: str) -> None:
    """Connections that are closed, cut or forgotten, and all that they had."""
    room.ledger.unit = "objects"
    descriptors = len(os.listdir("/proc/self/fd"))
    for number in range(room.count(20, 3)):
        with Cutter(host_and_port(room.url), Knife(SERVER, 1 << 62, FIN)) as cutter:
            parameters = pika.ConnectionParameters("127.0.0.1", cutter.port, heartbeat=60)
            connection = pika.BlockingConnection(parameters)
            references = watched(connection, f"soak-let-go-{how}-{number}")
            end_by(how, connection, cutter)
            del connection
            gc.collect()
            alive = [repr(reference()) for reference in references if reference() is not None]
            room.ledger.done += len(references)
            if alive:
                room.ledger.fault("wrong", f"{how}: these live on: {alive}", len(alive))
    gc.collect()
    left = len(os.listdir("/proc/self/fd")) - descriptors
    if left > 2:
        room.ledger.fault("wrong", f"{how}: {left} descriptors are left open", left)


def complete(room: Room) -> None:
    """Every public method has a line in the table."""
    room.ledger.unit = "calls"
    room.ledger.done = len(all_calls())
    for name in not_in_the_table():
        room.ledger.fault("wrong", f"{name} is not in the table of calls")


def cases(scale: float) -> list[Case]:
    """One a call; and the deaths."""
    listed = [Case("the table", "calls in the table", complete, 30)]
    listed += [
        Case(call.name, "growth over every call", functools.partial(one_call, call=call), 120)
        for call in all_calls()
    ]
    listed += [
        Case(f"let go {how}", "objects that are let go", functools.partial(let_go, how=how), 60)
        for how in ("closed", "cut", "forgotten")
    ]
    return listed


PART = Part("leaks", "growth over every call", cases, own_node, columns=COLUMNS, together=2)
