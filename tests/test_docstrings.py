"""Every public name says what it is, so that `help()` and the site's reference have no gaps."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import cpika
import pytest

MODULES = [
    "cpika",
    *(
        module.name
        for module in pkgutil.walk_packages(cpika.__path__, "cpika.")
        if not any(part.startswith("_") for part in module.name.split("."))
    ),
]


def own_doc(value: Any) -> str:
    """What a class, function or attribute itself says: a class that has none would show its base's."""
    doc = vars(value).get("__doc__") if inspect.isclass(value) else getattr(value, "__doc__", None)
    return (doc or "").strip()


def of_class(cls: type, path: str) -> Iterator[tuple[str, str]]:
    """The public names of a class and of those inside it, with their docstrings."""
    yield path, own_doc(cls)
    slots = vars(cls).get("__slots__")
    texts = slots if isinstance(slots, dict) else {}
    for name, value in vars(cls).items():
        if name.startswith("_"):
            continue
        value = getattr(value, "__func__", value)  # of static and class methods
        if inspect.isclass(value):
            if value.__qualname__.startswith(f"{cls.__qualname__}."):
                yield from of_class(value, f"{path}.{name}")
        elif callable(value) or inspect.isdatadescriptor(value):
            yield f"{path}.{name}", texts.get(name, "") or own_doc(value)


def of_module(module: ModuleType, name: str) -> Iterator[tuple[str, str]]:
    """The public names that have their home in a module."""
    yield name, own_doc(module)
    homes = {name, name.removeprefix("c")}  # what is cpika's may say that it is pika's
    for key, value in vars(module).items():
        if key.startswith("_") or getattr(value, "__module__", None) not in homes:
            continue
        if inspect.isclass(value):
            yield from of_class(value, f"{name}.{key}")
        elif inspect.isroutine(value):
            yield f"{name}.{key}", own_doc(value)


@pytest.mark.parametrize("name", MODULES)
def test_every_public_name_of_a_module_has_a_docstring(name: str) -> None:
    found = dict(of_module(importlib.import_module(name), name))
    assert [path for path, doc in found.items() if not doc] == []


def test_the_names_that_programs_use_are_among_those_looked_at() -> None:
    names = {path for name in MODULES for path, _ in of_module(importlib.import_module(name), name)}
    assert {
        "cpika.adapters.blocking_connection.BlockingConnection.process_data_events",
        "cpika.connection.SSLOptions.context",
        "cpika.exceptions.UnroutableError",
        "cpika.spec.Basic.Deliver.delivery_tag",
        "cpika.spec.BasicProperties.headers",
    } <= names
    assert len(names) > 500, len(names)


@pytest.mark.parametrize(
    "function",
    [
        value
        for cls in (cpika.BlockingConnection, cpika.adapters.blocking_connection.BlockingChannel)
        for name, value in inspect.getmembers(cls, callable)
        if not name.startswith("_")
    ],
    ids=lambda function: function.__qualname__,
)
def test_a_method_explains_each_of_its_arguments(function: Any) -> None:
    doc = inspect.getdoc(function) or ""
    arguments = [name for name in inspect.signature(function).parameters if name != "self"]
    assert [name for name in arguments if f":param {name}:" not in doc] == []
