"""The thread-safe connection: what waits for a turn, for a delivery tag to be told, or at the very end."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any

import cpika
import pytest
from cpika import exceptions
from cpika.adapters import thread_safe_connection
from parity.harness import Broker
from support import amqp
from support.apart import Together, give_way
from support.fakeserver import FakeServer, Peer
from support.scripts import Script

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


# ---- delivery tags that are being told


class Telling:
    """A confirming channel; `publish` calls `meanwhile()` in `on_publish`, once the broker has confirmed."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.channel = connection.channel()
        self.other = connection.channel()
        self.queue = queue_of(self.channel)
        self.said: list[tuple[str, int]] = []
        self.confirmed = threading.Event()
        self.channel.confirm_delivery(self._settled)

    def _settled(self, frame: Any) -> None:
        self.said.append(("confirmed", frame.method.delivery_tag))
        self.confirmed.set()

    def publish(self, meanwhile: Callable[[], Any], timeout: float = SECONDS) -> Any:
        """What `meanwhile()` returns; Hung: it does not."""

        def told(tag: int) -> None:
            while not self.other.basic_get(self.queue)[0]:  # it is there
                pass
            for _ in range(5):  # and by then the broker's confirm is here as well
                self.other.queue_declare(self.queue, passive=True)
            results.append(meanwhile())
            self.said.append(("told", tag))

        results: list[Any] = []
        publishing = Together(lambda: self.channel.basic_publish("", self.queue, b"", on_publish=told))
        publishing.join(timeout)
        return results[0]

    def check(self) -> None:
        assert self.confirmed.wait(SECONDS)
        assert self.said == [("told", 1), ("confirmed", 1)]


@pytest.mark.parametrize("whose", ["channel", "connection"])
def test_on_publish_may_close(connection: Any, whose: str) -> None:
    """It waited for the thread that waited for it."""
    scene = Telling(connection)
    closed = scene.channel if whose == "channel" else connection
    scene.publish(lambda: closed.close(timeout=None))
    assert closed.is_closed
    scene.check()


def test_two_that_tell_tags_may_close_each_others_channel(connection: Any) -> None:
    channels = [connection.channel() for _ in range(2)]
    together = threading.Barrier(2)
    confirmed: SimpleQueue[int] = SimpleQueue()

    def publish(channel: Any, other: Any) -> None:
        def told(_tag: int) -> None:
            connection.channel().basic_get(queue)
            together.wait(SECONDS)
            other.close(timeout=None)

        queue = queue_of(channel)
        channel.confirm_delivery(lambda frame: confirmed.put(frame.method.delivery_tag))
        channel.basic_publish("", queue, b"", on_publish=told)

    Together(lambda: publish(*channels), lambda: publish(*channels[::-1])).join(SECONDS)
    assert not any(channel.is_open for channel in channels)


def test_on_publish_may_wait_for_messages_of_its_channel(broker_url: str) -> None:
    """The channel's thread waited for it, its queue became full, and the connection ended."""
    with open_connection(work_queue_maxsize=2, work_queue_put_timeout=SOON) as connection:
        scene = Telling(connection)
        consumed = queue_of(scene.channel)
        all_came = threading.Event()

        def message(_channel: Any, _method: Any, _properties: Any, body: bytes) -> None:
            if body == b"last":
                all_came.set()

        def meanwhile() -> bool:
            for number in range(20):
                scene.other.basic_publish("", consumed, b"last" if number == 19 else b"")
            scene.other.queue_declare(consumed, passive=True)
            return all_came.wait(SECONDS)

        scene.channel.basic_consume(consumed, message, auto_ack=True)
        assert scene.publish(meanwhile, 2 * SECONDS)
        scene.check()


CONFIRMED = 20


def confirms_each(peer: Peer) -> None:
    """A confirm for each publish, a returned message behind the last, an answer to purges."""
    peer.handshake()
    tag = 0
    while True:
        frame = peer.receive()
        if frame.name == "Basic.Publish":
            tag += 1
            peer.send(amqp.method(1, "Basic.Ack", tag.to_bytes(8, "big") + b"\0"))
            if tag == CONFIRMED:
                peer.send(
                    amqp.method(1, "Basic.Return", b"\x01\x38" + amqp.short("no") + amqp.short("") * 2),
                    amqp.content_header(1, 0),
                )
        elif frame.name == "Queue.Purge":
            peer.send(amqp.method(1, "Queue.PurgeOk", bytes(4)))
        elif frame.name == "Connection.Close":
            peer.send(amqp.method(0, "Connection.CloseOk"))
        else:
            peer.answer(frame)


def test_confirms_behind_a_tag_that_is_being_told_come_in_order_and_hold_nothing_else_up() -> None:
    confirmed: SimpleQueue[int] = SimpleQueue()
    returned = threading.Event()
    with FakeServer(confirms_each) as server, open_connection(server) as connection:
        channel = connection.channel()
        channel.confirm_delivery(lambda frame: confirmed.put(frame.method.delivery_tag))
        channel.add_on_return_callback(lambda *_message: returned.set())
        before: list[tuple[bool, bool]] = []

        def told(_tag: int) -> None:
            other = Together(*[lambda: channel.basic_publish("", "q", b"")] * (CONFIRMED - 1))
            other.join()
            before.append((returned.wait(SOON), confirmed.empty()))
            raise ZeroDivisionError("mine")

        with pytest.raises(ZeroDivisionError):
            channel.basic_publish("", "q", b"", on_publish=told)
        assert [confirmed.get(timeout=SECONDS) for _ in range(CONFIRMED)] == [*range(1, CONFIRMED + 1)]
        assert before == [(True, True)]


def test_on_publish_may_ask_however_many_confirms_stand_behind_it() -> None:
    """They count among the callbacks that wait; who waits for the I/O thread is not waited for by it."""
    confirmed: SimpleQueue[int] = SimpleQueue()
    limits = {"work_queue_maxsize": 3, "work_queue_put_timeout": 2 * SECONDS}
    with FakeServer(confirms_each) as server, open_connection(server, **limits) as connection:
        channel = connection.channel()
        channel.confirm_delivery(lambda frame: confirmed.put(frame.method.delivery_tag))
        answers: list[str] = []

        def told(_tag: int) -> None:
            for _ in range(CONFIRMED - 1):
                channel.basic_publish("", "q", b"")
            answers.append(channel.queue_purge("q", timeout=SOON).method.NAME)

        channel.basic_publish("", "q", b"", on_publish=told)
        assert [confirmed.get(timeout=SECONDS) for _ in range(CONFIRMED)] == [*range(1, CONFIRMED + 1)]
        assert answers == ["Queue.PurgeOk"]


def test_many_tell_tags_while_there_is_room_for_one_callback(broker_url: str) -> None:
    """What says that a tag has been told stands in the queue, too, and makes room when it is taken."""
    threads, each = 4, 100
    with open_connection(work_queue_maxsize=1, work_queue_put_timeout=SOON) as connection:
        channel = connection.channel()
        queue = queue_of(channel)
        told: set[int] = set()
        confirmed: SimpleQueue[int] = SimpleQueue()
        early: list[int] = []

        def settled(frame: Any) -> None:
            tag = frame.method.delivery_tag
            if tag not in told:
                early.append(tag)
            confirmed.put(tag)

        def tell(tag: int) -> None:
            if tag % 3 == 0:
                channel.queue_declare(queue, passive=True)
            told.add(tag)

        def publish() -> None:
            for _ in range(each):
                channel.basic_publish("", queue, b"", on_publish=tell)

        channel.confirm_delivery(settled)
        Together(*[publish] * threads).join(SECONDS)
        while confirmed.get(timeout=SECONDS) < threads * each:
            pass
        assert not early
        assert connection.is_open


def test_what_is_held_back_for_a_tag_outlives_the_channel_as_long_as_the_tag_is_told(connection: Any) -> None:
    channel, go_on = connection.channel(), threading.Event()
    queue = queue_of(channel)
    told, said = threading.Event(), []

    def tell(tag: int) -> None:
        for _ in range(5):  # by then the broker's confirm is here as well
            channel.queue_declare(queue, passive=True)
        told.set()
        go_on.wait(SECONDS)
        said.append(("told", tag))

    channel.confirm_delivery(lambda frame: said.append(("confirmed", frame.method.delivery_tag)))
    publishing = Together(lambda: channel.basic_publish("", queue, b"", on_publish=tell))
    assert told.wait(SECONDS)
    closing = Together(lambda: channel.close(timeout=None))
    assert give_way(lambda: channel.is_closed, lambda: connection.channel().close())
    go_on.set()
    publishing.join(SECONDS)
    closing.join(SECONDS)
    assert said == [("told", 1), ("confirmed", 1)]
    assert not channel._worker._thread.is_alive()


# ---- the end of the interpreter

FINALIZED = """
import builtins, os
from cpika.adapters.thread_safe_connection import Connection

PARAMETERS = pika.URLParameters(os.environ["CPIKA_BROKER_URL"])
connection = Connection(PARAMETERS)
channel = connection.channel()
queue = channel.queue_declare("", exclusive=True).method.queue


class Last:
    calls = {
        "declare": lambda: channel.queue_declare("", timeout=None),
        "get": lambda: channel.basic_get("q", timeout=None),
        "close channel": lambda: channel.close(timeout=None),
        "channel": lambda: connection.channel(timeout=None),
        "callback": lambda: connection.add_callback_threadsafe(print),
        "close": lambda: connection.close(timeout=None),
        "another": lambda: Connection(PARAMETERS),
    }

    def __del__(self, print=print, error=pika.exceptions.ConnectionWrongStateError):
        for what, call in self.calls.items():
            try:
                print(what, call(), flush=True)
            except error as raised:
                print(what, "interpreter is ending" in str(raised), flush=True)
        print("open", connection.is_open, channel.is_open, flush=True)
        connection.abort()
        print("ended", flush=True)


builtins.last = Last()
builtins.kept = (connection, channel, PARAMETERS)
"""


def test_at_the_end_of_the_interpreter_calls_say_that_no_thread_runs_any_more(broker_url: str) -> None:
    """They waited for it, as long as they were told to."""
    with Script(FINALIZED) as script:
        for what in ("declare", "get", "close channel", "channel", "callback", "close"):
            script.expect(f"{what} True")
        script.expect("another True")
        script.expect("open False False")
        script.expect("ended")
        assert script.process.wait(SECONDS) == 0


PUBLISHES = """
import builtins, os, sys
from cpika.adapters.thread_safe_connection import Connection

channel = Connection(pika.URLParameters(os.environ["CPIKA_BROKER_URL"])).channel()


class Last:
    def __del__(self, publish=channel.basic_publish, queue=sys.argv[1]):
        for number in range(5):
            publish("", queue, b"%d" % number)


builtins.last = Last()
"""


def test_what_is_published_at_the_end_of_the_interpreter_leaves(broker_url: str, connect: Any) -> None:
    """The first of them did: the others were left to a thread that runs no more."""
    channel = connect().channel()
    queue = channel.queue_declare("", auto_delete=False).method.queue
    try:
        with Script(PUBLISHES, queue) as script:
            assert script.process.wait(SECONDS) == 0
        bodies = [channel.basic_get(queue, auto_ack=True)[2] for _ in range(6)]
    finally:
        channel.queue_delete(queue)
    assert bodies == [b"0", b"1", b"2", b"3", b"4", None]
