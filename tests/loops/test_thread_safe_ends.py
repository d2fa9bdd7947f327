"""The thread-safe connection: what waits for a turn, for a delivery tag to be told, or at the very end."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from queue import SimpleQueue
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


class Held:
    """While it lasts, the I/O thread does nothing."""

    def __init__(self, connection: Any) -> None:
        self._loop = connection._ioloop
        self._go_on = threading.Event()
        held = threading.Event()
        connection.add_callback_threadsafe(lambda: (held.set(), self._go_on.wait(SECONDS)))
        assert held.wait(SECONDS)

    def __enter__(self) -> Held:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._go_on.set()

    def await_calls(self, count: int) -> None:
        """Return when so many things are left to the I/O thread."""
        pause = threading.Event()
        assert give_way(lambda: len(self._loop._callbacks) == count, lambda: pause.wait(0.01))


def test_a_request_that_a_close_overtakes_is_not_sent(connection: Any) -> None:
    """It stood behind Channel.Close and left when that was answered: the broker closed the connection."""
    channel = connection.channel()
    with Held(connection) as held:
        closing = Together(channel.close)
        held.await_calls(1)
        asking = Together(lambda: channel.queue_declare("", exclusive=True))
        held.await_calls(2)
    closing.join(SECONDS)
    assert asking.hung(SECONDS) == []
    assert type(asking.errors[0]) is exceptions.ChannelWrongStateError
    assert connection.channel().is_open


def test_a_request_that_was_given_up_before_it_began_is_not_sent(connection: Any) -> None:
    channel = connection.channel()
    queue = f"given up {os.urandom(8).hex()}"
    with Held(connection), pytest.raises(TimeoutError):
        channel.queue_declare(queue, exclusive=True, timeout=0.01)
    with pytest.raises(exceptions.ChannelClosedByBroker, match="NOT_FOUND"):
        channel.queue_declare(queue, passive=True)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_callback_that_ends_its_thread_while_there_is_no_room_ends_the_connection(broker_url: str) -> None:
    """The I/O thread waited for room as long as it may, and told that there was none."""
    ended: SimpleQueue[BaseException] = SimpleQueue()
    connection = open_connection(
        on_close_callback=lambda _raw, error: ended.put(error),
        work_queue_maxsize=1,
        work_queue_put_timeout=2 * SECONDS,
    )
    channel = connection.channel()
    queue = queue_of(channel)
    pause = threading.Event()

    def leave(*_message: Any) -> None:
        assert give_way(lambda: channel._worker._short, lambda: pause.wait(0.01))
        sys.exit("enough")

    channel.basic_consume(queue, leave, auto_ack=True)
    for _ in range(5):
        channel.basic_publish("", queue, b"")
    reason = ended.get(timeout=SECONDS)
    assert isinstance(reason, exceptions.ConnectionWrongStateError) and "enough" in str(reason)
    connection.close()
