#!/usr/bin/env python3
"""Tries the wheels of dist/ where there is no rabbitmq-c and no compiler.

    python tools/broker.py exec -- python tools/wheels_tried.py

For each wheel for this machine's processor and glibc: in the smallest Debian system, with the CPython that
it is for, pip installs it from dist/ alone, and examples/tasks runs on it against the broker.  Wheels for
aarch64 are tried like that under qemu's emulation, unpacked instead of installed, with Debian's CPython of
that processor if it is the one they are for.  The wheel for musl and the CPython that tools/musl.py builds
is installed for that one, and an example runs; the others are loaded by musl's own loader, which has to find
every symbol that is not CPython's.  What could not be tried is said.  Takes root and debootstrap.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import musl
from sources import SourceError, run
from wheels import DIST, NEWER
from worlds import DEBIAN_13, FOLDER, ROOT, Mount, World, WorldError, interpreters, lendable

BARE = World("bare-12", "bookworm", ("libpython3-stdlib",))  # the libraries that a lent interpreter loads
BARE_UNSTABLE = World("bare-unstable", "sid", tuple(f"python{minor}-venv" for minor in NEWER))
ARM = FOLDER / "arm64-13"
ARM_PYTHON = "3.13"  # Debian 13's
PREFIX = "cpika-wheel."
FORBIDDEN = ("cc", "gcc", "clang", "pkg-config")
TASKS = 7  # what the producer hands out
# Nothing of the system may be there that the wheel is meant to do without.
LOOK = f"""
for name in {" ".join(FORBIDDEN)}; do ! command -v $name || exit 1; done
! find / -xdev -name 'librabbitmq*' | grep . || exit 1
"""
EXAMPLE = """
set -e
$PYTHON -m cpika $EXAMPLES/tasks/producer.py --nonsense
$PYTHON -m cpika $EXAMPLES/tasks/consumer.py --limit 7
"""


class NotTried(RuntimeError):
    """What a wheel needs to be tried cannot be had; the text says what."""


def minor_of(wheel: Path) -> str:
    """`3.9` of a wheel for cp39."""
    found = re.search(r"-cp3(\d+)-", wheel.name)
    assert found is not None, wheel.name
    return f"3.{found[1]}"


def example_environment(minor: str) -> dict[str, str]:
    """What the examples are told: the broker, and names that are theirs alone."""
    return {"CPIKA_BROKER_URL": os.environ["CPIKA_BROKER_URL"], "EXAMPLES_PREFIX": f"{PREFIX}{minor}."}


def judge(text: str) -> str:
    """The last line of the consumer, which has to have done all tasks but the one that is none."""
    lines = text.strip().splitlines()
    if not lines or lines[-1] != f"{TASKS - 1} tasks done, 1 rejected":
        raise WorldError(f"the example said:\n{text[-2000:]}")
    return lines[-1]


def installed(wheel: Path) -> str:
    """Installs the wheel into an empty environment of an empty system and runs an example there."""
    minor = minor_of(wheel)
    mounts = [Mount(str(DIST), "/dist"), Mount(str(ROOT / "examples"), "/examples")]
    lent = {one.minor: one for one in interpreters() if lendable(one)}
    if minor in lent:
        world, python = BARE, lent[minor].path
        mounts.append(Mount(lent[minor].prefix, lent[minor].prefix))
    elif minor in NEWER:
        world, python = BARE_UNSTABLE, f"/usr/bin/python{minor}"
    else:
        raise NotTried(f"no CPython {minor} here")
    world.make(lambda text: print(f"wheels: {text}", flush=True))
    script = f"""{LOOK}
set -e
rm -rf /tried && {python} -m venv /tried
PYTHON=/tried/bin/python EXAMPLES=/examples
$PYTHON -m pip install -q --no-index --find-links /dist --only-binary cpika cpika
{EXAMPLE}"""
    text = world.run(["/bin/sh", "-c", script], mounts=mounts, env=example_environment(minor))
    return f"installed in {world.suite}; {judge(text)}"


# ---- another processor


def arm_root() -> Path:
    """Debian for aarch64 with its CPython, unpacked only: what runs in it runs under qemu."""
    if not (ARM / "ready").exists():
        packages = f"libpython{ARM_PYTHON}-stdlib,python{ARM_PYTHON}-minimal"
        command = ["debootstrap", "--arch=arm64", "--foreign", "--variant=minbase", f"--include={packages}"]
        done = subprocess.run([*command, DEBIAN_13.suite, str(ARM)], capture_output=True, text=True)
        if done.returncode != 0:
            raise NotTried(f"debootstrap for arm64: {done.stdout[-500:]}")
        for package in sorted((ARM / "var/cache/apt/archives").glob("*.deb")):
            subprocess.run(["dpkg-deb", "-x", str(package), str(ARM)], check=True)
        (ARM / "ready").touch()
    return ARM


def emulated(wheel: Path) -> str:
    """Runs an example on the unpacked wheel under qemu."""
    minor = minor_of(wheel)
    if minor != ARM_PYTHON:
        raise NotTried(f"no CPython {minor} for aarch64 here")
    qemu = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
    if qemu is None:
        raise NotTried("no qemu-aarch64 (apt-get install qemu-user-static)")
    root = arm_root()
    site = unpacked(wheel)
    python = f"{qemu} -L {root} {root}/usr/bin/python{minor}"
    script = f"PYTHON='{python}' EXAMPLES={ROOT}/examples\n{EXAMPLE}"
    environment = {
        **os.environ,
        **example_environment(minor),
        "PYTHONPATH": str(site),
        "PYTHONHOME": f"{root}/usr",
    }
    return f"under qemu; {judge(run('/bin/sh', '-c', script, env=environment))}"


def unpacked(wheel: Path) -> Path:
    """A folder with what is in the wheel."""
    folder = ROOT / "build" / "wheel" / "unpacked" / wheel.stem
    shutil.rmtree(folder, ignore_errors=True)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


# ---- another C library


def on_musl(wheel: Path) -> str:
    """Installs the wheel for the CPython on musl that is built here, and runs an example."""
    if minor_of(wheel) != musl.MINOR or os.uname().machine not in wheel.name:
        return loaded_by_musl(wheel)
    python = musl.empty_environment(musl.FOLDER / "tried")
    musl.install(python, "--no-index", "--find-links", str(DIST), "--only-binary", "cpika", "cpika")
    script = f"PYTHON={python} EXAMPLES={ROOT}/examples\n{EXAMPLE}"
    environment = {**os.environ, **example_environment(musl.MINOR)}
    return (
        f"installed for CPython {musl.MINOR} on musl; {judge(run('/bin/sh', '-c', script, env=environment))}"
    )


def loaded_by_musl(wheel: Path) -> str:
    """Has musl's loader look for what the extension needs: all but CPython's own functions must be there."""
    loader = Path(f"/lib/ld-musl-{os.uname().machine}.so.1")
    if not loader.exists():
        raise NotTried("no musl here (apt-get install musl)")
    (extension,) = unpacked(wheel).glob("cpika/_core*.so")
    done = subprocess.run([str(loader), "--list", str(extension)], capture_output=True, text=True)
    missing = set(re.findall(r"Error relocating \S+: (\S+): symbol not found", done.stdout + done.stderr))
    foreign = sorted(name for name in missing if not name.startswith(("Py", "_Py")))
    if not missing or foreign or "Error loading" in done.stderr:
        raise WorldError(f"musl's loader said:\n{(done.stdout + done.stderr)[-2000:]}")
    return f"musl's loader finds all but {len(missing)} symbols, which are CPython's"


def main() -> int:
    """Tries each wheel; the exit status is 1 where one has failed."""
    failed = 0
    for wheel in sorted(DIST.glob("*.whl")):
        way = installed
        if "musl" in wheel.name:
            way = on_musl
        elif os.uname().machine not in wheel.name:
            way = emulated
        try:
            if os.uname().machine not in wheel.name and way is not emulated:
                raise NotTried("no interpreter for that here")
            said = way(wheel)
        except NotTried as reason:
            said = f"not tried: {reason}"
        except (SourceError, WorldError) as error:
            said, failed = f"FAILED: {error}", failed + 1
        print(f"{wheel.name}: {said}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
