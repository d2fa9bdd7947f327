"""Compilers, analyzers, formatters and type checkers have nothing to say about the sources."""

from __future__ import annotations

import checks
import pytest


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", checks.CHECKS)
def test_static_check_is_content(name: str) -> None:
    complaints = checks.CHECKS[name]()
    assert not complaints, f"{name} complains:\n{complaints}"
