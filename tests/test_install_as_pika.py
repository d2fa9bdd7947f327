"""`import pika` finds cpika, and `python -m cpika` runs a program as python runs it."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import pkgutil
import re
import signal
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path
from typing import Any

import pika
import pytest

MODULES = sorted(module.name for module in pkgutil.walk_packages(pika.__path__, "pika.") if module.name)


def run(*command: str, cwd: Path | None = None, stdin: str = "", **options: Any) -> tuple[int, str, str]:
    """Run python; return status, output and errors, with addresses masked."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=50,
        **options,
    )
    mask = re.compile(r"0x[0-9a-f]+")
    return done.returncode, mask.sub("0x", done.stdout), mask.sub("0x", done.stderr)


def succeeds(code: str) -> str:
    """Run code in an interpreter of its own; return its output."""
    status, output, errors = run("-c", textwrap.dedent(code))
    assert status == 0, errors
    return output


# --- import


def test_all_modules_of_pika_are_known() -> None:
    assert len(MODULES) > 20 and "pika.adapters.utils.connection_workflow" in MODULES


@pytest.mark.parametrize("name", MODULES)
def test_every_module_of_pika_has_its_place(name: str) -> None:
    assert importlib.import_module(f"c{name}").__name__ == f"c{name}"


def test_every_module_of_pika_is_the_one_of_cpika_after_installing() -> None:
    succeeds(f"""
        import cpika, importlib, sys
        cpika.install_as_pika()
        for name in ["pika", *{MODULES!r}]:
            module = importlib.import_module(name)
            assert module is sys.modules["c" + name] is sys.modules[name], name
            assert module.__name__ == module.__spec__.name == "c" + name, name
            parent, _, child = name.rpartition(".")
            assert not parent or getattr(sys.modules[parent], child) is module, name
    """)


def test_every_name_of_the_package_is_the_one_of_cpika() -> None:
    succeeds("""
        import cpika
        cpika.install_as_pika()
        cpika.install_as_pika()
        import pika
        assert pika is cpika
        for name in cpika.__all__:
            assert getattr(pika, name) is getattr(cpika, name)
        from pika import BlockingConnection, spec
        from pika.adapters.blocking_connection import BlockingChannel
        assert BlockingConnection is pika.adapters.blocking_connection.BlockingConnection
        assert BlockingChannel.__module__.startswith("cpika.")
    """)


def test_every_name_of_pika_is_there_after_a_plain_import() -> None:
    names = [*pika.__all__, *(name.split(".")[1] for name in MODULES if name.count(".") == 1)]
    names += ["Connection", "frame", "spec", "exceptions", "__version__"]
    succeeds(f"""
        import cpika
        for name in {names!r}:
            getattr(cpika, name)
        assert set({names!r}) <= set(dir(cpika))
        cpika.adapters.blocking_connection.BlockingChannel
        cpika.adapters.utils.connection_workflow.AMQPConnectorException
    """)


@pytest.mark.parametrize("name", [name for name in MODULES if "adapters" not in name])
def test_every_class_of_a_module_of_pika_is_in_ours(name: str) -> None:
    theirs, ours = importlib.import_module(name), importlib.import_module(f"c{name}")
    classes = [
        key
        for key, value in vars(theirs).items()
        if inspect.isclass(value) and value.__module__ == name and not key.startswith("_")
    ]
    if name == "pika.channel":
        classes.remove("ContentFrameAssembler")  # what it does is done in the core
    assert [key for key in classes if not hasattr(ours, key)] == []


def test_the_versions_are_those_of_pika_and_of_cpika() -> None:
    import cpika

    assert (cpika.__version__, cpika.__cpika_version__) == ("1.4.4", "0.1.0")
    assert pika.__version__ >= cpika.__version__


def test_a_module_that_pika_has_not_is_not_found_by_its_name() -> None:
    succeeds("""
        import cpika
        cpika.install_as_pika()
        for name in ("pika.nothing", "pika.adapters.nothing", "pika.spec.nothing"):
            try:
                __import__(name)
            except ModuleNotFoundError as error:
                assert error.name == name and repr(name) in str(error), error
            else:
                raise AssertionError(name)
        try:
            cpika.nothing
        except AttributeError as error:
            assert str(error) == "module 'cpika' has no attribute 'nothing'"
        assert not hasattr(cpika.adapters, "nothing")
    """)


def test_pickles_that_name_pika_load() -> None:
    succeeds("""
        import cpika, pickle
        cpika.install_as_pika()
        dump = pickle.dumps(cpika.exceptions.ChannelClosed(404, "x"), 0).replace(b"cpika", b"pika")
        assert type(pickle.loads(dump)) is cpika.exceptions.ChannelClosed
    """)


def test_installing_after_pika_itself_is_refused() -> None:
    status, output, errors = run("-c", "import pika, cpika; cpika.install_as_pika()")
    assert status == 1 and output == ""
    assert errors.splitlines()[-1] == (
        "RuntimeError: cpika.install_as_pika() came too late: pika itself is imported already, from "
        f"{pika.__file__}; call it before the first 'import pika'"
    )


def test_importing_loads_neither_ssl_nor_asyncio() -> None:
    assert (
        succeeds("import cpika, sys; print(*{'ssl', 'asyncio', 'urllib.parse', 'ast'} & {*sys.modules})")
        == "\n"
    )


# --- python -m cpika

REPORT = """
import sys
print(sys.argv, sys.path[:2], sorted(globals()))
print(__name__, __file__, __spec__, __package__, __doc__, __loader__, __cached__, type(__builtins__))
print(sys.modules["__main__"].__dict__ is globals(), sys.modules["__main__"])
"""

PROGRAMS = {
    "report": REPORT,
    "exit_number": "import sys; sys.exit(3)",
    "exit_text": "import sys; sys.exit('sorry')",
    "exit_none": "raise SystemExit",
    "exit_in_atexit": "import atexit; atexit.register(print, 'bye'); print('hello')",
    "exit_at_once": "import os; print('gone', flush=True); os._exit(7)",
    "error": "def f(n):\n    return 1 / n\n\n\nf(0)\n",
    "chained": "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise KeyError('x') from e\n",
    "syntax": "print('never')\nif True\n    pass\n",
    "latin": "# coding: latin-1\nprint(len('\u00e9'))\n",
    "interrupted": "import atexit\natexit.register(print, 'bye')\nraise KeyboardInterrupt",
    "interrupted_by_signal": "import os, signal; os.kill(os.getpid(), signal.SIGINT)",
    "terminated": "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
    "own_hook": "import sys\nsys.excepthook = lambda *a: print(a[0], a[2].tb_lineno, a[2].tb_next)\n1 / 0\n",
    "group": "raise BaseException('base')",
    "pickles": "import pickle\nclass A: pass\nprint(type(pickle.loads(pickle.dumps(A()))) is A, A)\n",
    "annotated": "x: int = 5\nprint(__annotations__)\n",
    "future": "print(eval('1 if True else x', {}), (lambda: 0).__code__.co_flags)\n",
    "thread": """
import threading
main_ended = threading.Event()
def late():
    threading.main_thread().join()
    print("late", VALUE)
VALUE = 5
threading.Thread(target=late).start()
""",
    "pool": """
import multiprocessing
def double(x): return 2 * x
if __name__ == "__main__":
    with multiprocessing.get_context("fork").Pool(1) as pool:
        print(pool.map(double, [1, 2]))
""",
    "imports_a_neighbour": "import neighbour; print(neighbour.__name__, neighbour.__file__)",
    "reads_stdin": "print(input())",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of programs."""
    for name, code in PROGRAMS.items():
        encoding = "latin-1" if name == "latin" else "utf-8"
        (tmp_path / f"{name}.py").write_text(code, encoding)
    package = tmp_path / "package"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text(REPORT + "from . import inner\nprint(inner)\n1 / 0\n")
    (package / "inner" / "__init__.py").write_text("")
    (tmp_path / "neighbour.py").write_text("")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link.py").symlink_to(package / "__main__.py")
    with zipfile.ZipFile(tmp_path / "program.zip", "w") as archive:
        archive.writestr("__main__.py", REPORT)
    return tmp_path


def same(*arguments: str, cwd: Path, stdin: str = "", **options: Any) -> tuple[int, str, str]:
    """Run a program with python and with python -m cpika, compare, and return what both gave."""
    expected = run(*arguments, cwd=cwd, stdin=stdin, **options)
    assert run("-m", "cpika", *arguments, cwd=cwd, stdin=stdin, **options) == expected
    return expected


@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_a_script_behaves_as_under_python(folder: Path, name: str) -> None:
    same(f"{name}.py", cwd=folder, stdin="from stdin\n")


UNREADABLE = [b"# coding: nonsense\n", b"x = '\xff'\n"]
if sys.version_info >= (3, 11, 4):
    UNREADABLE.append(b"print(1)\0")  # older ones end there


@pytest.mark.parametrize("source", UNREADABLE)
def test_a_source_that_cannot_be_read_is_a_syntax_error(folder: Path, source: bytes) -> None:
    # The words differ: python reads a script by a function of its own, which words it its own way.
    (folder / "unreadable.py").write_bytes(source)
    for arguments in (("unreadable.py",), ("-m", "cpika", "unreadable.py")):
        status, output, errors = run(*arguments, cwd=folder)
        assert (status, output) == (1, "")
        assert "SyntaxError: " in errors.splitlines()[-1] and "cpika" not in errors


@pytest.mark.parametrize("name", ["report", "exit_number", "error", "interrupted", "pickles", "syntax"])
def test_a_module_behaves_as_under_python(folder: Path, name: str) -> None:
    same("-m", name, "argument", "--option", cwd=folder)


@pytest.mark.parametrize(
    "arguments",
    [
        ("report.py", "-m", "--help", "-c", "--", "-"),
        ("./report.py",),
        ("package/../report.py",),
        ("./package/../report.py",),
        ("link.py",),
        ("package",),
        ("package/",),
        ("program.zip", "x"),
        ("empty",),
        ("missing.py",),
        ("./missing.py",),
        ("-m", "package", "x"),
        ("-mpackage",),
        ("-m", "package.inner"),
        ("-m", "missing"),
        ("-m", "package.missing"),
        ("-c", "import sys; print(sys.argv, sys.path[0], sorted(globals()))", "x", "-m"),
        ("-c", "1 / 0"),
        ("-cprint(__name__, __spec__, __loader__)",),
    ],
    ids=" ".join,
)
def test_a_command_line_means_what_it_means_to_python(folder: Path, arguments: tuple[str, ...]) -> None:
    same(*arguments, cwd=folder)


def test_an_absolute_path_behaves_as_under_python(folder: Path) -> None:
    same(str(folder / "report.py"), cwd=folder / "package")
    same(str(folder / "package"), cwd=folder)


def test_a_compiled_file_behaves_as_under_python(folder: Path) -> None:
    import py_compile

    py_compile.compile(str(folder / "exit_number.py"), cfile=str(folder / "compiled.pyc"))
    assert same("compiled.pyc", cwd=folder)[0] == 3


def test_a_file_that_cannot_be_read_is_told_as_by_python(folder: Path) -> None:
    loop = folder / "loop.py"
    loop.symlink_to(loop)
    assert same("loop.py", cwd=folder)[0] == 2


def test_the_status_of_an_interrupted_program_is_its_signal(folder: Path) -> None:
    assert same("interrupted_by_signal.py", cwd=folder)[0] == -signal.SIGINT
    assert same("terminated.py", cwd=folder)[0] == -signal.SIGTERM


def test_a_script_sees_cpika_as_pika(folder: Path) -> None:
    (folder / "which.py").write_text("import pika, pika.exceptions as e; print(pika.__name__, e.__name__)")
    assert run("which.py", cwd=folder)[1] == "pika pika.exceptions\n"
    assert run("-m", "cpika", "which.py", cwd=folder)[1] == "cpika cpika.exceptions\n"
    assert run("-m", "cpika", "-m", "which", cwd=folder)[1] == "cpika cpika.exceptions\n"
    assert run("-m", "cpika", "-c", "import pika; print(pika)", cwd=folder)[1].startswith("<module 'cpika' ")


@pytest.mark.skipif(sys.version_info < (3, 11), reason="python has no -P before 3.11")
def test_a_safe_path_stays_safe(folder: Path) -> None:
    (folder / "paths.py").write_text("import sys; print(sys.path)")
    for arguments in (("paths.py",), ("-m", "package"), ("package",)):
        expected = run("-P", *arguments, cwd=folder)
        assert run("-P", "-m", "cpika", *arguments, cwd=folder) == expected


@pytest.mark.parametrize("arguments", [(), ("-",), ("-m",), ("-c",), ("--nonsense",), ("-x", "report.py")])
def test_a_command_line_without_a_program_is_an_error_of_use(
    folder: Path, arguments: tuple[str, ...]
) -> None:
    status, output, errors = run("-m", "cpika", *arguments, cwd=folder)
    assert (status, output) == (2, "")
    assert errors.startswith(
        "usage: python -m cpika [-h] [--version] (SCRIPT | -m MODULE | -c CODE) [ARGS ...]\n"
    )
    assert "Traceback" not in errors


def test_help_and_version_are_given() -> None:
    status, output, _ = run("-m", "cpika", "--help")
    assert status == 0 and "Run a Python program with cpika in the place of pika" in output
    assert run("-m", "cpika", "--version")[:2] == (0, "cpika 0.1.0 (in the place of pika 1.4.4)\n")


def test_a_pika_that_is_imported_at_start_is_told(folder: Path) -> None:
    (folder / "sitecustomize.py").write_text("import pika")
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    status, _, errors = run("-m", "cpika", "-c", "", cwd=folder, env={**os.environ, "PYTHONPATH": path})
    assert status == 1
    assert "install_as_pika() came too late" in errors and "Traceback" not in errors
