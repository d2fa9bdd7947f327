"""Tables for people and JSON for programs."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from measure import Results
from rich.console import Console
from rich.table import Table
from rich.text import Text
from scenarios import Scenario
from targets import Verdict

NOTHING = "-"
PLAIN_WIDTH = 130
"""Columns where the output is no terminal."""


def make_console() -> Console:
    return Console() if sys.stdout.isatty() else Console(width=PLAIN_WIDTH)


def short(value: float) -> str:
    """Three digits that count."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def ratio(value: float | None, base: float | None) -> str:
    return short(value / base) if value is not None and base else NOTHING


def spread(values: Sequence[float]) -> str:
    return f"{short(min(values))} .. {short(max(values))}"


def scenario_table(scenario: Scenario, results: Results) -> Table:
    """One scenario, a row a client: median, minimum and maximum, CPU, ratios of medians."""
    where = {"server": "do-nothing server", "tls": "do-nothing server, TLS", "broker": "broker"}[
        scenario.where
    ]
    table = Table(
        title=f"{scenario.title} ({scenario.size:,} B, {where}), us a {scenario.unit}", title_justify="left"
    )
    table.add_column("client", no_wrap=True)
    heads = ["median", "min .. max", "CPU", "rate /s"]
    heads += [f"of {'the floor' if rival == 'floor' else rival}" for rival in scenario.rivals]
    # Where there is one rival, its CPU time has room too.
    by_cpu = scenario.rivals if len(scenario.rivals) == 1 else ()
    heads += [f"CPU of {rival}" for rival in by_cpu]
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    bases = [results.median(scenario.name, rival) for rival in scenario.rivals]
    cpu_bases = [results.median(scenario.name, rival, "cpu") for rival in by_cpu]
    for client in results.clients_of([scenario.name]):
        walls = results.values(scenario.name, client)
        wall = statistics.median(walls)
        cpu = statistics.median(results.values(scenario.name, client, "cpu"))
        rate = f"{1e6 / wall:,.0f}"
        ratios = [ratio(wall, base) for base in bases] + [ratio(cpu, base) for base in cpu_bases]
        table.add_row(
            client,
            short(wall),
            spread(walls),
            short(cpu),
            rate,
            *ratios,
            style="bold" if client == "cpika" else "",
        )
    return table


def extra_table(results: Results, names: Sequence[str]) -> Table | None:
    """Memory and latencies, where a client told them."""
    table = Table(title="memory and latency (medians)", title_justify="left")
    for head in ("scenario", "client", "peak RSS, MB", "growth 20-100 %, MB", "p50, us", "p99, us"):
        table.add_column(head, justify="left" if head in ("scenario", "client") else "right")
    for (scenario, client), samples in results.samples.items():
        if scenario not in names or not samples or not samples[0].extra:
            continue
        peak, growth, p50, p99 = (
            results.median(scenario, client, m) for m in ("peak_rss", "growth", "p50", "p99")
        )
        table.add_row(
            scenario,
            client,
            short((peak or 0) / 1e6),
            f"{growth / 1e6:.2f}" if growth is not None else NOTHING,
            short(p50 * 1e6) if p50 is not None else NOTHING,
            short(p99 * 1e6) if p99 is not None else NOTHING,
        )
    return table if table.row_count else None


def target_table(verdicts: Sequence[Verdict]) -> Table:
    table = Table(title="targets", title_justify="left")
    for head in ("scenario", "against", "wanted", "found", ""):
        table.add_column(head)
    for verdict in verdicts:
        target = verdict.target
        against = target.against or NOTHING
        if target.base is not None and target.against is not None:
            against += f", {target.base}"
        word, style = ("met", "green") if verdict.met else ("", "")
        if verdict.missed:
            word, style = "MISSED", "bold red"
        table.add_row(target.scenario, against, target.wanted(), verdict.found(), Text(word, style))
    return table


def print_report(
    console: Console, scenarios: Sequence[Scenario], results: Results, verdicts: Sequence[Verdict]
) -> None:
    for scenario in scenarios:
        if results.clients_of([scenario.name]):
            console.print(scenario_table(scenario, results))
    extra = extra_table(results, [scenario.name for scenario in scenarios])
    if extra is not None:
        console.print(extra)
    for (scenario_name, client), why in results.failures.items():
        console.print(f"[red]{scenario_name}, {client}: {why}", highlight=False)
    if verdicts:
        console.print(target_table(verdicts))


def machine() -> dict[str, Any]:
    """Where the figures were taken."""
    model = platform.processor()
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    here = Path(__file__).resolve().parent
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=here, capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "commit": commit,
        "load": os.getloadavg(),
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def write_json(
    folder: Path, scenarios: Sequence[Scenario], results: Results, verdicts: Sequence[Verdict]
) -> Path:
    """All samples and verdicts; returns the file."""
    titles = {scenario.name: scenario for scenario in scenarios}
    report = {
        "machine": machine(),
        "versions": results.versions,
        "samples": [
            {
                "scenario": name,
                "title": titles[name].title,
                "client": client,
                "size": titles[name].size,
                "count": titles[name].counts[client],
                "wall_us": [sample.wall for sample in samples],
                "cpu_us": [sample.cpu for sample in samples],
                "peak_rss": [sample.peak_rss for sample in samples],
                "extra": [sample.extra for sample in samples],
            }
            for (name, client), samples in results.samples.items()
        ],
        "failures": [
            {"scenario": name, "client": client, "why": why}
            for (name, client), why in results.failures.items()
        ],
        "targets": [
            {
                "scenario": verdict.target.scenario,
                "against": verdict.target.against,
                "base": verdict.target.base_scenario,
                "metric": verdict.target.metric,
                "limit": verdict.target.limit,
                "value": verdict.value,
                "met": verdict.met,
            }
            for verdict in verdicts
        ],
    }
    path = folder / "results.json"
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return path
