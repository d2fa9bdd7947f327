"""The thread-safe connection: its I/O thread ends, callers give up, its reason is raised over and over."""

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
from support.apart import apart
from support.proxy import SERVER, Proxy

SECONDS = 20.0


def open_connection(port: int | None = None, **callbacks: Any) -> Any:
    broker = Broker.of_this_run()
    changes = {} if port is None else {"host": "127.0.0.1", "port": port}
    return thread_safe_connection.Connection(broker.parameters(cpika, **changes), **callbacks)


@pytest.fixture
def connection(broker_url: str) -> Iterator[Any]:
    with open_connection() as made:
        yield made


@pytest.fixture
def slow(proxy: Proxy) -> Iterator[Any]:
    """A connection whose broker answers when the proxy lets it."""
    with open_connection(proxy.port) as made:
        yield made
        proxy.resume()


def mistake() -> None:
    raise ZeroDivisionError("mine")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(
    "ending, reason", [(mistake, ZeroDivisionError), (sys.exit, exceptions.ConnectionWrongStateError)]
)
def test_what_ends_the_io_thread_ends_the_connection(
    ending: Callable[[], None], reason: type[BaseException]
) -> None:
    """It would stay open: heartbeats go on without the thread, and publishes leave with nobody behind."""
    told: list[BaseException] = []
    connection = open_connection(on_close_callback=lambda _raw, error: told.append(error))
    channel = connection.channel()
    connection.add_callback_threadsafe(ending)
    connection._thread.join(SECONDS)
    assert connection.is_closed and not channel.is_open
    assert [type(error) for error in told] == [reason]
    for call in (
        lambda: channel.basic_publish("", "q", b""),
        lambda: channel.basic_ack(1),
        lambda: channel.queue_declare(""),
    ):
        with pytest.raises(reason):
            call()
    assert connection._ioloop._poller._w_interrupt is None  # no descriptor is left
    connection.close()


def test_what_callbacks_raise_at_the_end_of_the_io_thread_keeps_nobody_from_it(broker_url: str) -> None:
    connection = open_connection()

    def begin() -> None:
        for _ in range(3):
            connection.add_callback_threadsafe(mistake)

    connection.add_callback_threadsafe(begin)
    connection._thread.join(SECONDS)
    assert connection.is_closed


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_with_the_ident_of_an_ended_one_is_another_thread(broker_url: str) -> None:
    connection = open_connection()
    connection.add_callback_threadsafe(sys.exit)
    connection._thread.join(SECONDS)
    raised: list[BaseException] = []

    def call() -> None:
        try:
            connection.channel()
        except Exception as error:
            raised.append(error)

    for _ in range(20):  # the system gives the ident again soon
        thread = threading.Thread(target=call)
        thread.start()
        thread.join(SECONDS)
    assert {type(error) for error in raised} == {exceptions.ConnectionWrongStateError}


def ask_in_a_child() -> str:
    connection = open_connection()
    channel = connection.channel()
    raised: list[str] = []
    reading, writing = os.pipe()
    calls: list[Callable[[], Any]] = [
        lambda: connection.channel(timeout=0.2),
        lambda: connection.add_callback_threadsafe(print),
        lambda: connection.add_on_connection_blocked_callback(print),
        lambda: channel.add_on_cancel_callback(print),
        lambda: channel.queue_declare("", timeout=0.2),
        connection.close,
    ]

    def call() -> None:
        for make in calls:
            try:
                raised.append(f"returned {make()}")
            except Exception as error:
                raised.append(type(error).__name__)
        raised.extend(f"{thing} is open" for thing in (connection, channel) if thing.is_open)

    pid = os.fork()
    if pid == 0:
        call()
        for _ in range(5):  # the system gives the I/O thread's ident, which is no thread here
            thread = threading.Thread(target=call)
            thread.start()
            thread.join()
        os.write(writing, " ".join(sorted(set(raised))).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    connection.close()
    return os.read(reading, 1000).decode()


def test_in_a_child_each_call_says_so_and_no_thread_is_the_parents_io_thread(broker_url: str) -> None:
    assert apart(ask_in_a_child) == "ConnectionWrongStateError"


@pytest.mark.parametrize("whose", ["connection", "other channel"])
def test_callbacks_of_two_channels_that_close_at_once_do_not_wait_for_each_other(
    connection: Any, whose: str
) -> None:
    channels = [connection.channel() for _ in range(2)]
    together = threading.Barrier(2)
    left: SimpleQueue[str] = SimpleQueue()

    def close(channel: Any, *_args: Any) -> None:
        together.wait(SECONDS)
        closed = connection if whose == "connection" else channels[channel is channels[0]]
        try:
            closed.close(timeout=None)
            left.put("ok")
        except exceptions.AMQPError as error:
            left.put(type(error).__name__)

    for channel in channels:
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.basic_consume(queue, close, auto_ack=True)
        channel.basic_publish("", queue, b"")
    # The one that finds the connection closed already may say so.
    assert {left.get(timeout=SECONDS) for _ in channels} <= {"ok", "ConnectionClosedByClient"}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_callback_that_ends_its_thread_ends_the_connection(broker_url: str) -> None:
    """Its channel would stay open, and take messages that nobody sees."""
    told: SimpleQueue[BaseException] = SimpleQueue()
    connection = open_connection(on_close_callback=lambda _raw, error: told.put(error))
    channel = connection.channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.basic_consume(queue, lambda *_args: sys.exit("enough"))
    channel.basic_publish("", queue, b"")
    reason = told.get(timeout=SECONDS)
    assert isinstance(reason, exceptions.ConnectionWrongStateError)
    assert "SystemExit('enough')" in str(reason)
    connection._thread.join(SECONDS)
    with pytest.raises(exceptions.ConnectionWrongStateError, match="enough"):
        channel.basic_publish("", queue, b"")
    connection.close()


def test_a_reason_that_is_raised_again_holds_no_frames_of_those_who_were_told(connection: Any) -> None:
    channel = connection.channel()
    connection.close()
    for call in (
        connection.channel,
        lambda: channel.basic_publish("", "q", b""),
        lambda: channel.queue_declare(""),
        lambda: connection.add_callback_threadsafe(print),
    ):
        depths = set()
        for _ in range(3):
            with pytest.raises(exceptions.ConnectionClosedByClient) as caught:
                call()
            depths.add(len(caught.traceback))
        assert len(depths) == 1
    assert connection._closed_reason.__traceback__ is None


def test_a_message_that_was_got_for_nobody_goes_back(slow: Any, proxy: Proxy) -> None:
    channel = slow.channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.basic_publish("", queue, b"x")
    proxy.pause(SERVER)
    with pytest.raises(TimeoutError):
        channel.basic_get(queue, timeout=0.2)
    with pytest.raises(TimeoutError):
        channel.basic_get(queue, timeout=0.2)  # whose turn does not come
    proxy.resume()
    method, _properties, body = channel.basic_get(queue)
    assert (body, method.redelivered) == (b"x", True)
    assert not channel._gets and not channel._calls


def test_a_consumer_that_began_for_nobody_ends(slow: Any, proxy: Proxy) -> None:
    channel = slow.channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    proxy.pause(SERVER)
    with pytest.raises(TimeoutError):
        channel.basic_consume(queue, print, timeout=0.2)
    proxy.resume()
    channel.basic_qos(prefetch_count=1)  # behind it, and behind its end
    assert channel.queue_declare(queue, passive=True).method.consumer_count == 0


def test_a_channel_that_opened_for_nobody_is_closed(slow: Any, proxy: Proxy) -> None:
    proxy.pause(SERVER)
    with pytest.raises(TimeoutError):
        slow.channel(timeout=0.2)
    proxy.resume()
    second = slow.channel()
    assert [second] == [channel for channel in slow._channels if channel.is_open]


def test_what_nobody_waits_for_any_more_is_not_begun(connection: Any) -> None:
    channel = connection.channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.basic_publish("", queue, b"x")
    busy, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        busy.set()
        go_on.wait(SECONDS)

    connection.add_callback_threadsafe(hold)
    assert busy.wait(SECONDS)
    with pytest.raises(TimeoutError):
        channel.basic_get(queue, timeout=0.01)
    with pytest.raises(TimeoutError):
        connection.channel(timeout=0.01)
    go_on.set()
    method, _properties, body = channel.basic_get(queue)
    assert (body, method.redelivered) == (b"x", False)
    assert connection._channels == [channel]
    assert not channel._calls and not connection._calls


@pytest.mark.parametrize("size", [0, -1])
def test_a_work_queue_without_a_size_has_no_limit(size: int) -> None:
    """As `queue.Queue`: the first callback was held up for want of room, which then ended the connection."""
    ran = threading.Event()
    with open_connection(work_queue_maxsize=size, work_queue_put_timeout=0.1) as connection:
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.basic_consume(queue, lambda *_: ran.set(), auto_ack=True)
        channel.basic_publish("", queue, b"x")
        assert ran.wait(SECONDS)


def test_a_work_queue_s_size_is_a_number() -> None:
    with pytest.raises(TypeError, match="work_queue_maxsize must be a number, got None"):
        open_connection(work_queue_maxsize=None)


def test_no_end_of_time_is_too_far_away() -> None:
    connection = open_connection(timeout=float("inf"))
    connection.channel(timeout=float("inf"))
    connection.close(timeout=float("inf"))
    assert connection.is_closed
