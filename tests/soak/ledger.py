"""What a case has done and what went wrong, in numbers that can be added up."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

KEPT_FAULTS = 12  # texts of a case; all are counted


@dataclass
class Ledger:
    """The account of one case, or of the cases that share a row of the table.

    `done` counts `unit`s; `lost`, `doubled` and `wrong` are violations, and `faults` says which.
    """

    unit: str = ""
    done: int = 0
    lost: int = 0
    doubled: int = 0
    wrong: int = 0
    slowest: float = 0.0
    """Seconds that the longest call took."""
    slowest_call: str = ""
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    measures: list[tuple[str, ...]] = field(default_factory=list)
    """Rows of the part's own table."""
    seconds: float = 0.0
    tally: dict[str, int] = field(default_factory=dict)
    """How often something was the outcome; told under the table."""

    @property
    def violations(self) -> int:
        """How many in all."""
        return self.lost + self.doubled + self.wrong

    def fault(self, kind: str, text: str, count: int = 1) -> None:
        """Counts violations of a kind: `lost`, `doubled` or `wrong`."""
        setattr(self, kind, getattr(self, kind) + count)
        if len(self.faults) < KEPT_FAULTS:
            self.faults.append(f"{kind}: {text}")

    def note(self, text: str) -> None:
        """Keeps a figure for the page."""
        self.notes.append(text)

    def outcome(self, what: str, count: int = 1) -> None:
        """Counts how something ended."""
        self.tally[what] = self.tally.get(what, 0) + count

    def timed(self, name: str, seconds: float, bound: float | None = None) -> None:
        """Counts the time of a call; one over `bound` seconds is wrong."""
        if seconds > self.slowest:
            self.slowest, self.slowest_call = seconds, name
        if bound is not None and seconds > bound:
            self.fault("wrong", f"{name} took {seconds:.1f} s, wanted at most {bound:g}")

    def call(self, name: str, bound: float | None, function: Callable[..., Any], *args: Any) -> Any:
        """Calls `function`, counts its time whether it returns or raises, and does the same."""
        begin = time.monotonic()
        try:
            return function(*args)
        finally:
            self.timed(name, time.monotonic() - begin, bound)

    def add(self, other: Ledger) -> None:
        """Adds the account of another case of the same row."""
        self.unit = self.unit or other.unit
        for name in ("done", "lost", "doubled", "wrong", "seconds"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        if other.slowest > self.slowest:
            self.slowest, self.slowest_call = other.slowest, other.slowest_call
        self.faults += other.faults
        self.notes += other.notes
        self.measures += other.measures
        for outcome, count in other.tally.items():
            self.outcome(outcome, count)

    def as_dict(self) -> dict[str, Any]:
        """For the way from the case's process."""
        return dataclasses.asdict(self)
