"""A node that is killed and returns, under programs on asyncio and on the thread-safe connection.

They publish with confirms, consume with acknowledgements, connect again by themselves, and publish again what
was not confirmed, as such programs do. Their rate is bounded: what is looked for needs time, not load.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from support.nodes import LocalNode
from support.subject import SUBJECT

from .account import Account
from .case import Case, Part, Room
from .judge import Judge
from .kills import QUEUE, make_queue
from .on_asyncio import AsyncioProgram
from .stages import no_node
from .traffic import parameters

SECONDS = 60  # at scale 1; ten minutes at 10
BETWEEN = (20, 1000, 4000, 10_000)  # messages confirmed between two kills, by chance
SETTLING = 90.0  # seconds for the last confirms and messages


class Program(Protocol):
    """What is under test: a client that runs in threads of its own."""

    def start(self) -> None:
        """Begins; returns at once."""

    def stop_publishing(self) -> None:
        """What was published is still confirmed, and published again where it was not."""

    def end(self) -> None:
        """Ends it and its threads in order."""


def under_kills(room: Room, make: Callable[[Account, Any], Program]) -> None:
    """Kills a node again and again under a program, and checks every message."""
    chance = random.Random(room.scale)
    with LocalNode() as node:
        make_queue(node.url)
        account = Account(room.ledger, QUEUE)
        before = resources()
        program = make(account, parameters(node.port))
        program.start()
        deadline = time.monotonic() + SECONDS * room.scale
        kills = 0
        while time.monotonic() < deadline:
            account.await_confirmed(chance.choice(BETWEEN))
            node.kill()
            node.start()
            kills += 1
        account.await_confirmed(BETWEEN[0])
        program.stop_publishing()
        if not account.wait_for(lambda: len(account.confirmed) == len(account.published), SETTLING):
            room.ledger.fault("wrong", "not all that was published was confirmed at the end")
        account.await_seen(SETTLING)
        program.end()
        for name, count in resources().items():
            if count > before[name]:
                room.ledger.fault("wrong", f"{count - before[name]} {name} more than before it began")
        judge = Judge(node.url)
        account.check(judge)
        judge.close()
        room.ledger.note(f"{kills} times killed and started")


def resources() -> dict[str, int]:
    """What a connection that has ended must have given back."""
    return {"descriptors": len(os.listdir("/proc/self/fd")), "threads": threading.active_count()}


def loops_cases(scale: float) -> list[Case]:
    """One for each kind of program that there is."""
    cases = [
        Case(
            "asyncio",
            "AsyncioConnection, a node that is killed",
            lambda room: under_kills(room, AsyncioProgram),
            400,
        )
    ]
    if SUBJECT == "cpika":  # pika has it in its next release
        from .on_threads import ThreadsProgram

        cases.append(
            Case(
                "thread-safe",
                "thread-safe Connection, 8 threads, the same",
                lambda room: under_kills(room, ThreadsProgram),
                400,
            )
        )
    return cases


PART = Part("loops", "asyncio and the thread-safe connection under kills", loops_cases, no_node)
