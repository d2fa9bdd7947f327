"""A room: the server sends messages and then ends the connection, all at once.

Callbacks publish and acknowledge meanwhile.  Each message that came is dispatched, in its order, and then the
reason is raised: by the dispatching call, or by a callback's publish or ack.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

from support.subject import exceptions

from .consuming import InCallback

if TYPE_CHECKING:
    from .actor import Actor
    from .world import World

MESSAGES = 30
LIMIT = 5.0


def play(world: World, actor: Actor) -> None:
    """A few connections, one after the other."""
    for number in range(5):
        rng = random.Random(f"{world.key} {number}")
        world.heal(actor)
        farewell(world, actor, rng)


def farewell(world: World, actor: Actor, rng: random.Random) -> None:
    """One connection and its end."""
    link = next(link for link in world.links if not link.ending)
    line = next(line for line in link.lines if not line.private)
    channel, queue, seen, told = line.channel, world.queues[0], [], []
    how = rng.choice(("close", "end", "close and end"))
    # After a failed write nothing may be read from a TLS stream any more.
    what = rng.choice(("nothing",) if world.target.authority else ("ack", "publish", "nothing"))
    auto_ack = what != "ack"

    def on_message(_: Any, method: Any, properties: Any, body: bytes) -> None:
        with InCallback(world, link, line, f"message {body!r}") as there:
            seen.append(int(body))
            if told:
                return
            try:
                if what == "ack":
                    there.call("basic_ack", channel.basic_ack, method.delivery_tag, link=link)
                elif what == "publish":
                    there.call("basic_publish", channel.basic_publish, "", queue, b"x" * 100, link=link)
            except exceptions.AMQPError as error:
                told.append(error)

    assert world.target.control is not None
    link.ending = link.ended_here = True  # by the server, at our wish: nothing on this connection is sure
    line.spoil()
    world.target.control("farewell", how=how, messages=MESSAGES)
    try:
        actor.call("basic_consume", channel.basic_consume, queue, on_message, auto_ack=auto_ack, link=link)
        end = time.monotonic() + LIMIT
        while time.monotonic() < end:
            actor.dispatch(link, "process_data_events", link.connection.process_data_events, 1)
    except exceptions.AMQPError as error:
        told.append(error)
    judge(world, how, what, seen, told)


def judge(world: World, how: str, what: str, seen: list[int], told: list[Any]) -> None:
    """Complains unless all came, and then the reason."""
    case = f"the server sent {MESSAGES} messages and {how}; callbacks did {what}"
    if seen != list(range(MESSAGES)):
        world.report.violation("messages before the end were not dispatched", f"{case}; seen {seen}")
    expected = exceptions.StreamLostError if how == "end" else exceptions.ConnectionClosedByBroker
    if not told or not isinstance(told[0], expected):
        # An ack or a publish may meet the reset that follows an end of file.
        text = f"{case}; raised {told!r}, expected {expected.__name__}"
        world.report.violation("the reason of the end was not told", text)
