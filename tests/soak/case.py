"""A case, and how it runs: in a fork of its own, whose crash or hang is a violation like any other."""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import json
import logging
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path

from support.certs import Certificates

from .ledger import Ledger

M_ARENA_MAX = -8
SHOWN = 25  # lines of what a case that crashed has printed


@dataclass
class Room:
    """What a case finds when it runs.

    :param url: AMQP URL of the part's node, empty where the part has none
    :param scale: 1.0 for the default run
    :param folder: for files; shared by all cases
    """

    url: str
    scale: float
    folder: Path
    certificates: Certificates
    ledger: Ledger

    def count(self, number: int, least: int = 1) -> int:
        """So many, at this scale."""
        return max(least, round(number * self.scale))


@dataclass(frozen=True)
class Case:
    """One thing that is tried.

    :param name: unique in its part
    :param row: of the table, for all cases that are summed up in it
    :param limit: seconds after which it counts as hanging, at scale 1
    """

    name: str
    row: str
    run: Callable[[Room], None]
    limit: float = 60.0


@dataclass(frozen=True)
class Part:
    """Cases that belong together.

    :param cases: the cases at a scale
    :param stage: what stands while they run; gives the AMQP URL of a node, or an empty text
    :param columns: heads of the part's own table, for `Ledger.measures`
    """

    name: str
    title: str
    cases: Callable[[float], list[Case]]
    stage: Callable[[], AbstractContextManager[str]]
    columns: tuple[str, ...] = ()
    together: int = 1
    """Cases at a time, of those that mostly wait."""


class Running:
    """A case in its fork."""

    def __init__(self, case: Case, room: Room) -> None:
        self.case = case
        self._folder = Path(tempfile.mkdtemp(dir=room.folder))
        self._answer, self._output = self._folder / "answer", self._folder / "output"
        self._begin = time.monotonic()
        self._limit = case.limit * max(1.0, room.scale)
        fork = multiprocessing.get_context("fork")
        self._process = fork.Process(target=_in_the_fork, args=(case, room, self._answer, self._output))
        self._process.start()
        self.sentinel = self._process.sentinel

    @property
    def left(self) -> float:
        """Seconds until it counts as hanging."""
        return max(0.0, self._begin + self._limit - time.monotonic())

    @property
    def is_over(self) -> bool:
        """True when it has ended or its time is up."""
        return self.left == 0 or not self._process.is_alive()

    def finish(self) -> Ledger:
        """Ends it; whatever has become of it, an account comes back."""
        process = self._process
        hangs = process.is_alive()
        if hangs:
            assert process.pid is not None
            os.kill(process.pid, signal.SIGABRT)  # faulthandler says where it stands
            process.join(5)
            process.kill()
        process.join()
        ledger = Ledger(**json.loads(self._answer.read_text())) if self._answer.exists() else Ledger()
        if hangs:
            ledger.fault("wrong", f"hangs: no end after {self._limit:g} s\n{last_lines(self._output)}")
        elif process.exitcode != 0:
            ledger.fault("wrong", f"{how_it_ended(process.exitcode or 0)}\n{last_lines(self._output)}")
        ledger.seconds = time.monotonic() - self._begin
        shutil.rmtree(self._folder, ignore_errors=True)
        return ledger


def run_cases(cases: Sequence[Case], room: Room, together: int) -> Iterator[tuple[Case, Ledger]]:
    """Runs them, so many at a time; gives each with its account as it ends."""
    waiting, running = list(cases), []
    while waiting or running:
        while waiting and len(running) < together:
            running.append(Running(waiting.pop(0), room))
        wait([one.sentinel for one in running], min(one.left for one in running))
        for one in [one for one in running if one.is_over]:
            running.remove(one)
            yield one.case, one.finish()


def how_it_ended(status: int) -> str:
    """An exit status in words."""
    return f"crashed: {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"


def last_lines(path: Path) -> str:
    """The end of what a case has printed: the first lines of a traceback by faulthandler among them."""
    if not path.exists():
        return ""
    lines = path.read_text(errors="replace").splitlines()
    return "\n".join(f"    {line}" for line in lines[-200:][:SHOWN])


def _in_the_fork(case: Case, room: Room, answer: Path, output: Path) -> None:
    with open(output, "w", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        faulthandler.enable(file)
        logging.disable()
        one_arena()
        room.ledger = Ledger()
        try:
            case.run(room)
        except BaseException as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(place.filename).name}:{place.lineno}"
            room.ledger.fault("wrong", f"the case broke off at {where}: {error!r:.300}")
            traceback.print_exc()
        temporary = answer.with_suffix(".new")
        temporary.write_text(json.dumps(room.ledger.as_dict()))
        temporary.rename(answer)
        sys.stdout.flush()
        os._exit(0)  # no thread or finalizer of the library's has a say in the verdict


def one_arena() -> None:
    """Has malloc use one heap for all threads: address space then tells of allocations alone."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)
