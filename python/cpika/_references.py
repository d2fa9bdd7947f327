"""Objects that are known as long as they live."""

from __future__ import annotations

import weakref
from typing import Generic, TypeVar

T = TypeVar("T")


class References(Generic[T]):
    """Notes objects and keeps none alive.

    No WeakSet: it is cleaned up by Python functions, in which the exception of a signal handler is swallowed.
    `set.discard` runs no line of Python, and no other thread between.
    """

    def __init__(self) -> None:
        self._known: set[weakref.ref[T]] = set()

    def add(self, thing: T) -> None:
        """Note it."""
        self._known.add(weakref.ref(thing, self._known.discard))

    def __len__(self) -> int:
        return len(self._known)

    def living(self) -> list[T]:
        """Return those that are there."""
        return [thing for reference in list(self._known) if (thing := reference()) is not None]
