"""The tool of `make matrix`: what it counts, what it keeps, and what its table says."""

from __future__ import annotations

from pathlib import Path

import matrix
import pytest
import worlds
from matrix import Cell, Result

INTERPRETER = worlds.Interpreter("/opt/python3.9/bin/python3", "/opt/python3.9", "3.9.18")
CELL = Cell(worlds.DEBIAN_13, "3.9", INTERPRETER)
STATIC = Cell(worlds.DEBIAN_13, "3.13", static="0.11")

REPORT = """<testsuites><testsuite>
<testcase classname="tests.test_a" name="passes"/>
<testcase classname="tests.test_a" name="fails"><failure message="no"/></testcase>
<testcase classname="tests.test_a" name="fails"><error message="and its teardown"/></testcase>
<testcase classname="tests.test_a" name="skips"><skipped message="not here"/></testcase>
</testsuite></testsuites>"""


def test_a_report_is_counted_by_outcome(tmp_path: Path) -> None:
    (tmp_path / "report.xml").write_text(REPORT)
    assert matrix.counts(tmp_path / "report.xml") == (1, 1, ["tests.test_a::fails"])


def test_a_cell_in_which_nothing_ran_is_not_green(tmp_path: Path) -> None:
    passed, skipped, failed = matrix.counts(tmp_path / "none.xml")
    assert not Result("s", passed=passed, skipped=skipped, failed=tuple(failed)).green


def test_the_table_has_a_row_a_cell_and_names_what_failed() -> None:
    ran = Result(
        "new", "3.9.18", "4.0.5", "0.15.0", passed=7, skipped=2, failed=("tests.test_a::fails",), seconds=9
    )
    old = Result("old", "3.13.5", "4.0.5", "0.11", passed=8)
    lines = matrix.table(
        [(CELL, ran), (STATIC, old), (Cell(worlds.UNSTABLE, "3.15"), None)], "new"
    ).splitlines()
    assert lines[2:] == [
        "| debian-13 | 3.9.18 | 4.0.5 | 0.15.0 | 7 | 1 | 2 | 9 |",
        "| debian-13 | 3.13.5 | 4.0.5 | 0.11 static | 8 (older sources) | 0 | 0 | 0 |",
        "| debian-unstable | 3.15 |  |  | not run |  |  |  |",
        "",
        "Not green:",
        "debian-13/3.9: tests.test_a::fails",
    ]


def test_a_change_of_a_source_makes_results_old_and_a_change_of_a_page_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matrix, "ROOT", tmp_path)
    names = ["setup.py", "docs/page.md"]
    (tmp_path / "docs").mkdir()
    for name in names:
        (tmp_path / name).write_text("one")
    before = matrix.digest(names)
    (tmp_path / "docs/page.md").write_text("two")
    assert matrix.digest(names) == before
    (tmp_path / "setup.py").write_text("two")
    assert matrix.digest(names) != before


def test_every_cell_has_a_name_of_its_own_and_each_world_its_own_python() -> None:
    cells = matrix.cells()
    assert len({cell.name for cell in cells}) == len(cells)
    for world, minors in matrix.OF_THE_SYSTEM.items():
        assert set(minors) <= {cell.minor for cell in cells if cell.world is world and cell.lent is None}


def test_only_cpythons_that_cpika_takes_are_found() -> None:
    found = worlds.interpreters()
    assert found
    assert all(worlds.patch(one.version) >= [3, 9] for one in found)
    assert len({one.minor for one in found}) == len(found)
