"""A round's connections, channels and queues, and the reckoning at its end."""

from __future__ import annotations

import itertools
import os
import random
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from support.subject import exceptions, pika

from . import topology
from .actor import LIMIT_AFTER_LOSS, Actor
from .ledger import Ledger
from .lines import Line, Link
from .report import Report

if TYPE_CHECKING:
    from .control import Control
    from .rooms import Room

SETTLE_SECONDS = 2.0  # what was given back may take so long to be in its queue again
# Over TLS, RabbitMQ does not always notice that the socket of a connection was closed: its end stays in
# CLOSE_WAIT, also where a program on pika was killed, until a heartbeat meets the reset that the one before,
# half the timeout earlier, has caused.  What that connection held is in its queue again only then.
HEARTBEAT_SECONDS = 10
NOTICE_SECONDS = 1.5 * HEARTBEAT_SECONDS + SETTLE_SECONDS
QUEUES = 4


class Target:
    """Where the connections go.

    :param url: AMQP URL
    :param authority: PEM file of the authority, for TLS
    """

    def __init__(self, name: str, url: str, authority: str = "", control: Control | None = None) -> None:
        self.name, self.url, self.authority, self.control = name, url, authority, control

    def parameters(self, observer: bool = False, **options: Any) -> Any:
        """Connection parameters."""
        parameters = pika.URLParameters(self.url)
        if self.authority:
            parameters.ssl_options = pika.SSLOptions(
                ssl.create_default_context(cafile=self.authority), "localhost"
            )
        if observer:
            parameters.client_properties = {"torture-observer": True}
        parameters.stack_timeout = 10
        parameters.blocked_connection_timeout = 10
        for name, value in options.items():
            setattr(parameters, name, value)
        return parameters


class World:
    """One round.

    :param number: of the round
    """

    def __init__(self, report: Report, room: Room, target: Target, number: int) -> None:
        self.report, self.room, self.target, self.number = report, room, target, number
        self.key = f"{report.seed} {report.mode} {number}"
        self.rng = random.Random(self.key)
        self.ledger = Ledger(report)
        self.links: list[Link] = []
        self.all_lines: list[Line] = []
        self.over = threading.Event()
        self.local = threading.local()
        self.interrupts: Any = None
        prefix = f"cpika-torture-{os.getpid()}-{number}"
        self.queues = [f"{prefix}-q{n}" for n in range(QUEUES)]
        self.lossy_queue = f"{prefix}-lossy"
        self.refusing_queue = f"{prefix}-nacked"
        self.scratch = itertools.count(1)
        self.connections = self.rng.choice((1, 1, 2)) if room.threads > 1 and room.play is None else 1
        self.server_named: set[str] = set()
        self.timers: list[Any] = []
        self._healing = threading.Lock()
        self.prefix = prefix

    # ---- the beginning ----

    def begin(self) -> None:
        """Makes the queues, over a connection that nothing happens to."""
        self.observer = pika.BlockingConnection(self.target.parameters(observer=True))
        self.watch = self.observer.channel()
        for queue in [*self.queues, self.lossy_queue]:
            self.watch.queue_declare(queue, arguments={"x-expires": 120_000})
        limits = {"x-max-length": 0, "x-overflow": "reject-publish", "x-expires": 120_000}
        self.watch.queue_declare(self.refusing_queue, arguments=limits)

    def connect(self, actor: Actor, **options: Any) -> Link:
        """A connection of the round."""
        options.setdefault("heartbeat", 2 if self.target.control is not None else HEARTBEAT_SECONDS)
        parameters = self.target.parameters(**options)
        connection = actor.call("BlockingConnection", pika.BlockingConnection, parameters)
        link = Link(self, f"c{len(self.links) + 1}", connection)
        topology.watch_blocked(self, link)
        self.links.append(link)
        return link

    def open_line(self, actor: Actor, link: Link, confirms: bool) -> Line:
        """A channel of the round."""
        channel = actor.call("channel", link.connection.channel, link=link)
        for line in link.lines:
            if not line.ending and line.channel.is_open and line.channel.channel_number == int(channel):
                self.report.violation("a channel number twice", f"{channel!r} and {line.channel!r}")
        line = Line(link, channel, confirms)
        line.intact = not self.room.endings
        line.private = True
        link.lines.append(line)
        self.all_lines.append(line)
        if confirms:
            actor.call("confirm_delivery", channel.confirm_delivery, link=link)
        channel.add_on_return_callback(self.on_return)
        line.private = False
        return line

    def on_return(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        """The callback of all channels for what comes back."""
        self.ledger.look_up(body)

    def pick_line(
        self,
        actor: Actor,
        other_than: Line | None = None,
        that: Callable[[Line], bool] = lambda line: True,
    ) -> Line | None:
        """A channel that is open, as far as the model knows."""
        lines = [
            line
            for line in self.all_lines
            if not (line.private or line.ending or line.link.ending or line is other_than)
            and threading.get_ident() not in line.blocks
            and that(line)
        ]
        if self.room.endings and actor.rng.random() < 0.05:
            lines = [line for line in self.all_lines if line.ending] or lines
        return actor.rng.choice(lines) if lines else None

    def heal(self, actor: Actor) -> None:
        """Sees to it that there is a connection with two channels."""
        if not self._healing.acquire(blocking=False):
            return
        try:
            for line in self.all_lines:
                if not line.channel.is_open and not line.ending and (self.room.endings or line.link.ending):
                    line.ending = True
            links = [link for link in self.links if not link.ending and link.connection.is_open]
            while len(links) < self.connections:
                links.append(self.connect(actor))
            for link in links:
                while sum(not (line.ending or line.private) for line in link.lines) < 2:
                    self.open_line(actor, link, actor.rng.random() < 0.7)
        except exceptions.AMQPError as error:
            actor.judge(error, None, "connecting")
        finally:
            self._healing.release()

    def free_consumers(self, actor: Actor) -> None:
        """Ends every start_consuming that a consumer added at the same time has kept going."""
        for line in self.all_lines:
            if not line.starting:
                continue
            tags = list(line.subscriptions.values())
            line.subscriptions.clear()
            line.note_lossy(tags)
            try:
                actor.call("stop_consuming", line.channel.stop_consuming, link=line.link)
            except Exception as error:
                actor.judge(error, line, "stop_consuming")

    # ---- on the way ----

    def is_interrupt(self, error: BaseException) -> bool:
        """Whether a signal handler of the round raised it."""
        return self.interrupts is not None and self.interrupts.owns(error)

    def lost(self, link: Link, error: BaseException) -> None:
        """A call has said why the connection ended: all others have to end soon."""
        if link.reason is None:
            link.reason = error
        link.ending = True
        for line in link.lines:
            line.spoil()
        for running in list(self.report.running.values()):
            if running.link is link:
                running.deadline = min(running.deadline, time.monotonic() + LIMIT_AFTER_LOSS)

    def actor(self) -> Actor:
        """The actor of this thread; made where a callback runs in a thread that has none."""
        found: Actor | None = getattr(self.local, "actor", None)
        if found is None:
            found = Actor(self, f"thread-{threading.get_ident()}")
            self.local.actor = found
        return found

    # ---- the reckoning ----

    def finish(self, actor: Actor) -> None:
        """All threads are through: settles what is held, and counts what is in the queues."""
        self.over.set()
        if self.target.control is not None:
            self.target.control("calm")
        self.look_at_reasons(actor)
        for line in self.all_lines:
            self.let_go(actor, line)
        self.look_at_timers(actor)
        found = {queue: self.drain(queue) for queue in [*self.queues, self.lossy_queue]}
        control = self.target.control
        holders = control("holders") | control("frames") if control is not None else None
        missing = {queue: self.ledger.expected(queue) - found[queue] for queue in found}
        for link in self.links:
            self.close(actor, link)
        for queue, numbers in missing.items():
            if not numbers or queue in self.ledger.lossy:
                continue
            late = numbers & self.drain(queue, numbers, NOTICE_SECONDS)
            for kind, some in (("kept back until the connection closed", late), ("lost", numbers - late)):
                # An interrupt between engine and program leaves a message in nobody's hand until then.
                if some and not (some is late and self.interrupts is not None):
                    examples = [repr(self.ledger.messages[n]) for n in sorted(some)[:5]]
                    facts = {"messages": examples, "server": holders}
                    self.report.violation(kind, f"{len(some)} messages of {queue}", facts)
        with suppress(exceptions.AMQPError):
            for queue in [*self.queues, self.lossy_queue, self.refusing_queue]:
                self.watch.queue_delete(queue)
            self.observer.close()

    def look_at_reasons(self, actor: Actor) -> None:
        """Somebody was told why each connection ended, or the next to ask is: no call on a closed channel."""
        for link in self.links:
            if link.connection.is_open or link.ended_here or not link.errors or link.reason is not None:
                continue
            with suppress(exceptions.AMQPError):
                actor.dispatch(link, "process_data_events", link.connection.process_data_events, 0)
            if link.reason is None:
                self.report.violation(
                    "nobody was told the reason", f"{link.connection!r}: {link.errors!r:.500}"
                )

    def look_at_timers(self, actor: Actor) -> None:
        """What is due, and what was added from other threads, runs in one of the next dispatching calls."""
        for link in self.links:
            timers = [timer for timer in self.timers if timer.link is link and timer.sure]
            lost = self.interrupts.lost_callbacks if self.interrupts is not None else 0
            for _ in range(100):
                late = [timer.what for timer in timers if not timer.calls]
                if len(late) <= lost or not link.connection.is_open:
                    break
                try:
                    actor.dispatch(link, "process_data_events", link.connection.process_data_events, 0.02)
                except Exception as error:
                    actor.judge(error, None, "process_data_events")
            else:
                self.report.violation("a callback that never ran", f"{late[:5]}")

    def let_go(self, actor: Actor, line: Line) -> None:
        """Cancels what consumes and settles what is held on a channel; it stays open."""
        channel = line.channel
        try:
            for tag in channel.consumer_tags if channel.is_open else ():
                actor.call("basic_cancel", channel.basic_cancel, tag, link=line.link)
            if channel.is_open:
                actor.call("cancel", channel.cancel, link=line.link)
            for delivery in list(line.held.values()):
                if channel.is_open:
                    actor.call("basic_ack", channel.basic_ack, delivery.tag, link=line.link)
                    delivery.settled, delivery.message.gone = "ack", True
            line.held.clear()
            if channel.is_open:
                actor.call("basic_qos", channel.basic_qos, link=line.link)
        except exceptions.AMQPError as error:
            line.spoil()
            actor.judge(error, line, "at the end of the round")
        if not channel.is_open:
            line.spoil()
            if not (line.ending or line.link.ending or self.room.endings):
                self.report.violation("a channel is closed that nobody closed", repr(channel))

    def drain(self, queue: str, expect: set[int] | None = None, seconds: float = SETTLE_SECONDS) -> set[int]:
        """Takes everything out of a queue, and waits a while for what is expected and not there."""
        bodies: list[bytes] = []
        deadline = time.monotonic() + seconds
        while True:
            method, _, body = self.watch.basic_get(queue, auto_ack=True)
            if method is not None:
                bodies.append(body)
                continue
            numbers = {int(body.partition(b"|")[0]) for body in bodies}
            awaited = self.ledger.expected(queue) if expect is None else expect
            lossy = queue in self.ledger.lossy
            if lossy or awaited <= numbers or time.monotonic() > deadline:
                return self.ledger.found(queue, bodies)
            self.observer.sleep(0.02)

    def look_at_numbers(self, link: Link) -> None:
        """Where all channels are closed, the one that was opened since has the first number."""
        if any(line.channel.is_open for line in link.lines):
            return
        impl = link.connection._impl
        # An interrupt on the way out of `channel()` leaves an open channel in nobody's hand: CPython has
        # taken the result from the callee by then, and lets go of it before the caller has it.
        nobodys = self.interrupts.lost_results if self.interrupts is not None else 0
        if impl._numbers_taken or len(impl._open_channels) > 1 + nobodys:
            known = f"open {sorted(impl._open_channels)}, taken {sorted(impl._numbers_taken)}"
            self.report.violation("leaked channel numbers", f"all are closed; {known}, {nobodys} lost")

    def close(self, actor: Actor, link: Link) -> None:
        """Looks for leaked channel numbers, and closes a connection."""
        connection = link.connection
        if not connection.is_open:
            if not (link.ending or self.room.endings):
                self.report.violation("a connection is closed that nobody closed", repr(connection))
            return
        try:
            for line in link.lines:
                if line.channel.is_open:
                    line.ending = True
                    actor.call("close", line.channel.close, link=link)
            if not self.room.endings:
                actor.call("channel", connection.channel, link=link)
                self.look_at_numbers(link)
            link.ending = True
            actor.call("connection.close", connection.close, link=link)
        except exceptions.AMQPError as error:
            actor.judge(error, None, "closing at the end of the round")
        if connection.is_open:
            self.report.violation("still open after close()", repr(connection))
