"""`cpika.aio`: whatever goes wrong, each await ends, is told why, and leaves nothing open."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import Any

import cpika
import pytest
from cpika import aio, exceptions
from parity.harness import Broker
from support import amqp
from support.fakeserver import FakeServer, Peer
from support.proxy import CLIENT, SERVER, Proxy

GONE = struct.pack(">H", 541) + amqp.short("INTERNAL_ERROR") + bytes(4)


def parameters(port: int) -> Any:
    return Broker.of_this_run().parameters(cpika, host="127.0.0.1", port=port)


# ---- `async with`


def test_what_opens_something_is_entered_once_at_a_time(run: Any, params: Any) -> None:
    """The first to leave closed what the last had opened; what the others had opened stayed open."""

    async def main() -> list[int]:
        async with aio.connect(params) as connection:
            opening = connection.channel()
            async with opening as first:
                with pytest.raises(RuntimeError, match="entered already"):
                    async with opening:
                        pass
                entering = asyncio.ensure_future(opening.__aenter__())
                with pytest.raises(RuntimeError, match="entered already"):
                    await entering
                assert first.is_open
            assert not first.is_open
            async with opening as second:
                assert second.is_open
            return sorted(connection.raw._channels)

    assert run(main()) == []


def test_an_opening_that_failed_may_be_entered_again(run: Any, params: Any) -> None:
    async def main() -> None:
        opening = aio.connect(cpika.ConnectionParameters("127.0.0.1", 1, connection_attempts=1))
        for _ in range(2):
            with pytest.raises(exceptions.AMQPConnectionError):
                await opening.__aenter__()

    run(main())


def test_a_channel_that_cannot_be_completed_is_closed(run: Any, params: Any) -> None:
    """It stayed open, and nobody had it."""

    async def main() -> None:
        async with aio.connect(params) as connection:
            connection.raw.server_capabilities["publisher_confirms"] = False  # a broker without
            with pytest.raises(exceptions.MethodNotImplemented):
                await connection.channel()
            (raw,) = connection.raw._channels.values()
            assert raw.is_closing
            ended = asyncio.Event()
            raw.add_on_close_callback(lambda _raw, _reason: ended.set())
            await ended.wait()
            assert connection.raw._channels == {}

    run(main())


# ---- who waits when it ends


def test_gets_that_wait_their_turn_are_told_why_the_channel_has_ended(run: Any, params: Any) -> None:
    """But for the first, they were told that the channel is closed."""

    async def main() -> list[Any]:
        async with aio.connect(params) as connection:
            channel = await connection.channel()
            gets = [channel.get("no-such-queue") for _ in range(4)]
            told = await asyncio.gather(*gets, return_exceptions=True)
            with pytest.raises(exceptions.ChannelWrongStateError):  # who comes later finds the end
                await channel.get("no-such-queue")
            return told

    assert [type(one) for one in run(main())] == [exceptions.ChannelClosedByBroker] * 4


def test_gets_that_wait_for_one_that_was_given_up_are_told_why_the_connection_has_ended(
    run: Any, broker_url: str, make_proxy: Callable[..., Proxy]
) -> None:
    proxy = make_proxy(broker_url)

    async def main() -> list[Any]:
        connection = await aio.connect(parameters(proxy.port))
        channel = await connection.channel()
        queue = (await channel.queue_declare(exclusive=True)).queue
        proxy.pause(SERVER)
        gets = [asyncio.ensure_future(channel.get(queue)) for _ in range(4)]
        await asyncio.sleep(0)
        gets.pop(0).cancel()
        await asyncio.sleep(0)
        proxy.cut()
        return await asyncio.gather(*gets, return_exceptions=True)

    assert [type(one) for one in run(main())] == [exceptions.StreamLostError] * 3


def test_a_publish_that_is_held_back_is_told_at_once_that_its_channel_has_ended(
    run: Any, broker_url: str, make_proxy: Callable[..., Proxy]
) -> None:
    """It waited until the broker took the connection's output again."""
    proxy = make_proxy(broker_url)

    async def main() -> Any:
        connection = await aio.connect(parameters(proxy.port))
        channel = await connection.channel(confirms=False)
        proxy.pause(CLIENT)
        while connection._drained is None:
            await channel.publish("", "nobody", bytes(500_000))
            await asyncio.sleep(0)
        held = asyncio.ensure_future(channel.publish("", "nobody", b"x"))
        await asyncio.sleep(0)
        proxy.inject(amqp.method(int(channel.raw), "Channel.Close", GONE))
        (told,) = await asyncio.gather(held, return_exceptions=True)
        assert connection._drained is not None
        proxy.cut()
        await connection.wait_closed()
        return told

    assert isinstance(run(main()), exceptions.ChannelClosedByBroker)


def closes_with_the_answer(peer: Peer) -> None:
    peer.handshake()
    channel = peer.serve_until("Channel.Open").channel
    peer.expect("Basic.Qos")
    peer.send(amqp.method(channel, "Basic.QosOk") + amqp.method(channel, "Channel.Close", GONE))
    peer.serve_to_end()


def test_a_consumer_whose_channel_ends_while_it_is_entered_is_told_why(run: Any) -> None:
    """It was told that the channel is closed."""

    async def main(port: int) -> None:
        async with aio.connect(cpika.ConnectionParameters("127.0.0.1", port)) as connection:
            channel = await connection.channel(confirms=False)
            with pytest.raises(exceptions.ChannelClosedByBroker, match="INTERNAL_ERROR"):
                async with channel.consume("q", prefetch=1):
                    pass

    with FakeServer(closes_with_the_answer) as server:
        run(main(server.port))


# ---- consumers


def test_a_consumer_that_was_not_entered_is_not_read(run: Any, params: Any) -> None:
    """Reading waited for good."""

    async def main() -> None:
        async with aio.connect(params) as connection, connection.channel() as channel:
            queue = (await channel.queue_declare(exclusive=True)).queue
            await channel.publish("", queue, b"x")
            consumer = channel.consume(queue)
            with pytest.raises(RuntimeError, match="async with"):
                await consumer.__anext__()
            async with consumer:
                (await consumer.__anext__()).ack()

    run(main())


@pytest.mark.parametrize("again", ["itself", "another of its tag"])
def test_a_consumer_is_entered_again_behind_its_cancel_under_way(run: Any, params: Any, again: str) -> None:
    """DuplicateConsumerTag, until the broker had answered."""

    async def main() -> bytes:
        async with aio.connect(params) as connection, connection.channel() as channel:
            queue = (await channel.queue_declare(exclusive=True)).queue
            consumer = channel.consume(queue, consumer_tag="mine")
            await consumer.__aenter__()
            leaving = asyncio.ensure_future(consumer.__aexit__(None, None, None))
            await asyncio.sleep(0)
            leaving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await leaving
            if again != "itself":
                consumer = channel.consume(queue, consumer_tag="mine")
            async with consumer:
                await channel.publish("", queue, b"x")
                body = (await consumer.__anext__()).body
            assert channel._cancelling == {}
            return body

    assert run(main()) == b"x"


def test_entering_again_behind_a_cancel_that_is_never_answered_is_told_of_the_end(
    run: Any, broker_url: str, make_proxy: Callable[..., Proxy]
) -> None:
    proxy = make_proxy(broker_url)

    async def main() -> Any:
        connection = await aio.connect(parameters(proxy.port))
        channel = await connection.channel()
        queue = (await channel.queue_declare(exclusive=True)).queue
        consumer = channel.consume(queue)
        await consumer.__aenter__()
        proxy.pause(SERVER)
        leaving = asyncio.ensure_future(consumer.__aexit__(None, None, None))
        entering = asyncio.ensure_future(consumer.__aenter__())
        await asyncio.sleep(0)
        proxy.cut()
        await leaving
        return (await asyncio.gather(entering, return_exceptions=True))[0]

    assert isinstance(run(main()), exceptions.StreamLostError)


def test_a_consumer_that_the_program_has_cancelled_by_itself_is_left_at_once(run: Any, params: Any) -> None:
    """Leaving it waited for an answer that nobody had asked for."""

    async def main() -> None:
        async with aio.connect(params) as connection, connection.channel() as channel:
            queue = (await channel.queue_declare(exclusive=True)).queue
            for callback in (None, lambda _frame: None):
                consumer = channel.consume(queue)
                async with consumer:
                    channel.raw.basic_cancel(consumer.consumer_tag, callback)

    run(main())
