"""Builds the extension with sanitizers, where nobody else looks for it, and says how to use it."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# CPython itself keeps memory until its end: test_leaks.py looks for leaks.
OPTIONS = {
    "ASAN_OPTIONS": "detect_leaks=0",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "TSAN_OPTIONS": "halt_on_error=0:history_size=4:report_signal_unsafe=0",
}
LIBRARIES = {"address,undefined": ("libasan", "libubsan"), "thread": ("libtsan",)}


def runtime(name: str) -> str:
    """Path of a sanitizer's library, which has to be in the process before Python is."""
    path = subprocess.check_output(["gcc", f"-print-file-name={name}.so"], text=True).strip()
    assert os.path.isabs(path), f"gcc has no {name}"
    return path


def environment(sanitizers: str = "address,undefined") -> dict[str, str]:
    """Builds with them; the environment of a process that uses the build."""
    folder = ROOT / "build" / ("sanitized" if sanitizers.startswith("address") else "sanitized-" + sanitizers)
    build_environment = {
        **os.environ,
        "CPIKA_SANITIZE": sanitizers,
        "CPIKA_DEBUG": "1",
        "CC": "gcc -pthread",
        "LDSHARED": "gcc -pthread -shared",
    }
    command = [sys.executable, "setup.py", "--quiet", "build"]
    command += [f"--build-base={folder}", f"--build-lib={folder}/lib"]
    folder.mkdir(parents=True, exist_ok=True)
    # Several processes of one test run want it: the first one builds, the others find it up to date.
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        built = subprocess.run(command, cwd=ROOT, env=build_environment, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    made = {
        **os.environ,
        **OPTIONS,
        "LD_PRELOAD": " ".join(map(runtime, LIBRARIES[sanitizers])),
        "PYTHONMALLOC": "malloc",  # each object its own block, so that a use after its end is seen
        "PYTHONPATH": f"{folder}/lib{os.pathsep}{ROOT}/tests",
    }
    where = "import cpika._core; print(cpika._core.__file__)"
    found = subprocess.check_output([sys.executable, "-c", where], env=made, text=True).strip()
    assert found == f"{folder}/lib/cpika/_core{sysconfig.get_config_var('EXT_SUFFIX')}"
    return made
