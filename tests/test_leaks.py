"""Nothing grows: blocks, memory and descriptors stay flat over every kind of use, and what is let go dies."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import sys
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.caches import clear_caches
from support.subject import exceptions, pika

WARM_UP = 50
ROUNDS = 40
SLACK_BLOCKS = 20  # less than one for each round: CPython's own caches fill
BODY = b"x" * 300
LARGE = b"y" * 200_000
TAG = "leaks"  # the same each time: the last thousands of tags are kept
BROKEN_FRAME = b"\x01\x00\x01\x00\x00\x00\x04\x00\x14\x00\x0a\x00"  # no frame end: the broker hangs up

Connect = Callable[..., Any]
Use = Callable[[Any, str], None]


def blocks_after(use: Callable[[], None], rounds: int) -> int:
    """Memory blocks that Python has allocated after so many rounds; without what the collector would free."""
    for _ in range(rounds):
        use()
    gc.collect()
    clear_caches()
    return sys.getallocatedblocks()


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Without records of what is logged, which pytest keeps."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


def descriptors() -> dict[str, str]:
    """What is open, by number."""
    found = {}
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # it was the list's own
            found[number] = os.readlink(f"/proc/self/fd/{number}")
    return found


def opened_since(before: dict[str, str], seconds: float = 5.0) -> list[str]:
    """What is open and was not: nothing, when what threads of this process had in hand is closed again."""
    deadline = time.monotonic() + seconds
    while True:
        more = sorted((Counter(descriptors().values()) - Counter(before.values())).elements())
        if not more or time.monotonic() > deadline:
            return more
        time.sleep(0.01)


@pytest.fixture
def channel(connect: Connect, queue_name: str) -> Iterator[Any]:
    connection = connect()
    channel = connection.channel()
    channel.queue_declare(queue_name)
    yield channel


def publish(channel: Any, queue: str) -> None:
    properties = pika.BasicProperties(content_type="text/plain", headers={"a": [1, {"b": b"c"}]})
    channel.basic_publish("", queue, BODY, properties)
    channel.basic_publish("", queue, LARGE)
    channel.queue_purge(queue)


def publish_what_cannot_be(channel: Any, queue: str) -> None:
    bad: list[tuple[Any, Any, Any, Any]] = [
        ("", queue, 5, None),
        ("", "k" * 300, BODY, None),
        (7, queue, BODY, None),
        ("", queue, BODY, pika.BasicProperties(headers={"a": object()})),
        ("", queue, "\ud800", None),
    ]
    for exchange, key, body, properties in bad:
        with pytest.raises(Exception):  # noqa: B017  (which, the parity tests say)
            channel.basic_publish(exchange, key, body, properties)


def consume(channel: Any, queue: str) -> None:
    left = [3]

    def on_message(ch: Any, method: Any, properties: Any, body: bytes) -> None:
        assert properties.headers is None or properties.headers
        ch.basic_ack(method.delivery_tag)
        left[0] -= 1
        if not left[0]:
            ch.stop_consuming()

    channel.basic_publish("", queue, BODY, pika.BasicProperties(headers={"x": 1}))
    channel.basic_publish("", queue, LARGE)
    channel.basic_publish("", queue, b"")
    channel.basic_consume(queue, on_message, consumer_tag=TAG)
    channel.start_consuming()


def consume_with_an_error(channel: Any, queue: str) -> None:
    def on_message(ch: Any, method: Any, properties: Any, body: bytes) -> None:
        raise LookupError(body)

    channel.basic_publish("", queue, BODY)
    tag = channel.basic_consume(queue, on_message, auto_ack=True, consumer_tag=TAG)
    with pytest.raises(LookupError):
        channel.start_consuming()
    channel.basic_cancel(tag)


def generate(channel: Any, queue: str) -> None:
    for body in (BODY, LARGE, BODY):
        channel.basic_publish("", queue, body)
    for method, _, body in channel.consume(queue, consumer_tag=TAG):
        channel.basic_ack(method.delivery_tag)
        if body == LARGE:
            break
    channel.cancel()
    channel.queue_purge(queue)


def get(channel: Any, queue: str) -> None:
    channel.basic_publish("", queue, BODY)
    method, _, _ = channel.basic_get(queue)
    channel.basic_nack(method.delivery_tag, requeue=False)
    assert channel.basic_get(queue) == (None, None, None)


def confirm_and_return(channel: Any, queue: str) -> None:
    with channel.connection.channel() as confirmed:
        confirmed.confirm_delivery()
        confirmed.basic_publish("", queue, BODY, mandatory=True)
        with pytest.raises(exceptions.UnroutableError):
            confirmed.basic_publish("", "cpika-test-nowhere", LARGE, mandatory=True)
    channel.queue_purge(queue)


def cancel_with_messages_in_store(channel: Any, queue: str) -> None:
    for _ in range(5):
        channel.basic_publish("", queue, BODY)
    tag = channel.basic_consume(queue, lambda *message: None, consumer_tag=TAG)
    channel.queue_declare(queue, passive=True)
    channel.basic_cancel(tag)
    channel.queue_purge(queue)


def have_the_broker_close_a_channel(channel: Any, queue: str) -> None:
    refused = channel.connection.channel()
    with pytest.raises(exceptions.ChannelClosedByBroker):
        refused.queue_declare("cpika-test-nowhere", passive=True)


def run_timers(channel: Any, queue: str) -> None:
    connection = channel.connection
    connection.call_later(0, lambda: None)
    connection.add_callback_threadsafe(lambda: None)
    connection.remove_timeout(connection.call_later(60, lambda: None))
    connection.process_data_events(0.001)


USES: list[Use] = [
    publish,
    publish_what_cannot_be,
    consume,
    consume_with_an_error,
    generate,
    get,
    confirm_and_return,
    cancel_with_messages_in_store,
    have_the_broker_close_a_channel,
    run_timers,
]


@pytest.mark.parametrize("use", USES, ids=[use.__name__ for use in USES])
def test_blocks_stay_flat_over(use: Use, channel: Any, queue_name: str) -> None:
    blocks = [blocks_after(lambda: use(channel, queue_name), rounds) for rounds in (WARM_UP, ROUNDS, ROUNDS)]
    assert min(blocks[1] - blocks[0], blocks[2] - blocks[1]) < SLACK_BLOCKS


def test_blocks_and_descriptors_stay_flat_over_connections(connect: Connect, queue_name: str) -> None:
    first = connect()
    first.sleep(0.1)  # the first wait that is long makes a pipe for signals, which stays
    host, port = (lambda p: (p.host, p.port))(first._impl.params)
    parameters = pika.ConnectionParameters(host, port, connection_attempts=1)

    def connect_and_close() -> None:
        with pika.BlockingConnection(parameters) as connection:
            connection.channel().basic_publish("", queue_name, BODY)

    def connect_and_break() -> None:
        connection = pika.BlockingConnection(parameters)
        channel = connection.channel()
        connection._impl._write(BROKEN_FRAME)
        with contextlib.suppress(exceptions.AMQPError):
            channel.queue_declare(queue_name)
        assert connection.is_closed

    for use in (connect_and_close, connect_and_break):
        blocks = [blocks_after(use, 12)]
        open_before = descriptors()
        blocks += [blocks_after(use, 12), blocks_after(use, 12)]
        assert min(blocks[1] - blocks[0], blocks[2] - blocks[1]) < 12
        assert opened_since(open_before) == []


def resident_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_resident_memory_stays_flat_over_large_messages(channel: Any, queue_name: str) -> None:
    body = b"z" * 5_000_000

    def round_trip() -> None:
        channel.basic_publish("", queue_name, body)
        method, _, got = next(channel.consume(queue_name))
        assert got == body
        channel.basic_ack(method.delivery_tag)

    for _ in range(5):
        round_trip()
    before = resident_bytes()
    for _ in range(25):
        round_trip()
    assert resident_bytes() - before < 5_000_000, "more than one message stayed"


class Callback:
    """A consumer's callback that can be watched."""

    def __call__(self, *message: Any) -> None:
        message[0].stop_consuming()


def test_objects_die_with_the_last_reference_without_the_collector(connect: Connect, queue_name: str) -> None:
    parameters = connect()._impl.params
    gc.collect()
    gc.disable()
    try:
        connection = pika.BlockingConnection(pika.ConnectionParameters(parameters.host, parameters.port))
        channel = connection.channel()
        channel.queue_declare(queue_name, exclusive=True)
        channel.basic_publish("", queue_name, BODY)
        callback = Callback()
        channel.basic_consume(queue_name, callback)
        watched = [weakref.ref(callback), weakref.ref(connection._impl), weakref.ref(connection)]
        channel.start_consuming()
        connection.close()
        del callback
        assert watched[0]() is None, "a cancelled consumer's callback lives on"
        del channel, connection
        # BlockingChannel and what stands behind it refer to each other, as in pika: the collector's.
        gc.collect()
        assert [ref() for ref in watched] == [None] * 3
    finally:
        gc.enable()


def test_a_connection_that_is_only_dropped_is_closed(connect: Connect) -> None:
    parameters = connect()._impl.params
    before = descriptors()
    connection = pika.BlockingConnection(pika.ConnectionParameters(parameters.host, parameters.port))
    channel = connection.channel()
    # Named by the broker, which is left alone with deleting it.
    queue = channel.queue_declare("", exclusive=True).method.queue
    for _ in range(3):
        channel.basic_publish("", queue, BODY)
    # A cycle through everything: the callback holds the connection, whose channel holds the callback.
    channel.basic_consume(queue, lambda *message, connection=connection: connection)
    channel.queue_declare(queue, passive=True)  # the messages stand in the queue of events now
    watched = [weakref.ref(connection), weakref.ref(connection._impl), weakref.ref(channel)]
    del connection, channel
    gc.collect()
    assert [ref() for ref in watched] == [None] * 3
    assert opened_since(before) == []


def test_the_error_of_a_lost_connection_does_not_keep_it(connect: Connect, queue_name: str) -> None:
    parameters = connect()._impl.params
    connection = pika.BlockingConnection(pika.ConnectionParameters(parameters.host, parameters.port))
    channel = connection.channel()
    connection._impl._write(BROKEN_FRAME)
    with pytest.raises(exceptions.AMQPConnectionError):
        channel.queue_declare(queue_name)
    watched = weakref.ref(connection._impl)
    del connection, channel
    gc.collect()
    assert watched() is None
