"""What a program puts in the place of `process_data_events`, by which start_consuming and consume() wait."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from support.apart import Together, apart, connect
from support.subject import pika


class InAnotherThread(pika.BlockingConnection):
    """Has another thread drive the connection, and waits for that."""

    def process_data_events(self, time_limit: float | None = 0) -> None:
        def drive() -> None:
            super(InAnotherThread, self).process_data_events(time_limit)

        Together(drive).join()


class AsItIs(pika.BlockingConnection):
    """Passes on."""

    calls = 0

    def process_data_events(self, time_limit: float | None = 0) -> None:
        self.calls += 1
        super().process_data_events(time_limit)


def of(kind: Any) -> Any:
    plain = connect()
    parameters = plain._impl.params
    plain.close()
    return kind(parameters)


def consumes(name: str) -> list[Any]:
    connection = of(globals()[name])
    channel = connection.channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    got: list[bytes] = []

    def message(ch: Any, method: Any, properties: Any, body: bytes) -> None:
        got.append(body)
        if len(got) == 2:
            ch.stop_consuming()

    for body in (b"one", b"two", b"three"):
        channel.basic_publish("", queue, body)
    channel.basic_consume(queue, message)
    channel.start_consuming()
    for method, _, body in channel.consume(queue, inactivity_timeout=5):
        got.append(body)
        if body in (None, b"three"):
            break
        channel.basic_ack(method.delivery_tag)
    connection.close()
    return [body.decode() for body in got]


@pytest.mark.parametrize("kind", [InAnotherThread, AsItIs])
def test_messages_come_whichever_thread_it_drives_the_connection_in(kind: Any, broker_url: str) -> None:
    """The channel was claimed for the thread that had called start_consuming, and nobody got anything."""
    got = apart(consumes, kind.__name__)
    assert got[:2] == ["one", "two"] and got[-1] == "three"


def drives_in_a_callback() -> list[Any]:
    """A callback of another channel drives the connection, when the channel of consume() has been closed."""
    connection = of(AsItIs)
    channel, other = connection.channel(), connection.channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    others = other.queue_declare("", exclusive=True).method.queue
    counted: list[int] = []

    def message(ch: Any, method: Any, properties: Any, body: bytes) -> None:
        try:
            channel.queue_declare("cpika-test-not-there", passive=True)
        except pika.exceptions.ChannelClosedByBroker:
            before = connection.calls
            connection.sleep(0.3)
            counted.append(connection.calls - before)

    other.basic_consume(others, message, auto_ack=True)
    other.basic_publish("", others, b"x")
    try:
        next(channel.consume(queue))
    except pika.exceptions.ChannelClosedByBroker:
        counted.append(connection.calls)
    connection.close()
    return counted


def test_a_call_in_a_callback_does_not_take_up_what_the_one_around_it_goes_by(broker_url: str) -> None:
    """It came back at once, for good: the channel that it had been told of was closed."""
    inside, all_of_them = apart(drives_in_a_callback)
    assert inside <= 2 and all_of_them <= 5


def test_a_connection_that_another_thread_closes_ends_an_override(broker_url: str) -> None:
    connection = of(InAnotherThread)
    channel = connection.channel()
    channel.basic_consume(channel.queue_declare("", exclusive=True).method.queue, print)
    waiting = Together(channel.start_consuming)
    timer = threading.Timer(0.3, connection.close)
    timer.start()
    assert waiting.hung(8) == []
    timer.join()
