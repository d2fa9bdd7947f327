"""`make soak` itself: what a case does, and how it ends, is told; and the parts are what they say."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from soak.account import Account
from soak.case import Case, Room, run_cases
from soak.judge import Judge
from soak.leak_calls import not_in_the_table
from soak.ledger import Ledger
from soak.parts import PARTS
from support.certs import Certificates

TESTS = Path(__file__).parent


def crash(room: Room) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def hang(room: Room) -> None:
    time.sleep(60)


def break_off(room: Room) -> None:
    room.ledger.done = 3
    raise KeyError("missing")


def go_well(room: Room) -> None:
    room.ledger.done = 5


@pytest.fixture
def room(tmp_path: Path, certificates: Certificates) -> Room:
    return Room("", 1.0, tmp_path, certificates, Ledger())


@pytest.mark.parametrize(
    ("run", "done", "told"),
    [
        (crash, 0, "wrong: crashed: SIGSEGV"),
        (hang, 0, "wrong: hangs: no end after 1 s"),
        (break_off, 3, "wrong: the case broke off"),
        (go_well, 5, ""),
    ],
)
def test_whatever_becomes_of_a_case_is_told(run: object, done: int, told: str, room: Room) -> None:
    limit = 1.0 if run is hang else 30.0
    [(_, ledger)] = run_cases([Case("one", "row", run, limit)], room, 1)  # type: ignore[arg-type]
    assert ledger.done == done
    assert ledger.violations == bool(told)
    assert ledger.faults[:1] == [] if not told else ledger.faults[0].startswith(told)


def test_the_account_tells_what_is_lost_doubled_and_invented(broker_url: str, queue_name: str) -> None:
    judge = Judge(broker_url)
    judge.channel.queue_declare(queue_name)
    judge.channel.basic_publish("", queue_name, b"left")
    account = Account(Ledger(), queue_name)
    account.publish([b"seen", b"again", b"twice", b"left"])
    account.publish([b"twice"])  # its confirm was lost with a connection
    account.confirm([b"seen", b"again", b"twice", b"left"])
    for body, redelivered in (
        (b"seen", False),
        (b"again", False),
        (b"again", True),
        *[(b"twice", False)] * 2,
    ):
        account.see(body, redelivered)
    account.check(judge)
    assert account.ledger.violations == 0
    assert account.ledger.done == 4
    assert account.ledger.notes == [
        "4 published (1 of them again), 4 confirmed, 5 seen (1 redelivered), 1 left in the queue, "
        "0 attempts to connect again"
    ]
    account.see(b"seen", False)
    account.see(b"left", True)
    account.see(b"invented", True)
    account.confirm([b"lost"])
    account.publish([b"lost"])
    account.queue = judge.channel.queue_declare("", exclusive=True).method.queue
    account.check(judge, seconds=0.5)
    judge.close()
    ledger = account.ledger
    assert (ledger.lost, ledger.doubled, ledger.wrong) == (1, 1, 1)
    assert [fault.split(":")[0] for fault in ledger.faults] == ["lost", "wrong", "doubled"]


def test_the_names_of_the_cases_are_unique_and_of_every_part_there_are_some() -> None:
    for part in PARTS:
        names = [case.name for case in part.cases(1.0)]
        assert names
        assert len(set(names)) == len(names), part.name


def test_there_are_as_many_hostile_inputs_as_promised() -> None:
    [part] = [part for part in PARTS if part.name == "hostile"]
    assert len(part.cases(1.0)) >= 2 * 60


def test_every_public_method_is_in_the_table_of_leaks() -> None:
    assert not_in_the_table() == set()


def test_the_command_prints_a_table_and_ends_with_0_when_nothing_is_violated() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "soak", "hostile/good messages"],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 inputs" in done.stdout
    assert "0 violations" in done.stdout
