"""The account of every message of a queue: published, confirmed, seen."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence

from .judge import Judge
from .ledger import Ledger


class Account:
    """What publishers and consumers of a queue have done; its methods may be called from any thread."""

    def __init__(self, ledger: Ledger, queue: str) -> None:
        self.ledger, self.queue = ledger, queue
        self.published: Counter[bytes] = Counter()  # how often each was
        self.confirmed: set[bytes] = set()
        self.seen: list[tuple[bytes, bool]] = []
        self.seen_bodies: set[bytes] = set()
        self.reconnections = 0
        self._changed = threading.Condition()

    # ---- what happens ----

    def publish(self, bodies: Sequence[bytes]) -> None:
        """They are about to be published, or published again."""
        with self._changed:
            self.published.update(bodies)

    def confirm(self, bodies: Sequence[bytes]) -> None:
        """The broker has them."""
        with self._changed:
            self.confirmed.update(bodies)
            self._changed.notify_all()

    def see(self, body: bytes, redelivered: bool) -> None:
        """A consumer has got it."""
        with self._changed:
            self.seen.append((body, redelivered))
            self.seen_bodies.add(body)
            self._changed.notify_all()

    def reconnect(self) -> None:
        """A connection was lost, or could not be made."""
        with self._changed:
            self.reconnections += 1
            self._changed.notify_all()

    # ---- waiting for it ----

    def wait_for(self, predicate: Callable[[], bool], seconds: float) -> bool:
        """Returns when it holds, looking whenever something has happened; False when the time is up."""
        with self._changed:
            return self._changed.wait_for(predicate, seconds)

    def await_confirmed(self, more: int, seconds: float = 60) -> None:
        """Returns when so many more messages are confirmed."""
        wanted = len(self.confirmed) + more
        if not self.wait_for(lambda: len(self.confirmed) >= wanted, seconds):
            self.ledger.fault("wrong", f"no {more} messages were confirmed within {seconds:g} s")

    def await_seen(self, seconds: float) -> None:
        """Returns when all that is confirmed by now was seen, or the time is up."""
        with self._changed:
            missing = self.confirmed - self.seen_bodies
            self._changed.wait_for(lambda: missing <= self.seen_bodies, seconds)

    # ---- the account ----

    def check(self, judge: Judge, seconds: float = 20) -> None:
        """Every confirmed message was seen or is there; what came twice says so, or was published twice;
        nothing is invented.

        :param seconds: for what is missing to be back in the queue
        """
        ledger = self.ledger
        ledger.unit = "confirmed"
        ledger.done += len(self.confirmed)
        left = judge.take(self.queue, self.confirmed - self.seen_bodies, seconds)
        for body in list(self.confirmed - self.seen_bodies - {body for body, _ in left}):
            ledger.fault("lost", f"confirmed and gone: {body[:50]!r}")
        for body in self.seen_bodies - set(self.published):
            ledger.fault("wrong", f"never published: {body[:50]!r}")
        first = Counter(body for body, redelivered in self.seen + left if not redelivered)
        for body, count in first.items():
            if count > self.published[body]:
                ledger.fault("doubled", f"{count} times as if for the first time: {body[:50]!r}")
        again = sum(redelivered for _, redelivered in self.seen)
        times = sum(self.published.values())
        repeated = f" ({times - len(self.published):,} of them again)" if times > len(self.published) else ""
        ledger.note(
            f"{len(self.published):,} published{repeated}, {len(self.confirmed):,} confirmed, "
            f"{len(self.seen):,} seen ({again:,} redelivered), {len(left):,} left in the queue, "
            f"{self.reconnections} attempts to connect again"
        )
