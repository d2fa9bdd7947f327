"""Hands out background tasks on asyncio: mails to send and reports to make.

A task must not be lost: the exchange and the queue are durable, each message is persistent, and the broker
confirms that it has taken it. Ten tasks may await that at a time, so that not each costs a round trip. Who
consumes them, tasks/consumer.py or the one beside this, makes no difference.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import json
import os
import pathlib
import sys

import pika
import pika.exceptions
from pika.adapters.asyncio_connection import AsyncioConnection

IN_FLIGHT = 10  # tasks that may await their confirm at a time
LARGE_BODY = 10_000_000  # bytes; what is larger belongs in a store, and its address in the message


def default_url() -> str:
    """The broker to use when none is named: the environment's, else setup's, else this machine's."""
    saved = pathlib.Path(__file__).resolve().parent.parent / "setup" / "dev_user.url"
    return (
        os.environ.get("CPIKA_BROKER_URL")
        or (saved.read_text().strip() if saved.exists() else "")
        or "amqp://guest:guest@127.0.0.1:5672/%2F"
    )


def broker(url: str) -> pika.URLParameters:
    """Check a URL; what is wrong with it is not quoted, for it may hold a password."""
    try:
        if not url.startswith(("amqp://", "amqps://")):
            raise ValueError
        return pika.URLParameters(url)
    except ValueError:
        raise argparse.ArgumentTypeError("expected amqp://USER:PASSWORD@HOST:PORT/VHOST") from None


def natural(text: str) -> int:
    """An integer that is not negative."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{value} is negative")
    return value


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Hand out background tasks.")
    add = parser.add_argument
    add("--url", type=broker, default=default_url(), help="the broker (default: CPIKA_BROKER_URL)")
    add("--prefix", default=os.environ.get("EXAMPLES_PREFIX", ""), help="what is put before every name")
    add("--count", type=natural, default=6, help="tasks to hand out (default: %(default)s)")
    add("--nonsense", action="store_true", help="end with a task that nobody can do")
    add("--body-bytes", type=natural, default=0, help="fill each body up to this size")
    return parser.parse_args()


class Session:
    """A connection and its channel, to await: `async with Session(parameters) as session`.

    pika never calls the callback of a question whose channel closes before the answer; who asks here is told
    why it has closed.
    """

    def __init__(self, parameters: pika.URLParameters) -> None:
        loop = asyncio.get_running_loop()
        self.parameters = parameters
        self.ended = loop.create_future()  # why the channel, or the connection, is there no more
        self.closed = loop.create_future()

    async def __aenter__(self) -> Session:
        self.connection = await self.ask(
            AsyncioConnection,
            self.parameters,
            on_open_error_callback=self.on_closed,
            on_close_callback=self.on_closed,
            callback="on_open_callback",
        )
        self.channel = await self.ask(self.connection.channel, callback="on_open_callback")
        self.channel.add_on_close_callback(self.on_ended)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self.connection.is_open:
            self.connection.close()
        await asyncio.wait([self.closed], timeout=10)

    def on_ended(self, _, reason: BaseException) -> None:
        if not isinstance(reason, pika.exceptions.AMQPError):  # a name that is not found
            reason = pika.exceptions.AMQPConnectionError(reason)
        if not self.ended.done():
            self.ended.set_result(reason)

    def on_closed(self, connection, reason: BaseException) -> None:
        self.on_ended(connection, reason)
        self.closed.set_result(None)

    async def first(self, *awaited: asyncio.Future) -> None:
        """Return when one of these is done. Raises why the session has ended, if that comes first."""
        await asyncio.wait([*awaited, self.ended], return_when=asyncio.FIRST_COMPLETED)
        if not any(one.done() for one in awaited):
            raise self.ended.result()

    async def ask(self, method, *args, callback: str = "callback", **options):
        """Call a method that the broker answers; return the answer. `callback` is the argument's name."""
        answer = asyncio.get_running_loop().create_future()
        method(*args, **options, **{callback: answer.set_result})
        await self.first(answer)
        return answer.result()


async def declare_on(session: Session, prefix: str) -> str:
    """Declare what producer and consumer share; return the name of the exchange and of the queue."""
    name, rejected = f"{prefix}tasks", f"{prefix}tasks.rejected"
    ask, channel = session.ask, session.channel
    await ask(channel.exchange_declare, rejected, "fanout", durable=True)
    await ask(channel.queue_declare, rejected, durable=True)
    await ask(channel.queue_bind, rejected, rejected)
    await ask(channel.exchange_declare, name, "direct", durable=True)
    await ask(channel.queue_declare, name, durable=True, arguments={"x-dead-letter-exchange": rejected})
    await ask(channel.queue_bind, name, name, routing_key=name)
    return name


def make_task(number: int) -> str:
    """Mails and reports take turns; every third task meets a server that is busy the first time."""
    task: dict[str, object] = {"task": number}
    if number % 2:
        task.update(kind="mail", to=f"c{number}@example.com")
    else:
        task.update(kind="report", about=f"week {number}")
    if number % 3 == 0:
        task["busy"] = True
    return json.dumps(task)


class Publisher:
    """Publishes on a session's channel and knows what the broker has confirmed."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.count = 0  # the broker counts along: it calls a message by its number
        self.waiting: dict[int, asyncio.Future] = {}
        self.returned: set[str] = set()
        session.channel.add_on_return_callback(self.on_return)

    async def begin(self) -> None:
        """Have what is published from now on confirmed."""
        await self.session.ask(self.session.channel.confirm_delivery, self.on_confirm)

    def publish(self, name: str, body: bytes) -> asyncio.Future:
        """Publish a message; return a future: None once it is confirmed, or what is wrong with it."""
        self.count += 1
        confirm = self.waiting[self.count] = asyncio.get_running_loop().create_future()
        properties = pika.BasicProperties(
            content_type="application/json",
            delivery_mode=pika.DeliveryMode.Persistent,
            message_id=str(self.count),
        )
        self.session.channel.basic_publish(name, name, body, properties, mandatory=True)
        return confirm

    def on_return(self, channel, method, properties, body) -> None:
        """No queue has taken it; its confirm comes behind this."""
        self.returned.add(properties.message_id)

    def on_confirm(self, frame) -> None:
        """One message is settled, or all up to one."""
        last = frame.method.delivery_tag
        for number in [n for n in self.waiting if n <= last] if frame.method.multiple else [last]:
            confirm = self.waiting.pop(number)
            if isinstance(frame.method, pika.spec.Basic.Nack):
                confirm.set_result(pika.exceptions.NackError([number]))
            elif str(number) in self.returned:
                confirm.set_result(pika.exceptions.UnroutableError([number]))
            else:
                confirm.set_result(None)

    async def confirmed(self, confirm: asyncio.Future) -> None:
        """Return when the broker has the message. Raises NackError, UnroutableError, or why all has ended."""
        await self.session.first(confirm)
        if confirm.result() is not None:
            raise confirm.result()


async def run(args: argparse.Namespace) -> None:
    tasks = [make_task(number) for number in range(1, args.count + 1)]
    if args.nonsense:
        tasks.append("make me a sandwich")
    async with Session(args.url) as session:
        name = await declare_on(session, args.prefix)
        publisher = Publisher(session)
        await publisher.begin()
        under_way: collections.deque = collections.deque()
        for text in tasks:
            body = text.encode().ljust(args.body_bytes)  # spaces after JSON mean nothing
            if len(body) > LARGE_BODY:
                print(f"warning: a body of {len(body)} bytes is above {LARGE_BODY}", file=sys.stderr)
            under_way.append((text, publisher.publish(name, body)))
            if len(under_way) == IN_FLIGHT:
                await hand_out(publisher, under_way)
        while under_way:
            await hand_out(publisher, under_way)
    print(f"{len(tasks)} tasks handed out")


async def hand_out(publisher: Publisher, under_way: collections.deque) -> None:
    """Await the confirm of the oldest task under way, and say so."""
    text, confirm = under_way.popleft()
    await publisher.confirmed(confirm)
    print(f"handed out: {text}")


def main() -> int:
    args = parse_arguments()
    sys.stdout.reconfigure(line_buffering=True)  # each line is seen at once, through a pipe too
    try:
        asyncio.run(run(args))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except (pika.exceptions.AMQPError, OSError) as error:
        print(f"tasks producer: broker {args.url.host}:{args.url.port}: {error!r}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
