"""Consumers and `consume()` that end while they begin, or while another thread looks."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from support.apart import Together, apart, connect
from support.queues import count


def queue_with(channel: Any, *bodies: bytes) -> str:
    """A queue that ends with its connection, and holds these messages."""
    name: str = channel.queue_declare("", exclusive=True).method.queue
    channel.confirm_delivery()
    for body in bodies:
        channel.basic_publish("", name, body)
    return name


def cancelled_between_two_looks() -> bool:
    """The thread of `consume()` looks, and waits again, while another thread's `cancel()` has its answer."""
    connection = connect()
    channel = connection.channel()
    queue = queue_with(channel)
    waits = threading.Semaphore(0)

    def note(frame: Any, event: str, arg: Any) -> None:
        if event == "call" and frame.f_code.co_name == "_process_data_events":
            waits.release()

    def read() -> None:
        sys.setprofile(note)
        for _ in channel.consume(queue):
            pass

    def hold_up(frame: Any, event: str, arg: Any) -> None:
        if event == "c_call" and arg.__name__ == "_end_generator":
            sys.setprofile(None)
            assert waits.acquire(timeout=5)

    reading = Together(read)
    assert waits.acquire(timeout=5)
    sys.setprofile(hold_up)
    channel.cancel()
    ended = reading.hung(5) == []
    connection.close()
    return ended


def test_consume_ends_when_another_thread_cancels_it(broker_url: str) -> None:
    """What `consume()` looks at changes before it is asked to look again."""
    assert apart(cancelled_between_two_looks) is True


def at_the_call(name: str, action: Callable[[], Any]) -> None:
    """Once, when the library calls its function of that name, in this thread."""

    def note(frame: Any, event: str, arg: Any) -> None:
        if event == "call" and frame.f_code.co_name == name:
            sys.setprofile(None)
            action()

    sys.setprofile(note)


def cancelled_before_there_is_a_consumer() -> list[Any]:
    """`consume()` has begun, and its consumer is not known yet."""
    connection = connect()
    channel = connection.channel()
    queue = queue_with(channel, b"0")
    at_the_call("_basic_consume_impl", channel.cancel)
    messages = list(channel.consume(queue))
    connection.process_data_events(0.1)
    found = channel.queue_declare(queue, passive=True).method
    connection.close()
    return [messages, channel.consumer_tags, found.consumer_count, found.message_count]


def test_consume_that_is_cancelled_before_it_has_a_consumer_has_none(broker_url: str) -> None:
    assert apart(cancelled_before_there_is_a_consumer) == [[], [], 0, 1]


def begun_twice() -> list[Any]:
    """Two calls of `consume()` begin at once."""
    connection = connect()
    channel = connection.channel()
    queue = queue_with(channel)
    at_the_call("_generate_consumer_tag", lambda: next(channel.consume(queue, inactivity_timeout=0.01)))
    next(channel.consume(queue, inactivity_timeout=0.01))
    consumers = channel.queue_declare(queue, passive=True).method.consumer_count
    channel.cancel()
    left = channel.queue_declare(queue, passive=True).method.consumer_count
    connection.close()
    return [consumers, left]


def test_two_calls_of_consume_at_once_are_one_consumer(broker_url: str) -> None:
    assert apart(begun_twice) == [1, 0]


def cancelled_before_it_is_sent() -> list[Any]:
    """The consumer is known already, and its arguments are still being encoded."""
    connection = connect()
    channel = connection.channel()
    queue = queue_with(channel)

    class Arguments(dict[str, int]):
        def items(self) -> Any:
            channel.basic_cancel("early")
            return super().items()

    given = Arguments({"x-priority": 1})
    tag = channel.basic_consume(queue, lambda *args: None, consumer_tag="early", arguments=given)
    known = channel.consumer_tags
    consumers = channel.queue_declare(queue, passive=True).method.consumer_count
    connection.close()
    return [tag, known, consumers]


def test_a_consumer_that_is_cancelled_before_it_is_sent_is_not_the_brokers(broker_url: str) -> None:
    """Its cancellation does not overtake it."""
    assert apart(cancelled_before_it_is_sent) == ["early", [], 0]


def two_cancelled_with_one_in_hand() -> list[Any]:
    """While the consumer of a message is looked up, it is cancelled, and then another one."""
    connection = connect()
    channel = connection.channel()
    queue = queue_with(channel)
    calls: list[str] = []

    class Tag(str):
        """A key whose comparison is code of the program."""

        def __eq__(self, other: object) -> bool:
            if armed and calls == []:
                calls.append("compared")
                channel.basic_cancel("first")
                channel.basic_cancel("second")
            return str.__eq__(self, other)

        __hash__ = str.__hash__

    armed = False
    channel.basic_consume(queue, lambda *args: calls.append("message"), consumer_tag=Tag("first"))
    channel.basic_consume(queue_with(channel), lambda *args: None, consumer_tag="second")
    channel.basic_publish("", queue, b"")
    armed = True
    end = time.monotonic() + 5
    while not calls and time.monotonic() < end:
        connection.process_data_events(0.1)
    came = list(calls)
    while not count(channel, queue) and time.monotonic() < end:  # RabbitMQ 3.10 may answer before it requeues
        connection.process_data_events(0.01)
    found = count(channel, queue)
    connection.close()
    return [came, found]


def test_a_message_in_hand_goes_back_whoever_else_is_cancelled(broker_url: str) -> None:
    assert apart(two_cancelled_with_one_in_hand) == [["compared"], 1]
