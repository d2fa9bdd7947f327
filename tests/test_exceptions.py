"""The exceptions are pika's: tree, constructors, texts, pickles."""

from __future__ import annotations

import copy
import inspect
import pickle
from typing import Any

import cpika.adapters.utils.connection_workflow as workflow
import cpika.exceptions as exceptions
import pika.adapters.utils.connection_workflow as pika_workflow
import pika.exceptions as pika_exceptions
import pytest


def classes_of(module: Any) -> dict[str, type[BaseException]]:
    return {
        name: value
        for name, value in vars(module).items()
        if inspect.isclass(value) and issubclass(value, BaseException)
    }


PIKA_CLASSES = {**classes_of(pika_exceptions), **classes_of(pika_workflow)}


def ours(name: str) -> Any:
    return getattr(exceptions, name, None) or getattr(workflow, name)


def public_ancestors(cls: type) -> list[str]:
    return [base.__name__ for base in cls.__mro__ if not base.__name__.startswith("_")]


def made(cls: Any, *args: Any) -> tuple[Any, ...]:
    """What a user sees of an exception made with these arguments, or that it cannot be made of them."""
    try:
        error = cls(*args)
    except (TypeError, ValueError) as failure:
        return type(failure).__name__, ""
    return error.args, str(error), vars(error)


def shown(cls: Any, *args: Any) -> str | None:
    """The repr of an exception, None where there is none: pika's fails where an argument is missing."""
    try:
        return repr(cls(*args))
    except (IndexError, TypeError, ValueError):
        return None


def test_no_exception_of_pika_is_missing() -> None:
    assert not [name for name in PIKA_CLASSES if ours(name).__name__ != name]


@pytest.mark.parametrize("name", sorted(PIKA_CLASSES))
def test_an_exception_has_the_ancestors_that_it_has_in_pika(name: str) -> None:
    assert public_ancestors(ours(name)) == public_ancestors(PIKA_CLASSES[name])


@pytest.mark.parametrize("name", sorted(PIKA_CLASSES))
@pytest.mark.parametrize(
    "args",
    [
        (),
        ("text",),
        (404, "NOT_FOUND"),
        ("404", b"bytes"),
        (b"", {"a": object}),
        (1, 2, 3),
        ([],),
        (["one", "two"],),
        ("x" * 400,),
        (b"y" * 300,),
        (OSError(111, "refused"),),
        ((ValueError("a"), ValueError("b")),),
    ],
    ids=lambda args: repr(args)[:30],
)
def test_arguments_text_and_repr_are_those_of_pika(name: str, args: tuple[Any, ...]) -> None:
    assert made(ours(name), *args) == made(PIKA_CLASSES[name], *args)
    expected = shown(PIKA_CLASSES[name], *args)
    assert expected is None or shown(ours(name), *args) == expected


@pytest.mark.parametrize(
    "error",
    [
        exceptions.AMQPError("a", 1),
        exceptions.AMQPConnectionError(2, "two"),
        exceptions.ConnectionClosedByBroker(320, "CONNECTION_FORCED"),
        exceptions.ChannelClosedByBroker(404, "NOT_FOUND"),
        exceptions.ConnectionWrongStateError(),
        exceptions.UnroutableError(["one", "two"]),
        exceptions.NackError([]),
        exceptions.ShortStringTooLong("long"),
        exceptions.AMQPConnectionError(workflow.AMQPConnectorSocketConnectError(OSError(111, "refused"))),
        workflow.AMQPConnectionWorkflowFailed([OSError(1, "a"), ValueError("b")]),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_an_exception_survives_pickling_with_everything(error: Exception, protocol: int) -> None:
    # pika counts the letters of a text for the messages of UnroutableError, and cannot load a failed connect.
    loaded = pickle.loads(pickle.dumps(error, protocol))
    assert (type(loaded), str(loaded), repr(loaded)) == (type(error), str(error), repr(error))
    assert repr(vars(loaded)) == repr(vars(error))


def test_an_exception_can_be_copied() -> None:
    error = exceptions.UnroutableError(["message"])
    error.note = "kept"  # type: ignore[attr-defined]
    assert vars(copy.copy(error)) == vars(error)
    assert str(copy.deepcopy(error)) == "1 unroutable message(s) returned"


@pytest.mark.parametrize("name", ["ConnectionClosed", "ChannelClosedByClient"])
def test_reply_code_and_text_are_read_only(name: str) -> None:
    error = ours(name)("200", 7)
    assert (error.reply_code, error.reply_text) == (200, "7")
    with pytest.raises(AttributeError):
        error.reply_code = 1


def test_a_closed_exception_needs_a_numeric_code() -> None:
    for cls in (exceptions.ConnectionClosed, pika_exceptions.ConnectionClosed):
        with pytest.raises(ValueError, match="invalid literal for int"):
            cls("x", "y")  # type: ignore[arg-type]
