#!/usr/bin/env python3
"""Builds and runs the C tests of src/wire, in three builds: plain, ASan + UBSan, TSan; and the fuzz targets.

    python3 tools/ctest.py run [NAME...]           every tests/c/test_*.c, or those whose name contains a NAME
    python3 tools/ctest.py fuzz [--seconds N]      every tests/c/fuzz_*.c, N seconds each

No path leads to Python.h here: that the wire layer builds is the proof that it does not need it.  Objects
stand in build/ctest/BUILD/ and are compiled again when a source, a header or a flag changed.
Needs nothing but the standard library of Python 3.9.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "build" / "ctest"
JOBS = os.cpu_count() or 1
TIMEOUT = 150.0  # seconds a test binary may take; its own alarm comes at 120

WARNINGS = tuple("-Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Werror".split())
COMMON = ("-std=c17", "-g", "-fvisibility=hidden", "-pthread")


@dataclass(frozen=True)
class Build:
    """One way to compile C files."""

    name: str
    compiler: str
    flags: tuple[str, ...]
    warnings: tuple[str, ...] = (*WARNINGS, "-Wconversion")


SANITIZE = ("-O1", "-fno-omit-frame-pointer", "-fno-sanitize-recover=all")
PLAIN = Build("plain", "gcc", ("-O2",))
ASAN = Build("asan", "gcc", (*SANITIZE, "-fsanitize=address,undefined"))
TSAN = Build("tsan", "gcc", (*SANITIZE, "-fsanitize=thread"))
FUZZ = Build("fuzz", "clang", (*SANITIZE, "-fsanitize=fuzzer-no-link,address,undefined"))
BUILDS = (PLAIN, ASAN, TSAN)


@dataclass(frozen=True)
class Result:
    """What came of one program: `output` is what it printed, or the compiler's complaint."""

    name: str
    passed: bool
    output: str


class CompileError(Exception):
    """The compiler's output; what it complained about is in it."""


def rabbitmq_c(option: str) -> list[str]:
    return subprocess.check_output(["pkg-config", option, "librabbitmq"], text=True).split()


def compiler_run(command: Sequence[str | Path]) -> None:
    done = subprocess.run(
        [str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT
    )
    if done.returncode != 0:
        raise CompileError(done.stdout)


# ---- building ----


def headers_digest() -> str:
    """One digest of every header: when one changes everything is compiled again, which takes seconds."""
    digest = hashlib.sha256()
    for header in sorted([*ROOT.glob("src/**/*.h"), *ROOT.glob("tests/c/*.h")]):
        digest.update(header.read_bytes())
    return digest.hexdigest()


def compile_object(build: Build, source: Path, headers: str) -> Path:
    """Object of `source`, named by the digest of all that went into it."""
    command = [
        build.compiler,
        *COMMON,
        *build.warnings,
        *build.flags,
        "-Isrc",
        "-Isrc/wire",
        *rabbitmq_c("--cflags"),
    ]
    digest = hashlib.sha256(repr((command, headers)).encode() + source.read_bytes()).hexdigest()[:16]
    stem = f"{source.parent.name}-{source.stem}"  # rooms of different floors may have one name
    target = OUTPUT / build.name / f"{stem}-{digest}.o"
    if not target.exists():
        for old in target.parent.glob(f"{stem}-*.o"):
            if old != target:  # which another process may have made since
                old.unlink(missing_ok=True)
        partial = target.with_suffix(f".{os.getpid()}.tmp")
        compiler_run([*command, "-c", source, "-o", partial])
        partial.touch()  # -fsyntax-only makes none
        partial.replace(target)
    return target


def wire_objects(pool: ThreadPoolExecutor, build: Build) -> list[Path]:
    """The wire layer in `build`, compiled in parallel."""
    (OUTPUT / build.name).mkdir(parents=True, exist_ok=True)
    headers = headers_digest()
    return list(pool.map(lambda source: compile_object(build, source, headers), sources("src/wire/*.c")))


def make_program(build: Build, source: Path, objects: Sequence[Path], *flags: str) -> Path:
    """Program of one test or fuzz target; linked anew each time, which takes a fraction of a second."""
    program = OUTPUT / build.name / source.stem
    parts = [compile_object(build, source, headers_digest()), *objects]
    compiler_run(
        [build.compiler, *build.flags, *flags, "-pthread", *parts, *rabbitmq_c("--libs"), "-o", program]
    )
    return program


def sources(pattern: str) -> list[Path]:
    return sorted(ROOT.glob(pattern))


# ---- running ----


def without_address_randomisation() -> list[str]:
    """TSan of older compilers finds no room for its shadow beside a strongly randomised address space."""
    prefix = ["setarch", platform.machine(), "--addr-no-randomize"]
    if shutil.which("setarch") and subprocess.run([*prefix, "true"], capture_output=True).returncode == 0:
        return prefix
    return []


def run_program(name: str, command: Sequence[str], timeout: float) -> Result:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired as error:
        return Result(name, False, (error.stdout or b"").decode(errors="replace") + f"over {timeout:.0f} s\n")
    output = done.stdout.decode(errors="replace")
    if done.returncode != 0:
        output += f"exit status {done.returncode}\n"
    return Result(name, done.returncode == 0, output)


def selected(pattern: str, names: Sequence[str]) -> list[Path]:
    return [path for path in sources(pattern) if not names or any(name in path.stem for name in names)]


def run_tests(names: Sequence[str] = ()) -> list[Result]:
    """Every test in every build; what does not compile counts as failed in that build."""
    prefix: dict[Build, list[str]] = {TSAN: without_address_randomisation()}

    def make_and_run(build: Build, objects: Sequence[Path], test: Path) -> Result:
        label = f"{test.stem}[{build.name}]"
        try:
            program = make_program(build, test, objects)
        except CompileError as error:
            return Result(label, False, str(error))
        return run_program(label, [*prefix.get(build, []), str(program)], TIMEOUT)

    results: list[Result] = []
    with ThreadPoolExecutor(JOBS) as pool:
        for build in BUILDS:
            try:
                objects = wire_objects(pool, build)
            except CompileError as error:
                results.append(Result(f"src/wire[{build.name}]", False, str(error)))
                continue
            make = functools.partial(make_and_run, build, objects)
            results += pool.map(make, selected("tests/c/test_*.c", names))
    return results


def run_fuzzers(seconds: int, names: Sequence[str] = ()) -> list[Result]:
    """Every fuzz target for `seconds`; starts from tests/c/corpus/NAME where that exists."""

    def make_and_run(objects: Sequence[Path], target: Path) -> Result:
        label = f"{target.stem}[{seconds} s]"
        try:
            program = make_program(FUZZ, target, objects, "-fsanitize=fuzzer")
        except CompileError as error:
            return Result(label, False, str(error))
        found = OUTPUT / FUZZ.name / f"{target.stem}.corpus"  # what it learns stays for the next run
        found.mkdir(exist_ok=True)
        seeds = ROOT / "tests" / "c" / "corpus" / target.stem
        command = [str(program), f"-max_total_time={seconds}", "-rss_limit_mb=1024", "-timeout=10"]
        command += [f"-artifact_prefix={program}-", str(found)]
        command += [str(seeds)] if seeds.is_dir() else []
        return run_program(label, command, seconds + TIMEOUT)

    with ThreadPoolExecutor(JOBS) as pool:
        try:
            objects = wire_objects(pool, FUZZ)
        except CompileError as error:
            return [Result(f"src/wire[{FUZZ.name}]", False, str(error))]
        return list(pool.map(functools.partial(make_and_run, objects), selected("tests/c/fuzz_*.c", names)))


def report(results: Sequence[Result]) -> int:
    """Prints a line a program, the output of the failed ones, and the count; returns the exit status."""
    for result in results:
        print(f"{'passed' if result.passed else 'FAILED'}  {result.name}")
        if not result.passed:
            print(result.output)
    failed = sum(not result.passed for result in results)
    print(f"{len(results) - failed} passed, {failed} failed")
    return 0 if failed == 0 and results else 1


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=["run", "fuzz"])
    parser.add_argument("names", nargs="*", metavar="NAME", help="only programs whose name contains this")
    parser.add_argument("--seconds", type=int, default=60, help="how long each fuzz target runs (60)")
    args = parser.parse_args()
    if args.action == "run":
        return report(run_tests(args.names))
    return report(run_fuzzers(args.seconds, args.names))


if __name__ == "__main__":
    sys.exit(main())
