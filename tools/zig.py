"""A C compiler for other systems than this one: Zig's, as PyPI has it, with the headers of every libc.

`wrapper` writes small programs that are called like cc and ar, for build tools that want such.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "zig"


class NoCompiler(RuntimeError):
    """ziglang is not installed."""


@dataclass(frozen=True)
class Target:
    """A system that a wheel is for.

    :param triple: as Zig knows it, with the oldest glibc that will do
    :param machine: as Linux knows it
    :param platform: the tag of the wheel
    """

    triple: str
    machine: str
    platform: str

    @property
    def musl(self) -> bool:
        """Whether its C library is musl and not glibc."""
        return "musl" in self.triple


TARGETS = (
    Target("x86_64-linux-gnu.2.17", "x86_64", "manylinux2014_x86_64"),
    Target("aarch64-linux-gnu.2.17", "aarch64", "manylinux2014_aarch64"),
    Target("x86_64-linux-musl", "x86_64", "musllinux_1_2_x86_64"),
    Target("aarch64-linux-musl", "aarch64", "musllinux_1_2_aarch64"),
)


def program() -> str:
    """Path of the compiler."""
    spec = find_spec("ziglang")
    if spec is None or not spec.submodule_search_locations:
        raise NoCompiler("there is no ziglang; python3 tools/bootstrap.py --wheel installs it")
    return os.path.join(spec.submodule_search_locations[0], "zig")


def wrapper(target: Target, tool: str) -> Path:
    """A program that is called like `cc`, `ar` or `ranlib`, and makes what the target runs."""
    path = FOLDER / target.triple / tool
    words = [program(), tool, *(("-target", target.triple) if tool == "cc" else ())]
    cache = shlex.quote(str(FOLDER / "cache"))
    text = f"#!/bin/sh\nexport ZIG_GLOBAL_CACHE_DIR={cache} ZIG_LOCAL_CACHE_DIR={cache}\n"
    text += f'exec {shlex.join(words)} "$@"\n'
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
        path.chmod(0o755)
    return path
