"""Beside `publish_many`: what its iterable does on the same channel, other threads, signals."""

from __future__ import annotations

import itertools
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from support.queues import bodies, count, numbered
from support.scripts import Script
from support.subject import exceptions

Connect = Callable[..., Any]
NOWHERE = "cpika-test-nowhere"  # a routing key that no queue has


# ---- what the iterable may do on the same channel ----


def test_requests_and_publishes_by_the_iterable(channel: Any, queue_name: str) -> None:
    def messages() -> Iterator[tuple[str, str, bytes]]:
        for i in range(0, 30, 3):
            yield "", queue_name, b"%d" % i
            channel.basic_publish("", queue_name, b"%d" % (i + 1))
            channel.queue_declare(queue_name, passive=True)
            assert channel.publish_many([("", queue_name, b"%d" % (i + 2))]) == 1

    assert channel.publish_many(messages(), window=4) == 10
    assert bodies(channel, queue_name) == [b"%d" % i for i in range(30)]


def test_a_return_finds_its_own_of_nested_publishes(channel: Any, queue_name: str) -> None:
    """What is published inside the iterable is told there, what is published by it at the end."""
    inside: list[Any] = []

    def messages() -> Iterator[tuple[Any, ...]]:
        yield "", NOWHERE, b"outer 0", None, True
        with pytest.raises(exceptions.UnroutableError) as caught:
            channel.basic_publish("", NOWHERE, b"single", mandatory=True)
        inside.extend(message.body for message in caught.value.messages)
        with pytest.raises(exceptions.UnroutableError) as caught:
            channel.publish_many([("", queue_name, b"fine"), ("", NOWHERE, b"nested", None, True)])
        inside.extend(message.body for message in caught.value.messages)
        assert caught.value.indexes == [1]

    with pytest.raises(exceptions.UnroutableError) as caught:
        channel.publish_many(messages())
    assert inside == [b"single", b"nested"]
    assert caught.value.indexes == [0]
    assert [message.body for message in caught.value.messages] == [b"outer 0"]


def test_a_nested_publish_that_is_fine_does_not_take_the_blame(channel: Any, queue_name: str) -> None:
    def messages() -> Iterator[tuple[Any, ...]]:
        yield "", NOWHERE, b"outer", None, True
        channel.basic_publish("", queue_name, b"single", mandatory=True)

    with pytest.raises(exceptions.UnroutableError) as caught:
        channel.publish_many(messages())
    assert caught.value.indexes == [0]


def test_messages_of_one_queue_are_moved_to_another(channel: Any, connect: Connect, queue_name: str) -> None:
    """A shovel: the iterable consumes and acknowledges on the very channel."""
    target = channel.queue_declare("", exclusive=True).method.queue
    channel.publish_many(numbered(queue_name, 300))

    def messages() -> Iterator[tuple[str, str, bytes]]:
        taken = 0
        for method, _, body in channel.consume(queue_name):
            yield "", target, body
            channel.basic_ack(method.delivery_tag)
            taken += 1
            if taken == 300:
                return

    assert channel.publish_many(messages(), window=10) == 300
    channel.cancel()
    assert count(channel, queue_name) == 0
    assert bodies(channel, target) == [b"%d" % i for i in range(300)]


def test_callbacks_run_where_the_iterable_dispatches(channel: Any, queue_name: str) -> None:
    got: list[bytes] = []
    source = channel.queue_declare("", exclusive=True).method.queue
    channel.basic_consume(source, lambda ch, method, properties, body: got.append(body), auto_ack=True)
    channel.basic_publish("", source, b"to the callback")

    def messages() -> Iterator[tuple[str, str, bytes]]:
        yield "", queue_name, b"1"
        while not got:
            channel.connection.process_data_events(time_limit=1)
        yield "", queue_name, got[0]

    assert channel.publish_many(messages()) == 2
    assert bodies(channel, queue_name) == [b"1", b"to the callback"]


def test_from_a_callback(channel: Any, queue_name: str) -> None:
    source = channel.queue_declare("", exclusive=True).method.queue
    published: list[int] = []

    def on_message(ch: Any, method: Any, properties: Any, body: bytes) -> None:
        published.append(ch.publish_many(numbered(queue_name, 20), window=3))
        ch.basic_ack(method.delivery_tag)

    channel.basic_consume(source, on_message)
    channel.publish_many([("", source, b"go")] * 5)
    while len(published) < 5:
        channel.connection.process_data_events(time_limit=1)
    assert published == [20] * 5
    assert count(channel, queue_name) == 100


def test_confirm_delivery_by_the_iterable_counts_from_the_next_call(
    connect: Connect, queue_name: str
) -> None:
    channel = connect().channel()
    channel.queue_declare(queue_name)

    def messages() -> Iterator[tuple[str, str, bytes]]:
        yield "", queue_name, b"1"
        channel.confirm_delivery()
        yield "", queue_name, b"2"

    assert channel.publish_many(messages()) == 2
    assert channel.publish_many(numbered(queue_name, 10)) == 10
    with pytest.raises(exceptions.UnroutableError):
        channel.basic_publish("", NOWHERE, b"x", mandatory=True)


# ---- threads, signals ----


def test_from_several_threads_on_one_channel(channel: Any, queue_name: str) -> None:
    """Each is told of its own returns; the first stops its input, which may be before the last message."""
    errors: list[BaseException] = []
    taken: dict[int, list[int]] = {number: [] for number in range(4)}

    def some_for_nobody(number: int) -> Iterator[tuple[Any, ...]]:
        for i in range(20):
            taken[number].append(i)
            to = NOWHERE if i % 10 == number else queue_name
            yield "", to, b"%d %d" % (number, 400 + i), None, True

    def publish(number: int) -> None:
        try:
            messages = (("", queue_name, b"%d %d" % (number, i)) for i in range(400))
            assert channel.publish_many(messages, window=20) == 400
            with pytest.raises(exceptions.UnroutableError) as caught:
                channel.publish_many(some_for_nobody(number))
            returned = [i for i in taken[number] if i % 10 == number]
            assert returned
            assert caught.value.indexes == returned
            assert [m.body for m in caught.value.messages] == [b"%d %d" % (number, 400 + i) for i in returned]
        except BaseException as error:
            errors.append(error)

    run_all(publish, range(4))
    assert errors == []
    arrived = [tuple(map(int, body.split())) for body in bodies(channel, queue_name)]
    for number in range(4):
        mine = [i for who, i in arrived if who == number]
        assert mine == [*range(400), *(400 + i for i in taken[number] if i % 10 != number)]


def run_all(function: Callable[[int], None], numbers: Iterable[int]) -> None:
    threads = [threading.Thread(target=function, args=(number,), daemon=True) for number in numbers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(40)
        assert not thread.is_alive()


def test_from_several_threads_on_channels_of_one_connection(connect: Connect, queue_name: str) -> None:
    connection = connect()
    channels = [connection.channel() for _ in range(4)]
    channels[0].queue_declare(queue_name)
    for one in channels:
        one.confirm_delivery()
    counts: list[int] = []
    run_all(lambda n: counts.append(channels[n].publish_many(numbered(queue_name, 500), 16)), range(4))
    assert counts == [500] * 4
    assert count(channels[0], queue_name) == 2000


def test_a_single_publish_of_another_thread_does_not_wait_for_the_end(channel: Any, queue_name: str) -> None:
    """The iterable ends when the other thread's publish is confirmed: none may wait for the other's end."""
    confirmed = threading.Event()

    def publish_one() -> None:
        channel.basic_publish("", queue_name, b"single", mandatory=True)
        with pytest.raises(exceptions.UnroutableError):
            channel.basic_publish("", NOWHERE, b"single", mandatory=True)
        confirmed.set()

    other = threading.Thread(target=publish_one, daemon=True)

    def messages() -> Iterator[tuple[Any, ...]]:
        yield "", queue_name, b"first", None, True
        other.start()
        while not confirmed.is_set():
            yield "", queue_name, b"many", None, True

    assert channel.publish_many(messages(), window=8) >= 1
    other.join(10)
    assert confirmed.is_set()


def test_ctrl_c_ends_an_endless_iterable_of_c_code_at_once(broker_url: str, queue_name: str) -> None:
    code = """
        import itertools
        channel = pika.BlockingConnection(pika.URLParameters(sys.argv[1])).channel()
        channel.queue_declare(sys.argv[2], arguments={"x-max-length": 10}, auto_delete=False)
        if sys.argv[3] == "confirm":
            channel.confirm_delivery()
        print("ready")
        try:
            channel.publish_many(itertools.repeat(("", sys.argv[2], b"x")))
        except KeyboardInterrupt as error:
            print("interrupted", getattr(error, "confirmed", "-"))
        channel.connection.close()
        print("closed")
    """
    for mode in ("confirm", "plain"):
        with Script(code, broker_url, queue_name, mode) as script:
            script.expect("ready")
            threading.Event().wait(0.3)  # somewhere in the middle of it
            script.interrupt(signal.SIGINT)
            assert script.line(timeout=5).startswith("interrupted")
            script.expect("closed")
            assert script.finish() == 0


def test_other_threads_run_beside_an_iterable_of_c_code(connect: Connect, queue_name: str) -> None:
    channel = connect().channel()
    channel.queue_declare(queue_name, arguments={"x-max-length": 10})
    ticks = 0
    done = threading.Event()

    def tick() -> None:
        nonlocal ticks
        while not done.wait(0.005):
            ticks += 1

    ticking = threading.Thread(target=tick, daemon=True)
    ticking.start()
    channel.publish_many(itertools.repeat(("", queue_name, b"x"), 200_000))
    done.set()
    ticking.join(5)
    assert ticks >= 3
