"""Frames that the core makes, while a program's test has put something in the place of their classes."""

from __future__ import annotations

from typing import Any
from unittest import mock

from parity.harness import Broker
from support.apart import apart


def get_with_a_mocked_frame() -> list[str]:
    import cpika
    from cpika import frame

    ended: list[str] = []

    def closed(connection: Any, reason: BaseException) -> None:
        ended.append(type(reason.__cause__).__name__)
        connection.ioloop.stop()

    def opened(channel: Any) -> None:
        def declared(answer: Any) -> None:
            channel.basic_publish("", answer.method.queue, b"x")
            channel.basic_get(answer.method.queue, print)

        channel.queue_declare("", exclusive=True, callback=declared)

    connection = cpika.SelectConnection(
        Broker.of_this_run().parameters(cpika),
        on_open_callback=lambda made: made.channel(on_open_callback=opened),
        on_close_callback=closed,
    )
    with mock.patch.object(frame, "Header"):
        connection.ioloop.start()
    return ended


def test_what_is_no_class_ends_the_connection_not_the_process(broker_url: str) -> None:
    """As with pika, which cannot do without its classes either."""
    assert apart(get_with_a_mocked_frame) == ["TypeError"]
