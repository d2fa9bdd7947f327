"""The plays of the demo: what each example does, in which order, and what it leaves on the broker.

A play awaits events (a line that a program prints, its end), so its outputs depend on no speed.
"""

from __future__ import annotations

import contextlib
import http
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import pika
import pika.exceptions
from demo_run import Program, Stage


class Node(Protocol):
    """A broker of the demo's own, with its management interface."""

    url: str
    port: int
    management_url: str


@dataclass(frozen=True)
class Scenario:
    """An example and how to play it.

    :param play: runs its programs on a stage; where `own_node` is true it gets the node too
    :param names: its exchanges and queues, without prefix; which is which does not matter for their removal
    """

    name: str
    title: str
    play: Callable[..., None]
    names: tuple[str, ...]
    own_node: bool = False


TASKS = ("tasks", "tasks.rejected")
ORDER_EVENTS = ("order_events", "order_events.email", "order_events.sms")
PAYMENTS = ("payments", "payments.retry", "payments.dead")


def play_tasks(stage: Stage) -> None:
    """A worker does what the producer hands out; one task is no task."""
    worker = stage.start("consumer", "tasks/consumer.py", "--limit", "7")
    worker.await_line("waits for tasks")
    stage.run("producer", "tasks/producer.py", "--count", "6", "--nonsense")
    stage.finish(worker)


def play_asyncio_tasks(stage: Stage) -> None:
    """The same on asyncio, and each side with the other example's."""
    for consumer, producer in (
        ("asyncio_tasks",) * 2,
        ("asyncio_tasks", "tasks"),
        ("tasks", "asyncio_tasks"),
    ):
        worker = stage.start(f"{consumer} consumer for {producer}", f"{consumer}/consumer.py", "--limit", "7")
        worker.await_line("waits for tasks")
        role = f"{producer} producer for {consumer}"
        stage.run(role, f"{producer}/producer.py", "--count", "6", "--nonsense")
        stage.finish(worker)


def play_order_events(stage: Stage) -> None:
    """Both consumers see every event."""
    mailer = stage.start("e-mail consumer", "order_events/email_consumer.py", "--limit", "4")
    texter = stage.start("SMS consumer", "order_events/sms_consumer.py", "--limit", "4")
    for consumer in (mailer, texter):
        consumer.await_line("waits for order events")
    stage.run("order service", "order_events/order_service.py", "--count", "4")
    stage.finish(mailer)
    stage.finish(texter)


def play_retry(stage: Stage) -> None:
    """One payment is made at the third try, one is given up, looked at, and made after the repair."""
    consumer = ("retry/consumer.py", "--retry-delay", "250")
    stage.run("producer", "retry/producer.py", "--count", "6")
    stage.run("consumer", *consumer, "--limit", "6")
    stage.run("dead letters", "retry/dead_letters.py", "list")
    stage.run("re-drive", "retry/dead_letters.py", "redrive")
    stage.run("dead letters after", "retry/dead_letters.py", "list")
    stage.run("consumer after repair", *consumer, "--limit", "1", "--repaired")


def play_setup(stage: Stage, node: Node) -> None:
    """A user is made, twice: the second time changes nothing. check.py watches the examples run as it."""
    saved = stage.scratch / "dev_user.url"
    management = ("--management-url", node.management_url)
    make = ("setup/make_user.py", *management, "--port", str(node.port), "--save", str(saved))
    stage.run("make user", *make)
    try:
        stage.run("make user again", *make)
        stage.env["CPIKA_BROKER_URL"] = saved.read_text().strip()
        play_check(stage, management)
    finally:
        delete_user(node, "dev_user")
        saved.unlink()


def delete_user(node: Node, name: str) -> None:
    """Delete a user, if there is one, by the management interface: rabbitmqctl starts a virtual machine."""
    manager = urllib.request.HTTPPasswordMgrWithPriorAuth()
    manager.add_password(None, node.management_url, "guest", "guest", is_authenticated=True)
    opener = urllib.request.build_opener(urllib.request.HTTPBasicAuthHandler(manager))
    request = urllib.request.Request(f"{node.management_url}/api/users/{name}", method="DELETE")
    try:
        opener.open(request, timeout=30).close()
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.NOT_FOUND:
            raise


def play_check(stage: Stage, management: tuple[str, ...]) -> None:
    """All consumers hold messages while check.py looks at them."""
    consumers = [
        start_at_work(stage, role, script)
        for role, script in (
            ("task consumer", "tasks/consumer.py"),
            ("task consumer on asyncio", "asyncio_tasks/consumer.py"),
            ("payment consumer", "retry/consumer.py"),
            ("e-mail consumer", "order_events/email_consumer.py"),
            ("SMS consumer", "order_events/sms_consumer.py"),
        )
    ]
    for role, script in (
        ("task producer", "tasks/producer.py"),
        ("payment producer", "retry/producer.py"),
        ("order service", "order_events/order_service.py"),
    ):
        stage.run(role, script, "--count", "2")
    stage.run("check", "setup/check.py", *management)
    for consumer in consumers:
        consumer.interrupt()
        stage.finish(consumer)


def start_at_work(stage: Stage, role: str, script: str) -> Program:
    """Start a consumer whose first message keeps it busy until it is interrupted."""
    consumer = stage.start(role, script, "--work-seconds", "600")
    consumer.await_line(" waits for ")
    return consumer


SCENARIOS = (
    Scenario("tasks", "background tasks", play_tasks, TASKS),
    Scenario("asyncio_tasks", "background tasks on asyncio", play_asyncio_tasks, TASKS),
    Scenario("order_events", "order events", play_order_events, ORDER_EVENTS),
    Scenario("retry", "retry and dead letters", play_retry, PAYMENTS),
    Scenario(
        "setup",
        "a user of its own, and the check",
        play_setup,
        (*TASKS, *ORDER_EVENTS, *PAYMENTS),
        own_node=True,
    ),
)


def remove(url: str, prefix: str, names: tuple[str, ...]) -> None:
    """Delete these exchanges and queues; what does not exist is no error."""
    with pika.BlockingConnection(pika.URLParameters(url)) as connection, connection.channel() as channel:
        for name in names:
            channel.queue_delete(prefix + name)
            channel.exchange_delete(prefix + name)


@contextlib.contextmanager
def cleaned(url: str, prefix: str, names: tuple[str, ...]) -> Iterator[None]:
    """Afterwards the broker has none of these names."""
    try:
        yield
    finally:
        remove(url, prefix, names)
