"""The house stands as it is drawn: includes go down or sideways, each thing in its place, no static state.

What can be asked of the compiler is asked of the objects (nm), the rest of the sources.
"""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ctest
import pytest

pytestmark = pytest.mark.timeout(300)  # the first that asks for objects compiles them all

ROOT = ctest.ROOT
SOURCES = sorted(ROOT.glob("src/**/*.[ch]"))
C_FILES = [path for path in SOURCES if path.suffix == ".c"]

# From the ground up; src/module.c stands on all of them.
FLOORS = ["wire", "values", "engine", "drivers", "api", "src"]

# Every call that makes, uses or waits for a socket or the descriptors that wake such a wait.
SOCKET_CALLS = set(
    """
    socket socketpair connect bind listen accept accept4 shutdown close ioctl fcntl fcntl64
    setsockopt getsockopt getsockname getpeername getaddrinfo freeaddrinfo
    send sendto sendmsg sendmmsg write writev sendfile
    recv recvfrom recvmsg recvmmsg read readv __recv_chk __recvfrom_chk __read_chk
    poll ppoll __poll_chk select pselect epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait
    eventfd pipe pipe2
    """.split()
)
ENDS_THE_PROCESS = set(
    "abort exit _exit _Exit quick_exit raise kill __assert_fail Py_FatalError Py_Exit".split()
)

# Where static mutable state may stand: the keeper's thread, list and lock; the number of forks.
STATEFUL = {"keeper.c", "fork.c"}
# Tables that CPython's interface takes without const; nothing writes to them.
PYTHON_TABLES = re.compile(
    r"(\w+_)?(methods|functions|members|getset|slots|spec|module|names)(_\w+)?(\.\d+)?$"
)

# Layers of the Python side that import nothing of the rest.
LEAVES = ["exceptions", "validators", "exchange_type", "delivery_mode", "compat"]

OBJECTS = ctest.Build(
    "layers",
    "gcc",
    # Not position independent: constants with addresses in them count as constants then.
    ("-O1", "-fno-pic", "-fno-pie", "-DNDEBUG", "-isystem", sysconfig.get_path("include")),
    warnings=(),
)


def layer(path: Path) -> str:
    return path.parent.name


def name_of(path: Path) -> str:
    return f"{layer(path)}/{path.name}"


def includes(path: Path) -> list[tuple[str, str]]:
    """(quote or angle bracket, name) of each include."""
    return re.findall(r'^\s*#\s*include\s*([<"])([^">]+)', path.read_text(), re.MULTILINE)


def resolved(path: Path, name: str) -> Path:
    """The file of this repository that `#include "name"` in `path` means."""
    for base in (path.parent, ROOT / "src"):
        if (base / name).exists():
            return (base / name).resolve()
    raise AssertionError(f'{name_of(path)} includes "{name}", which is not in src/')


@functools.cache
def objects() -> dict[Path, Path]:
    """Each C file's object, compiled in parallel."""
    (ctest.OUTPUT / OBJECTS.name).mkdir(parents=True, exist_ok=True)
    headers = ctest.headers_digest()
    with ThreadPoolExecutor(ctest.JOBS) as pool:
        compiled = pool.map(lambda path: ctest.compile_object(OBJECTS, path, headers), C_FILES)
        return dict(zip(C_FILES, compiled))


def symbols(path: Path) -> list[tuple[str, str]]:
    """(nm's letter, name) of each symbol of a C file's object."""
    lines = subprocess.check_output(["nm", objects()[path]], text=True).splitlines()
    return [(fields[-2], fields[-1].partition("@")[0]) for fields in map(str.split, lines)]


def undefined(path: Path) -> set[str]:
    return {name for letter, name in symbols(path) if letter == "U"}


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_every_file_says_what_it_is_and_its_layer_what_it_owns_threads_and_errors(path: Path) -> None:
    opening = path.read_text().partition("*/")[0]
    assert opening.startswith(f"/* {path.name} - ")
    for word in ("Layer:", "Owns:", "Threads:", "Errors:"):
        assert word in opening


@pytest.mark.parametrize("path", [path for path in SOURCES if layer(path) == "wire"], ids=name_of)
def test_wire_knows_nothing_of_python(path: Path) -> None:
    assert {name for _, name in includes(path)} & {"Python.h", "structmember.h", "pythread.h"} == set()


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_an_include_goes_to_a_lower_floor_or_sideways(path: Path) -> None:
    own = FLOORS.index(layer(path))
    above = [
        name
        for mark, name in includes(path)
        if mark == '"' and FLOORS.index(layer(resolved(path, name))) > own
    ]
    assert above == []


def test_only_rmq_h_includes_rabbitmq_c() -> None:
    users = {
        name_of(path)
        for path in SOURCES
        for _, name in includes(path)
        if re.match(r"(rabbitmq-c/|amqp)", name)
    }
    assert users == {"wire/rmq.h"}


def test_includes_form_no_circle() -> None:
    below = {path: [resolved(path, name) for mark, name in includes(path) if mark == '"'] for path in SOURCES}
    finished: set[Path] = set()

    def visit(path: Path, above: tuple[Path, ...]) -> None:
        assert path not in above, " -> ".join(map(name_of, [*above, path]))
        if path not in finished:
            for included in below[path]:
                visit(included, (*above, path))
            finished.add(path)

    for path in SOURCES:
        visit(path, ())


def rooms() -> dict[str, set[str]]:
    """The rooms (a .c and its .h are one), each with the rooms that its files include."""
    graph: dict[str, set[str]] = {}
    for path in SOURCES:
        room = graph.setdefault(f"{layer(path)}/{path.stem}", set())
        room |= {
            f"{layer(below)}/{below.stem}"
            for below in (resolved(path, name) for mark, name in includes(path) if mark == '"')
        }
        room.discard(f"{layer(path)}/{path.stem}")
    return graph


def test_rooms_form_no_circle() -> None:
    graph = rooms()
    finished: set[str] = set()

    def visit(room: str, above: tuple[str, ...]) -> None:
        assert room not in above, " -> ".join([*above, room])
        if room not in finished:
            for below in sorted(graph[room]):
                visit(below, (*above, room))
            finished.add(room)

    for room in graph:
        visit(room, ())


@pytest.mark.parametrize(
    "path", [path for path in C_FILES if layer(path) in ("engine", "drivers", "api")], ids=name_of
)
def test_every_room_has_a_header_of_its_own(path: Path) -> None:
    assert path.with_suffix(".h") in SOURCES
    assert ("", f"{path.stem}.h") in [("", name) for _, name in includes(path)][:1]


# What of the interpreter the engine may use: bytes and memory.  Nothing here runs Python code, waits, or
# gives the GIL away.  (_Py_Dealloc frees bytes; objects only in what the drivers call: cpika_engine_bury.)
ENGINE_MAY_CALL = re.compile(
    r"PyMem_\w+|PyBytes_FromStringAndSize|_PyBytes_Resize|PyErr_Clear|PyBytes_Type|_Py_Dealloc"
)


@pytest.mark.parametrize("path", [path for path in C_FILES if layer(path) == "engine"], ids=name_of)
def test_the_engine_calls_nothing_that_runs_python_code(path: Path) -> None:
    calls = {name for name in undefined(path) if name.startswith(("Py", "_Py"))}
    assert {name for name in calls if not ENGINE_MAY_CALL.fullmatch(name)} == set()


@pytest.mark.parametrize("path", [path for path in C_FILES if layer(path) == "engine"], ids=name_of)
def test_the_engine_sends_nothing_and_waits_for_nothing(path: Path) -> None:
    forbidden = re.compile(r"cpika_(link|outq|keeper|sock)_\w+|pthread_\w+|\w*sleep\w*")
    assert {name for name in undefined(path) if forbidden.fullmatch(name)} == set()


@pytest.mark.parametrize("path", [path for path in SOURCES if layer(path) == "engine"], ids=name_of)
def test_the_engine_names_no_driver(path: Path) -> None:
    code = re.sub(r"/\*.*?\*/|//[^\n]*", "", path.read_text(), flags=re.DOTALL)
    assert not re.search(r"transport|blocking|asyncio|socket\b|roles", code)


def test_one_function_alone_awaits_a_links_lock_for_who_holds_the_gil() -> None:
    users = {name_of(path) for path in C_FILES if "cpika_link_lock(" in path.read_text()}
    assert users == {"wire/link.c", "drivers/transport.c"}


@pytest.mark.parametrize("path", [path for path in C_FILES if path.name != "sock.c"], ids=name_of)
def test_only_sock_c_makes_socket_calls(path: Path) -> None:
    assert undefined(path) & SOCKET_CALLS == set()


@pytest.mark.parametrize("path", C_FILES, ids=name_of)
def test_no_c_file_ends_the_process(path: Path) -> None:
    assert undefined(path) & ENDS_THE_PROCESS == set()


@pytest.mark.parametrize("path", [path for path in C_FILES if path.name not in STATEFUL], ids=name_of)
def test_no_static_mutable_state_but_the_keepers(path: Path) -> None:
    mutable = {name for letter, name in symbols(path) if letter in "bBdDcC"}
    if layer(path) != "wire":
        mutable = {name for name in mutable if not PYTHON_TABLES.match(name)}
    assert mutable == set()


def test_the_extension_exports_its_init_function_and_nothing_else() -> None:
    (extension,) = ROOT.glob(f"python/cpika/_core{sysconfig.get_config_var('EXT_SUFFIX')}")
    lines = subprocess.check_output(["nm", "--dynamic", "--defined-only", extension], text=True).splitlines()
    assert {line.split()[-1] for line in lines} - {"_init", "_fini"} == {"PyInit__core"}


def imports(tree: ast.AST) -> set[str]:
    """Modules imported at run time; what stands under `if TYPE_CHECKING` is for readers and type checkers."""
    if isinstance(tree, ast.If) and ast.unparse(tree.test) == "TYPE_CHECKING":
        return set()
    if isinstance(tree, ast.Import):
        return {alias.name for alias in tree.names}
    if isinstance(tree, ast.ImportFrom):
        return {"." * tree.level + (tree.module or "")}
    return {name for child in ast.iter_child_nodes(tree) for name in imports(child)}


@pytest.mark.parametrize("leaf", LEAVES)
def test_python_leaf_imports_nothing_of_the_rest(leaf: str) -> None:
    names = imports(ast.parse((ROOT / "python" / "cpika" / f"{leaf}.py").read_text()))
    assert [name for name in names if name.startswith((".", "cpika"))] == []


@pytest.mark.parametrize("leaf", ["exceptions", "exchange_type", "delivery_mode"])
def test_python_leaf_can_be_loaded_alone(leaf: str) -> None:
    path = ROOT / "python" / "cpika" / f"{leaf}.py"
    program = f"import runpy, sys; runpy.run_path({str(path)!r}); assert 'cpika' not in sys.modules"
    subprocess.run([sys.executable, "-I", "-c", program], check=True)


def test_the_repository_holds_no_code_of_others() -> None:
    files = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).splitlines()
    assert not [name for name in files if re.search(r"(^|/)(vendor|third_party|3rdparty|contrib)/", name)]
    marked = [
        path for path in SOURCES if re.search(r"copyright|SPDX|\blicen[cs]e", path.read_text(), re.IGNORECASE)
    ]
    assert marked == []
