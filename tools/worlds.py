#!/usr/bin/env python3
"""Debian systems of our own, each in a folder of build/worlds: made once by debootstrap, entered by chroot.

    python3 tools/worlds.py enter debian-13 -- COMMAND [ARGS...]

What is mounted lives in a mount namespace, what runs in a process namespace: both go with the command,
however it ends, and a folder of build/ that somebody removes has nothing of the machine in it.  No service is
started by what is installed.  The network is the machine's, but a world has a host name of its own, and its
RabbitMQ asks no port mapper of the machine: by the usual names its tools would find the machine's node, and
stop it.  Takes root, Linux and debootstrap; standard library only.
"""

from __future__ import annotations

import argparse
import glob
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "worlds"
# What a registry's client of this machine needs, it needs in there as well.
PASSED = ("PIP_INDEX_URL", "PIP_DEFAULT_TIMEOUT", "http_proxy", "https_proxy", "no_proxy")
CERTIFICATES = "/etc/cpika-certificates.crt"  # those that pip is told to trust, where it is told
APT_INSTALL = ("apt-get", "install", "-q", "-y", "--no-install-recommends")
# Files that are synced one by one take most of an installation's time, and a world can be made anew.
UNSAFE_IO = "force-unsafe-io\n"
# A mirror of the unstable suite may be older than the suite's own limit; signatures are checked as ever.
OLD_LISTS = 'Acquire::Check-Valid-Until "false";\n'
NO_SERVICES = "#!/bin/sh\nexit 101\n"
# The node that RabbitMQ's tools in a world speak to, unless they are told of another one: there is none.
NOBODY = {"RABBITMQ_NODENAME": "nobody@localhost", "ERL_EPMD_PORT": "1"}


class WorldError(RuntimeError):
    """A world could not be made, or a command in it has failed."""


@dataclass(frozen=True)
class Interpreter:
    """A CPython of this machine that lies in a folder of its own, so that it can be lent to a world."""

    path: str  # of the program
    prefix: str  # the folder
    version: str  # "3.9.18"

    @property
    def minor(self) -> str:
        """`3.9`."""
        return ".".join(self.version.split(".")[:2])


QUESTION = """
import json, sys, sysconfig
print(json.dumps([sys.implementation.name, sys.base_prefix, "%d.%d.%d" % sys.version_info[:3],
    list(sys.version_info[:2]), bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
    sys.executable, sys.version_info[3]]))
"""


def interpreters() -> list[Interpreter]:
    """The newest CPython of each minor version from 3.9 on: of PATH, and those that pyenv has installed."""
    pyenv = os.environ.get("PYENV_ROOT", os.path.expanduser("~/.pyenv"))
    programs = glob.glob(os.path.join(glob.escape(pyenv), "versions", "*", "bin", "python3"))
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        if os.path.basename(folder) != "shims":  # pyenv's answer for one version only
            programs += glob.glob(os.path.join(glob.escape(folder), "python3.[0-9]*[0-9]"))
    found: dict[tuple[int, int], Interpreter] = {}
    for program in programs:
        asked = subprocess.run([program, "-I", "-c", QUESTION], capture_output=True, text=True)
        if asked.returncode != 0:
            continue
        name, prefix, version, minor, free_threaded, path, level = json.loads(asked.stdout)
        if name != "cpython" or minor < [3, 9] or free_threaded or level != "final":
            continue
        known = found.get(tuple(minor))
        if known is None or patch(version) > patch(known.version):
            found[tuple(minor)] = Interpreter(path, prefix, version)
    return [found[minor] for minor in sorted(found)]


def patch(version: str) -> list[int]:
    """A version as numbers that can be compared."""
    return [int(part) for part in version.split(".")]


def lendable(interpreter: Interpreter) -> bool:
    """False for the system's own: it lies among the system's files."""
    return interpreter.prefix not in ("/usr", "/")


@dataclass(frozen=True)
class Mount:
    """A folder or file of the machine that a command sees in its world, at `inside`."""

    outside: str
    inside: str
    writable: bool = False


@dataclass(frozen=True)
class World:
    """A Debian system in a folder.

    :param name: of the folder
    :param suite: Debian's name of the release
    :param packages: what it has beyond the smallest system
    """

    name: str
    suite: str
    packages: tuple[str, ...] = ()

    @property
    def root(self) -> Path:
        """The folder that is its /."""
        return FOLDER / self.name

    def make(self, say: Callable[[str], None]) -> None:
        """Makes it, where it is not made already; installs what `packages` names."""
        if os.geteuid() != 0 or shutil.which("debootstrap") is None:
            raise WorldError("a world takes root and debootstrap (apt-get install debootstrap)")
        stamp = self.root / "etc" / "cpika-world"
        if not stamp.exists():
            say(f"{self.name}: debootstrap {self.suite}")
            self.root.mkdir(parents=True, exist_ok=True)
            if not (self.root / "usr" / "bin" / "apt-get").exists():
                command = ["debootstrap", "--variant=minbase", self.suite, str(self.root)]
                checked(command, FOLDER / f"{self.name}.log")
            self._write("etc/dpkg/dpkg.cfg.d/cpika", UNSAFE_IO)
            self._write("etc/apt/apt.conf.d/90cpika", OLD_LISTS)
            self._write("usr/sbin/policy-rc.d", NO_SERVICES)
            (self.root / "usr/sbin/policy-rc.d").chmod(0o755)
        present = stamp.read_text().split() if stamp.exists() else []
        missing = [package for package in self.packages if package not in present]
        if missing:
            say(f"{self.name}: {' '.join(missing)}")
            log = FOLDER / f"{self.name}-packages.log"
            self.run(["apt-get", "update", "-q"], log=log)
            self.run([*APT_INSTALL, *missing], log=log)
        if missing or not stamp.exists():
            stamp.write_text(" ".join([*present, *missing]))

    def _write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def run(
        self,
        command: Sequence[str],
        *,
        folder: str = "/",
        mounts: Iterable[Mount] = (),
        env: Mapping[str, str] | None = None,
        log: Path | None = None,
        timeout: float | None = None,
    ) -> str:
        """Runs a command in there as root; returns what it printed, or the last of it in a WorldError.

        :param folder: where it starts
        :param env: beside PATH, HOME, a locale and what pip needs
        :param log: file that gets the output instead
        :param timeout: seconds after which it and all that it has started are killed
        """
        passed = {name: os.environ[name] for name in PASSED if name in os.environ}
        environment = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            "LC_ALL": "C.UTF-8",
            "DEBIAN_FRONTEND": "noninteractive",
            **NOBODY,
            **passed,
            **({"PIP_CERT": CERTIFICATES} if os.environ.get("PIP_CERT") else {}),
            **(env or {}),
        }
        order = {
            "root": str(self.root),
            "name": self.name,
            "folder": folder,
            "command": list(command),
            "mounts": [(mount.outside, mount.inside, mount.writable) for mount in (*basics(), *mounts)],
        }
        # However this process ends, what it has started in there ends.
        entry = [
            "setpriv",
            "--pdeathsig",
            "KILL",
            "unshare",
            "--mount",
            "--uts",
            "--propagation",
            "private",
            "--pid",
            "--fork",
            "--kill-child",
        ]
        entry += [sys.executable, str(Path(__file__).resolve()), "inside", json.dumps(order)]
        return checked(entry, log, environment, timeout)


DEBIAN_12 = World("debian-12", "bookworm", ("make", "python3"))
DEBIAN_13 = World("debian-13", "trixie", ("make", "python3"))
UNSTABLE = World("debian-unstable", "sid", ("make", "python3", "python3.14", "python3.15"))


def basics() -> list[Mount]:
    """What every command sees: how names are found, whom to trust, and pip's cache."""
    cache = FOLDER / "pip-cache"
    cache.mkdir(parents=True, exist_ok=True)
    mounts = [Mount(str(cache), "/root/.cache/pip", writable=True)]
    for outside, path in (("/etc/resolv.conf",) * 2, (os.environ.get("PIP_CERT", ""), CERTIFICATES)):
        if os.path.exists(outside):
            mounts.append(Mount(os.path.realpath(outside), path))
    return mounts


def checked(
    command: Sequence[str],
    log: Path | None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> str:
    """The output of a command that has succeeded; else a WorldError with the end of it."""
    if log is None:
        done = subprocess.run(
            command,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
        )
        text = done.stdout.decode(errors="replace")
    else:
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "ab") as file:
            done = subprocess.run(
                command, env=env, stdin=subprocess.DEVNULL, stdout=file, stderr=file, timeout=timeout
            )
        text = "" if done.returncode == 0 else log.read_text(errors="replace")
    if done.returncode != 0:
        raise WorldError(f"{shlex.join(command[-1:])[:200]} ended with {done.returncode}:\n{text[-3000:]}")
    return text


# ---- on the other side: the first process of the namespaces


def inside(order: dict[str, object]) -> int:
    """Mounts, runs the command in its root, and takes leave of every process that loses its parent."""
    root = Path(str(order["root"]))
    socket.sethostname(str(order["name"]))

    def mount(*arguments: str) -> None:
        subprocess.run(["mount", *arguments], check=True)

    for name in ("dev", "proc", "sys"):
        (root / name).mkdir(exist_ok=True)
    mount("--rbind", "/dev", f"{root}/dev")
    mount("-t", "tmpfs", "tmpfs", f"{root}/dev/shm")
    mount("-t", "proc", "proc", f"{root}/proc")
    mount("--rbind", "/sys", f"{root}/sys")
    mounts: list[tuple[str, str, bool]] = order["mounts"]  # type: ignore[assignment]
    for source, target, writable in mounts:
        place = root / target.lstrip("/")
        if os.path.isdir(source):
            place.mkdir(parents=True, exist_ok=True)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.touch()
        mount("--bind", source, str(place))
        if not writable:
            mount("-o", "remount,bind,ro", str(place))
    enter = ["chroot", str(root), "/usr/bin/env", "-C", str(order["folder"])]
    child = subprocess.Popen([*enter, *order["command"]])  # type: ignore[misc]
    while True:
        pid, status = os.wait()
        if pid == child.pid:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Runs a command in a Debian system of our own.")
    actions = parser.add_subparsers(dest="action", required=True)
    enter = actions.add_parser("enter", help="make the world if need be and run COMMAND in it")
    worlds = {world.name: world for world in (DEBIAN_12, DEBIAN_13, UNSTABLE)}
    enter.add_argument("world", choices=worlds)
    enter.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND")
    actions.add_parser("inside", help=argparse.SUPPRESS).add_argument("order", type=json.loads)
    options = parser.parse_args()
    if options.action == "inside":
        return inside(options.order)
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    world = worlds[options.world]
    try:
        world.make(lambda text: print(text, file=sys.stderr, flush=True))
        print(world.run(command), end="")
    except WorldError as error:
        print(f"worlds.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
