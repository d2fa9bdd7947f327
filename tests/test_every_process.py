"""The switch CPIKA_AS_PIKA, and what `importlib.metadata` and pip say where only cpika is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
import venv
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import cpika
import pika
import pytest

pytestmark = pytest.mark.timeout(300)  # pip's starts add up on a busy machine

ROOT = Path(__file__).resolve().parent.parent
SITE = Path(str(distribution("cpika").locate_file("")))
WHICH = "import pika; print('cpika' if hasattr(pika, '__cpika_version__') else 'pika')"


def run(code: str, switch: str | None = "1", python: Path | str = sys.executable, *options: str) -> str:
    """The output of code in an interpreter whose environment has the switch; None: has it not."""
    environment = {name: value for name, value in os.environ.items() if name != "CPIKA_AS_PIKA"}
    if switch is not None:
        environment["CPIKA_AS_PIKA"] = switch
    done = subprocess.run(
        [python, *options, "-c", textwrap.dedent(code)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


@pytest.fixture(scope="module")
def without_pika(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment into which cpika is installed as here, and nothing else."""
    folder = tmp_path_factory.mktemp("without-pika")
    venv.EnvBuilder(symlinks=True, with_pip=False).create(folder)
    python = folder / "bin" / "python"
    site = Path(run("import sysconfig; print(sysconfig.get_path('purelib'))", None, python))
    for name in {file.parts[0] for file in distribution("cpika").files or []}:
        if (SITE / name).is_dir():
            shutil.copytree(SITE / name, site / name)
        else:
            shutil.copyfile(SITE / name, site / name)
    return python


# ---- which pika


@pytest.mark.parametrize(("switch", "name"), [("1", "cpika"), ("0", "pika"), ("", "pika"), (None, "pika")])
def test_the_variable_says_which_pika_is_imported(switch: str | None, name: str) -> None:
    assert run(WHICH, switch) == name


def test_where_it_is_not_set_nothing_is_loaded() -> None:
    loaded = "import sys; print([name for name in sys.modules if 'pika' in name])"
    assert run(loaded, None) == "[]"


def test_where_it_is_set_nothing_but_the_switch_is_loaded_until_pika_is_asked_for() -> None:
    """Not even modules of the standard library: programs that never import pika inherit it, too."""
    loaded = "import sys; print(*sorted(sys.modules))"
    before, after = set(run(loaded, None).split()), set(run(loaded, "1").split())
    assert "_cpika_as_pika" in after - before <= {"_cpika_as_pika", "__future__"}


@pytest.mark.parametrize("first", ["pika.channel", "cpika.channel", "pika", "cpika"])
def test_both_names_are_one_module_whichever_comes_first(first: str) -> None:
    code = f"""
        import {first}
        import cpika, cpika.channel, pika, pika.channel
        assert pika is cpika and pika.channel is cpika.channel
        assert pika.__name__ == "pika" and pika.channel.Channel.__module__ == "pika.channel"
        cpika.install_as_pika()
        import sys
        print(sum(type(finder).__name__ == "_Finder" for finder in sys.meta_path))
    """
    assert run(code) == "1"


def test_threads_that_import_it_at_once_get_the_same() -> None:
    code = """
        import importlib, threading
        start = threading.Barrier(8)
        got = []
        def load(name):
            start.wait()
            got.append(importlib.import_module(name))
        names = ["pika.channel", "cpika.channel"] * 4
        threads = [threading.Thread(target=load, args=(name,)) for name in names]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        print(len(got), len(set(map(id, got))))
    """
    assert run(code) == "8 1"


def test_an_import_hook_of_an_agent_sees_pikas_modules() -> None:
    """As agents install theirs: at the front, when the switch has been handled."""
    code = """
        import importlib.util, sys
        class Hook:
            busy = False
            def find_spec(self, name, path=None, target=None):
                if self.busy or name != "pika.channel":
                    return None
                self.busy = True
                spec = importlib.util.find_spec(name)
                print(spec.name)
                return spec
        sys.meta_path.insert(0, Hook())
        import pika.channel
        print(hasattr(pika, "__cpika_version__"))
    """
    assert run(code) == "pika.channel\nTrue"


# ---- other processes

CHILDREN = {
    "a subprocess": f"import subprocess, sys; subprocess.run([sys.executable, '-c', {WHICH!r}], check=True)",
    "what it becomes by exec": f"import os, sys; os.execv(sys.executable, [sys.executable, '-c', {WHICH!r}])",
    "a spawned worker": f"""
        import multiprocessing
        worker = multiprocessing.get_context("spawn").Process(target=exec, args=({WHICH!r},))
        worker.start()
        worker.join()
    """,
    "a worker of a fork server": f"""
        import multiprocessing
        worker = multiprocessing.get_context("forkserver").Process(target=exec, args=({WHICH!r},))
        worker.start()
        worker.join()
    """,
    "an isolated interpreter": (
        f"import subprocess, sys; subprocess.run([sys.executable, '-I', '-c', {WHICH!r}], check=True)"
    ),
}


@pytest.mark.parametrize("what", CHILDREN)
def test_it_holds_for_other_processes(what: str) -> None:
    assert run(CHILDREN[what], "1") == "cpika"


@pytest.mark.parametrize("what", CHILDREN)
def test_python_m_cpika_holds_for_other_processes(what: str) -> None:
    """Launchers of agents replace themselves by the program that they are to watch."""
    assert run(f"exec({textwrap.dedent(CHILDREN[what])!r})", None, sys.executable, "-m", "cpika") == "cpika"


# ---- where only cpika is installed


def test_a_distribution_pika_is_known_under_the_alias(without_pika: Path) -> None:
    code = """
        from importlib import metadata
        print(metadata.version("pika"), metadata.metadata("pika")["Name"], metadata.requires("pika"))
        print([one.version for one in metadata.distributions() if one.metadata["Name"] == "pika"])
        print([one.version for one in metadata.distributions(name="PIKA")])
    """
    expected = f"{cpika.__version__} pika None\n['{cpika.__version__}']\n['{cpika.__version__}']"
    assert run(code, "1", without_pika) == expected
    assert (
        run(f"import cpika; cpika.install_as_pika()\n{textwrap.dedent(code)}", None, without_pika) == expected
    )


def test_without_the_alias_it_is_not(without_pika: Path) -> None:
    code = """
        from importlib import metadata
        try:
            metadata.version("pika")
        except metadata.PackageNotFoundError:
            print("not found", [one for one in metadata.distributions() if one.metadata["Name"] == "pika"])
    """
    assert run(code, None, without_pika) == "not found []"


def test_the_tools_that_map_modules_to_distributions_find_it(without_pika: Path) -> None:
    code = "from importlib import metadata; print(metadata.packages_distributions()['pika'])"
    if sys.version_info >= (3, 10):
        assert run(code, "1", without_pika) == "['pika']"


def test_where_pika_is_installed_its_own_metadata_answers() -> None:
    code = """
        from importlib import metadata
        print(metadata.version("pika"), metadata.distribution("pika").files is not None)
        print(len([one for one in metadata.distributions() if one.metadata["Name"] == "pika"]))
    """
    assert run(code) == f"{pika.__version__} True\n1"


# ---- packages that require pika


def pip(python: Path, *arguments: str) -> str:
    """What pip says, of whatever it succeeds or fails in."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "--python",
        str(python),
        *arguments,
    ]
    environment = {**os.environ, "PIP_CONFIG_FILE": os.devnull}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)
    return done.stdout + done.stderr


NEEDY = """
Metadata-Version: 2.1
Name: needy
Version: 1
Requires-Dist: pika<2.0,>=1.0
"""


@pytest.fixture(scope="module")
def with_distribution(without_pika: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same environment, with something that requires pika and packaging/pika-from-cpika."""
    folder = tmp_path_factory.mktemp("wheels")
    with zipfile.ZipFile(folder / "needy-1-py3-none-any.whl", "w") as needy:
        needy.writestr("needy.py", WHICH)
        needy.writestr("needy-1.dist-info/METADATA", NEEDY.lstrip())
        needy.writestr(
            "needy-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        needy.writestr("needy-1.dist-info/RECORD", "")
    hook = f"from hatchling import build; build.build_wheel({str(folder)!r})"
    subprocess.run([sys.executable, "-c", hook], cwd=ROOT / "packaging" / "pika-from-cpika", check=True)
    pip(without_pika, "install", "--no-deps", str(folder / "needy-1-py3-none-any.whl"))
    assert "needy 1 requires pika, which is not installed." in pip(without_pika, "check")
    said = pip(without_pika, "install", "--no-index", "--find-links", str(folder), "pika")
    assert f"Successfully installed pika-{cpika.__version__}+cpika" in said
    return without_pika


def test_pip_finds_the_requirement_satisfied(with_distribution: Path) -> None:
    assert "No broken requirements found." in pip(with_distribution, "check")
    said = pip(with_distribution, "install", "--no-index", f"pika=={cpika.__version__}")
    assert f"Requirement already satisfied: pika=={cpika.__version__} in " in said


def test_it_gives_cpika_to_every_process_unless_it_is_told_not_to(with_distribution: Path) -> None:
    assert run("import needy", None, with_distribution) == "cpika"
    code = "from importlib import metadata; print(metadata.version('pika'))"
    assert run(code, None, with_distribution) == f"{cpika.__version__}+cpika"
    code = """
        try:
            import pika
        except ModuleNotFoundError as error:
            print(error)
    """
    assert run(code, "0", with_distribution) == "No module named 'pika'"


def test_its_version_is_the_release_of_pika_that_is_followed() -> None:
    project = (ROOT / "packaging" / "pika-from-cpika" / "pyproject.toml").read_text()
    assert f'version = "{cpika.__version__}+cpika"' in project
    assert 'name = "pika"' in project and "Do Not Upload" in project
