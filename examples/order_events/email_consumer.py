"""Tells customers by e-mail about their orders.

It has a durable queue of its own on the fanout exchange `order_events`, so it sees every event, whoever else
listens; events that come while it is away wait for it.
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
    parser = argparse.ArgumentParser(description="Tell customers by e-mail about their orders, until Ctrl-C.")
    add = parser.add_argument
    add("--url", type=broker, default=default_url(), help="the broker (default: CPIKA_BROKER_URL)")
    add("--prefix", default=os.environ.get("EXAMPLES_PREFIX", ""), help="what is put before every name")
    add("--limit", type=natural, default=0, help="end after so many events (default: never)")
    add(
        "--prefetch",
        type=int,
        choices=range(1, 11),
        default=5,
        metavar="1-10",
        help="unacknowledged messages to hold at most (default: %(default)s)",
    )
    add("--work-seconds", type=natural, default=0, help="how long a mail takes (default: 0)")
    return parser.parse_args()


class Mailer:
    """Acknowledges each event once its mail is out; stops after `limit` of them (0: never)."""

    def __init__(self, limit: int, work_seconds: int) -> None:
        self.limit = limit
        self.work_seconds = work_seconds
        self.seen = 0

    def compose(self, event: dict[str, object]) -> str:
        cents = int(event["cents"])
        text = f"mail to {event['email']}: your order {event['order']}, {cents // 100}.{cents % 100:02}"
        text.encode()  # half a surrogate pair can be in no mail, and not be printed
        return text

    def on_event(self, channel, method, properties, body) -> None:
        time.sleep(self.work_seconds)
        self.seen += 1
        try:
            text = self.compose(json.loads(body))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            channel.basic_reject(method.delivery_tag, requeue=False)
            print(f"not an order event ({type(error).__name__}): rejected")
        else:
            print(text)
            channel.basic_ack(method.delivery_tag)
        if self.seen == self.limit:
            channel.stop_consuming()


def run(args: argparse.Namespace) -> None:
    exchange, queue = f"{args.prefix}order_events", f"{args.prefix}order_events.email"
    mailer = Mailer(args.limit, args.work_seconds)
    with pika.BlockingConnection(args.url) as connection, connection.channel() as channel:
        channel.exchange_declare(exchange, "fanout", durable=True)
        channel.queue_declare(queue, durable=True)
        channel.queue_bind(queue, exchange)
        channel.basic_qos(prefetch_count=args.prefetch)
        try:
            tag = channel.basic_consume(queue, mailer.on_event)
            print(f"pid {os.getpid()} waits for order events, prefetch {args.prefetch}, consumer {tag}")
            channel.start_consuming()
        except KeyboardInterrupt:
            print("stopped")
    print(f"{mailer.seen} order events seen")


def main() -> int:
    args = parse_arguments()
    sys.stdout.reconfigure(line_buffering=True)  # each line is seen at once, through a pipe too
    try:
        run(args)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except (pika.exceptions.AMQPError, OSError) as error:
        print(f"e-mail consumer: broker {args.url.host}:{args.url.port}: {error!r}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
