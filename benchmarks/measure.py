"""Starts the server and the clients, and keeps what they measured."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import programs
from places import started_on
from scenarios import CLIENTS, PIKA_MAIN, Scenario

RUN_SECONDS = 300
"""One run of one client never takes longer, unless it hangs."""

PYTHON_CLIENTS = {
    "cpika": ("cpika_client.py", "cpika"),
    "pika": ("pika_client.py", "pika"),
    "py-amqp": ("pyamqp_client.py", "amqp"),
    "amqpstorm": ("amqpstorm_client.py", "amqpstorm"),
    "aio-pika": ("aiopika_client.py", "aio_pika"),
}
"""The program and the package that it needs."""


@dataclass(frozen=True)
class Sample:
    """One run: microseconds a message, wall and CPU, and what else the client told."""

    wall: float
    cpu: float
    peak_rss: int
    extra: dict[str, float]

    def metric(self, name: str) -> float | None:
        if name == "growth":
            marks = self.extra
            return marks["rss_100"] - marks["rss_20"] if "rss_20" in marks else None
        if name in self.extra:
            return self.extra[name]
        return getattr(self, name, None)


@dataclass
class Results:
    """All samples by scenario and client, and what went wrong instead."""

    samples: dict[tuple[str, str], list[Sample]] = field(default_factory=lambda: defaultdict(list))
    failures: dict[tuple[str, str], str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def values(self, scenario: str, client: str, metric: str = "wall") -> list[float]:
        found = (sample.metric(metric) for sample in self.samples.get((scenario, client), ()))
        return [value for value in found if value is not None]

    def median(self, scenario: str, client: str, metric: str = "wall") -> float | None:
        values = self.values(scenario, client, metric)
        return statistics.median(values) if values else None

    def clients_of(self, scenarios: Iterable[str]) -> list[str]:
        """Those with a sample in any of the scenarios, in the order of the tables."""
        names = set(scenarios)
        having = {client for (scenario, client), found in self.samples.items() if scenario in names and found}
        return [client for client in CLIENTS if client in having]


@dataclass(frozen=True)
class Servers:
    """Where to find what the scenarios speak to; None: such scenarios are left out."""

    plain: str
    tls: str
    cafile: str
    broker: str | None

    def arguments(self, scenario: Scenario) -> list[str]:
        if scenario.where == "tls":
            return ["--url", self.tls, "--cafile", self.cafile]
        url = self.broker if scenario.where == "broker" else self.plain
        return ["--url", url or ""]


class RunFailed(Exception):
    """A client ended without a figure."""


@contextmanager
def running_server(broker: str | None, cpu: int | None = None) -> Iterator[Servers]:
    """The do-nothing server on free ports of the loopback interface; it ends with its standard input."""
    with tempfile.TemporaryDirectory(prefix="cpika-bench-") as folder:
        cafile = str(Path(folder) / "server.pem")
        command = [str(programs.SERVER.path), "--tls", cafile]
        with started_on(cpu):
            started = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        with started as server:
            assert server.stdin is not None and server.stdout is not None
            try:
                words = server.stdout.readline().split()
                if len(words) != 3 or words[0] != "ready":
                    raise RunFailed("the benchmark server did not start")
                plain, tls = words[1:]
                yield Servers(
                    f"amqp://guest:guest@127.0.0.1:{plain}/%2f",
                    f"amqps://guest:guest@127.0.0.1:{tls}/%2f",
                    cafile,
                    broker,
                )
            finally:
                server.stdin.close()


def available_clients() -> dict[str, list[str]]:
    """The command of each client that can run here."""
    commands = {"floor": [str(programs.FLOOR.path)], "rabbitmq-c": [str(programs.RABBITMQC.path)]}
    for client, (program, package) in PYTHON_CLIENTS.items():
        # In a new process, elsewhere: this one's path must not decide what is installed.
        probe = subprocess.run(
            [sys.executable, "-c", f"import {package}"], cwd="/", capture_output=True, check=False
        )
        if probe.returncode == 0:
            commands[client] = [sys.executable, str(programs.CLIENTS / program)]
    if os.environ.get("PIKA_MAIN"):
        commands[PIKA_MAIN] = [sys.executable, str(programs.CLIENTS / "pikamain_client.py")]
    return commands


def run_once(
    command: list[str], scenario: Scenario, count: int, servers: Servers, cpu: int | None = None
) -> dict[str, Any]:
    """One run of one client; returns its line. Raises `RunFailed`."""
    arguments = [*command, *servers.arguments(scenario), "--scenario", scenario.runs]
    arguments += ["--count", str(count), "--size", str(scenario.size)]
    for option, value in scenario.options.items():
        arguments += [f"--{option}", str(value)]
    try:
        with started_on(cpu):
            done = subprocess.run(arguments, capture_output=True, text=True, timeout=RUN_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise RunFailed(f"no end after {RUN_SECONDS} s") from None
    if done.returncode != 0:
        raise RunFailed((done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1])
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def sample_of(line: dict[str, Any]) -> Sample:
    each = 1e6 / line["count"]
    return Sample(line["wall"] * each, line["cpu"] * each, line["peak_rss"], line["extra"])


def clients_for(scenario: Scenario, commands: dict[str, list[str]]) -> list[str]:
    return [client for client in CLIENTS if client in scenario.counts and client in commands]


def measure_round(
    scenario: Scenario,
    repetition: int,
    commands: dict[str, list[str]],
    servers: Servers,
    results: Results,
    progress: Callable[[Scenario, str], None],
    cpu: int | None = None,
) -> None:
    """One repetition of one scenario: each client once, another one first each time.

    A client that fails once is left out of the scenario from then on.
    """
    clients = clients_for(scenario, commands)
    turn = repetition % max(1, len(clients))
    for client in clients[turn:] + clients[:turn]:
        key = (scenario.name, client)
        progress(scenario, client)
        if key in results.failures:
            continue
        try:
            line = run_once(commands[client], scenario, scenario.counts[client], servers, cpu)
        except RunFailed as failure:
            results.failures[key] = str(failure)
            results.samples.pop(key, None)
            continue
        results.versions[client] = line["version"]
        results.samples[key].append(sample_of(line))
