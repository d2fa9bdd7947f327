"""A short part of the torture harness: every room for some seconds; `make torture` goes on for longer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import sanitizers

TESTS = Path(__file__).parent
SECONDS = 1.0  # at least a round
SECONDS_TOGETHER = 4.0
SEED = 20_240_101
LIMIT = 20  # seconds that a call may take

SCRIPTED = [
    "alone",
    "callbacks",
    "signals",
    "exact",
    "hooks",
    "hooked-signals",
    "handlers",
    "threads",
    "endings",
    "ending-threads",
    "ending-publishers",
    "last-words",
    "dispatchers",
    "greenlets",
]
# Where several threads meet in the core.
TOGETHER = ["threads", "dispatchers", "ending-threads"]
TLS = ["signals", "threads", "endings"]
RABBITMQ = ["threads", "signals", "callbacks", "dispatchers"]


def torture(*arguments: object, environment: dict[str, str] | None = None) -> None:
    """Runs the harness, which prints all that it knows of what it finds.

    :param environment: of another build than the usual one
    """
    command = [sys.executable, "-m", "torture", "--seed", str(SEED), *map(str, arguments)]
    given = environment or {**os.environ, "PYTHONPATH": str(TESTS)}
    done = subprocess.run(
        command,
        env={**given, "TORTURE_LIMIT": str(LIMIT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.timeout(300)
@pytest.mark.parametrize("room", SCRIPTED)
def test_nothing_is_violated_against_a_server_that_behaves_badly(room: str) -> None:
    torture("--mode", f"{room}/scripted", "--seconds", SECONDS)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("room", TLS)
def test_nothing_is_violated_over_tls(room: str) -> None:
    torture("--mode", f"{room}/tls", "--seconds", SECONDS)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("room", RABBITMQ)
def test_nothing_is_violated_against_a_broker(room: str, broker_url: str) -> None:
    torture("--mode", f"{room}/rabbitmq", "--seconds", SECONDS, "--url", broker_url)


@pytest.mark.timeout(300)
def test_nothing_is_violated_where_another_thread_runs_whenever_one_might() -> None:
    """In a debug build the core gives the GIL away wherever it might have to (src/values/yields.h)."""
    rooms = ",".join(f"{room}/scripted" for room in TOGETHER)  # such a build takes seconds to begin
    torture("--mode", rooms, "--seconds", SECONDS_TOGETHER, environment=sanitizers.environment())
