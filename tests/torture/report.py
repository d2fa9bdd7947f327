"""What happened and what was wrong: the last operations of each thread, bounded calls, violations."""

from __future__ import annotations

import collections
import faulthandler
import io
import itertools
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

KEPT = int(os.environ.get("TORTURE_KEPT", "50"))  # operations of each thread
SHOWN_OF_A_KIND = 3  # violations; the others of the kind are counted
HUNG_STATUS = 86  # exit status of a process that ended itself over a call that did not return
LIMIT = float(os.environ.get("TORTURE_LIMIT", "20"))  # seconds that a call may take
STANDSTILL = LIMIT + 20  # seconds after which nothing at all runs: not even the watchdog's thread


class Running:
    """A call that has not returned; the watchdog reads it."""

    def __init__(self, what: str, limit: float, link: Any) -> None:
        self.what, self.link = what, link
        self.begin = time.monotonic()
        self.deadline = self.begin + limit


class Journal:
    """The last operations of one thread, newest last."""

    _numbers = itertools.count(1)

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.entries: collections.deque[str] = collections.deque(maxlen=KEPT)

    def note(self, text: str) -> None:
        """Adds a line; the numbers say how the lines of several threads follow each other."""
        self.entries.append(f"{next(self._numbers):7d} {time.monotonic() % 1000:9.4f} {text}")


class Report:
    """The violations of a process, and its watchdog.

    :param mode: for the messages
    :param seed: of the run
    """

    def __init__(self, mode: str, seed: int) -> None:
        self.mode, self.seed, self.round = mode, seed, 0
        self.kinds: collections.Counter[str] = collections.Counter()
        self.counts: collections.Counter[str] = collections.Counter()  # operations, interrupts, messages
        self.journals: list[Journal] = []
        self.running: dict[int, Any] = {}  # calls that have not returned: see `actor.Running`
        self._over = threading.Event()
        self._watchdog: threading.Thread | None = None
        self._armed = 0.0

    def start(self) -> None:
        """Starts the watchdog; after monkey-patching, where there is any."""
        self._over.clear()
        faulthandler.dump_traceback_later(STANDSTILL, exit=True)
        self._watchdog = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._watchdog.start()

    def stop(self) -> None:
        """Ends the watchdog."""
        self._over.set()
        if self._watchdog is not None:
            self._watchdog.join()
            self._watchdog = None
        faulthandler.cancel_dump_traceback_later()

    def begin_round(self, number: int, alone: bool) -> None:
        """A round begins: its journals are the ones that count from now on.

        :param alone: without the watchdog, so that the process has one thread: cpika's waits differ then. A
            call that hangs ends the process all the same, a little later, and with less to say.
        """
        self.round = number
        self.journals = []
        self.running.clear()
        if alone:
            self.stop()
        elif self._watchdog is None:
            self.start()
        self.sum_up()

    def begin(self, running: Running) -> None:
        """A call begins, of which `end` says that it is over."""
        self.running[id(running)] = running
        if self._watchdog is None and running.begin > self._armed + 1:
            self._armed = running.begin
            faulthandler.dump_traceback_later(STANDSTILL, exit=True)

    def end(self, running: Running) -> None:
        """It is over."""
        self.running.pop(id(running), None)

    def journal(self, owner: str) -> Journal:
        """A journal for a thread of this round."""
        made = Journal(owner)
        self.journals.append(made)
        return made

    # ---- bounded calls ----

    @contextmanager
    def bounded(self, what: str, limit: float) -> Iterator[None]:
        """For what is no step: ends the process when the body takes more than so many seconds."""
        running = Running(what, limit, None)
        self.begin(running)
        try:
            yield
        finally:
            self.end(running)

    def _watch(self) -> None:
        while not self._over.wait(0.25):
            faulthandler.dump_traceback_later(STANDSTILL, exit=True)
            now = time.monotonic()
            for call in list(self.running.values()):
                if now > call.deadline:
                    text = f"{call.what} has not returned for {now - call.begin:.1f} s"
                    self.hang(text, call.what)

    def hang(self, text: str, what: str) -> None:
        """Something does not go on: says everything, and ends the process."""
        now = time.monotonic()
        also = [f"{c.what} since {now - c.begin:.1f} s" for c in list(self.running.values())]
        self.violation("hang", text, {"running": also}, stacks=True, kind_of=what)
        self.sum_up()
        os._exit(HUNG_STATUS)

    def sum_up(self) -> None:
        """Says what was done so far."""
        say("COUNTS", {"round": self.round, "counts": dict(self.counts), "kinds": dict(self.kinds)})

    def tell(self) -> None:
        """Says what was done in the round; TORTURE_KEPT is for how many operations of each thread."""
        for journal in self.journals:
            for entry in journal.entries:
                say("JOURNAL", f"{journal.owner}: {entry}")

    # ---- violations ----

    def violation(
        self, kind: str, text: str, facts: Any = None, *, stacks: bool = False, kind_of: str = ""
    ) -> None:
        """Something was not as it must be.

        :param kind: of a few words, for the table
        :param text: what was expected and what came
        :param facts: more, as JSON
        :param stacks: with the stacks of all threads
        :param kind_of: the call, where it makes a kind of its own
        """
        if kind_of:
            kind = f"{kind}: {kind_of.split('(')[0].rpartition('.')[2]}"
        self.kinds[kind] += 1
        if self.kinds[kind] > SHOWN_OF_A_KIND:
            return
        log = {journal.owner: list(journal.entries) for journal in self.journals}
        details = {
            "mode": self.mode,
            "seed": self.seed,
            "round": self.round,
            "kind": kind,
            "text": text,
            "facts": facts,
            "log": log,
            "stacks": all_stacks() if stacks else "",
        }
        say("VIOLATION", details)


def all_stacks() -> str:
    """The stacks of all threads, and of all greenlets where there are any."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    out = io.StringIO()
    for ident, frame in sys._current_frames().items():
        out.write(f"thread {names.get(ident, ident)}\n{''.join(traceback.format_stack(frame)[-14:])}")
    if "gevent" in sys.modules:
        from gevent.util import format_run_info

        out.write("\n".join(format_run_info()))
    return out.getvalue()


def say(word: str, what: Any) -> None:
    """A line for the process that collects them; in one write, so that lines of threads do not mix."""
    data = f"{word} {json.dumps(what, default=repr)}\n".encode()
    while data:
        data = data[os.write(1, data) :]
