"""What is installed, from a wheel and from an sdist, and what is said when rabbitmq-c is missing."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest
from index_readme import for_index
from licence import add_licence

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


def build(hook: str, tree: Path, into: Path, **environment: str) -> Path:
    """What a hook of the build backend makes."""
    program = f"from setuptools import build_meta; build_meta.{hook}({str(into)!r})"
    done = python("-c", program, cwd=tree, **environment)
    assert done.returncode == 0, done.stdout
    (made,) = into.iterdir()
    return made


@pytest.mark.timeout(300)
def test_a_wheel_made_from_the_sdist_holds_the_package_and_the_extension_and_can_be_imported(
    tree: Path, tmp_path: Path
) -> None:
    """gcc warns of nothing meanwhile: file by file, since it says less where it optimises across them."""
    with tarfile.open(build("build_sdist", tree, tmp_path / "sdist")) as sdist:
        sdist.extractall(tmp_path / "source")
    (source,) = (tmp_path / "source").iterdir()
    as_errors = {"CPIKA_WERROR": "1", "CPIKA_LTO": "0"}
    wheel = zipfile.ZipFile(build("build_wheel", source, tmp_path / "wheel", **as_errors))

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
    assert stated["Description-Content-Type"] == "text/markdown"
    required = [line for line in stated.get_all("Requires-Dist") or [] if "extra ==" not in line]
    assert required == []  # a program that takes cpika takes nothing else with it


OLD_AND_NEW = {"0.11": "amqp.h", "0.12 or newer": "rabbitmq-c/amqp.h"}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("system", OLD_AND_NEW)
@pytest.mark.parametrize("linked", OLD_AND_NEW)
def test_the_headers_are_those_of_the_rabbitmq_c_that_is_linked(
    linked: str, system: str, tree: Path, tmp_path: Path
) -> None:
    """Whatever the system has besides.  The compiler says whose it reads, by the arguments of a build."""
    prefix, besides = tmp_path / "prefix", tmp_path / "system"
    for folder, layout, whose in ((prefix / "include", linked, "linked"), (besides, system, "system's")):
        header = folder / OLD_AND_NEW[layout]
        header.parent.mkdir(parents=True)
        header.write_text(f'#error "{whose}"\n')
    (prefix / "lib").mkdir()
    (prefix / "lib" / "librabbitmq.a").touch()
    compiler = tmp_path / "cc"
    compiler.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/arguments\nexit 1\n')
    compiler.chmod(0o755)
    environment = {"CPIKA_RABBITMQ_C_PREFIX": str(prefix), "CC": str(compiler), "CPIKA_LTO": "0"}
    python("setup.py", "build_ext", "--build-temp", str(tmp_path), cwd=tree, **environment)
    arguments = (tmp_path / "arguments").read_text().split()
    options = [argument for argument in arguments if argument.startswith(("-I", "-D"))]
    done = subprocess.run(
        ["cc", "-fsyntax-only", *options, "-isystem", besides, "src/wire/method.c"],
        cwd=tree,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert re.findall(r"#error \"(.*)\"", done.stderr)[:1] == ["linked"], done.stderr


def test_a_rabbitmq_c_that_is_older_than_its_headers_is_refused_at_the_import(tmp_path: Path) -> None:
    (tmp_path / "older.c").write_text("unsigned amqp_version_number(void) { return 0x00010000; }\n")
    older = tmp_path / "older.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", older, tmp_path / "older.c"], check=True)
    core = importlib.util.find_spec("cpika._core")
    assert core is not None and core.origin is not None
    shared = b"amqp_version_number" in subprocess.check_output(["nm", "--dynamic", core.origin])
    done = python("-c", "import cpika._core", cwd=tmp_path, LD_PRELOAD=str(older))
    assert (done.returncode != 0) == shared, done.stdout  # what is linked statically is what it is
    assert not shared or re.search(
        r"ImportError: cpika was built with the headers of rabbitmq-c \d+\.\d+, but .* is 0\.1: ", done.stdout
    )


def test_debians_changes_are_in_the_rabbitmq_c_of_wheels(tmp_path: Path) -> None:
    """They were not: the folder that the tar file holds was looked for one level too high."""
    tools = str(Path(__file__).resolve().parent.parent / "tools")
    package = tmp_path / "package" / "debian"
    (package / "patches").mkdir(parents=True)
    (package / "changelog").write_text("rabbitmq-c (0.15.0-1)\n")
    (package / "patches" / "series").write_text("# by security\nmended.patch\n")
    patch = "--- a/amqp.c\n+++ b/amqp.c\n@@ -1 +1 @@\n-as it was\n+mended\n"
    (package / "patches" / "mended.patch").write_text(patch)
    subprocess.run(["tar", "-cf", "changes.tar", "-C", "package", "debian"], cwd=tmp_path, check=True)
    (tmp_path / "upstream").mkdir()
    (tmp_path / "upstream" / "amqp.c").write_text("as it was\n")
    program = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1])\n"
        "import sources\n"
        "sources.apply(sources.unpack(Path('changes.tar'), Path('changes')), Path('upstream'))"
    )
    done = python("-c", program, tools, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "upstream" / "amqp.c").read_text() == "mended\n"


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
    done = python("-c", program, cwd=tree, **{"CPIKA_RABBITMQ_C_PREFIX": "", **environment})
    assert done.returncode != 0
    assert done.stdout.count("error:") == 1
    assert "Traceback" not in done.stdout
    for package in PACKAGES:
        assert package in done.stdout


@pytest.mark.parametrize(
    ("elsewhere", "said"),
    [
        pytest.param("sys.implementation.name = 'pypy'", "runs on CPython alone", id="PyPy"),
        pytest.param(
            "import sysconfig; sysconfig.get_config_vars(); sys.platform = 'win32'",
            "and not on Windows",
            id="Windows",
        ),
    ],
)
def test_where_it_cannot_run_one_line_says_so_instead_of_a_compiler(
    elsewhere: str, said: str, tree: Path, tmp_path: Path
) -> None:
    program = f"import sys; from setuptools import build_meta; {elsewhere}; "
    program += f"build_meta.build_wheel({str(tmp_path)!r})"
    done = python("-c", program, cwd=tree, CC="/nonexistent")
    assert done.returncode != 0
    (line,) = [line for line in done.stdout.splitlines() if "error:" in line]
    assert line.startswith("error: cpika runs on") and said in line
    assert "Traceback" not in done.stdout


# ---- README on an index


def targets(text: str) -> list[str]:
    """Where the links and pictures of a Markdown text go."""
    return re.findall(r"\]\(([^)\s]+)\)", text)


def test_every_link_and_picture_of_the_stated_readme_works_without_the_repository() -> None:
    from importlib.metadata import metadata

    stated = metadata("cpika")
    text = stated.get_payload() or stated["Description"]
    assert "# cpika" in text and targets(text)
    assert [target for target in targets(text) if not target.startswith(("https://", "#"))] == []


README = """
[pika](https://example.org/pika), [docs](docs/a.md) and [`code`](docs/b.md#part).
![picture](docs/p.svg)

```python
print("[not](a/link)")
```
"""


def test_links_into_the_repository_become_text_where_it_has_no_address() -> None:
    made = for_index(README)
    assert "[pika](https://example.org/pika), docs and `code`." in made
    assert "picture" not in made
    assert '"[not](a/link)"' in made


def test_links_into_the_repository_go_below_its_address() -> None:
    made = for_index(README, "https://example.org/cpika/")
    assert targets(made.replace("[not](a/link)", "")) == [
        "https://example.org/pika",
        *(f"https://example.org/cpika/docs/{name}" for name in ("a.md", "b.md#part", "p.svg")),
    ]
    assert '"[not](a/link)"' in made


# ---- the licence of what is linked


def test_a_wheel_gets_a_licence_that_pip_can_check(tmp_path: Path) -> None:
    wheel, licence = tmp_path / "example-1-py3-none-any.whl", tmp_path / "LICENSE"
    licence.write_text("Do as you like.\n")
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("example.py", "VALUE = 5\n")
        archive.writestr(
            "example-1.dist-info/METADATA",
            "Metadata-Version: 2.4\nName: example\nVersion: 1\nLicense-File: LICENSE\n\nLicense-File: no\n",
        )
        archive.writestr(
            "example-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("example-1.dist-info/RECORD", "")
    for _ in range(2):  # the second changes nothing
        add_licence(wheel, licence)
    done = python(
        "-m",
        "pip",
        "install",
        "-q",
        "--no-index",
        "--target",
        str(tmp_path / "site"),
        str(wheel),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout
    folder = tmp_path / "site" / "example-1.dist-info"
    assert (folder / "licenses/rabbitmq-c/LICENSE").read_text() == "Do as you like.\n"
    head, _, body = (folder / "METADATA").read_text().partition("\n\n")
    assert head.splitlines()[-2:] == ["License-File: LICENSE", "License-File: rabbitmq-c/LICENSE"]
    assert body == "License-File: no\n"
