"""The tables at the end."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .case import Part
from .ledger import Ledger

PLAIN_WIDTH = 140
"""Columns where the output is no terminal."""
NUMBERS = ("done", "lost", "doubled", "wrong", "slowest, s")

Rows = dict[tuple[str, str], Ledger]


def make_console() -> Console:
    """One for a terminal or for a file."""
    return Console() if sys.stdout.isatty() else Console(width=PLAIN_WIDTH)


def summary(rows: Rows) -> Table:
    """A line a row: what, how much, what went wrong, the slowest call."""
    table = Table(title="make soak", title_justify="left")
    table.add_column("part", no_wrap=True)
    table.add_column("what", min_width=24)
    for head in NUMBERS:
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("of calls to", max_width=24)
    table.add_column("run, s", justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    part_before = ""
    for (part, row), ledger in rows.items():
        if part != part_before and part_before:
            table.add_section()
        numbers = [f"{number:,}" for number in (ledger.lost, ledger.doubled, ledger.wrong)]
        table.add_row(
            part if part != part_before else "",
            escape(row),
            f"{ledger.done:,} {ledger.unit}",
            *numbers,
            f"{ledger.slowest:.2f}" if ledger.slowest_call else "-",
            escape(ledger.slowest_call),
            f"{ledger.seconds:.0f}",
            "[red]FAILED[/red]" if ledger.violations else "[green]kept[/green]",
        )
        part_before = part
    return table


def measures(part: Part, rows: Rows) -> Table | None:
    """The part's own table, where it has one."""
    lines = [line for (name, _), ledger in rows.items() if name == part.name for line in ledger.measures]
    if not lines:
        return None
    table = Table(title=part.title, title_justify="left")
    for number, head in enumerate(part.columns):
        table.add_column(head, justify="right" if number > 1 else "left", no_wrap=True)
    for line in lines:
        table.add_row(*map(escape, line))
    return table
