"""The model of messages: each one published, what became of it, and what may not have.

A message's body begins with its number, so whoever meets it can look it up.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable
from typing import Any

from .report import Report

SENDING, SENT, CONFIRMED, RETURNED, REFUSED, UNKNOWN = (
    "sending sent confirmed returned refused unknown".split()
)
WITHDRAWN = "withdrawn"  # published in a transaction that was rolled back, or not committed yet
ARRIVED = (SENT, CONFIRMED)


class Delivery:
    """A message in somebody's hand; `settled` is None, or by which call."""

    def __init__(self, message: Message, line: Any, tag: int) -> None:
        self.message, self.line, self.tag = message, line, tag
        self.settled: str | None = None


class Message:
    """What is known of a message.

    :param number: its number
    :param queue: where it was sent
    :param source: who sent it; a source's messages keep their order
    """

    def __init__(self, number: int, queue: str, source: str, size: int) -> None:
        self.number, self.queue, self.source = number, queue, source
        self.body = b"%d|" % number + b"x" * size
        self.state = SENDING
        self.line: Any = None  # on which channel it was sent
        self.deliveries: list[Delivery] = []
        self.gone = False  # consumed for good, as far as the consumer can tell

    def __repr__(self) -> str:
        met = [f"{d.line.name}/{d.tag} {d.settled or 'held'}" for d in self.deliveries]
        return f"<{self.number} for {self.queue} by {self.source}: {self.state}, met {met}, gone {self.gone}>"


class Ledger:
    """All messages of a round."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._lock = threading.RLock()
        self.messages: dict[int, Message] = {}
        self.lossy: set[str] = set()  # queues whose messages may be lost: taken without acknowledgement
        self._numbers = itertools.count(1)  # finalizers that publish run in here too
        self._latest: dict[tuple[Any, ...], int] = {}

    # ---- publishing ----

    def begin(self, queue: str, source: str, size: int, line: Any = None) -> Message:
        """A message is about to be published."""
        with self._lock:
            message = Message(next(self._numbers), queue, source, size)
            message.line = line
            self.messages[message.number] = message
            self._report.counts["messages"] += 1
            return message

    def look_up(self, body: bytes) -> Message | None:
        """The message with that body, or None after a complaint."""
        number = body.partition(b"|")[0]
        message = self.messages.get(int(number)) if number.isdigit() else None
        if message is None or message.body != body:
            self._report.violation("a message that nobody sent", f"body {body[:60]!r}, {len(body)} bytes")
            return None
        return message

    # ---- deliveries ----

    def delivered(
        self, body: bytes, queue: str, method: Any, line: Any, reader: tuple[Any, ...], auto_ack: bool
    ) -> Delivery | None:
        """A message was handed to the program.

        :param queue: from which it was asked
        :param reader: whoever reads `queue` in order
        """
        with self._lock:
            message = self.look_up(body)
            if message is None:
                return None
            complain = self._report.violation
            if message.queue != queue or method.routing_key != queue:
                complain("a message of another queue", f"asked {queue}, got {method!r}: {message}")
            if message.state in (RETURNED, REFUSED, WITHDRAWN):
                complain("a message that did not arrive was delivered", f"{message} from {queue}")
            # What was received before the end of a connection, or of a channel, whoever ends it, comes late:
            # it is in the queue again by then, and others may have acknowledged it.
            fresh = line.intact and line.channel.is_open
            if message.deliveries and not method.redelivered and fresh:
                complain("delivered twice", f"{method!r}, not marked as redelivered: {message}")
            if message.gone and fresh and all(d.line.intact for d in message.deliveries):
                complain("delivered again after it was acknowledged", f"{method!r} of {line.name}: {message}")
            self._look_at_order(message, method, reader)
            delivery = Delivery(message, line, method.delivery_tag)
            message.deliveries.append(delivery)
            if auto_ack:
                delivery.settled, message.gone = "auto_ack", True
            return delivery

    def _look_at_order(self, message: Message, method: Any, reader: tuple[Any, ...]) -> None:
        if method.redelivered:
            return
        key = (*reader, message.source, message.queue)
        latest = self._latest.get(key, 0)
        if message.number < latest:
            text = f"{message} came behind {self.messages[latest]} at {reader}"
            self._report.violation("out of order", text)
        self._latest[key] = max(latest, message.number)

    # ---- the end ----

    def expected(self, queue: str) -> set[int]:
        """The numbers of the messages that must be in the queue when nobody holds any."""
        return {
            m.number
            for m in self.messages.values()
            if m.queue == queue and not m.gone and m.state in ARRIVED and self._arrived_for_sure(m)
        }

    @staticmethod
    def _arrived_for_sure(message: Message) -> bool:
        if any(d.settled == UNKNOWN for d in message.deliveries):
            return False
        return message.state == CONFIRMED or message.line is None or message.line.intact

    def found(self, queue: str, bodies: Iterable[bytes]) -> set[int]:
        """The numbers of what was in the queue at the end; complains about what must not be there."""
        numbers: set[int] = set()
        for body in bodies:
            message = self.look_up(body)
            if message is None:
                continue
            if message.number in numbers:
                self._report.violation("twice in the queue", repr(message))
            if message.gone and all(d.line.intact for d in message.deliveries):
                self._report.violation("in the queue after it was acknowledged", repr(message))
            if message.state in (RETURNED, REFUSED, WITHDRAWN):
                self._report.violation("in the queue though reported as not routed", repr(message))
            if message.queue != queue:
                self._report.violation("in another queue", f"{queue}: {message!r}")
            numbers.add(message.number)
        return numbers
