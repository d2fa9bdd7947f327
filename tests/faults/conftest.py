"""Fixtures of the faults' tests."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def slow_sends(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process in which sends without the interpreter's lock are slow."""
    library = tmp_path_factory.mktemp("preload") / "slow_sends.so"
    source = Path(__file__).with_name("slow_sends.c")
    command = ["cc", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", str(library)]
    subprocess.run([*command, str(source), "-ldl"], check=True)
    return {"LD_PRELOAD": str(library)}
