"""The extension under AddressSanitizer and UndefinedBehaviorSanitizer: a hostile server, and many threads.

`make test-asan` runs this file alone.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "sanitized"
SCRIPTS = ROOT / "tests" / "sanitized"
SECONDS = 10
SEED = 20_240_101


def runtime(name: str) -> str:
    """Path of a sanitizer's library, which has to be in the process before Python is."""
    path = subprocess.check_output(["gcc", f"-print-file-name={name}.so"], text=True).strip()
    assert os.path.isabs(path), f"gcc has no {name}"
    return path


@pytest.fixture(scope="module")
def sanitized_environment() -> dict[str, str]:
    """Builds the extension with sanitizers, where nobody else looks for it; the environment that uses it."""
    build_environment = {
        **os.environ,
        "CPIKA_SANITIZE": "address,undefined",
        "CC": "gcc -pthread",
        "LDSHARED": "gcc -pthread -shared",
    }
    command = [
        sys.executable,
        "setup.py",
        "--quiet",
        "build",
        f"--build-base={BUILD}",
        f"--build-lib={BUILD}/lib",
    ]
    built = subprocess.run(command, cwd=ROOT, env=build_environment, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    environment = {
        **os.environ,
        "LD_PRELOAD": f"{runtime('libasan')} {runtime('libubsan')}",
        "ASAN_OPTIONS": "detect_leaks=0",  # CPython itself keeps memory until its end: see test_leaks.py
        "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
        "PYTHONMALLOC": "malloc",  # each object its own block, so that a use after its end is seen
        "PYTHONPATH": f"{BUILD}/lib{os.pathsep}{ROOT}/tests",
    }
    where = "import cpika._core; print(cpika._core.__file__)"
    found = subprocess.check_output([sys.executable, "-c", where], env=environment, text=True).strip()
    assert found == f"{BUILD}/lib/cpika/_core{sysconfig.get_config_var('EXT_SUFFIX')}"
    return environment


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


@pytest.mark.rule(11)
@pytest.mark.timeout(300)
def test_bytes_that_come_back_to_an_ended_connection_are_dropped(
    sanitized_environment: dict[str, str],
) -> None:
    run(sanitized_environment, "late_bytes.py")
