"""Compiles the benchmark's C programs into ``build/bench``, each when a source is newer than it."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parent
ROOT = BENCHMARKS.parent
OUTPUT = ROOT / "build" / "bench"
WIRE = ROOT / "src" / "wire"
CFLAGS = ("-std=c17", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Wshadow", "-Wstrict-prototypes", "-Wvla")


class BuildFailed(Exception):
    """A compiler or a library is missing, or a source does not compile."""


@dataclass(frozen=True)
class Program:
    """One C program: its sources, and the libraries as pkg-config names them."""

    name: str
    sources: tuple[Path, ...]
    libraries: tuple[str, ...]
    flags: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        return OUTPUT / self.name


CLIENTS = BENCHMARKS / "clients"
SERVER = Program(
    "server",
    (*sorted((BENCHMARKS / "server").glob("*.c")), WIRE / "buf.c"),
    ("libssl", "libcrypto"),
    ("-pthread",),
)
RABBITMQC = Program(
    "rabbitmqc_client", (CLIENTS / "bench.c", CLIENTS / "rabbitmqc_client.c"), ("librabbitmq",)
)
FLOOR = Program(
    "floor_client", (CLIENTS / "bench.c", CLIENTS / "floor_client.c", WIRE / "buf.c"), ("librabbitmq",)
)
PROGRAMS = (SERVER, RABBITMQC, FLOOR)


def library_flags(program: Program) -> list[str]:
    """What pkg-config says; `BuildFailed`, naming the packages, when it does not know the libraries."""
    try:
        done = subprocess.run(
            ["pkg-config", "--cflags", "--libs", *program.libraries],
            check=True,
            capture_output=True,
            text=True,
        )
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        raise BuildFailed(
            f"the benchmark needs {', '.join(program.libraries)}: "
            "on Debian, apt-get install pkg-config libssl-dev librabbitmq-dev"
        ) from error
    return shlex.split(done.stdout)


def is_fresh(program: Program) -> bool:
    headers = [*WIRE.glob("*.h"), *BENCHMARKS.glob("*/*.h")]
    if not program.path.exists():
        return False
    built = program.path.stat().st_mtime
    return all(source.stat().st_mtime < built for source in (*program.sources, *headers))


def build(program: Program) -> Path:
    """The path of the program, compiled first if it is not up to date."""
    if is_fresh(program):
        return program.path
    compiler = shlex.split(os.environ.get("CC", "cc"))
    if shutil.which(compiler[0]) is None:
        raise BuildFailed(f"no C compiler: {compiler[0]}")
    OUTPUT.mkdir(parents=True, exist_ok=True)
    command = [
        *compiler,
        *CFLAGS,
        *program.flags,
        f"-I{WIRE}",
        f"-I{CLIENTS}",
        *map(str, program.sources),
        "-o",
        str(program.path),
        *library_flags(program),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BuildFailed(f"{shlex.join(command)}\n{done.stderr}")
    return program.path


def build_all() -> None:
    for program in PROGRAMS:
        build(program)
