"""The command: `make ecosystem`, or `PYTHONPATH=tests python -m ecosystem [NAME,...] [--list]`."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from support.nodes import broker
from support.urls import host_and_port

from . import tests_of, traced
from .agents import AGENTS, Agent
from .environment import Environment, NotInstalled
from .projects import PROJECTS, Project
from .small import SMALL
from .table import Row, make_console, table

TOGETHER = 2
"""Environments that are made at a time."""
USUAL = f"127.0.0.1:{broker.DEFAULT_PORT}"
TESTS_GIVE = "passed / failed / skipped"


@contextmanager
def broker_on_the_usual_port() -> Iterator[str]:
    """The URL of a broker where the projects' tests look for one: it is there, or started for the run."""
    url = f"amqp://guest:guest@{USUAL}/%2F"
    named = os.environ.get("CPIKA_BROKER_URL", url)
    if broker.answers_amqp(*host_and_port(url)):
        yield url if host_and_port(named) == host_and_port(url) else named
        return
    with broker.LocalNode(config={"listeners.tcp.local": USUAL}):
        yield url


def prepare(entry: Project | Agent) -> str:
    """Installs what an entry needs; returns what went wrong."""
    try:
        environment = Environment(entry.folder, entry.requirements)
        environment.make()
        if isinstance(entry, Project):
            environment.sources(entry.requirement, entry.source)
    except NotInstalled as error:
        return str(error)
    return ""


def run_project(project: Project, url: str) -> Row:
    """Runs a project's tests on both libraries."""
    pika, cpika = (tests_of.run(project, library, url) for library in tests_of.LIBRARIES)
    seconds = f"{pika.seconds:.0f} / {cpika.seconds:.0f}"
    cells = [project.version, project.what, str(pika), str(cpika), seconds]
    return Row(project.name, cells, compare_tests(project, pika, cpika))


def compare_tests(project: Project, pika: tests_of.Outcome, cpika: tests_of.Outcome) -> list[str]:
    """What is not the same, in words."""
    told = []
    for library, outcome in (("pika", pika), ("cpika", cpika)):
        if outcome.trouble:
            told.append(f"on {library}: {outcome.trouble}")
        elif outcome.used != library:
            told.append(f"on {library}: the tests imported {outcome.used or 'neither'}")
    if pika.count("passed") < project.passes:
        failed = [name for name, kind in pika.tests.items() if kind == "failed"]
        told.append(f"fewer than {project.passes} tests pass on pika; failed: {', '.join(failed)}")
    for name in {**pika.tests, **cpika.tests}:
        kinds = [outcome.tests.get(name, "missing") for outcome in (pika, cpika)]
        if kinds[0] != kinds[1]:
            told.append(f"{name}: on pika {kinds[0]}, on cpika {kinds[1]}")
    return told


def run_agent(agent: Agent, url: str) -> Row:
    """Runs the traced program under an agent on both libraries."""
    pika, cpika = (traced.run(agent, library, url) for library in tests_of.LIBRARIES)
    different = {} if pika.trouble or cpika.trouble else traced.differences(pika, cpika)
    same = len(cpika.scenes) - len(different)
    counts = [str(pika.spans), str(cpika.spans), f"{same} of {len(pika.scenes)}"]
    row = Row(agent.name, [agent.version, agent.what, *counts])
    for library, session in (("pika", pika), ("cpika", cpika)):
        if session.trouble:
            row.complaints.append(f"on {library}: {session.trouble}")
        elif session.used != library:
            row.complaints.append(f"on {library}: the program ran on {session.used}")
    if pika.spans < agent.spans:
        row.complaints.append(f"{pika.spans} spans on pika: {agent.spans} are to be expected")
    row.complaints += [f"{scene}: {place}" for scene, places in different.items() for place in places]
    return row


def run_entry(entry: Project | Agent, url: str) -> Row:
    """Installs what the entry needs, unless it is there, and runs it on both libraries."""
    wrong = prepare(entry)
    if wrong:
        return Row(entry.name, [entry.version, entry.what], [wrong])
    return run_project(entry, url) if isinstance(entry, Project) else run_agent(entry, url)


def run_all(entries: list[Project | Agent], url: str) -> tuple[list[Row], list[Row]]:
    """Installs side by side, then runs one entry after the other: their queues may have the same names."""
    projects: list[Row] = []
    agents: list[Row] = []
    with ThreadPoolExecutor(TOGETHER) as pool:
        for entry, _ in zip(entries, pool.map(prepare, entries)):
            begin = time.monotonic()
            row = run_entry(entry, url)
            (projects if isinstance(entry, Project) else agents).append(row)
            verdict = "DIFFERS" if row.complaints else "same"
            print(f"  {entry.name}: {verdict}, {time.monotonic() - begin:.0f} s", flush=True)
    return projects, agents


def main() -> int:
    """Exit status 0 when every entry gave the same on both libraries."""
    parser = argparse.ArgumentParser(prog="ecosystem", description="Programs of others on pika and on cpika.")
    parser.add_argument("names", nargs="?", default="", help="name,name,...; small for what `make test` has")
    parser.add_argument("--prepare", action="store_true", help="only install what the entries need")
    parser.add_argument("--list", action="store_true", help="only print the names")
    options = parser.parse_args()
    everything: list[Project | Agent] = [*PROJECTS, *AGENTS]
    names = [name for name in options.names.split(",") if name] or [entry.name for entry in everything]
    if options.names == "small":
        names = list(SMALL)
    unknown = set(names) - {entry.name for entry in everything}
    if unknown:
        parser.error(f"no entry is called {', '.join(sorted(unknown))}")
    entries = [entry for entry in everything if entry.name in names]
    if options.list:
        print("\n".join(f"{entry.name} {entry.version}: {entry.what}" for entry in entries))
        return 0
    if options.prepare:
        with ThreadPoolExecutor(TOGETHER) as pool:
            wrong = [text for text in pool.map(prepare, entries) if text]
        print("\n".join(wrong), end="", file=sys.stderr)
        return 1 if wrong else 0
    begin = time.monotonic()
    with broker_on_the_usual_port() as url:
        projects, agents = run_all(entries, url)
    show(projects, agents)
    wrong_rows = [row for row in projects + agents if row.complaints]
    print(f"{len(wrong_rows)} of {len(entries)} rows differ, {time.monotonic() - begin:.0f} s")
    return 1 if wrong_rows else 0


def show(projects: list[Row], agents: list[Row]) -> None:
    """Prints the tables, then what differs."""
    console = make_console()
    if projects:
        heads = ("version", f"its own tests: {TESTS_GIVE}", "on pika", "on cpika", "seconds")
        console.print(table("Libraries", heads, projects))
    if agents:
        heads = ("version", "a program of ours under it", "spans on pika", "on cpika", "scenes alike")
        console.print(table("Tracing agents", heads, agents))
    for row in projects + agents:
        for complaint in row.complaints:
            console.print(
                f"DIFFERENCE {row.name}: {complaint}", markup=False, highlight=False, soft_wrap=True
            )


if __name__ == "__main__":
    sys.exit(main())
