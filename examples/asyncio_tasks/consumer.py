"""Does background tasks on asyncio: sends mails, makes reports, as many at a time as `--prefetch` says.

A task is acknowledged by hand once it is done, so that one whose worker dies goes to another worker. A task
that fails goes back to the queue once; when it comes again (`redelivered`) and fails again, or can never be
done, it is rejected, and the queue's dead-letter exchange puts it into `tasks.rejected`. A connection that is
lost is made anew; what it held comes again. Who has handed the tasks out, tasks/producer.py or the one beside
this, makes no difference.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import pathlib
import signal
import sys

import pika
import pika.exceptions
from pika.adapters.asyncio_connection import AsyncioConnection

LONGEST_PAUSE = 30  # seconds between attempts to connect again


class Busy(Exception):
    """The task can not be done now; later it can."""


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
    parser = argparse.ArgumentParser(description="Do background tasks until Ctrl-C.")
    add = parser.add_argument
    add("--url", type=broker, default=default_url(), help="the broker (default: CPIKA_BROKER_URL)")
    add("--prefix", default=os.environ.get("EXAMPLES_PREFIX", ""), help="what is put before every name")
    add("--limit", type=natural, default=0, help="end after so many tasks (default: never)")
    add(
        "--prefetch",
        type=int,
        choices=range(1, 11),
        default=1,
        metavar="1-10",
        help="unacknowledged tasks to hold at most (default: %(default)s)",
    )
    add("--work-seconds", type=natural, default=0, help="how long a task takes (default: 0)")
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


def do_task(body: bytes, first_time: bool) -> str:
    """Do the task; return what was done. Raises Busy: later; another: never."""
    task = json.loads(body)
    work = {
        "mail": "mail to {to} sent",
        "report": "report on {about} made",
    }[task["kind"]].format_map(task)
    if task.get("busy") and first_time:
        raise Busy(f"the {task['kind']} server is busy")
    done = f"task {task['task']}: {work}"
    done.encode()  # half a surrogate pair can be in no mail, and not be printed
    return done


class Worker:
    """Settles each task exactly once, and ends after `limit` of them (0: never)."""

    def __init__(self, limit: int, work_seconds: int) -> None:
        self.limit = limit
        self.work_seconds = work_seconds
        self.done = 0
        self.rejected = 0

    def is_done(self) -> bool:
        return 0 < self.limit <= self.done + self.rejected

    async def work(self, messages: asyncio.Queue) -> None:
        """Do one task after the other until the limit is reached; several of these run side by side."""
        while not self.is_done():
            channel, method, _, body = await messages.get()
            await asyncio.sleep(self.work_seconds)
            if channel.is_open and not self.is_done():  # else it goes back to the queue by itself
                self.settle(channel, method, body)

    def settle(self, channel, method, body: bytes) -> None:
        again = " (redelivered)" if method.redelivered else ""
        try:
            result = do_task(body, first_time=not method.redelivered)
        except Busy as error:
            if not method.redelivered:
                channel.basic_nack(method.delivery_tag, requeue=True)
                print(f"{error}: back to the queue")
                return
            channel.basic_reject(method.delivery_tag, requeue=False)
            self.rejected += 1
            print(f"{error} again: rejected{again}")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            channel.basic_reject(method.delivery_tag, requeue=False)
            self.rejected += 1
            print(f"not a task ({type(error).__name__}): rejected{again}")
        else:
            channel.basic_ack(method.delivery_tag)
            self.done += 1
            print(f"{result}{again}")


async def consume(session: Session, args: argparse.Namespace, worker: Worker) -> None:
    """Return when the worker's limit is reached, or the broker ends the consumer: its queue is deleted."""
    channel = session.channel
    queue = await declare_on(session, args.prefix)
    await session.ask(channel.basic_qos, prefetch_count=args.prefetch)
    messages: asyncio.Queue = asyncio.Queue()  # of `prefetch` messages at most
    cancelled = asyncio.get_running_loop().create_future()
    channel.add_on_cancel_callback(cancelled.set_result)
    answer = await session.ask(channel.basic_consume, queue, lambda *message: messages.put_nowait(message))
    tag = answer.method.consumer_tag
    print(f"pid {os.getpid()} waits for tasks, prefetch {args.prefetch}, consumer {tag}")
    at_work = [asyncio.ensure_future(worker.work(messages)) for _ in range(args.prefetch)]
    try:
        await session.first(cancelled, *at_work)
    finally:
        for one in at_work:
            one.cancel()
        ends = await asyncio.gather(*at_work, return_exceptions=True)
    for error in ends:
        if isinstance(error, Exception):
            raise error


async def keep_consuming(args: argparse.Namespace, worker: Worker) -> None:
    """Consume; connect again when a connection is lost. The first has to be made: the URL may be wrong."""
    pause = 0
    while True:
        try:
            async with Session(args.url) as session:
                pause = 1
                return await consume(session, args, worker)
        except pika.exceptions.AMQPConnectionError as error:
            if not pause:
                raise
            print(f"broker {args.url.host}:{args.url.port}: {error!r}; the next try in {pause} s")
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


async def run(args: argparse.Namespace) -> None:
    worker = Worker(args.limit, args.work_seconds)
    consuming = asyncio.ensure_future(keep_consuming(args, worker))
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, consuming.cancel)
    try:
        await consuming
    except asyncio.CancelledError:  # how a worker is ended; what it holds goes to another one
        print("stopped")
    print(f"{worker.done} tasks done, {worker.rejected} rejected")


def main() -> int:
    args = parse_arguments()
    sys.stdout.reconfigure(line_buffering=True)  # each line is seen at once, through a pipe too
    try:
        asyncio.run(run(args))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except (pika.exceptions.AMQPError, OSError) as error:
        print(f"tasks consumer: broker {args.url.host}:{args.url.port}: {error!r}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
