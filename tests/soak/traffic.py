"""Publishers with confirms and consumers with acks that reconnect."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from support.subject import StackTimeout, exceptions, pika

from .account import Account
from .ledger import Ledger

BULK = 40
PREFETCH = 50
PAUSE = 0.2  # seconds between attempts to connect
BOUND = 40.0  # seconds for any call: a sequence of hosts that are silent or start
PERSISTENT = pika.BasicProperties(delivery_mode=2)
LOST = (exceptions.AMQPConnectionError, StackTimeout)
REFUSED = (exceptions.ChannelClosedByBroker, exceptions.NackError, exceptions.UnroutableError)
WRONG_STATE = (exceptions.ConnectionWrongStateError, exceptions.ChannelWrongStateError)


class Traffic(Account):
    """All publishers and consumers of a queue, in threads.

    :param hosts: parameters to connect with, tried in turn
    """

    def __init__(self, ledger: Ledger, queue: str, hosts: Sequence[Any]) -> None:
        super().__init__(ledger, queue)
        self.hosts = list(hosts)
        self.stop_publishing, self.stop_consuming = threading.Event(), threading.Event()
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

    def end(self) -> None:
        """Stops the publishers, lets the consumers see all that is confirmed, and stops them."""
        self.stop_publishing.set()
        self._join("publisher")
        self.await_seen(20)
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
            self.reconnect()
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
            self.publish(bodies)
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
            self.confirm([body])

    def _publish_together(self, channel: Any, bodies: Sequence[bytes]) -> None:
        if not hasattr(channel, "publish_many"):
            self._publish_one_by_one(channel, bodies)
            return
        messages = [("", self.queue, body, PERSISTENT, True) for body in bodies]
        try:
            self.ledger.call("publish_many", BOUND, channel.publish_many, messages)
        except exceptions.AMQPError as error:
            self.confirm(bodies[: getattr(error, "confirmed", 0)])
            raise
        self.confirm(bodies)

    # ---- consuming ----

    def _consume(self, connection: Any, name: str) -> None:
        channel = connection.channel()
        channel.basic_qos(prefetch_count=PREFETCH)
        last = [0]

        def on_message(ch: Any, method: Any, properties: Any, body: bytes) -> None:
            if method.delivery_tag != last[0] + 1:
                self.ledger.fault("wrong", f"{name}: delivery tag {method.delivery_tag} after {last[0]}")
            last[0] = method.delivery_tag
            self.see(body, method.redelivered)
            ch.basic_ack(method.delivery_tag)

        channel.add_on_cancel_callback(lambda frame: None)
        channel.basic_consume(self.queue, on_message)
        while not self.stop_consuming.is_set() and channel.consumer_tags:
            connection.process_data_events(time_limit=0.2)


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
