"""Runs the tests of a library under pika or cpika, and reads what became of each."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from .environment import Environment, own_environment
from .projects import Project

INSIDE = Path(__file__).parent / "inside"
LIBRARIES = ("pika", "cpika")
KINDS = ("passed", "failed", "skipped")
TRIES = 3
"""Tests of others race against their timers and the broker: one that fails is run again, on both."""


@dataclass
class Outcome:
    """What one run of a library's tests gave."""

    tests: dict[str, str] = field(default_factory=dict)  # name -> one of KINDS
    again: set[str] = field(default_factory=set)  # tests that have passed at a later try only
    used: str = ""  # the library that the tests have imported
    seconds: float = 0.0
    trouble: str = ""  # why there is no report

    def count(self, kind: str) -> int:
        """How many tests ended so."""
        return Counter(self.tests.values())[kind]

    def __str__(self) -> str:
        counts = " / ".join(str(self.count(kind)) for kind in KINDS)
        return f"{counts} ({len(self.again)} again)" if self.again else counts

    def add(self, other: Outcome) -> None:
        """Takes over what became of tests that have failed before."""
        for name, kind in other.tests.items():
            if kind == "passed" and self.tests.get(name) == "failed":
                self.again.add(name)
            if self.tests.get(name) in (None, "failed"):
                self.tests[name] = kind


def run(project: Project, library: str, url: str) -> Outcome:
    """Runs the tests in a copy of the sources.

    :param library: "pika" or "cpika"
    :param url: of the broker, as CPIKA_BROKER_URL
    :raises NotInstalled: if something could not be had
    """
    environment = Environment(project.folder, project.requirements)
    environment.make()
    sources = environment.sources(project.requirement, project.source)
    with tempfile.TemporaryDirectory(prefix="cpika-ecosystem-") as scratch:
        place = Path(scratch) / "sources"
        shutil.copytree(sources, place, symlinks=True)
        for path, text in project.supplied().items():
            (place / path).write_text(text, encoding="utf-8")
        report = Path(scratch) / "report.xml"
        command = _command(project, library, environment, report)
        begin = time.monotonic()
        said = _run(command, project, place, url)
        outcome = _read(report) if report.exists() else Outcome(trouble=said)
        for _ in range(1, TRIES):
            if outcome.count("failed"):
                report.unlink(missing_ok=True)
                _run([*command, "--last-failed"], project, place, url)
                outcome.add(_read(report) if report.exists() else Outcome())
        outcome.seconds = time.monotonic() - begin
        return outcome


def _command(project: Project, library: str, environment: Environment, report: Path) -> list[str]:
    switch = ["-m", "cpika"] if library == "cpika" else []
    choice = ["-k", project.without[0]] if project.without else []
    pytest = ["-m", "pytest", "-q", "-p", "which_pika", f"--junitxml={report}", "-o", "junit_family=xunit1"]
    return [str(environment.python), *switch, *pytest, *choice, *project.options, *project.tests]


def _run(command: list[str], project: Project, place: Path, url: str) -> str:
    """Returns the end of what the command printed, or that it had no end."""
    env = {**own_environment(), "PYTHONPATH": str(INSIDE), "CPIKA_BROKER_URL": url, **project.env}
    process = subprocess.Popen(
        command,
        cwd=place,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=project.timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        said, _ = process.communicate()
        return f"no end after {project.timeout:.0f} s; last: {said[-500:]}"
    return f"status {process.returncode}, no report: {said[-500:]}"


def _read(report: Path) -> Outcome:
    suite = ElementTree.parse(report).getroot()
    outcome = Outcome()
    for case in suite.iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        children = {child.tag for child in case}
        if children & {"failure", "error"}:
            kind = "failed"
        elif "skipped" in children:
            kind = "skipped"
        else:
            kind = "passed"
        if outcome.tests.get(name) != "failed":  # a test that passes and whose clean-up fails is there twice
            outcome.tests[name] = kind
    for noted in suite.iter("property"):
        if noted.get("name") == "library":
            outcome.used = noted.get("value") or ""
    return outcome
