"""The rooms: what happens in a round of each, and how often."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from support.subject import exceptions

from . import consuming, dispatchers, hooks, last_words, publishing, topology
from .actor import Actor, CallbackError
from .interrupts import Interrupts
from .ledger import Delivery
from .lines import Line
from .report import LIMIT
from .world import World

if TYPE_CHECKING:
    Operation = Callable[[Actor], None]

EVERYDAY: dict[Any, int] = {
    publishing.publish: 12,
    publishing.buffered: 2,
    publishing.publish_many: 2,
    publishing.transaction: 1,
    consuming.consume: 4,
    consuming.cancel: 3,
    consuming.generate: 3,
    consuming.end_generator: 1,
    consuming.fetch_answer: 1,
    consuming.get: 6,
    consuming.settle_some: 3,
    consuming.recover: 1,
    consuming.dispatch: 8,
    consuming.start_consuming: 3,
    topology.passive_declare: 6,
    topology.qos: 2,
    topology.queue_life: 1,
    topology.exchange_life: 1,
    topology.server_named: 1,
    topology.open_line: 2,
    topology.close_line: 1,
    topology.provoke: 1,
    topology.update_secret: 1,
    topology.later: 3,
}
CHAOS = {"reorder": 0.6, "split": 0.1, "weave": 0.2, "slow": 0.2, "slow_for": 0.01}
UNREST = {"block": 0.01, "flow": 0.01, "heartbeat": 2}
ENDINGS = {"close_channel": 0.01, "close_connection": 0.004, "hang_up": 0.004, "cancel": 0.01}


SCRIPTED = ("scripted", "tls")


@dataclass(frozen=True)
class Room:
    """What a round is made of.

    :param about: a line for the list
    :param threads: at most so many; 1 is the main thread alone, and the round comes again with the seed
    :param interrupts: "timer" for signals at any time, "exact" for those that come again, "use" for handlers
        that do not raise, but use the connection
    :param wild: callbacks do anything
    :param hooked: log handlers and finalizers use the connection
    :param publishers: nobody does anything but publish
    :param endings: channels and connections end, by the server and by other threads
    :param play: for a room that is none of these
    """

    name: str
    about: str
    threads: int = 1
    interrupts: str = ""
    wild: bool = False
    hooked: bool = False
    endings: bool = False
    greenlets: bool = False
    publishers: bool = False
    steps: int = 120
    seconds: float = 2.0  # of a round with threads
    chaos: bool = True
    targets: tuple[str, ...] = ("scripted", "tls", "rabbitmq", "rabbitmq-tls")
    play: Callable[[World, Actor], None] | None = None

    def chaos_of(self, rng: random.Random) -> dict[str, float]:
        """What the scripted server does by itself in a round."""
        wishes: dict[str, float] = {}
        ends = 1.0 if self.endings else 0.0
        for group, chance in ((CHAOS, 0.8), (UNREST, 0.5), (ENDINGS, ends)):
            if rng.random() < chance:
                wishes |= {
                    name: value * rng.random() if value < 1 else value for name, value in group.items()
                }
        if self.interrupts == "exact":
            wishes["slow"] = 0.0  # when an answer comes would decide what is interrupted
        return wishes

    # ---- a round ----

    def run(self, world: World) -> None:
        """One round from the connect to the reckoning."""
        actor = Actor(world, "main")
        world.local.actor = actor
        with world.report.bounded("the beginning of a round", LIMIT + 10):
            world.begin()
        if self.interrupts:
            world.interrupts = Interrupts(world, self.interrupts)
        world.heal(actor)
        with hooks.installed(world) if self.hooked else nullcontext():
            if self.play is not None:
                self.play(world, actor)
            elif self.threads == 1:
                self.play_alone(world, actor)
            else:
                self.play_together(world, actor)
        with world.report.bounded("the end of a round", 5 * LIMIT):
            world.finish(actor)

    def play_alone(self, world: World, actor: Actor) -> None:
        """So many steps in the main thread."""
        for number in range(self.steps):
            world.heal(actor)
            operation = self.choose(random.Random(f"{world.key} step {number}"))
            if world.interrupts is not None:
                world.interrupts.step(actor, operation)
            else:
                actor.step(operation)

    def play_together(self, world: World, actor: Actor) -> None:
        """Threads for a time; the main one sees that none stays in start_consuming."""
        count = world.rng.randrange(2, self.threads + 1)
        threads = [
            threading.Thread(target=self.work, args=(world, f"actor-{n}"), name=f"actor-{n}")
            for n in range(count)
        ]
        for thread in threads:
            thread.start()
        for _ in range(int(self.seconds / 0.1)):
            world.over.wait(0.1)
            world.free_consumers(actor)
        world.over.set()
        while any(thread.is_alive() for thread in threads):
            world.free_consumers(actor)
            for thread in threads:
                thread.join(0.05)

    def work(self, world: World, name: str) -> None:
        """One thread's steps."""
        actor = Actor(world, name)
        world.local.actor = actor
        while not world.over.is_set():
            world.heal(actor)
            actor.step(self.choose(random.Random(f"{world.key} {name} {actor.steps} choice")))

    def choose(self, rng: random.Random) -> Operation:
        """An operation, by weight."""
        weights = dict(EVERYDAY)
        if self.endings:
            weights[topology.close_line] = 3
            weights[close_link] = 1
        if self.threads > 1:
            weights[publishing.abandon_block] = 1
        if self.publishers:
            weights = {publishing.publish: 3, publishing.buffered: 3, publishing.publish_many: 1, idle: 1}
        if self.threads == 1 and rng.random() < 0.001:
            return be_busy
        if self.hooked:
            weights[hooks.litter] = 6
        operation: Operation = rng.choices(list(weights), list(weights.values()))[0]
        return operation

    # ---- callbacks ----

    def in_callback(self, actor: Actor, line: Line, delivery: Delivery | None) -> None:
        """What a consumer's callback does."""
        if self.play is not None:
            if delivery is not None:
                consuming.settle(actor, delivery, "ack")
            return
        if self.wild or actor.rng.random() < 0.1:
            self.run_wild(actor, line)
        if delivery is not None and actor.rng.random() < 0.9:
            consuming.settle(actor, delivery)

    def run_wild(self, actor: Actor, line: Line) -> None:
        """Anything that a callback may do, and what it may not."""
        what = actor.rng.randrange(13)
        if what == 0:
            error = CallbackError(f"in step {actor.steps}")
            actor.raised = error
            raise error
        if what == 1:
            self.dispatch_in_callback(actor, line)
        elif what == 2:
            consuming.cancel(actor, line)
        elif what == 3:
            consuming.generate(actor, actor.world.pick_line(actor, other_than=line))
            consuming.fetch_answer(actor)
        elif what == 4:
            topology.close_line(actor)
        elif what < 9:
            operations = (publishing.publish, consuming.get, consuming.consume, topology.passive_declare)
            actor.rng.choice(operations)(actor, actor.rng.choice((line, None)))
        elif what == 9:
            actor.rng.choice((publishing.buffered, publishing.publish_many))(actor)
        elif what == 10:
            actor.rng.choice(
                (topology.later, topology.open_line, topology.queue_life, publishing.transaction)
            )(actor)

    def dispatch_in_callback(self, actor: Actor, line: Line) -> None:
        """process_data_events does input and output only; start_consuming says that it may not."""
        connection = line.link.connection
        try:
            if actor.rng.random() < 0.5:
                actor.dispatch(line.link, "process_data_events", connection.process_data_events, 0.001)
                return
            actor.dispatch(line.link, "start_consuming", line.channel.start_consuming)
        except exceptions.ReentrancyError:
            return
        except BaseException as error:
            publishing.fail(actor, line, error, "dispatching in a callback")


def idle(actor: Actor) -> None:
    """A moment without the library: what is held back has to leave by itself."""
    actor.world.over.wait(actor.rng.random() * 0.005)


def be_busy(actor: Actor) -> None:
    """The program does something else for more than two intervals: heartbeats leave all the same."""
    actor.world.over.wait(4.5)


def close_link(actor: Actor) -> None:
    """close() of a connection that others may be using."""
    link = actor.rng.choice(actor.world.links)
    if link.ending or actor.rng.random() < 0.7:
        return
    link.ending = link.ended_here = True
    for line in link.lines:
        line.spoil()
    actor.call("connection.close", link.connection.close, link=link)


ROOMS = {
    room.name: room
    for room in (
        Room("alone", "one thread, every operation; the server reorders and delays"),
        Room("threads", "up to 8 threads on one or two connections, channels shared", threads=8),
        Room("callbacks", "one thread, callbacks that do anything", wild=True),
        Room("signals", "a signal handler raises at any moment", interrupts="timer"),
        Room("exact", "as signals, at moments that come again with the seed", interrupts="exact", wild=True),
        Room("hooks", "log handlers and finalizers use the connection", hooked=True, wild=True),
        Room("hooked-signals", "as hooks, and signal handlers raise", hooked=True, interrupts="timer"),
        Room("endings", "channels and connections end; one thread", endings=True, wild=True),
        Room("ending-threads", "channels and connections end under up to 8 threads", threads=8, endings=True),
        Room(
            "ending-publishers",
            "nothing but publishes, in up to 8 threads, until the connection ends",
            threads=8,
            endings=True,
            publishers=True,
        ),
        Room("handlers", "signal handlers use the connection", interrupts="use"),
        Room(
            "last-words",
            "what came before the end is dispatched, then the reason raised",
            play=last_words.play,
            targets=SCRIPTED,
        ),
        Room(
            "dispatchers",
            "several threads dispatch, each its own consumer; nobody starves",
            threads=8,
            seconds=8.0,
            play=dispatchers.play,
        ),
        Room("greenlets", "threads, with gevent's monkey-patching", threads=8, greenlets=True),
        Room(
            "greenlets-dispatchers",
            "dispatchers, with gevent's monkey-patching",
            threads=8,
            seconds=8.0,
            greenlets=True,
            play=dispatchers.play,
        ),
    )
}
