"""What counts as the same output: everything but consumer tags, times, process ids, and the broker that an
exception of cpika's names behind its text (as pika's will, from its next release on).
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

MASKS = (
    (re.compile(r"\bctag\d+\.[0-9a-f]{32}\b"), "<tag>"),
    (re.compile(r"\b\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d+)?\b"), "<time>"),
    (re.compile(r"\bpid \d+\b"), "pid <pid>"),
)


@dataclass(frozen=True)
class Output:
    """What one program of an example left: its role in it, both streams, and the exit status."""

    role: str
    stdout: str
    stderr: str
    status: int

    def lines(self) -> list[str]:
        """Everything as lines, those of stderr marked, the exit status last."""
        return [
            *self.stdout.splitlines(),
            *(f"stderr: {line}" for line in self.stderr.splitlines()),
            f"exit status {self.status}",
        ]


def mask(text: str) -> str:
    """`text` with consumer tags, times and process ids replaced by their names, and without the broker of
    an exception; nothing else is touched.
    """
    for pattern, name in MASKS:
        text = pattern.sub(name, text)
    return text


def differences(pika: list[Output], cpika: list[Output]) -> list[str]:
    """Lines of a diff for each program whose masked outputs differ; empty when all are the same."""
    found: list[str] = []
    roles = list(dict.fromkeys(output.role for output in [*pika, *cpika]))
    for role in roles:
        sides = [
            [mask(line) for output in outputs if output.role == role for line in output.lines()]
            for outputs in (pika, cpika)
        ]
        found.extend(
            difflib.unified_diff(*sides, fromfile=f"{role} on pika", tofile=f"{role} on cpika", lineterm="")
        )
    return found
