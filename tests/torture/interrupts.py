"""Signal handlers that raise: at random moments, or at moments that come again with the same seed.

What a handler raises must leave the call that it interrupted.  It raises inside the library only, or on the
way in and out of it (`actor.invoke`): where the model is at work the timer is put off a little.
"""

from __future__ import annotations

import math
import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from support.subject import pika

from . import hooks

if TYPE_CHECKING:
    from .actor import Actor
    from .world import World

HERE = str(Path(__file__).parent)
LIBRARY = str(Path(pika.__file__).parent)
SHORTEST, LONGEST = 20e-6, 10e-3  # seconds
AGAIN = 500e-6  # seconds in which an impatient one's second interrupt may come, while the first is on its way
PUT_OFF = 100e-6
AT_THE_BORDER = "in C, or at its border"
WEAK = ("weakref.py", "_weakrefset.py")  # of the standard library
LOGGING = os.path.join("logging", "__init__.py")  # before 3.13 it would keep its lock, which others wait for
HOLD = 0.02  # seconds that the scripted server keeps what it has interrupted
METHODS = (
    "any",
    "Basic.Get",
    "Basic.Consume",
    "Basic.Cancel",
    "Queue.Declare",
    "Channel.Open",
    "Channel.Close",
    "Basic.Publish",
)


class PlannedError(Exception):
    """Raised by a signal handler."""


class PlannedBaseError(BaseException):
    """Raised by a signal handler; not an Exception."""


class PlannedKeyboardInterrupt(KeyboardInterrupt):
    """Raised by a signal handler, as Ctrl-C does."""


class PlannedExit(SystemExit):
    """Raised by a signal handler, as a handler of SIGTERM does."""


KINDS = (PlannedError, PlannedBaseError, PlannedKeyboardInterrupt, PlannedExit)


class Interrupts:
    """The interrupts of a round: at most one a step, at times another that meets the first on its way.

    :param how: "timer" at random moments; "exact" only at those that come again with the seed: at a line of
        the library's Python, or when the scripted server has read a certain method; "use" at random moments,
        and the handler uses the connection instead of raising
    """

    def __init__(self, world: World, how: str) -> None:
        self.world, self.exact, self.uses = world, how == "exact", how == "use"
        self.armed: BaseException | None = None
        self.second: tuple[BaseException, float] | None = None  # and the seconds until then
        self.raised: BaseException | None = None
        self.where = ""
        self._lines_left = 0
        self.lost_callbacks = 0  # as many may not have been called: they were in hand when it struck
        self.lost_results = 0  # of as many calls the caller may not have what they returned
        signal.signal(signal.SIGINT, self.on_stray)

    def on_stray(self, number: int, frame: FrameType | None) -> None:
        """SIGINT, which nobody has sent but the library itself."""
        self.world.report.violation("an interrupt became another one", f"SIGINT after {self.raised!r}")

    def owns(self, error: BaseException) -> bool:
        """Whether a handler raised it."""
        return isinstance(error, KINDS)

    # ---- a step ----

    def step(self, actor: Actor, operation: Callable[[Actor], None]) -> None:
        """A step that may be interrupted; complains when what was raised did not leave it."""
        rng = random.Random(f"{self.world.key} interrupt {actor.steps}")
        came: BaseException | None = None
        self.raised, self.where = None, ""
        try:
            if rng.random() < 0.7:
                self.arm(rng, actor.steps)
            actor.step(operation)
        except KINDS as error:
            came = error
        finally:
            self.disarm()
        actor.reset()
        if self.raised is None:
            return
        actor.journal.note(f"interrupted {self.where} by {self.raised!r}")
        self.world.report.counts["interrupts"] += 1
        if came is not self.raised:
            text = f"{operation.__name__}: raised {self.where}: {self.raised!r}; what came out is {came!r}"
            self.world.report.violation("an interrupt was swallowed", text, kind_of=operation.__name__)
        self.look_at_connections(operation.__name__)

    def look_at_connections(self, what: str) -> None:
        """After an interrupt a connection over a plain socket is as usable as before."""
        for link in self.world.links:
            if link.connection.is_open or link.ending:
                continue
            link.ending, link.reason = True, self.raised
            for line in link.lines:
                line.ending = True
                line.spoil()
            if not self.world.target.authority and not self.world.room.endings:
                text = f"{what}, interrupted {self.where}: {link.connection!r}"
                self.world.report.violation("an interrupt ended a plain connection", text, kind_of=what)

    # ---- arming ----

    def arm(self, rng: random.Random, number: int) -> None:
        self.armed = rng.choice(KINDS)(f"step {number}")
        control = self.world.target.control
        if not self.exact:
            span = math.log(LONGEST / SHORTEST)
            if not self.uses and rng.random() < 0.3:
                self.second = rng.choice(KINDS)(f"step {number}, again"), AGAIN * rng.random() ** 2
            signal.signal(signal.SIGALRM, self.on_signal)
            signal.setitimer(signal.ITIMER_REAL, SHORTEST * math.exp(rng.random() * span))
        elif control is not None and rng.random() < 0.5:
            signal.signal(signal.SIGALRM, self.on_signal)
            wish = {"method": rng.choice(METHODS), "where": rng.choice(("before", "within"))}
            control("arm", **wish, pid=os.getpid(), signal=int(signal.SIGALRM), hold=HOLD)
            self.where = f"when the server had read {wish}"
        else:
            self._lines_left = int(math.exp(rng.random() * math.log(400)))
            self.where = f"at line {self._lines_left} of the library"
            sys.settrace(self.trace)

    def disarm(self) -> None:
        sys.settrace(None)
        if self.world.target.control is not None and self.exact and self.armed is not None:
            self.armed = None
            self.world.target.control("disarm")
        self.armed = self.second = None
        signal.setitimer(signal.ITIMER_REAL, 0)

    # ---- raising ----

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.armed is None:
            return
        place = raising_place(frame)
        if place is None:
            signal.setitimer(signal.ITIMER_REAL, PUT_OFF)
            return
        if self.uses:
            self.armed = None
            self.use(place)
            return
        if not self.exact:
            self.where = f"{self.where}, and {place}" if self.where else place
        self.raised, self.armed = self.armed, None
        self.lost_callbacks += 1
        self.lost_results += place == AT_THE_BORDER
        if self.second is not None:
            (self.armed, pause), self.second = self.second, None
            signal.setitimer(signal.ITIMER_REAL, SHORTEST + pause)
        raise self.raised

    def use(self, place: str) -> None:
        """Uses the connection in the handler."""
        actor = self.world.actor()
        self.world.report.counts["interrupts"] += 1
        actor.journal.note(f"{'  ' * actor.inside}[signal handler {place}")
        with hooks.inside(actor, random.Random(f"{self.world.key} handler {actor.steps}")):
            hooks.use(actor, "signal handler")

    def trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        """Counts the lines of the library's Python, and raises at the chosen one."""
        if not frame.f_code.co_filename.startswith(LIBRARY):
            return None
        if event == "line" and self.armed is not None:
            self._lines_left -= 1
            if self._lines_left <= 0 and raising_place(frame) is not None:
                sys.settrace(None)
                self.where = f"at cpika/{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
                self.raised, self.armed = self.armed, None
                self.lost_callbacks += 1
                raise self.raised
        return self.trace


def raising_place(frame: FrameType | None) -> str | None:
    """Where the library, or the call into it, was interrupted; None where nothing may be raised."""
    place = AT_THE_BORDER
    inside = None
    if frame is not None and frame.f_code.co_filename.endswith(LOGGING):
        return None
    while frame is not None:
        code = frame.f_code
        if code.co_name == "__del__" or code.co_filename.endswith(WEAK):
            return None  # in a finalizer and in a callback of a weak reference Python itself would swallow it
        if inside is None and code.co_filename.startswith(LIBRARY) and "cpika" not in place:
            place = f"at cpika/{Path(code.co_filename).name}:{frame.f_lineno}"
        elif inside is None and code.co_filename.startswith(HERE):
            inside = code.co_name in ("invoke", "invoke_block")
        frame = frame.f_back
    return place if inside else None
