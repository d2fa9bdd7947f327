"""Scenarios on Twisted: the same program on pika and on cpika, in the one reactor that a process has.

    @on_reactor("twisted.rpc")
    def a_queue_is_declared(env, twisted):
        channel = yield twisted.channel()
        yield twisted.call("declare", channel.queue_declare, env.name(), exclusive=True)

A scenario is a generator whose Deferreds are awaited. `twisted` is a `Twisted`: it connects, and records what
Deferreds get in the order in which they get it, and what Twisted's log hears of errors that nobody caught.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import select
import socket
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any

from twisted.internet import defer, endpoints
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure

from parity.harness import EVENT_SECONDS, covers
from parity.loops import frame_text
from parity.render import hierarchy, mask

LONGEST_TURN = 0.1  # seconds that the reactor may wait, so that the harness can look at its clock
ONE_READ = 65536  # bytes that Twisted takes from a socket in one turn


@functools.cache
def _reactor() -> Any:
    """Return the reactor, started: it can start only once in a process, so it is never stopped."""
    from twisted.internet import reactor

    native: Any = reactor
    native.startRunning(installSignalHandlers=False)
    return native


class Twisted:
    """The reactor, and the connections that a scenario has on it."""

    def __init__(self, pika: Any, env: Any) -> None:
        self.pika = pika
        self.env = env
        self.adapter = importlib.import_module(f"{pika.__name__}.adapters.twisted_connection")
        self.native = _reactor()
        self.turns = 0
        self._connections: list[Any] = []
        self._timers = set(self.native.getDelayedCalls())

    # ---- running ----

    def run(self, main: defer.Deferred[Any]) -> None:
        """Let the reactor turn until `main` has fired; raise what it failed with."""
        results: list[Any] = []
        main.addBoth(results.append)
        self.env.until(lambda: results, self._turn)
        if isinstance(results[0], Failure):
            results[0].raiseException()

    def _turn(self) -> None:
        self.turns += 1
        self.native.runUntilCurrent()
        due = self.native.timeout()
        self.native.doIteration(LONGEST_TURN if due is None else min(due, LONGEST_TURN))

    def soon(self, result: Any = None) -> defer.Deferred[Any]:
        """Return a Deferred that fires in the reactor's next turn."""
        later: defer.Deferred[Any] = defer.Deferred()
        self.native.callLater(0, later.callback, result)
        return later

    def finish(self) -> None:
        """Close what is still open, abort what does not end so, and record the timers that are left."""
        for connection in self._connections:
            if connection.is_open:
                connection.close()
            elif self._connected(connection) and connection._impl.is_closed:
                connection.transport.abortConnection()
        self.env.until(lambda: not any(map(self._connected, self._connections)), self._turn)
        for timer in set(self.native.getDelayedCalls()) - self._timers:
            self.env.show("left behind", str(timer))
            timer.cancel()

    @staticmethod
    def _connected(connection: Any) -> bool:
        return connection.transport is not None and bool(connection.transport.connected)

    @contextlib.contextmanager
    def failures(self) -> Iterator[None]:
        """Record the errors that Twisted logs while the block runs, and those that garbage held back."""
        lines: list[str] = []

        def observe(event: Any) -> None:
            failure = event.get("log_failure")
            if failure is not None:
                lines.append(mask(f"Twisted logged {hierarchy(failure.type)}: {failure.getErrorMessage()}"))

        gc.freeze()  # to look through what was there before would take longer than the scenario
        globalLogPublisher.addObserver(observe)
        try:
            yield
            gc.collect()
        finally:
            globalLogPublisher.removeObserver(observe)
            gc.unfreeze()
        self.env.lines.extend(sorted(lines))  # when the collector comes by is nobody's promise

    # ---- connecting ----

    def protocol(self, kind: type[Any] | None = None, **changes: Any) -> Any:
        """Return the protocol of a connection that has not been made."""
        made = (kind or self.adapter.TwistedProtocolConnection)(self.env.parameters(**changes))
        self._connections.append(made)
        return made

    def connect(self, protocol: Any, port: int = 0) -> defer.Deferred[Any]:
        """Connect a protocol to the broker or to a port of ours; fires when the stream is there."""
        broker = self.env.broker
        host = "127.0.0.1" if port else socket.gethostbyname(broker.host)
        endpoint = endpoints.TCP4ClientEndpoint(self.native, host, port or broker.port)
        return endpoints.connectProtocol(endpoint, protocol)

    @defer.inlineCallbacks
    def connection(self, port: int = 0, **changes: Any) -> Generator[defer.Deferred[Any], Any, Any]:
        """Fire with an open connection; its end will be recorded."""
        protocol = self.protocol(**changes)
        yield self.connect(protocol, port)
        yield protocol.ready
        self.watch("the connection's end", protocol.closed)
        return protocol

    @defer.inlineCallbacks
    def channel(self, connection: Any = None, **changes: Any) -> Generator[defer.Deferred[Any], Any, Any]:
        """Fire with a channel, of a connection of its own unless there is one; its end will be recorded."""
        if connection is None:
            connection = yield self.connection(**changes)
        channel = yield connection.channel()
        self.watch(f"the end of channel {channel.channel_number}", channel.on_closed)
        return channel

    @defer.inlineCallbacks
    def queue(self, channel: Any, **options: Any) -> Generator[defer.Deferred[Any], Any, str]:
        """Fire with the name of a queue that has been declared."""
        name: str = self.env.name()
        yield channel.queue_declare(name, **options)
        return name

    @defer.inlineCallbacks
    def ready(self, channel: Any, queue: str, count: int) -> Generator[defer.Deferred[Any], Any, None]:
        """Ask until `queue` holds `count` messages that are ready, and record what was said last.

        A queue answers before it has taken what came to it earlier (what is published, what goes back to it).
        """
        deadline = time.monotonic() + EVENT_SECONDS
        there = -1
        while there != count and time.monotonic() < deadline:
            answer = yield channel.queue_declare(queue, passive=True)
            there = answer.method.message_count
        self.env.show("ready", there)

    # ---- recording ----

    def watch(self, label: str, deferred: Any) -> Any:
        """Record what a Deferred gets when it gets it; its result stays, a failure becomes None."""

        def fired(result: Any) -> Any:
            if isinstance(result, Failure):
                self.env.show_error(label, result.value)
                return None
            if isinstance(result, BaseException):
                self.env.show_error(f"{label} fired:", result)
            else:
                self.env.show(label, self.said(result))
            return result

        return deferred.addBoth(fired)

    def call(self, label: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call, and record whether it raises, has an answer at once, or returns a Deferred that fires later.

        Returns the Deferred, which has a result in any case: None for what went wrong.
        """
        try:
            value = function(*args, **kwargs)
        except Exception as error:
            self.env.show_error(f"{label} in the call", error)
            return defer.succeed(None)
        if not isinstance(value, defer.Deferred):
            self.env.show(f"{label} returned", self.said(value))
            return defer.succeed(value)
        return self.watch(f"{label} at once" if value.called else label, value)

    def said(self, value: Any) -> Any:
        """Return what of a result both libraries have to show."""
        if hasattr(value, "body") and hasattr(value, "method"):
            channel = type(value.channel).__name__
            return [type(value).__name__, channel, repr(value.method), repr(value.properties), value.body]
        if isinstance(value, self.adapter.TwistedChannel):
            return f"TwistedChannel {value.channel_number}"
        if isinstance(value, self.adapter.ClosableDeferredQueue):
            return f"queue of {len(value.pending)}, {len(value.waiting)} waiting"
        if isinstance(value, self.adapter.TwistedProtocolConnection):
            return "connection"
        if isinstance(value, tuple):
            return [self.said(one) for one in value]
        return frame_text(value) if hasattr(value, "channel_number") else value

    # ---- what comes in one turn ----

    @defer.inlineCallbacks
    def in_one_turn(self, connection: Any, last: bytes) -> Generator[defer.Deferred[Any], Any, None]:
        """Have the bytes up to `last`, which are on their way, come in one read, in the turn that goes on."""
        transport = connection.transport
        transport.pauseProducing()
        for _ in range(2):  # what was said before leaves: in one turn it is handed on, in the next it is sent
            yield self.soon()
        sock = transport.socket

        def there() -> bool:
            readable, _, _ = select.select([sock], [], [], LONGEST_TURN)
            return bool(readable) and last in sock.recv(ONE_READ, socket.MSG_PEEK)

        self.env.until(there, lambda: None)
        transport.resumeProducing()


Program = Callable[[Any, Twisted], Generator[Any, Any, Any]]


def on_reactor(*lines: str, its_log: bool = True) -> Callable[[Program], Program]:
    """Register a scenario that is played on Twisted's reactor.

    :param its_log: compare Twisted's log, too. pika's has an error for each call that was refused:
        "A call on Twisted that was refused" among the differences
    """

    def register(program: Program) -> Program:
        covers(*lines, broker=True)(played(program, its_log))
        return program

    return register


def played(program: Program, its_log: bool = True) -> Callable[[Any, Any], None]:
    """Return the scenario that runs a program on the reactor."""

    @functools.wraps(program, assigned=("__name__", "__module__", "__doc__"), updated=())
    def scenario(pika: Any, env: Any) -> None:
        twisted = Twisted(pika, env)
        with env.log("log"), twisted.failures() if its_log else contextlib.nullcontext():
            try:
                twisted.run(defer.inlineCallbacks(program)(env, twisted))
            finally:
                twisted.finish()

    return scenario
