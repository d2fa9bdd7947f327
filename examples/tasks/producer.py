"""Hands out background tasks: mails to send and reports to make.

A task must not be lost: the exchange and the queue are durable, each message is persistent, and the
broker confirms that it has taken it before the next one leaves.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import sys

import pika
import pika.exceptions

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


def run(args: argparse.Namespace) -> None:
    tasks = [make_task(number) for number in range(1, args.count + 1)]
    if args.nonsense:
        tasks.append("make me a sandwich")
    with pika.BlockingConnection(args.url) as connection, connection.channel() as channel:
        name = declare(channel, args.prefix)
        channel.confirm_delivery()
        for text in tasks:
            body = text.encode().ljust(args.body_bytes)  # spaces after JSON mean nothing
            if len(body) > LARGE_BODY:
                print(f"warning: a body of {len(body)} bytes is above {LARGE_BODY}", file=sys.stderr)
            channel.basic_publish(
                name,
                name,
                body,
                pika.BasicProperties(
                    content_type="application/json", delivery_mode=pika.DeliveryMode.Persistent
                ),
                mandatory=True,
            )
            print(f"handed out: {text}")
    print(f"{len(tasks)} tasks handed out")


def main() -> int:
    args = parse_arguments()
    sys.stdout.reconfigure(line_buffering=True)  # each line is seen at once, through a pipe too
    try:
        run(args)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except (pika.exceptions.AMQPError, OSError) as error:
        print(f"tasks producer: broker {args.url.host}:{args.url.port}: {error!r}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
