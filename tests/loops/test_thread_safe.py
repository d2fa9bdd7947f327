"""The thread-safe connection: from many threads, from its own callbacks, at its end."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

import cpika
import pytest
from cpika.adapters import thread_safe_connection
from cpika.adapters._workers import Call
from parity.harness import Broker

SECONDS = 20.0


@pytest.fixture
def params(broker_url: str) -> Any:
    return Broker.of_this_run().parameters(cpika)


@pytest.fixture
def connection(params: Any) -> Iterator[Any]:
    with thread_safe_connection.Connection(params) as made:
        yield made


def queue_of(channel: Any) -> str:
    name: str = channel.queue_declare("", exclusive=True).method.queue
    return name


def test_messages_of_four_threads_are_confirmed_and_come_in_each_ones_order(connection: Any) -> None:
    threads, each = 4, 500
    publishing, consuming = connection.channel(), connection.channel()
    queue = queue_of(publishing)
    tags: list[int] = []
    got: list[bytes] = []
    confirmed, come = threading.Event(), threading.Event()

    def settled(frame: Any) -> None:
        if frame.method.delivery_tag == threads * each:
            confirmed.set()

    def message(channel: Any, method: Any, _properties: Any, body: bytes) -> None:
        got.append(body)
        channel.basic_ack(method.delivery_tag)
        if len(got) == threads * each:
            come.set()

    def publish(number: int) -> None:
        for count in range(each):
            publishing.basic_publish("", queue, b"%d %d" % (number, count), on_publish=tags.append)

    publishing.confirm_delivery(settled)
    consuming.basic_qos(prefetch_count=50)
    consuming.basic_consume(queue, message)
    publishers = [threading.Thread(target=publish, args=(number,)) for number in range(threads)]
    for publisher in publishers:
        publisher.start()
    assert confirmed.wait(SECONDS)
    assert come.wait(SECONDS)
    assert sorted(tags) == list(range(1, threads * each + 1))
    assert publishing.next_publish_seq_no == threads * each + 1
    for number in range(threads):
        mine = [body for body in got if body.startswith(b"%d " % number)]
        assert mine == [b"%d %d" % (number, count) for count in range(each)]
    assert consuming.queue_declare(queue, passive=True).method.message_count == 0


def test_a_delivery_tag_is_told_before_its_confirm_however_long_that_takes(connection: Any) -> None:
    publishing, other = connection.channel(), connection.channel()
    queue = queue_of(publishing)
    said: list[tuple[str, int]] = []
    confirmed = threading.Event()

    def settled(frame: Any) -> None:
        said.append(("confirmed", frame.method.delivery_tag))
        if frame.method.delivery_tag == 3:
            confirmed.set()

    def told(tag: int) -> None:
        for _ in range(5):  # by then the broker's confirm is here as well
            other.queue_declare(queue, passive=True)
        said.append(("told", tag))

    publishing.confirm_delivery(settled)
    for _ in range(3):
        publishing.basic_publish("", queue, b"x", on_publish=told)
    assert confirmed.wait(SECONDS)
    for tag in (1, 2, 3):
        assert said.index(("told", tag)) < said.index(("confirmed", tag))


def test_a_connection_that_has_ended_keeps_no_descriptor_and_no_thread(params: Any) -> None:
    def live() -> None:
        with thread_safe_connection.Connection(params) as made:
            made.channel().queue_declare("", exclusive=True)

    live()
    gc.collect()
    gc.disable()  # what only the collector finds may stay for long
    try:
        descriptors, threads = len(os.listdir("/dev/fd")), threading.active_count()
        for _ in range(3):
            live()
        assert (len(os.listdir("/dev/fd")), threading.active_count()) == (descriptors, threads)
    finally:
        gc.enable()


def test_the_broker_s_reason_is_raised_and_then_named(connection: Any) -> None:
    channel = connection.channel()
    with pytest.raises(cpika.exceptions.ChannelClosedByBroker):
        channel.queue_declare("no-such-queue", passive=True)
    with pytest.raises(cpika.exceptions.ChannelWrongStateError) as caught:
        channel.basic_publish("", "q", b"x")
    assert isinstance(caught.value.__cause__, cpika.exceptions.ChannelClosedByBroker)
    with pytest.raises(cpika.exceptions.ChannelWrongStateError):
        channel.queue_declare("")
    assert connection.channel().is_open


def test_bad_arguments_are_raised_in_the_caller(connection: Any) -> None:
    channel = connection.channel()
    with pytest.raises(cpika.exceptions.ShortStringTooLong):
        channel.basic_publish("", "k" * 300, b"x")
    with pytest.raises(TypeError):
        channel.queue_declare(5)
    with pytest.raises(TypeError):
        channel.basic_consume("q", None)
    assert channel.is_open


def test_a_message_callback_may_call_and_close(params: Any) -> None:
    connection = thread_safe_connection.Connection(params)
    channel = connection.channel()
    queue = queue_of(channel)
    seconds: list[float] = []
    done = threading.Event()

    def message(ch: Any, _method: Any, _properties: Any, _body: bytes) -> None:
        assert ch.queue_declare(queue, passive=True).method.queue == queue
        begin = time.monotonic()
        connection.close()
        seconds.append(time.monotonic() - begin)
        done.set()

    channel.basic_consume(queue, message)
    channel.basic_publish("", queue, b"x")
    assert done.wait(SECONDS)
    assert connection.is_closed
    assert seconds[0] < 5


def test_a_callback_that_calls_is_not_waited_for_by_a_full_queue(params: Any) -> None:
    with thread_safe_connection.Connection(
        params, work_queue_maxsize=2, work_queue_put_timeout=10
    ) as connection:
        channel = connection.channel()
        queue = queue_of(channel)
        got: list[bytes] = []
        done = threading.Event()

        def message(ch: Any, _method: Any, _properties: Any, body: bytes) -> None:
            ch.queue_declare(queue, passive=True)
            got.append(body)
            if len(got) == 20:
                done.set()

        for number in range(20):
            channel.basic_publish("", queue, b"%d" % number)
        begin = time.monotonic()
        channel.basic_consume(queue, message, auto_ack=True)
        assert done.wait(SECONDS)
        assert time.monotonic() - begin < 9
        assert got == [b"%d" % number for number in range(20)]


def test_a_queue_that_stays_full_ends_the_connection(params: Any) -> None:
    ended: list[BaseException] = []
    told, go_on = threading.Event(), threading.Event()

    def closed(_connection: Any, error: BaseException) -> None:
        ended.append(error)
        told.set()

    connection = thread_safe_connection.Connection(
        params, on_close_callback=closed, work_queue_maxsize=2, work_queue_put_timeout=0.3
    )
    channel = connection.channel()
    queue = queue_of(channel)
    channel.basic_consume(queue, lambda *_args: go_on.wait(SECONDS), auto_ack=True)
    for _ in range(10):
        channel.basic_publish("", queue, b"x")
    assert told.wait(SECONDS)
    go_on.set()
    assert isinstance(ended[0], cpika.exceptions.WorkQueueFullError)
    with pytest.raises(cpika.exceptions.WorkQueueFullError):
        connection.channel()
    connection.close()


def test_what_a_callback_raises_is_logged_and_the_next_message_comes(
    connection: Any, caplog: pytest.LogCaptureFixture
) -> None:
    channel = connection.channel()
    queue = queue_of(channel)
    done = threading.Event()

    def message(_ch: Any, _method: Any, _properties: Any, body: bytes) -> None:
        if body == b"bad":
            raise ZeroDivisionError("mine")
        done.set()

    channel.basic_consume(queue, message, auto_ack=True)
    channel.basic_publish("", queue, b"bad")
    channel.basic_publish("", queue, b"good")
    assert done.wait(SECONDS)
    assert "ZeroDivisionError: mine" in caplog.text


def test_threads_get_messages_by_turns(connection: Any) -> None:
    channel = connection.channel()
    queue = queue_of(channel)
    for number in range(40):
        channel.basic_publish("", queue, b"%d" % number)
    got: list[bytes] = []

    def get() -> None:
        for _ in range(10):
            method, _properties, body = channel.basic_get(queue, auto_ack=True)
            assert method is not None
            got.append(body)

    threads = [threading.Thread(target=get) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert sorted(got, key=int) == [b"%d" % number for number in range(40)]
    assert channel.basic_get(queue) == (None, None, None)


def test_opening_raises_what_it_failed_with(params: Any) -> None:
    refused = Broker.of_this_run().parameters(cpika, credentials=cpika.PlainCredentials("guest", "wrong"))
    told: list[BaseException] = []
    with pytest.raises(cpika.exceptions.ProbableAuthenticationError):
        thread_safe_connection.Connection(
            refused, on_open_error_callback=lambda _connection, error: told.append(error)
        )
    assert [type(error) for error in told] == [cpika.exceptions.ProbableAuthenticationError]
    with pytest.raises(ValueError, match="work_queue_put_timeout"):
        thread_safe_connection.Connection(params, work_queue_put_timeout=0)


def test_a_call_in_the_io_thread_is_refused(connection: Any) -> None:
    channel = connection.channel()
    raised: list[BaseException] = []
    done = threading.Event()

    def in_the_io_thread() -> None:
        try:
            channel.queue_declare("")
        except cpika.exceptions.ReentrancyError as error:
            raised.append(error)
        done.set()

    connection.add_callback_threadsafe(in_the_io_thread)
    assert done.wait(SECONDS)
    assert len(raised) == 1


def test_after_the_end_calls_raise_its_reason(params: Any) -> None:
    connection = thread_safe_connection.Connection(params)
    channel = connection.channel()
    connection.close()
    connection.close()
    for call in (
        connection.channel,
        lambda: channel.queue_declare(""),
        lambda: channel.basic_publish("", "q", b""),
    ):
        with pytest.raises(cpika.exceptions.ConnectionClosedByClient):
            call()
    with pytest.raises(cpika.exceptions.ConnectionClosedByClient):
        connection.add_callback_threadsafe(print)


def test_threads_ask_on_one_channel_and_each_gets_its_own_answer(connection: Any) -> None:
    channel = connection.channel()
    queues = [queue_of(channel) for _ in range(4)]
    wrong: list[Any] = []

    def ask(queue: str) -> None:
        for count in range(100):
            channel.queue_bind(queue, "amq.direct", f"key {count}")
            answer = channel.queue_declare(queue, passive=True).method.queue
            if answer != queue:
                wrong.append((queue, answer))

    threads = [threading.Thread(target=ask, args=(queue,)) for queue in queues]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert not wrong
    assert not any(thread.is_alive() for thread in threads)


def test_while_the_io_thread_waits_the_caller_sends(connection: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    channel = connection.channel()
    queue = queue_of(channel)
    confirmed = threading.Event()
    channel.confirm_delivery(lambda frame: confirmed.set())
    woken: list[str] = []
    loop = connection._connection.ioloop
    wake = loop._poller.wake_threadsafe
    monkeypatch.setattr(loop._poller, "wake_threadsafe", lambda: (woken.append("woken"), wake()))
    for _ in range(50):
        while not loop._waiting:
            time.sleep(0)
        channel.queue_declare(queue, passive=True)
        while not loop._waiting:
            time.sleep(0)
        confirmed.clear()
        channel.basic_publish("", queue, b"x")
        assert confirmed.wait(SECONDS)
    assert len(woken) < 10  # a wait may end just then
    assert channel.queue_declare(queue, passive=True).method.message_count == 50


def test_a_call_that_a_signal_interrupts_raises_and_leaves_the_channel_usable(connection: Any) -> None:
    class Interrupted(Exception):
        pass

    def interrupt(_number: int, _frame: Any) -> None:
        raise Interrupted

    rounds = 300
    main = threading.get_ident()
    begun: SimpleQueue[int] = SimpleQueue()

    def send_signals() -> None:
        for _ in range(rounds):
            time.sleep(usual * (begun.get() % 30) / 10)
            signal.pthread_kill(main, signal.SIGUSR1)

    channel = connection.channel()
    queues = [queue_of(channel) for _ in range(2)]

    def ask(queue: str, key: str) -> None:
        channel.queue_bind(queue, "amq.direct", key)
        assert channel.queue_declare(queue, passive=True).method.queue == queue

    started = time.monotonic()
    for queue in queues:
        ask(queue, "before")
    usual = (time.monotonic() - started) / len(queues)  # signals come until three times as late
    answered = 0
    before = signal.signal(signal.SIGUSR1, interrupt)
    sender = threading.Thread(target=send_signals)
    sender.start()
    try:
        for number in range(rounds):
            queue = queues[number % 2]
            with pytest.raises(Interrupted):
                begun.put(number)
                for key in ("a", "b", "c"):
                    ask(queue, key)
                    answered += 1
                for _ in range(1000):  # short waits: a signal just before one does not end it
                    time.sleep(0.01)
        sender.join(SECONDS)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert answered > 0
    for queue in queues:
        assert channel.queue_declare(queue, passive=True).method.queue == queue


def test_a_second_word_while_the_first_is_being_read_changes_nothing() -> None:
    call = Call()
    call.succeed(1)
    assert call._done.acquire(blocking=False)  # as who waits does, for a moment
    call.fail(ValueError())
    call._done.release()
    assert call.wait(0, "a call") == 1
