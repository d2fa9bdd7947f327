"""gevent watches no more for a callback that has raised, and says nothing of it: none of ours does."""

from __future__ import annotations

import importlib
import threading
from typing import Any

import pytest
from parity.harness import Broker
from support.apart import apart

QUIET = {"PYTHONWARNINGS": "ignore"}
SECONDS = 10.0


def run_on_the_hub(library: str, on_open: Any, errors: list[str]) -> None:
    """Opens a connection and runs the hub until it is closed; what the hub reports goes to `errors`."""
    gevent = importlib.import_module("gevent")
    pika = importlib.import_module(library)
    adapter = importlib.import_module(f"{library}.adapters.gevent_connection")
    gevent.get_hub().handle_error = lambda _where, kind, _error, _trace: errors.append(kind.__name__)
    given = Broker.of_this_run().parameters(pika)
    connection = adapter.GeventConnection(
        given, on_open, on_close_callback=lambda closed, _reason: closed.ioloop.stop()
    )
    with gevent.Timeout(SECONDS):
        connection.ioloop.start()


def from_other_threads(library: str) -> list[str]:
    """What runs of callbacks that threads have added, two batches, where some raise."""
    seen: list[str] = []

    def fail() -> None:
        seen.append("raised")
        raise ZeroDivisionError

    def on_open(connection: Any) -> None:
        loop = connection.ioloop

        def first() -> None:
            loop.add_callback(fail)
            loop.add_callback(lambda: seen.append("behind it"))
            loop.add_callback(lambda: start(second))

        def second() -> None:
            loop.add_callback(lambda: seen.append("later"))
            loop.add_callback(connection.close)

        start(first)

    def start(batch: Any) -> None:
        threading.Thread(target=batch).start()

    run_on_the_hub(library, on_open, seen)
    return seen


@pytest.mark.parametrize("library", ["pika", "cpika"])
def test_callbacks_of_other_threads_run_behind_one_that_raises(library: str) -> None:
    """On cpika nothing ran any more that another thread had added, and nobody was told."""
    seen = apart(from_other_threads, library, environment=QUIET)
    assert seen == ["raised", "ZeroDivisionError", "behind it", "later"]


PLACES = ["open", "channel", "declared", "consuming", "message", "got"]


def behind_a_base_exception(place: str) -> list[str]:
    """A connection's life, where one callback lets a BaseException out that is not for the main greenlet."""
    gevent = importlib.import_module("gevent")
    seen: list[str] = []
    errors: list[str] = []

    def note(what: str) -> None:
        seen.append(what)
        if what == place:
            raise gevent.Timeout(0)

    def on_open(connection: Any) -> None:
        connection.channel(on_open_callback=opened)
        note("open")

    def opened(channel: Any) -> None:
        def declared(frame: Any) -> None:
            queue = frame.method.queue
            channel.basic_consume(queue, message, callback=lambda _frame: note("consuming"))
            for _ in range(3):
                channel.basic_publish("", queue, b"x")
            note("declared")

        def message(ch: Any, method: Any, _properties: Any, _body: bytes) -> None:
            ch.basic_ack(method.delivery_tag)
            if method.delivery_tag == 3:
                ch.queue_declare("", exclusive=True, callback=other)
            note("message")

        def other(frame: Any) -> None:
            channel.basic_publish("", frame.method.queue, b"y")
            channel.basic_get(frame.method.queue, got)

        def got(ch: Any, *_: Any) -> None:
            ch.connection.close()
            note("got")

        channel.queue_declare("", exclusive=True, callback=declared)
        note("channel")

    run_on_the_hub("cpika", on_open, errors)
    assert set(errors) == {"Timeout"}
    return seen


@pytest.mark.parametrize("place", PLACES)
def test_a_base_exception_out_of_a_callback_makes_nobody_deaf(place: str) -> None:
    """What came afterwards was read when the heartbeats were looked at, and `close()` never ended."""
    seen = apart(behind_a_base_exception, place, environment=QUIET)
    assert sorted(set(seen)) == sorted(PLACES) and seen.count("message") == 3
