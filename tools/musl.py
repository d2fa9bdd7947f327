#!/usr/bin/env python3
"""Tests on musl: a CPython for it, built here, and cpika compiled for that.

    python tools/musl.py                     those of TESTS
    python tools/musl.py -- PYTEST-ARGS      others, or some

What Alpine has is not to be had everywhere; so musl itself, the libraries that CPython wants, and CPython
are built once, by gcc, from what Debian's source packages are made of, in build/musl.  The exit status is
pytest's.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import free_threading
import rabbitmq_c
from sources import ROOT, SourceError, run, source

FOLDER = ROOT / "build" / "musl"
PREFIX = FOLDER / "prefix"
CC = FOLDER / "cc"
SUITE = "trixie"
MINOR = "3.13"  # its CPython
MACHINE = os.uname().machine
# Of what the tests import besides, what has wheels for musl.
PACKAGES = (
    *free_threading.PACKAGES,
    "uvloop>=0.19",
    "gevent>=24.11",
    "eventlet>=0.36",
    "opentelemetry-instrumentation-pika>=0.50b0",
    "opentelemetry-sdk>=1.29",
    "rich>=13",
)
TESTS = (
    "tests/buffered",
    "tests/connecting",
    "tests/faults",
    "tests/loops",
    "tests/parity",
    "tests/publish_many",
    "tests/rules",
    "tests/tracers",
    "tests/test_engine_by_bytes.py",
    "tests/test_exceptions.py",
    "tests/test_faults.py",
    "tests/test_gate.py",
    "tests/test_green_threads.py",
    "tests/test_inside_a_socket.py",
    "tests/test_install_as_pika.py",
    "tests/test_leaks.py",
    "tests/test_names.py",
    "tests/test_parameters.py",
    "tests/test_parity.py",
    "tests/test_tls.py",
    "tests/test_torture.py",
    "tests/test_values.py",
    "tests/test_values_made.py",
)
# gcc's sanitizers are made for glibc.
UNFIT = ("tests/test_torture.py::test_nothing_is_violated_where_another_thread_runs_whenever_one_might",)


def say(text: str) -> None:
    print(f"musl: {text}", flush=True)


def make(tree: Path, *configure: str | Path, targets: Sequence[Sequence[str]], **variables: str) -> None:
    """Configures and makes in a source folder."""
    env = {**os.environ, "CC": str(CC), "CFLAGS": "-O2 -fPIC", **variables}
    run(tree / configure[0], *configure[1:], cwd=tree, env=env)
    for target in targets:
        run("make", f"-j{os.cpu_count() or 1}", *target, cwd=tree, env=env)


def tree_of(package: str, suite: str = SUITE) -> Path:
    """The source of a package as its authors gave it, to build in: a copy."""
    copy = FOLDER / "trees" / package
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(source(package, suite, patched=False), copy, symlinks=True)
    return copy


# ---- the system ----


def build_musl() -> None:
    """musl, and a compiler for it: gcc, which finds the kernel's headers where glibc's are not."""
    CC.unlink(missing_ok=True)
    tree = tree_of("musl")
    options = (f"--prefix={PREFIX}", f"--syslibdir={PREFIX}/lib", "--enable-wrapper=gcc")
    make(tree, "configure", *options, targets=[[], ["install"]], CC="gcc", CFLAGS="-O2")
    for name, where in (
        ("linux", "linux"),
        ("asm-generic", "asm-generic"),
        ("asm", f"{MACHINE}-linux-gnu/asm"),
    ):
        link = FOLDER / "kernel" / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(Path("/usr/include") / where)
    # CPython believes what the compiler says of the system; musl's wrapper passes on what gcc says.
    said = f'case "$*" in *-print-multiarch*) exit;; -dumpmachine) echo {MACHINE}-linux-musl; exit;; esac'
    CC.write_text(f'#!/bin/sh\n{said}\nexec {PREFIX}/bin/musl-gcc -idirafter {FOLDER}/kernel "$@"\n')
    CC.chmod(0o755)


def build_libraries() -> None:
    """zlib, libffi and OpenSSL, static."""
    make(tree_of("zlib"), "configure", f"--prefix={PREFIX}", "--static", targets=[["install"]])
    host = f"--host={MACHINE}-linux-musl"
    make(
        tree_of("libffi", "bookworm"),  # the later one is without a configure
        "configure",
        f"--prefix={PREFIX}",
        "--disable-shared",
        "--disable-docs",
        host,
        targets=[["install"]],
    )
    options = ("no-shared", "no-tests", "no-engine", "no-async", "no-module", "--libdir=lib")
    openssl = tree_of("openssl", "bookworm")
    make(
        openssl,
        "Configure",
        f"linux-{MACHINE}",
        *options,
        f"--prefix={PREFIX}",
        "--openssldir=/etc/ssl",
        targets=[["build_libs"], ["install_dev"]],
        CFLAGS="-O1 -fPIC",
    )


def build_python() -> None:
    """CPython, with stacks for its threads as large as in images of Alpine: musl's own are for less."""
    tree = tree_of(f"python{MINOR}")
    make(
        tree,
        "configure",
        f"--prefix={FOLDER / 'python'}",
        f"--with-openssl={PREFIX}",
        "--without-ensurepip",
        targets=[[], ["install", "COMPILEALL_OPTS=--help"]],
        CPPFLAGS=f"-I{PREFIX}/include",
        LDFLAGS=f"-L{PREFIX}/lib",
        LDFLAGS_NODIST="-Wl,-z,stack-size=0x100000",
        PKG_CONFIG_PATH=f"{PREFIX}/lib/pkgconfig",
        PKG_CONFIG_LIBDIR=f"{PREFIX}/lib/pkgconfig",
    )


def interpreter() -> Path:
    """The program; built where it is not yet."""
    program = FOLDER / "python" / "bin" / f"python{MINOR}"
    stamp = FOLDER / "built"
    if not stamp.exists():
        for what, build in (
            ("musl", build_musl),
            ("zlib, libffi and OpenSSL", build_libraries),
            (f"CPython {MINOR}", build_python),
        ):
            say(f"building {what}")
            build()
        shutil.rmtree(FOLDER / "trees")
        stamp.touch()
    return program


def empty_environment(folder: Path) -> Path:
    """A virtual environment with nothing in it; pip works on it from outside."""
    run(interpreter(), "-m", "venv", "--without-pip", "--clear", folder)
    return folder / "bin" / "python"


def install(python: Path, *arguments: str) -> None:
    """Runs pip's install for an interpreter; what is compiled is compiled for musl."""
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python)
    # C++ has no library here.
    wheels = "--only-binary=gevent,greenlet,uvloop,cryptography,cffi"
    run(*pip, "install", "-q", wheels, *arguments, env={**os.environ, "CC": str(CC)})


def environment() -> Path:
    """The interpreter of an environment with the tests' packages and the extension."""
    folder = FOLDER / "environment"
    python = folder / "bin" / "python"
    stamp = folder / "packages"
    if not stamp.exists() or stamp.read_text() != repr(PACKAGES):
        install(empty_environment(folder), *PACKAGES)
        stamp.write_text(repr(PACKAGES))
    library = FOLDER / "rabbitmq-c"
    if not library.exists():
        rabbitmq_c.build(source(rabbitmq_c.PACKAGE, SUITE), library, compiler=CC)
    built = folder / "cpika"
    command = ("setup.py", "--quiet", "build", f"--build-base={built}", f"--build-lib={built / 'lib'}")
    variables = {"CC": str(CC), rabbitmq_c.PREFIX_VARIABLE: str(library), "CPIKA_LTO": "0"}
    run(python, *command, cwd=ROOT, env={**os.environ, **variables})
    (site,) = folder.glob("lib/python3*/site-packages")
    (site / "cpika.pth").write_text(f"{built / 'lib'}\n")
    return python


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pytest", nargs="*", metavar="PYTEST-ARGS")
    options = parser.parse_args(arguments)
    try:
        python = environment()
    except SourceError as error:
        print(f"musl.py: {error}", file=sys.stderr)
        return 1
    broker = (sys.executable, str(ROOT / "tools" / "broker.py"), "exec", "--")
    chosen = options.pytest or ["-n", "2", "--dist", "loadgroup", *TESTS]
    unfit = [f"--deselect={name}" for name in UNFIT]
    command = [*broker, str(python), "-m", "pytest", "-p", "no:cacheprovider", "-q", *unfit, *chosen]
    return subprocess.run(command, cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main())
