"""pytest in an interpreter that runs no tests: loaded when something is asked of it that a decorator is not.

`apart` starts an interpreter for each of some thousand scenes.  Loading pytest takes several times as long as
all else there, and a test module wants nothing of it at first but to mark functions that nobody collects.
"""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Callable
from typing import Any

NAME = "pytest"


class _Marks:
    """`pytest.mark`: whatever is asked of it leaves the function as it is."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return _decorator


def _unchanged(function: Callable[..., Any]) -> Callable[..., Any]:
    return function


def _decorator(*arguments: Any, **options: Any) -> Callable[..., Any]:
    """A decorator, with or without arguments."""
    bare = len(arguments) == 1 and not options and isinstance(arguments[0], types.FunctionType)
    return arguments[0] if bare else _unchanged


class _LatePytest(types.ModuleType):
    """Marks and fixtures by itself, everything else by pytest, which takes its place in `sys.modules`."""

    mark = _Marks()
    fixture = staticmethod(_decorator)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what the import system and inspect look for
            raise AttributeError(name)
        if sys.modules.get(NAME) is self:
            del sys.modules[NAME]
        return getattr(importlib.import_module(NAME), name)


def install() -> None:
    """Makes `import pytest` bring it, unless pytest is loaded."""
    sys.modules.setdefault(NAME, _LatePytest(NAME))
