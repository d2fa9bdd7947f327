"""Values in the hands of tools and odd programs: what is replaced, subclassed, nested without end."""

from __future__ import annotations

import contextlib
import copy
import datetime
import decimal
import gc
import importlib
import operator
import pickle
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any
from unittest import mock

import cpika
import pika
import pytest
from cpika import data
from support.apart import apart
from support.outcomes import outcome
from support.scripts import Script

UTC = datetime.timezone.utc
MOMENT = datetime.datetime(2024, 1, 1, tzinfo=UTC)
REAL_DECIMAL = decimal.Decimal


class Rows(list[Any]):
    pass


# ---- names that tools and tests replace: both libraries look them up in their module `data` ----

LIBRARIES = pytest.mark.parametrize("library", ["pika", "cpika"])


class FrozenMeta(type):
    """As freezegun's: whatever is a datetime counts as one of these."""

    real = datetime.datetime

    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, FrozenMeta.real)


class Frozen(datetime.datetime, metaclass=FrozenMeta):
    pass


class Money(decimal.Decimal):
    pass


def encoded(value: Any, library: str = "cpika") -> bytes:
    pieces: list[bytes] = []
    importlib.import_module(f"{library}.data").encode_value(pieces, value)
    return b"".join(pieces)


def decoded(wire: bytes, library: str) -> Any:
    return importlib.import_module(f"{library}.data").decode_value(wire, 0)[0]


@LIBRARIES
def test_a_replaced_datetime_is_used_while_it_is_there(library: str) -> None:
    with mock.patch(f"{library}.data.datetime", Frozen):
        wire = encoded(MOMENT, library)
        assert wire == b"T" + int(MOMENT.timestamp()).to_bytes(8, "big")
        assert encoded(Frozen(2024, 1, 1), library) == wire
        assert type(decoded(wire, library)) is Frozen
    assert type(decoded(wire, library)) is FrozenMeta.real
    assert encoded(MOMENT, library) == wire


@LIBRARIES
@pytest.mark.parametrize("replaced", [mock.MagicMock(), Frozen, None], ids=["mock", "class", "None"])
def test_what_replaces_the_class_in_its_own_module_is_not_met(library: str, replaced: Any) -> None:
    """A mock there is no class, for which isinstance() raises, and makes no times."""
    wire = encoded(MOMENT, library)
    with mock.patch("datetime.datetime", replaced), mock.patch("datetime.timezone", replaced):
        assert encoded(MOMENT, library) == wire
        assert encoded(OrderedDict(a=1), library) == encoded({"a": 1}, library)
        assert encoded(Rows([1]), library) == encoded([1], library)
        assert decoded(wire, library) == MOMENT


@LIBRARIES
def test_a_replaced_timezone_is_used_while_it_is_there(library: str) -> None:
    east = datetime.timezone(datetime.timedelta(hours=2))
    with mock.patch(f"{library}.data.timezone", mock.Mock(utc=east)):
        assert decoded(encoded(MOMENT, library), library).utcoffset() == datetime.timedelta(hours=2)


@LIBRARIES
@pytest.mark.parametrize("name", ["calendar.timegm", "{}.data.calendar"])
def test_a_replaced_timegm_is_used_while_it_is_there(library: str, name: str) -> None:
    def timegm(parts: Any) -> int:
        return 7

    replacement = timegm if name.endswith("timegm") else mock.Mock(timegm=timegm)
    with mock.patch(name.format(library), replacement):
        assert encoded(MOMENT, library) == b"T" + (7).to_bytes(8, "big")


def test_a_replaced_decimal_is_used_while_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = encoded(decimal.Decimal("1.5"))
    monkeypatch.setattr(decimal, "Decimal", Money)
    made: list[int] = []
    monkeypatch.setattr(Money, "scaleb", lambda self, power: made.append(power))
    data.decode_value(wire, 0)
    assert made == [-1]


@LIBRARIES
@pytest.mark.parametrize("name", ["{}.data.decimal", "decimal.Decimal"])
def test_a_value_is_compared_with_what_stands_for_decimals(library: str, name: str) -> None:
    replacement = Money if name == "decimal.Decimal" else mock.Mock(Decimal=Money)
    with mock.patch(name.format(library), replacement):
        assert encoded(Money("1.5"), library)[:2] == b"D\x01"
        with pytest.raises(importlib.import_module(library).exceptions.UnsupportedAMQPFieldException):
            encoded(REAL_DECIMAL("1.5"), library)


@LIBRARIES
def test_a_module_in_which_a_name_is_no_class_raises_what_isinstance_does(library: str) -> None:
    with mock.patch(f"{library}.data.datetime", time), pytest.raises(TypeError, match="isinstance"):
        encoded(MOMENT, library)


# ---- odd dicts, and objects that hold one another without end ----


class NoPairs(dict[str, Any]):
    def items(self) -> Any:
        return [1, 2]


class Triples(dict[str, Any]):
    def items(self) -> Any:
        return [("a", 1, 2)]


class LongLists(dict[str, Any]):
    def items(self) -> Any:
        return [["a", 1, 2]]


class LongIterators(dict[str, Any]):
    def items(self) -> Any:
        return [iter("abc")]


class Singles(dict[str, Any]):
    def items(self) -> Any:
        return ["a"]


class Nothing(dict[str, Any]):
    def items(self) -> Any:
        return None


class Spelt(str):
    def __format__(self, spec: str) -> str:
        return "in another way"


@pytest.mark.parametrize("odd", [NoPairs, Triples, LongLists, LongIterators, Singles, Nothing, dict])
def test_properties_whose_dict_is_odd_answer_as_pikas(odd: type) -> None:
    def both(use: Callable[[Any], Any], **kwargs: Any) -> list[Any]:
        return [
            outcome(use, with_dict(cls, odd, **kwargs))
            for cls in (cpika.BasicProperties, pika.BasicProperties)
        ]

    for use in (repr, str, vars, copy.copy, lambda p: p == p, lambda p: p.headers, lambda p: p.encode()):
        ours, theirs = both(use)
        assert ours == theirs
    ours, theirs = both(repr, a=1, b=[2])
    assert ours == theirs


def with_dict(cls: Any, kind: type, **items: Any) -> Any:
    properties = cls()
    properties.__dict__ = kind(items)
    return properties


@pytest.mark.parametrize("items", [{1: 2}, {Spelt("x"): 1}, {"__class__": 1}, {"headers": 3, "NAME": 4}])
def test_odd_names_in_the_dict_of_properties_show_as_with_pika(items: dict[Any, Any]) -> None:
    def shown(cls: Any) -> Any:
        properties = cls()
        vars(properties).update(items)
        return outcome(repr, properties)

    ours, theirs = shown(cpika.BasicProperties), shown(pika.BasicProperties)
    if sys.version_info < (3, 11) and 1 in items:
        ours, theirs = ours[0], theirs[0]  # there getattr() has words of its own
    assert ours == theirs


@pytest.mark.parametrize("name", ["BasicProperties", "Basic.Ack", "Connection.UpdateSecret"])
def test_keywords_that_are_no_strings_are_refused_as_by_pika(name: str) -> None:
    odd: Any = {1: 2}
    ours, theirs = (
        outcome(lambda spec=spec: operator.attrgetter(name)(spec)(**odd)) for spec in (cpika.spec, pika.spec)
    )
    assert ours == theirs


CHAINS = """
    from cpika import spec
    from cpika.adapters.blocking_connection import _ConsumerDeliveryEvt, _ConsumerInfo

    Sub = type("Sub", (pika.BasicProperties,), {})

    def with_attribute(one):
        other = spec.Basic.Ack()
        other.before = one
        return other

    LINKS = {
        "headers": lambda one: pika.BasicProperties(headers=one),
        "list": lambda one: pika.BasicProperties(headers=[one]),
        "method": lambda one: spec.Basic.Deliver(exchange=one),
        "attribute": with_attribute,
        "subclass": lambda one: Sub(headers=one),
        "consumer": lambda one: _ConsumerInfo("tag", False, on_message_callback=one or print),
        "event": lambda one: _ConsumerDeliveryEvt(one, None, None),
    }

    def chain(name, length):
        one = None
        for _ in range(length):
            one = LINKS[name](one)
        return one
"""


def test_a_long_chain_of_objects_dies_without_using_up_the_stack() -> None:
    with Script(
        CHAINS + "    for name in LINKS:\n        chain(name, 300_000)\n        print(name)\n"
    ) as script:
        for name in ("headers", "list", "method", "attribute", "subclass", "consumer", "event"):
            assert script.line() == name
        assert script.finish() == 0


def test_a_long_chain_of_objects_is_too_deep_to_show_or_compare() -> None:
    use = """
    import copy, pickle
    for name in ("headers", "list", "method", "attribute"):
        one, other = chain(name, 50_000), chain(name, 50_000)
        show, compare = (lambda: repr(one)), (lambda: one == other)
        for use in (show, compare, lambda: copy.deepcopy(one), lambda: pickle.dumps(one)):
            try:
                use()
            except RecursionError:
                print("too deep")
    """
    with Script(CHAINS + use) as script:
        assert [script.line() for _ in range(16)] == ["too deep"] * 16
        assert script.finish() == 0


def test_properties_that_hold_themselves_show_as_pikas() -> None:
    def shown(cls: Any) -> Any:
        properties = cls()
        properties.headers = {"self": properties}
        return outcome(repr, properties)

    assert shown(cpika.BasicProperties) == shown(pika.BasicProperties)


# ---- slots of derived classes ----


class OursWithSlots(cpika.BasicProperties):
    __slots__ = ("tenant", "unset")


class TheirsWithSlots(pika.BasicProperties):
    __slots__ = ("tenant", "unset")


class OursDerived(OursWithSlots):
    pass


class TheirsDerived(TheirsWithSlots):
    pass


COPIES: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda value: pickle.loads(pickle.dumps(value)),
}


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize(
    "kind", [OursWithSlots, TheirsWithSlots, OursDerived, TheirsDerived], ids=lambda kind: kind.__name__
)
def test_a_copy_has_what_the_slots_of_a_derived_class_hold(how: str, kind: Any) -> None:
    value = kind(app_id="a", headers={"h": 1})
    value.tenant = ["t"]
    made = COPIES[how](value)
    assert type(made) is kind
    assert (made == value, made.app_id, made.headers, made.tenant) == (True, "a", {"h": 1}, ["t"])
    assert not hasattr(made, "unset")
    assert (made.tenant is value.tenant) == (how == "copy")


# ---- what user code changes meanwhile


def test_bytes_that_change_while_they_are_decoded_are_decoded_as_they_were(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What had been checked was read again behind the program's code: beyond the end of them."""
    table = b"\x01aT" + (5).to_bytes(8, "big") + b"\x01bS" + (4).to_bytes(4, "big") + b"abcd"
    encoded = bytearray(len(table).to_bytes(4, "big") + table)
    headers = bytearray(b"\x20\x00" + encoded)  # the flags of properties that have headers alone
    value = bytearray(b"F" + encoded)
    real = datetime.datetime

    class Changing(real):
        @classmethod
        def fromtimestamp(cls, *args: Any) -> Any:  # type: ignore[override]
            for changed in (encoded, headers, value):
                at = changed.index(b"S\x00") + 1
                changed[at : at + 4] = (2**30).to_bytes(4, "big")
            return real.fromtimestamp(*args)

    decoders: dict[str, Callable[[], Any]] = {
        "table": lambda: data.decode_table(encoded, 0)[0],
        "value": lambda: data.decode_value(memoryview(value), 0)[0],
        "properties": lambda: cpika.BasicProperties().decode(headers).headers,
    }
    for name, decode in decoders.items():
        saved = bytes(encoded), bytes(headers), bytes(value)
        with monkeypatch.context() as patch:
            patch.setattr(data, "datetime", Changing)
            got = decode()
        assert got["b"] == "abcd", name
        encoded[:], headers[:], value[:] = saved


@pytest.mark.parametrize("how", ["get", "set", "delete", "encode"])
def test_a_key_may_put_another_dict_in_the_place_of_the_one_it_is_in(how: str) -> None:
    """Its __eq__ runs while the old one is looked through; that was let go of."""
    armed = False
    properties = cpika.BasicProperties()

    class Key:
        def __init__(self, name: str) -> None:
            self.hash = hash(name)

        def __hash__(self) -> int:
            return self.hash

        def __eq__(self, other: object) -> bool:
            if armed:
                properties.__dict__ = {}
                self.junk = [dict.fromkeys(range(number % 30)) for number in range(200)]
            return False

    calls: dict[str, Callable[[], Any]] = {
        "get": lambda: properties.headers,
        "set": lambda: setattr(properties, "headers", 5),
        "delete": lambda: delattr(properties, "headers"),
        "encode": properties.encode,
    }
    for _ in range(50):
        armed = False
        properties.__dict__ = {Key("headers"): 1, Key("headers"): 2, **{str(n): n for n in range(20)}}
        armed = True
        with contextlib.suppress(AttributeError):
            calls[how]()


def ask_where_a_finalizer_asks(how: str) -> list[Any]:
    """How often a finalizer ran inside, and what was lost then."""
    asks: dict[str, Callable[[Any], Any]] = {
        "vars": vars,
        "repr": repr,
        "==": lambda value: value == cpika.BasicProperties(),
        "copy": copy.copy,
    }
    properties: Any = None
    ran = 0
    lost: list[str] = []

    class Final:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            nonlocal ran
            if properties is not None:
                ran += 1
                properties.custom = "of a finalizer"

    gc.freeze()
    for _ in range(50):
        properties = None
        kept = [{} for _ in range(100)]  # no dict is left to be used again
        made = cpika.BasicProperties(content_type="t", app_id="a")
        gc.collect()
        gc.set_threshold(0)
        Final()
        properties = made
        gc.set_threshold(1)
        asks[how](made)
        gc.set_threshold(0)
        if (made.content_type, made.app_id, vars(made).get("content_type"), len(kept)) != (
            "t",
            "a",
            "t",
            100,
        ):
            lost.append(repr(made))
    return [ran > 0, lost]


@pytest.mark.parametrize("how", ["vars", "repr", "==", "copy"])
def test_a_finalizer_may_ask_for_the_dict_that_is_being_made(how: str) -> None:
    """Before 3.12 a new dict may have CPython collect: the fields were lost then."""
    ran, lost = apart(ask_where_a_finalizer_asks, how)
    assert lost == []
    assert ran or sys.version_info >= (3, 12)


class Exchanging(str):
    """A key that is asked for its bytes, and makes room for another one."""

    table: Any

    def encode(self, *args: Any) -> bytes:
        del self.table[self]
        self.table["another"] = 1
        return super().encode(*args)


@pytest.mark.parametrize("library", [cpika, pika], ids=["cpika", "pika"])
def test_a_table_whose_keys_change_while_it_is_encoded_is_refused(library: Any) -> None:
    """It was sent with more entries than it ever had."""
    key = Exchanging("first")
    key.table = {key: 1, "second": 2, "third": 3}
    with pytest.raises(RuntimeError, match="dictionary keys changed during iteration"):
        library.data.encode_table([], key.table)
