"""Operations that publish: one by one, in blocks, many at once, in transactions; and what each must say."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from support.subject import exceptions, pika

from .actor import Actor, invoke_block
from .ledger import CONFIRMED, REFUSED, RETURNED, SENT, UNKNOWN, WITHDRAWN, Message

if TYPE_CHECKING:
    from .lines import Line

SIZES = (0, 0, 10, 10, 10, 500, 5000, 20_000, 140_000)
ROUTED, UNROUTABLE, REFUSING = "routed", "unroutable", "refusing"


class Outgoing:
    """A message on its way: what it is, and what the broker has to do with it."""

    def __init__(self, actor: Actor, line: Line, fate: str = "", queue: str = "", source: str = "") -> None:
        rng, world = actor.rng, actor.world
        if not fate:
            fate = rng.choices((ROUTED, UNROUTABLE, REFUSING), (8, 1, 1 if line.confirms else 0))[0]
        self.fate = fate
        self.mandatory = fate == UNROUTABLE or rng.random() < 0.5
        if fate == ROUTED:
            queue = queue or rng.choice(world.queues)
        else:
            queue = f"{world.prefix}-nowhere" if fate == UNROUTABLE else world.refusing_queue
        source = f"{source or actor.name} on {line.name}"
        self.message = world.ledger.begin(queue, source, rng.choice(SIZES), line)
        self.properties = (
            pika.BasicProperties(message_id=str(self.message.number)) if rng.random() < 0.5 else None
        )

    @property
    def as_tuple(self) -> tuple[Any, ...]:
        """As `publish_many` takes it."""
        return "", self.message.queue, self.message.body, self.properties, self.mandatory

    def settle(self, line: Line, returned: bool = False, refused: bool = False) -> None:
        """The call that published it has returned, or raised an error that names it."""
        if returned:
            self.message.state = RETURNED
        elif refused:
            self.message.state = REFUSED
        elif self.fate == ROUTED:
            self.message.state = CONFIRMED if line.confirms else SENT
        else:
            self.message.state = UNKNOWN

    def doubt(self) -> None:
        """The call was interrupted, or failed for another reason."""
        self.message.state = UNKNOWN


def publish(actor: Actor, line: Line | None = None, source: str = "", fate: str = "") -> None:
    """basic_publish: returns when it must, raises UnroutableError or NackError when it must."""
    line = line or actor.world.pick_line(actor)
    if line is None:
        return
    out = Outgoing(actor, line, fate, source=source)
    try:
        actor.call("basic_publish", line.channel.basic_publish, *out.as_tuple, link=line.link)
    except exceptions.UnroutableError as error:
        out.settle(line, returned=True)
        bodies = [message.body for message in error.messages]
        if out.fate != UNROUTABLE or bodies != [out.message.body]:
            complain_of_answer(actor, "UnroutableError", out, [body[:20] for body in bodies])
        return
    except exceptions.NackError:
        out.settle(line, refused=True)
        if out.fate != REFUSING:
            complain_of_answer(actor, "NackError", out, None)
        return
    except BaseException as error:
        out.doubt()
        fail(actor, line, error, "basic_publish")
        return
    out.settle(line)
    if line.confirms and out.fate != ROUTED:
        complain_of_answer(actor, "nothing", out, None)


def complain_of_answer(actor: Actor, said: str, out: Outgoing, facts: Any) -> None:
    text = f"{out.message!r} is {out.fate}, basic_publish raised {said}"
    actor.world.report.violation("a confirm that is not true", text, facts)


def fail(actor: Actor, line: Line, error: BaseException, what: str) -> None:
    """An operation on a channel has failed: goes on raising, or complains, or is content."""
    world = actor.world
    if world.is_interrupt(error):
        line.interrupted_by(error)
        raise error
    if not isinstance(error, Exception):
        raise error
    if not line.channel.is_open or not line.link.connection.is_open:
        line.spoil()
    actor.judge(error, line, what)


def buffered(actor: Actor, line: Line | None = None, source: str = "") -> None:
    """A block of `buffered()`; its end names just those that did not arrive."""
    line = line or actor.world.pick_line(actor)
    if line is None:
        return
    outgoing: list[Outgoing] = []
    block = line.channel.buffered(max_bytes=actor.rng.choice((1, 200, 65536)))
    line.blocks.add(threading.get_ident())

    def step() -> None:
        out = Outgoing(actor, line, source=source)
        outgoing.append(out)
        actor.call("basic_publish", line.channel.basic_publish, *out.as_tuple, link=line.link)

    try:
        steps = [step] * actor.rng.randrange(12)
        actor.call("with buffered", invoke_block, block, steps, link=line.link)
    except BaseException as error:
        judge_many(actor, line, outgoing, error, "buffered")
        return
    finally:
        line.blocks.discard(threading.get_ident())
    judge_many(actor, line, outgoing, None, "buffered")


def abandon_block(actor: Actor) -> None:
    """A thread ends inside buffered(): the publishes of a later one, whatever its number, are its own."""
    line = actor.world.pick_line(actor, that=lambda line: line.confirms)
    if line is None:
        return
    block = line.channel.buffered()

    def enter() -> None:
        with suppress(exceptions.AMQPError):
            block.__enter__()

    def check() -> None:
        other = Actor(actor.world, f"{actor.name}-after-a-block-{actor.steps}")
        actor.world.local.actor = other
        other.step(lambda other: publish(other, line, fate=UNROUTABLE))

    for function in (enter, check):
        thread = threading.Thread(target=function)
        thread.start()
        thread.join()


def publish_many(actor: Actor, line: Line | None = None, source: str = "") -> None:
    """publish_many: counts them, or names just those that did not arrive."""
    line = line or actor.world.pick_line(actor)
    if line is None:
        return
    outgoing: list[Outgoing] = []
    total = actor.rng.randrange(1, 25)

    def messages() -> Iterator[tuple[Any, ...]]:
        # As it goes: after a refusal no more are taken.
        for _ in range(total):
            outgoing.append(Outgoing(actor, line, source=source))
            yield outgoing[-1].as_tuple

    window = actor.rng.choice((1, 3, 1024))
    line.blocks.add(threading.get_ident())
    try:
        count = actor.call("publish_many", line.channel.publish_many, messages(), window, link=line.link)
    except BaseException as error:
        judge_many(actor, line, outgoing, error, "publish_many")
        return
    finally:
        line.blocks.discard(threading.get_ident())
    if count != total or len(outgoing) != total:
        actor.world.report.violation("publish_many miscounts", f"{count} of {total}, took {len(outgoing)}")
    judge_many(actor, line, outgoing, None, "publish_many")


def judge_many(
    actor: Actor, line: Line, outgoing: list[Outgoing], error: BaseException | None, what: str
) -> None:
    """Settles what was published together."""
    bad = [n for n, out in enumerate(outgoing) if out.fate != ROUTED] if line.confirms else []
    named: list[int] = []
    if error is not None:
        if not isinstance(error, (exceptions.UnroutableError, exceptions.NackError)):
            for out in outgoing:
                out.doubt()
            fail(actor, line, error, what)
            return
        named = list(getattr(error, "indexes", [-1]))
    if sorted(named) != bad:
        fates = [out.fate for out in outgoing]
        text = f"{what} raised {error!r} with indexes {named}; those that cannot arrive: {bad}"
        actor.world.report.violation("wrong indexes of refusals", text, fates)
        for out in outgoing:
            out.doubt()
        return
    for number, out in enumerate(outgoing):
        is_bad = number in bad
        out.settle(line, returned=is_bad and out.fate == UNROUTABLE, refused=is_bad and out.fate == REFUSING)
    if isinstance(error, exceptions.UnroutableError):
        expected = [outgoing[n].message.body for n in named]
        if [message.body for message in error.messages] != expected:
            actor.world.report.violation("wrong messages of refusals", f"{what}: {named}")


def transaction(actor: Actor) -> None:
    """A channel of its own: what was rolled back is nowhere, what was committed is in its queue."""
    world = actor.world
    link = actor.rng.choice(world.links)
    line = None
    messages: list[Message] = []
    try:
        line = world.open_line(actor, link, confirms=False)
        line.private = True
        channel = line.channel
        actor.call("tx_select", channel.tx_select, link=link)
        for _ in range(actor.rng.randrange(1, 4)):
            messages.append(world.ledger.begin(actor.rng.choice(world.queues), f"{line.name} tx", 10, line))
            messages[-1].state = WITHDRAWN
            arguments = "", messages[-1].queue, messages[-1].body
            actor.call("basic_publish", channel.basic_publish, *arguments, link=link)
        if actor.rng.random() < 0.5:
            actor.call("tx_rollback", channel.tx_rollback, link=link)
        else:
            set_all(messages, UNKNOWN)
            actor.call("tx_commit", channel.tx_commit, link=link)
            set_all(messages, CONFIRMED)
        line.ending = True
        actor.call("close", channel.close, link=link)
    except BaseException as error:
        if line is None:
            raise
        fail(actor, line, error, "transaction")


def set_all(messages: list[Message], state: str) -> None:
    for message in messages:
        message.state = state
