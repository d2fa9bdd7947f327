"""The benchmark's client on cpika: the scenarios of the client on pika, unchanged, and those of its own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from itertools import repeat

import cpika as pika
from common import DROP, Job, main, time_import
from groups import scenarios_beside
from pika_scenarios import all_scenarios, connect, counter, messages_of

WINDOW = 1024


def publish_buffered(job: Job) -> None:
    with connect(pika, job) as connection:
        channel = connection.channel()
        body = job.body
        job.start()
        with channel.buffered():
            for _ in range(job.count):
                channel.basic_publish("", DROP, body)
        published = counter(channel, "publishes")  # all have arrived
        job.stop()
        job.expect("publishes", published)


def publish_many(job: Job) -> None:
    with connect(pika, job) as connection:
        channel = connection.channel()
        body = job.body
        job.start()
        channel.publish_many(("", DROP, body) for _ in range(job.count))
        published = counter(channel, "publishes")
        job.stop()
        job.expect("publishes", published)


def confirm_many(job: Job) -> None:
    with connect(pika, job) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        body = job.body
        job.start()
        confirmed = channel.publish_many((("", DROP, body) for _ in range(job.count)), WINDOW)
        job.stop()
        job.expect("returned", confirmed)
        job.expect("confirms", counter(channel, "confirms"))


def broker_confirm_many(job: Job) -> None:
    """Persistent messages to a durable queue, as in broker_confirm, with a window of confirms."""
    with connect(pika, job) as connection:
        channel = connection.channel()
        queue = channel.queue_declare("", durable=True, auto_delete=False, exclusive=True).method.queue
        channel.confirm_delivery()
        message = ("", queue, job.body, pika.BasicProperties(delivery_mode=2))
        job.start()
        channel.publish_many(repeat(message, job.count), WINDOW)
        job.stop()
        job.expect("messages", messages_of(channel, queue))


if __name__ == "__main__":
    scenarios: dict[str, Callable[[Job], None]] = {
        **all_scenarios(pika),
        "publish_buffered": publish_buffered,
        "publish_many": publish_many,
        "confirm_many": confirm_many,
        "broker_confirm_many": broker_confirm_many,
        "import": time_import("cpika"),
    }
    sys.exit(main("cpika", f"cpika {pika.__cpika_version__}", scenarios, partial(scenarios_beside, pika)))
