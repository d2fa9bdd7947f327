"""What programs do with method objects, properties, tables and frames beside encoding them."""

from __future__ import annotations

import copy
import datetime
import decimal
import enum
import gc
import pickle
import sys
import types
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import cpika.amqp_object as amqp_object
import cpika.data as data
import cpika.exceptions as exceptions
import cpika.frame as frame
import cpika.spec as spec
import pika.amqp_object as pika_amqp_object
import pika.data as pika_data
import pika.frame as pika_frame
import pika.spec as pika_spec
import pytest
from cpika.compat import long
from pika.compat import long as pika_long

UTC = datetime.timezone.utc


class Level(enum.IntEnum):
    HIGH = 7


class Text(str):
    pass


class Number(int):
    pass


ENCODED_LIKE_PIKA = [
    "text",
    "é€",
    "",
    Text("subclass"),
    b"bytes",
    True,
    False,
    0,
    -1,
    2**31 - 1,
    2**31,
    -(2**31),
    -(2**31) - 1,
    2**63 - 1,
    -(2**63),
    Number(5),
    Level.HIGH,
    decimal.Decimal("3.14"),
    decimal.Decimal("-0.001"),
    decimal.Decimal("5E+2"),
    decimal.Decimal("0"),
    datetime.datetime(2024, 2, 29, 12, 30, 15),
    datetime.datetime(2024, 2, 29, 12, 30, 15, tzinfo=datetime.timezone(datetime.timedelta(hours=2))),
    {},
    {"a": {"b": {"c": [1, [2, [3]]]}}},
    OrderedDict([("z", 1), ("a", 2)]),
    [],
    [1, "two", None, {"three": 3}],
    None,
]

NOT_ENCODED = [
    2**63,
    -(2**63) - 1,
    decimal.Decimal("1E+30"),
    decimal.Decimal("NaN"),
    datetime.datetime(1960, 1, 1),
    (1, 2),
    {1, 2},
    1j,
    bytearray(b"x"),
    object,
    "\ud800",
]

KINDS: dict[str, bytes] = {
    "t": b"\x01",
    "b": b"\xff",
    "B": b"\xff",
    "U": b"\xff\xfe",
    "u": b"\xff\xfe",
    "s": b"\xff\xfe",
    "I": b"\xff\xff\xff\xfe",
    "i": b"\xff\xff\xff\xfe",
    "L": b"\xff" * 8,
    "l": b"\x7f" + b"\xff" * 7,
    "D": b"\x02\xff\xff\xff\xfe",
    "S": b"\x00\x00\x00\x03\xe2\x82\xac",
    "x": b"\x00\x00\x00\x02\x00\xff",
    "A": b"\x00\x00\x00\x04t\x00VV",
    "T": b"\x00\x00\x00\x00\x65\x53\xf1\x00",
    "F": b"\x00\x00\x00\x04\x01ab\x05",
    "V": b"",
}


def outcome(call: Callable[..., Any], *args: Any) -> Any:
    """What a call returns, or the type and the text of what it raises."""
    try:
        return call(*args)
    except Exception as error:
        return type(error).__name__, str(error)


def encoded(module: Any, value: Any) -> bytes:
    pieces: list[bytes] = []
    size = module.encode_value(pieces, value)
    assert size == len(b"".join(pieces))
    return b"".join(pieces)


def nested(levels: int) -> Any:
    value: Any = {}
    for i in range(levels - 1):
        value = {"k": value} if i % 2 else [value]
    return value


# ---- tables ----


@pytest.mark.parametrize("value", ENCODED_LIKE_PIKA, ids=repr)
def test_a_table_value_encodes_to_pikas_bytes_and_back(value: Any) -> None:
    wire = encoded(data, value)
    assert wire == encoded(pika_data, value)
    mine, other = data.decode_value(wire, 0), pika_data.decode_value(wire, 0)
    assert mine == other
    assert repr(mine) == repr(other)


@pytest.mark.parametrize("value", NOT_ENCODED, ids=ascii)
def test_what_pika_does_not_encode_raises_pikas_error(value: Any) -> None:
    expected = outcome(encoded, pika_data, {"k": value})
    mine = outcome(encoded, data, {"k": value})
    assert mine[0] == expected[0]
    if mine[0] == "UnsupportedAMQPFieldException":
        with pytest.raises(exceptions.UnsupportedAMQPFieldException) as caught:
            encoded(data, {"k": value})
        assert caught.value.args[1] is value
        assert repr(caught.value) == f"UnsupportedAMQPFieldException: Unsupported field kind {type(value)}"
    else:
        assert mine[1] == expected[1]


def test_a_long_is_encoded_in_64_bits() -> None:
    assert encoded(data, long(5)) == encoded(pika_data, pika_long(5))


@pytest.mark.parametrize("value", [0.1, -2.5, 1.7e308])
def test_a_float_is_encoded_as_a_double_and_comes_back_whole(value: float) -> None:
    assert encoded(data, value)[:1] == b"d"
    assert data.decode_value(encoded(data, value), 0) == (value, 9)


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")], ids=str)
def test_a_number_that_rabbitmq_does_not_know_is_refused(value: float) -> None:
    for encode in (data.encode_value, lambda pieces, number: data.encode_table(pieces, {"n": number})):
        with pytest.raises(exceptions.UnsupportedAMQPFieldException) as caught:
            encode([], value)
        assert caught.value.args[1] is value


def test_a_single_is_decoded_as_a_float() -> None:
    assert data.decode_value(b"f\x3f\xc0\x00\x00", 0) == (1.5, 5)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_decodes_as_in_pika(kind: str) -> None:
    wire = kind.encode() + KINDS[kind]
    mine, other = data.decode_value(b"#" + wire, 1), pika_data.decode_value(b"#" + wire, 1)
    assert mine == other
    assert repr(mine) == repr(other)


def test_text_that_is_not_utf8_is_decoded_as_bytes() -> None:
    wire = b"\x00\x00\x00\x0b" + b"\x02\xff\xfeS" + b"\x00\x00\x00\x02\xfa\xfb" + b"\x00"
    assert data.decode_table(wire[:-1].replace(b"\x00\x00\x00\x0b", b"\x00\x00\x00\x0a"), 0) == (
        {b"\xff\xfe": b"\xfa\xfb"},
        14,
    )


def test_a_time_beyond_datetime_is_decoded_as_a_number() -> None:
    assert data.decode_value(b"T" + b"\xff" * 8, 0) == (2**64 - 1, 9)


def test_keys_may_be_bytes_and_have_255_of_them() -> None:
    for table in ({b"key": 1}, {"k" * 255: 1}, {"é" * 127: 1}):
        mine: list[bytes] = []
        other: list[bytes] = []
        assert data.encode_table(mine, table) == pika_data.encode_table(other, table)
        assert b"".join(mine) == b"".join(other)


def test_a_key_of_256_bytes_is_refused_with_the_key() -> None:
    with pytest.raises(exceptions.ShortStringTooLong) as caught:
        data.encode_table([], {"é" * 128: 1})
    assert caught.value.args == (("é" * 128).encode(),)


@pytest.mark.parametrize("table", [None, {}, [], 0, "", types.MappingProxyType({"a": 1})], ids=repr)
def test_what_is_empty_or_has_items_is_a_table(table: Any) -> None:
    mine: list[bytes] = []
    other: list[bytes] = []
    assert data.encode_table(mine, table) == pika_data.encode_table(other, table)
    assert b"".join(mine) == b"".join(other)


def test_a_failed_encoding_leaves_the_pieces_alone() -> None:
    pieces = [b"before"]
    with pytest.raises(exceptions.UnsupportedAMQPFieldException):
        data.encode_table(pieces, {"good": 1, "bad": object()})
    assert pieces == [b"before"]


def test_a_hundred_levels_are_encoded_and_decoded() -> None:
    wire = encoded(data, nested(100))
    assert wire == encoded(pika_data, nested(100))
    assert data.decode_value(wire, 0) == (nested(100), len(wire))


def test_more_than_a_hundred_levels_are_refused() -> None:
    with pytest.raises(ValueError, match="deeper than 100 levels"):
        encoded(data, nested(101))
    with pytest.raises(ValueError, match="deeper than 100 levels"):
        data.decode_value(encoded(pika_data, nested(101)), 0)


@pytest.mark.parametrize("make", [dict, list])
def test_a_container_inside_itself_is_refused(make: Callable[[], Any]) -> None:
    loop = make()
    if isinstance(loop, dict):
        loop["again"] = loop
    else:
        loop.append(loop)
    with pytest.raises(ValueError, match="contain themselves"):
        encoded(data, loop)


def test_a_dict_that_changes_while_it_is_encoded_is_noticed() -> None:
    table: dict[str, Any] = {}

    class Meddler(dict):  # type: ignore[type-arg]
        def items(self) -> Any:
            table["more"] = 1
            return super().items()

    table["first"] = Meddler(a=1)
    with pytest.raises(RuntimeError, match="changed size"):
        data.encode_table([], table)


def test_a_list_that_shrinks_while_it_is_encoded_does_no_harm() -> None:
    values: list[Any] = []

    class Meddler(dict):  # type: ignore[type-arg]
        def items(self) -> Any:
            values.clear()
            return super().items()

    values.extend([Meddler(a=1), "x" * 1000, "y" * 1000])
    assert data.decode_value(encoded(data, values), 0)[0] == [{"a": 1}]


def test_an_unknown_kind_is_refused_by_name() -> None:
    wire = b"\x00\x00\x00\x03\x01kz"
    assert outcome(data.decode_table, wire, 0) == outcome(pika_data.decode_table, wire, 0)
    assert outcome(data.decode_table, wire, 0)[0] == "InvalidFieldTypeException"


@pytest.mark.parametrize("offset", [-1, 1, 5, 2**62])
def test_an_offset_outside_of_the_bytes_is_refused(offset: int) -> None:
    assert outcome(data.decode_table, b"\x00\x00\x00\x00", offset)[0] == "error"


def test_short_strings_are_pikas() -> None:
    for value in ("", "text", "é", b"bytes", "x" * 255):
        mine: list[bytes] = []
        other: list[bytes] = []
        assert data.encode_short_string(mine, value) == pika_data.encode_short_string(other, value)
        assert b"".join(mine) == b"".join(other)
        assert data.decode_short_string(b"#" + mine[0], 1) == pika_data.decode_short_string(b"#" + mine[0], 1)
    for bad in (5, None, "x" * 256):
        assert outcome(data.encode_short_string, [], bad) == outcome(pika_data.encode_short_string, [], bad)


# ---- objects ----


def test_vars_are_the_fields_and_writing_to_them_counts() -> None:
    ack = spec.Basic.Ack(5)
    vars(ack)["delivery_tag"] = 6
    vars(ack)["note"] = "mine"
    assert (ack.delivery_tag, ack.note) == (6, "mine")
    ack.delivery_tag = 7
    assert vars(ack) == {"delivery_tag": 7, "multiple": False, "note": "mine"}
    assert b"".join(ack.encode()) == b"\x00\x00\x00\x00\x00\x00\x00\x07\x00"


def test_any_attribute_can_be_set_and_deleted() -> None:
    deliver = spec.Basic.Deliver("tag")
    deliver._span = span = object()
    assert deliver._span is span
    del deliver._span
    assert not hasattr(deliver, "_span")
    del deliver.consumer_tag
    assert outcome(lambda: deliver.consumer_tag) == (
        "AttributeError",
        "'Deliver' object has no attribute 'consumer_tag'",
    )
    assert list(vars(deliver)) == ["delivery_tag", "redelivered", "exchange", "routing_key"]
    assert outcome(delattr, deliver, "consumer_tag")[0] == "AttributeError"
    assert outcome(deliver.encode)[0] == "AttributeError"


def test_the_dict_can_be_replaced() -> None:
    props = spec.BasicProperties(content_type="a")
    props.__dict__ = {"content_type": "b"}
    assert props.content_type == "b"
    assert not hasattr(props, "headers")
    with pytest.raises(TypeError):
        props.__dict__ = 5


def test_equality_is_that_of_the_dicts_across_classes() -> None:
    for module in (spec, pika_spec):
        assert module.Basic.Ack(1) == spec.Basic.Ack(1)
        assert module.Basic.Ack(1) != spec.Basic.Ack(2)
        assert module.Tx.Select() == spec.Tx.CommitOk()
        assert module.BasicProperties() == spec.BasicProperties()
        assert (module.Basic.Ack() == None) is False  # noqa: E711
        assert outcome(lambda m=module: m.Basic.Ack() == 5) == (
            "AttributeError",
            "'int' object has no attribute '__dict__'",
        )


def test_objects_are_unhashable_and_unordered() -> None:
    for module in (spec, pika_spec):
        assert module.Basic.Ack.__hash__ is None
        assert outcome(hash, module.Basic.Ack()) == ("TypeError", "unhashable type: 'Ack'")
        assert outcome(lambda m=module: m.Basic.Ack() < m.Basic.Ack())[0] == "TypeError"


def test_synchronous_cannot_be_set() -> None:
    for module in (spec, pika_spec):
        assert outcome(setattr, module.Basic.Ack(), "synchronous", True)[0] == "AttributeError"


def test_content_is_carried_as_attributes() -> None:
    for module in (spec, pika_spec):
        method = module.Basic.Deliver()
        assert outcome(method.get_body)[0] == "AttributeError"
        method._set_content("properties", b"body")
        assert (method.get_properties(), method.get_body()) == ("properties", b"body")
        assert vars(method)["_body"] == b"body"


def test_base_classes_are_pikas() -> None:
    for name in ("AMQPObject", "Class", "Method", "Properties"):
        mine, other = getattr(amqp_object, name), getattr(pika_amqp_object, name)
        assert (mine.NAME, mine.INDEX, repr(mine())) == (other.NAME, other.INDEX, repr(other()))
        assert (mine.__name__, mine.__module__) == (name, "cpika.amqp_object")
        assert outcome(lambda cls=mine: cls(1))[0] == "TypeError"
    assert amqp_object.Method.synchronous is False
    assert outcome(amqp_object.Method().encode) == outcome(pika_amqp_object.Method().encode)
    assert outcome(amqp_object.Method().decode, b"") == outcome(pika_amqp_object.Method().decode, b"")


def subclasses(module: Any) -> tuple[Any, Any, Any]:
    class Plain(module.BasicProperties):  # type: ignore[misc]
        pass

    class Defaulted(module.BasicProperties):  # type: ignore[misc]
        content_type = "text/plain"
        extra = "of the class"

        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.extra = "of the class"

    class Computed(module.Basic.Ack):  # type: ignore[misc]
        @property
        def delivery_tag(self) -> int:
            return 99

        @delivery_tag.setter
        def delivery_tag(self, value: int) -> None:
            self.seen = value

    return Plain, Defaulted, Computed


def test_subclasses_behave_as_subclasses_of_python_classes() -> None:
    results = []
    for module in (spec, pika_spec):
        plain, defaulted, computed = subclasses(module)
        results.append(
            [
                repr(plain(app_id="a")),
                vars(plain(app_id="a")),
                b"".join(plain(app_id="a").encode()),
                plain().content_type,
                defaulted(content_type="text/plain", app_id="a").content_type,
                defaulted().content_type,
                repr(defaulted(content_type="text/plain", app_id="a")),
                vars(computed(5)),
                b"".join(computed(5).encode()),
                plain(app_id="a") == module.BasicProperties(app_id="a"),
            ]
        )
    assert results[0] == results[1]


class Kept(spec.BasicProperties):  # type: ignore[misc, name-defined]
    """At module level, so that pickle finds it."""


def test_a_subclass_survives_pickle_and_copy() -> None:
    kept = Kept(headers={"a": [1]})
    kept.note = "mine"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        loaded = pickle.loads(pickle.dumps(kept, protocol))
        assert (type(loaded), vars(loaded)) == (Kept, vars(kept))
    deep = copy.deepcopy(kept)
    assert deep == kept
    assert deep.headers["a"] is not kept.headers["a"]


@pytest.mark.parametrize("make", [spec.Basic.Deliver, spec.BasicProperties, spec.Tx.Select, Kept])
def test_objects_can_be_referenced_weakly(make: Any) -> None:
    value = make()
    seen: list[Any] = []
    ref = weakref.ref(value, seen.append)
    assert ref() is value
    del value
    assert ref() is None
    assert seen == [ref]


@pytest.mark.parametrize("make", [spec.Basic.Deliver, spec.BasicProperties, spec.Queue.Declare, Kept])
def test_cycles_through_a_field_or_an_attribute_are_collected(make: Any) -> None:
    for name in ("headers", "exchange", "arguments", "other"):
        value = make()
        setattr(value, name, [value])
        ref = weakref.ref(value)
        del value
        gc.collect()
        assert ref() is None


def test_a_replaced_init_is_called() -> None:
    class Traced(Exception):
        pass

    original = spec.Basic.Deliver.__init__

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        self.traced = (args, kwargs)

    spec.Basic.Deliver.__init__ = init
    try:
        assert spec.Basic.Deliver("tag", exchange="e").traced == (("tag",), {"exchange": "e"})
    finally:
        spec.Basic.Deliver.__init__ = original
    assert not hasattr(spec.Basic.Deliver("tag"), "traced")


def test_a_bad_delivery_mode_leaves_no_half_made_object() -> None:
    class Mode:
        @property
        def __class__(self) -> Any:
            raise RuntimeError

    assert spec.BasicProperties(delivery_mode=Mode()).priority is None


# ---- frames ----


def frames(module: Any, spec_module: Any) -> list[Any]:
    return [
        module.Method(3, spec_module.Basic.Ack(5)),
        module.Method(0, spec_module.Tx.Select()),
        module.Header(1, 2**40, spec_module.BasicProperties(content_type="a", headers={"k": 1})),
        module.Body(1, b"body"),
        module.Heartbeat(),
        module.ProtocolHeader(),
        module.ProtocolHeader(0, 8, 1),
    ]


@pytest.mark.parametrize("i", range(7))
def test_a_frame_is_marshalled_shown_and_decoded_as_pikas(i: int) -> None:
    mine, other = frames(frame, spec)[i], frames(pika_frame, pika_spec)[i]
    assert mine.marshal() == other.marshal()
    assert repr(mine) == repr(other)
    assert list(vars(mine)) == list(vars(other))
    assert mine == other
    wire = mine.marshal()
    used, decoded = frame.decode_frame(wire + b"rest")
    assert (used, decoded) == pika_frame.decode_frame(wire + b"rest")
    assert type(decoded) is type(mine)
    for end in range(len(wire)):
        assert frame.decode_frame(wire[:end]) == pika_frame.decode_frame(wire[:end])
    assert pickle.loads(pickle.dumps(mine)) == mine


@pytest.mark.parametrize("wire", [b"\x04\x00\x00\x00\x00\x00\x00\xce", b"\x08\x00\x00\x00\x00\x00\x00\xcd"])
def test_a_bad_frame_raises_what_it_raises_in_pika(wire: bytes) -> None:
    assert outcome(frame.decode_frame, wire) == outcome(pika_frame.decode_frame, wire)


def test_a_frame_that_does_not_marshal_says_so() -> None:
    assert outcome(frame.Frame(1, 2).marshal) == outcome(pika_frame.Frame(1, 2).marshal)


# ---- memory ----


def exercise() -> None:
    props = spec.BasicProperties(headers={"a": [1, {"b": 2}]}, content_type="x", delivery_mode=2)
    wire = b"".join(props.encode())
    read = spec.BasicProperties().decode(wire)
    assert read == props
    vars(read)["x"] = 1
    declare = spec.Queue.Declare(queue="q", arguments={"k": "v"})
    spec.Queue.Declare().decode(b"".join(declare.encode()))
    copy.deepcopy(declare)
    pickle.loads(pickle.dumps(props))
    for call in (
        lambda: spec.Basic.Ack(tag=1),
        lambda: spec.BasicProperties(headers={"a": object()}).encode(),
        lambda: spec.Basic.Ack().decode(b"\x00"),
        lambda: spec.BasicProperties().decode(b"\x80\x00\x05ab"),
        lambda: spec.Basic.Publish(exchange=5).encode(),
        lambda: data.decode_table(b"\x00\x00\x00\x05\x01kSab", 0),
        lambda: data.encode_table([], nested(101)),
    ):
        assert isinstance(outcome(call), tuple)


def test_nothing_leaks() -> None:
    for _ in range(50):
        exercise()
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(500):
        exercise()
    gc.collect()
    assert (
        sys.getallocatedblocks() - before < 250
    )  # a leak is 500 at least; threads of the test runner allocate too
