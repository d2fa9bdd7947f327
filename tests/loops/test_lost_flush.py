"""Output leaves the loop's turn whoever has it, and whatever the loop may lose of what it was asked for."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import threading
import time
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

    def later(self, call: Callable[[], Any]) -> None:
        self.loop.call_later(0.0, call)


def run_again(kind: str) -> list[str]:
    """A flush is lost with its callback; the loop is run again, and that is all."""
    opened = Opened(kind)

    def publish() -> None:
        opened.publish(b"x")
        opened.leak()

    opened.later(publish)
    with contextlib.suppress(Lost):
        opened.run()
    opened.run()
    return opened.told


def close_meanwhile(kind: str) -> bool:
    """The same, and the connection is closed where the exception is handled, as pika's manual has it."""
    opened = Opened(kind)

    def publish() -> None:
        opened.publish(b"x")
        opened.leak()

    opened.later(publish)
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
    opened.channel.basic_consume(opened.queue, opened.got, auto_ack=True, callback=lambda _: opened.stop())
    opened.channel.basic_cancel(next(iter(opened.channel.consumer_tags)))
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
    opened.connection._engine._loop_begin(opened.connection, lambda callback: asked.append(None), bool, None)
    opened.publish(b"x")
    opened.publish(b"y")
    return len(asked)


def test_a_loop_that_drops_what_it_is_given_is_not_asked_without_end(broker_url: str) -> None:
    assert apart(dropped) == 2
