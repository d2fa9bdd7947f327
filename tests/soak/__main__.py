"""The command: `make soak`, or `PYTHONPATH=tests python -m soak [NAME,...] [--scale 1.0] [--list]`."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from support.certs import Certificates
from support.subject import SUBJECT, pika

from .case import Case, Part, Room, run_cases
from .ledger import Ledger
from .parts import PARTS
from .table import Rows, make_console, measures, summary

MANY = 40
"""Cases of a part of which each is told as it ends."""


def chosen(part: Part, scale: float, names: list[str]) -> list[Case]:
    """The cases that `names` ask for: `part`, or `part/text` for those with the text in their name."""
    cases = part.cases(scale)
    if not names or part.name in names:
        return cases
    texts = [name.split("/", 1)[1] for name in names if name.startswith(part.name + "/")]
    return [case for case in cases if any(text in case.name for text in texts)]


def run_part(part: Part, cases: list[Case], scale: float, folder: Path, rows: Rows) -> list[str]:
    """Runs the cases one after the other; returns the violations in words."""
    told: list[str] = []
    with part.stage() as url:
        room = Room(url, scale, folder, Certificates(folder), Ledger())
        for number, (case, ledger) in enumerate(run_cases(cases, room, part.together), 1):
            rows.setdefault((part.name, case.row), Ledger()).add(ledger)
            if ledger.violations:
                where = f"{part.name}/{case.name}"
                told += [f"{where}: {fault}" for fault in ledger.faults]
                print(f"  {where}: {ledger.violations} violations; {ledger.faults[0]:.300}", flush=True)
            elif len(cases) <= MANY or number % MANY == 0:
                took = f"{case.name}, {ledger.seconds:.0f} s"
                print(f"  {part.name}: {number} of {len(cases)} cases, {took}", flush=True)
    return told


def main() -> int:
    """Exit status 0 when nothing was violated."""
    parser = argparse.ArgumentParser(prog="soak", description="Long runs against faults, load and time.")
    parser.add_argument("names", nargs="?", default="", help="part,part/text,...; all parts where empty")
    parser.add_argument("--scale", type=float, default=1.0, help="of the amount of work; default 1.0")
    parser.add_argument("--list", action="store_true", help="only print the names of the cases")
    options = parser.parse_args()
    names = [name for name in options.names.split(",") if name]
    plays = [(part, chosen(part, options.scale, names)) for part in PARTS]
    plays = [(part, cases) for part, cases in plays if cases]
    if not plays:
        parser.error(f"no case is called {options.names!r}")
    if options.list:
        print("\n".join(f"{part.name}/{case.name}" for part, cases in plays for case in cases))
        return 0
    rows: Rows = {}
    told: list[str] = []
    begin = time.monotonic()
    print(f"soak of {SUBJECT} {getattr(pika, '__version__', '')}, scale {options.scale:g}", flush=True)
    with tempfile.TemporaryDirectory(prefix="cpika-soak-") as folder:
        for part, cases in plays:
            print(f"{part.name}: {part.title}, {len(cases)} cases", flush=True)
            told += run_part(part, cases, options.scale, Path(folder), rows)
    console = make_console()
    for part, _ in plays:
        own = measures(part, rows)
        if own is not None:
            console.print(own)
    console.print(summary(rows))
    for (part_name, row), ledger in rows.items():
        outcomes = ", ".join(f"{what} {count:,}" for what, count in sorted(ledger.tally.items()))
        for note in ledger.notes + ([f"outcomes: {outcomes}"] if outcomes else []):
            console.print(f"{part_name}, {row}: {note}", markup=False, highlight=False)
    for line in told:
        console.print(f"VIOLATION {line}", markup=False, highlight=False, soft_wrap=True)
    violations = sum(ledger.violations for ledger in rows.values())
    print(f"{violations} violations, {time.monotonic() - begin:.0f} s")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
