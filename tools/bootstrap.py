#!/usr/bin/env python3
"""Makes a clone ready for work: system packages, the virtual environment .venv, build and installation.

    python3 tools/bootstrap.py            what building and running against a broker takes
    python3 tools/bootstrap.py --test     also what `make test` takes: clang, analyzers, a rabbitmq-server
    python3 tools/bootstrap.py --bench    also the clients and libraries of `make bench`
    python3 tools/bootstrap.py --docs     what `make docs` takes; no broker
    python3 tools/bootstrap.py --wheel    also what builds wheels, and Debian systems to try them in

Missing system packages are installed where this is a Debian-like system and the user is root; elsewhere the
command to run is printed and the exit status is 1.  Safe to repeat: a step whose inputs did not change is not
done again.  Needs nothing but the standard library of Python 3.9.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import shlex
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import broker

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
BUILD_VARIABLES = (
    "CC",
    "CFLAGS",
    "LDFLAGS",
    "CPIKA_RABBITMQ_C_PREFIX",
    "CPIKA_LTO",
    "CPIKA_DEBUG",
    "CPIKA_SANITIZE",
)


# ---- what the system must have ----


@dataclass(frozen=True)
class Need:
    """Something that the system must have, how to see whether it does, and which package brings it."""

    what: str
    met: Callable[[], bool]
    apt: str
    dnf: str
    apk: str


def has_command(name: str) -> Callable[[], bool]:
    return lambda: shutil.which(name) is not None


def compiles(compiler: str, source: str, *flags: str) -> Callable[[], bool]:
    """`compiler` exists and makes a program of `source`."""

    def probe() -> bool:
        if shutil.which(compiler) is None:
            return False
        with tempfile.TemporaryDirectory() as folder:
            command = [compiler, "-x", "c", "-", "-o", os.path.join(folder, "probe"), *flags]
            return subprocess.run(command, input=source.encode(), capture_output=True).returncode == 0

    return probe


def has_rabbitmq_c() -> bool:
    return bool(os.environ.get("CPIKA_RABBITMQ_C_PREFIX")) or has_systems_rabbitmq_c()  # setup.py looks at it


def has_systems_rabbitmq_c() -> bool:
    command = [os.environ.get("PKG_CONFIG", "pkg-config"), "--exists", "librabbitmq >= 0.11"]
    return shutil.which(command[0]) is not None and subprocess.run(command).returncode == 0


def broker_within_reach() -> bool:
    """What `broker.py exec` prefers to a local server: a given URL, the usual port, a Docker engine."""
    if os.environ.get("CPIKA_BROKER_URL"):
        return True
    return broker.answers_amqp("127.0.0.1", broker.DEFAULT_PORT) or broker.docker_answers()


def has_server() -> bool:
    try:
        broker.rabbitmq_program("rabbitmq-server")
    except broker.BrokerError:
        return False
    return True


def finds_localhost() -> bool:
    """The smallest systems have no /etc/hosts; certificates and clustered nodes need the name."""
    try:
        return bool(socket.getaddrinfo("localhost", None))
    except OSError:
        return False


def of_this_python(package: str) -> str:
    """The package's name for the interpreter at work: `python3-dev` is of the system's default one alone."""
    default = os.path.realpath("/usr/bin/python3")
    if os.path.realpath(sys.executable) == default or not os.path.exists(default):
        return package
    return package.replace("python3", "python{}.{}".format(*sys.version_info))


PYTHON_H = Path(sysconfig.get_path("include")) / "Python.h"
COMPILER = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[0]
HELLO = '#include <stdio.h>\nint main(void) { return puts("") < 0; }\n'
FUZZ_TARGET = (
    "#include <stdint.h>\n#include <stddef.h>\nint LLVMFuzzerTestOneInput(const uint8_t *, size_t);\n"
    + ("int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) { return n > 9 && p[0] == 1; }\n")
)

RABBITMQ_C = ("librabbitmq-dev", "librabbitmq-devel", "rabbitmq-c-dev")
TO_BUILD = (
    Need("a C compiler", compiles(COMPILER, HELLO), "gcc libc6-dev", "gcc glibc-devel", "gcc musl-dev"),
    Need("pkg-config", has_command("pkg-config"), "pkg-config", "pkgconf-pkg-config", "pkgconf"),
    Need("rabbitmq-c", has_rabbitmq_c, *RABBITMQ_C),
    Need(
        "Python's headers",
        PYTHON_H.exists,
        of_this_python("python3-dev"),
        of_this_python("python3-devel"),
        "python3-dev",
    ),
    Need(
        "Python's venv module",
        lambda: all(map(importlib.util.find_spec, ("venv", "ensurepip"))),
        of_this_python("python3-venv"),
        of_this_python("python3"),
        "python3",
    ),
)
A_BROKER = Need(
    "a broker",
    lambda: has_server() or broker_within_reach(),
    "rabbitmq-server",
    "rabbitmq-server",
    "rabbitmq-server",
)
TO_BENCH = (
    # Also where the extension has another one: programs in C are linked with it, those of the tests too.
    Need("the system's rabbitmq-c", has_systems_rabbitmq_c, *RABBITMQ_C),
    Need(
        "OpenSSL's headers",
        compiles(COMPILER, "#include <openssl/ssl.h>\n" + HELLO),
        "libssl-dev",
        "openssl-devel",
        "openssl-dev",
    ),
)
PATCH = Need("patch", has_command("patch"), "patch", "patch", "patch")
TO_WHEEL = (
    PATCH,
    Need("debootstrap", has_command("debootstrap"), "debootstrap", "debootstrap", "debootstrap"),
    Need(
        "an emulator of aarch64",
        lambda: any(map(shutil.which, ("qemu-aarch64-static", "qemu-aarch64"))),
        "qemu-user-static",
        "qemu-user-static",
        "qemu-aarch64",
    ),
    Need("musl's loader", lambda: any(Path("/lib").glob("ld-musl-*")), "musl", "musl-libc", "musl"),
)
TO_TEST = (
    *TO_BENCH,
    Need(
        "gcc with sanitizers",
        compiles("gcc", HELLO, "-fsanitize=address,undefined"),
        "gcc",
        "libasan libubsan libtsan gcc",
        "gcc",
    ),
    Need("a broker of the tests' own", has_server, "rabbitmq-server", "rabbitmq-server", "rabbitmq-server"),
    # uwsgi's router_basicauth is linked with it.
    Need("libcrypt", compiles(COMPILER, HELLO, "-lcrypt"), "libcrypt-dev", "libxcrypt-devel", "musl-dev"),
    Need("cppcheck", has_command("cppcheck"), "cppcheck", "cppcheck", "cppcheck"),
    Need("clang-tidy", has_command("clang-tidy"), "clang-tidy", "clang-tools-extra", "clang-extra-tools"),
    Need(
        "clang with libFuzzer",
        compiles("clang", FUZZ_TARGET, "-fsanitize=fuzzer,address,undefined"),
        "clang libclang-rt-dev",
        "clang compiler-rt",
        "clang compiler-rt",
    ),
    Need("nm", has_command("nm"), "binutils", "binutils", "binutils"),
    Need("git", has_command("git"), "git", "git", "git"),
    PATCH,
    Need("the name localhost", finds_localhost, "libnss-myhostname", "setup", "alpine-baselayout-data"),
)


def system_packages(needs: Iterable[Need]) -> None:
    """Sees to it that all `needs` are met, or exits with the command that would."""
    missing = [need for need in needs if not need.met()]
    if not missing:
        return
    names = ", ".join(need.what for need in missing)

    def packages(manager: str) -> list[str]:
        return sorted({name for need in missing for name in getattr(need, manager).split()})

    apt_install = ["apt-get", "install", "-y", "--no-install-recommends"]
    if shutil.which("apt-get"):
        commands = [["apt-get", "update", "-q"], [*apt_install, *packages("apt")]]
    elif shutil.which("dnf"):
        commands = [["dnf", "install", "-y", *packages("dnf")]]
    elif shutil.which("apk"):
        commands = [["apk", "add", *packages("apk")]]
    else:
        sys.exit(f"missing: {names}; please install them by the means of your system")
    if commands[0][0] != "apt-get" or os.geteuid() != 0:
        sudo = "sudo " if shutil.which("sudo") else ""
        lines = " && ".join(sudo + shlex.join(command) for command in commands)
        who = "" if sudo else " as root"
        sys.exit(f"missing: {names}\nPlease run this{who} and then try again:\n    {lines}")

    say(f"installing {' '.join(packages('apt'))} ({names})")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in commands:
        result = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if result.returncode != 0:
            sys.exit(f"{shlex.join(command)} failed:\n{result.stdout}{result.stderr}")
    still_missing = [need.what for need in missing if not need.met()]
    if still_missing:
        sys.exit(f"still missing after {shlex.join(commands[-1])}: {', '.join(still_missing)}")


# ---- the virtual environment ----


class Stamp:
    """Remembers in the virtual environment what a step was last done with."""

    def __init__(self, name: str, *inputs: object) -> None:
        self.path = VENV / f"stamp-{name}"
        self.value = hashlib.sha256(repr((str(ROOT), inputs)).encode()).hexdigest()

    def is_current(self) -> bool:
        return self.path.exists() and self.path.read_text() == self.value

    def set(self) -> None:
        self.path.write_text(self.value)


def contents(paths: Iterable[Path]) -> list[tuple[str, str]]:
    return [(str(p.relative_to(ROOT)), hashlib.sha256(p.read_bytes()).hexdigest()) for p in sorted(paths)]


def toolchain() -> list[str | None]:
    return [os.environ.get(name) for name in BUILD_VARIABLES]


def say(text: str) -> None:
    print(f"set-up: {text}", flush=True)


def run(*command: str | Path) -> None:
    result = subprocess.run([str(part) for part in command], cwd=ROOT, stdin=subprocess.DEVNULL)
    if result.returncode != 0:
        sys.exit(f"set-up failed: {shlex.join(map(str, command))}")


def virtual_environment() -> None:
    stamp = Stamp("python", sys.version, os.path.realpath(sys.executable))
    if stamp.is_current() and VENV_PYTHON.exists():
        return
    say(f"virtual environment {VENV.name} with Python {sys.version.split()[0]}")
    run(sys.executable, "-m", "venv", "--clear", VENV)
    stamp.set()


def install(extras: set[str]) -> None:
    """Editable, so that a change of a Python file needs no installation; a change of a C file builds anew."""
    pip = (VENV_PYTHON, "-m", "pip", "--disable-pip-version-check", "-qq")
    project = ROOT / "pyproject.toml"
    sources = [*ROOT.glob("src/*/*.[ch]"), *ROOT.glob("python/*.pth"), ROOT / "setup.py", project]
    build = Stamp("build", contents(sources), toolchain())
    wanted = {name: Stamp(f"extra-{name}", contents([project])) for name in sorted(extras)}

    missing = [name for name, stamp in wanted.items() if not stamp.is_current()]
    extension = list(ROOT.glob("python/cpika/_core.*.so"))
    if build.is_current() and extension and not missing:
        return
    say(f"build and installation of cpika[{','.join(wanted)}]")
    if missing:
        run(*pip, "install", "setuptools>=77")
    target = f".[{','.join(missing)}]" if missing else "."
    run(*pip, "install", "--no-build-isolation", "--editable", target)
    build.set()
    for name in missing:
        wanted[name].set()


def programs_of_others() -> None:
    """The small choice of `make ecosystem`, which `make test` runs: each in an environment of its own."""
    files = [
        *(ROOT / "tests" / "ecosystem").glob("*.py"),
        *(ROOT / "tests" / "ecosystem").glob("supplied/*/**/*.py"),
    ]
    stamp = Stamp("ecosystem", contents(files), sys.version)
    if stamp.is_current() and (ROOT / "build" / "ecosystem").exists():
        return
    say("libraries and agents of others for the tests, in build/ecosystem")
    run("env", f"PYTHONPATH={ROOT / 'tests'}", VENV_PYTHON, "-m", "ecosystem", "small", "--prepare")
    stamp.set()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--test", action="store_true", help="also what `make test` takes")
    parser.add_argument("--bench", action="store_true", help="also what `make bench` takes")
    parser.add_argument("--docs", action="store_true", help="what `make docs` takes")
    parser.add_argument("--wheel", action="store_true", help="also what `make wheel` takes")
    args = parser.parse_args()
    if args.docs and sys.version_info < (3, 11):
        sys.exit(f"make docs takes Python 3.11, for Sphinx 9; this is {sys.version.split()[0]}: set PYTHON")
    more = {"test": TO_TEST, "bench": TO_BENCH, "wheel": TO_WHEEL}
    asked = [name for name in more if getattr(args, name)]
    needs = (*TO_BUILD, *(need for name in asked for need in more[name]))
    # Compilers are asked once, a broker every time: it may have gone.
    seen = Stamp(
        "-".join(["system", *asked]),
        [need.what for need in needs],
        sys.version,
        os.environ.get("PATH"),
        toolchain(),
    )
    brokers = () if args.docs else (A_BROKER,)
    system_packages([*brokers] if seen.is_current() else [*needs, *brokers])
    virtual_environment()
    seen.set()
    install({"docs"} if args.docs else {"dev", *({"bench", "wheel"} & set(asked))})
    if args.test:
        programs_of_others()


if __name__ == "__main__":
    main()
