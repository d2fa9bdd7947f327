"""Does background tasks: sends mails, makes reports.

A task is acknowledged by hand once it is done, so that one whose worker dies goes to another worker.
`prefetch_count` keeps a busy worker from hoarding. A task that fails goes back to the queue once; when it
comes again (`redelivered`) and fails again, or can never be done, it is rejected, and the queue's dead-letter
exchange puts it into `tasks.rejected`.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import sys
import time

import pika
import pika.exceptions


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


def declare(channel, prefix: str) -> str:
    """Declare what producer and consumer share; return the name of the exchange and of the queue."""
    name, rejected = f"{prefix}tasks", f"{prefix}tasks.rejected"
    channel.exchange_declare(rejected, "fanout", durable=True)
    channel.queue_declare(rejected, durable=True)
    channel.queue_bind(rejected, rejected)
    channel.exchange_declare(name, "direct", durable=True)
    channel.queue_declare(name, durable=True, arguments={"x-dead-letter-exchange": rejected})
    channel.queue_bind(name, name, routing_key=name)
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
    """Settles each task exactly once and stops consuming after `limit` of them (0: never)."""

    def __init__(self, limit: int, work_seconds: int) -> None:
        self.limit = limit
        self.work_seconds = work_seconds
        self.done = 0
        self.rejected = 0

    def on_message(self, channel, method, properties, body) -> None:
        again = " (redelivered)" if method.redelivered else ""
        time.sleep(self.work_seconds)
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
        if self.done + self.rejected == self.limit:
            channel.stop_consuming()


def run(args: argparse.Namespace) -> None:
    worker = Worker(args.limit, args.work_seconds)
    with pika.BlockingConnection(args.url) as connection, connection.channel() as channel:
        queue = declare(channel, args.prefix)
        channel.basic_qos(prefetch_count=args.prefetch)
        try:
            tag = channel.basic_consume(queue, worker.on_message)
            print(f"pid {os.getpid()} waits for tasks, prefetch {args.prefetch}, consumer {tag}")
            channel.start_consuming()
        except KeyboardInterrupt:  # how a worker is ended; what it holds goes to another one
            print("stopped")
    print(f"{worker.done} tasks done, {worker.rejected} rejected")


def main() -> int:
    args = parse_arguments()
    sys.stdout.reconfigure(line_buffering=True)  # each line is seen at once, through a pipe too
    try:
        run(args)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except (pika.exceptions.AMQPError, OSError) as error:
        print(f"tasks consumer: broker {args.url.host}:{args.url.port}: {error!r}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
