"""Rule 13: any method may be called from any thread."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from support.proxy import CLIENT, SERVER, Proxy
from support.subject import exceptions

pytestmark = pytest.mark.rule(13)

THREADS = 8


def in_threads(work: Callable[[int], Any], timeout: float = 30) -> list[Any]:
    """What work(0) ... work(7) return, each in a thread of its own; raises the first exception."""
    results: list[Any] = [None] * THREADS
    errors: list[BaseException] = []

    def run(number: int) -> None:
        try:
            results[number] = work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    end = time.monotonic() + timeout
    for thread in threads:
        thread.join(max(0, end - time.monotonic()))
    if errors:
        raise errors[0]
    assert not [thread for thread in threads if thread.is_alive()], "threads are stuck"
    return results


def test_eight_threads_publish_and_ack_while_one_consumes(
    connect: Callable[..., Any], queue_name: str
) -> None:
    each = 200
    connection = connect()
    consuming, publishing = connection.channel(), connection.channel()
    consuming.queue_declare(queue_name)
    tags: list[int] = []
    bodies: list[bytes] = []
    arrived = threading.Condition()
    dispatcher = threading.get_ident()
    strangers: list[int] = []

    def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        if threading.get_ident() != dispatcher:
            strangers.append(threading.get_ident())
        with arrived:
            tags.append(method.delivery_tag)
            bodies.append(body)
            arrived.notify()

    def work(number: int) -> None:
        for index in range(each):
            publishing.basic_publish("", queue_name, b"%d-%d" % (number, index))
        for _ in range(each):
            with arrived:
                assert arrived.wait_for(lambda: tags, timeout=20)
                tag = tags.pop()
            consuming.basic_ack(tag)

    consuming.basic_consume(queue_name, on_message)
    done = threading.Event()
    failures: list[BaseException] = []

    def run() -> None:
        try:
            in_threads(work)
        except BaseException as error:
            failures.append(error)
        done.set()

    threading.Thread(target=run, daemon=True).start()
    end = time.monotonic() + 40
    while not done.is_set() and time.monotonic() < end:
        connection.process_data_events(time_limit=0.1)
    assert done.is_set()
    assert not failures, failures
    assert not strangers, "callbacks run in the dispatching thread only"
    assert sorted(bodies) == sorted(b"%d-%d" % (n, i) for n in range(THREADS) for i in range(each))
    for number in range(THREADS):
        mine = [body for body in bodies if body.startswith(b"%d-" % number)]
        assert mine == [b"%d-%d" % (number, index) for index in range(each)]
    consuming.close()
    assert connection.channel().queue_declare(queue_name, passive=True).method.message_count == 0


@pytest.mark.parametrize("channels", [1, THREADS])
def test_eight_threads_publish_with_confirms(
    connect: Callable[..., Any], queue_name: str, channels: int
) -> None:
    """Each publish returns when its own message was confirmed; a return belongs to its publisher."""
    each = 25
    connection = connect()
    opened = [connection.channel() for _ in range(channels)]
    opened[0].queue_declare(queue_name)
    for channel in opened:
        channel.confirm_delivery()

    def work(number: int) -> list[bytes]:
        channel = opened[number % channels]
        unroutable = []
        for index in range(each):
            body = b"%d-%d" % (number, index)
            if index % 5 == 4:
                with pytest.raises(exceptions.UnroutableError) as caught:
                    channel.basic_publish("", "cpika-test-nowhere", body, mandatory=True)
                assert [message.body for message in caught.value.messages] == [body]
                unroutable.append(body)
            else:
                channel.basic_publish("", queue_name, body, mandatory=True)
        return unroutable

    returned = in_threads(work)
    assert [len(bodies) for bodies in returned] == [each // 5] * THREADS
    count = opened[0].queue_declare(queue_name, passive=True).method.message_count
    assert count == THREADS * (each - each // 5)


def test_requests_of_eight_threads_get_their_own_answers_on_channels_of_their_own(
    connect: Callable[..., Any],
) -> None:
    connection = connect()

    def work(number: int) -> list[str]:
        channel = connection.channel()
        names = [channel.queue_declare("", exclusive=True).method.queue for _ in range(10)]
        again = [channel.queue_declare(name, passive=True).method.queue for name in names]
        assert names == again
        assert {channel.queue_declare(name, passive=True).channel_number for name in names} == {int(channel)}
        channel.close()
        return names

    names = [name for mine in in_threads(work) for name in mine]
    assert len(set(names)) == 10 * THREADS


def test_requests_of_eight_threads_get_their_own_answers_on_one_channel(
    connect: Callable[..., Any],
) -> None:
    """Queue `number` holds `number` messages throughout; each thread has a second one that it empties."""
    each = 20
    channel = connect().channel()
    full = [channel.queue_declare("", exclusive=True).method.queue for _ in range(THREADS)]
    letters = [channel.queue_declare("", exclusive=True).method.queue for _ in range(THREADS)]
    channel.confirm_delivery()
    for number in range(THREADS):
        for _ in range(number):
            channel.basic_publish("", full[number], b"x")
        for index in range(each):
            channel.basic_publish("", letters[number], b"%d-%d" % (number, index))

    def work(number: int) -> None:
        for index in range(each):
            answer = channel.queue_declare(full[number], passive=True).method
            assert (answer.queue, answer.message_count) == (full[number], number)
            method, _, body = channel.basic_get(letters[number])
            assert (method.message_count, body) == (each - index - 1, b"%d-%d" % (number, index))
            channel.basic_ack(method.delivery_tag)
        assert channel.basic_get(letters[number]) == (None, None, None)

    in_threads(work)


def test_a_thread_takes_the_reading_over_from_one_that_stops(connect: Callable[..., Any]) -> None:
    """Threads come and go as readers; nobody waits for an answer that somebody else has read."""
    connection = connect()
    stop = threading.Event()

    def dispatch() -> None:
        while not stop.is_set():
            connection.process_data_events(time_limit=0.001)

    dispatching = threading.Thread(target=dispatch, daemon=True)
    dispatching.start()

    def work(number: int) -> None:
        channel = connection.channel()
        for _ in range(50):
            channel.queue_declare("", exclusive=True)

    begin = time.monotonic()
    in_threads(work)
    stop.set()
    dispatching.join(10)
    assert not dispatching.is_alive()
    assert time.monotonic() - begin < 20


def test_an_interrupted_wait_leaves_its_answer_to_nobody(
    proxy: Proxy, connect: Callable[..., Any], queue_name: str
) -> None:
    """The answer that comes after the caller has gone is swallowed, not given to the next request."""

    class Interrupted(Exception):
        pass

    def interrupt(number: int, frame: object) -> None:
        raise Interrupted

    channel = connect(proxy).channel()
    channel.queue_declare(queue_name)
    second = channel.queue_declare("", exclusive=True).method.queue
    proxy.pause(SERVER)
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for _ in range(3):
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            with pytest.raises(Interrupted):
                channel.queue_declare(queue_name, passive=True)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    proxy.resume()
    assert channel.queue_declare(second, passive=True).method.queue == second
    assert channel.queue_declare(queue_name, passive=True).method.queue == queue_name
    assert channel.basic_get(second) == (None, None, None)


def test_an_interrupted_confirm_does_not_confirm_the_next_message(
    proxy: Proxy, connect: Callable[..., Any], queue_name: str
) -> None:
    class Interrupted(Exception):
        pass

    def interrupt(number: int, frame: object) -> None:
        raise Interrupted

    channel = connect(proxy).channel()
    channel.queue_declare(queue_name)
    channel.confirm_delivery()
    proxy.pause(SERVER)
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(Interrupted):
            channel.basic_publish("", "cpika-test-nowhere", b"lost", mandatory=True)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    proxy.resume()
    channel.basic_publish("", queue_name, b"kept", mandatory=True)
    with pytest.raises(exceptions.UnroutableError) as caught:
        channel.basic_publish("", "cpika-test-nowhere", b"returned", mandatory=True)
    assert [message.body for message in caught.value.messages] == [b"returned"]
    assert channel.basic_get(queue_name, auto_ack=True)[2] == b"kept"


def test_a_channel_whose_close_was_interrupted_is_closed_when_its_answer_comes(
    proxy: Proxy, connect: Callable[..., Any]
) -> None:
    class Interrupted(Exception):
        pass

    def interrupt(number: int, frame: object) -> None:
        raise Interrupted

    connection = connect(proxy)
    channel = connection.channel()
    proxy.pause(SERVER)
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(Interrupted):
            channel.close()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert not channel.is_closed
    proxy.resume()
    other = connection.channel()
    other.queue_declare("", exclusive=True)
    assert channel.is_closed
    assert int(connection.channel()) == int(channel) != int(other)


def test_every_waiting_thread_learns_that_the_connection_is_gone(
    proxy: Proxy, connect: Callable[..., Any]
) -> None:
    connection = connect(proxy)
    channels = [connection.channel() for _ in range(THREADS)]
    channels[0].confirm_delivery()
    proxy.pause(SERVER)
    start = proxy.mark()

    def wait(number: int) -> str:
        calls: list[Callable[[], Any]] = [
            lambda: channels[0].basic_publish("", "cpika-test-nowhere", b"x"),
            lambda: channels[1].queue_declare("", exclusive=True),
            lambda: channels[2].basic_get("cpika-test-nowhere"),
            lambda: connection.process_data_events(time_limit=None),
            lambda: connection.channel(),
            lambda: channels[5].close(),
            lambda: channels[6].basic_qos(prefetch_count=1),
            lambda: channels[7].confirm_delivery(),
        ]
        with pytest.raises(exceptions.AMQPError) as caught:
            calls[number]()
        return type(caught.value).__name__

    sent = threading.Thread(
        target=lambda: (
            proxy.wait_for_count(
                lambda e: e.origin == CLIENT and e.name not in ("HEADER", "BODY"), 7, start=start
            ),
            proxy.cut(),
        ),
        daemon=True,
    )
    sent.start()
    names = in_threads(wait, timeout=20)
    wanted = {"StreamLostError", "ConnectionWrongStateError", "ChannelWrongStateError"}
    assert set(names) <= wanted, names
    assert "StreamLostError" in names


def test_stop_consuming_from_another_thread_is_prompt(connect: Callable[..., Any], queue_name: str) -> None:
    channel = connect().channel()
    channel.queue_declare(queue_name)
    channel.basic_consume(queue_name, print)
    called: list[float] = []

    def stop() -> None:
        called.append(time.monotonic())
        channel.stop_consuming()

    threading.Timer(0.3, stop).start()
    channel.start_consuming()
    assert time.monotonic() - called[0] < 2


def test_thread_safe_callbacks_run_in_the_order_of_their_calls(connect: Callable[..., Any]) -> None:
    connection = connect()
    ran: list[tuple[int, int]] = []
    where: set[int] = set()

    def work(number: int) -> None:
        for index in range(100):

            def callback(key: tuple[int, int] = (number, index)) -> None:
                ran.append(key)
                where.add(threading.get_ident())

            connection.add_callback_threadsafe(callback)

    in_threads(work)
    end = time.monotonic() + 10
    while len(ran) < 100 * THREADS and time.monotonic() < end:
        connection.process_data_events(time_limit=0.1)
    assert where == {threading.get_ident()}
    for number in range(THREADS):
        assert [index for owner, index in ran if owner == number] == list(range(100))
