"""The thread-safe connection: what waits for a turn, for a delivery tag to be told, or at the very end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cpika
import pytest
from cpika import exceptions
from cpika.adapters import thread_safe_connection
from parity.harness import Broker
from support.apart import Together, give_way
from support.fakeserver import FakeServer, Peer

SECONDS = 20.0
SOON = 5.0  # seconds of calls that are answered at once, or never


@pytest.fixture
def connection(broker_url: str) -> Iterator[Any]:
    with open_connection() as made:
        yield made


def open_connection(server: FakeServer | None = None, **options: Any) -> Any:
    changes = {} if server is None else {"host": server.host, "port": server.port, "heartbeat": 0}
    parameters = Broker.of_this_run().parameters(cpika, **changes)
    return thread_safe_connection.Connection(parameters, **options)


def queue_of(channel: Any) -> str:
    name: str = channel.queue_declare("", exclusive=True).method.queue
    return name


# ---- turns


def test_a_get_that_its_channel_did_not_survive_leaves_no_turn_behind(connection: Any) -> None:
    """Later ones stood behind it, and waited for good."""
    channel = connection.channel()
    with pytest.raises(exceptions.ChannelClosedByBroker):
        channel.basic_get("no-such-queue")
    for _ in range(2):
        with pytest.raises(exceptions.ChannelWrongStateError):
            channel.basic_get("no-such-queue", timeout=SOON)
    assert connection.channel().basic_get(queue_of(connection.channel())) == (None, None, None)


def answers_no_get(peer: Peer) -> None:
    peer.handshake()
    peer.serve_to_end()


def test_a_get_under_way_when_the_channel_is_closed_leaves_no_turn_behind() -> None:
    with FakeServer(answers_no_get) as server, open_connection(server) as connection:
        channel = connection.channel()
        gets = Together(*[lambda: channel.basic_get("q", timeout=None)] * 4)
        assert give_way(lambda: len(channel._calls) == 4, lambda: channel.basic_qos(prefetch_count=1))
        channel.close()
        assert gets.hung(SECONDS) == []
        assert {type(error) for error in gets.errors} == {exceptions.ChannelClosedByClient}
        with pytest.raises(exceptions.ChannelWrongStateError):
            channel.basic_get("q", timeout=SOON)


def test_confirm_delivery_on_a_channel_that_has_ended_says_so(connection: Any) -> None:
    """It returned the answer of before."""
    channel = connection.channel()
    channel.confirm_delivery(print)
    assert channel.confirm_delivery(print).method.NAME == "Confirm.SelectOk"
    channel.close()
    with pytest.raises(exceptions.ChannelWrongStateError):
        channel.confirm_delivery(print)


def test_a_callback_for_a_channel_that_has_ended_is_not_the_next_ones(connection: Any) -> None:
    """Channel numbers are given again, and callbacks stand under the number."""
    channel = connection.channel()
    channel.close()
    channel.add_on_return_callback(print)
    channel.add_on_cancel_callback(print)
    again = connection.channel()
    assert again.channel_number == channel.channel_number
    found = connection._connection.callbacks.pending(again.channel_number, "_on_return")
    assert not found
