"""The extension under AddressSanitizer and UndefinedBehaviorSanitizer: a hostile server, and many threads.

`make test-asan` runs this file alone.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import sanitizers

SCRIPTS = Path(__file__).resolve().parent / "sanitized"
SECONDS = 10
SEED = 20_240_101


@pytest.fixture(scope="module")
def sanitized_environment() -> dict[str, str]:
    """The environment of a process whose extension is built with sanitizers."""
    return sanitizers.environment()


def run(environment: dict[str, str], script: str, *arguments: object) -> None:
    command = [sys.executable, str(SCRIPTS / script), *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "runtime error" not in done.stderr and "Sanitizer" not in done.stderr, done.stderr


@pytest.mark.rule(6)
@pytest.mark.timeout(300)
def test_whatever_a_server_sends_ends_in_an_exception_of_pikas(sanitized_environment: dict[str, str]) -> None:
    run(sanitized_environment, "fuzz_engine.py", SECONDS, SEED)


@pytest.mark.rule(13)
@pytest.mark.timeout(300)
def test_many_threads_on_one_connection_harm_no_memory(
    sanitized_environment: dict[str, str], broker_url: str
) -> None:
    run(sanitized_environment, "stress.py", broker_url, SECONDS)


@pytest.mark.rule(13)
@pytest.mark.timeout(300)
def test_what_a_call_waits_for_is_asked_without_a_lock(
    sanitized_environment: dict[str, str], broker_url: str
) -> None:
    """A publisher waits for the socket, a dispatcher asks whether it may go on: a debug build aborts."""
    run(sanitized_environment, "full_socket.py", broker_url, 2)


@pytest.mark.rule(11)
@pytest.mark.timeout(300)
def test_bytes_that_come_back_to_an_ended_connection_are_dropped(
    sanitized_environment: dict[str, str],
) -> None:
    run(sanitized_environment, "late_bytes.py")


@pytest.mark.rule(10)
@pytest.mark.timeout(300)
def test_waits_beside_a_second_interpreter_give_the_interpreters_lock_away(
    sanitized_environment: dict[str, str], broker_url: str
) -> None:
    """A debug build looks for that; CPython's own answer is always yes when there has been a second one."""
    run(sanitized_environment, "second_interpreter.py", broker_url)


@pytest.mark.timeout(300)
def test_nothing_is_asked_of_python_while_an_exception_is_set(sanitized_environment: dict[str, str]) -> None:
    """Which allocation failed does not matter then, nor what CPython's caches hold: a debug build aborts."""
    pytest.importorskip("_testcapi")
    command = [sys.executable, "-m", "support.value_uses"]
    done = subprocess.run(command, env=sanitized_environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    told, count = done.stdout.split()
    assert told == "injected" and int(count) > 1000


@pytest.mark.rule(13)
@pytest.mark.timeout(600)
@pytest.mark.parametrize("sanitizer, rooms", [("address", "threads,signals,hooks"), ("thread", "threads")])
def test_the_torture_of_some_rooms_harms_no_memory(sanitizer: str, rooms: str) -> None:
    modes = ",".join(f"{room}/scripted" for room in rooms.split(","))
    command = [sys.executable, "-m", "torture", "--sanitize", sanitizer, "--mode", modes]
    command += ["--seed", str(SEED), "--seconds", "4"]
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS.parent)}
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0, done.stdout
