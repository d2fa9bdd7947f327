"""Makes payments; tries again later what fails, and gives up after some tries.

    payments --rejected--> payments.retry --time to live over--> payments --tries used up--> payments.dead

The main queue's dead-letter exchange leads to the retry queue, which nobody consumes: a message waits there
until its time to live is over, and the retry queue's dead-letter exchange leads back. The broker counts the
rounds in the header `x-death`. After the last try the consumer puts the payment into the dead-letter queue,
where it stays for a person to look at (`dead_letters.py`).
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


class PaymentFailed(Exception):
    """The payment was not made; nothing was booked."""


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
    parser = argparse.ArgumentParser(description="Make payments until Ctrl-C.")
    add = parser.add_argument
    add("--url", type=broker, default=default_url(), help="the broker (default: CPIKA_BROKER_URL)")
    add("--prefix", default=os.environ.get("EXAMPLES_PREFIX", ""), help="what is put before every name")
    add("--limit", type=natural, default=0, help="end after so many payments (default: never)")
    add(
        "--prefetch",
        type=int,
        choices=range(1, 11),
        default=5,
        metavar="1-10",
        help="unacknowledged messages to hold at most (default: %(default)s)",
    )
    add("--tries", type=natural, default=3, help="tries a payment gets (default: %(default)s)")
    add(
        "--retry-delay",
        type=natural,
        default=5000,
        metavar="MILLISECONDS",
        help="pause before the next try (default: %(default)s)",
    )
    add("--repaired", action="store_true", help="the cause of lasting trouble is gone")
    add("--work-seconds", type=natural, default=0, help="how long a payment takes (default: 0)")
    args = parser.parse_args()
    if args.tries < 1:
        parser.error("argument --tries: a payment needs one try at least")
    return args


def declare_main(channel, prefix: str) -> str:
    """Declare the main queue, whose rejected messages go to the retry exchange; return its name."""
    name = f"{prefix}payments"
    channel.exchange_declare(name, "fanout", durable=True)
    channel.queue_declare(name, durable=True, arguments={"x-dead-letter-exchange": f"{name}.retry"})
    channel.queue_bind(name, name)
    return name


def declare_retry(channel, name: str, delay: int) -> None:
    """Declare the queue in which failed payments wait `delay` milliseconds for their next try."""
    channel.exchange_declare(f"{name}.retry", "fanout", durable=True)
    channel.queue_declare(
        f"{name}.retry", durable=True, arguments={"x-message-ttl": delay, "x-dead-letter-exchange": name}
    )
    channel.queue_bind(f"{name}.retry", f"{name}.retry")


def declare_dead(channel, name: str) -> str:
    """Declare the dead-letter queue; return its name."""
    dead = f"{name}.dead"
    channel.exchange_declare(dead, "fanout", durable=True)
    channel.queue_declare(dead, durable=True)
    channel.queue_bind(dead, dead)
    return dead


def failures_before(properties: pika.BasicProperties, queue: str) -> int:
    """How often this message was rejected from `queue`, by the count that the broker keeps."""
    for death in (properties.headers or {}).get("x-death", []):
        if death["queue"] == queue and death["reason"] == "rejected":
            return death["count"]
    return 0


def pay(payment: dict[str, object], tried: int, repaired: bool) -> None:
    """Make the payment, or raise PaymentFailed: passing trouble is over at the third try."""
    if payment["trouble"] == "passing" and tried < 3:
        raise PaymentFailed("the bank is busy")
    if payment["trouble"] == "lasting" and not repaired:
        raise PaymentFailed("the account is closed")


class Cashier:
    """Tries each payment `tries` times; stops after `limit` of them are made or given up (0: never)."""

    def __init__(self, args: argparse.Namespace, queue: str, dead: str) -> None:
        self.args = args
        self.queue = queue
        self.dead = dead
        self.made = 0
        self.given_up = 0

    def on_payment(self, channel, method, properties, body) -> None:
        tried = failures_before(properties, self.queue) + 1
        time.sleep(self.args.work_seconds)
        try:
            payment = json.loads(body)
            name = f"payment {payment['payment']}"
            name.encode()  # half a surrogate pair cannot be printed
            pay(payment, tried, self.args.repaired)
        except PaymentFailed as error:
            if tried < self.args.tries:
                channel.basic_reject(method.delivery_tag, requeue=False)
                print(f"{name}: {error}; try {tried} of {self.args.tries}, again later")
                return
            self.give_up(channel, body, tried, str(error))
            print(f"{name}: {error}; try {tried} of {self.args.tries}, given up")
        except (ValueError, KeyError, TypeError, RecursionError) as error:  # no later try can help
            self.give_up(channel, body, tried, f"not a payment ({type(error).__name__})")
            print(f"not a payment ({type(error).__name__}): given up")
        else:
            self.made += 1
            print(f"{name}: made at try {tried}")
        channel.basic_ack(method.delivery_tag)
        if self.made + self.given_up == self.args.limit:
            channel.stop_consuming()

    def give_up(self, channel, body: bytes, tried: int, error: str) -> None:
        """Put the payment into the dead-letter queue; only then may it leave the main queue."""
        failed_at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
        channel.basic_publish(
            self.dead,
            "",
            body,
            pika.BasicProperties(
                content_type="application/json",
                delivery_mode=pika.DeliveryMode.Persistent,
                headers={"tries": tried, "error": error, "failed-at": failed_at},
            ),
            mandatory=True,
        )
        self.given_up += 1


def run(args: argparse.Namespace) -> None:
    with pika.BlockingConnection(args.url) as connection, connection.channel() as channel:
        queue = declare_main(channel, args.prefix)
        declare_retry(channel, queue, args.retry_delay)
        cashier = Cashier(args, queue, declare_dead(channel, queue))
        channel.confirm_delivery()
        channel.basic_qos(prefetch_count=args.prefetch)
        try:
            tag = channel.basic_consume(queue, cashier.on_payment)
            print(f"pid {os.getpid()} waits for payments, prefetch {args.prefetch}, consumer {tag}")
            channel.start_consuming()
        except KeyboardInterrupt:
            print("stopped")
    print(f"{cashier.made} payments made, {cashier.given_up} given up")


def main() -> int:
    args = parse_arguments()
    sys.stdout.reconfigure(line_buffering=True)  # each line is seen at once, through a pipe too
    try:
        run(args)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except (pika.exceptions.AMQPError, OSError) as error:
        print(f"payments consumer: broker {args.url.host}:{args.url.port}: {error!r}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
