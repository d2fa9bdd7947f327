"""A method of `BlockingChannel` is a function to every tool that asks, also where C does the work."""

from __future__ import annotations

import copy
import doctest
import functools
import gc
import inspect
import pickle
import pydoc
import sys
import types
import typing
import weakref
from collections.abc import Callable
from typing import Any
from unittest import mock

import cpika.adapters.blocking_connection as cpika_module
import pika.adapters.blocking_connection as pika_module
import pytest
from cpika import _core, _wrappers
from cpika.adapters import _blocking_hot
from support.outcomes import outcome

BlockingChannel = cpika_module.BlockingChannel
PikaChannel = pika_module.BlockingChannel


@pytest.fixture(autouse=True, scope="module")
def nobody_wraps() -> None:
    """A channel of an earlier test whose methods are wrapped has those of all channels go the long way."""
    gc.collect()
    _wrappers._set_shortcuts()


HOT = ("basic_publish", "basic_ack", "basic_nack", "basic_reject", "basic_get")
ALL_HOT = (*HOT, "publish_many")


def positional_call_matches_keywords(channel: type) -> None:
    fake = mock.create_autospec(channel, instance=True)
    fake.basic_publish("", "q", b"x")
    fake.basic_publish.assert_called_once_with(exchange="", routing_key="q", body=b"x")


def missing_arguments(channel: type) -> None:
    mock.create_autospec(channel, instance=True).basic_publish("q")


def too_many_arguments(channel: type) -> None:
    mock.create_autospec(channel, instance=True).basic_ack(1, False, 3)


def unknown_keyword(channel: type) -> None:
    mock.create_autospec(channel, instance=True).basic_ack(delivery_tagg=1)


def wrong_call_of_nack(channel: type) -> None:
    mock.create_autospec(channel, instance=True).basic_nack(1, True, True, True)


def wrong_call_of_reject(channel: type) -> None:
    mock.create_autospec(channel, instance=True).basic_reject(multiple=True)


def wrong_call_of_get(channel: type) -> None:
    mock.create_autospec(channel, instance=True).basic_get()


def failed_assertion(channel: type) -> None:
    fake = mock.create_autospec(channel, instance=True)
    fake.basic_ack(5)
    fake.basic_ack.assert_called_once_with(delivery_tag=6)


def autospec_of_the_class_takes_self(channel: type) -> None:
    mock.create_autospec(channel).basic_ack(5)


def patched_method_gets_self(channel: Any) -> None:
    with mock.patch.object(channel, "basic_ack", autospec=True) as fake:
        instance = channel.__new__(channel)
        instance.basic_ack(5)
        fake.assert_called_once_with(instance, 5)


def patched_method_checks_its_arguments(channel: Any) -> None:
    with mock.patch.object(channel, "basic_publish", autospec=True):
        channel.__new__(channel).basic_publish("q")


def spec_of_a_method(channel: Any) -> None:
    mock.create_autospec(channel.basic_get)("queue", acked=True)


def patched_side_effect(channel: Any) -> None:
    with mock.patch.object(channel, "basic_nack", side_effect=ValueError("from the mock")):
        channel.__new__(channel).basic_nack(1)


def call_without_self(channel: Any) -> None:
    channel.basic_ack()


@pytest.mark.parametrize(
    "use",
    [
        positional_call_matches_keywords,
        missing_arguments,
        too_many_arguments,
        unknown_keyword,
        wrong_call_of_nack,
        wrong_call_of_reject,
        wrong_call_of_get,
        failed_assertion,
        autospec_of_the_class_takes_self,
        patched_method_gets_self,
        patched_method_checks_its_arguments,
        spec_of_a_method,
        patched_side_effect,
        call_without_self,
    ],
    ids=lambda use: use.__name__,
)
def test_mocks_check_calls_as_with_pika(use: Callable[[Any], None]) -> None:
    assert outcome(use, BlockingChannel) == outcome(use, PikaChannel)


@pytest.mark.parametrize("name", HOT)
def test_inspect_takes_a_hot_method_for_what_it_takes_pikas(name: str) -> None:
    for predicate in (inspect.isfunction, inspect.isroutine, inspect.ismethod, inspect.ismethoddescriptor):
        assert predicate(getattr(BlockingChannel, name)) == predicate(getattr(PikaChannel, name))
        instances = [cls.__new__(cls) for cls in (BlockingChannel, PikaChannel)]
        ours, theirs = (predicate(getattr(instance, name)) for instance in instances)
        assert ours == theirs


@pytest.mark.parametrize("name", HOT)
def test_a_hot_method_has_pikas_parameters(name: str) -> None:
    def parameters(channel: Any) -> list[tuple[str, Any, Any]]:
        signature = inspect.signature(getattr(channel, name))
        return [(p.name, p.kind, p.default) for p in signature.parameters.values()]

    assert parameters(BlockingChannel) == parameters(PikaChannel)


@pytest.mark.parametrize("name", ALL_HOT)
def test_the_function_that_is_shown_and_the_method_that_is_called_have_the_same_parameters(name: str) -> None:
    def parameters(method: Any) -> list[tuple[str, Any]]:
        return [(p.name, p.default) for p in inspect.signature(method).parameters.values()]

    assert parameters(getattr(BlockingChannel, name)) == parameters(getattr(_core.Channel, name))


@pytest.mark.parametrize("name", ALL_HOT)
def test_a_hot_method_shows_its_source_its_documentation_and_its_place(name: str) -> None:
    method = getattr(BlockingChannel, name)
    assert f"def {name}(" in inspect.getsource(method)
    assert inspect.getdoc(method).startswith(method.__doc__.splitlines()[0])
    assert name in pydoc.render_doc(method, renderer=pydoc.plaintext)
    assert isinstance(method, types.FunctionType)
    assert (method.__name__, method.__qualname__) == (name, f"BlockingChannel.{name}")
    home = sys.modules[method.__module__]  # that of the class, wherever the code stands
    assert functools.reduce(getattr, method.__qualname__.split("."), home) is method
    assert repr(method).startswith(f"<function BlockingChannel.{name} at 0x")
    assert inspect.signature(getattr(BlockingChannel.__new__(BlockingChannel), name)).parameters


@pytest.mark.skipif(sys.version_info < (3, 10), reason="the hints are written as Python 3.10 reads them")
@pytest.mark.parametrize("name", ALL_HOT)
def test_the_type_hints_of_a_hot_method_can_be_evaluated(name: str) -> None:
    assert "return" in typing.get_type_hints(getattr(BlockingChannel, name))


@pytest.mark.parametrize("name", ALL_HOT)
def test_a_hot_method_is_pickled_and_copied_by_name(name: str) -> None:
    method = getattr(BlockingChannel, name)
    assert pickle.loads(pickle.dumps(method)) is method
    assert copy.copy(method) is method
    assert copy.deepcopy([method]) == [method]
    assert weakref.ref(method)() is method


def test_doctest_looks_into_hot_methods() -> None:
    found = doctest.DocTestFinder(exclude_empty=False).find(_blocking_hot.BlockingChannel)
    assert {test.name.rpartition(".")[2] for test in found} >= set(ALL_HOT)


def test_functools_takes_a_hot_method_for_a_function() -> None:
    calls = []

    @functools.wraps(BlockingChannel.basic_ack)
    def traced(self: Any, *args: Any, **kwargs: Any) -> None:
        calls.append((args, kwargs))

    class Traced(BlockingChannel):
        basic_ack = traced  # type: ignore[assignment]
        ack_many = functools.partialmethod(BlockingChannel.basic_ack, multiple=True)

    assert inspect.signature(traced) == inspect.signature(BlockingChannel.basic_ack)
    Traced.__new__(Traced).basic_ack(3)
    assert calls == [((3,), {})]
    with pytest.raises(RuntimeError, match="__init__"):
        Traced.__new__(Traced).ack_many(4)


def test_a_bound_hot_method_is_a_method_of_its_channel() -> None:
    channel = BlockingChannel.__new__(BlockingChannel)
    method = channel.basic_ack
    assert type(method) is types.MethodType
    assert method.__self__ is channel
    assert method.__func__ is BlockingChannel.basic_ack
    assert method == channel.basic_ack
    assert BlockingChannel.__dict__.get("basic_ack", BlockingChannel.basic_ack).__get__(channel) == method


def test_code_that_a_tool_puts_into_a_hot_method_is_run() -> None:
    """Some tracers replace the code of a function in place."""
    method: Any = BlockingChannel.basic_reject
    code, defaults = method.__code__, method.__defaults__
    channel = BlockingChannel.__new__(BlockingChannel)

    def other(self: Any, delivery_tag: int = 0, requeue: bool = True) -> Any:
        return "other", delivery_tag, requeue

    try:
        method.__code__ = other.__code__
        assert channel.basic_reject(5) == ("other", 5, True)
        method.__defaults__ = (8, False)
        assert channel.basic_reject() == ("other", 8, False)
    finally:
        method.__code__, method.__defaults__ = code, defaults
    with pytest.raises(RuntimeError, match="__init__"):
        channel.basic_reject(5)


def test_attributes_can_be_set_on_a_hot_method() -> None:
    method: Any = BlockingChannel.basic_ack
    method.traced_by = "a tool"
    assert vars(method) == {"traced_by": "a tool"}
    del method.traced_by
    assert outcome(lambda: method.traced_by) == outcome(lambda: PikaChannel.basic_ack.traced_by)


def test_a_hot_method_of_something_else_says_what_pikas_says() -> None:
    def of_a_stand_in(cls: Any) -> list[Any]:
        channel = mock.MagicMock(_delivery_confirmation=False)
        cls.basic_ack(channel, 1)
        cls.basic_publish(channel, "", "q", b"x")
        return channel._impl.mock_calls

    assert of_a_stand_in(BlockingChannel) == of_a_stand_in(pika_module.BlockingChannel)
    assert outcome(BlockingChannel.basic_ack, 7, 1) == outcome(pika_module.BlockingChannel.basic_ack, 7, 1)


@pytest.mark.parametrize("name", HOT)
def test_replaced_on_class_or_instance_a_hot_method_is_called_no_more(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = BlockingChannel.__new__(BlockingChannel)
    monkeypatch.setattr(BlockingChannel, name, lambda self, *args: ("class", *args))
    assert getattr(channel, name)(1) == ("class", 1)
    setattr(channel, name, lambda *args: ("instance", *args))
    assert getattr(channel, name)(2) == ("instance", 2)


@pytest.mark.parametrize(
    ("descriptor", "twin"),
    [
        (_core.Channel._open, lambda self: None),
        (BlockingChannel.basic_ack, lambda self: None),
        (_core.Channel.basic_ack, len),
        (len, lambda self: None),
    ],
)
def test_a_hot_method_is_made_of_a_fast_method_and_a_function(descriptor: Any, twin: Any) -> None:
    with pytest.raises(TypeError):
        _core.hot_method(descriptor, twin)
