"""A program on asyncio, in the style of callbacks: publishes, consumes, connects again."""

from __future__ import annotations

import asyncio
import importlib
import itertools
import threading
from typing import Any

from support.subject import SUBJECT, exceptions

from .account import Account
from .traffic import BOUND, PAUSE, PERSISTENT, PREFETCH

AsyncioConnection: Any = importlib.import_module(f"{SUBJECT}.adapters.asyncio_connection").AsyncioConnection

CONNECTIONS = 2
BATCH = 10
TICK = 0.05  # seconds between two batches of a connection: 400 messages a second in all
IN_FLIGHT = 200


class AsyncioProgram:
    """Some connections on one loop, in a thread."""

    def __init__(self, account: Account, parameters: Any) -> None:
        self._account, self._parameters = account, parameters
        self._clients: list[Client] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)

    async def _main(self) -> None:
        self._loop = loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._failed)
        self._clients = [
            Client(self._account, f"asyncio-{number}", self._parameters) for number in range(CONNECTIONS)
        ]
        for client in self._clients:
            client.connect()
        await asyncio.wait([client.ended for client in self._clients])

    def _failed(self, _loop: Any, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self._account.ledger.fault("wrong", f"asyncio: {context['message']}: {error!r:.300}")

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def stop_publishing(self) -> None:
        """Nothing new is published."""
        for client in self._clients:
            client.stopped = True

    def end(self) -> None:
        """Closes the connections and ends the loop."""
        assert self._loop is not None
        for client in self._clients:
            self._loop.call_soon_threadsafe(client.end)
        self._thread.join(BOUND)
        if self._thread.is_alive():
            self._account.ledger.fault("wrong", "the loop did not end")


class Client:
    """A connection with a channel to publish and one to consume, made anew when it is lost."""

    def __init__(self, account: Account, name: str, parameters: Any) -> None:
        self.account = account
        self.stopped = False  # whether nothing new is to be published
        self._name, self._parameters = name, parameters
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self._numbers = itertools.count(1)
        self._again: list[bytes] = []  # what was not confirmed when its channel ended
        self._connection: Any = None
        self._ending = False

    def connect(self) -> None:
        """Makes a connection."""
        self._connection = AsyncioConnection(
            self._parameters,
            on_open_callback=self._on_open,
            on_open_error_callback=self._on_closed,
            on_close_callback=self._on_closed,
        )

    def end(self) -> None:
        """Closes what is open; then `ended` is done."""
        self._ending = True
        if self._connection is not None and self._connection.is_open:
            self._connection.close()

    def wrong(self, text: str) -> None:
        """Notes a violation."""
        self.account.ledger.fault("wrong", f"{self._name}: {text}")

    def _on_open(self, connection: Any) -> None:
        Publisher(self, connection)
        Consumer(self, connection)

    def _on_closed(self, connection: Any, reason: BaseException) -> None:
        if connection is not self._connection:
            self.wrong(f"the end of a connection was told again: {reason!r:.200}")
        self._connection = None
        if self._ending:
            self.ended.set_result(None)
            return
        if isinstance(reason, exceptions.AMQPConnectionError):
            self.account.ledger.outcome(type(reason).__name__)
        else:
            self.wrong(f"ended for {reason!r:.200}")
        self.account.reconnect()
        self._loop.call_later(PAUSE, self.connect)

    def has(self, channel: Any) -> bool:
        """Whether this channel is open, and its connection the present one."""
        return bool(channel.is_open) and channel.connection is self._connection

    def next_bodies(self) -> list[bytes]:
        """The next ones to be published: first those that were not confirmed."""
        bodies, self._again = self._again[:BATCH], self._again[BATCH:]
        if not bodies and not self.stopped:
            bodies = [make_body(self._name, number) for number in itertools.islice(self._numbers, BATCH)]
        return bodies

    def publish_again(self, bodies: list[bytes]) -> None:
        """These were not confirmed on a channel that has ended."""
        self._again += bodies

    def call_after_tick(self, function: Any) -> None:
        """Calls it a tick later."""
        self._loop.call_later(TICK, function)


class Publisher:
    """The channel to publish, of one connection."""

    def __init__(self, client: Client, connection: Any) -> None:
        self._client = client
        self._count = 0
        self._waiting: dict[int, bytes] = {}
        self._channel = connection.channel(on_open_callback=self._on_open)
        self._channel.add_on_close_callback(self._on_closed)

    def _on_open(self, channel: Any) -> None:
        channel.confirm_delivery(self._on_verdict, callback=lambda frame: self._publish())

    def _publish(self) -> None:
        if not self._client.has(self._channel):
            return
        bodies = self._client.next_bodies() if len(self._waiting) < IN_FLIGHT else []
        self._client.account.publish(bodies)
        for body in bodies:
            self._count += 1
            self._waiting[self._count] = body
            self._channel.basic_publish("", self._client.account.queue, body, PERSISTENT, mandatory=True)
        self._client.call_after_tick(self._publish)

    def _on_verdict(self, frame: Any) -> None:
        self._client.account.confirm(settled(self._waiting, frame.method, self._client.wrong))

    def _on_closed(self, _channel: Any, _reason: BaseException) -> None:
        self._client.publish_again(list(self._waiting.values()))
        self._waiting = {}


class Consumer:
    """The channel to consume, of one connection."""

    def __init__(self, client: Client, connection: Any) -> None:
        self._client = client
        self._last = 0
        connection.channel(on_open_callback=self._on_open)

    def _on_open(self, channel: Any) -> None:
        def limited(_frame: Any) -> None:
            channel.basic_consume(self._client.account.queue, self._on_message)

        channel.basic_qos(prefetch_count=PREFETCH, callback=limited)

    def _on_message(self, channel: Any, method: Any, _properties: Any, body: bytes) -> None:
        if not self._client.has(channel):
            self._client.wrong("a message came on a connection that has ended")
        if method.delivery_tag != self._last + 1:
            self._client.wrong(f"delivery tag {method.delivery_tag} after {self._last}")
        self._last = method.delivery_tag
        self._client.account.see(body, method.redelivered)
        channel.basic_ack(method.delivery_tag)


def make_body(name: str, number: int) -> bytes:
    """A body like no other."""
    return b"%s %d " % (name.encode(), number) + b"x" * (number * 37 % 100)


def settled(waiting: dict[int, bytes], verdict: Any, wrong: Any) -> list[bytes]:
    """Takes out of `waiting` what an Ack of the broker's confirms; anything else is wrong."""
    tag = verdict.delivery_tag
    tags = [waited for waited in waiting if waited <= tag] if verdict.multiple else [tag]
    if verdict.NAME != "Basic.Ack":
        wrong(f"not confirmed: {verdict!r}")
    bodies = [waiting.pop(tag) for tag in tags if tag in waiting]
    if len(bodies) < len(tags) or not bodies:
        wrong(f"a confirm of what does not wait for one: {verdict!r}, {len(waiting)} wait")
    return bodies
