"""A room: several threads dispatch on one connection, each its own consumer, and all are fed steadily.

Whoever runs start_consuming() or consume() gets the messages of that channel, in that thread; nobody starves,
and nobody waits for good when the others leave.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from support.subject import exceptions, pika

from . import consuming
from .actor import Actor
from .ledger import SENT
from .lines import Line, Subscription
from .topology import Timer

if TYPE_CHECKING:
    from .world import World

STARVED = 5.0  # seconds without a message
PAUSE = 0.003  # between two messages of the feeder
OVERSLEPT = 3.0  # seconds beyond its limit that a dispatching call may take


class Role:
    """What one thread does."""

    def __init__(self, world: World, name: str, line: Line, queue: str) -> None:
        self.world, self.name, self.line, self.queue = world, name, line, queue
        self.fed = name in ("start_consuming", "consume", "consume with a timeout")
        self.latest = time.monotonic()
        self.seen = 0
        self.thread = threading.Thread(target=self.run, name=f"{name} on {line.name}")

    def run(self) -> None:
        """The thread."""
        actor = Actor(self.world, self.thread.name)
        self.world.local.actor = actor
        while not self.world.over.is_set():
            actor.step(getattr(self, self.name.replace(" ", "_")))

    def note_progress(self) -> None:
        """A message came."""
        self.latest = time.monotonic()
        self.seen = self.line.progress

    # ---- roles ----

    def start_consuming(self, actor: Actor) -> None:
        """start_consuming until another thread ends it."""
        line, link = self.line, self.line.link
        if not line.subscriptions:
            subscription = Subscription(line, self.queue, False)
            callback = consuming.receiver(self.world, subscription)
            consume = line.channel.basic_consume
            subscription.tag = actor.call("basic_consume", consume, self.queue, callback, link=link)
            line.subscriptions[subscription.tag] = subscription
        line.starting[threading.get_ident()] = time.monotonic()
        try:
            actor.dispatch(link, "start_consuming", line.channel.start_consuming, limit=1e9)
        finally:
            line.starting.clear()

    def consume(self, actor: Actor, timeout: float | None = None) -> None:
        """consume() until another thread cancels it."""
        line, link, world = self.line, self.line.link, self.world
        source = line.channel.consume(self.queue, inactivity_timeout=timeout)
        while not world.over.is_set():
            item = actor.dispatch(link, "next(consume())", next, source, None, limit=1e9)
            if item is None:
                break
            method, _, body = item
            if method is None:
                continue
            line.progress += 1
            reader = (line.name, method.consumer_tag)
            delivery = world.ledger.delivered(body, self.queue, method, line, reader, False)
            line.hold(delivery)
            if delivery is not None:
                consuming.settle(actor, delivery, "ack")
        with suppress(exceptions.ChannelWrongStateError):
            actor.call("cancel", line.channel.cancel, link=link)

    def consume_with_a_timeout(self, actor: Actor) -> None:
        """consume() with an inactivity timeout."""
        self.consume(actor, 0.02)

    def process_data_events(self, actor: Actor) -> None:
        """A keep-alive thread: process_data_events now and then."""
        limit = actor.rng.choice((0, 0.001, 0.02, 0.1))
        self.timed(actor, self.line.link.connection.process_data_events, limit)
        self.world.over.wait(actor.rng.random() * 0.02)

    def sleep(self, actor: Actor) -> None:
        """A thread that sleeps on the connection."""
        self.timed(actor, self.line.link.connection.sleep, actor.rng.random() * 0.05)

    def timed(self, actor: Actor, function: Any, limit: float) -> None:
        before = time.monotonic()
        actor.dispatch(self.line.link, function.__name__, function, limit)
        if time.monotonic() - before > limit + OVERSLEPT:
            text = f"{function.__name__}({limit}) took {time.monotonic() - before:.2f} s"
            self.world.report.violation("overslept", text)

    def ask(self, actor: Actor) -> None:
        """Requests, publishes and timers beside the dispatchers."""
        line, link, rng = self.line, self.line.link, actor.rng
        what = rng.randrange(4)
        if what == 0:
            consuming.get(actor, line)
        elif what == 1:
            answer = actor.call(
                "queue_declare", line.channel.queue_declare, self.queue, passive=True, link=link
            )
            assert answer.method.queue == self.queue
        else:
            timer = Timer(self.world, link, 0.0 if what == 2 else None)
            self.world.timers.append(timer)
            if what == 2:
                actor.call("call_later", link.connection.call_later, 0.0, timer, link=link)
            else:
                actor.call(
                    "add_callback_threadsafe", link.connection.add_callback_threadsafe, timer, link=link
                )
            timer.sure = True
        self.world.over.wait(rng.random() * 0.02)


def play(world: World, actor: Actor) -> None:
    """A round."""
    link = world.links[0]
    fed = ("start_consuming", "consume", "consume with a timeout")
    names = [world.rng.choice(fed) for _ in range(world.rng.randrange(1, len(world.queues)))]
    names += [
        world.rng.choice(("process_data_events", "sleep", "ask")) for _ in range(world.rng.randrange(1, 4))
    ]
    roles = []
    for number, name in enumerate(names):
        line = world.open_line(actor, link, confirms=False)
        actor.call("basic_qos", line.channel.basic_qos, prefetch_count=20, link=link)
        line.private = True
        roles.append(Role(world, name, line, world.queues[number] if name in fed else world.queues[-1]))
    feeding = threading.Thread(
        target=feed, args=(world, [role.queue for role in roles if role.fed]), name="feeder"
    )
    for thread in (*(role.thread for role in roles), feeding):
        thread.start()
    watch(world, roles)
    stop(world, actor, roles)
    for thread in (*(role.thread for role in roles), feeding):
        thread.join()


def feed(world: World, queues: list[str]) -> None:
    """Publishes to each queue in turn, over a connection of its own."""
    actor = Actor(world, "feeder")
    world.local.actor = actor
    with pika.BlockingConnection(world.target.parameters(observer=True)) as connection:
        channel = connection.channel()
        while not world.over.is_set():
            for queue in queues:
                message = world.ledger.begin(queue, "feeder", 10)
                channel.basic_publish("", queue, message.body)
                message.state = SENT
            connection.sleep(PAUSE)


def watch(world: World, roles: list[Role]) -> None:
    """Looks whether all go on, until the time is over."""
    end = time.monotonic() + world.room.seconds
    while time.monotonic() < end:
        world.over.wait(0.1)
        now = time.monotonic()
        for role in roles:
            if role.line.progress != role.seen:
                role.note_progress()
        starved = [role for role in roles if role.fed and now - role.latest > STARVED]
        if starved:
            texts = [
                f"{role.thread.name} has had no message for {now - role.latest:.1f} s" for role in starved
            ]
            world.report.hang("; ".join(texts), f"{starved[0].name} starves")


def stop(world: World, actor: Actor, roles: list[Role]) -> None:
    """Ends each from here: by stop_consuming or cancel(), in this thread or in the one that dispatches."""
    world.over.set()
    for role in roles:
        channel, link = role.line.channel, role.line.link
        function = channel.cancel if role.name.startswith("consume") else channel.stop_consuming
        if not role.fed:
            continue
        role.line.starting.clear()
        if world.rng.random() < 0.5:
            actor.call(function.__name__, function, link=link)
        else:
            callback = Ending(world, link, function)
            actor.call(
                "add_callback_threadsafe", link.connection.add_callback_threadsafe, callback, link=link
            )
    for role in roles:
        role.thread.join(STARVED)
        if role.thread.is_alive():
            world.report.hang(f"{role.thread.name} does not end", f"{role.name} does not end")


class Ending(Timer):
    """A thread-safe callback that ends a consumer."""

    def __init__(self, world: World, link: Any, function: Any) -> None:
        super().__init__(world, link, None)
        self.function = function

    def __call__(self) -> None:
        super().__call__()
        with suppress(exceptions.ChannelWrongStateError):
            self.world.actor().call(self.function.__name__, self.function, link=self.link)
