#!/usr/bin/env python3
"""Static checks: compiler warnings, analyzers, formatters, linters, types.

    .venv/bin/python tools/checks.py [NAME...]     all of them or those named; prints complaints

tests/test_static.py runs the same ones, a test each.  What gcc warns of above src/wire is not among them:
every build prints it, and tests/test_packaging.py makes one in which it is an error.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ctest
from ctest import ROOT

SHOWN = 60  # lines of one tool's complaints
BIN = Path(sys.executable).parent
PYTHON_H = ("-isystem", sysconfig.get_path("include"))
# clang warns of all that it warns of before it generates code; of -c too then, from clang 21 on.
SYNTAX = ("-fsyntax-only", "-Wno-unused-command-line-argument")
CORE_CLANG = ctest.Build("core-clang", "clang", (*SYNTAX, *PYTHON_H), ctest.WARNINGS)
WIRE_CLANG = ctest.Build("wire-clang", "clang", SYNTAX)
# Leaks are for LeakSanitizer: the analyzer loses sight of what is handed over into a ring or a list.
WIRE_ANALYZER = ctest.Build("analyzer", "gcc", ("-O1", "-fanalyzer", "-Wno-analyzer-malloc-leak"))


def names(*patterns: str) -> list[str]:
    """Paths of the repository's files, relative to its root."""
    return sorted(str(path.relative_to(ROOT)) for pattern in patterns for path in ROOT.glob(pattern))


def complaints(*command: str) -> str:
    """What the command prints when it fails; empty when it is content."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode == 0:
        return ""
    lines = done.stdout.splitlines()
    more = f"... and {len(lines) - SHOWN} lines more\n" if len(lines) > SHOWN else ""
    return "\n".join([f"{' '.join(command[:3])} ...", *lines[:SHOWN], more])


def above_wire() -> list[Path]:
    """The C files that include Python.h."""
    return [path for path in ctest.sources("src/**/*.c") if path.parent.name != "wire"]


def compiles(build: ctest.Build, files: Sequence[Path]) -> str:
    """The complaints of a compiler about each file alone."""
    (ctest.OUTPUT / build.name).mkdir(parents=True, exist_ok=True)
    headers = ctest.headers_digest()

    def one(source: Path) -> str:
        try:
            ctest.compile_object(build, source, headers)
        except ctest.CompileError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(ctest.JOBS) as pool:
        return "".join(pool.map(one, files))


def cppcheck() -> str:
    return complaints(
        "cppcheck",
        "--quiet",
        "--std=c11",
        "--enable=warning,performance,portability",
        "--inline-suppr",
        "-D__has_include(x)=0",  # cppcheck 2.10 cannot evaluate it
        "--suppress=normalCheckLevelMaxBranches",  # newer ones say that they could look longer
        "--suppress=preprocessorErrorDirective:src/wire/spec_table.h",  # nor expand X-macros with empty lists
        "--error-exitcode=1",
        f"-j{ctest.JOBS}",
        "-Isrc/wire",
        "src/wire",
    )


def clang_tidy() -> str:
    flags = ["--", "-std=c17", "-Isrc", *ctest.rabbitmq_c("--cflags")]

    def one(name: str) -> str:
        return complaints("clang-tidy", "--quiet", name, *flags)

    with ThreadPoolExecutor(ctest.JOBS) as pool:
        return "".join(pool.map(one, names("src/wire/*.c")))


def clang_format() -> str:
    files = names("src/**/*.[ch]", "tests/c/*.[ch]")
    return complaints(str(BIN / "clang-format"), "--dry-run", "--Werror", *files)


def stubtest() -> str:
    """The stubs say what the C extension and its table of the spec have."""
    return complaints(
        str(BIN / "python"),
        "-m",
        "mypy.stubtest",
        "--allowlist",
        "tests/typing/stubtest_allowed.txt",
        "--ignore-unused-allowlist",
        "cpika._core",
        "cpika.spec",
    )


CHECKS: dict[str, Callable[[], str]] = {
    "clang warns of nothing above src/wire": lambda: compiles(CORE_CLANG, above_wire()),
    "clang warns of nothing in src/wire": lambda: compiles(WIRE_CLANG, ctest.sources("src/wire/*.c")),
    "gcc -fanalyzer": lambda: compiles(WIRE_ANALYZER, ctest.sources("src/wire/*.c")),
    "cppcheck": cppcheck,
    "clang-tidy": clang_tidy,
    "clang-format": clang_format,
    "ruff check": lambda: complaints(str(BIN / "ruff"), "check", "--quiet", "."),
    "ruff format": lambda: complaints(str(BIN / "ruff"), "format", "--check", "--output-format=concise", "."),
    "mypy --strict": lambda: complaints(str(BIN / "mypy"), "--strict", "python/cpika"),
    "stubtest": stubtest,
}


def main(selected: Sequence[str]) -> int:
    failed = 0
    for name in [name for name in CHECKS if not selected or name in selected]:
        text = CHECKS[name]()
        failed += text != ""
        print(f"{'FAILED' if text else 'passed'}  {name}\n{text}", end="", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
