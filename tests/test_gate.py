"""Every function of the C core that Python calls enters the gate first (src/values/gate.h).

With the GIL that costs nothing and does nothing; in a free-threaded interpreter it is what keeps threads
apart, and a function that is forgotten is found by nobody until two threads meet in it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parent.parent / "src"
CAST = r"(?:\(PyCFunction\)\(void \(\*\)\(void\)\))?"
METHOD = re.compile(r'\{"\w+",\s*' + CAST + r"(\w+),\s*METH_")
SLOT = re.compile(r"\{Py_(?:tp|sq|mp|nb|am|bf)_(\w+),\s*(\w+)\}")
GETSETS = re.compile(r"PyGetSetDef \w+\[\] = \{(.*?)\n\};", re.DOTALL)
GETSET = re.compile(r'\{"\w+",\s*(\w+),\s*(\w+)')
GENERATED_GETSET = re.compile(r"\{#\w+, (\w+), (\w+),")
MEMBER = re.compile(r'\{"(\w+)",\s*T_\w+,')
DEFINITION = re.compile(r"^(\w+)\([^;{}]*?\)\n\{\n(.*?)^\}", re.MULTILINE | re.DOTALL)

NOT_FUNCTIONS = {"doc", "methods", "members", "getset"}
OF_THE_COLLECTOR = {"traverse"}  # no other thread runs meanwhile
OF_CPYTHON = {"NULL", "PyType_GenericNew", "PyVectorcall_Call"}
# They die in any thread, in the midst of the engine's steps, too, and touch nothing but themselves.
DIE_ALONE = {"cpika_object_dealloc", "evt_dealloc", "info_dealloc"}
# What it holds is set for life.
SET_FOR_LIFE = {"hot_method.c"}
# Read by nobody in C once they are made.
PLAIN_MEMBERS = {"consumer.c": {"method", "properties", "body"}}


def entries(text: str) -> Iterator[str]:
    yield from METHOD.findall(text)
    for slot, function in SLOT.findall(text):
        if slot not in NOT_FUNCTIONS | OF_THE_COLLECTOR:
            yield function
    for table in GETSETS.findall(text):
        for pair in GETSET.findall(table):
            yield from pair
    for pair in GENERATED_GETSET.findall(text):
        yield from pair


def bodies() -> dict[str, str]:
    found = {}
    for path in SRC.rglob("*.c"):
        found.update(DEFINITION.findall(path.read_text()))
    return found


FILES = [
    path
    for path in sorted(SRC.rglob("*.c"))
    if path.name not in SET_FOR_LIFE and any(entries(path.read_text()))
]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_what_python_calls_enters_the_gate_first(path: Path) -> None:
    defined = bodies()
    wanted = set(entries(path.read_text())) - OF_CPYTHON - DIE_ALONE
    assert wanted <= defined.keys()
    late = {name for name in wanted if defined[name].split("\n", 1)[0].strip() != "CPIKA_GATE;"}
    assert late == set()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_field_is_an_attribute_beside_the_gate(path: Path) -> None:
    members = {name for name in MEMBER.findall(path.read_text()) if not name.startswith("__")}
    assert members - PLAIN_MEMBERS.get(path.name, set()) == set()


def test_the_search_finds_the_entries() -> None:
    files = {path.name for path in FILES}
    assert {"channel.c", "connection.c", "loop_channel.c", "buffered.c", "claim.c", "object.c"} <= files
    channel = set(entries((SRC / "api" / "channel.c").read_text()))
    assert {"channel_basic_publish", "cpika_channel_dealloc", "cpika_field_get"} <= channel
    assert "cpika_object_getter" in set(entries((SRC / "values" / "methods.c").read_text()))


def test_to_import_it_leaves_the_gil_as_it_is() -> None:
    """An interpreter without the GIL turns it on for a module that does not declare that it needs none."""
    enabled = "print(getattr(sys, '_is_gil_enabled', lambda: True)())"
    program = f"import sys; {enabled}; import cpika; {enabled}"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHON_GIL"}
    output = subprocess.check_output([sys.executable, "-c", program], env=environment, text=True)
    has_gil = not sysconfig.get_config_var("Py_GIL_DISABLED")
    has_gate = sys.version_info >= (3, 14)
    assert output.split() == [str(has_gil), str(has_gil or not has_gate)]
