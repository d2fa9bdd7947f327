"""How Python makes method objects, properties and frames: by calls, copies and pickles, of subclasses, too.

Each test is played on both libraries: what pika's plain classes do is what the types of the core do.
"""

from __future__ import annotations

import abc
import copy
import copyreg
import gc
import importlib
import pickle
import struct
import weakref
from typing import Any
from unittest import mock

import pytest

LIBRARIES = pytest.mark.parametrize("library", ["pika", "cpika"])
PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
KINDS = [
    "BasicProperties",
    "Basic.Ack",
    "Basic.Deliver",
    "Tx.Select",
    "frame.Method",
    "frame.Header",
    "Basic",
]


def class_of(library: str, kind: str) -> Any:
    home = importlib.import_module(f"{library}.{'frame' if kind.startswith('frame') else 'spec'}")
    for name in kind.replace("frame.", "").split("."):
        home = getattr(home, name)
    return home


def value_of(library: str, kind: str) -> Any:
    made = class_of(library, kind)
    if kind == "BasicProperties":
        return made(headers={"a": 1}, priority=3)
    if kind == "frame.Method":
        return made(1, class_of(library, "Basic.Ack")(3))
    if kind == "frame.Header":
        return made(1, 2, class_of(library, "BasicProperties")(priority=4))
    return made()


def at_module_level(made: type) -> type:
    """Where pickle finds it; another library's class of that name has gone then."""
    made.__module__, made.__qualname__ = __name__, made.__name__
    globals()[made.__name__] = made
    return made


@LIBRARIES
@pytest.mark.parametrize("kind", KINDS)
def test_python_makes_an_object_without_its_class(library: str, kind: str) -> None:
    made = class_of(library, kind)
    assert made.__new__ is object.__new__
    for empty in (object.__new__(made), copyreg._reconstructor(made, object, None), made.__new__(made)):  # type: ignore[attr-defined]
        assert type(empty) is made
        assert vars(empty) == {}
        assert repr(empty) == f"<{made.NAME}>"
        empty.priority = 5
        assert vars(empty) == {"priority": 5}


@LIBRARIES
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_it_is_reduced_as_any_object(library: str, kind: str, protocol: int) -> None:
    value = value_of(library, kind)
    plain = type("Plain", (), {})()
    vars(plain).update(vars(value))
    mine, its = value.__reduce_ex__(protocol), plain.__reduce_ex__(protocol)
    assert (mine[0], len(mine), mine[1][1:], mine[2:]) == (its[0], len(its), its[1][1:], its[2:])
    loaded = pickle.loads(pickle.dumps(value, protocol))
    assert (type(loaded), vars(loaded)) == (type(value), vars(value))


@LIBRARIES
def test_what_new_wants_is_given_to_copies(library: str) -> None:
    properties = class_of(library, "BasicProperties")

    @at_module_level
    class Traced(properties):
        def __new__(cls, trace: str) -> Any:
            made = super().__new__(cls)
            made.trace = trace
            return made

        def __init__(self, trace: str) -> None:
            super().__init__(headers={"trace": trace})

        def __getnewargs__(self) -> tuple[str]:
            return (self.trace,)

    @at_module_level
    class Named(class_of(library, "Basic.Ack")):
        def __new__(cls, *, name: str) -> Any:
            made = super().__new__(cls)
            made.name = name
            return made

        def __init__(self, *, name: str) -> None:
            super().__init__(5)

        def __getnewargs_ex__(self) -> tuple[tuple[()], dict[str, str]]:
            return (), {"name": self.name}

    for value, first in ((Traced("t1"), 2), (Named(name="n1"), 4)):  # before, pickle knows of no keywords
        copies = [copy.copy(value), copy.deepcopy(value)]
        copies += [pickle.loads(pickle.dumps(value, protocol)) for protocol in PROTOCOLS[first:]]
        for made in copies:
            assert (type(made), vars(made)) == (type(value), vars(value))


@LIBRARIES
@pytest.mark.parametrize("kind", KINDS)
def test_an_abstract_class_makes_none(library: str, kind: str) -> None:
    class Wanted(class_of(library, kind), metaclass=abc.ABCMeta):
        @abc.abstractmethod
        def check(self) -> None: ...

    class Whole(Wanted):
        def check(self) -> None: ...

    with pytest.raises(TypeError, match="Can't instantiate abstract class Wanted"):
        Wanted()
    with pytest.raises(TypeError, match="Can't instantiate abstract class Wanted"):
        Wanted.__new__(Wanted)
    assert vars(Whole.__new__(Whole)) == {}


@LIBRARIES
def test_an_object_of_a_subclass_is_whole_at_the_first_look(library: str) -> None:
    """Whichever that is: Python alone has made it."""

    class Mine(class_of(library, "BasicProperties")):
        __slots__ = ("extra",)

    class Acked(class_of(library, "Basic.Ack")):
        pass

    def is_set(made: Any, name: str) -> bool:
        setattr(made, name, 3)
        return vars(made) == {name: 3}

    assert Mine.__new__(Mine) == Mine.__new__(Mine)
    assert Mine.__new__(Mine) != Mine(priority=3)
    assert repr(Mine.__new__(Mine)) == "<BasicProperties>"
    assert is_set(Mine.__new__(Mine), "priority")
    assert is_set(Mine.__new__(Mine), "other")
    assert not hasattr(Mine.__new__(Mine), "priority")
    assert copy.copy(Mine.__new__(Mine)) == Mine.__new__(Mine)
    assert Acked.__new__(Acked).synchronous is False
    assert vars(Mine.__new__(Mine).decode(b"\x08\x00\x05"))["priority"] == 5
    assert vars(Acked.__new__(Acked).decode(b"\0" * 7 + b"\x05\0")) == {"delivery_tag": 5, "multiple": False}
    for use in (Mine.encode, Acked.encode):
        with pytest.raises(AttributeError):
            use(Mine.__new__(Mine) if use is Mine.encode else Acked.__new__(Acked))
    assigned = Mine.__new__(Mine)
    assigned.__dict__ = {"priority": 7}
    assert assigned.priority == 7
    unseen = weakref.ref(Mine.__new__(Mine))
    assert unseen() is None
    mine = Acked.__new__(Acked)
    mine.itself = mine
    gone = weakref.ref(mine)
    del mine
    gc.collect()
    assert gone() is None


@LIBRARIES
def test_a_cycle_through_an_object_that_pickle_made_is_collected(library: str) -> None:
    for kind in ("BasicProperties", "Basic.Deliver"):
        made = object.__new__(class_of(library, kind))
        vars(made)["itself"] = made
        gone = weakref.ref(made)
        del made
        gc.collect()
        assert gone() is None


@LIBRARIES
def test_what_replaces_init_and_new_is_called(library: str) -> None:
    properties = class_of(library, "BasicProperties")
    seen = []

    def init(self: Any, *args: Any, **kwds: Any) -> None:
        seen.append((args, kwds))

    def new(cls: Any, *args: Any, **kwds: Any) -> Any:
        seen.append((args, kwds))
        return object.__new__(cls)

    with mock.patch.object(properties, "__init__", init):
        assert vars(properties("text", priority=3)) == {}
        assert vars(properties()) == {}
    assert seen == [(("text",), {"priority": 3}), ((), {})]
    assert properties("text", priority=3).priority == 3
    given: dict[str, Any] = {"priority": 4}
    assert properties(*seen[0][0], **given).priority == 4

    class Base(properties):
        pass

    Base.__new__ = new  # type: ignore[assignment]
    assert Base(priority=5).priority == 5
    assert seen[2:] == [((), {"priority": 5})]


@LIBRARIES
def test_arguments_of_a_call_are_those_of_the_signature(library: str) -> None:
    properties, ack = class_of(library, "BasicProperties"), class_of(library, "Basic.Ack")
    wrong = [
        lambda: ack(1, 2, 3),
        lambda: ack(1, delivery_tag=2),
        lambda: ack(other=2),
        lambda: properties(**{1: 2}),  # type: ignore[misc]
        lambda: class_of(library, "Connection.UpdateSecret")(),
        lambda: class_of(library, "Connection.UpdateSecret")(reason="x"),
        lambda: class_of(library, "Tx.Select")(1),
        lambda: class_of(library, "Basic")(1),
        lambda: type("Mine", (ack,), {"__init__": object.__init__})(1),
    ]
    for call in wrong:
        with pytest.raises(TypeError):
            call()
    assert vars(ack(multiple=True)) == {"delivery_tag": 0, "multiple": True}


@LIBRARIES
def test_a_finalizer_may_have_it_hold_itself(library: str) -> None:
    """It was no object for the collector before."""
    ack = class_of(library, "Basic.Ack")
    kept = []

    def finalize(value: Any) -> None:
        value.delivery_tag = [value]
        if len(kept) < 5:
            kept.append(value)

    with mock.patch.object(ack, "__del__", finalize, create=True):
        for number in range(10):
            ack(number)
        assert len(kept) == 5
    del kept[:]
    gc.collect()
    assert ack(3).delivery_tag == 3


@LIBRARIES
def test_a_negative_offset_counts_from_the_end(library: str) -> None:
    data = importlib.import_module(f"{library}.data")
    properties, ack = class_of(library, "BasicProperties"), class_of(library, "Basic.Ack")
    table = b"\x00\x00\x00\x0b" + b"\x01aI\x00\x00\x00\x05" + b"\x01bt\x01"
    for junk in (b"", b"\xff" * 7):
        for kind in (bytes, bytearray):
            assert properties().decode(kind(junk + b"\x08\x00\x05"), -3) == properties(priority=5)
            assert ack().decode(kind(junk + b"\0" * 7 + b"\x05\x01"), -9) == ack(5, True)
        assert data.decode_table(junk + table, -len(table)) == ({"a": 5, "b": True}, 0)
        assert data.decode_table(junk + table + b"more", -len(table) - 4) == ({"a": 5, "b": True}, -4)
        assert data.decode_value(junk + b"F" + table, -1 - len(table)) == ({"a": 5, "b": True}, 0)
        assert data.decode_short_string(junk + b"\x03abcd", -5) == ("abc", -1)
    for decode in (properties().decode, ack().decode, data.decode_table, data.decode_short_string):
        with pytest.raises(struct.error, match="offset -3"):
            decode(b"\x08\x00", -3)


@LIBRARIES
def test_an_abstract_channel_is_none_either(library: str) -> None:
    kind: Any = importlib.import_module(f"{library}.adapters.blocking_connection").BlockingChannel

    class Wanted(kind, metaclass=abc.ABCMeta):
        @abc.abstractmethod
        def check(self) -> None: ...

    with pytest.raises(TypeError, match="Can't instantiate abstract class Wanted"):
        Wanted(None, None)
