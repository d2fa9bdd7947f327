"""Each rule of docs/architecture.md has a test that names it: by its file and by its marker."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

RULES = range(1, 14)
FOLDER = Path(__file__).parent / "rules"


@pytest.mark.parametrize("rule", RULES)
def test_rule_has_a_file_whose_tests_carry_its_marker(rule: int) -> None:
    files = list(FOLDER.glob(f"test_rule_{rule:02d}_*.py"))
    assert len(files) == 1, f"rule {rule} wants one file, not {files}"
    text = files[0].read_text(encoding="utf-8")
    assert re.search(rf"pytest\.mark\.rule\({rule}\)", text), f"{files[0]} has no marker rule({rule})"
    assert re.search(r"^def test_", text, re.MULTILINE), f"{files[0]} has no test"


def test_no_marker_names_a_rule_that_does_not_exist() -> None:
    for path in FOLDER.parent.rglob("test_*.py"):
        for number in re.findall(r"^\s*@?pytest\.mark\.rule\((\d+)\)", path.read_text("utf-8"), re.MULTILINE):
            assert int(number) in RULES, f"{path}: rule {number}"
