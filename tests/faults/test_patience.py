"""Row 31: how long a peer may be silent, with heartbeats agreed.

A peer counts as dead after max(2 x interval, interval + 5 s): pika looks every interval + 5 s.
"""

from __future__ import annotations

import functools
import threading
import time
from typing import Any

from support import answers
from support.apart import Together, apart, connect
from support.fakeserver import FakeServer, Peer
from support.proxy import SERVER, Proxy
from support.urls import host_and_port

LIMIT = 6.0  # seconds that a peer may be silent at a heartbeat of one second
LATE = 1.5  # seconds by which a busy machine, or the library's own rounds, may be late


def a_pause(target: Any, silence: float, call: str) -> str:
    """A peer that says nothing for a while, and then goes on."""
    with Proxy("127.0.0.1", target) as proxy:
        connection = connect(proxy, heartbeat=1)
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        proxy.pause(SERVER)
        resuming = threading.Timer(silence, proxy.resume, [SERVER])
        resuming.start()
        try:
            if call == "sleep":
                connection.sleep(silence + 0.5)
            elif call == "request":
                channel.queue_declare(queue, passive=True)
            else:
                channel.basic_consume(queue, lambda *args: None)
                connection.call_later(silence + 0.5, channel.stop_consuming)
                channel.start_consuming()
            told = channel.queue_declare(queue, passive=True).method.queue == queue
            connection.close()
            return f"survived {told}"
        except Exception as error:
            return repr(error)
        finally:
            resuming.join()


PAUSES = [("sleep", 3.0), ("sleep", 5.0), ("request", 5.0), ("start_consuming", 5.0)]


def pauses(target: int) -> list[str]:
    """All pauses at once, each on a connection of its own."""
    return Together(*(functools.partial(a_pause, target, silence, call) for call, silence in PAUSES)).join(12)


def test_a_short_pause_of_the_broker_is_survived(broker_url: str) -> None:
    """Row 31, patience: a peer that pauses for five intervals of one second is not given up."""
    told = apart(pauses, host_and_port(broker_url)[1])
    assert told == ["survived True"] * len(PAUSES), list(zip(PAUSES, told))


def test_pika_survives_three_silent_seconds(broker_url: str) -> None:
    """Row 31, patience: pika at the same heartbeat."""
    told = apart(a_pause, host_and_port(broker_url)[1], 3.0, "sleep", subject="pika")
    assert told == "survived True"


def silent_for_good() -> list[Any]:
    """A peer that never says anything more: when is it given up?"""

    def script(peer: Peer) -> None:
        peer.handshake(heartbeat=1)
        peer.serve_until("Channel.Open")
        began.append(time.monotonic())
        while True:  # hears, and says nothing
            peer.receive()

    began: list[float] = []
    with FakeServer(script) as server:
        connection = connect(server, heartbeat=1)
        connection.channel()
        try:
            connection.sleep(12)
        except Exception as error:
            return [type(error).__name__, time.monotonic() - began[0]]
        return ["survived", 12.0]


def test_a_peer_that_is_silent_for_good_is_given_up_in_time() -> None:
    """Row 31, patience: not before the limit, and soon after it."""
    name, seconds = apart(silent_for_good)
    assert name == "AMQPHeartbeatTimeout"
    assert LIMIT - 0.1 <= seconds <= LIMIT + LATE


def slow_but_alive() -> str:
    """A peer that says something every three and a half seconds."""

    def script(peer: Peer) -> None:
        peer.handshake(heartbeat=1)
        peer.serve_until("Channel.Open")
        for _ in range(2):
            time.sleep(3.5)
            peer.send(b"\x08\x00\x00\x00\x00\x00\x00\xce")
        answers.serve_to_end(peer)

    with FakeServer(script) as server:
        connection = connect(server, heartbeat=1)
        connection.channel()
        try:
            connection.sleep(7.5)
            connection.close()
        except Exception as error:
            return repr(error)
    return "survived"


def test_a_slow_peer_is_not_given_up() -> None:
    """Row 31, patience: each sign of life begins the count anew."""
    assert apart(slow_but_alive) == "survived"
