#!/usr/bin/env python3
"""The threads' tests on a CPython without the GIL, which ThreadSanitizer watches along with the extension.

    python3 tools/free_threading.py SOURCE                    those of FILES
    python3 tools/free_threading.py SOURCE -- PYTEST-ARGS     others, or some
    python3 tools/free_threading.py SOURCE --torture -- ARGS   random use instead: the arguments of torture
    python3 tools/free_threading.py SOURCE --plain ...         all that without the sanitizer

SOURCE is CPython 3.14 or later, a folder or a tar file: distributions carry no such build.  It is built once,
by clang, in build/free-threading.  The exit status is 0 when the tests pass and the sanitizer has reported
nothing; its reports are kept in build/free-threading/reports.  Everything takes some ten times as long under
it: the tests' own limits are told so (CPIKA_TEST_PATIENCE).  Without it threads meet more often, and what a
race does is seen by the tests alone.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sources import ROOT, SourceError, run, unpack

FOLDER = ROOT / "build" / "free-threading"
REPORTS = FOLDER / "reports"
# Of what the tests import, what has a build without the GIL or needs none.
PACKAGES = (
    "setuptools>=77",
    "pytest>=8,<9.2",
    "pytest-timeout>=2.3",
    "pytest-xdist>=3.6",
    "pika>=1.4.4,<2",
    "trustme>=1.1",
    "wrapt>=1.17",
    "tornado>=6.4",
    "twisted[tls]>=24.3",
)
FILES = (
    "tests/loops/test_thread_safe.py",
    "tests/loops/test_thread_safe_faults.py",
    "tests/loops/test_interrupted_callers.py",
    "tests/buffered/test_buffered_beside.py",
    "tests/publish_many/test_publish_many_beside.py",
    "tests/faults/test_abandoned.py",
    "tests/faults/test_answers.py",
    "tests/faults/test_blocks.py",
    "tests/faults/test_closing.py",
    "tests/faults/test_dispatchers.py",
    "tests/faults/test_early_ends.py",
    "tests/faults/test_end_of_stream.py",
    "tests/faults/test_held_acks.py",
    "tests/faults/test_keeper_of_python_sockets.py",
    "tests/faults/test_lock_order.py",
    "tests/faults/test_messages_in_hand.py",
    "tests/faults/test_overrides.py",
    "tests/faults/test_numbers.py",
    "tests/faults/test_patience.py",
    "tests/faults/test_reason.py",
    "tests/faults/test_returns.py",
    "tests/faults/test_waiting_in_recv.py",
    "tests/faults/test_waking.py",
    "tests/rules/test_rule_05_lock.py",
    "tests/rules/test_rule_12_output.py",
    "tests/rules/test_rule_13_threads.py",
    "tests/test_faults.py",
    "tests/test_gate.py",
)
UNFIT = (
    # It counts how often all threads wake, the sanitizer's own among them.
    "tests/faults/test_waking.py::test_an_idle_dispatcher_wakes_about_once_a_second",
    # The sanitizer's notes grow with the messages.
    "tests/test_faults.py::test_memory_does_not_grow_with_the_messages",
    # There the thread that waits sends.
    "tests/loops/test_thread_safe.py::test_while_the_io_thread_waits_the_caller_sends",
    # 3.14 loses that exception to a callback of a weak reference, when the thread that sets it ends at once.
    "tests/faults/test_waiting_in_recv.py"
    "::test_an_exception_of_another_thread_comes_however_often_the_peer_sends[False]",
)
UNFIT_PLAIN = (
    # Here the signal also strikes between the return of basic_get and the test's next line.
    "tests/faults/test_abandoned.py::test_an_interrupt_between_answer_and_return_loses_no_message",
)


@dataclass(frozen=True)
class Flavour:
    """How CPython and the extension are built, and how much longer everything takes then."""

    name: str
    options: tuple[str, ...]  # of CPython's configure
    sanitizer: str  # of the extension
    patience: int  # times as long as usual
    unfit: tuple[str, ...]  # tests that say nothing there


SANITIZED = Flavour("tsan", ("--disable-gil", "--with-thread-sanitizer"), "thread", 10, UNFIT)
PLAIN = Flavour("plain", ("--disable-gil",), "", 2, (*UNFIT[-2:], *UNFIT_PLAIN))


def interpreter(given: Path, flavour: Flavour) -> tuple[Path, Path]:
    """The program of the CPython built from that source, and its source; built where it is not yet."""
    named = hashlib.sha256(str(given.resolve()).encode()).hexdigest()[:12]
    prefix = FOLDER / f"{named}-{flavour.name}"
    stamp = prefix / "built"
    if not stamp.exists():
        shutil.rmtree(prefix, ignore_errors=True)
        tree = given.absolute() if given.is_dir() else unpack(given, prefix / "source")
        work = prefix / "work"
        work.mkdir(parents=True)
        clang = {**os.environ, "CC": "clang", "CXX": "clang++"}
        run(tree / "configure", *flavour.options, f"--prefix={prefix / 'python'}", cwd=work, env=clang)
        run("make", f"-j{os.cpu_count() or 1}", cwd=work)
        # To compile the whole standard library takes longer, under the sanitizer, than what is used of it.
        run("make", "install", "COMPILEALL_OPTS=--help", cwd=work)
        shutil.rmtree(work)
        stamp.write_text(str(tree))
    (program,) = (prefix / "python" / "bin").glob("python3.[0-9]*t")
    return program, Path(stamp.read_text())


def environment(program: Path, source: Path, flavour: Flavour) -> tuple[Path, dict[str, str]]:
    """A virtual environment of it with the tests' packages and the extension, and the variables for it."""
    folder = program.parents[2] / "environment"
    python = folder / "bin" / "python"
    quiet = {**os.environ, "TSAN_OPTIONS": "report_bugs=0"}
    stamp = folder / "packages"
    if not stamp.exists() or stamp.read_text() != repr(PACKAGES):
        run(program, "-m", "venv", "--clear", folder, env=quiet)
        run(python, "-m", "pip", "--disable-pip-version-check", "-q", "install", *PACKAGES, env=quiet)
        stamp.write_text(repr(PACKAGES))
    built = folder / "cpika"
    build = {**quiet, "CPIKA_SANITIZE": flavour.sanitizer, "CPIKA_DEBUG": "1"}
    command = ("setup.py", "--quiet", "build", f"--build-base={built}", f"--build-lib={built / 'lib'}")
    run(python, *command, cwd=ROOT, env=build)
    (site,) = folder.glob("lib/python3*/site-packages")
    (site / "cpika.pth").write_text(f"{built / 'lib'}\n")
    suppressed = source / "Tools" / "tsan" / "suppressions_free_threading.txt"
    options = [f"suppressions={suppressed}", f"log_path={REPORTS / 'report'}", "exitcode=0"]
    options += ["report_signal_unsafe=0", "history_size=4", "die_after_fork=0"]
    made = {
        **os.environ,
        "TSAN_OPTIONS": ":".join(options),
        "PYTHON_GIL": "0",
        "CPIKA_TEST_PATIENCE": str(flavour.patience),
    }
    made.pop("PYTHONDONTWRITEBYTECODE", None)  # each scene would compile what it imports, for seconds
    return python, made


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        usage="%(prog)s [-h] [--plain] [--torture] SOURCE [-- ARG ...]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", type=Path, metavar="SOURCE", help="CPython's, a folder or a tar file")
    parser.add_argument("--plain", action="store_true", help="without ThreadSanitizer")
    parser.add_argument("--torture", action="store_true", help="random use instead of pytest")
    # What stands after -- is not argparse's: it takes the list of a "*" to end where an option comes.
    given = list(sys.argv[1:] if arguments is None else arguments)
    split = given.index("--") if "--" in given else len(given)
    options, passed = parser.parse_args(given[:split]), given[split + 1 :]
    if not options.source.exists():
        parser.error(f"there is no {options.source}")
    try:
        flavour = PLAIN if options.plain else SANITIZED
        program, source = interpreter(options.source, flavour)
        python, env = environment(program, source, flavour)
    except SourceError as error:
        print(f"free_threading.py: {error}", file=sys.stderr)
        return 1
    shutil.rmtree(REPORTS, ignore_errors=True)
    REPORTS.mkdir(parents=True)
    if options.torture:
        env["PYTHONPATH"] = str(ROOT / "tests")
        command = ["-m", "torture", *passed]
    else:
        command = [
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "-q",
            f"--timeout={60 * flavour.patience}",
            *(f"--deselect={name}" for name in flavour.unfit),
        ]
        command += passed or ["-n", "2", "--dist", "loadgroup", *FILES]
    broker = [sys.executable, str(ROOT / "tools" / "broker.py"), "exec", "--"]
    status = subprocess.run([*broker, str(python), *command], cwd=ROOT, env=env).returncode
    reports = sorted(REPORTS.iterdir())
    print(f"{len(reports)} processes with reports of ThreadSanitizer" + (f": {REPORTS}" if reports else ""))
    return 1 if status or reports else 0


if __name__ == "__main__":
    sys.exit(main())
