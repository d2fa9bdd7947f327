"""What is installed, from a wheel and from an sdist, and what is said when rabbitmq-c is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("librabbitmq-dev", "librabbitmq-devel", "rabbitmq-c-dev", "brew install rabbitmq-c")


def python(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the repository as they are now, without what was built from them."""
    copy = tmp_path_factory.mktemp("packaging") / "cpika"
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in filter(None, subprocess.check_output(listed, cwd=ROOT, text=True).split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, copy / name)
    return copy


def build(hook: str, tree: Path, into: Path) -> Path:
    """What a hook of the build backend makes."""
    program = f"from setuptools import build_meta; build_meta.{hook}({str(into)!r})"
    done = python("-c", program, cwd=tree)
    assert done.returncode == 0, done.stdout
    (made,) = into.iterdir()
    return made


@pytest.mark.timeout(300)
def test_a_wheel_made_from_the_sdist_holds_the_package_and_the_extension_and_can_be_imported(
    tree: Path, tmp_path: Path
) -> None:
    with tarfile.open(build("build_sdist", tree, tmp_path / "sdist")) as sdist:
        sdist.extractall(tmp_path / "source")
    (source,) = (tmp_path / "source").iterdir()
    wheel = zipfile.ZipFile(build("build_wheel", source, tmp_path / "wheel"))

    python_files = {str(p.relative_to(tree / "python")) for p in (tree / "python").rglob("*.py*")}
    extension = "cpika/_core" + sysconfig.get_config_var("EXT_SUFFIX")
    installed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert installed == python_files | {extension, "cpika/py.typed", "cpika_as_pika.pth"}

    wheel.extractall(tmp_path / "site")
    program = "import sys; sys.path.insert(0, 'site'); import cpika._core; print(cpika._core.__file__)"
    done = python("-I", "-c", program, cwd=tmp_path)
    assert done.stdout.strip().endswith(f"site/{extension}")


def test_an_editable_installation_has_the_switch_and_pip_knows_it() -> None:
    """This one: make setup installs so."""
    from importlib.metadata import distribution

    installed = [file for file in distribution("cpika").files or [] if file.name == "cpika_as_pika.pth"]
    assert len(installed) == 1 and installed[0].hash is not None
    assert installed[0].read_text() == (ROOT / "python" / "cpika_as_pika.pth").read_text()


def test_the_metadata_states_name_version_licence_and_pythons() -> None:
    from importlib.metadata import metadata

    stated = metadata("cpika")
    assert stated["Name"] == "cpika"
    assert stated["Version"] == "0.1.0"
    assert stated["License-Expression"] == "MIT"
    assert stated["Requires-Python"] == ">=3.9"
    required = [line for line in stated.get_all("Requires-Dist") or [] if "extra ==" not in line]
    assert required == []  # a program that takes cpika takes nothing else with it


@pytest.mark.parametrize(
    "environment",
    [
        pytest.param({"PKG_CONFIG": "no-such-pkg-config"}, id="no pkg-config"),
        pytest.param({"PKG_CONFIG_LIBDIR": "/nonexistent", "PKG_CONFIG_PATH": ""}, id="no librabbitmq"),
        pytest.param({"CPIKA_RABBITMQ_C_PREFIX": "/nonexistent"}, id="nothing at the prefix"),
    ],
)
@pytest.mark.parametrize("hook", ["build_wheel", "build_editable"])
def test_without_rabbitmq_c_one_error_names_the_package_to_install(
    hook: str, environment: dict[str, str], tree: Path, tmp_path: Path
) -> None:
    program = f"from setuptools import build_meta; build_meta.{hook}({str(tmp_path)!r})"
    done = python("-c", program, cwd=tree, **environment)
    assert done.returncode != 0
    assert done.stdout.count("error:") == 1
    assert "Traceback" not in done.stdout
    for package in PACKAGES:
        assert package in done.stdout
