"""Log handlers and finalizers that use the connection, wherever the library or the collector calls them."""

from __future__ import annotations

import gc
import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from support.subject import exceptions

from . import consuming, publishing, topology

if TYPE_CHECKING:
    from .actor import Actor
    from .world import World

OBJECTS_BETWEEN_COLLECTIONS = 60
QUIET = 0.7  # the share of records at which nothing is done


class UsingHandler(logging.Handler):
    """Uses the connection when something is logged; never while it does already."""

    def __init__(self, world: World) -> None:
        super().__init__(logging.INFO)
        self.world = world
        self.number = 0

    def handle(self, record: logging.LogRecord) -> bool:
        """Without the lock of handlers: a thread that waits in here must not stop the others."""
        self.emit(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        """Does something with a channel of the world's."""
        actor = self.world.actor()
        if self.world.over.is_set() or actor.in_hook or not self.world.all_lines:
            return
        self.number += 1
        with inside(actor, random.Random(f"{self.world.key} hook {self.number}")):
            if actor.rng.random() > QUIET:
                actor.journal.note(f"{'  ' * actor.inside}[log handler: {record.getMessage()[:60]!r}")
                use(actor, "log handler")


@contextmanager
def inside(actor: Actor, rng: random.Random) -> Iterator[None]:
    """The time that a hook takes; it makes its own choices, and is in no other."""
    outer, actor.rng = actor.rng, rng
    outer_hook, actor.in_hook = actor.in_hook, True
    actor.inside += 1
    try:
        yield
    finally:
        actor.inside -= 1
        actor.in_hook = outer_hook
        actor.rng = outer


def use(actor: Actor, source: str) -> None:
    """One operation of a hook; only pika's exceptions may come of it."""
    try:
        what = actor.rng.randrange(6)
        line = actor.world.pick_line(actor)
        if what < 2 and line is not None:
            publishing.publish(actor, line, source)
        elif what == 2:
            topology.passive_declare(actor)
        elif what == 3:
            topology.close_line(actor)
        elif what == 4:
            topology.open_line(actor)
        elif what == 5 and line is not None:
            publishing.buffered(actor, line, source)
    except (exceptions.ReentrancyError, exceptions.AMQPError) as error:
        actor.judge(error, None, source)


class Garbage:
    """A cycle whose end uses the connection."""

    def __init__(self, world: World, seed: str) -> None:
        self.world, self.seed, self.itself = world, seed, self

    def __del__(self) -> None:
        actor = self.world.actor()
        if self.world.over.is_set() or actor.in_hook:
            return
        try:
            with inside(actor, random.Random(self.seed)):
                actor.journal.note(f"{'  ' * actor.inside}[finalizer")
                use(actor, "finalizer")
        except BaseException as error:
            self.world.report.violation("a finalizer's call raised", repr(error))


def litter(actor: Actor) -> None:
    """Garbage for the collector to find, anywhere."""
    for number in range(actor.rng.randrange(1, 4)):
        Garbage(actor.world, f"{actor.world.key} {actor.name} {actor.steps} {number}")
    consuming.dispatch(actor)


@contextmanager
def installed(world: World) -> Iterator[None]:
    """The log handler is there, and the collector runs often."""
    logger: Any = logging.getLogger("pika")
    handler = UsingHandler(world)
    level = logger.level
    threshold = gc.get_threshold()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.disabled = False
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        gc.set_threshold(*threshold)
