"""A virtual environment for each entry, and the sources that have its tests; kept under build/ecosystem.

What is made here is made again only when its pins, the interpreter or this checkout's place change.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / "build" / "ecosystem"
PIKA = "pika==1.4.4"
CHECKOUT = f"import site; site.addsitedir({str(ROOT / 'python')!r})\n"
DOWNLOAD_TIMEOUT = 600  # seconds


def own_environment() -> dict[str, str]:
    """This process's environment without what would choose a library or a plugin for another one."""
    left_out = ("PYTHONPATH", "CPIKA_AS_PIKA", "PYTEST_")
    return {key: value for key, value in os.environ.items() if not key.startswith(left_out)}


class NotInstalled(RuntimeError):
    """What an entry needs could not be had; the text is pip's."""


class Environment:
    """The virtual environment of one entry, with pika, and with the cpika of this checkout.

    :param name: of the entry
    :param requirements: what pip installs, each with its version
    """

    def __init__(self, name: str, requirements: Sequence[str]) -> None:
        self.folder = CACHE / name
        self.python = self.folder / "venv" / "bin" / "python"
        self._requirements = [PIKA, *requirements]
        self._pip = [str(self.python), "-m", "pip", "-q", "--disable-pip-version-check"]

    def make(self) -> None:
        """Makes it unless it is there.

        :raises NotInstalled: if pip could not
        """
        value = repr((sys.version, str(ROOT), self._requirements, CHECKOUT))
        stamp = self.folder / "installed"
        if stamp.exists() and stamp.read_text() == value:
            return
        shutil.rmtree(self.folder / "venv", ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        stamp.unlink(missing_ok=True)
        _run([sys.executable, "-m", "venv", str(self.folder / "venv")])
        _run([*self._pip, "install", *self._requirements])
        self._show_checkout()
        stamp.write_text(value)

    def sources(self, requirement: str, kind: str) -> Path:
        """The folder of a distribution's files as its makers packed them.

        :param requirement: with its version
        :param kind: "sdist" or "wheel"
        :raises NotInstalled: if pip could not get it
        """
        place = self.folder / ("files-" + hashlib.sha256((requirement + kind).encode()).hexdigest()[:8])
        if not place.exists():
            name = requirement.split("==")[0]
            only = ["--no-binary", name] if kind == "sdist" else ["--only-binary", name]
            scratch = self.folder / "download"
            shutil.rmtree(scratch, ignore_errors=True)
            _run([*self._pip, "download", "--no-deps", *only, "-d", str(scratch), requirement])
            [archive] = scratch.iterdir()
            unpacked = scratch / "unpacked"
            _unpack(archive, unpacked)
            unpacked.rename(place)
            shutil.rmtree(scratch)
        inside = list(place.iterdir())
        return inside[0] if kind == "sdist" else place

    def _show_checkout(self) -> None:
        """Makes this checkout's cpika importable, as an editable installation does, without a build.

        As a folder of the kind of site-packages, in which the interpreter runs what the .pth files say.
        """
        done = subprocess.run(
            [str(self.python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
            check=True,
            capture_output=True,
            text=True,
        )
        (Path(done.stdout.strip()) / "cpika-checkout.pth").write_text(CHECKOUT)


def _unpack(archive: Path, folder: Path) -> None:
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(folder)
    else:
        with tarfile.open(archive) as tar:
            options = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
            tar.extractall(folder, **options)  # type: ignore[arg-type]


def _run(command: list[str]) -> None:
    # pip's own cache makes the second time cheap; it must not see this run's PYTHONPATH.
    env = own_environment()
    try:
        done = subprocess.run(
            command,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=DOWNLOAD_TIMEOUT,
        )
    except subprocess.TimeoutExpired:
        raise NotInstalled(f"{' '.join(command[1:])}: no end after {DOWNLOAD_TIMEOUT} s") from None
    if done.returncode != 0:
        said = [line for line in done.stdout.splitlines() if "error" in line.lower()] or [done.stdout[-300:]]
        raise NotInstalled(f"{' '.join(command[1:])}: {said[0].strip()}")
