"""Output leaves the loop's turn whoever has it, and whatever the loop may lose of what it was asked for."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import gc
import sys
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import cpika
import pytest
from cpika.adapters.asyncio_connection import AsyncioConnection
from cpika.adapters.select_connection import SelectConnection
from parity.harness import Broker
from support.apart import apart

SECONDS = 10.0


class Lost(BaseException):
    """What a signal handler raises."""


class Leaky(collections.deque):  # type: ignore[type-arg]
    """A queue of callbacks: a signal handler raises right behind a popleft, when it is told to."""

    raises = False

    def popleft(self) -> Any:
        taken = super().popleft()
        if type(self).raises:
            type(self).raises = False
            raise Lost
        return taken


class LeakyLoop(asyncio.SelectorEventLoop):
    """Whose call_soon() is interrupted, when it is told to; the callback is queued by then, or not yet."""

    interrupts = ""

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> Any:
        interrupts, self.interrupts = self.interrupts, ""
        if interrupts == "before":
            raise Lost
        handle = super().call_soon(callback, *args, context=context)
        if interrupts == "behind":
            raise Lost
        return handle


class Opened:
    """A connection on a loop of a kind, with a channel and a consumer; heartbeats would heal what is lost."""

    def __init__(self, kind: str) -> None:
        self.told: list[str] = []
        self.closed = False
        self.loop: Any = LeakyLoop() if kind == "asyncio" else None
        given = Broker.of_this_run().parameters(cpika, heartbeat=0)
        if kind == "asyncio":
            self.connection: Any = AsyncioConnection(given, self.opened, custom_ioloop=self.loop)
            self.run, self.stop = self.loop.run_forever, self.loop.stop
        else:
            self.connection = SelectConnection(given, self.opened)
            self.loop = self.connection.ioloop
            self.run, self.stop = self.loop.start, self.loop.stop
        self.connection.add_on_close_callback(self.ended)
        self.run()

    def leak(self) -> None:
        """The next callback that the loop takes is lost."""
        name = "_ready" if hasattr(self.loop, "_ready") else "_flushes"
        setattr(self.loop, name, Leaky(getattr(self.loop, name)))
        Leaky.raises = True

    def opened(self, connection: Any) -> None:
        connection.channel(on_open_callback=self.channel_opened)

    def channel_opened(self, channel: Any) -> None:
        self.channel = channel
        channel.queue_declare("", exclusive=True, callback=self.declared)

    def declared(self, frame: Any) -> None:
        self.queue = frame.method.queue
        self.channel.basic_consume(self.queue, self.got, auto_ack=True, callback=lambda _: self.stop())

    def got(self, _channel: Any, _method: Any, _properties: Any, body: bytes) -> None:
        self.told.append(body.decode())
        self.stop()

    def ended(self, _connection: Any, _reason: BaseException) -> None:
        self.closed = True
        self.stop()

    def publish(self, body: bytes) -> None:
        self.channel.basic_publish("", self.queue, body)

    def publish_and_leak(self) -> None:
        self.publish(b"x")
        self.leak()

    def later(self, call: Callable[[], Any]) -> None:
        self.loop.call_later(0.0, call)


def run_again(kind: str) -> list[str]:
    """A flush is lost with its callback; the loop is run again, and that is all."""
    opened = Opened(kind)

    opened.later(opened.publish_and_leak)
    with contextlib.suppress(Lost):
        opened.run()
    opened.run()
    return opened.told


def close_meanwhile(kind: str) -> bool:
    """The same, and the connection is closed where the exception is handled, as pika's manual has it."""
    opened = Opened(kind)

    opened.later(opened.publish_and_leak)
    try:
        opened.run()
    except Lost:
        opened.connection.close()
        while not opened.closed:
            opened.run()
    return opened.closed


@pytest.mark.parametrize("kind", ["asyncio", "select"])
def test_what_was_lost_with_a_callback_leaves_when_the_loop_runs_again(broker_url: str, kind: str) -> None:
    """It stayed until input came, for good where there are no heartbeats."""
    assert apart(run_again, kind) == ["x"]


@pytest.mark.parametrize("kind", ["asyncio", "select"])
def test_a_connection_is_closed_where_the_interrupt_is_handled(broker_url: str, kind: str) -> None:
    assert apart(close_meanwhile, kind) is True


def interrupted(where: str) -> list[str]:
    """A handler raises in the call by which the loop is asked for a flush."""
    opened = Opened("asyncio")

    def publish() -> None:
        opened.loop.interrupts = where
        with contextlib.suppress(Lost):
            opened.publish(b"x")

    opened.later(publish)
    opened.run()
    return opened.told


@pytest.mark.parametrize("where", ["before", "behind"])
def test_a_publish_that_is_interrupted_where_it_asks_for_a_flush_leaves(broker_url: str, where: str) -> None:
    """It was queued, and left with the next one."""
    assert apart(interrupted, where) == ["x"]


def handed_over() -> float:
    """Seconds until a publish comes of the thread that has opened the connection; another runs the loop."""
    opened = Opened("asyncio")
    got = threading.Event()
    opened.got = lambda *_: got.set()  # type: ignore[method-assign]
    (before,) = opened.channel.consumer_tags
    opened.channel.basic_consume(opened.queue, opened.got, auto_ack=True)
    opened.channel.basic_cancel(before, callback=lambda _: opened.stop())
    opened.run()
    thread = threading.Thread(target=opened.run, daemon=True)
    thread.start()
    while not opened.loop.is_running():
        time.sleep(0.001)
    time.sleep(0.1)  # it waits for descriptors by now, or the publish is no harder
    began = time.monotonic()
    opened.publish(b"x")
    return time.monotonic() - began if got.wait(SECONDS) else -1.0


def test_a_publish_leaves_at_once_when_another_thread_has_taken_the_loop_over(broker_url: str) -> None:
    """The thread that had called in last was taken for the one that runs the loop: nothing woke it."""
    assert 0 <= apart(handed_over) < SECONDS


def dropped() -> int:
    """How often a loop that keeps nothing is asked, for each publish."""
    opened = Opened("select")
    asked: list[None] = []
    opened.connection._engine._loop_begin(opened.connection, lambda _: asked.append(None), lambda: None, None)
    opened.publish(b"x")
    opened.publish(b"y")
    return len(asked)


def test_a_loop_that_drops_what_it_is_given_is_not_asked_without_end(broker_url: str) -> None:
    assert apart(dropped) == 2


def forgotten_by_the_collector(kind: str) -> list[str]:
    """What is lost is held by the exception's own circle, and goes with it."""
    opened = Opened(kind)

    def run() -> None:
        reason = None
        try:
            opened.run()
        except Lost as error:
            reason = error  # its frames lead back to it
        assert reason is not None

    gc.disable()
    opened.later(opened.publish_and_leak)
    run()
    gc.collect()
    opened.run()
    return opened.told


@pytest.mark.parametrize("kind", ["asyncio", "select"])
def test_what_the_collector_finds_was_lost_leaves_as_well(broker_url: str, kind: str) -> None:
    assert apart(forgotten_by_the_collector, kind) == ["x"]


def emptied() -> list[int]:
    """How often a queue has to be emptied, and what stays of a connection that is forgotten with its loop."""
    opened = Opened("select")
    opened.publish(b"x")
    taken = 0
    while opened.loop._flushes and taken < 100:
        opened.loop._flushes.popleft()
        taken += 1
    opened.publish(b"y")
    left = weakref.ref(opened.connection)
    opened.connection = opened.channel = opened.loop = opened.run = opened.stop = None
    del opened
    rounds = 0
    while left() is not None and rounds < 10:
        gc.collect()
        rounds += 1
    return [taken, rounds]


def test_a_queue_that_is_emptied_stays_empty(broker_url: str) -> None:
    taken, rounds = apart(emptied)
    assert taken <= 2
    assert rounds <= 2


def handler_where_it_is_repeated() -> str:
    """A handler raises where a lost wish is repeated: there is nobody to raise it to, but it is told."""
    opened = Opened("asyncio")
    told: list[str] = []
    sys.unraisablehook = lambda what: told.append(what.exc_type.__name__)

    opened.later(opened.publish_and_leak)
    try:
        opened.run()
    except Lost:  # whose traceback holds what was lost until here
        opened.loop.call_soon = opened.loop.call_soon_threadsafe = raise_lost
    gc.collect()
    return ",".join(told)


def raise_lost(*_: Any) -> None:
    raise Lost


def test_what_a_handler_raises_where_a_wish_is_repeated_is_told(broker_url: str) -> None:
    assert apart(handler_where_it_is_repeated) == "Lost"


def many_requests(kind: str) -> int:
    """How often the loop is asked for a hundred requests of one turn."""
    opened = Opened(kind)
    engine = opened.connection._engine
    asked: list[Any] = []
    engine._loop_begin(opened.connection, asked.append, lambda: None, None)
    for _ in range(100):
        opened.connection._send_method(1, cpika.spec.Basic.Qos())
    return len(asked)


@pytest.mark.parametrize("kind", ["asyncio", "select"])
def test_requests_of_one_turn_ask_twice_at_most(broker_url: str, kind: str) -> None:
    assert apart(many_requests, kind) <= 2


def forgotten(what: str) -> list[Any]:
    """What is said when a connection is forgotten whose loop has not sent everything, and whether it went."""
    told: list[str] = []
    sys.unraisablehook = lambda found: told.append(repr(found.exc_value))
    opened = Opened("select")
    if what == "publish":
        opened.publish(b"unsent")
    else:
        opened.connection.channel(on_open_callback=print)
    gone = weakref.ref(opened.connection)
    del opened
    rounds = 0
    while gone() is not None and rounds < 10:
        gc.collect()
        rounds += 1
    return [told, rounds < 10]


@pytest.mark.parametrize("what", ["publish", "channel"])
def test_a_connection_that_is_forgotten_with_its_loop_says_nothing(broker_url: str, what: str) -> None:
    """A traceback of a loop that the collector had emptied already was printed."""
    assert apart(forgotten, what) == [[], True]
