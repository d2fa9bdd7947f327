"""Row 33: a connection that is forgotten open says so, as an open socket does."""

from __future__ import annotations

import gc
import threading
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from support.apart import apart, connect, outcome
from support.fakeserver import FakeServer, Peer


def forget_open() -> None:
    connect().channel()


def forget_consuming() -> None:
    connection = connect()
    channel = connection.channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.basic_consume(queue, lambda *args: channel.basic_ack(1))  # a cycle


def close() -> None:
    connection = connect()
    connection.channel()
    connection.close()


def close_by_with() -> None:
    with connect() as connection:
        connection.channel()


def lose() -> None:
    """The peer goes, and the program sees it."""

    def script(peer: Peer) -> None:
        peer.handshake()
        peer.serve_until("Channel.Open")
        assert opened.wait(5)

    opened = threading.Event()
    with FakeServer(script) as server:
        connection = connect(server)
        connection.channel()
        opened.set()
        assert outcome(lambda: connection.sleep(5)) == "StreamLostError"


def refuse() -> None:
    """A connection that never came to be."""
    assert outcome(lambda: connect(virtual_host="cpika-test-nowhere")) != "ok"


WAYS: dict[str, Callable[[], Any]] = {
    "open": forget_open,
    "consuming": forget_consuming,
    "closed": close,
    "closed by with": close_by_with,
    "lost": lose,
    "refused": refuse,
}


def warned(way: str) -> list[str]:
    """The warnings that come when a connection has been forgotten, or not."""
    gc.collect()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        WAYS[way]()
        gc.collect()
    names = [warning.category.__name__ for warning in caught if "cpika-test" not in str(warning.message)]
    return sorted(set(names))


@pytest.mark.parametrize("way", ["open", "consuming"])
@pytest.mark.parametrize("subject", ["", "pika"])
def test_a_connection_forgotten_open_gives_a_warning(broker_url: str, way: str, subject: str) -> None:
    """Row 33, what is forgotten: ResourceWarning when it is collected, as with pika's sockets."""
    assert apart(warned, way, subject=subject) == ["ResourceWarning"]


@pytest.mark.parametrize("way", ["closed", "closed by with", "lost", "refused"])
def test_a_connection_that_is_over_gives_none(broker_url: str, way: str) -> None:
    """Row 33, what is forgotten: closed, lost and refused connections leave nothing behind."""
    assert apart(warned, way) == []


def left_at_the_end(way: str) -> list[str]:
    """An exception leaves a `with`: closed all the same."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            with connect() as connection:
                connection.channel()
                raise ZeroDivisionError
        except ZeroDivisionError:
            pass
        del connection
        gc.collect()
    return [str(warning.message) for warning in caught if way in warning.category.__name__]


def test_a_with_that_is_left_by_an_exception_gives_none(broker_url: str) -> None:
    """Row 33, what is forgotten: a context manager forgets nothing."""
    assert apart(left_at_the_end, "ResourceWarning") == []


# ---- a circle that the collector takes apart


class TidiesUp:
    """What uses a channel last, in the circle that it is part of."""

    def __init__(self, call: str, said: list[str]) -> None:
        self.connection = connect()
        self.channel = self.connection.channel()
        self.queue = self.channel.queue_declare("", exclusive=True).method.queue
        self.call, self.said = call, said
        self.itself = self

    def __del__(self) -> None:
        calls: dict[str, Callable[[], Any]] = {
            "queue_declare": lambda: self.channel.queue_declare(self.queue, passive=True),
            "basic_qos": lambda: self.channel.basic_qos(prefetch_count=1),
            "basic_consume": lambda: self.channel.basic_consume(self.queue, print),
            "consume": lambda: next(self.channel.consume(self.queue, inactivity_timeout=0.01)),
            "confirm_delivery": self.channel.confirm_delivery,
            "queue_delete": lambda: self.channel.queue_delete(self.queue),
            "close": self.channel.close,
        }
        self.said += [str(self.channel.is_open), outcome(calls[self.call])]
        self.connection.close()


def tidy_up(call: str) -> list[str]:
    said: list[str] = []
    gc.disable()
    TidiesUp(call, said)
    gc.collect()
    return said


@pytest.mark.parametrize(
    "call",
    [
        "queue_declare",
        "basic_qos",
        "basic_consume",
        "consume",
        "confirm_delivery",
        "queue_delete",
        "close",
    ],
)
def test_a_finalizer_finds_its_channel_as_open_as_it_says(broker_url: str, call: str) -> None:
    """The collector clears weak references first, and a channel was closed then for its own methods."""
    assert apart(tidy_up, call) == ["True", "ok"]
