"""On which CPUs the do-nothing server and its clients run.

A round trip between two CPUs costs several times what it costs on one, because a sleeper has to be woken on
the other. Which of the two a run gets is the scheduler's choice and changes from run to run: with --cpus it
is the same for all.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Places:
    """The CPU of the server and that of the clients; None: wherever the system puts them."""

    server: int | None = None
    client: int | None = None


@contextmanager
def started_on(cpu: int | None) -> Iterator[None]:
    """Processes that are started inside run on this CPU alone."""
    if cpu is None:
        yield
        return
    usual = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, usual)


def places(text: str) -> Places:
    """The two numbers of --cpus. Raises `argparse.ArgumentTypeError`."""
    if not hasattr(os, "sched_setaffinity"):
        raise argparse.ArgumentTypeError("this system gives no process a CPU of its own")
    there = os.sched_getaffinity(0)
    try:
        server, client = (int(number) for number in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not two numbers, as in 0,1") from None
    if not {server, client} <= there:
        raise argparse.ArgumentTypeError(f"{text!r}: the CPUs here are {', '.join(map(str, sorted(there)))}")
    return Places(server, client)


def add_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cpus",
        type=places,
        default=Places(),
        metavar="SERVER,CLIENT",
        help="the CPU of the do-nothing server and that of the clients, for example 0,0 "
        "(default: wherever the system puts them)",
    )
