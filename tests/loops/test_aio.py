"""`cpika.aio`: connections, channels and messages to await."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import Any

import cpika
import pytest
from cpika import aio
from parity.harness import Broker
from support import amqp
from support.fakeserver import FakeServer, Peer
from support.proxy import SERVER, Proxy


async def got_back(channel: aio.Channel, queue: str, auto_ack: bool = False) -> aio.Message:
    """A message of the queue, once the broker has it back."""
    message = None
    while message is None:
        message = await channel.get(queue, auto_ack)
    return message


def test_publish_and_consume(run: Any, params: Any) -> None:
    async def main() -> None:
        async with aio.connect(params) as connection:
            channel = await connection.channel()
            queue = (await channel.queue_declare(exclusive=True)).queue
            bodies = [b"%d" % number for number in range(500)]
            await asyncio.gather(*(channel.publish("", queue, body) for body in bodies))
            got = []
            async with channel.consume(queue, prefetch=20) as messages:
                async for message in messages:
                    got.append(message.body)
                    message.ack()
                    if len(got) == len(bodies):
                        break
            assert got == bodies
            assert (await channel.queue_declare(queue, passive=True)).message_count == 0
        assert not connection.is_open
        assert isinstance(await connection.wait_closed(), cpika.exceptions.ConnectionClosedByClient)

    run(main())


def test_a_url_and_several_parameters(run: Any, broker_url: str) -> None:
    async def main() -> None:
        unreachable = cpika.ConnectionParameters("127.0.0.1", 1)
        connection = await aio.connect([unreachable, broker_url])
        async with connection, connection.channel(confirms=False) as channel:
            await channel.publish("", "nobody", b"x")

    run(main())


def test_what_cannot_be_routed_or_is_refused_is_raised(run: Any, params: Any) -> None:
    async def main() -> None:
        async with aio.connect(params) as connection, connection.channel() as channel:
            queue = (
                await channel.queue_declare(
                    exclusive=True, arguments={"x-max-length": 1, "x-overflow": "reject-publish"}
                )
            ).queue
            results = await asyncio.gather(
                channel.publish("", queue, b"1", mandatory=True),
                channel.publish("", "nobody-has-this", b"2", mandatory=True),
                channel.publish("", "nobody-has-this", b"3"),
                return_exceptions=True,
            )
            assert results[0] is None
            assert isinstance(results[1], cpika.exceptions.UnroutableError)
            assert [message.body for message in results[1].messages] == [b"2"]
            assert results[2] is None
            with pytest.raises(cpika.exceptions.NackError):
                await channel.publish("", queue, b"4")
            assert not channel._pending
            assert not channel._mandatory

    run(main())


def test_the_broker_s_refusal_closes_the_channel_for_all_who_wait(run: Any, params: Any) -> None:
    async def main() -> None:
        async with aio.connect(params) as connection:
            channel = await connection.channel()
            results = await asyncio.gather(
                channel.queue_declare("no-such-queue", passive=True),
                channel.queue_declare(exclusive=True),
                return_exceptions=True,
            )
            assert [type(result) for result in results] == [cpika.exceptions.ChannelClosedByBroker] * 2
            with pytest.raises(cpika.exceptions.ChannelWrongStateError):
                await channel.publish("", "q", b"x")
            assert isinstance(await channel.wait_closed(), cpika.exceptions.ChannelClosedByBroker)
            async with connection.channel() as another:
                assert another.is_open

    run(main())


def test_getting(run: Any, params: Any) -> None:
    async def main() -> None:
        async with aio.connect(params) as connection, connection.channel() as channel:
            queue = (await channel.queue_declare(exclusive=True)).queue
            assert await channel.get(queue) is None
            for number in range(10):
                await channel.publish("", queue, b"%d" % number)
            got = await asyncio.gather(*(channel.get(queue, auto_ack=True) for _ in range(11)))
            assert [message and message.body for message in got] == [b"%d" % n for n in range(10)] + [None]

    run(main())


def test_a_cancelled_get_gives_its_message_back(run: Any, params: Any) -> None:
    async def main() -> None:
        async with aio.connect(params) as connection, connection.channel() as channel:
            queue = (await channel.queue_declare(exclusive=True)).queue
            await channel.publish("", queue, b"x")
            task = asyncio.ensure_future(channel.get(queue))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            message = await got_back(channel, queue)
            assert message.body == b"x"
            assert message.delivery.redelivered
            message.ack()

    run(main())


def cancelling(call: Callable[..., Any], place: int, cancel: Callable[[], Any]) -> Callable[..., Any]:
    """The call, with `cancel()` behind each run of the callback at that place of its arguments."""

    def calls(*arguments: Any) -> Any:
        callback = arguments[place]

        def answered(*answer: Any) -> None:
            callback(*answer)
            cancel()

        return call(*arguments[:place], answered, *arguments[place + 1 :])

    return calls


def test_a_get_that_is_cancelled_in_the_turn_of_its_answer_gives_the_message_back(
    run: Any, params: Any
) -> None:
    async def main() -> None:
        async with aio.connect(params) as connection, connection.channel() as channel:
            queue = (await channel.queue_declare(exclusive=True)).queue
            await channel.publish("", queue, b"x")
            raw: Any = channel.raw
            usual = raw.basic_get
            raw.basic_get = cancelling(usual, 1, lambda: task.cancel())
            task = asyncio.ensure_future(channel.get(queue))
            with pytest.raises(asyncio.CancelledError):
                await task
            raw.basic_get = usual
            message = await got_back(channel, queue)
            assert message.body == b"x"
            message.ack()

    run(main())


def test_a_consumer_that_is_cancelled_in_the_turn_of_its_messages_gives_them_back(
    run: Any, params: Any
) -> None:
    async def main() -> None:
        async with aio.connect(params) as connection, connection.channel() as channel:
            queue = (await channel.queue_declare(exclusive=True)).queue
            for number in range(5):
                await channel.publish("", queue, b"%d" % number)
            raw: Any = channel.raw
            raw.basic_consume = cancelling(raw.basic_consume, 1, lambda: task.cancel())

            async def consume() -> None:
                async with channel.consume(queue):
                    await asyncio.Event().wait()

            task = asyncio.ensure_future(consume())
            with pytest.raises(asyncio.CancelledError):
                await task
            left = [await got_back(channel, queue, auto_ack=True) for _ in range(5)]
            assert {message.body for message in left} == {b"%d" % number for number in range(5)}

    run(main())


def test_who_reads_a_consumer_learns_that_another_task_has_ended_it(run: Any, params: Any) -> None:
    async def main() -> None:
        async with aio.connect(params) as connection, connection.channel() as channel:
            queue = (await channel.queue_declare(exclusive=True)).queue
            async with channel.consume(queue) as messages:
                reading = [asyncio.ensure_future(messages.__anext__()) for _ in range(3)]
                await asyncio.sleep(0)
            for reader in reading:
                with pytest.raises(cpika.exceptions.ConsumerCancelled):
                    await reader

    run(main())


def test_cancelled_requests_and_publishes_leave_the_channel_sound(run: Any, params: Any) -> None:
    async def main() -> None:
        async with aio.connect(params) as connection, connection.channel() as channel:
            queue = (await channel.queue_declare(exclusive=True)).queue
            tasks = [
                asyncio.ensure_future(channel.queue_declare(queue, passive=True)),
                asyncio.ensure_future(channel.publish("", queue, b"x")),
                asyncio.ensure_future(channel.qos(5)),
            ]
            await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await channel.publish("", queue, b"y")
            assert (await channel.queue_declare(queue, passive=True)).message_count == 2

    run(main())


def test_what_a_consumer_did_not_read_goes_back(run: Any, params: Any) -> None:
    async def main() -> None:
        async with aio.connect(params) as connection, connection.channel() as channel:
            queue = (await channel.queue_declare(exclusive=True)).queue
            for number in range(10):
                await channel.publish("", queue, b"%d" % number)
            async with channel.consume(queue) as messages:
                first = await messages.__anext__()
                first.ack()
            left = [await got_back(channel, queue, auto_ack=True) for _ in range(9)]
            assert sorted(message.body for message in left) == [b"%d" % number for number in range(1, 10)]

    run(main())


def test_a_consumer_that_the_broker_cancels_ends(run: Any, params: Any) -> None:
    async def main() -> None:
        async with aio.connect(params) as connection, connection.channel() as channel:
            queue = (await channel.queue_declare(exclusive=True)).queue
            async with channel.consume(queue) as messages:
                reading = asyncio.ensure_future(messages.__anext__())
                await channel.queue_delete(queue)
                with pytest.raises(cpika.exceptions.ConsumerCancelled):
                    await reading

    run(main())


def test_a_cut_is_told_to_all_who_wait(run: Any, broker_url: str, make_proxy: Callable[..., Proxy]) -> None:
    proxy = make_proxy(broker_url)

    async def main() -> None:
        params = Broker.of_this_run().parameters(cpika, host="127.0.0.1", port=proxy.port)
        connection = await aio.connect(params)
        channel = await connection.channel()
        queue = (await channel.queue_declare(exclusive=True)).queue

        async def read() -> None:
            async with channel.consume(queue) as messages:
                async for _message in messages:
                    proxy.cut()

        reading = asyncio.ensure_future(read())
        waiting = asyncio.ensure_future(channel.publish("", queue, b"x"))
        with pytest.raises(cpika.exceptions.StreamLostError):
            await reading
        await asyncio.gather(waiting, return_exceptions=True)
        assert isinstance(await connection.wait_closed(), cpika.exceptions.StreamLostError)
        with pytest.raises(cpika.exceptions.AMQPError):
            await channel.publish("", queue, b"x")
        await connection.close()

    run(main())


def test_a_flood_of_publishes_is_held_back(run: Any, params: Any) -> None:
    async def main() -> int:
        async with aio.connect(params) as connection, connection.channel() as channel:
            most = 0

            async def flood() -> None:
                nonlocal most
                for _ in range(200):
                    future = asyncio.ensure_future(channel.publish("", "nobody", bytes(50_000)))
                    await asyncio.sleep(0)
                    most = max(most, connection.raw.write_buffer_size)
                    futures.append(future)

            futures: list[Any] = []
            await flood()
            await asyncio.gather(*futures)
            return most

    assert run(main()) <= aio.WRITE_HIGH + 60_000


def test_a_refused_connection_raises_as_a_blocking_one(run: Any, params: Any) -> None:
    async def main() -> None:
        with pytest.raises(cpika.exceptions.AMQPConnectionError):
            await aio.connect(cpika.ConnectionParameters("127.0.0.1", 1))
        wrong = Broker.of_this_run().parameters(cpika, credentials=cpika.PlainCredentials("guest", "wrong"))
        with pytest.raises(cpika.exceptions.ProbableAuthenticationError):
            await aio.connect(wrong)

    run(main())


def test_a_cancelled_connect_leaves_nothing_open(run: Any, params: Any) -> None:
    async def main() -> None:
        async def opening() -> Any:
            return await aio.connect(params)

        for pause in (0, 0.001, 0.005, 0.02):
            task = asyncio.ensure_future(opening())
            await asyncio.sleep(pause)
            task.cancel()
            result = (await asyncio.gather(task, return_exceptions=True))[0]
            if isinstance(result, aio.Connection):
                await result.close()
            else:
                assert isinstance(result, asyncio.CancelledError)
        async with aio.connect(params) as connection:
            assert connection.is_open

    run(main())


# ---- several at once, again, and given up


def test_each_of_two_consumers_is_left_when_its_own_cancel_is_answered(run: Any, params: Any) -> None:
    """The first CancelOk was taken for both: the second consumer was still there behind its `async with`."""

    async def main() -> list[bool]:
        async with aio.connect(params) as connection, connection.channel() as channel:
            known: list[bool] = []

            async def read(queue: str) -> None:
                consumer = channel.consume(queue)
                async with consumer:
                    started.release()
                    await go_on.wait()
                known.append(consumer.consumer_tag in channel.raw.consumer_tags)

            started, go_on = asyncio.Semaphore(0), asyncio.Event()
            queues = [(await channel.queue_declare(exclusive=True)).queue for _ in range(3)]
            reading = [asyncio.ensure_future(read(queue)) for queue in queues]
            for _ in queues:
                await started.acquire()
            go_on.set()
            await asyncio.gather(*reading)
            return known

    assert run(main()) == [False] * 3


def test_a_consumer_may_be_entered_again(run: Any, params: Any) -> None:
    """Behind its first message the second reading ended with the first one's ConsumerCancelled."""

    async def main() -> None:
        async with aio.connect(params) as connection, connection.channel() as channel:
            queue = (await channel.queue_declare(exclusive=True)).queue
            consumer = channel.consume(queue)
            for _ in range(2):
                async with consumer:
                    reading = asyncio.ensure_future(consumer.__anext__())
                    await asyncio.sleep(0)
                    await channel.publish("", queue, b"x")
                    (await reading).ack()

    run(main())


def test_a_reading_that_is_given_up_leaves_nothing(run: Any, params: Any) -> None:
    async def main() -> int:
        async with aio.connect(params) as connection, connection.channel() as channel:
            queue = (await channel.queue_declare(exclusive=True)).queue
            async with channel.consume(queue) as messages:
                for _ in range(20):
                    with pytest.raises(asyncio.TimeoutError):
                        await asyncio.wait_for(messages.__anext__(), 0.001)
                return len(messages._waiters)

    assert run(main()) == 0


def opens_and_closes_at_once(peer: Peer) -> None:
    peer.handshake()
    peer.expect("Channel.Open")
    gone = struct.pack(">H", 541) + amqp.short("INTERNAL_ERROR") + bytes(4)
    peer.send(amqp.method(1, "Channel.OpenOk", amqp.long(b"")) + amqp.method(1, "Channel.Close", gone))
    peer.serve_to_end()


@pytest.mark.parametrize("confirms", [False, True])
def test_a_channel_that_ends_as_it_opens_says_why(run: Any, confirms: bool) -> None:
    """It was returned, and its `close()` waited for good."""

    async def main(port: int) -> None:
        async with aio.connect(cpika.ConnectionParameters("127.0.0.1", port)) as connection:
            with pytest.raises(cpika.exceptions.ChannelClosedByBroker, match="INTERNAL_ERROR"):
                await connection.channel(confirms)

    with FakeServer(opens_and_closes_at_once) as server:
        run(main(server.port))


def test_secrets_given_at_once_are_answered_each(run: Any, params: Any) -> None:
    async def main() -> None:
        async with aio.connect(params) as connection:
            secrets = [connection.update_secret("guest", f"{number}") for number in range(5)]
            first = asyncio.ensure_future(connection.update_secret("guest", "given up"))
            await asyncio.sleep(0)
            first.cancel()
            await asyncio.gather(*secrets)
            assert connection._secret_answered is None

    run(main())


def test_a_secret_that_is_refused_here_keeps_no_other_waiting(run: Any, params: Any) -> None:
    async def main() -> None:
        async with aio.connect(params) as connection:
            for wrong in (None, "\udc80"):
                with pytest.raises((AssertionError, ValueError)):
                    await connection.update_secret(wrong, "wrong")  # type: ignore[arg-type]
            await connection.update_secret("guest", "right")

    run(main())


def test_secrets_that_wait_are_told_why_the_connection_has_ended(
    run: Any, broker_url: str, make_proxy: Callable[..., Proxy]
) -> None:
    async def main() -> list[Any]:
        given = Broker.of_this_run().parameters(cpika, host="127.0.0.1", port=proxy.port)
        connection = await aio.connect(given)
        proxy.pause(SERVER)
        secrets = [asyncio.ensure_future(connection.update_secret("guest", "r")) for _ in range(3)]
        await asyncio.sleep(0)
        proxy.cut()
        return await asyncio.gather(*secrets, return_exceptions=True)

    proxy = make_proxy(broker_url)
    told = run(main())
    assert [type(one) for one in told] == [cpika.exceptions.StreamLostError] * 3


def test_a_consumer_that_cannot_be_entered_again_keeps_its_end(run: Any, params: Any) -> None:
    async def main() -> None:
        async with aio.connect(params) as connection:
            channel = await connection.channel()
            queue = (await channel.queue_declare(exclusive=True)).queue
            consumer = channel.consume(queue)
            async with consumer:
                pass
            await channel.close()
            with pytest.raises(cpika.exceptions.ChannelWrongStateError):
                await consumer.__aenter__()
            with pytest.raises(cpika.exceptions.ConsumerCancelled):
                await consumer.__anext__()

    run(main())
