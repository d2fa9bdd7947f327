"""The benchmark's client on aio-pika."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta, timezone
from importlib.metadata import version
from typing import Any

import aio_pika
from aio_pika.abc import AbstractIncomingMessage
from common import AIO_WINDOW, DROP, HEADERS, PROPERTIES, Job, main, stats_queue, time_import


@asynccontextmanager
async def open_channel(job: Job, confirms: bool = False) -> AsyncIterator[Any]:
    connection = await aio_pika.connect(job.url)
    async with connection:
        yield await connection.channel(publisher_confirms=confirms)


async def counter(channel: Any, name: str) -> int:
    queue = await channel.declare_queue(stats_queue(name), passive=True)
    return queue.declaration_result.message_count  # type: ignore[no-any-return]


async def publish(job: Job) -> None:
    async with open_channel(job) as channel:
        body = job.body
        exchange = channel.default_exchange
        job.start()
        for _ in range(job.count):
            await exchange.publish(aio_pika.Message(body), DROP)
        published = await counter(channel, "publishes")
        job.stop()
        job.expect("publishes", published)


async def publish_props(job: Job) -> None:
    properties = {
        **PROPERTIES,
        "expiration": timedelta(milliseconds=int(PROPERTIES["expiration"])),
        "timestamp": datetime.fromtimestamp(PROPERTIES["timestamp"], tz=timezone.utc),
    }
    async with open_channel(job) as channel:
        body = job.body
        exchange = channel.default_exchange
        job.start()
        for i in range(job.count):
            message = aio_pika.Message(body, headers={**HEADERS, "x-sequence": i}, **properties)
            await exchange.publish(message, DROP)
        published = await counter(channel, "publishes")
        job.stop()
        job.expect("publishes", published)


async def confirm(job: Job) -> None:
    async with open_channel(job, confirms=True) as channel:
        body = job.body
        exchange = channel.default_exchange
        job.start()
        for _ in range(job.count):
            await exchange.publish(aio_pika.Message(body), DROP)
        job.stop()
        job.expect("confirms", await counter(channel, "confirms"))


async def aio_confirms(job: Job) -> None:
    """Some tasks, each of which awaits its publishes one by one."""
    async with open_channel(job, confirms=True) as channel:
        body = job.body
        exchange = channel.default_exchange
        share, rest = divmod(job.count, AIO_WINDOW)

        async def work(count: int) -> None:
            for _ in range(count):
                await exchange.publish(aio_pika.Message(body), DROP)

        job.start()
        await asyncio.gather(*(work(share + (i < rest)) for i in range(AIO_WINDOW)))
        job.stop()
        job.expect("confirms", await counter(channel, "confirms"))


async def aio_consume_ack(job: Job) -> None:
    """By the queue's iterator."""
    left = job.count
    async with open_channel(job) as channel:
        queue = await channel.get_queue(job.queue(), ensure=False)
        job.start()
        async with queue.iterator() as messages:
            async for message in messages:
                await message.ack()
                left -= 1
                if not left:
                    break
        acks = await counter(channel, "acks")
        job.stop()
        job.expect("acks", acks)


async def consume(job: Job, ack: bool) -> None:
    left = job.count
    ended = asyncio.Event()

    async def on_message(message: AbstractIncomingMessage) -> None:
        nonlocal left
        if ack:
            await message.ack()
        left -= 1
        if not left:
            ended.set()

    async with open_channel(job) as channel:
        if job.prefetch:
            await channel.set_qos(job.prefetch)
        queue = await channel.get_queue(job.queue(), ensure=False)
        job.start()
        await queue.consume(on_message, no_ack=not ack)
        await ended.wait()
        acks = await counter(channel, "acks")
        job.stop()
        job.expect("acks", acks, job.count if ack else 0)


async def consume_auto(job: Job) -> None:
    await consume(job, ack=False)


async def consume_ack(job: Job) -> None:
    await consume(job, ack=True)


async def get(job: Job) -> None:
    async with open_channel(job) as channel:
        queue = await channel.get_queue(job.queue(), ensure=False)
        size = 0
        job.start()
        for _ in range(job.count):
            message = await queue.get(no_ack=True)
            size += len(message.body)
        job.stop()
        job.expect("bytes", size, job.count * job.size)


def runner(scenario: Callable[[Job], Awaitable[None]]) -> Callable[[Job], None]:
    def run(job: Job) -> None:
        asyncio.run(scenario(job))  # type: ignore[arg-type]

    return run


SCENARIOS = {
    scenario.__name__: runner(scenario)
    for scenario in (
        publish,
        publish_props,
        confirm,
        consume_auto,
        consume_ack,
        get,
        aio_confirms,
        aio_consume_ack,
    )
} | {"aio_confirm": runner(confirm), "aio_get": runner(get)}

if __name__ == "__main__":
    sys.exit(
        main("aio-pika", f"aio-pika {version('aio-pika')}", SCENARIOS | {"import": time_import("aio_pika")})
    )
