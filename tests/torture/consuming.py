"""Operations that take messages: callbacks, `consume()`, basic_get; and what callbacks do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .actor import CallbackError
from .ledger import UNKNOWN, Delivery
from .lines import Line, Link, Subscription
from .publishing import fail

if TYPE_CHECKING:
    from .actor import Actor
    from .world import World

SHORT = 0.02  # seconds; of dispatching calls
SETTLED = 0.5  # a thread that has been in start_consuming so long is the one that dispatches its channel


class InCallback:
    """The time that a callback of the library's takes: where, when and how often it may.

    :param line: of its channel; None for one of the connection's
    """

    def __init__(self, world: World, link: Link, line: Line | None, what: str) -> None:
        self.actor = world.actor()
        self.link, self.line, self.what = link, line, what
        self.report = world.report

    def __enter__(self) -> Actor:
        me, complain = threading.get_ident(), self.report.violation
        self.me = me
        self.actor.inside += 1
        self.actor.journal.note(f"{'  ' * self.actor.inside}[{self.what}")
        if not self.link.dispatching.get(me):
            complain("callback outside of a dispatching call", self.what, stacks=True)
        if self.link.callback_of.get(me):
            complain("callback inside a callback", f"{self.what} in {self.link.callback_of[me]}", stacks=True)
        self.outer, self.link.callback_of[me] = self.link.callback_of.get(me, ""), self.what
        if self.line is not None:
            if self.line.callback_in not in (None, me):
                complain("callbacks of one channel in two threads", self.what, stacks=True)
            self.line.callback_in = me
            self.look_at_whose_it_is(me)
        return self.actor

    def look_at_whose_it_is(self, me: int) -> None:
        """A channel that some thread dispatches is dispatched by no other, but for one in consume() on it."""
        assert self.line is not None
        if me == self.line.reader:
            return
        for ident, since in list(self.line.starting.items()):
            if ident != me and me not in self.line.starting and time.monotonic() - since > SETTLED:
                text = f"{self.what} ran in another thread than the one in start_consuming() on its channel"
                self.report.violation("a message went to another dispatcher", text, stacks=True)

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        self.actor.inside -= 1
        self.link.callback_of[self.me] = self.outer
        if self.line is not None:
            self.line.callback_in = None
        self.actor.journal.note(f"{'  ' * self.actor.inside} ]{self.what} {error!r:.100}")
        if error is not None:
            self.actor.raised = self.actor.let_out = error


def receiver(world: World, subscription: Subscription) -> Callable[..., None]:
    """A consumer's callback."""

    def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        line = subscription.line
        what = f"message {body[:8]!r} tag {method.delivery_tag} of {line.name}"
        with InCallback(world, line.link, line, what) as actor:
            tag = subscription.tag  # once: the thread that consumes may be about to note it
            if tag and method.consumer_tag != tag:
                world.report.violation("a message of another consumer", f"{method!r}, {tag}")
            reader = (line.name, method.consumer_tag)
            delivery = world.ledger.delivered(
                body, subscription.queue, method, line, reader, subscription.auto_ack
            )
            line.hold(delivery)
            line.progress += 1
            world.room.in_callback(actor, line, delivery)

    return on_message


# ---- settling ----


def settle(actor: Actor, delivery: Delivery, how: str = "") -> None:
    """Ack, nack or reject of a message in hand."""
    line = delivery.line
    if line.held.pop(delivery.tag, None) is None:
        return
    how = how or actor.rng.choices(("ack", "requeue", "reject", "drop"), (8, 1, 1, 1))[0]
    delivery.settled = UNKNOWN
    channel, tag = line.channel, delivery.tag
    try:
        if how == "ack":
            actor.call("basic_ack", channel.basic_ack, tag, link=line.link)
        elif how == "requeue":
            actor.call("basic_nack", channel.basic_nack, tag, link=line.link)
        else:
            actor.call("basic_reject", channel.basic_reject, tag, requeue=how == "reject", link=line.link)
    except BaseException as error:
        fail(actor, line, error, f"basic_{how}")
        return
    delivery.settled = how
    if how in ("ack", "drop"):
        delivery.message.gone = True


def settle_some(actor: Actor) -> None:
    """Settles what was held on to."""
    line = actor.world.pick_line(actor)
    for delivery in list(line.held.values())[: actor.rng.randrange(1, 6)] if line is not None else ():
        settle(actor, delivery)


# ---- consumers ----


def consume(actor: Actor, line: Line | None = None) -> None:
    """basic_consume: the answer names the tag that was asked for."""
    world, rng = actor.world, actor.rng
    line = line or world.pick_line(actor)
    if line is None or len(line.subscriptions) > 3 or line.starting:
        return
    auto_ack = rng.random() < 0.2
    subscription = Subscription(line, world.lossy_queue if auto_ack else rng.choice(world.queues), auto_ack)
    tag = f"tag-{actor.name}-{rng.randrange(1 << 40)}" if rng.random() < 0.5 else None
    subscription.tag = tag or ""
    callback = receiver(world, subscription)
    channel = line.channel
    try:
        options: dict[str, Any] = {"auto_ack": auto_ack, "consumer_tag": tag}
        got = actor.call(
            "basic_consume", channel.basic_consume, subscription.queue, callback, link=line.link, **options
        )
    except BaseException as error:
        if auto_ack:
            world.ledger.lossy.add(subscription.queue)
        fail(actor, line, error, "basic_consume")
        return
    if tag is not None and got != tag:
        world.report.violation("an answer to another question", f"basic_consume of {tag} returned {got}")
    subscription.tag = got
    line.subscriptions[got] = subscription


def cancel(actor: Actor, line: Line | None = None) -> None:
    """basic_cancel of one consumer, or stop_consuming of all."""
    world, rng = actor.world, actor.rng
    line = line or world.pick_line(actor)
    if line is None or not line.subscriptions:
        return
    tag = rng.choice(sorted(line.subscriptions, key=str))
    subscription = line.subscriptions.pop(tag, None)
    if subscription is None:
        return
    try:
        if rng.random() < 0.3:
            actor.call("stop_consuming", line.channel.stop_consuming, tag, link=line.link)
            if subscription.auto_ack:
                world.ledger.lossy.add(subscription.queue)
            return
        rest = actor.call("basic_cancel", line.channel.basic_cancel, tag, link=line.link)
    except BaseException as error:
        if subscription.auto_ack:
            world.ledger.lossy.add(subscription.queue)
        fail(actor, line, error, "basic_cancel")
        return
    if rest and not subscription.auto_ack:
        world.report.violation(
            "basic_cancel returned messages", f"{len(rest)} of a consumer that acknowledges"
        )
    for method, _, body in rest:
        world.ledger.delivered(body, subscription.queue, method, line, (line.name, tag), True)


def generate(actor: Actor, line: Line | None = None, messages: int | None = None) -> None:
    """consume() for some messages, then cancel()."""
    world, rng = actor.world, actor.rng
    line = line or world.pick_line(actor)
    if line is None:
        return
    with line.lock:
        if line.generating:
            return
        line.generating = line.iterating = True
        line.reader = threading.get_ident()
    queue = rng.choice(world.queues)
    try:
        channel = line.channel
        source = channel.consume(queue, inactivity_timeout=SHORT)
        for _ in range(messages or rng.randrange(1, 6)):
            item = actor.dispatch(line.link, "next(consume())", next, source, None)
            if item is None or item[0] is None:
                continue
            method, _, body = item
            reader = (line.name, method.consumer_tag)
            delivery = world.ledger.delivered(body, queue, method, line, reader, False)
            line.hold(delivery)
            if delivery is not None and rng.random() < 0.9:
                settle(actor, delivery)
        actor.call("cancel", channel.cancel, link=line.link)
    except CallbackError:
        raise
    except BaseException as error:
        fail(actor, line, error, "consume")
        return
    finally:
        line.iterating = False
        line.reader = None
    line.generating = False


def fetch_answer(actor: Actor) -> None:
    """A queue of one's own with one message in it: consume() without a timeout has to give it."""
    world = actor.world
    line = world.pick_line(actor, that=lambda line: not line.generating)
    if line is None:
        return
    with line.lock:
        if line.generating:
            return
        line.generating = line.iterating = True
        line.reader = threading.get_ident()
    name = f"{world.prefix}-scratch-{next(world.scratch)}"
    channel, link = line.channel, line.link
    try:
        arguments = {"x-expires": 60_000}
        actor.call("queue_declare", channel.queue_declare, name, arguments=arguments, link=link)
        actor.call("basic_publish", channel.basic_publish, "", name, b"answer", link=link)
        source = channel.consume(name, auto_ack=True)
        item = actor.dispatch(link, "next(consume())", next, source, None)
        # None: somebody has ended all consumers of the channel meanwhile.
        if item is not None and item[2] != b"answer":
            world.report.violation("an answer to another question", f"consume of {name}: {item!r}")
        actor.call("cancel", channel.cancel, link=link)
        actor.call("queue_delete", channel.queue_delete, name, link=link)
    except CallbackError:
        raise
    except BaseException as error:
        fail(actor, line, error, "consume")
        return
    finally:
        line.iterating = False
        line.reader = None
    line.generating = False


def end_generator(actor: Actor) -> None:
    """cancel() of a consume() that was left by an exception."""
    line = actor.world.pick_line(actor, that=lambda line: not line.iterating)
    if line is None:
        return
    try:
        actor.call("cancel", line.channel.cancel, link=line.link)
    except BaseException as error:
        fail(actor, line, error, "cancel")
        return
    if not line.iterating:
        line.generating = False


def get(actor: Actor, line: Line | None = None) -> None:
    """basic_get: a message of the queue that was asked for."""
    world, rng = actor.world, actor.rng
    line = line or world.pick_line(actor)
    if line is None:
        return
    auto_ack = rng.random() < 0.2
    queue = world.lossy_queue if auto_ack else rng.choice(world.queues)
    try:
        answer = actor.call("basic_get", line.channel.basic_get, queue, auto_ack, link=line.link)
    except BaseException as error:
        if auto_ack:
            world.ledger.lossy.add(queue)
        fail(actor, line, error, "basic_get")
        return
    method, _, body = answer
    if method is None:
        return
    reader = (line.name, "get", actor.name, actor.inside)
    delivery = world.ledger.delivered(body, queue, method, line, reader, auto_ack)
    line.hold(delivery)
    if delivery is not None and rng.random() < 0.9:
        settle(actor, delivery)


def recover(actor: Actor) -> None:
    """A channel of its own: basic_recover gives back what it holds."""
    world = actor.world
    link = actor.rng.choice(world.links)
    line = world.open_line(actor, link, confirms=False)
    line.private = True
    try:
        for _ in range(3):
            get(actor, line)
        held = list(line.held.values())
        line.held.clear()
        for delivery in held:
            delivery.settled = UNKNOWN
        actor.call("basic_recover", line.channel.basic_recover, requeue=True, link=link)
        for delivery in held:
            delivery.settled = "requeue"
        line.ending = True
        actor.call("close", line.channel.close, link=link)
    except BaseException as error:
        fail(actor, line, error, "basic_recover")


# ---- dispatching ----


def dispatch(actor: Actor) -> None:
    """process_data_events or sleep."""
    rng = actor.rng
    link = rng.choice(actor.world.links)
    connection = link.connection
    try:
        if rng.random() < 0.3:
            actor.dispatch(link, "sleep", connection.sleep, SHORT * rng.random())
        else:
            limit = rng.choice((0, 0, SHORT, SHORT))
            actor.dispatch(link, "process_data_events", connection.process_data_events, limit)
    except CallbackError:
        raise
    except Exception as error:
        if actor.world.is_interrupt(error):
            raise
        actor.judge(error, None, "process_data_events")


def start_consuming(actor: Actor) -> None:
    """start_consuming, which a timer, a callback or another thread ends."""
    line = actor.world.pick_line(actor)
    if line is None or not line.subscriptions or line.starting:
        return
    link = line.link
    me = threading.get_ident()

    def stop() -> None:
        with InCallback(actor.world, link, None, f"stop_consuming of {line.name}") as there:
            tags = list(line.subscriptions.values())
            line.subscriptions.clear()
            line.note_lossy(tags)
            try:
                there.call("stop_consuming", line.channel.stop_consuming, link=link)
            except BaseException as error:
                fail(there, line, error, "stop_consuming")

    try:
        if actor.rng.random() < 0.5:
            actor.call("call_later", link.connection.call_later, SHORT, stop, link=link)
        else:
            actor.call("add_callback_threadsafe", link.connection.add_callback_threadsafe, stop, link=link)
        line.starting[me] = time.monotonic()
        actor.dispatch(link, "start_consuming", line.channel.start_consuming)
    except CallbackError:
        raise
    except ValueError:  # call_later on a closed connection says so
        if link.connection.is_open:
            raise
    except BaseException as error:
        fail(actor, line, error, "start_consuming")
    finally:
        line.starting.pop(me, None)
