"""Compares two builds of cpika: `python benchmarks/pair.py BASE_PYTHON [--only NAME ...] [--rounds N]`.

BASE_PYTHON is the interpreter of an environment in which the other build is installed. Both run the
benchmark's client in turn, each scenario a round after the other, against the do-nothing server (and the
local broker): what the machine does meanwhile meets both. Prints medians and their ratios; exit
status 1 when a median of wall time is more than --most times the other's.

With --instructions it counts instead of timing: the instructions of a message under valgrind's callgrind,
from the difference of two runs that differ in messages only. On a machine that others use, too, that is
what can be compared.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Sequence

import places
import programs
from measure import RunFailed, Servers, run_once, running_server, sample_of
from rich.console import Console
from rich.table import Table
from run import choose_broker
from scenarios import BROKER_SCENARIOS, SCENARIOS, Scenario

CLIENT = str(programs.CLIENTS / "cpika_client.py")


def chosen(only: Sequence[str], broker: str | None) -> list[Scenario]:
    scenarios = [s for s in SCENARIOS if "cpika" in s.counts and (not only or s.name in only)]
    return [s for s in scenarios if broker is not None or s not in BROKER_SCENARIOS]


COUNTED = 2_000  # messages by which the two counted runs differ
LARGE = 100_000  # bytes of a body from which a tenth of that will do


def instructions(python: str, scenario: Scenario, count: int, servers: Servers) -> int:
    """Instructions of a whole run of the client with so many messages."""
    options = [word for option, value in scenario.options.items() for word in (f"--{option}", str(value))]
    given = [*servers.arguments(scenario), "--scenario", scenario.runs, *options]
    given += ["--count", str(count), "--size", str(scenario.size)]
    done = subprocess.run(
        ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", python, CLIENT, *given],
        env={**os.environ, "PYTHONHASHSEED": "0"},  # the same dictionaries in both runs
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode != 0 or found is None:
        raise RunFailed(f"{scenario.name}: {done.stderr[-500:]}")
    return int(found[1])


def of_a_message(python: str, scenario: Scenario, servers: Servers) -> float:
    """Instructions of one message more."""
    fewer = COUNTED // (10 if scenario.size >= LARGE else 1)
    return (
        instructions(python, scenario, 2 * fewer, servers) - instructions(python, scenario, fewer, servers)
    ) / fewer


def count_all(base: str, scenarios: Sequence[Scenario], servers: Servers) -> Table:
    table = Table("scenario", "base instructions", "this instructions", "ratio")
    for scenario in scenarios:
        counts = [of_a_message(python, scenario, servers) for python in (base, sys.executable)]
        table.add_row(scenario.name, *(f"{count:.0f}" for count in counts), f"{counts[1] / counts[0]:.3f}")
        print(f"{scenario.name}: {counts}", file=sys.stderr, flush=True)
    return table


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("base", help="interpreter with the build to compare with")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="these scenarios")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--share", type=int, default=1, help="a SHAREth of the messages")
    parser.add_argument("--most", type=float, default=1.03, help="largest ratio that is no failure")
    parser.add_argument("--instructions", action="store_true", help="count instructions of a message")
    parser.add_argument("--broker", help="URL; by default the local one, if it answers")
    places.add_option(parser)
    given = parser.parse_args(arguments)
    programs.build(programs.SERVER)
    broker = choose_broker(given.broker)
    builds = {"base": given.base, "this": sys.executable}
    table = Table("scenario", "base us", "this us", "ratio", "base CPU us", "this CPU us", "ratio")
    slower = 0
    with running_server(broker, given.cpus.server) as servers:
        if given.instructions:
            scenarios = [s for s in chosen(given.only, broker) if not s.fixed]
            Console(width=110).print(count_all(given.base, scenarios, servers))
            return 0
        for scenario in chosen(given.only, broker):
            count = max(1, scenario.counts["cpika"] // (1 if scenario.fixed else given.share))
            walls: dict[str, list[float]] = {name: [] for name in builds}
            cpus: dict[str, list[float]] = {name: [] for name in builds}
            try:
                for turn in range(given.rounds):
                    for name in sorted(builds, reverse=turn % 2 == 1):
                        command = [builds[name], CLIENT]
                        sample = sample_of(run_once(command, scenario, count, servers, given.cpus.client))
                        walls[name].append(sample.wall)
                        cpus[name].append(sample.cpu)
            except RunFailed as failure:  # an older build has not all of it
                table.add_row(scenario.name, str(failure)[:40])
                continue
            wall = {name: statistics.median(values) for name, values in walls.items()}
            cpu = {name: statistics.median(values) for name, values in cpus.items()}
            ratio = wall["this"] / wall["base"]
            slower += ratio > given.most
            table.add_row(
                scenario.name,
                f"{wall['base']:.3f}",
                f"{wall['this']:.3f}",
                f"{ratio:.3f}",
                f"{cpu['base']:.3f}",
                f"{cpu['this']:.3f}",
                f"{cpu['this'] / cpu['base']:.3f}" if cpu["base"] else "",
            )
            print(f"{scenario.name}: {ratio:.3f}", file=sys.stderr, flush=True)
    Console(width=110).print(table)
    print(f"slower by more than {given.most}: {slower}")
    return 1 if slower else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
