"""What classes and functions say of where they are from."""

from __future__ import annotations

import contextlib
from types import FunctionType
from typing import Any


def at_home(home: str, *objects: Any) -> None:
    """Have classes and functions, and those inside the classes, say that they are from a module.

    Reprs, pickles and tracers go by it; where the code stands, and under which name its module was loaded, is
    another matter.

    :param home: name of the module in which users find them
    """
    for thing in objects:
        before = thing.__module__
        if before == home:
            continue
        with contextlib.suppress(TypeError):  # a type in C that cannot be changed
            thing.__module__ = home
        if isinstance(thing, type):
            inside = [getattr(value, "__func__", value) for value in vars(thing).values()]
            at_home(home, *(value for value in inside if is_from(value, before)))


def is_from(value: Any, module: str) -> bool:
    """Return whether a value is a class or function of this module, or of one inside this package."""
    return isinstance(value, (type, FunctionType)) and f"{value.__module__}.".startswith(f"{module}.")
