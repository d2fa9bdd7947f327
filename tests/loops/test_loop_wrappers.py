"""Wrappers on the class `pika.channel.Channel`, as tracers put them, are called on event loops as on pika."""

from __future__ import annotations

from typing import Any

import cpika
import cpika.channel
import pytest
from parity.harness import Broker
from parity.loops import Loop
from test_adapters import Env

WRAPPED = ["basic_publish", "basic_ack", "basic_consume", "queue_declare", "_on_deliver", "basic_get"]


@pytest.mark.parametrize("kind", ["select", "asyncio"])
def test_each_wrapped_method_is_called_with_its_channel_and_does_its_work(
    kind: str, broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def wrap(name: str) -> None:
        original = getattr(cpika.channel.Channel, name)

        def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
            assert isinstance(self, cpika.channel.Channel)
            calls.append(name)
            return original(self, *args, **kwargs)

        monkeypatch.setattr(cpika.channel.Channel, name, wrapper)

    for name in WRAPPED:
        wrap(name)
    loop = Loop(cpika, Env(Broker.of_this_run()), kind)
    bodies: list[bytes] = []

    def opened(channel: Any) -> None:
        def got(ch: Any, method: Any, _properties: Any, body: bytes) -> None:
            bodies.append(body)
            ch.basic_ack(method.delivery_tag)
            loop.close()

        def message(ch: Any, method: Any, _properties: Any, body: bytes) -> None:
            bodies.append(body)
            ch.basic_ack(method.delivery_tag)
            ch.basic_cancel("one", lambda _frame: again())

        def again() -> None:
            channel.basic_publish("", queue[0], b"2")
            channel.basic_get(queue[0], got)

        def declared(frame: Any) -> None:
            queue.append(frame.method.queue)
            channel.basic_consume(queue[0], message, consumer_tag="one")
            channel.basic_publish("", queue[0], b"1")

        queue: list[str] = []
        channel.queue_declare("", exclusive=True, callback=declared)

    loop.channel(opened)
    loop.finish()
    assert bodies == [b"1", b"2"]
    assert set(calls) == set(WRAPPED)
    assert calls.count("basic_ack") == 2
