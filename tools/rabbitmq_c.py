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
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import zig
from sources import ROOT, SourceError, run, source, state, unpack

FOLDER = ROOT / "build" / "rabbitmq-c"
PREFIX_VARIABLE = "CPIKA_RABBITMQ_C_PREFIX"
LICENCE = "share/licenses/rabbitmq-c/LICENSE"
NEWEST = "0.15"
SUITES = {"0.11": "bookworm", "0.15": "trixie"}  # the Debian release that has the version
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
PACKAGE = "librabbitmq"


def build(tree: Path, prefix: Path, target: zig.Target | None = None, compiler: Path | None = None) -> None:
    """Builds the source folder and installs it into `prefix`, for `target`, by `compiler`, or here."""
    work = prefix.with_name(prefix.name + ".build")
    shutil.rmtree(work, ignore_errors=True)
    options = [*OPTIONS, f"-DCMAKE_INSTALL_PREFIX={prefix}"]
    if target is not None:
        options += ["-DCMAKE_SYSTEM_NAME=Linux", f"-DCMAKE_SYSTEM_PROCESSOR={target.machine}"]
        for variable, tool in (("C_COMPILER", "cc"), ("AR", "ar"), ("RANLIB", "ranlib")):
            options.append(f"-DCMAKE_{variable}={zig.wrapper(target, tool)}")
    if compiler is not None:
        options.append(f"-DCMAKE_C_COMPILER={compiler}")
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
    tree = source(PACKAGE, SUITES[version])
    prefix = FOLDER / "built" / f"{version}-{target.triple}"
    stamp = prefix / "built-from"
    named = hashlib.sha256(repr((tree, state(tree), OPTIONS)).encode())
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
            tree = source(PACKAGE, SUITES[NEWEST])
        elif tree.is_file():
            tree = unpack(tree, FOLDER / "given")
        build(tree, options.prefix.absolute())
    except SourceError as error:
        print(f"rabbitmq_c.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
