"""pika's own loop in trouble: what handlers do to it while they run."""

from __future__ import annotations

import gc
import socket
import weakref
from collections.abc import Iterator
from typing import Any

import cpika
import pytest
from cpika.adapters import select_connection
from cpika.adapters.thread_safe_connection import _Loop
from parity.harness import Broker

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture(params=["select", "poll", "epoll"])
def loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(select_connection, "SELECT_TYPE", request.param)
    made = _Loop()
    yield made
    made.close()


@pytest.fixture
def pairs() -> Iterator[list[Pair]]:
    made = [socket.socketpair() for _ in range(2)]
    yield made
    for pair in made:
        for sock in pair:
            sock.close()


def test_a_descriptor_that_has_hung_up_may_be_removed_before_the_handlers_run(
    loop: Any, pairs: list[Pair]
) -> None:
    """As a request that another thread has left may do."""
    (near, far), _ = pairs
    called: list[int] = []

    def remove() -> None:
        loop.remove_handler(near.fileno())
        loop.stop()

    loop.add_handler(near.fileno(), lambda fd, _events: called.append(fd), loop.READ)
    far.close()
    loop._poller._get_wait_seconds = lambda: loop._callbacks.append(remove) or 1  # added while it waits
    loop.start()
    assert not called


def test_a_poll_inside_a_handler_leaves_nothing_to_the_one_around_it(loop: Any, pairs: list[Pair]) -> None:
    (first, to_first), (second, to_second) = pairs
    called: list[str] = []

    def on_first(fd: int, _events: int) -> None:
        called.append("first")
        if called.count("first") == 1:
            loop.poll()
        else:
            loop.remove_handler(second.fileno())
            loop.remove_handler(fd)
            loop.stop()

    loop.add_handler(first.fileno(), on_first, loop.READ)
    loop.add_handler(second.fileno(), lambda _fd, _events: called.append("second"), loop.READ)
    to_first.send(b"x")
    to_second.close()
    loop.start()
    assert called.count("first") == 2


def test_timers_that_wait_behind_one_that_raises_outlive_a_clearing_of_the_heap() -> None:
    timer = select_connection._Timer()
    timer._GC_CANCELLATION_THRESHOLD = 2
    ran: list[str] = []

    def clear_and_raise() -> None:
        for cancelled in [timer.call_later(60, print) for _ in range(9)]:
            timer.remove_timeout(cancelled)
        timer.process_timeouts()
        raise KeyboardInterrupt

    timer.call_later(0, clear_and_raise)
    timer.call_later(0, lambda: ran.append("second"))
    with pytest.raises(KeyboardInterrupt):
        timer.process_timeouts()
    timer.process_timeouts()
    assert ran == ["second"]


class Interrupted(BaseException):
    """What a callback raises, and the loop's caller catches."""


def test_an_interrupt_that_has_left_the_loop_is_not_held_until_the_collector_comes(broker_url: str) -> None:
    def interrupt(_connection: Any) -> None:
        raise Interrupted

    connection = cpika.SelectConnection(
        Broker.of_this_run().parameters(cpika),
        on_open_callback=interrupt,
        on_close_callback=lambda ended, _reason: ended.ioloop.stop(),
    )

    def run() -> weakref.ref[Interrupted]:
        try:
            connection.ioloop.start()
        except Interrupted as error:
            return weakref.ref(error)
        raise AssertionError("it was not raised")

    gc.disable()
    try:
        assert run()() is None
    finally:
        gc.enable()
    connection.close()
    connection.ioloop.start()


class Alarmed(socket.socket):
    """An end of a pair: a signal comes while the system call is made, and its handler raises."""

    def send(self, *_: Any) -> int:
        raise TimeoutError("the program's")


def test_what_a_handler_raises_while_the_loop_is_woken_leaves_the_call(loop: Any) -> None:
    """A program that publishes through the thread-safe connection lost up to a quarter of its alarms."""
    poller = loop._poller
    poller._w_interrupt = Alarmed(fileno=poller._w_interrupt.detach())
    with pytest.raises(TimeoutError, match="the program's"):
        loop.add_callback_threadsafe(int)


def test_a_loop_that_is_closed_does_not_start(loop: Any) -> None:
    """Nothing could end its wait."""
    loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        loop.start()
    loop.close()
