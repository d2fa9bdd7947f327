"""Every public name of every module of pika, and its signature, is cpika's too, or on the page."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cpika.callback
import cpika.channel
import pika
import pytest

ROOT = Path(__file__).resolve().parent.parent
MODULES = ["pika", *sorted(module.name for module in pkgutil.walk_packages(pika.__path__, "pika."))]
# Helpers of pika's own type annotations.
FOR_TYPING = {"T", "DefaultT", "TYPE_CHECKING"}


TABLES = ("Not there", "Of pika's next release")


def table() -> list[str]:
    """The names in the page's tables of what is not there or is newer, in the column of what pika has."""
    page = (ROOT / "docs" / "differences.md").read_text()
    sections = [page.split(f"## {title}", 1)[1].split("\n## ", 1)[0] for title in TABLES]
    rows = [line.split("|") for section in sections for line in section.splitlines() if line.startswith("| ")]
    return [name for row in rows for name in row[2].split("`")[1::2]]


MISSING = table()


def is_listed(path: str) -> bool:
    """Whether the page has a name, or the class or module that it is a part of."""
    inside = f".{path}.".removeprefix(".pika")
    return any(f".{name}." in inside for name in MISSING)


def inherits_what_is_listed(thing: Any) -> bool:
    """Whether it is a class whose constructor is that of a listed one."""
    makers = [kind for kind in thing.__mro__ if "__init__" in vars(kind)] if isinstance(thing, type) else []
    return bool(makers) and makers[0].__name__ in MISSING


def is_importable(module: str) -> bool:
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True


def parameters(thing: Any) -> list[tuple[str, str, str]] | None:
    """Names, kinds and defaults; of `self`, whether it may be given by name says nothing."""
    try:
        signature = inspect.signature(thing)
    except (TypeError, ValueError):
        return None
    return [
        (p.name, "" if p.name == "self" else p.kind.name, repr(p.default).replace("cpika", "pika"))
        for p in signature.parameters.values()
    ]


def members(path: str, theirs: Any, ours: Any) -> Iterator[tuple[str, Any, Any]]:
    """(path, pika's, cpika's or None) of the public names of a module, or of a class."""
    for name, value in vars(theirs).items():
        if name.startswith("_") or name in FOR_TYPING or isinstance(value, types.ModuleType):
            continue
        home = getattr(value, "__module__", None)
        if (
            isinstance(theirs, types.ModuleType)
            and theirs is not pika
            and home not in (None, theirs.__name__)
        ):
            continue  # imported for the module's own use
        yield f"{path}.{name}", getattr(theirs, name), getattr(ours, name, None)


def all_names(module: str) -> Iterator[tuple[str, Any, Any]]:
    """The same of a module and of the classes in it."""
    pairs = list(members(module, importlib.import_module(module), importlib.import_module(f"c{module}")))
    for path, theirs, ours in pairs:
        yield path, theirs, ours
        if inspect.isclass(theirs) and ours is not None:
            yield from members(path, theirs, ours)


@pytest.mark.parametrize("module", [name for name in MODULES if is_importable(name)])
def test_each_public_name_and_signature_of_a_module_is_there_or_listed(module: str) -> None:
    count = 0
    for path, theirs, ours in all_names(module):
        count += 1
        if is_listed(path):
            continue
        assert (ours is not None) or theirs is None, f"{path} is missing and not on the page"
        if callable(theirs) and not inherits_what_is_listed(ours):
            assert parameters(ours) == parameters(theirs), path
        if inspect.isclass(theirs) and inspect.isclass(ours):  # as reprs, pickles and tracers have it
            assert ours.__module__ == f"c{theirs.__module__}", path
    assert count > 0 or module in ("pika.adapters", "pika.adapters.utils", "pika.exchange_type")


def test_what_the_page_says_is_missing_is_pikas() -> None:
    """A row whose names pika does not have is out of date."""
    modules = [name for name in MODULES if is_importable(name)]
    paths = [path for module in modules for path, _, _ in all_names(module)] + MODULES
    known = {part for path in paths for part in path.split(".")}
    for module in set(MODULES).difference(modules):  # what they are built on is not installed
        known.update(vars(importlib.import_module(f"c{module}")))
    assert [name for name in MISSING if name.rpartition(".")[2] not in known] == []


def test_the_decorators_of_callbacks_do_as_pikas() -> None:

    def uses(callback: Any, ack: Any) -> list[Any]:
        class Manager:
            _stack = {"1": {"Basic.Ack": []}}  # noqa: RUF012

            @callback.sanitize_prefix
            def sanitized(self, *args: Any, **kwargs: Any) -> Any:
                return args, kwargs

            @callback.check_for_prefix_and_key
            def checked(self, *args: Any, **kwargs: Any) -> Any:
                return len(args), sorted(kwargs)

        manager = Manager()
        return [
            manager.sanitized(1, ack, ack),
            manager.sanitized(1, key=ack),
            manager.sanitized(prefix=ack, key=ack(3)),
            manager.checked(1, ack),
            manager.checked(1, key=ack),
            manager.checked(prefix=1, key="Basic.Nack"),
            manager.checked(2, ack),
            manager.sanitized.__name__,
        ]

    ours = uses(cpika.callback, cpika.spec.Basic.Ack)
    theirs = uses(pika.callback, pika.spec.Basic.Ack)
    assert repr(ours).replace("cpika", "pika") == repr(theirs).replace("cpika", "pika")


def test_frames_are_put_together_as_by_pikas_assembler() -> None:
    def uses(library: Any) -> list[Any]:
        frame, spec = library.frame, library.spec
        assembler = library.channel.ContentFrameAssembler()
        deliver = frame.Method(1, spec.Basic.Deliver("t", 1))
        properties = spec.BasicProperties(priority=3)
        frames = [
            *(deliver, frame.Header(1, 0, properties)),
            *(deliver, frame.Header(1, 5, properties), frame.Body(1, b"he"), frame.Body(1, b"llo")),
            *(deliver, frame.Header(1, 2, properties), frame.Body(1, b"too long")),
            *(frame.Heartbeat(), frame.Method(1, spec.Basic.Ack(1))),
        ]
        results = []
        for each in frames:
            try:
                results.append(repr(assembler.process(each)))
            except Exception as error:
                results.append(repr(error))
        return results

    assert uses(cpika) == uses(pika)
