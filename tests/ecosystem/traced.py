"""Runs the traced program under an agent on both libraries, and compares what the agent has told."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from dataclasses import dataclass, field
from typing import Any

from .agents import Agent
from .environment import Environment, own_environment
from .tests_of import INSIDE

QUEUE = f"cpika-ecosystem-{os.getpid()}"
"""Of this run alone, and the same on both libraries: its name is in the spans."""
TIMEOUT = 90  # seconds that the program may take
PROGRAM = INSIDE / "traced_program.py"
NUMBERED = ("trace", "id", "parent", "links")
"""Fields of a span whose values differ from run to run: what counts is which are equal."""
CHANGING = re.compile(r"\b0x[0-9a-f]{6,}|\b[0-9a-f]{16,32}\b|\b\d{16,}\b|(?<=transport=)<[^<>]*>")


@dataclass
class Session:
    """What a run of the program gave: for each scene what the program saw, and its spans."""

    scenes: dict[str, dict[str, Any]] = field(default_factory=dict)
    used: str = ""
    seconds: float = 0.0
    trouble: str = ""

    @property
    def spans(self) -> int:
        """How many spans there are in all scenes."""
        return sum(len(scene["spans"]) for scene in self.scenes.values())


def run(agent: Agent, library: str, url: str) -> Session:
    """Runs the program.

    :param library: "pika" or "cpika"
    :param url: of the broker
    :raises NotInstalled: if something could not be had
    """
    environment = Environment(agent.folder, agent.requirements)
    environment.make()
    python = str(environment.python)
    switched = [python, "-m", "cpika"] if library == "cpika" else [python]
    launch = [part.format(bin=environment.python.parent) for part in agent.before]
    script = [str(environment.python.parent / agent.script), python] if agent.script else []
    command = [*launch, *switched, *script, str(PROGRAM), agent.module or agent.name, url, QUEUE]
    begin = time.monotonic()
    try:
        done = subprocess.run(
            command,
            env=own_environment(),
            cwd=environment.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
    except subprocess.TimeoutExpired:
        return Session(trouble=f"no end after {TIMEOUT} s", seconds=time.monotonic() - begin)
    seconds = time.monotonic() - begin
    lines = done.stdout.splitlines()
    if done.returncode != 0 or not lines:
        return Session(trouble=f"status {done.returncode}: {done.stderr[-800:]}", seconds=seconds)
    told = json.loads(lines[-1])
    scenes = {name: numbered(scene) for name, scene in told["scenes"].items()}
    return Session(scenes, told["library"], seconds)


def numbered(scene: dict[str, Any]) -> dict[str, Any]:
    """The scene with small numbers for identifiers, in the order in which they come."""
    numbers: dict[Any, int] = {}

    def number(value: Any) -> Any:
        if value in (None, "", 0):
            return None
        if isinstance(value, list):
            return [number(item) for item in value]
        return numbers.setdefault(value, len(numbers) + 1)

    spans = [
        {key: number(value) if key in NUMBERED else alike(value) for key, value in span.items()}
        for span in scene["spans"]
    ]
    return {"saw": alike(scene["saw"]), "spans": spans}


def alike(value: Any) -> Any:
    """The value without what no two runs have in common: addresses of objects, identifiers, times."""
    if isinstance(value, dict):
        return {alike(key): alike(item) for key, item in value.items()}
    if isinstance(value, list):
        return [alike(item) for item in value]
    return CHANGING.sub("...", value) if isinstance(value, str) else value


def differences(on_pika: Session, on_cpika: Session) -> dict[str, list[str]]:
    """For each scene where they differ, the places with both values."""
    found = {}
    for name in {**on_pika.scenes, **on_cpika.scenes}:
        places = list(_different(on_pika.scenes.get(name), on_cpika.scenes.get(name), ""))
        if places:
            found[name] = places
    return found


def _different(a: Any, b: Any, where: str) -> Any:
    if isinstance(a, dict) and isinstance(b, dict):
        for key in {**a, **b}:
            yield from _different(a.get(key), b.get(key), f"{where}.{key}" if where else key)
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for index, (one, other) in enumerate(zip(a, b)):
            yield from _different(one, other, f"{where}[{index}]")
    elif a != b:
        yield f"{where}: on pika {_short(a)}, on cpika {_short(b)}"


def _short(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return f"{len(value)} spans: {[span.get('name') for span in value]}"
    return repr(value)
