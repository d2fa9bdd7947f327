"""A round's connections, channels and consumers, with what the model knows of each."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING, Any

from .ledger import Delivery

if TYPE_CHECKING:
    from .world import World


class Link:
    """A connection."""

    def __init__(self, world: World, name: str, connection: Any) -> None:
        self.world, self.name, self.connection = world, name, connection
        self.dispatching: dict[int, int] = {}  # by thread: in how many dispatching calls it is
        self.callback_of: dict[int, str] = {}  # by thread: whose callback runs in it
        self.ending = False  # somebody has begun to end it, or it is lost
        self.ended_here = False  # by the test itself
        self.reason: BaseException | None = None
        self.errors: list[BaseException] = []  # of pika's, that came out of its calls
        self.lines: list[Line] = []


class Subscription:
    """A consumer of a queue."""

    def __init__(self, line: Line, queue: str, auto_ack: bool) -> None:
        self.line, self.queue, self.auto_ack = line, queue, auto_ack
        self.tag = ""
        self.cancelled = False


class Line:
    """A channel."""

    _numbers = itertools.count(1)

    def __init__(self, link: Link, channel: Any, confirms: bool) -> None:
        self.link, self.channel, self.confirms = link, channel, confirms
        self.name = f"{link.name}.{channel.channel_number}#{next(self._numbers)}"
        self.intact = True  # whatever was sent on it has been taken, or will be
        self.ending = False  # somebody has begun to close it
        self.subscriptions: dict[str, Subscription] = {}
        self.held: dict[int, Delivery] = {}
        self.generating = False  # consume() on it has begun, and is not cancelled
        self.iterating = False  # and somebody asks for its messages
        self.blocks: set[int] = (
            set()
        )  # threads inside of buffered(), by ident: what else they publish belongs to it
        self.private = False  # nobody else uses it
        self.progress = 0  # messages that came to callbacks
        self.starting: dict[int, float] = {}  # by thread: since when it is in start_consuming on it
        self.reader: int | None = None  # the thread in consume() on it
        self.callback_in: int | None = None  # the thread that runs one of its callbacks
        self.lock = threading.RLock()

    def spoil(self) -> None:
        """Something ended it, or was interrupted: what was sent last may be lost."""
        self.intact = False
        self.note_lossy(list(self.subscriptions.values()))

    def note_lossy(self, subscriptions: list[Subscription]) -> None:
        """Consumers are ended without a look at the messages that they leave."""
        for subscription in subscriptions:
            if subscription.auto_ack:
                self.link.world.ledger.lossy.add(subscription.queue)

    def interrupted_by(self, error: BaseException) -> None:
        """A call on it was interrupted: what its consumers had without acknowledging may be lost."""
        self.note_lossy(list(self.subscriptions.values()))

    def hold(self, delivery: Delivery | None) -> None:
        """The program has a message that it has to settle."""
        if delivery is not None and delivery.settled is None:
            self.held[delivery.tag] = delivery
