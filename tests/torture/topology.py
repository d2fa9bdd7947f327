"""Operations on queues, exchanges, channels, timers, the connection; each answer to its question."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from .consuming import InCallback
from .publishing import fail

if TYPE_CHECKING:
    from .actor import Actor
    from .lines import Line, Link
    from .world import World


def differ(actor: Actor, what: str, asked: object, got: object) -> None:
    """Complains where an answer belongs to another question."""
    if asked != got:
        text = f"{what}: asked for {asked!r}, the answer is {got!r}"
        actor.world.report.violation("an answer to another question", text)


def passive_declare(actor: Actor, line: Line | None = None) -> None:
    """queue_declare of a queue that is there."""
    line = line or actor.world.pick_line(actor)
    if line is None:
        return
    queue = actor.rng.choice(actor.world.queues)
    try:
        answer = actor.call("queue_declare", line.channel.queue_declare, queue, passive=True, link=line.link)
    except BaseException as error:
        fail(actor, line, error, "queue_declare")
        return
    differ(actor, "queue_declare", queue, answer.method.queue)


def qos(actor: Actor) -> None:
    """basic_qos."""
    line = actor.world.pick_line(actor)
    if line is None:
        return
    try:
        count = actor.rng.choice((0, 1, 3, 20))
        actor.call("basic_qos", line.channel.basic_qos, prefetch_count=count, link=line.link)
    except BaseException as error:
        fail(actor, line, error, "basic_qos")


def queue_life(actor: Actor) -> None:
    """A queue of its own: made, bound, filled, purged, deleted."""
    world, rng = actor.world, actor.rng
    line = world.pick_line(actor)
    if line is None:
        return
    name = f"{world.prefix}-scratch-{next(world.scratch)}"
    channel, link = line.channel, line.link
    arguments = {"x-expires": 60_000}
    try:
        answer = actor.call("queue_declare", channel.queue_declare, name, arguments=arguments, link=link)
        differ(actor, "queue_declare", name, answer.method.queue)
        actor.call("queue_bind", channel.queue_bind, name, "amq.direct", name, link=link)
        count = rng.randrange(3)
        for _ in range(count):
            actor.call("basic_publish", channel.basic_publish, "amq.direct", name, b"scratch", link=link)
        actor.call("queue_unbind", channel.queue_unbind, name, "amq.direct", name, link=link)
        answer = actor.call("queue_purge", channel.queue_purge, name, link=link)
        differ(actor, "queue_purge", count, answer.method.message_count)
        actor.call("queue_delete", channel.queue_delete, name, link=link)
    except BaseException as error:
        fail(actor, line, error, "the life of a queue")


def exchange_life(actor: Actor) -> None:
    """An exchange of its own: made, bound, deleted."""
    world = actor.world
    line = world.pick_line(actor)
    if line is None:
        return
    name = f"{world.prefix}-exchange-{next(world.scratch)}"
    channel, link = line.channel, line.link
    try:
        actor.call("exchange_declare", channel.exchange_declare, name, auto_delete=True, link=link)
        actor.call("exchange_bind", channel.exchange_bind, name, "amq.direct", "key", link=link)
        actor.call("exchange_unbind", channel.exchange_unbind, name, "amq.direct", "key", link=link)
        actor.call("exchange_delete", channel.exchange_delete, name, link=link)
    except BaseException as error:
        fail(actor, line, error, "the life of an exchange")


def server_named(actor: Actor) -> None:
    """queue_declare of '': two answers never name the same queue."""
    line = actor.world.pick_line(actor)
    if line is None:
        return
    try:
        answer = actor.call("queue_declare", line.channel.queue_declare, "", exclusive=True, link=line.link)
        name = answer.method.queue
        if not name.startswith("amq.gen") or name in actor.world.server_named:
            differ(actor, "queue_declare", "a new name", name)
        actor.world.server_named.add(name)
        actor.call("queue_delete", line.channel.queue_delete, name, link=line.link)
    except BaseException as error:
        fail(actor, line, error, "queue_declare")


# ---- channels ----


def open_line(actor: Actor) -> None:
    """A channel more, up to some."""
    world = actor.world
    link = actor.rng.choice(world.links)
    if sum(not line.ending for line in link.lines) < 8 and not link.ending:
        world.open_line(actor, link, actor.rng.random() < 0.5)


def close_line(actor: Actor) -> None:
    """close() of a channel that others may be using."""
    world = actor.world
    lines = [line for line in world.all_lines if not line.ending and not line.private]
    if len(lines) < 3:
        return
    line = actor.rng.choice(lines)
    line.ending = True
    line.note_lossy(list(line.subscriptions.values()))
    try:
        actor.call("close", line.channel.close, link=line.link)
    except BaseException as error:
        fail(actor, line, error, "close")
        return
    if line.channel.is_open:
        world.report.violation("still open after close()", repr(line.channel))


def provoke(actor: Actor) -> None:
    """A passive declare of a queue that is not there: the broker closes the channel."""
    world = actor.world
    lines = [line for line in world.all_lines if not line.ending and not line.private]
    if len(lines) < 3:
        return
    line = actor.rng.choice(lines)
    line.ending = True
    line.spoil()
    name = f"{world.prefix}-missing"
    try:
        actor.call("queue_declare", line.channel.queue_declare, name, passive=True, link=line.link)
    except BaseException as error:
        fail(actor, line, error, "queue_declare")
        return
    world.report.violation("an answer to another question", f"{name} is not there, but was declared")


def update_secret(actor: Actor) -> None:
    """update_secret of a connection."""
    link = actor.rng.choice(actor.world.links)
    try:
        actor.call("update_secret", link.connection.update_secret, "guest", "torture", link=link)
    except Exception as error:
        if actor.world.is_interrupt(error):
            raise
        actor.judge(error, None, "update_secret")


# ---- timers ----


class Timer:
    """A callback that has to be called once: a timer, or a thread-safe callback."""

    def __init__(self, world: World, link: Link, delay: float | None) -> None:
        self.world, self.link = world, link
        self.due = time.monotonic() + (delay or 0.0)
        self.what = "a thread-safe callback" if delay is None else f"a timer of {delay:.3f} s"
        self.calls = 0
        self.removed = False
        self.sure = False  # the call that made it has returned

    def __call__(self) -> None:
        report = self.world.report
        with InCallback(self.world, self.link, None, self.what):
            self.calls += 1
            if self.calls > 1:
                report.violation("a timer called twice", self.what)
            if time.monotonic() < self.due - 0.002:
                report.violation("a timer called early", self.what)
            if self.removed and self.world.room.threads == 1:
                report.violation("a timer called after its removal", self.what)


def later(actor: Actor) -> None:
    """call_later, sometimes remove_timeout; add_callback_threadsafe."""
    world, rng = actor.world, actor.rng
    link = rng.choice(world.links)
    delay = rng.choice((None, 0.0, 0.0, rng.random() * 0.02))
    timer = Timer(world, link, delay)
    world.timers.append(timer)
    connection = link.connection
    try:
        if delay is None:
            actor.call("add_callback_threadsafe", connection.add_callback_threadsafe, timer, link=link)
        else:
            ident = actor.call("call_later", connection.call_later, delay, timer, link=link)
        timer.sure = True
        if delay is not None and rng.random() < 0.3:
            timer.sure = False
            actor.call("remove_timeout", connection.remove_timeout, ident, link=link)
            timer.removed = True
    except ValueError:  # call_later on a closed connection
        if connection.is_open:
            raise
    except Exception as error:
        if world.is_interrupt(error):
            raise
        actor.judge(error, None, "add_callback_threadsafe")


def watch_blocked(world: World, link: Link) -> None:
    """Callbacks for Connection.Blocked and Unblocked: they take turns."""
    state: dict[str, Any] = {"last": ""}

    def note(kind: str) -> Any:
        def callback(connection: Any, frame: Any) -> None:
            with InCallback(world, link, None, kind):
                if connection is not link.connection or frame.method.NAME != f"Connection.{kind}":
                    world.report.violation("a callback for something else", f"{kind}: {frame!r}")
                state["last"] = kind

        return callback

    link.connection.add_on_connection_blocked_callback(note("Blocked"))
    link.connection.add_on_connection_unblocked_callback(note("Unblocked"))
