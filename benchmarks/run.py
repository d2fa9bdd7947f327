"""Measures cpika against pika, its peers, C on rabbitmq-c and the floor, and checks the targets.

``run.py`` alone runs everything. Exit status 0: all targets met (or --quick, or --no-check); 1: some missed,
they are listed; 2: could not run.
"""

from __future__ import annotations

import argparse
import math
import os
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import places
import programs
from measure import Results, RunFailed, available_clients, clients_for, measure_round, running_server
from report import make_console, print_report, write_json
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from scenarios import CLIENTS, GROUPS, ON_BROKER, PIKA_MAIN, SCENARIOS, Scenario, size_scenarios
from targets import judge_all

DEFAULT_BROKER = "amqp://guest:guest@127.0.0.1:5672/%2f"
RESULTS = programs.BENCHMARKS / "results"
PROBE_SECONDS = 2.0
QUICK_SECONDS = 70.0
"""A quick run begins no round after this: with the last one and the plots it stays under two minutes."""


def broker_answers(url: str) -> bool:
    at = urlsplit(url)
    try:
        with socket.create_connection((at.hostname, at.port or 5672), PROBE_SECONDS):
            return True
    except OSError:
        return False


def choose_broker(asked: str | None) -> str | None:
    """The broker of the command line or of CPIKA_BROKER_URL; else the usual local one, if it answers."""
    url = asked or os.environ.get("CPIKA_BROKER_URL")
    if url is not None:
        return url
    return DEFAULT_BROKER if broker_answers(DEFAULT_BROKER) else None


def sweep_of(scenario: Scenario) -> str | None:
    """ "publish@" for a scenario of the sweep of publishes by body size; None for one of no sweep."""
    kind, at, _size = scenario.name.partition("@")
    return kind + at if at else None


def choose_scenarios(arguments: argparse.Namespace, broker: str | None) -> list[Scenario]:
    known = [*SCENARIOS, *size_scenarios()]
    if arguments.only:
        only = set(arguments.only)
        chosen = [s for s in known if only & {s.name, sweep_of(s), s.group}]
    elif arguments.broker:
        chosen = list(ON_BROKER)
    else:
        chosen = [s for s in known if s.quick or not arguments.quick]
    if broker is None:
        chosen = [s for s in chosen if s.where != "broker"]
    return [s.quickened() for s in chosen] if arguments.quick else chosen


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="few scenarios, a fourth of the messages, 3 repetitions, under two minutes",
    )
    parser.add_argument("--no-check", action="store_true", help="do not judge the targets")
    parser.add_argument("--broker", metavar="URL", help="only the scenarios on a real broker, this one's")
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="SCENARIO",
        help='these alone; "publish@" is a sweep by body size, '
        "blocking, loops, threads and aio are all that there is of it",
    )
    parser.add_argument("--clients", nargs="+", choices=CLIENTS, help="these alone")
    parser.add_argument("--repetitions", type=int, help="instead of the usual number")
    places.add_option(parser)
    parser.add_argument(
        "--output", type=Path, default=RESULTS, help="folder for JSON and plots (default: %(default)s)"
    )
    arguments = parser.parse_args(argv)
    names = {s.name for s in (*SCENARIOS, *size_scenarios())} | {
        "publish@",
        "consume_auto@",
        *GROUPS,
    }
    unknown = sorted(set(arguments.only or ()) - names)
    if unknown:
        parser.error(f"no such scenario: {', '.join(unknown)} (there are: {', '.join(sorted(names))})")
    return arguments


def measure_all(
    console: Console,
    scenarios: Sequence[Scenario],
    commands: dict[str, list[str]],
    broker: str | None,
    seconds: float,
    cpus: places.Places,
) -> Results:
    """All repetitions: each round goes through all scenarios. After `seconds` no new round begins."""
    results = Results()
    rounds = max((s.repetitions for s in scenarios), default=0)
    total = sum(s.repetitions * len(clients_for(s, commands)) for s in scenarios)
    deadline = time.monotonic() + seconds
    columns = (TextColumn("{task.description:40}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with running_server(broker, cpus.server) as servers, Progress(*columns, console=console) as progress:
        task = progress.add_task("starting", total=total)

        def step(scenario: Scenario, client: str) -> None:
            progress.update(task, advance=1, description=f"{scenario.name}, {client}")

        for repetition in range(rounds):
            if repetition > 0 and time.monotonic() > deadline:
                console.print(f"out of time after {repetition} of {rounds} rounds")
                break
            for scenario in scenarios:
                if repetition < scenario.repetitions:
                    measure_round(scenario, repetition, commands, servers, results, step, cpus.client)
    return results


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse_arguments(argv)
    console = make_console()
    broker = choose_broker(arguments.broker)
    scenarios = choose_scenarios(arguments, broker)
    if arguments.repetitions:
        scenarios = [s.repeated(arguments.repetitions) for s in scenarios]
    try:
        programs.build_all()
        commands = available_clients()
        if arguments.clients:
            commands = {client: commands[client] for client in arguments.clients if client in commands}
        for client in set(arguments.clients or CLIENTS) - set(commands):
            console.print(
                f"{client}: {'no folder in $PIKA_MAIN' if client == PIKA_MAIN else 'not installed'}, left out"
            )
        results = measure_all(
            console,
            scenarios,
            commands,
            broker,
            QUICK_SECONDS if arguments.quick else math.inf,
            arguments.cpus,
        )
    except (programs.BuildFailed, RunFailed) as failure:
        console.print(f"[red]{failure}", highlight=False)
        return 2
    verdicts = [] if arguments.no_check else judge_all(results, [s.name for s in scenarios])
    arguments.output.mkdir(parents=True, exist_ok=True)
    print_report(console, [s for s in scenarios if "@" not in s.name], results, verdicts)
    written = [write_json(arguments.output, scenarios, results, verdicts)]
    # Imported late: it takes a second, and a failed run needs no plots.
    from plots import plot_clients, plot_sizes

    written += plot_clients(arguments.output, [s for s in scenarios if "@" not in s.name], results)
    written += plot_sizes(arguments.output, results)
    console.print("written: " + ", ".join(map(str, written)), highlight=False)
    missed = [verdict for verdict in verdicts if verdict.missed]
    for verdict in missed:
        target = verdict.target
        line = (
            f"missed: {target.scenario} against {target.against}: {target.wanted()}; found {verdict.found()}"
        )
        console.print(line, style="red", highlight=False)
    if verdicts:
        met = sum(verdict.met for verdict in verdicts)
        unknown = len(verdicts) - met - len(missed)
        console.print(
            f"{met} of {len(verdicts)} targets met" + (f", {unknown} not measured" if unknown else "")
        )
    # Too few repetitions, too few messages: a quick run shows where the targets are, it does not judge.
    return 1 if missed and not arguments.quick else 0


if __name__ == "__main__":
    sys.exit(main())
