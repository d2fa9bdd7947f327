"""Channel.Close by both sides at once: RabbitMQ may lose its Close-Ok where ours comes right behind.

It ends the process that writes for the channel when it reads ours; what that has not written by then is gone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import cpika
import pytest
from cpika.adapters.thread_safe_connection import Connection
from support import amqp, answers
from support.apart import Together, outcome
from support.fakeserver import FakeServer, Peer
from support.proxy import CLIENT, SERVER, Proxy

SECONDS = 20.0
BY_BROKER = "ChannelClosedByBroker"


def close_blocking(channel: Any, sent: Callable[[str], Any]) -> list[str]:
    channel.basic_publish("no such exchange", "", b"")
    sent("Basic.Publish")
    closing = Together(lambda: outcome(channel.close))
    sent("Channel.Close")
    results: list[str] = closing.join(SECONDS)
    return results


def close_thread_safe(channel: Any, sent: Callable[[str], Any]) -> list[str]:
    getting = Together(lambda: outcome(lambda: channel.basic_get("no such queue", timeout=None)))
    sent("Basic.Get")
    closing = Together(lambda: outcome(lambda: channel.close(timeout=None)))
    sent("Channel.Close")
    return [*getting.join(SECONDS), *closing.join(SECONDS)]


KINDS: dict[str, tuple[Callable[[Any], Any], Callable[..., list[str]]]] = {
    "blocking": (cpika.BlockingConnection, close_blocking),
    "thread-safe": (Connection, close_thread_safe),
}


class Side:
    """One of the connections, and how its channel closes while the broker does so."""

    def __init__(self, kind: str) -> None:
        self._connect, self._close = KINDS[kind]
        self.connection: Any = None

    def connect(self, peer: FakeServer | Proxy, **options: Any) -> Any:
        parameters = cpika.ConnectionParameters(peer.host, peer.port, heartbeat=0, **options)
        self.connection = self._connect(parameters)
        return self.connection

    def close_channel(self) -> set[str]:
        """Have a new channel closed: see `close`."""
        return self.close(self.connection.channel(), lambda name: None)

    def close(self, channel: Any, sent: Callable[[str], Any]) -> set[str]:
        """What those are told that wait for the channel's end; `sent(name)` returns when that has left."""
        return set(self._close(channel, sent))

    def number(self) -> int:
        """Of a new channel."""
        return int(self.connection.channel().channel_number)


@pytest.fixture(params=KINDS)
def side(request: pytest.FixtureRequest) -> Iterator[Side]:
    made = Side(request.param)
    yield made
    if made.connection is not None and made.connection.is_open:
        made.connection.close()


def open_channel(peer: Peer, number: int) -> None:
    frame = peer.expect("Channel.Open")
    assert frame.channel == number
    peer.answer(frame)


def cross(peer: Peer) -> None:
    """From the handshake to two Closes of channel 1, neither of them answered."""
    peer.handshake()
    open_channel(peer, 1)
    while peer.receive().name != "Channel.Close":
        pass
    peer.send(answers.channel_close(1, 404, "NOT_FOUND"))


def test_a_close_that_the_broker_does_not_answer_ends_all_the_same(side: Side) -> None:
    """The broker's has come: who waits for the end is told why, and the number stays unused."""

    def script(peer: Peer) -> None:
        cross(peer)
        open_channel(peer, 2)
        peer.serve_to_end()

    with FakeServer(script) as server:
        connection = side.connect(server)
        assert side.close_channel() == {BY_BROKER}
        assert side.number() == 2
        connection.close()
    assert server.peer is not None
    assert [frame.name for frame in server.peer.frames if frame.channel == 1][-1] == "Channel.Close"


def test_the_number_is_free_when_both_closes_are_answered(side: Side) -> None:
    """A late Close-Ok is no other channel's, and ours follows it."""
    go_on = threading.Event()
    answered = threading.Event()

    def script(peer: Peer) -> None:
        cross(peer)
        open_channel(peer, 2)
        assert go_on.wait(SECONDS)
        peer.send(amqp.method(1, "Channel.CloseOk"))
        late = peer.receive()
        while late.name == "Channel.Open":  # it had not come yet
            peer.answer(late)
            late = peer.receive()
        assert (late.name, late.channel) == ("Channel.CloseOk", 1)
        answered.set()
        peer.serve_to_end()

    with FakeServer(script) as server:
        side.connect(server)
        assert side.close_channel() == {BY_BROKER}
        assert side.number() == 2
        go_on.set()
        others = [side.number()]
        while not answered.is_set():
            others.append(side.number())
        assert 1 not in others[:-1]
        assert side.number() == 1 or others[-1] == 1
        side.connection.close()


def test_where_there_is_no_other_number_it_is_used_behind_our_close_ok(side: Side) -> None:
    def script(peer: Peer) -> None:
        cross(peer)
        assert peer.expect("Channel.CloseOk").channel == 1
        open_channel(peer, 1)
        peer.send(amqp.method(1, "Channel.CloseOk"))  # the old channel's
        peer.serve_to_end()

    with FakeServer(script) as server:
        connection = side.connect(server, channel_max=1)
        assert side.close_channel() == {BY_BROKER}
        channel = connection.channel()
        assert channel.channel_number == 1
        channel.basic_qos(prefetch_count=1)
        channel.close()
        connection.close()


def test_our_close_ok_leaves_behind_rabbitmqs(proxy: Proxy, side: Side) -> None:
    """The order in which it loses nothing. Each Close is held until the other one has left."""
    side.connect(proxy)
    channel = side.connection.channel()
    proxy.pause(SERVER)

    def sent(name: str) -> None:
        proxy.wait_for_frame(name)
        if name == "Channel.Close":
            proxy.resume(SERVER)
        else:
            proxy.wait_for_frame("Channel.Close", origin=SERVER)
            proxy.pause(CLIENT)

    assert side.close(channel, sent) == {BY_BROKER}
    proxy.resume(CLIENT)
    while not proxy.frames("Channel.CloseOk"):
        side.number()
    closes = [(e.origin, e.name) for e in proxy.events if e.name.startswith("Channel.Close")]
    assert closes == [
        (SERVER, "Channel.Close"),
        (CLIENT, "Channel.Close"),
        (SERVER, "Channel.CloseOk"),
        (CLIENT, "Channel.CloseOk"),
    ]
