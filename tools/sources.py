"""Debian's source packages, as apt brings them, and how what is unpacked is built.

apt's signatures vouch for the files.  They are fetched once, into `build/`, whatever Debian release this
system is of.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "sources"
KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"


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


def download(package: str, suite: str, part: str) -> Path:
    """The tar file of a package, "orig", or of Debian's changes, "debian", compared with the signed list."""
    if shutil.which("apt-get") is None or not os.path.exists(KEYS):
        raise SourceError("there is no apt with Debian's keys here; give a SOURCE instead")
    env = apt(suite, ("Debian", "Debian-Security"))
    fetch = ("apt-get", "source", "--download-only", "-q", package)
    uris = run(*fetch, "--print-uris", env=env)
    folder = FOLDER / "download" / suite / package
    folder.mkdir(parents=True, exist_ok=True)
    found = re.findall(rf"^'\S+' (\S+\.{part}\.tar\.\w+) \d+ SHA256:(\w+)", uris, re.M)
    if len(found) != 1:
        raise SourceError(f"apt names {len(found)} files of {package} with .{part}.tar in {suite}")
    ((name, digest),) = found
    # The archive of security updates may lack the file that did not change; the main one has it.  That the
    # description (.dsc) cannot be had is no reason to stop: it is not looked at.
    for labels in (("Debian", "Debian-Security"), ("Debian",)):
        if not is_file(folder / name, digest):
            env = apt(suite, labels)
            subprocess.run(fetch, cwd=folder, env=env, stdin=subprocess.DEVNULL, capture_output=True)
    if not is_file(folder / name, digest):
        raise SourceError(f"apt did not bring {name} as the list of sources has it")
    return folder / name


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


def source(package: str, suite: str, patched: bool = True) -> Path:
    """The folder with a package's source, with Debian's patches or without; made once, until `make clean`."""
    folder = FOLDER / "unpacked" / f"{package}-{suite}{'' if patched else '-pristine'}"
    stamp = folder / "ready"
    if stamp.exists():
        return next((folder / "upstream").iterdir())
    archives = [download(package, suite, part) for part in (("orig", "debian") if patched else ("orig",))]
    shutil.rmtree(folder, ignore_errors=True)
    tree = unpack(archives[0], folder / "upstream")
    for changes in archives[1:]:
        apply(unpack(changes, folder / "changes"), tree)
    stamp.write_text(archives[-1].name)
    return tree


def apply(debian: Path, tree: Path) -> None:
    """Applies the patches of a package's folder `debian`, in their order."""
    if not (debian / "changelog").exists():
        raise SourceError(f"{debian} is not what Debian adds to a source")
    series = debian.absolute() / "patches" / "series"
    for line in series.read_text().splitlines() if series.exists() else ():
        if line and not line.startswith("#"):
            run("patch", "-p1", "-i", series.parent / line.split()[0], cwd=tree)


def state(tree: Path) -> str:
    """Of which state of the package a folder of `source` is."""
    return (tree.parent.parent / "ready").read_text()
