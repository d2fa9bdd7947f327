"""Publishers with confirms and consumers with acks that reconnect, and the account of every message."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from support.subject import StackTimeout, exceptions, pika

from .judge import Judge
from .ledger import Ledger

BULK = 40
PREFETCH = 50
PAUSE = 0.2  # seconds between attempts to connect
BOUND = 40.0  # seconds for any call: a sequence of hosts that are silent or start
PERSISTENT = pika.BasicProperties(delivery_mode=2)
LOST = (exceptions.AMQPConnectionError, StackTimeout)
REFUSED = (exceptions.ChannelClosedByBroker, exceptions.NackError, exceptions.UnroutableError)
WRONG_STATE = (exceptions.ConnectionWrongStateError, exceptions.ChannelWrongStateError)


class Traffic:
    """What all publishers and consumers of a queue have done.

    :param hosts: parameters to connect with, tried in turn
    """

    def __init__(self, ledger: Ledger, queue: str, hosts: Sequence[Any]) -> None:
        self.ledger, self.queue, self.hosts = ledger, queue, list(hosts)
        self.confirmed: set[bytes] = set()
        self.tried: set[bytes] = set()
        self.seen: list[tuple[bytes, bool]] = []
        self.reconnections = 0
        self.stop_publishing, self.stop_consuming = threading.Event(), threading.Event()
        self._changed = threading.Condition()
        self._threads: dict[str, list[threading.Thread]] = {"publisher": [], "consumer": []}

    def start(self, publishers: int, consumers: int) -> None:
        """Starts so many of each, a thread and a connection each."""
        for kind, count, run in (
            ("publisher", publishers, self._publish),
            ("consumer", consumers, self._consume),
        ):
            for number in range(count):
                thread = threading.Thread(
                    target=self._run, args=(run, f"{kind}-{number}", number), daemon=True
                )
                self._threads[kind].append(thread)
                thread.start()

    def await_confirmed(self, more: int, seconds: float = 60) -> None:
        """Returns when so many more messages are confirmed."""
        with self._changed:
            wanted = len(self.confirmed) + more
            if not self._changed.wait_for(lambda: len(self.confirmed) >= wanted, seconds):
                self.ledger.fault("wrong", f"no {more} messages were confirmed within {seconds:g} s")

    def end(self) -> None:
        """Stops the publishers, lets the consumers see all that is confirmed, and stops them."""
        self.stop_publishing.set()
        self._join("publisher")
        with self._changed:
            self._changed.wait_for(lambda: self.confirmed <= {body for body, _ in self.seen}, 20)
        self.stop_consuming.set()
        self._join("consumer")

    def _join(self, kind: str) -> None:
        for number, thread in enumerate(self._threads[kind]):
            thread.join(BOUND)
            if thread.is_alive():
                self.ledger.fault("wrong", f"{kind} {number} hangs")

    def _run(self, run: Callable[[Any, str], None], name: str, number: int) -> None:
        """Connects and runs, again and again; each beginning with another host."""
        stop = self.stop_consuming if name.startswith("consumer") else self.stop_publishing
        turn = number % len(self.hosts)
        hosts = self.hosts[turn:] + self.hosts[:turn]
        while not stop.is_set():
            connection = None
            try:
                connection = self.ledger.call("connect", BOUND, pika.BlockingConnection, hosts)
                run(connection, name)
            except WRONG_STATE as error:
                self.ledger.fault("wrong", f"{name}: the reason did not come out: {error!r:.200}")
            except (*LOST, *REFUSED) as error:
                self.ledger.outcome(type(error).__name__)
            except Exception as error:
                self.ledger.fault("wrong", f"{name}: {error!r:.300}")
            self.reconnections += 1
            close(connection)
            stop.wait(PAUSE)

    # ---- publishing ----

    def _publish(self, connection: Any, name: str) -> None:
        channel = connection.channel()
        channel.confirm_delivery()
        generation = self.reconnections
        number = 0
        while not self.stop_publishing.is_set():
            bodies = [self._body(name, generation, number + more) for more in range(BULK)]
            number += BULK
            self.tried.update(bodies)
            self._publish_one_by_one(channel, bodies[: BULK // 2])
            self._publish_together(channel, bodies[BULK // 2 :])

    @staticmethod
    def _body(name: str, generation: int, number: int) -> bytes:
        return b"%s %d %d " % (name.encode(), generation, number) + b"x" * (number * 37 % 900)

    def _publish_one_by_one(self, channel: Any, bodies: Sequence[bytes]) -> None:
        for body in bodies:
            begin = time.monotonic()
            try:
                channel.basic_publish("", self.queue, body, PERSISTENT, mandatory=True)
            finally:
                self.ledger.timed("publish", time.monotonic() - begin, BOUND)
            self._note([body])

    def _publish_together(self, channel: Any, bodies: Sequence[bytes]) -> None:
        if not hasattr(channel, "publish_many"):
            self._publish_one_by_one(channel, bodies)
            return
        messages = [("", self.queue, body, PERSISTENT, True) for body in bodies]
        try:
            self.ledger.call("publish_many", BOUND, channel.publish_many, messages)
        except exceptions.AMQPError as error:
            self._note(bodies[: getattr(error, "confirmed", 0)])
            raise
        self._note(bodies)

    def _note(self, bodies: Sequence[bytes]) -> None:
        with self._changed:
            self.confirmed.update(bodies)
            self._changed.notify_all()

    # ---- consuming ----

    def _consume(self, connection: Any, name: str) -> None:
        channel = connection.channel()
        channel.basic_qos(prefetch_count=PREFETCH)
        last = [0]

        def on_message(ch: Any, method: Any, properties: Any, body: bytes) -> None:
            if method.delivery_tag != last[0] + 1:
                self.ledger.fault("wrong", f"{name}: delivery tag {method.delivery_tag} after {last[0]}")
            last[0] = method.delivery_tag
            with self._changed:
                self.seen.append((body, method.redelivered))
                self._changed.notify_all()
            ch.basic_ack(method.delivery_tag)

        channel.add_on_cancel_callback(lambda frame: None)
        channel.basic_consume(self.queue, on_message)
        while not self.stop_consuming.is_set() and channel.consumer_tags:
            connection.process_data_events(time_limit=0.2)

    # ---- the account ----

    def check(self, judge: Judge) -> None:
        """Every confirmed message was seen or is there; what came twice says so; nothing is invented."""
        ledger = self.ledger
        ledger.unit = "confirmed"
        ledger.done += len(self.confirmed)
        bodies = {body for body, _ in self.seen}
        left = judge.take(self.queue, self.confirmed - bodies, 20)
        for body in list(self.confirmed - bodies - {body for body, _ in left}):
            ledger.fault("lost", f"confirmed and gone: {body[:50]!r}")
        for body in bodies - self.tried:
            ledger.fault("wrong", f"never published: {body[:50]!r}")
        first = Counter(body for body, redelivered in self.seen + left if not redelivered)
        for body, count in first.items():
            if count > 1:
                ledger.fault("doubled", f"{count} times as if for the first time: {body[:50]!r}")
        again = sum(redelivered for _, redelivered in self.seen)
        ledger.note(
            f"{len(self.tried):,} published, {len(self.confirmed):,} confirmed, {len(self.seen):,} seen "
            f"({again:,} redelivered), {len(left):,} left in the queue, "
            f"{self.reconnections} attempts to connect again"
        )


def close(connection: Any) -> None:
    """Closes what is still open."""
    if connection is not None and connection.is_open:
        try:
            connection.close()
        except (*LOST, *REFUSED):
            pass


def parameters(port: int, **options: Any) -> Any:
    """Of a node of ours: quick to give up."""
    options = {"heartbeat": 10, "socket_timeout": 5, "stack_timeout": 8, "retry_delay": 0, **options}
    return pika.ConnectionParameters("127.0.0.1", port, **options)
