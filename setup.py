"""Builds the extension `cpika._core`; everything else about the project stands in pyproject.toml.

Environment:
    CPIKA_RABBITMQ_C_PREFIX  link the static rabbitmq-c installed there instead of the system's shared one
    CPIKA_WERROR=1           warnings are errors
    CPIKA_LTO=0              no optimisation across files: for a packager whose own flags decide
    CPIKA_SANITIZE           sanitizers to build with, for example "address,undefined" or "thread"
    CPIKA_DEBUG=1            assertions stay, and a wait that would hold the GIL aborts (src/wire/debug.h)
"""

from __future__ import annotations

import base64
import glob
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py
from setuptools.command.editable_wheel import editable_wheel
from setuptools.errors import CCompilerError

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "tools"))
from index_readme import for_index  # noqa: E402

del sys.path[0]

PREFIX_VARIABLE = "CPIKA_RABBITMQ_C_PREFIX"
PKG_CONFIG = os.environ.get("PKG_CONFIG", "pkg-config")
WARNINGS = ["-Wall", "-Wextra", "-Wshadow", "-Wstrict-prototypes", "-Wmissing-prototypes", "-Wvla"]


def refuse_what_cannot_work() -> None:
    """Ends with one line where the compiler would only print many."""
    if sys.implementation.name != "cpython":
        raise SystemExit(
            f"error: cpika runs on CPython alone, whose C interface its core is written for; this is "
            f"{sys.implementation.name}. pika runs here, with the same interface."
        )
    if sys.platform == "win32":
        raise SystemExit(
            "error: cpika runs on POSIX systems alone (Linux, macOS), and not on Windows. "
            "It runs under WSL; pika runs on Windows, with the same interface."
        )


def rabbitmq_c_missing(reason: str) -> NoReturn:
    # SystemExit: setuptools and pip show its text alone, any other exception with its traceback.
    raise SystemExit(
        f"error: cpika needs rabbitmq-c 0.11 or newer with its headers, found by pkg-config: {reason}.\n"
        "  Debian, Ubuntu:  apt-get install librabbitmq-dev pkg-config\n"
        "  Fedora:          dnf install librabbitmq-devel pkgconf-pkg-config\n"
        "  Alpine:          apk add rabbitmq-c-dev pkgconf\n"
        "  Homebrew:        brew install rabbitmq-c pkgconf\n"
        f"  elsewhere:       set {PREFIX_VARIABLE} to where a static rabbitmq-c is installed"
    )


def use_headers(ext: Extension, folders: Iterable[str]) -> bool:
    """Takes those in the first of the folders that has any, whatever headers the system has besides."""
    for folder in folders:
        if os.path.exists(os.path.join(folder, "rabbitmq-c", "amqp.h")):
            return True
        if os.path.exists(os.path.join(folder, "amqp.h")):  # before 0.12
            ext.define_macros.append(("CPIKA_RMQ_OLD_LAYOUT", None))
            return True
    return False


def use_static_rabbitmq_c(ext: Extension, prefix: str) -> None:
    include = os.path.join(prefix, "include")
    archives = sorted(
        glob.glob(os.path.join(glob.escape(prefix), "lib*", "**", "librabbitmq.a"), recursive=True)
    )
    if not archives or not use_headers(ext, [include]):
        rabbitmq_c_missing(f"{PREFIX_VARIABLE}={prefix} holds no librabbitmq.a with its headers")
    ext.include_dirs.append(include)
    ext.extra_objects.append(archives[0])
    # The archive's functions stay inside.
    if sys.platform == "darwin":
        ext.extra_link_args.append("-Wl,-exported_symbol,_PyInit__core")
    else:
        ext.extra_link_args.append("-Wl,--version-script=src/exports.map")
        ext.depends.append("src/exports.map")


def use_system_rabbitmq_c(ext: Extension) -> None:
    if shutil.which(PKG_CONFIG) is None:
        rabbitmq_c_missing(f"there is no {PKG_CONFIG}")
    if subprocess.run([PKG_CONFIG, "--exists", "librabbitmq >= 0.11"]).returncode != 0:
        rabbitmq_c_missing("pkg-config knows no such librabbitmq")
    flags = {
        option: subprocess.check_output([PKG_CONFIG, option, "librabbitmq"], text=True).split()
        for option in ("--cflags", "--libs", "--cflags-only-I", "--variable=includedir")
    }
    folders = [flag[len("-I") :] for flag in flags["--cflags-only-I"]] + flags["--variable=includedir"]
    use_headers(ext, folders)  # none found: the compiler knows where they are
    ext.extra_compile_args += flags["--cflags"]
    ext.extra_link_args += flags["--libs"]


# The core's files call each other for every message: optimised across them it takes a sixth less time.
LINK_TIME = (["-flto=auto", "-fno-plt"], ["-flto", "-fno-plt"])


class BuildExt(build_ext):
    """Looks for rabbitmq-c only when something is compiled: metadata and sdists do without it."""

    def run(self) -> None:
        refuse_what_cannot_work()
        super().run()

    def link_time_flags(self) -> list[str]:
        """The first of LINK_TIME with which this compiler and its linker make a library; else none."""
        with tempfile.TemporaryDirectory() as folder:
            source = os.path.join(folder, "probe.c")
            with open(source, "w") as file:
                file.write("int probe(void);\nint probe(void) { return 0; }\n")
            for flags in LINK_TIME:
                try:
                    objects = self.compiler.compile([source], folder, extra_preargs=flags)
                    self.compiler.link_shared_object(
                        objects, os.path.join(folder, "probe.so"), extra_preargs=flags
                    )
                except CCompilerError:
                    continue
                return flags
        return []

    def build_extension(self, ext: Extension) -> None:
        prefix = os.environ.get(PREFIX_VARIABLE)
        if prefix:
            use_static_rabbitmq_c(ext, prefix)
        else:
            use_system_rabbitmq_c(ext)
        if os.environ.get("CPIKA_WERROR") == "1":
            ext.extra_compile_args.append("-Werror")
        if os.environ.get("CPIKA_DEBUG") == "1":
            ext.extra_compile_args += ["-DCPIKA_DEBUG", "-UNDEBUG"]
        sanitizers = os.environ.get("CPIKA_SANITIZE")
        if sanitizers:
            ext.extra_compile_args += [
                "-O1",
                "-g",
                "-UNDEBUG",
                "-fno-omit-frame-pointer",
                f"-fsanitize={sanitizers}",
            ]
            ext.extra_link_args.append(f"-fsanitize={sanitizers}")
        elif os.environ.get("CPIKA_LTO") != "0":
            flags = self.link_time_flags()
            ext.extra_compile_args += flags
            ext.extra_link_args += ["-O3", *flags]
        super().build_extension(ext)


# The switch CPIKA_AS_PIKA: a line that each interpreter of the environment runs when it starts.
SWITCH = "cpika_as_pika.pth"


class BuildPy(build_py):
    """Puts the switch beside the package: such files work at the top of a site directory only."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            self.copy_file(os.path.join("python", SWITCH), os.path.join(self.build_lib, SWITCH))

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        return [*super().get_outputs(include_bytecode), os.path.join(self.build_lib, SWITCH)]


class EditableWheel(editable_wheel):
    """Puts the switch into an editable installation too, whose wheel has nothing but a path otherwise."""

    def run(self) -> None:
        super().run()
        for path in glob.glob(os.path.join(glob.escape(str(self.dist_dir)), "cpika-*.editable-*.whl")):
            add_to_wheel(path, os.path.join("python", SWITCH))


def add_to_wheel(path: str, file: str) -> None:
    """Adds a file at the top of a wheel and to the wheel's list of its files."""
    name = os.path.basename(file)
    with zipfile.ZipFile(path) as wheel:
        contents = {item.filename: wheel.read(item) for item in wheel.infolist()}
    with open(file, "rb") as added:
        contents[name] = added.read()
    digest = base64.urlsafe_b64encode(hashlib.sha256(contents[name]).digest()).rstrip(b"=").decode()
    (record,) = (filename for filename in contents if filename.endswith(".dist-info/RECORD"))
    contents[record] = f"{name},sha256={digest},{len(contents[name])}\n".encode() + contents[record]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for filename, content in contents.items():
            wheel.writestr(filename, content)


setup(
    long_description=for_index((HERE / "README.md").read_text(encoding="utf-8")),
    long_description_content_type="text/markdown",
    cmdclass={"build_ext": BuildExt, "build_py": BuildPy, "editable_wheel": EditableWheel},
    ext_modules=[
        Extension(
            "cpika._core",
            sources=sorted(glob.glob("src/*/*.c") + glob.glob("src/*.c")),
            depends=sorted(glob.glob("src/*/*.h")),
            include_dirs=["src"],
            extra_compile_args=["-std=c17", "-O3", "-fvisibility=hidden", "-pthread", *WARNINGS],
            extra_link_args=["-pthread"],
        )
    ],
)
