"""The tables at the end."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.markup import escape
from rich.table import Table

PLAIN_WIDTH = 140
"""Columns where the output is no terminal."""


@dataclass
class Row:
    """What became of one entry on both libraries.

    :param cells: what the entry is, then what each library gave
    :param complaints: what differs, or why there is nothing to compare; empty where both are alike
    """

    name: str
    cells: Sequence[str] = ()
    complaints: list[str] = field(default_factory=list)


def make_console() -> Console:
    """One for a terminal or for a file."""
    return Console() if sys.stdout.isatty() else Console(width=PLAIN_WIDTH)


def table(title: str, heads: Sequence[str], rows: Sequence[Row]) -> Table:
    """A line for each entry: what it is, what it gave, whether that is the same."""
    made = Table(title=title, title_justify="left")
    made.add_column("", no_wrap=True)
    for number, head in enumerate(heads):
        made.add_column(head, justify="right" if number > 1 else "left", no_wrap=number != 1)
    made.add_column("verdict", no_wrap=True)
    for row in rows:
        cells = [*row.cells, *[""] * (len(heads) - len(row.cells))]
        verdict = "[red]DIFFERS[/red]" if row.complaints else "[green]same[/green]"
        made.add_row(row.name, *map(escape, cells), verdict)
    return made
