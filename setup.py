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
from typing import NoReturn

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py
from setuptools.command.editable_wheel import editable_wheel
from setuptools.errors import CCompilerError

PREFIX_VARIABLE = "CPIKA_RABBITMQ_C_PREFIX"
PKG_CONFIG = os.environ.get("PKG_CONFIG", "pkg-config")
WARNINGS = ["-Wall", "-Wextra", "-Wshadow", "-Wstrict-prototypes", "-Wmissing-prototypes", "-Wvla"]


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


def use_static_rabbitmq_c(ext: Extension, prefix: str) -> None:
    headers = [os.path.join(prefix, "include", name) for name in ("rabbitmq-c/amqp.h", "amqp.h")]
    archives = sorted(
        glob.glob(os.path.join(glob.escape(prefix), "lib*", "**", "librabbitmq.a"), recursive=True)
    )
    if not archives or not any(map(os.path.exists, headers)):
        rabbitmq_c_missing(f"{PREFIX_VARIABLE}={prefix} holds no librabbitmq.a with its headers")
    ext.include_dirs.append(os.path.join(prefix, "include"))
    ext.extra_objects.append(archives[0])
    if sys.platform == "linux":
        # The archive's functions stay inside: another librabbitmq in the process must not meet them.
        ext.extra_link_args.append("-Wl,--exclude-libs,ALL")


def use_system_rabbitmq_c(ext: Extension) -> None:
    if shutil.which(PKG_CONFIG) is None:
        rabbitmq_c_missing(f"there is no {PKG_CONFIG}")
    if subprocess.run([PKG_CONFIG, "--exists", "librabbitmq >= 0.11"]).returncode != 0:
        rabbitmq_c_missing("pkg-config knows no such librabbitmq")
    flags = {
        option: subprocess.check_output([PKG_CONFIG, option, "librabbitmq"], text=True).split()
        for option in ("--cflags", "--libs")
    }
    ext.extra_compile_args += flags["--cflags"]
    ext.extra_link_args += flags["--libs"]


# The core's files call each other for every message: optimised across them it takes a sixth less time.
LINK_TIME = (["-flto=auto", "-fno-plt"], ["-flto", "-fno-plt"])


class BuildExt(build_ext):
    """Looks for rabbitmq-c only when something is compiled: metadata and sdists do without it."""

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
