"""A thread of a round: every call it makes is written down, bounded in time, and judged."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from support.subject import exceptions

from .report import LIMIT, Journal, Running

if TYPE_CHECKING:
    from .lines import Line, Link
    from .world import World

LIMIT_AFTER_LOSS = 5.0  # and once its connection is known to be lost
SHOWN = 120  # characters of a value in the journal

REASONS = (
    exceptions.StreamLostError,
    exceptions.ConnectionClosedByBroker,
    exceptions.AMQPHeartbeatTimeout,
    exceptions.ConnectionBlockedTimeout,
)


class CallbackError(Exception):
    """What a callback raises of its own."""


def invoke(function: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """A call; a signal handler may raise here and in the next function only: see `interrupts.py`."""
    return function(*arguments, **options)


def invoke_block(block: Any, steps: list[Callable[[], None]]) -> None:
    """Takes the steps inside `with block`."""
    with block:
        for step in steps:
            step()


class Actor:
    """One thread, or greenlet, and what it is doing.

    :param world: of the round
    :param name: for the journal; a source of messages has it in its name
    """

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.journal: Journal = world.report.journal(name)
        self.rng = random.Random(f"{world.key} {name}")
        self.ident = threading.get_ident()
        self.running: list[Running] = []
        self.steps = 0
        self.inside = 0  # how many callbacks and hooks of the library's it is in
        self.in_hook = False  # of the log, or a finalizer
        self.raised: BaseException | None = None  # by its callbacks: has to leave the dispatching call
        self.let_out: BaseException | None = None  # what a callback raised last

    # ---- calls ----

    def call(
        self,
        what: str,
        function: Callable[..., Any],
        *arguments: Any,
        link: Link | None = None,
        limit: float = LIMIT,
        **options: Any,
    ) -> Any:
        """Makes a call; what it raises goes on to the caller, written down."""
        shown = ", ".join(
            [*(repr(a)[:40] for a in arguments), *(f"{k}={v!r}"[:40] for k, v in options.items())]
        )
        number = getattr(getattr(function, "__self__", None), "channel_number", None)
        what = what if number is None else f"{number}.{what}"
        self.journal.note(f"{'  ' * self.inside}{what}({shown})")
        self.world.report.counts["operations"] += 1
        running = Running(f"{what}({shown})", limit, link)
        self.running.append(running)
        self.world.report.begin(running)
        try:
            result = invoke(function, arguments, options)
        except BaseException as error:
            self.journal.note(f"{'  ' * self.inside}{what}: raised {error!r:.200}")
            if link is not None and isinstance(error, exceptions.AMQPError):
                self.look_at_reason(link, error, what)
            raise
        finally:
            with suppress(ValueError):
                self.running.remove(running)
            self.world.report.end(running)
        self.journal.note(f"{'  ' * self.inside}{what}: {result!r:.{SHOWN}}")
        return result

    def look_at_reason(self, link: Link, error: BaseException, what: str) -> None:
        """The first to meet the end of a connection is told why; with several threads, somebody is."""
        if link.connection.is_open:
            return
        link.errors.append(error)
        if isinstance(error, REASONS):
            self.world.lost(link, error)
        elif link.reason is None and not link.ended_here and self.world.room.threads == 1:
            if self.world.target.authority and self.world.interrupts is not None:
                link.reason = error  # a handler's exception inside the socket was the reason
                return
            text = f"{what} raised {error!r}, and is the first to meet the end of {link.connection!r}"
            self.world.report.violation("the first caller was not told the reason", text)
            link.reason = error

    def dispatch(
        self, link: Link, what: str, function: Callable[..., Any], *arguments: Any, **opts: Any
    ) -> Any:
        """A call in which callbacks may run; what they raise has to come out of it.

        :raises CallbackError: a callback's, or whatever else it raised
        """
        outer, self.raised = self.raised, None
        ident = threading.get_ident()
        link.dispatching[ident] = link.dispatching.get(ident, 0) + 1
        try:
            result = self.call(what, function, *arguments, link=link, **opts)
        except BaseException as error:
            if self.raised is not None and error is not self.raised and not self.world.is_interrupt(error):
                text = f"a callback raised {self.raised!r}, {what} raised {error!r}"
                self.world.report.violation("callback's exception replaced", text)
            raise
        else:
            if self.raised is not None:
                text = f"a callback raised {self.raised!r}, {what} returned {result!r}"
                self.world.report.violation("callback's exception swallowed", text)
            return result
        finally:
            link.dispatching[ident] -= 1
            self.raised = outer

    def reset(self) -> None:
        """After a step that was interrupted anywhere: no call is running any more."""
        for running in self.running:
            self.world.report.end(running)
        self.running.clear()
        self.inside = 0
        for link in self.world.links:
            link.dispatching.pop(threading.get_ident(), None)
            link.callback_of.pop(threading.get_ident(), None)

    # ---- steps ----

    def step(self, operation: Callable[[Actor], None]) -> None:
        """One operation; an exception that may be is the end of it, another one a violation.

        Its choices follow from the seed, this actor and the step's number alone.
        """
        self.steps += 1
        outer, self.rng = self.rng, random.Random(f"{self.world.key} {self.name} {self.steps}")
        try:
            operation(self)
        except CallbackError:
            pass
        except Exception as error:
            if self.world.is_interrupt(error):
                raise
            self.judge(error, None, operation.__name__)
        finally:
            self.rng = outer

    def judge(self, error: Exception, line: Line | None, what: str) -> None:
        """Complains unless the exception may be."""
        world = self.world
        if error is self.let_out:  # it may have used any of the connections
            line = None
        if isinstance(error, exceptions.ReentrancyError):
            if not self.inside:
                world.report.violation("ReentrancyError outside of a callback", f"{what}: {error!r}")
            return
        if isinstance(error, exceptions.AMQPError):
            if not self.may_fail(error, line):
                world.report.violation(
                    f"unexpected {type(error).__name__}", f"{what} by {self.name}: {error!r}", kind_of=what
                )
            return
        import traceback

        facts = traceback.format_exception(type(error), error, error.__traceback__)
        world.report.violation(
            f"{type(error).__name__}, which is none of pika's", f"{what}: {error!r}", facts[-6:], kind_of=what
        )

    def may_fail(self, error: BaseException, line: Line | None) -> bool:
        """Whether an error of pika's is the consequence of an end that somebody has brought about."""
        if self.world.interrupts is not None and self.world.interrupts.raised is not None:
            # A finalizer that runs behind the handler meets what that has ended before the step is over.
            self.world.interrupts.look_at_connections("judging")
        if self.world.room.endings or (line is not None and (line.ending or line.link.ending)):
            return True
        return line is None and any(each.ending or each.link.ending for each in self.world.all_lines)
