"""Orders payments to be made; `consumer.py` makes them and tries again what fails.

Every third payment meets trouble: in turn one that passes by itself, and one that lasts until somebody has
repaired it.
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
    parser = argparse.ArgumentParser(description="Order payments.")
    add = parser.add_argument
    add("--url", type=broker, default=default_url(), help="the broker (default: CPIKA_BROKER_URL)")
    add("--prefix", default=os.environ.get("EXAMPLES_PREFIX", ""), help="what is put before every name")
    add("--count", type=natural, default=6, help="payments to order (default: %(default)s)")
    add("--body-bytes", type=natural, default=0, help="fill each body up to this size")
    return parser.parse_args()


def declare_main(channel, prefix: str) -> str:
    """Declare the main queue, whose rejected messages go to the retry exchange; return its name."""
    name = f"{prefix}payments"
    channel.exchange_declare(name, "fanout", durable=True)
    channel.queue_declare(name, durable=True, arguments={"x-dead-letter-exchange": f"{name}.retry"})
    channel.queue_bind(name, name)
    return name


def make_payment(number: int) -> bytes:
    trouble = "none" if number % 3 else "passing" if number % 2 else "lasting"
    return json.dumps({"payment": number, "cents": 990 * number, "trouble": trouble}).encode()


def run(args: argparse.Namespace) -> None:
    with pika.BlockingConnection(args.url) as connection, connection.channel() as channel:
        exchange = declare_main(channel, args.prefix)
        channel.confirm_delivery()
        for number in range(1, args.count + 1):
            body = make_payment(number).ljust(args.body_bytes)  # spaces after JSON mean nothing
            if len(body) > LARGE_BODY:
                print(f"warning: a body of {len(body)} bytes is above {LARGE_BODY}", file=sys.stderr)
            channel.basic_publish(
                exchange,
                "",
                body,
                pika.BasicProperties(
                    content_type="application/json", delivery_mode=pika.DeliveryMode.Persistent
                ),
                mandatory=True,
            )
            print(f"payment {number} ordered")
    print(f"{args.count} payments ordered")


def main() -> int:
    args = parse_arguments()
    sys.stdout.reconfigure(line_buffering=True)  # each line is seen at once, through a pipe too
    try:
        run(args)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except (pika.exceptions.AMQPError, OSError) as error:
        print(f"payments producer: broker {args.url.host}:{args.url.port}: {error!r}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
