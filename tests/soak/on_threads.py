"""A program on the thread-safe connection: eight threads publish, two channels consume, one connects."""

from __future__ import annotations

import itertools
import threading
import time
from typing import Any

from support.subject import StackTimeout, exceptions, pika

from .account import Account
from .on_asyncio import make_body, settled
from .traffic import BOUND, PAUSE, PERSISTENT, PREFETCH

Connection: Any = pika.adapters.thread_safe_connection.Connection

THREADS = 8
ALONE = 4  # of them have a channel of their own; the others share one
CONSUMERS = 2
BATCH = 10
TICK = 0.2  # seconds between two batches of a thread: at most 400 messages a second in all
AWAY = (
    exceptions.AMQPConnectionError,
    exceptions.ChannelWrongStateError,
    exceptions.ChannelClosed,
    StackTimeout,
    TimeoutError,
)
"""What a call may raise whose connection is lost, or cannot be made."""


class ThreadsProgram:
    """One connection at a time, and the threads that use it."""

    def __init__(self, account: Account, parameters: Any) -> None:
        self._account, self._parameters = account, parameters
        self._life: Life | None = None
        self._stopped, self._ending = threading.Event(), threading.Event()
        self._threads = [threading.Thread(target=self._keep_connected, daemon=True)]
        self._threads += [
            threading.Thread(target=self._publish, args=(number,), daemon=True) for number in range(THREADS)
        ]

    def start(self) -> None:
        """Begins."""
        for thread in self._threads:
            thread.start()

    def stop_publishing(self) -> None:
        """Nothing new is published."""
        self._stopped.set()

    def end(self) -> None:
        """Ends all threads."""
        self._ending.set()
        for thread in self._threads:
            thread.join(BOUND)
            if thread.is_alive():
                self._wrong(f"{thread.name} hangs")

    def _wrong(self, text: str) -> None:
        self._account.ledger.fault("wrong", f"thread-safe: {text}")

    # ---- the connection ----

    def _keep_connected(self) -> None:
        ledger = self._account.ledger
        while not self._ending.is_set():
            connection = None
            try:
                life = Life(self._account, self._wrong)
                connection = ledger.call("connect", BOUND, life.connect, self._parameters)
                life.begin(connection)
                self._life = life
                while not life.lost.wait(0.05) and not self._ending.is_set():
                    pass
            except AWAY as error:
                ledger.outcome(type(error).__name__)
            except Exception as error:
                self._wrong(f"while it was connecting: {error!r:.300}")
            if connection is not None:
                ledger.call("close", 15, connection.close)
                if not connection.is_closed:
                    self._wrong("not closed after close()")
            if not self._ending.is_set():
                self._account.reconnect()
                self._ending.wait(PAUSE)

    # ---- the threads that publish ----

    def _publish(self, number: int) -> None:
        numbers = itertools.count(1)
        name = f"thread-{number}"
        bodies: list[bytes] = []
        while bodies or not self._stopped.is_set():
            if not bodies:
                bodies = [make_body(name, index) for index in itertools.islice(numbers, BATCH)]
            life = self._life
            if life is None or life.lost.is_set():
                self._ending.wait(PAUSE)
                if self._ending.is_set():
                    return
                continue
            try:
                life.publishers[max(0, number - (THREADS - 1 - ALONE))].publish(bodies)
            except AWAY as error:
                self._account.ledger.outcome(f"publish: {type(error).__name__}")
            except Exception as error:
                self._wrong(f"{name}: {error!r:.300}")
            bodies = self._unconfirmed(life, bodies)
            self._stopped.wait(TICK)

    def _unconfirmed(self, life: Life, bodies: list[bytes]) -> list[bytes]:
        """Those of them that are to be published again, since their connection is lost."""
        account = self._account
        wanted = set(bodies)
        if not account.wait_for(lambda: wanted <= account.confirmed or life.lost.is_set(), BOUND):
            self._wrong("neither confirmed nor lost")
        return [body for body in bodies if body not in account.confirmed]


class Life:
    """What belongs to one connection."""

    def __init__(self, account: Account, wrong: Any) -> None:
        self._account, self._wrong = account, wrong
        self.lost = threading.Event()
        self.publishers: list[Publisher] = []

    def connect(self, parameters: Any) -> Any:
        """Makes the connection."""
        return Connection(parameters, on_close_callback=self._on_closed)

    def begin(self, connection: Any) -> None:
        """Opens the channels and consumes."""
        self.publishers = [Publisher(self._account, connection, self._wrong) for _ in range(1 + ALONE)]
        for _ in range(CONSUMERS):
            Consumer(self._account, connection, self._wrong)

    def _on_closed(self, _connection: Any, reason: BaseException) -> None:
        if self.lost.is_set():
            self._wrong(f"the end was told again: {reason!r:.200}")
        if not isinstance(reason, exceptions.ConnectionClosedByClient):
            self._account.ledger.outcome(f"closed: {type(reason).__name__}")
        self.lost.set()
        self._account.confirm([])  # who waits for confirms looks again


class Publisher:
    """A channel to publish, for one thread or more."""

    def __init__(self, account: Account, connection: Any, wrong: Any) -> None:
        self._account, self._wrong = account, wrong
        self._waiting: dict[int, bytes] = {}
        self._lock = threading.Lock()
        self._channel = connection.channel()
        self._channel.confirm_delivery(self._on_verdict)

    def publish(self, bodies: list[bytes]) -> None:
        """Publishes them; `Account.confirm` will tell of their confirms."""
        for body in bodies:
            self._account.publish([body])
            begin = time.monotonic()
            self._channel.basic_publish(
                "",
                self._account.queue,
                body,
                PERSISTENT,
                True,
                on_publish=lambda tag, b=body: self._note(tag, b),
            )
            self._account.ledger.timed("publish", time.monotonic() - begin, 10)

    def _note(self, tag: int, body: bytes) -> None:
        with self._lock:
            if tag in self._waiting:
                self._wrong(f"delivery tag {tag} was given twice")
            self._waiting[tag] = body

    def _on_verdict(self, frame: Any) -> None:
        with self._lock:
            bodies = settled(self._waiting, frame.method, self._wrong)
        self._account.confirm(bodies)


class Consumer:
    """A channel to consume; its callback runs in the channel's thread."""

    def __init__(self, account: Account, connection: Any, wrong: Any) -> None:
        self._account, self._wrong = account, wrong
        self._last = 0
        channel = connection.channel()
        channel.basic_qos(prefetch_count=PREFETCH)
        channel.basic_consume(account.queue, self._on_message)

    def _on_message(self, channel: Any, method: Any, _properties: Any, body: bytes) -> None:
        if method.delivery_tag != self._last + 1:
            self._wrong(f"delivery tag {method.delivery_tag} after {self._last}")
        self._last = method.delivery_tag
        self._account.see(body, method.redelivered)
        try:
            channel.basic_ack(method.delivery_tag)
        except AWAY as error:  # the message comes again
            self._account.ledger.outcome(f"ack: {type(error).__name__}")
