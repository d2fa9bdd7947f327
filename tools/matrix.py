#!/usr/bin/env python3
"""The tests in more than one world: each CPython, on Debian releases, with their RabbitMQ and rabbitmq-c.

    python3 tools/matrix.py                     all cells that have not run on these sources, then the table
    python3 tools/matrix.py debian-13 */3.9     only cells that match one of the patterns
    python3 tools/matrix.py debian-13 --tests "tests/test_tls.py -k name"      these tests; nothing is kept
    python3 tools/matrix.py --list              the cells; --table: what is known of them, nothing is run

A cell is a folder in a Debian system of its own (tools/worlds.py) with a copy of the repository, in which
`make setup-test` installs what is missing and the whole test suite runs against a broker started there.
What it counted is kept in build/matrix and holds until a file of the repository changes.  The exit status is
0 when every cell that was asked for is green.
"""

from __future__ import annotations

import argparse
import fnmatch
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import rabbitmq_c
from sources import SourceError
from worlds import (
    DEBIAN_12,
    DEBIAN_13,
    ROOT,
    UNSTABLE,
    Interpreter,
    Mount,
    World,
    WorldError,
    interpreters,
    lendable,
)

RESULTS = ROOT / "build" / "matrix"
TIMEOUT = 3600.0  # seconds a cell may take; a free machine with two cores needs some 400
DOCUMENTS = ("*.md", "*.svg", "LICENSE", ".gitignore")  # what no test's count hangs on
TESTS = ("--dist", "loadgroup", "-v", "--color=no")
WORKERS = 4  # as in `make test`

WORLDS = (DEBIAN_13, UNSTABLE, DEBIAN_12)
OF_THE_SYSTEM = {DEBIAN_12: ("3.11",), DEBIAN_13: ("3.13",), UNSTABLE: ("3.14", "3.15")}
# The other rabbitmq-c, linked statically: so each RabbitMQ meets each.
ALSO = {(DEBIAN_12, "3.11"): "0.15", (DEBIAN_13, "3.13"): "0.11"}


@dataclass(frozen=True)
class Cell:
    """One place in the table.

    :param minor: of CPython, for example "3.9"
    :param lent: the interpreter of this machine that is lent to the world; None: the world's own
    :param static: version of the rabbitmq-c that is linked instead of the world's
    """

    world: World
    minor: str
    lent: Interpreter | None = None
    static: str | None = None

    @property
    def name(self) -> str:
        """What a pattern of the command line is compared with."""
        return f"{self.world.name}/{self.minor}" + (f"/rabbitmq-c-{self.static}" if self.static else "")

    @property
    def python(self) -> str:
        """Path of the interpreter in the world."""
        return self.lent.path if self.lent else f"/usr/bin/python{self.minor}"

    @property
    def folder(self) -> str:
        """Where the copy of the repository lies in the world."""
        return "/cells/" + self.name.replace("/", "-")


@dataclass(frozen=True)
class Result:
    """What a cell has counted.

    :param failed: names of the tests that failed
    :param problem: why nothing was counted, if so
    """

    sources: str
    python: str = ""
    rabbitmq: str = ""
    rabbitmq_c: str = ""
    passed: int = 0
    skipped: int = 0
    failed: tuple[str, ...] = ()
    seconds: int = 0
    problem: str = ""

    @property
    def green(self) -> bool:
        """All that ran has passed, and something ran."""
        return self.passed > 0 and not self.failed and not self.problem


def cells() -> list[Cell]:
    """All of them, those first that tell most."""
    lent = [interpreter for interpreter in interpreters() if lendable(interpreter)]
    found = []
    for world in WORLDS:
        own = OF_THE_SYSTEM[world]
        found += [Cell(world, minor) for minor in own]
        if world is not UNSTABLE:
            found += [Cell(world, one.minor, one) for one in lent if one.minor not in own]
    found += [Cell(world, minor, static=version) for (world, minor), version in ALSO.items()]
    return found


# ---- the files of the repository


def files() -> list[str]:
    """Names of the files as they are now, committed or not, without what was built from them."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.check_output(listed, cwd=ROOT, text=True).split("\0")
    return sorted(name for name in names if name and (ROOT / name).is_file())


def digest(names: Iterable[str]) -> str:
    """A number that changes with the contents of what is built and tested."""
    made = hashlib.sha256()
    for name in names:
        if not any(fnmatch.fnmatch(name, pattern) for pattern in DOCUMENTS):
            made.update(f"{name}\0{hashlib.sha256((ROOT / name).read_bytes()).hexdigest()}\0".encode())
    return made.hexdigest()[:16]


def copy(names: Iterable[str], folder: Path) -> None:
    """Copies the files; of an earlier copy, the virtual environment stays and nothing else."""
    names = list(names)
    kept = folder / ".venv"
    aside = folder.with_name(folder.name + ".venv")
    if kept.exists():
        kept.rename(aside)
    shutil.rmtree(folder, ignore_errors=True)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    if aside.exists():
        aside.rename(kept)
    # Tests ask git for the files.
    for command in (["git", "init", "-q"], ["git", "add", "-A"]):
        subprocess.run(command, cwd=folder, check=True)


# ---- a cell


def play(cell: Cell, names: Sequence[str], sources: str, tests: Sequence[str]) -> Result:
    """Sets a cell up and runs the tests in it.

    :param tests: what pytest is told besides TESTS
    """
    log = RESULTS / (cell.name.replace("/", "-") + ".log")
    log.unlink(missing_ok=True)
    began = time.monotonic()
    try:
        cell.world.make(say)
        return measure(cell, names, sources, tests, log, began)
    except (WorldError, SourceError) as error:
        return Result(sources, problem=str(error)[-2000:])
    except subprocess.TimeoutExpired:
        return Result(sources, problem=f"not done after {TIMEOUT:.0f} s")


def measure(
    cell: Cell, names: Sequence[str], sources: str, tests: Sequence[str], log: Path, began: float
) -> Result:
    """The part that runs in the world."""
    folder = cell.world.root / cell.folder.lstrip("/")
    copy(names, folder)
    mounts = [Mount(cell.lent.prefix, cell.lent.prefix)] if cell.lent else []
    # What pip has built for one CPython 3.13 is linked with that one's library, and not with another 3.13's.
    env = {"PIP_CACHE_DIR": f"/root/.cache/pip/{cell.world.name}-{cell.minor}"}
    if cell.static:
        env[rabbitmq_c.PREFIX_VARIABLE] = "/opt/rabbitmq-c"
        mounts.append(Mount(str(rabbitmq_c.static(cell.static)), "/opt/rabbitmq-c"))

    def run(*command: str, to: Path | None = None) -> str:
        return cell.world.run(
            command, folder=cell.folder, mounts=mounts, env=env, log=to, timeout=TIMEOUT
        ).strip()

    say(f"{cell.name}: set-up")
    run("make", "setup-test", f"PYTHON={cell.python}", to=log)
    say(f"{cell.name}: tests")
    py, report = ".venv/bin/python", "build/matrix.xml"
    problem = ""
    try:
        broker = (py, "tools/broker.py", "exec", "--own", "--")
        run(*broker, py, "-m", "pytest", *TESTS, f"--junitxml={report}", *tests, to=log)
    except WorldError as error:
        problem = str(error)
    passed, skipped, failed = counts(folder / report)
    return Result(
        sources,
        run(py, "-c", "import platform; print(platform.python_version())"),
        run("dpkg-query", "-W", "-f", "${source:Upstream-Version}", "rabbitmq-server"),
        cell.static or run("pkg-config", "--modversion", "librabbitmq"),
        passed,
        skipped,
        tuple(failed),
        round(time.monotonic() - began),
        "" if passed else problem or "no test ran",
    )


def counts(report: Path) -> tuple[int, int, list[str]]:
    """Passed, skipped, and the names of the failed tests, of pytest's own report."""
    passed, skipped, failed = 0, 0, []
    if report.exists():
        for case in xml.etree.ElementTree.parse(report).iter("testcase"):
            outcomes = {child.tag for child in case}
            if outcomes & {"failure", "error"}:
                failed.append(f"{case.get('classname')}::{case.get('name')}")
            elif "skipped" in outcomes:
                skipped += 1
            else:
                passed += 1
    return passed, skipped, sorted(set(failed))


# ---- what is kept, and the table


def kept(cell: Cell) -> Path:
    return RESULTS / (cell.name.replace("/", "-") + ".json")


def known(cell: Cell) -> Result | None:
    """The result of the last run of a cell, of whatever sources."""
    try:
        fields = json.loads(kept(cell).read_text())
        return Result(**{**fields, "failed": tuple(fields["failed"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def row(*fields: object) -> str:
    """A line of a Markdown table."""
    return f"| {' | '.join(map(str, fields))} |"


def table(rows: Sequence[tuple[Cell, Result | None]], sources: str) -> str:
    """The cells as a Markdown table, and under it what failed."""
    lines = [
        "| system | CPython | RabbitMQ | rabbitmq-c | passed | failed | skipped | s |",
        "|---|---|---|---|---:|---:|---:|---:|",
    ]
    notes = []
    for cell, result in rows:
        if result is None:
            lines.append(row(cell.world.name, cell.minor, "", cell.static or "", "not run", "", "", ""))
            continue
        older = "" if result.sources == sources else " (older sources)"
        linked = result.rabbitmq_c + (" static" if cell.static else "")
        where = (cell.world.name, result.python or cell.minor, result.rabbitmq, linked)
        outcome = (f"{result.passed}{older}", len(result.failed), result.skipped, result.seconds)
        lines.append(row(*where, *outcome))
        notes += [f"{cell.name}: {name}" for name in result.failed]
        if result.problem:
            notes.append(f"{cell.name}: {result.problem}")
    return "\n".join([*lines, *(["", "Not green:", *notes] if notes else [])])


def say(text: str) -> None:
    print(f"matrix: {text}", file=sys.stderr, flush=True)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("patterns", nargs="*", help="names of cells, with * and ?; or of worlds")
    parser.add_argument("--tests", default="", help="what pytest is told, instead of all tests")
    parser.add_argument(
        "--workers", type=int, default=WORKERS, help="processes that share the tests of a cell"
    )
    parser.add_argument("--list", action="store_true", help="print the names of the cells")
    parser.add_argument("--table", action="store_true", help="print what is known, run nothing")
    parser.add_argument("--again", action="store_true", help="run cells that are green on these sources, too")
    options = parser.parse_args()
    wanted = [
        cell
        for cell in cells()
        if not options.patterns
        or any(fnmatch.fnmatch(name, p) for p in options.patterns for name in (cell.name, cell.world.name))
    ]
    if not wanted:
        parser.error(f"no cell is called {' or '.join(options.patterns)}")
    if options.list:
        print("\n".join(cell.name for cell in wanted))
        return 0
    names = files()
    sources = digest(names)
    RESULTS.mkdir(parents=True, exist_ok=True)
    for cell in wanted if not options.table else ():
        before = known(cell)
        if before and before.sources == sources and before.green and not (options.again or options.tests):
            continue
        told = ("-n", str(options.workers), *shlex.split(options.tests))
        result = play(cell, names, sources, told)
        if not options.tests:
            temporary = kept(cell).with_suffix(".new")
            temporary.write_text(json.dumps(asdict(result), indent=1))
            os.replace(temporary, kept(cell))
        outcome = f"{result.passed} passed, {len(result.failed)} failed" if result.passed else result.problem
        say(f"{cell.name}: {outcome}")
        for name in result.failed:
            say(f"{cell.name}: failed: {name}")
    rows = [(cell, known(cell)) for cell in wanted]
    print(table(rows, sources))
    return 0 if all(row is not None and row.green for _, row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
