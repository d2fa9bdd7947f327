#!/usr/bin/env python3
"""Plays every example on pika and then on cpika, and shows both outputs side by side with a verdict.

    CPIKA_BROKER_URL=amqp://... python tools/demo.py [EXAMPLE...]

Only consumer tags, times, process ids and one detail of exceptions may differ (demo_compare.py); any other
difference, and any program that does not do what its play awaits, makes the exit status 1. What is made on
the broker has a prefix of its own and is removed, also after a failure or Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pika.exceptions
from broker import BrokerError
from demo_compare import Output, differences
from demo_node import management_node
from demo_run import CPIKA, EXAMPLES, PIKA, DemoError, Stage
from demo_scenarios import SCENARIOS, Node, Scenario, cleaned
from rich.console import Console
from rich.markup import escape
from rich.table import Table

CLIENTS = (PIKA, CPIKA)
RATE_COUNT = 3000  # messages
RATE_ROUNDS = 3
WIDTH = 150  # columns, where no terminal tells


@dataclass
class Result:
    """How an example went on both clients."""

    scenario: Scenario
    outputs: dict[str, list[Output]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def verdict(self) -> str:
        return "DIFFERENT" if self.problems else "same"


def play(scenario: Scenario, stage: Stage, url: str, prefix: str, node: Node | None) -> str | None:
    """Play one example on a stage; return what went wrong, if something did."""
    with cleaned(url, prefix, scenario.names), stage:
        try:
            if node:
                scenario.play(stage, node)
            else:
                scenario.play(stage)
        except DemoError as error:
            return f"on {stage.client.name}: {error}"
    return None


def play_on_both(scenario: Scenario, url: str, prefix: str, examples: Path = EXAMPLES) -> Result:
    """Play one example on pika, then on cpika, and compare."""
    result = Result(scenario)
    with (
        tempfile.TemporaryDirectory(prefix="demo-") as scratch,
        management_node() if scenario.own_node else contextlib.nullcontext() as node,
    ):
        where = node.url if node else url
        for client in CLIENTS:
            stage = Stage(client, where, prefix, Path(scratch), examples)
            problem = play(scenario, stage, where, prefix, node)
            result.outputs[client.name] = stage.outputs
            if problem:
                result.problems.append(problem)
    result.problems.extend(differences(result.outputs[PIKA.name], result.outputs[CPIKA.name]))
    return result


def measure(url: str) -> dict[str, dict[str, float]]:
    """Median rates by client and direction, messages a second; the clients take turns."""
    rounds: dict[str, list[dict[str, float]]] = {client.name: [] for client in CLIENTS}
    script = str(Path(__file__).with_name("demo_rate.py"))
    for _ in range(RATE_ROUNDS):
        for client in CLIENTS:
            done = subprocess.run(
                [*client.command, script, url, str(RATE_COUNT)], capture_output=True, text=True, timeout=120
            )
            if done.returncode:
                raise DemoError(f"{client.name}: {done.stderr.strip()}")
            rounds[client.name].append(json.loads(done.stdout))
    return {
        name: {way: statistics.median(one[way] for one in measured) for way in ("publish", "consume")}
        for name, measured in rounds.items()
    }


def show_result(console: Console, result: Result) -> None:
    """Both outputs side by side, a row for each program, and what differs."""
    title = f"{result.scenario.name}: {result.scenario.title}"
    table = Table(title=title, title_justify="left", show_lines=True)
    table.add_column("program", style="bold", ratio=1)
    for client in CLIENTS:
        table.add_column(f"on {client.name}", overflow="fold", ratio=4)
    for row in rows(result):
        table.add_row(*map(escape, row))
    console.print(table)
    for line in result.problems:
        console.print(escape(line), style="red", highlight=False)
    color = "red" if result.problems else "green"
    console.print(f"verdict: [{color} bold]{result.verdict()}[/]\n")


def rows(result: Result) -> Iterator[tuple[str, str, str]]:
    """Role, output on pika, output on cpika, in the order of the play."""
    sides = [{output.role: output for output in result.outputs[client.name]} for client in CLIENTS]
    for role in dict.fromkeys(role for side in sides for role in side):
        left, right = ("\n".join(side[role].lines()) if role in side else "not run" for side in sides)
        yield role, left, right


def show_rates(console: Console, rates: dict[str, dict[str, float]]) -> None:
    """The rates, and what they are not."""
    table = Table(title="messages a second", title_justify="left")
    table.add_column("")
    for client in CLIENTS:
        table.add_column(client.name, justify="right")
    table.add_column("ratio", justify="right")
    for way, text in (("publish", "publish, 100 bytes"), ("consume", "consume, each acknowledged")):
        left, right = rates[PIKA.name][way], rates[CPIKA.name][way]
        table.add_row(text, f"{left:,.0f}", f"{right:,.0f}", f"{right / left:.1f}")
    console.print(table)
    console.print(
        f"A demonstration: median of {RATE_ROUNDS} runs of {RATE_COUNT:,} messages; the broker limits both."
        " `make bench` is what measures.\n"
    )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Play the examples on pika and on cpika, and compare.")
    names = [scenario.name for scenario in SCENARIOS]
    parser.add_argument("example", nargs="*", help=f"which ones (default: all): {', '.join(names)}")
    parser.add_argument("--examples", type=Path, default=EXAMPLES, help="folder of the scripts")
    parser.add_argument("--prefix", default=f"demo.{secrets.token_hex(4)}.", help="put before every name")
    parser.add_argument("--no-rates", action="store_true", help="do not measure")
    args = parser.parse_args()
    unknown = set(args.example) - set(names)
    if unknown:
        parser.error(f"no example {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    return args


def run(args: argparse.Namespace, url: str, console: Console) -> bool:
    """Play, show and measure; return whether everything was the same."""
    results = []
    for scenario in SCENARIOS:
        if args.example and scenario.name not in args.example:
            continue
        with console.status(f"{scenario.name} on pika and on cpika"):
            results.append(play_on_both(scenario, url, args.prefix, args.examples))
        show_result(console, results[-1])
    if not args.no_rates:
        with console.status("rates"):
            rates = measure(url)
        show_rates(console, rates)
    table = Table(title="verdicts", title_justify="left")
    table.add_column("example")
    table.add_column("pika and cpika")
    for result in results:
        table.add_row(
            result.scenario.name, f"[{'red' if result.problems else 'green'} bold]{result.verdict()}[/]"
        )
    console.print(table)
    return not any(result.problems for result in results)


def leave_in_order(number: int, _frame: object) -> None:
    """Turn a signal that would end us at once into an exit that cleans up."""
    raise SystemExit(128 + number)


def main() -> int:
    args = parse_arguments()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave_in_order)
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    url = os.environ.get("CPIKA_BROKER_URL") or "amqp://guest:guest@127.0.0.1:5672/%2F"
    try:
        return 0 if run(args, url, console) else 1
    except KeyboardInterrupt:
        print("interrupted; what was made on the broker has been removed", file=sys.stderr)
        return 130
    except (BrokerError, DemoError, pika.exceptions.AMQPError, OSError) as error:
        print(f"demo: {error!r}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
