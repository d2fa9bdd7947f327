"""What a user's type checker sees: programs that it has to accept, and a stub that tells the truth."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import shutil
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import cpika
import pytest
from cpika import _core, spec
from support.type_checkers import pyright

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = sorted((ROOT / "tests" / "typing").glob("*.py"))
STUB = ast.parse((ROOT / "python" / "cpika" / "spec.pyi").read_text())


def nested(node: ast.ClassDef | ast.Module) -> dict[str, ast.ClassDef]:
    """The public classes that stand in a class or a module."""
    return {
        child.name: child
        for child in node.body
        if isinstance(child, ast.ClassDef) and not child.name.startswith("_")
    }


def fields(node: ast.ClassDef) -> list[str]:
    """The attributes of its objects, without those of the class."""
    names = []
    for child in node.body:
        if isinstance(child, ast.AnnAssign) and isinstance(child.target, ast.Name):
            if not ast.unparse(child.annotation).startswith("ClassVar"):
                names.append(child.target.id)
        elif isinstance(child, ast.FunctionDef):
            if [ast.unparse(mark) for mark in child.decorator_list] == ["property"]:
                names.append(child.name)
    return names


def arguments(node: ast.ClassDef) -> dict[str, Any]:
    """Names of __init__'s arguments and their defaults."""
    (init,) = (
        child for child in node.body if isinstance(child, ast.FunctionDef) and child.name == "__init__"
    )
    names = [argument.arg for argument in init.args.args]
    required = [inspect.Parameter.empty] * (len(names) - len(init.args.defaults))
    defaults = [eval(ast.unparse(default), vars(spec)) for default in init.args.defaults]
    return dict(list(zip(names, required + defaults))[1:])


def real_arguments(cls: type) -> dict[str, Any]:
    return {name: parameter.default for name, parameter in inspect.signature(cls).parameters.items()}


STUBBED = {
    f"{owner}.{name}": node
    for owner, outer in nested(STUB).items()
    if owner != "BasicProperties"
    for name, node in nested(outer).items()
}


def test_the_stub_has_every_class_and_every_method_in_the_order_of_the_spec() -> None:
    assert [*nested(STUB)] == [*_core.spec_classes, "BasicProperties"]
    assert [*STUBBED] == [method.NAME for method in spec.methods.values()]


@pytest.mark.parametrize("name", STUBBED)
def test_a_method_of_the_stub_has_the_fields_and_arguments_of_the_real_one(name: str) -> None:
    (real,) = (method for method in spec.methods.values() if name == method.NAME)
    assert arguments(STUBBED[name]) == real_arguments(real)
    # What an object is made of, and what one has that was never given anything.
    assert (
        fields(STUBBED[name])
        == [*real_arguments(real)]
        == [*vars(real(**dict.fromkeys(real_arguments(real))))]
    )


@pytest.mark.parametrize("name", STUBBED)
def test_a_method_of_the_stub_says_whether_it_awaits_an_answer(name: str) -> None:
    (real,) = (method for method in spec.methods.values() if name == method.NAME)
    bases = [ast.unparse(base) for base in STUBBED[name].bases]
    awaits = real(**dict.fromkeys(real_arguments(real))).synchronous
    assert bases == ["_Request" if awaits else "_Message"]


def test_the_stub_has_the_properties_with_their_arguments() -> None:
    node = nested(STUB)["BasicProperties"]
    assert arguments(node) == real_arguments(spec.BasicProperties)
    assert fields(node) == [*vars(spec.BasicProperties())]


def test_mypy_strict_accepts_typical_programs() -> None:
    check("-m", "mypy", "--strict", *map(str, PROGRAMS))


def test_pyright_accepts_typical_programs(tmp_path: Path) -> None:
    folder = tmp_path / "programs"
    shutil.copytree(ROOT / "tests" / "typing", folder, ignore=shutil.ignore_patterns("programs"))
    assert pyright(folder) == {}


@pytest.mark.parametrize(
    "mistake",
    [
        "channel.basic_publish('', 'queue', 5)",
        "channel.basic_ack('1')",
        "channel.queue_declare()",
        "channel.basic_consume('queue', lambda body: None)",
        "pika.spec.Basic.Deliver(tag=1)",
        "pika.spec.Basic.Deliver().tag",
        "pika.BasicProperties(delivery_mode='2')",
        "pika.BlockingConnection('amqp://localhost')",
    ],
)
def test_mypy_finds_a_mistake(mistake: str, tmp_path: Path) -> None:
    program = tmp_path / "mistake.py"
    program.write_text(f"import cpika as pika\nchannel = pika.BlockingConnection().channel()\n{mistake}\n")
    done = run("-m", "mypy", "--strict", str(program))
    assert done.returncode == 1 and "mistake.py:3: error:" in done.stdout, done.stdout


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def check(*arguments: str) -> None:
    done = run(*arguments)
    assert done.returncode == 0, done.stdout


MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(cpika.__path__, "cpika.")
    if "._" not in module.name and module.name != "cpika.bench"
)


def interface(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """Its public functions and classes, with the constructors, methods and properties of these."""
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
            continue
        yield name, value
        for member in dir(value) if isinstance(value, type) else ():
            if member == "__init__" or not member.startswith("_"):
                found = inspect.getattr_static(value, member)
                yield f"{name}.{member}", getattr(found, "__func__", getattr(found, "fget", found))


@pytest.mark.parametrize("name", MODULES)
def test_hints_can_be_evaluated(name: str) -> None:
    """By `typing.get_type_hints`, as libraries do that validate or document by them."""
    for other in ("adapters._engine", "adapters.thread_safe_connection", "aio"):  # named by hints of others
        importlib.import_module(f"cpika.{other}")
    unknown = {}
    for where, value in interface(importlib.import_module(name)):
        if not callable(value) or not getattr(value, "__annotations__", None):
            continue
        try:
            typing.get_type_hints(value)
        except (NameError, AttributeError) as error:
            unknown[where] = error
        except TypeError:
            if sys.version_info >= (3, 10):  # 3.9 has no `int | None`
                raise
    if (
        name == "cpika.exceptions"
    ):  # it loads nothing of the rest: what holds returned messages is not at hand
        unknown = {where: error for where, error in unknown.items() if "'ReturnedMessage'" not in str(error)}
    assert not unknown
