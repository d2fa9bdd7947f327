"""A process that forks, and what its child says."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any


class Child:
    """Forks; the child reports by a pipe what it saw and how its call ended."""

    def __init__(self) -> None:
        self.pid = -1
        self._reading, self._writing = os.pipe()

    def fork(self) -> None:
        self.pid = os.fork()

    def report(self, told: Any) -> None:
        """In the child, at its end."""
        os.write(self._writing, json.dumps(told).encode())
        os._exit(0)

    def hear(self) -> Any:
        """In the parent."""
        os.close(self._writing)
        with open(self._reading, "rb") as pipe:
            data = pipe.read()
        os.waitpid(self.pid, 0)
        return json.loads(data)


def names_of_threads() -> list[str]:
    """As the system knows them."""
    names = []
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # it has ended meanwhile
            names.append((task / "comm").read_text().strip())
    return names
