"""Publishes that were told as confirmed and were not, or as refused and were not."""

from __future__ import annotations

import asyncio
import itertools
import sys
import threading
from typing import Any

import cpika
import pytest
from cpika import aio, exceptions
from cpika.adapters import thread_safe_connection
from parity.harness import Broker
from support.apart import apart

SECONDS = 20.0


def parameters() -> Any:
    return Broker.of_this_run().parameters(cpika)


async def published_behind_the_end(confirms: bool) -> str:
    """What a publish says in the loop's turn in which the connection has ended, before anybody was told."""
    connection = await aio.connect(parameters())
    channel = await connection.channel(confirms=confirms)
    connection.raw._terminate_stream(exceptions.AMQPHeartbeatTimeout("no answer"))
    assert channel.is_open
    try:
        await channel.publish("", "nobody", b"x")
    except exceptions.AMQPError as error:
        return type(error).__name__
    return "published"


@pytest.mark.parametrize("confirms, told", [(True, "AMQPHeartbeatTimeout"), (False, "published")])
def test_a_publish_behind_the_end_is_not_confirmed(broker_url: str, confirms: bool, told: str) -> None:
    """It returned as one that the broker has confirmed."""
    assert asyncio.run(published_behind_the_end(confirms)) == told


def test_a_publish_of_another_thread_behind_the_end_has_its_tag(broker_url: str) -> None:
    """Whoever sends again what was not confirmed would miss one that has none."""
    ended = threading.Event()
    connection = thread_safe_connection.Connection(parameters(), on_close_callback=lambda *_: ended.set())
    channel = connection.channel()
    channel.confirm_delivery(lambda frame: None)
    channel.basic_publish("", "nobody", b"x", on_publish=lambda tag: None)
    dead, published = threading.Event(), threading.Event()

    def end() -> None:
        connection._connection._terminate_stream(exceptions.AMQPHeartbeatTimeout("no answer"))
        dead.set()
        assert published.wait(SECONDS)

    connection.add_callback_threadsafe(end)
    assert dead.wait(SECONDS)
    tags: list[int] = []
    channel.basic_publish("", "nobody", b"x", on_publish=tags.append)
    published.set()
    assert tags == [2]
    assert ended.wait(SECONDS)


class Odd(bytes):
    """What is sent of it are its bytes, not what it says they are."""

    def __bytes__(self) -> bytes:
        return b"something else"


def told_of_a_body_that_changes(size: int) -> int:
    """How many of 50 messages that come back are told, while another thread fills their buffer anew."""
    body = bytearray(size)
    over = threading.Event()

    def fill() -> None:
        for octet in itertools.cycle(range(256)):
            body[-1] = octet
            if over.is_set():
                return

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    thread = threading.Thread(target=fill)
    thread.start()
    told = 0
    try:
        with cpika.BlockingConnection(parameters()) as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            for _ in range(50):
                try:
                    channel.basic_publish("", "nobody", body, mandatory=True)
                except exceptions.UnroutableError as error:
                    told += len(error.messages) == 1
    finally:
        over.set()
        thread.join()
        sys.setswitchinterval(interval)
    return told


@pytest.mark.parametrize("size", [64, 20_000])
def test_a_message_that_comes_back_is_told_whatever_became_of_its_buffer(broker_url: str, size: int) -> None:
    """It was compared with what the buffer held by then, found to be another's, and told as confirmed."""
    assert apart(told_of_a_body_that_changes, size) == 50


async def returned_on_aio(exchange: Any, key: Any, body: Any) -> str:
    async with aio.connect(parameters()) as connection, connection.channel() as channel:
        try:
            await asyncio.wait_for(channel.publish(exchange, key, body, mandatory=True), SECONDS)
        except exceptions.UnroutableError:
            return "returned"
    return "confirmed"


@pytest.mark.parametrize(
    "exchange, key, body",
    [
        ("", b"nobody", b"x"),
        (b"", "nobody", "text"),
        (b"", b"nobody", bytearray(b"x")),
        (b"", Odd(b"nobody"), Odd(b"x")),
        ("", "nobod\N{LATIN SMALL LETTER Y WITH DIAERESIS}", memoryview(b"x")),
    ],
)
def test_what_comes_back_is_known_whatever_it_was_given_as(
    broker_url: str, exchange: Any, key: Any, body: Any
) -> None:
    assert asyncio.run(returned_on_aio(exchange, key, body)) == "returned"


def returned_on_twisted(alike: bool) -> list[int]:
    """600 mandatory publishes, every third to nobody: how many were told what is not so, and what is."""
    from cpika.adapters import twisted_connection
    from twisted.internet import defer, protocol, reactor

    wrong, right = 0, 0

    @defer.inlineCallbacks
    def main() -> Any:
        nonlocal wrong, right
        given = parameters()
        creator = protocol.ClientCreator(reactor, twisted_connection.TwistedProtocolConnection, given)
        connection = yield (yield creator.connectTCP(given.host, given.port)).ready
        channel = yield connection.channel()
        queue = (yield channel.queue_declare("", exclusive=True)).method.queue
        yield channel.confirm_delivery()
        durable = cpika.BasicProperties(delivery_mode=2)
        for _ in range(10):
            sent = []
            for number in range(60):
                key = "nobody" if number % 3 == 2 else queue
                body = b"x" if alike else b"%d" % number
                sent.append((key, channel.basic_publish("", key, body, durable, mandatory=True)))
            for key, confirmed in sent:
                try:
                    yield confirmed
                    told = queue
                except exceptions.UnroutableError:
                    told = "nobody"
                right += told == key
                wrong += told != key
        yield connection.close()

    main().addErrback(lambda failure: failure.printTraceback()).addBoth(lambda _: reactor.stop())
    reactor.run()
    return [wrong, right]


@pytest.mark.parametrize("alike", [False, True])
def test_each_deferred_is_told_of_its_own_message(broker_url: str, alike: bool) -> None:
    """pika tells the next one that is confirmed, whichever came back."""
    assert apart(returned_on_twisted, alike) == [0, 600]
