"""A message on its way from the engine to the program, and a consumer that is cancelled meanwhile.

Row 13: a failure between taking and giving.  Whatever the program does not get goes back to its queue.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest
from support.moments import interrupted_at_moment
from support.subject import pika

blocking_connection = pika.adapters.blocking_connection

LIMIT = 20  # seconds; for what takes milliseconds


@pytest.fixture
def connection(broker_url: str) -> Iterator[Any]:
    made = pika.BlockingConnection(pika.URLParameters(broker_url))
    yield made
    made.close()


@pytest.fixture
def queue(connection: Any) -> str:
    """A queue with one message in it."""
    channel = connection.channel()
    name: str = channel.queue_declare("", exclusive=True).method.queue
    channel.confirm_delivery()
    channel.basic_publish("", name, b"message")
    return name


def in_thread(work: Any) -> None:
    """Runs it in another thread, and waits for its end."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(LIMIT)
    assert not thread.is_alive()
    assert not raised


def is_back(connection: Any, queue: str) -> bool:
    """Whether the message is in its queue again while the channel that had it is still open."""
    count = connection.channel().queue_declare(queue, passive=True).method.message_count
    return bool(count == 1)


def wait_until_back(connection: Any, queue: str) -> None:
    """The broker takes a reject at its own pace."""
    for _ in range(200):
        if is_back(connection, queue):
            return
        connection.sleep(0.02)
    pytest.fail("the message is in nobody's hand")


class Slow(deque[Any]):
    """A tracer's store: before it takes an event in, another thread has cancelled the consumer."""

    cancel: Any

    def append(self, evt: Any) -> None:
        in_thread(self.cancel)
        super().append(evt)


@pytest.mark.rule(13)
def test_a_store_whose_consumer_is_cancelled_meanwhile_gives_its_message_back(
    connection: Any, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = connection.channel()
    made = blocking_connection._QueueConsumerGeneratorInfo.__init__

    def init(self: Any, *arguments: Any, **options: Any) -> None:
        made(self, *arguments, **options)
        self.pending_events = Slow()
        self.pending_events.cancel = channel.cancel

    monkeypatch.setattr(blocking_connection._QueueConsumerGeneratorInfo, "__init__", init)
    assert list(channel.consume(queue)) == []
    wait_until_back(connection, queue)


@pytest.mark.rule(13)
def test_a_replaced_sink_whose_consumer_is_cancelled_meanwhile_gives_its_message_back(
    connection: Any, queue: str
) -> None:
    channel = connection.channel()
    keep = channel._on_consumer_generator_event

    def slow(evt: Any) -> None:
        in_thread(channel.cancel)
        keep(evt)

    channel._on_consumer_generator_event = slow
    assert list(channel.consume(queue)) == []
    wait_until_back(connection, queue)


@pytest.mark.rule(13)
@pytest.mark.parametrize("how", ["basic_cancel", "stop_consuming"])
def test_a_message_whose_consumer_is_cancelled_while_it_is_made_goes_back(
    connection: Any, queue: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = connection.channel()
    got: list[bytes] = []
    tag = channel.basic_consume(queue, lambda *message: got.append(message[3]))
    cancelled = threading.Event()
    made = pika.spec.Basic.Deliver.__init__

    def init(self: Any, *arguments: Any, **options: Any) -> None:
        made(self, *arguments, **options)
        if not cancelled.is_set():
            cancelled.set()
            in_thread(lambda: getattr(channel, how)(tag))

    monkeypatch.setattr(pika.spec.Basic.Deliver, "__init__", init)  # as a tracer wraps it
    while not (cancelled.is_set() or got):
        connection.process_data_events(0.05)
    assert got == []
    wait_until_back(connection, queue)


@pytest.mark.rule(13)
def test_a_message_that_consume_has_given_away_is_not_taken_back_at_the_next_call(
    connection: Any, queue: str
) -> None:
    """Else it comes twice, and the broker closes the channel for the second acknowledgement."""
    channel = connection.channel()
    moment = 0
    while True:
        messages = channel.consume(queue, inactivity_timeout=0.005)
        method = None
        while method is None:
            method, _, _ = next(messages)
        error = interrupted_at_moment(lambda: next(messages), moment)  # noqa: B023
        assert channel.get_waiting_message_count() == 0, f"moment {moment}: {error!r}"
        channel.cancel()
        channel.basic_nack(method.delivery_tag)
        if error is None:
            break
        moment += 1
    assert moment > 20
    channel.queue_declare(queue, passive=True)
