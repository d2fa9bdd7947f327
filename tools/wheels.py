#!/usr/bin/env python3
"""Builds what is published: an sdist, and wheels that bring their own rabbitmq-c.

    python tools/wheels.py       all into dist/: each CPython at hand, for each system of tools/zig.py
    python tools/wheels.py --pythons 3.9 3.13 --targets x86_64-linux-gnu --no-world

Each wheel is built from the sdist, by Zig's compiler against glibc 2.17 or musl, linked with a static
rabbitmq-c (tools/rabbitmq_c.py), given its licence, and judged by auditwheel.  CPythons that this machine
lacks come from Debian's unstable release, in a root of its own (tools/worlds.py), if the user is root; else
they are left out, and that is said.  tools/wheels_tried.py installs what was built.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import rabbitmq_c
import zig
from licence import add_licence, rewrite
from sources import SourceError, unpack
from worlds import ROOT, UNSTABLE, Mount, World, WorldError, interpreters

DIST = ROOT / "dist"
WORK = ROOT / "build" / "wheel"
SETUPTOOLS = WORK / "setuptools"
# One for all interpreters: the newest that 3.9 takes.
SETUPTOOLS_VERSION = "setuptools>=77,<81"
OWN = Path(sys.executable).parent  # where the tools of this virtual environment are
BUILD = """
import os, sys
os.chdir(sys.argv[1])
from setuptools import build_meta
build_meta.build_wheel(sys.argv[2])
"""
NEWER = ("3.14", "3.15")  # what the unstable release has and few machines do
WORLD = World(
    UNSTABLE.name,
    UNSTABLE.suite,
    tuple(f"python{minor}-dev" for minor in NEWER),
)


class BuildError(RuntimeError):
    """A step has failed; the text is what it printed."""


def say(text: str) -> None:
    print(f"wheel: {text}", flush=True)


def run_here(command: Sequence[str], env: dict[str, str]) -> None:
    """Runs a command on this machine."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode != 0:
        raise BuildError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-4000:]}")


def run_in_world(command: Sequence[str], env: dict[str, str]) -> None:
    """Runs a command in the world, where this folder has the same path."""
    WORLD.run(command, mounts=[Mount(str(ROOT), str(ROOT), writable=True)], env=env)


@dataclass(frozen=True)
class Builder:
    """A CPython that compiles wheels for its own version.

    :param minor: "3.9"
    :param python: path of the program
    :param run: runs a command where that path is valid
    """

    minor: str
    python: str
    run: Callable[[Sequence[str], dict[str, str]], None]

    def build(self, sdist: Path, target: zig.Target, variables: dict[str, str]) -> Path:
        """A wheel of the sdist for the target, as setuptools makes it in this `environment`."""
        folder = WORK / f"{self.minor}-{target.triple}"
        digest = contents(sdist, variables)
        stamp = folder / "digest"
        if not stamp.exists() or stamp.read_text() != digest:
            shutil.rmtree(folder, ignore_errors=True)
            tree = unpack(sdist, folder / "source")
            (folder / "made").mkdir()
            self.run([self.python, "-c", BUILD, str(tree), str(folder / "made")], variables)
            stamp.write_text(digest)
        (made,) = (folder / "made").glob("*.whl")
        return made


def contents(sdist: Path, variables: dict[str, str]) -> str:
    """A number that changes with what is in the sdist and how it is built."""
    made = hashlib.sha256(repr(sorted(variables.items())).encode())
    with tarfile.open(sdist) as archive:
        for member in sorted(archive.getmembers(), key=lambda member: member.name):
            file = archive.extractfile(member) if member.isfile() else None
            made.update(member.name.encode() + (file.read() if file else b""))
    return made.hexdigest()


def environment(minor: str, target: zig.Target) -> dict[str, str]:
    """What has setuptools compile for the target instead of the system it runs on."""
    compiler = zig.wrapper(target, "cc")
    tag = "cpython-" + minor.replace(".", "")
    return {
        "PYTHONPATH": str(SETUPTOOLS),
        "CC": str(compiler),
        "LDSHARED": f"{compiler} -shared",
        "AR": str(zig.wrapper(target, "ar")),
        "CFLAGS": f"-g0 -I{debian_headers()}",
        "LDFLAGS": "-Wl,-s",
        "_PYTHON_HOST_PLATFORM": f"linux-{target.machine}",
        # CPythons on musl do not agree on their own suffix; each takes the plain one.
        "SETUPTOOLS_EXT_SUFFIX": ".so" if target.musl else f".{tag}-{target.machine}-linux-gnu.so",
        rabbitmq_c.PREFIX_VARIABLE: str(rabbitmq_c.static(target=target)),
    }


def debian_headers() -> Path:
    """A folder through which Debian's CPython headers find their pyconfig.h for every target.

    Debian has one for each system; that of x86_64 serves all of ours, whose C types have the same sizes.
    """
    folder = WORK / "include"
    for triple in ("x86_64-linux-gnu", "aarch64-linux-gnu"):
        for minor in NEWER:
            link = folder / triple / f"python{minor}"
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.is_symlink():
                link.symlink_to(f"/usr/include/x86_64-linux-gnu/python{minor}")
    return folder


def builders(wanted: Sequence[str], with_world: bool) -> list[Builder]:
    """Those that can be had, of the versions that are wanted (all, where none is named)."""
    found = [Builder(one.minor, one.path, run_here) for one in interpreters()]
    missing = [minor for minor in NEWER if minor not in {one.minor for one in found}]
    missing = [minor for minor in missing if not wanted or minor in wanted]
    if missing and with_world:
        try:
            WORLD.make(say)
            found += [Builder(minor, f"/usr/bin/python{minor}", run_in_world) for minor in missing]
        except WorldError as error:
            say(f"no CPython {' and '.join(missing)}: {error}")
    return [one for one in found if not wanted or one.minor in wanted]


def make_sdist() -> Path:
    """The source distribution, in dist/."""
    run_here([sys.executable, "-m", "build", "-q", "--sdist", "--no-isolation", "--outdir", str(DIST)], {})
    return newest(DIST, "*.tar.gz")


def newest(folder: Path, pattern: str) -> Path:
    """The file that was written last."""
    return max(folder.glob(pattern), key=lambda path: path.stat().st_mtime)


def repair(wheel: Path, target: zig.Target) -> Path:
    """The wheel with its licence and its tag, in dist/, if auditwheel finds that it fits the target."""
    add_licence(wheel, rabbitmq_c.static(target=target) / rabbitmq_c.LICENCE)
    if target.musl:
        rewrite(wheel, lambda members: name_musl(members, target))
    repaired = wheel.parent.parent / "repaired"
    shutil.rmtree(repaired, ignore_errors=True)
    # auditwheel takes the name of another system's platform for an error, but it knows one when it sees it.
    command = [str(OWN / "auditwheel"), "repair", "--plat", "auto", "--only-plat"]
    run_here([*command, "--wheel-dir", str(repaired), str(wheel)], {"PATH": f"{OWN}:{os.environ['PATH']}"})
    (made,) = repaired.iterdir()
    if target.platform not in made.name:
        raise BuildError(f"auditwheel made {made.name} of what is meant for {target.platform}")
    return Path(shutil.move(made, DIST / made.name))


def name_musl(members: dict[str, bytes], target: zig.Target) -> None:
    """Has the extension ask for musl by the name that systems on musl give it, and auditwheel knows."""
    (name,) = (name for name in members if name.endswith(".so"))
    file = WORK / f"{target.triple}-{threading.get_ident()}.so"
    file.write_bytes(members[name])
    run_here(
        [str(OWN / "patchelf"), "--replace-needed", "libc.so", f"libc.musl-{target.machine}.so.1", str(file)],
        {},
    )
    members[name] = file.read_bytes()
    file.unlink()


def make_all(sdist: Path, chosen: Sequence[Builder], targets: Sequence[zig.Target]) -> None:
    """All wheels, as many at a time as there are cores.

    What several of them use is made before the first begins; each has a folder of its own.
    """
    if not SETUPTOOLS.exists():
        pip = [sys.executable, "-m", "pip", "install", "-q", "--target", str(SETUPTOOLS)]
        run_here([*pip, SETUPTOOLS_VERSION], {})
    for target in targets:
        rabbitmq_c.static(target=target)

    jobs = [(builder, target, environment(builder.minor, target)) for builder in chosen for target in targets]

    def one(job: tuple[Builder, zig.Target, dict[str, str]]) -> None:
        builder, target, variables = job
        made = repair(builder.build(sdist, target, variables), target)
        say(f"{made.name}: {made.stat().st_size // 1024} KB")

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(one, jobs))


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pythons", nargs="*", default=(), metavar="3.N", help="only these")
    parser.add_argument("--targets", nargs="*", default=(), help="beginnings of names, as x86_64-linux-musl")
    parser.add_argument("--no-world", action="store_true", help="only CPythons of this machine")
    options = parser.parse_args()
    targets = [
        one for one in zig.TARGETS if not options.targets or one.triple.startswith(tuple(options.targets))
    ]
    try:
        shutil.rmtree(DIST, ignore_errors=True)
        sdist = make_sdist()
        say(f"{sdist.name}: {sdist.stat().st_size // 1024} KB")
        make_all(sdist, builders(options.pythons, not options.no_world), targets)
        run_here([sys.executable, "-m", "twine", "check", "--strict", *map(str, DIST.iterdir())], {})
        say(f"{len(list(DIST.iterdir()))} files in dist/, which twine has checked")
    except (BuildError, WorldError, SourceError, zig.NoCompiler) as error:
        print(f"wheels.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
