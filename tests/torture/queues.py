"""The queues, consumers and exchanges of the scripted server: what is ready, what is out, whose turn."""

from __future__ import annotations

import bisect
import itertools
import random
from collections.abc import Callable
from typing import Any


class Message:
    """A message; `order` is its place in its queue, also after it came back."""

    _orders = itertools.count()

    def __init__(self, exchange: str, routing_key: str, properties: bytes, body: bytes) -> None:
        self.exchange, self.routing_key = exchange, routing_key
        self.properties, self.body = properties, body
        self.order = next(self._orders)
        self.redelivered = False

    def __lt__(self, other: Message) -> bool:
        return self.order < other.order


class Consumer:
    """A consumer of a queue; `room` is how many more messages it may have, None for any number."""

    def __init__(self, queue: Queue, channel: Any, tag: str, no_ack: bool, prefetch: int) -> None:
        self.queue, self.channel, self.tag, self.no_ack = queue, channel, tag, no_ack
        self.room = None if no_ack or not prefetch else prefetch
        self.cancelled = False


class Queue:
    """Messages in order, and the consumers that take turns."""

    def __init__(self, name: str, deliver: Callable[[Consumer, Message], None]) -> None:
        self.name = name
        self.ready: list[Message] = []
        self.consumers: list[Consumer] = []
        self._deliver = deliver

    def put(self, message: Message) -> None:
        """A message arrives."""
        self.ready.append(message)
        self.flush()

    def put_back(self, message: Message) -> None:
        """A message returns to its place."""
        message.redelivered = True
        bisect.insort(self.ready, message)

    def flush(self) -> None:
        """Gives what is ready to who has room."""
        while self.ready:
            consumer = next((c for c in self.consumers if c.room is None or c.room > 0), None)
            if consumer is None:
                return
            self.consumers.remove(consumer)
            self.consumers.append(consumer)
            if consumer.room is not None:
                consumer.room -= 1
            self._deliver(consumer, self.ready.pop(0))


class Topology:
    """Queues and exchanges by name."""

    def __init__(self, deliver: Callable[[Consumer, Message], None]) -> None:
        self.queues: dict[str, Queue] = {}
        self.bindings: dict[str, set[tuple[str, str]]] = {}  # by exchange: (routing key, queue or exchange)
        self._deliver = deliver
        self._names = itertools.count(1)

    def declare(self, name: str) -> Queue:
        """The queue of that name, made where there is none."""
        name = name or f"amq.gen-{next(self._names)}"
        return self.queues.setdefault(name, Queue(name, self._deliver))

    def route(self, exchange: str, routing_key: str) -> list[Queue]:
        """Where a message goes: by the default exchange to the queue, else by bindings of that very key."""
        if not exchange:
            return [self.queues[routing_key]] if routing_key in self.queues else []
        found: dict[str, Queue] = {}
        for key, target in self.bindings.get(exchange, ()):
            if key == routing_key and target in self.queues:
                found[target] = self.queues[target]
        return list(found.values())


class Chaos:
    """What a server does by itself, as probabilities, and its delays in seconds.

    :param wishes: values that differ from a well-behaved server's
    """

    def __init__(self, wishes: dict[str, float]) -> None:
        self.reorder = 0.0  # answers of queues and confirms between those of the channel
        self.split = 0.0  # bytes leave in pieces
        self.weave = 0.0  # contents of two channels frame by frame
        self.slow = 0.0  # an answer waits up to `slow_for`
        self.slow_for = 0.0
        self.block = 0.0  # each of the rest: for each method that comes
        self.flow = 0.0
        self.cancel = 0.0
        self.close_channel = 0.0
        self.close_connection = 0.0
        self.hang_up = 0.0
        self.heartbeat = 0.0  # seconds; proposed in Tune
        for name, value in wishes.items():
            assert hasattr(self, name), name
            setattr(self, name, value)

    def delay(self, rng: random.Random) -> float:
        """How long an answer waits, seconds."""
        return rng.random() * self.slow_for if rng.random() < self.slow else 0.0
