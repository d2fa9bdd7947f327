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
            assert module is sys.modules[name], name
            assert importlib.import_module("c" + name) is module
            assert module.__name__ == module.__spec__.name == module.__loader__.name == name
            assert module.__package__ == module.__spec__.parent, name
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
        assert BlockingChannel.__module__ == "pika.adapters.blocking_connection"
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
        for name in ("pika.nothing", "pika.adapters.nothing", "pika.spec.nothing", "cpika.nothing"):
            try:
                __import__(name)
            except ModuleNotFoundError as error:
                assert error.name == name and repr(name) in str(error), error
            else:
                raise AssertionError(name)
        import pika
        try:
            pika.nothing
        except AttributeError as error:
            assert str(error) == "module 'pika' has no attribute 'nothing'"
        assert not hasattr(cpika.adapters, "nothing")
    """)


@pytest.mark.parametrize("before", ["", "import cpika.spec, cpika.adapters.blocking_connection"])
def test_classes_methods_and_functions_say_that_they_are_from_pika(before: str) -> None:
    """Whether their modules were loaded before or after."""
    code = """
        {before}
        {install}
        import importlib, inspect, types, pika
        pika.BlockingConnection, pika.spec, pika.frame
        for path in {paths!r}:
            module, _, names = path.partition(":")
            value = importlib.import_module(module)
            for name in names.split("."):
                value = getattr(value, name)
            print(path, value.__module__, value.__qualname__, repr(value).split(" at 0x")[0])
    """
    paths = [
        "pika.spec:Basic",
        "pika.spec:Basic.Deliver",
        "pika.spec:BasicProperties",
        "pika.spec:has_content",
        "pika.amqp_object:Method",
        "pika.frame:Method",
        "pika.exceptions:ChannelClosedByBroker",
        "pika.connection:ConnectionParameters",
        "pika.callback:CallbackManager.add",
        "pika.channel:Channel.basic_publish",
        "pika.adapters.blocking_connection:BlockingConnection.channel",
        "pika.adapters.blocking_connection:BlockingChannel.basic_ack",
        "pika.adapters.blocking_connection:BlockingChannel.queue_declare",
        "pika.adapters.blocking_connection:BlockingChannel.consume",
        "pika.adapters.blocking_connection:ReturnedMessage",
        "pika.adapters.blocking_connection:_ConsumerInfo",
    ]
    install = "import cpika; cpika.install_as_pika()"
    theirs = succeeds(code.format(before="", install="", paths=paths))
    assert succeeds(code.format(before=before, install=install, paths=paths)) == theirs


def test_pickles_go_from_pika_to_cpika_and_back() -> None:
    """As long as they hold objects whose state is the same; pickled under cpika's own name, they name it."""
    make = """
        import pickle, sys, pika
        things = [
            pika.exceptions.ChannelClosed(404, "x"), pika.spec.Basic.Ack(3, True),
            pika.BasicProperties(headers={"a": 1}), pika.frame.Method(1, pika.spec.Basic.Cancel("t")),
            pika.PlainCredentials("a", "b"), pika.DeliveryMode.Persistent,
        ]
    """
    show = "; print(*(pickle.dumps(things, protocol).hex() for protocol in range(6)))"
    load = (
        "; print(*(thing for dump in sys.argv[1:] for thing in pickle.loads(bytes.fromhex(dump))), sep='\\n')"
    )
    load += "; print(*things * (len(sys.argv) - 1), sep='\\n')"
    install = "import cpika; cpika.install_as_pika()\n"
    plain, ours = (textwrap.dedent(make).rstrip(), install + textwrap.dedent(make).rstrip())
    for writer, reader in ((plain, ours), (ours, plain), (ours, ours)):
        status, dump, errors = run("-c", writer + show)
        assert status == 0, errors
        status, output, errors = run("-c", reader + load, *dump.split())
        assert status == 0, errors
        lines = output.splitlines()
        assert lines[: len(lines) // 2] == lines[len(lines) // 2 :]
    status, dump, errors = run("-c", textwrap.dedent(make).rstrip().replace("pika", "cpika") + show)
    assert status == 0, errors
    assert all(b"cpika.spec" in bytes.fromhex(one) for one in dump.split())


def test_modules_are_reloaded_and_found_again_under_pikas_names() -> None:
    succeeds("""
        import cpika
        cpika.install_as_pika()
        import importlib, importlib.util, inspect, pika, pika.validators
        assert importlib.reload(pika.validators) is pika.validators
        assert importlib.reload(pika) is pika is cpika
        for name in ("pika", "pika.data", "pika.validators"):
            spec = importlib.util.find_spec(name)
            assert spec.name == spec.loader.name == name and spec.has_location
        assert importlib.util.find_spec("pika.nothing") is None
        assert "def require_callback" in inspect.getsource(pika.validators)
    """)


def test_a_module_of_cpika_runs_by_its_own_name_under_the_alias() -> None:
    succeeds("""
        import cpika, runpy
        cpika.install_as_pika()
        assert runpy.run_module("cpika.delivery_mode")["__name__"] == "cpika.delivery_mode"
    """)


# --- whatever else watches imports

HOOKED = ["pika", "pika.channel", "pika.spec", "pika.adapters", "pika.adapters.blocking_connection"]
ALIAS = "import cpika; cpika.install_as_pika()"
LOADED = "import cpika.channel, cpika.adapters.blocking_connection; cpika.install_as_pika()"
WRAPT = f"""
import wrapt
for name in {HOOKED!r}:
    wrapt.register_post_import_hook(lambda m, n=name: fired.append((n, m.__name__, m.__spec__.name)), name)
"""
# As the finders of New Relic and others work: at the front, it asks all others for the modules it knows.
WATCHER = f"""
import importlib.util, sys
class Watcher:
    busy = set()
    def find_spec(self, name, path=None, target=None):
        if name not in {HOOKED!r} or name in self.busy:
            return None
        self.busy.add(name)
        try:
            spec = importlib.util.find_spec(name)
            if spec is not None:
                spec.loader = Loader(spec.loader)
            return spec
        finally:
            self.busy.discard(name)
class Loader:
    def __init__(self, loader):
        self.loader = loader
    def create_module(self, spec):
        return self.loader.create_module(spec)
    def exec_module(self, module):
        self.loader.exec_module(module)
        fired.append((module.__name__, module.__name__, module.__spec__.name))
sys.meta_path.insert(0, Watcher())
"""
USE = """
import pika
pika.BlockingConnection
import pika.channel, pika.spec, pika.adapters.blocking_connection
import cpika.channel, cpika.spec
for name, seen, spec in sorted(fired):
    assert name == seen == spec, fired
    print(name)
"""


@pytest.mark.parametrize("hooks", [WRAPT, WATCHER], ids=["wrapt", "a finder that asks the others"])
@pytest.mark.parametrize("alias", [ALIAS, LOADED], ids=["nothing loaded", "modules loaded"])
@pytest.mark.parametrize("order", ["alias first", "hooks first"])
def test_import_hooks_fire_once_for_each_module_whichever_comes_first(
    hooks: str, alias: str, order: str
) -> None:
    parts = [alias, hooks] if order == "alias first" else [hooks, alias]
    output = succeeds("\n".join(["fired = []", *parts, USE]))
    assert output.split() == sorted(HOOKED)


def test_an_installed_pika_is_not_found_by_a_finder_of_its_own() -> None:
    """Editable installations have finders of their own; some stand at the front."""
    succeeds(f"""
        import importlib.util, sys
        class Editable:
            @staticmethod
            def find_spec(name, path=None, target=None):
                if name.partition(".")[0] == "pika":
                    return importlib.util.spec_from_file_location(name, {pika.__file__!r})
        sys.meta_path.insert(0, Editable)
        import cpika
        cpika.install_as_pika()
        import pika, pika.spec
        assert pika is cpika and pika.spec is cpika.spec
    """)


def test_threads_that_import_by_both_names_get_one_module() -> None:
    succeeds("""
        import importlib, sys, threading
        import cpika
        cpika.install_as_pika()
        start = threading.Barrier(8)
        got = []
        def load(name):
            start.wait()
            module = importlib.import_module(name)
            got.append((module, module.BlockingConnection))
        names = ["pika.adapters.blocking_connection", "cpika.adapters.blocking_connection"] * 4
        threads = [threading.Thread(target=load, args=(name,)) for name in names]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        assert len(got) == 8 and len({id(module) for module, _ in got}) == 1
    """)


def test_installing_after_pika_itself_is_refused() -> None:
    status, output, errors = run("-c", "import pika, cpika; cpika.install_as_pika()")
    assert status == 1 and output == ""
    assert errors.splitlines()[-1] == (
        "RuntimeError: cpika.install_as_pika() came too late: pika itself is imported already, from "
        f"{pika.__file__}; call it before the first 'import pika'"
    )


def test_importing_loads_neither_ssl_nor_asyncio() -> None:
    unwanted = {"ssl", "asyncio", "urllib.parse"}
    if sys.version_info < (3, 14):  # from then on typing itself needs it
        unwanted.add("ast")
    assert succeeds(f"import cpika, sys; print(*{unwanted} & {{*sys.modules}})") == "\n"


# --- python -m cpika

REPORT = """
import sys
print(sys.argv, sys.path[:2], sorted(globals()))
print(__name__, __file__, __spec__, __package__, __doc__, __loader__, type(__builtins__))
print(globals().get("__cached__", "none"))
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
    "ends_with_cycles": "class A:\n    def __del__(self): print('gone')\na = A()\na.me = a\n1 / 0\n",
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
    program = """
import pathlib, pika, pika.exceptions as e
print(pika.__name__, e.__name__, *{pathlib.Path(m.__file__).parent.name for m in (pika, e)})
"""
    (folder / "which.py").write_text(program)
    assert run("which.py", cwd=folder)[1] == "pika pika.exceptions pika\n"
    for arguments in (["which.py"], ["-m", "which"], ["-c", program]):
        assert run("-m", "cpika", *arguments, cwd=folder)[1] == "pika pika.exceptions cpika\n"


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
