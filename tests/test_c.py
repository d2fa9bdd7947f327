"""The C tests of src/wire pass plain, under ASan + UBSan and under TSan; the fuzzers find nothing at once.

`make ctest` and `make fuzz` run the same without pytest.
"""

from __future__ import annotations

import ctest
import pytest

FUZZ_SECONDS = 3

TESTS = [path.stem for path in ctest.sources("tests/c/test_*.c")]
TARGETS = [path.stem for path in ctest.sources("tests/c/fuzz_*.c")]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", TESTS)
def test_c_test_passes_in_every_build(name: str) -> None:
    results = ctest.run_tests([name])
    assert results, f"{name} was not run"
    failed = [result for result in results if not result.passed]
    assert not failed, "".join(f"{result.name}\n{result.output}\n" for result in failed)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", TARGETS)
def test_fuzz_target_finds_nothing_in_its_first_seconds(name: str) -> None:
    results = ctest.run_fuzzers(FUZZ_SECONDS, [name])
    assert results, f"{name} was not run"
    assert results[0].passed, results[0].output
