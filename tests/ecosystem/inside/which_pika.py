"""A plugin for pytest in another project's environment: notes which library its tests have used."""

from __future__ import annotations

import sys
from typing import Any

import pytest


@pytest.hookimpl(tryfirst=True)  # before the report is written
def pytest_sessionfinish(session: Any) -> None:
    """Add a property to the report of `--junitxml`: the library, or nothing where none was imported."""
    from _pytest.junitxml import xml_key

    module = sys.modules.get("pika")
    used = "" if module is None else "cpika" if hasattr(module, "__cpika_version__") else "pika"
    session.config.stash[xml_key].add_global_property("library", used)
