"""Encoders and decoders that fail keep nothing; without memory they raise MemoryError and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.value_uses import FAILING, ROUNDS, failure, growth

TESTS = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("name", FAILING)
def test_what_cannot_be_encoded_or_decoded_leaves_nothing_behind(name: str) -> None:
    assert failure(FAILING[name]) != "nothing"
    assert growth(FAILING[name]) < ROUNDS


@pytest.mark.timeout(300)
def test_without_memory_every_use_of_a_value_raises_memory_error_and_leaves_nothing_behind() -> None:
    pytest.importorskip("_testcapi")
    done = subprocess.run(
        [sys.executable, "-m", "support.value_uses"],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    *wrong, last = done.stdout.splitlines()
    assert (wrong, done.returncode) == ([], 0), done.stdout
    assert last.startswith("injected ")
    assert int(last.split()[1]) > 1000
