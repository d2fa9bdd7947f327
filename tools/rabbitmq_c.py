#!/usr/bin/env python3
"""A static rabbitmq-c, for wheels that bring their own and for tests with another version than the system's.

    python tools/rabbitmq_c.py PREFIX           built by this system's compiler for this system, into PREFIX
    python tools/rabbitmq_c.py PREFIX SOURCE    of a source folder or a tar file that is at hand

The source is Debian's source package, patches for security included, as apt brings it; apt's signatures vouch
for it.  cpika uses rabbitmq-c's codec alone, so it is built without OpenSSL.  Its licence is installed, too.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

import zig

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "rabbitmq-c"
PREFIX_VARIABLE = "CPIKA_RABBITMQ_C_PREFIX"
LICENCE = "share/licenses/rabbitmq-c/LICENSE"
NEWEST = "0.15"
SUITES = {"0.11": "bookworm", "0.15": "trixie"}  # the Debian release that has the version
KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"
OPTIONS = (
    "-DCMAKE_POLICY_VERSION_MINIMUM=3.5",  # 0.11 asks for less, which CMake 4 refuses
    "-DCMAKE_BUILD_TYPE=Release",
    "-DCMAKE_POSITION_INDEPENDENT_CODE=ON",
    "-DCMAKE_C_FLAGS=-fvisibility=hidden -ffunction-sections -fdata-sections",
    "-DCMAKE_INSTALL_LIBDIR=lib",
    "-DENABLE_SSL_SUPPORT=OFF",
    "-DBUILD_SHARED_LIBS=OFF",
    "-DBUILD_STATIC_LIBS=ON",
    "-DBUILD_EXAMPLES=OFF",
    "-DBUILD_TOOLS=OFF",
    "-DBUILD_TESTS=OFF",
    "-DBUILD_TESTING=OFF",
)


class SourceError(RuntimeError):
    """The source could not be had, or could not be built."""


def run(*command: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """What a command prints; SourceError with it where it fails."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode != 0:
        raise SourceError(f"{command[0]} ended with {done.returncode}:\n{done.stdout[-3000:]}")
    return done.stdout


# ---- the source


def mirrors() -> dict[str, str]:
    """The addresses from which this system's apt takes Debian's packages and security updates, by label."""
    fields = "$(LABEL) $(REPO_URI)"
    lines = run("apt-get", "indextargets", "--format", fields, "Origin: Debian", "Created-By: Packages")
    found = dict(line.split(" ", 1) for line in lines.splitlines() if line.startswith("Debian"))
    if "Debian" not in found:
        raise SourceError("apt knows no Debian archive here (try apt-get update); give a SOURCE instead")
    return found


def apt(suite: str, labels: Sequence[str]) -> dict[str, str]:
    """The environment in which apt sees the sources of a Debian release, whatever this system's own is."""
    state = FOLDER / "apt" / "-".join([suite, *labels])
    for name in ("lists/partial", "cache/archives/partial", "etc/apt.conf.d", "etc/preferences.d"):
        (state / name).mkdir(parents=True, exist_ok=True)
    (state / "status").touch()
    lines = []
    for label, address in mirrors().items():
        of_suite = {"Debian": suite, "Debian-Security": f"{suite}-security"}.get(label)
        if of_suite and label in labels:
            lines.append(f"deb-src [signed-by={KEYS}] {address} {of_suite} main\n")
    (state / "sources.list").write_text("".join(lines))
    configuration = state / "apt.conf"
    configuration.write_text(
        f'Dir::Etc "{state}/etc";\nDir::Etc::sourcelist "{state}/sources.list";\nDir::Etc::sourceparts "-";\n'
        f'Dir::State "{state}";\nDir::State::status "{state}/status";\nDir::Cache "{state}/cache";\n'
    )
    env = {**os.environ, "APT_CONFIG": str(configuration), "LC_ALL": "C.UTF-8"}
    run("apt-get", "update", "-q", env=env)
    return env


def download(suite: str) -> tuple[Path, Path]:
    """The tar files of rabbitmq-c and of Debian's changes, compared with the signed list of sources."""
    if shutil.which("apt-get") is None or not os.path.exists(KEYS):
        raise SourceError("there is no apt with Debian's keys here; give a SOURCE instead")
    env = apt(suite, ("Debian", "Debian-Security"))
    fetch = ("apt-get", "source", "--download-only", "-q", "librabbitmq")
    uris = run(*fetch, "--print-uris", env=env)
    folder = FOLDER / "download" / suite
    folder.mkdir(parents=True, exist_ok=True)
    wanted = dict(re.findall(r"^'\S+' (\S+\.tar\.\S+) \d+ SHA256:(\w+)", uris, re.M))

    def missing() -> list[str]:
        return [name for name, digest in wanted.items() if not is_file(folder / name, digest)]

    # The archive of security updates may lack the file that did not change; the main one has it.  That the
    # description (.dsc) cannot be had is no reason to stop: it is not looked at.
    for labels in (("Debian", "Debian-Security"), ("Debian",)):
        if missing():
            env = apt(suite, labels)
            subprocess.run(fetch, cwd=folder, env=env, stdin=subprocess.DEVNULL, capture_output=True)
    if not wanted or missing():
        raise SourceError(f"apt did not bring {' '.join(missing())} as the list of sources has it")
    (source,) = (folder / name for name in wanted if ".orig." in name)
    (changes,) = (folder / name for name in wanted if ".debian." in name)
    return source, changes


def is_file(path: Path, digest: str) -> bool:
    """Whether the file is there and its SHA-256 is that."""
    return path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == digest


def unpack(archive: Path, into: Path) -> Path:
    """Unpacks a tar file; returns the folder that it holds, or `into` where it holds more."""
    into.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as file:
        options = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        file.extractall(into, **options)  # type: ignore[arg-type]
    found = list(into.iterdir())
    return found[0] if len(found) == 1 else into


def source(version: str = NEWEST) -> Path:
    """The folder with the source of a version, Debian's patches applied; made once, until `make clean`."""
    folder = FOLDER / "source" / version
    stamp = folder / "patched"
    if stamp.exists():
        return next((folder / "upstream").iterdir())
    archive, changes = download(SUITES[version])
    shutil.rmtree(folder, ignore_errors=True)
    tree = unpack(archive, folder / "upstream")
    unpack(changes, folder / "changes")
    patches = folder / "changes" / "patches"
    series = patches / "series"
    for line in series.read_text().splitlines() if series.exists() else ():
        if line and not line.startswith("#"):
            run("patch", "-p1", "-i", patches / line, cwd=tree)
    stamp.write_text(changes.name)
    return tree


# ---- the library


def build(tree: Path, prefix: Path, target: zig.Target | None = None) -> None:
    """Builds the source folder and installs it into `prefix`, for `target` or for this system."""
    work = prefix.with_name(prefix.name + ".build")
    shutil.rmtree(work, ignore_errors=True)
    options = [*OPTIONS, f"-DCMAKE_INSTALL_PREFIX={prefix}"]
    if target is not None:
        options += ["-DCMAKE_SYSTEM_NAME=Linux", f"-DCMAKE_SYSTEM_PROCESSOR={target.machine}"]
        for variable, tool in (("C_COMPILER", "cc"), ("AR", "ar"), ("RANLIB", "ranlib")):
            options.append(f"-DCMAKE_{variable}={zig.wrapper(target, tool)}")
    cmake = cmake_program()
    run(cmake, "-S", tree, "-B", work, *options)
    run(cmake, "--build", work, "--parallel", str(os.cpu_count() or 1))
    run(cmake, "--install", work)
    licence = prefix / LICENCE
    licence.parent.mkdir(parents=True, exist_ok=True)
    (name,) = (name for name in ("LICENSE", "LICENSE-MIT") if (tree / name).exists())
    shutil.copyfile(tree / name, licence)
    shutil.rmtree(work)


def cmake_program() -> str:
    """CMake of this virtual environment, else the system's."""
    own = Path(sys.executable).with_name("cmake")
    found = str(own) if own.exists() else shutil.which("cmake")
    if found is None:
        raise SourceError("there is no cmake; pip install cmake")
    return found


def static(version: str = NEWEST, target: zig.Target = zig.TARGETS[0]) -> Path:
    """Where a static rabbitmq-c for the target is installed; it is built where it is not yet."""
    tree = source(version)
    prefix = FOLDER / "built" / f"{version}-{target.triple}"
    stamp = prefix / "built-from"
    named = hashlib.sha256(repr((tree, (tree.parent.parent / "patched").read_text(), OPTIONS)).encode())
    if not stamp.exists() or stamp.read_text() != named.hexdigest():
        shutil.rmtree(prefix, ignore_errors=True)
        build(tree, prefix, target)
        stamp.write_text(named.hexdigest())
    return prefix


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("prefix", type=Path, help="the folder to install into")
    parser.add_argument("source", type=Path, nargs="?", help="a folder or a tar file; else apt brings it")
    options = parser.parse_args(arguments)
    try:
        tree = options.source
        if tree is None:
            tree = source()
        elif tree.is_file():
            tree = unpack(tree, FOLDER / "given")
        build(tree, options.prefix.absolute())
    except SourceError as error:
        print(f"rabbitmq_c.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
