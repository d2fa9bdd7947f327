"""Compares two builds of cpika: `python benchmarks/pair.py BASE_PYTHON [--only NAME ...] [--rounds N]`.

BASE_PYTHON is the interpreter of an environment in which the other build is installed. Both run the
benchmark's client in turn, each scenario a round after the other, against the do-nothing server (and the
local broker): what the machine does meanwhile meets both. Prints medians and their ratios; exit
status 1 when a median of wall time is more than --most times the other's.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence

import programs
from measure import run_once, running_server, sample_of
from rich.console import Console
from rich.table import Table
from run import choose_broker
from scenarios import BROKER_SCENARIOS, SCENARIOS, Scenario

CLIENT = str(programs.CLIENTS / "cpika_client.py")


def chosen(only: Sequence[str], broker: str | None) -> list[Scenario]:
    scenarios = [s for s in SCENARIOS if "cpika" in s.counts and (not only or s.name in only)]
    return [s for s in scenarios if broker is not None or s not in BROKER_SCENARIOS]


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("base", help="interpreter with the build to compare with")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="these scenarios")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--share", type=int, default=1, help="a SHAREth of the messages")
    parser.add_argument("--most", type=float, default=1.03, help="largest ratio that is no failure")
    parser.add_argument("--broker", help="URL; by default the local one, if it answers")
    given = parser.parse_args(arguments)
    programs.build(programs.SERVER)
    broker = choose_broker(given.broker)
    builds = {"base": given.base, "this": sys.executable}
    table = Table("scenario", "base us", "this us", "ratio", "base CPU us", "this CPU us", "ratio")
    slower = 0
    with running_server(broker) as servers:
        for scenario in chosen(given.only, broker):
            count = max(1, scenario.counts["cpika"] // (1 if scenario.fixed else given.share))
            walls: dict[str, list[float]] = {name: [] for name in builds}
            cpus: dict[str, list[float]] = {name: [] for name in builds}
            for turn in range(given.rounds):
                for name in sorted(builds, reverse=turn % 2 == 1):
                    sample = sample_of(run_once([builds[name], CLIENT], scenario, count, servers))
                    walls[name].append(sample.wall)
                    cpus[name].append(sample.cpu)
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
