"""The scenarios, one module a topic.  Each says in its name what a user may rely on."""

from __future__ import annotations

import importlib
import pkgutil

from parity.harness import SCENARIOS, Play, Scenario


def all_scenarios() -> list[Scenario]:
    """Return every scenario of every topic."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return SCENARIOS


def all_plays() -> list[Play]:
    """Return every scenario once per case."""
    return [part for scenario in all_scenarios() for part in scenario.plays()]
