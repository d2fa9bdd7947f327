"""Shows the payments that were given up, and orders them anew once their cause has been repaired."""

from __future__ import annotations

import argparse
import os
import pathlib
import sys

import pika
import pika.exceptions


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
    parser = argparse.ArgumentParser(description="List or re-drive the payments that were given up.")
    add = parser.add_argument
    add("action", choices=("list", "redrive"), help="look at them, or order them anew")
    add("--url", type=broker, default=default_url(), help="the broker (default: CPIKA_BROKER_URL)")
    add("--prefix", default=os.environ.get("EXAMPLES_PREFIX", ""), help="what is put before every name")
    add("--limit", type=natural, default=0, help="the oldest so many (default: all)")
    return parser.parse_args()


def declare_main(channel, prefix: str) -> str:
    """Declare the main queue, whose rejected messages go to the retry exchange; return its name."""
    name = f"{prefix}payments"
    channel.exchange_declare(name, "fanout", durable=True)
    channel.queue_declare(name, durable=True, arguments={"x-dead-letter-exchange": f"{name}.retry"})
    channel.queue_bind(name, name)
    return name


def declare_dead(channel, name: str) -> str:
    """Declare the dead-letter queue; return its name."""
    dead = f"{name}.dead"
    channel.exchange_declare(dead, "fanout", durable=True)
    channel.queue_declare(dead, durable=True)
    channel.queue_bind(dead, dead)
    return dead


def take(channel, queue: str, limit: int):
    """Yield (method, properties, body) of what is in the queue now, unacknowledged, the oldest first."""
    there = channel.queue_declare(queue, passive=True).method.message_count
    for _ in range(min(there, limit) if limit else there):
        method, properties, body = channel.basic_get(queue)
        if method is None:  # somebody else took it meanwhile
            return
        yield method, properties, body


def show(channel, dead: str, limit: int) -> None:
    """Print the dead letters and put them back in their places."""
    count = 0
    for _method, properties, body in take(channel, dead, limit):
        count += 1
        facts = properties.headers or {}
        print(
            f"{body.decode(errors='replace').rstrip()}: {facts.get('error')},"
            f" {facts.get('tries')} tries, given up at {facts.get('failed-at')}"
        )
    if count:
        channel.basic_nack(0, multiple=True, requeue=True)  # tag 0: all that this channel holds
    print(f"{count} dead letters")


def redrive(channel, main: str, dead: str, limit: int) -> None:
    """Order each payment anew, its tries forgotten; it leaves the dead letters when the broker has it."""
    channel.confirm_delivery()
    count = 0
    for method, properties, body in take(channel, dead, limit):
        properties.headers = None
        channel.basic_publish(main, "", body, properties, mandatory=True)
        channel.basic_ack(method.delivery_tag)
        count += 1
        print(f"ordered anew: {body.decode(errors='replace').rstrip()}")
    print(f"{count} dead letters re-driven")


def run(args: argparse.Namespace) -> None:
    with pika.BlockingConnection(args.url) as connection, connection.channel() as channel:
        main_queue = declare_main(channel, args.prefix)
        dead = declare_dead(channel, main_queue)
        if args.action == "list":
            show(channel, dead, args.limit)
        else:
            redrive(channel, main_queue, dead, args.limit)


def main() -> int:
    args = parse_arguments()
    sys.stdout.reconfigure(line_buffering=True)  # each line is seen at once, through a pipe too
    try:
        run(args)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except (pika.exceptions.AMQPError, OSError) as error:
        print(f"dead letters: broker {args.url.host}:{args.url.port}: {error!r}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
