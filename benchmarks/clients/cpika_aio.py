"""The scenarios of `cpika.aio`, the twins of those in the client on aio-pika."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from common import AIO_WINDOW, DROP, Job, stats_queue
from cpika import aio


async def counter(channel: aio.Channel, name: str) -> int:
    declared = await channel.queue_declare(stats_queue(name), passive=True)
    return declared.message_count  # type: ignore[no-any-return]


async def confirms(job: Job, channel: aio.Channel) -> None:
    """Some tasks, each of which awaits its publishes one by one."""
    body = job.body
    share, rest = divmod(job.count, AIO_WINDOW)

    async def work(count: int) -> None:
        for _ in range(count):
            await channel.publish("", DROP, body)

    job.start()
    await asyncio.gather(*(work(share + (i < rest)) for i in range(AIO_WINDOW)))
    job.stop()
    job.expect("confirms", await counter(channel, "confirms"))


async def consume_ack(job: Job, channel: aio.Channel) -> None:
    left = job.count
    job.start()
    async with channel.consume(job.queue()) as messages:
        async for message in messages:
            message.ack()
            left -= 1
            if not left:
                break
    acks = await counter(channel, "acks")
    job.stop()
    job.expect("acks", acks)


async def confirm(job: Job, channel: aio.Channel) -> None:
    body = job.body
    job.start()
    for _ in range(job.count):
        await channel.publish("", DROP, body)
    job.stop()
    job.expect("confirms", await counter(channel, "confirms"))


async def get(job: Job, channel: aio.Channel) -> None:
    queue = job.queue()
    size = 0
    job.start()
    for _ in range(job.count):
        message = await channel.get(queue, auto_ack=True)
        assert message is not None
        size += len(message.body)
    job.stop()
    job.expect("bytes", size, job.count * job.size)


def aio_scenarios() -> dict[str, Callable[[Job], None]]:
    def bound(scenario: Callable[[Job, Any], Awaitable[None]]) -> Callable[[Job], None]:
        async def run(job: Job) -> None:
            async with aio.connect(job.url) as connection, connection.channel() as channel:
                await scenario(job, channel)

        return lambda job: asyncio.run(run(job))

    return {f"aio_{scenario.__name__}": bound(scenario) for scenario in (confirms, consume_ack, confirm, get)}
