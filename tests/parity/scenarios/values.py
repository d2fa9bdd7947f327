"""Method objects, properties, frames, tables and enums, without a broker."""

from __future__ import annotations

import copy
import datetime
import decimal
import inspect
import struct
from enum import Enum
from typing import Any

import pika as oracle_pika

from parity.harness import covers
from parity.render import hierarchy

CLASSES = ("Connection", "Channel", "Access", "Exchange", "Queue", "Basic", "Tx", "Confirm")
METHODS = sorted(
    f"{family}.{name}"
    for family in CLASSES
    for name, value in vars(getattr(oracle_pika.spec, family)).items()
    if inspect.isclass(value)
)


def find(pika: Any, name: str) -> Any:
    """Return the class of a method by its dotted name in pika.spec."""
    family, method = name.split(".")
    return getattr(getattr(pika.spec, family), method)


def arguments_of(name: str) -> dict[str, Any]:
    """Return a value for each field of a method, taken from its signature in pika itself."""
    texts = {"mechanisms", "locales", "response", "challenge"}
    values: dict[str, Any] = {}
    for number, field in enumerate(list(inspect.signature(find(oracle_pika, name)).parameters), 3):
        if field in {"server_properties", "client_properties", "arguments"}:
            values[field] = {"key": f"value {number}", "n": number}
        elif field in texts or field.endswith(
            (
                "queue",
                "exchange",
                "key",
                "tag",
                "text",
                "reason",
                "secret",
                "host",
                "hosts",
                "type",
                "locale",
                "realm",
                "cluster_id",
            )
        ):
            values[field] = f"{field}-{number}"
        elif field in {"destination", "source", "mechanism", "capabilities", "channel_id", "out_of_band"}:
            values[field] = f"{field}-{number}"
        else:
            values[field] = number
    if name in ("Basic.Deliver", "Basic.GetOk", "Basic.Ack", "Basic.Nack", "Basic.Reject"):
        values["delivery_tag"] = 2**40 + 1
    return values


@covers(*(f"spec.{name}" for name in METHODS), "values.method-objects", cases=METHODS)
def a_method_object_has_fields_bytes_and_a_repr(pika: Any, env: Any, case: Any) -> None:
    cls = find(pika, case)
    env.show("class", (cls.__name__, cls.NAME, cls.INDEX, hierarchy(cls)))
    needed = [
        one
        for one in inspect.signature(find(oracle_pika, case)).parameters.values()
        if one.default is one.empty
    ]
    empty = cls(*("" for _ in needed))
    env.show("defaults", empty)
    env.show("synchronous", empty.synchronous)
    given = arguments_of(case)
    bits = [name for name, value in vars(empty).items() if isinstance(value, bool)]
    given.update({name: index % 2 == 0 for index, name in enumerate(bits)})
    full = cls(**given)
    env.show("given", full)
    env.show("positional", cls(*given.values()) == full)
    env.show("differs from default", full == empty if given else None)
    encoded = b"".join(full.encode())
    env.show("encoded", encoded)
    if case == "Connection.UpdateSecret":
        return  # pika decodes it into other fields than its own
    decoded = copy.copy(empty)
    env.show("decode returns itself", decoded.decode(encoded) is decoded)
    env.show("decoded", decoded)
    env.show("decoded at an offset", empty.decode(b"12345" + encoded, 5) == decoded)
    env.call_wrongly("decoded behind the end", copy.copy(empty).decode, encoded, len(encoded) + 3)
    env.show("bytes again", b"".join(decoded.encode()) == encoded)
    env.show_pickle("pickle", full)
    env.call_wrongly("hash", hash, full)
    env.call_wrongly("unknown keyword", cls, colour="red")
    full.extra = 1
    env.show("with an attribute", full)
    env.show("copy", (copy.copy(full) == full, copy.deepcopy(full) == full))


@covers("spec")
def the_spec_module_has_pikas_constants_and_tables(pika: Any, env: Any) -> None:
    for name in vars(oracle_pika.spec):
        if name.isupper():
            env.show(name, getattr(pika.spec, name))
    env.show("methods", {index: cls.NAME for index, cls in pika.spec.methods.items()})
    env.show("props", {index: cls.NAME for index, cls in pika.spec.props.items()})
    for name in CLASSES:
        cls = getattr(pika.spec, name)
        env.show(name, (cls.INDEX, cls.NAME, hierarchy(cls)))
        env.show_text(f"{name} repr", repr(cls()))
    env.show("has_content", [index for index in pika.spec.methods if pika.spec.has_content(index)])


@covers("values.equality")
def equality_compares_fields_across_classes(pika: Any, env: Any) -> None:
    spec = pika.spec
    env.show("same", spec.Basic.Ack(1, True) == spec.Basic.Ack(1, True))
    env.show("other value", spec.Basic.Ack(1, True) == spec.Basic.Ack(2, True))
    env.show("across classes", spec.Tx.SelectOk() == spec.Tx.CommitOk())
    env.show("across classes with fields", spec.Channel.Flow(True) == spec.Channel.FlowOk(True))
    env.show("not equal", spec.Basic.Ack(1) != spec.Basic.Ack(1))
    env.show("None", (spec.Basic.Ack() == None, spec.Basic.Ack() != None))  # noqa: E711
    env.show("properties", pika.BasicProperties(type="t") == pika.BasicProperties(type="t"))
    env.show("properties and methods", pika.BasicProperties() == spec.Basic.Ack())
    env.call_wrongly("a number", spec.Basic.Ack().__eq__, 5)
    env.call("an object with fields", lambda: spec.Tx.SelectOk() == type("Mine", (), {})())


@covers("values.repr")
def the_repr_shows_fields_that_are_not_none_sorted(pika: Any, env: Any) -> None:
    spec = pika.spec
    for value in (
        spec.Basic.Ack(),
        spec.Basic.Ack(5, True),
        spec.Basic.Deliver(),
        spec.Basic.Deliver("c", 1, False, "", "k"),
        spec.Tx.Select(),
        spec.Queue.Declare(queue="ü", arguments={"a": 1}),
        spec.Basic.Deliver(b"\xff", "1", 0, "e", ""),
        pika.BasicProperties(),
        pika.BasicProperties(headers={}, priority=0, type=""),
        spec.Basic(),
        spec.Connection(),
        pika.frame.Method(1, spec.Tx.Select()),
        pika.frame.Header(2, 5, pika.BasicProperties()),
        pika.frame.Body(3, b"fragment"),
        pika.frame.Heartbeat(),
        pika.frame.ProtocolHeader(),
    ):
        env.show_text("repr", repr(value))
        env.show_text("str", str(value))


PROPERTIES: dict[str, Any] = {
    "content_type": "text/plain",
    "content_encoding": "utf-8",
    "headers": {"a": 1},
    "delivery_mode": 2,
    "priority": 5,
    "correlation_id": "c",
    "reply_to": "r",
    "expiration": "1000",
    "message_id": "m",
    "timestamp": 1700000000,
    "type": "t",
    "user_id": "u",
    "app_id": "a",
    "cluster_id": "x",
}


@covers(
    "BasicProperties", "BasicProperties.encode", "BasicProperties.decode", cases=[*PROPERTIES, "all", "none"]
)
def properties_encode_and_decode(pika: Any, env: Any, case: Any) -> None:
    given = PROPERTIES if case == "all" else {} if case == "none" else {case: PROPERTIES[case]}
    properties = pika.BasicProperties(**given)
    env.show("made", properties)
    encoded = b"".join(properties.encode())
    env.show("encoded", encoded)
    env.show("decoded", pika.BasicProperties().decode(encoded))
    env.show("at an offset", pika.BasicProperties().decode(b"123" + encoded, 3) == properties)
    env.call_wrongly("behind the end", pika.BasicProperties().decode, encoded, len(encoded) + 3)
    env.call_wrongly("in front of it", pika.BasicProperties().decode, encoded, -len(encoded) - 3)
    env.show_pickle("pickle", properties)


@covers("BasicProperties", "values.vars-write-through")
def properties_are_attributes_and_vars(pika: Any, env: Any) -> None:
    properties = pika.BasicProperties("text/plain", "gzip", {"a": 1}, 2)
    env.show("positional", properties)
    env.show("keys", list(vars(properties)))
    properties.priority = 3
    vars(properties)["app_id"] = "mine"
    properties.__dict__["message_id"] = "m"
    properties.extra = "kept"
    env.show(
        "written", (properties.app_id, properties.message_id, vars(properties)["priority"], properties.extra)
    )
    properties.decode(b"".join(pika.BasicProperties(type="t").encode()))
    env.show("decoded anew", vars(properties))
    env.show("headers are shared", properties.headers)
    env.call_wrongly("unknown", pika.BasicProperties, colour="red")
    env.call_wrongly("hash", hash, properties)
    for name in sorted(name for name in dir(pika.BasicProperties) if name.isupper()):
        env.show(name, getattr(pika.BasicProperties, name))


@covers("BasicProperties.delivery_mode", "DeliveryMode")
def a_delivery_mode_is_a_number_or_the_enum(pika: Any, env: Any) -> None:
    for mode in (None, 1, 2, pika.DeliveryMode.Transient, pika.DeliveryMode.Persistent):
        env.show("mode", pika.BasicProperties(delivery_mode=mode).delivery_mode)
    properties = pika.BasicProperties()
    properties.delivery_mode = pika.DeliveryMode.Persistent
    env.show("set later", properties.delivery_mode)


@covers("DeliveryMode", "ExchangeType")
def the_enums_have_pikas_members(pika: Any, env: Any) -> None:
    for enum in (pika.DeliveryMode, pika.exchange_type.ExchangeType):
        for member in enum:
            env.show("member", member)
            env.show_text("repr", repr(member))
            env.show("by value", enum(member.value) is member)
        env.show("is an Enum", issubclass(enum, Enum))
        env.show_text("text", f"{enum(next(iter(enum)).value)}")
    env.show("is text", pika.exchange_type.ExchangeType.fanout == "fanout")
    env.show("same class", pika.DeliveryMode is pika.delivery_mode.DeliveryMode)
    env.call("unknown", pika.DeliveryMode, 3)
    env.call("unknown", pika.exchange_type.ExchangeType, "odd")


UTC = datetime.timezone.utc
OUT: dict[str, Any] = {
    "str": "text ☃",
    "empty str": "",
    "bytes": b"\x00\xff",
    "true": True,
    "false": False,
    "zero": 0,
    "int": 5,
    "negative": -5,
    "int 32 high": 2**31 - 1,
    "int 32 low": -(2**31),
    "int 33": 2**31,
    "int 33 low": -(2**31) - 1,
    "int 64 high": 2**63 - 1,
    "int 64 low": -(2**63),
    "decimal": decimal.Decimal("3.14"),
    "decimal negative": decimal.Decimal("-0.001"),
    "decimal whole": decimal.Decimal(5),
    "decimal power": decimal.Decimal("1E+3"),
    "datetime aware": datetime.datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC),
    "datetime naive": datetime.datetime(2023, 11, 14, 22, 13, 20, 999),
    "datetime zone": datetime.datetime(2023, 11, 15, tzinfo=datetime.timezone(datetime.timedelta(hours=2))),
    "dict": {"a": {"b": {"c": [1, {"d": None}]}}},
    "empty dict": {},
    "list": [1, "two", b"3", None, [True, [2**40]]],
    "empty list": [],
    "None": None,
    "long str": "s" * 70000,
}
OUT_KINDS = ("str", "bytes", "bool", "int", "Decimal", "datetime", "dict", "list", "None")


@covers(*(f"headers.out.{kind}" for kind in OUT_KINDS), "headers.in", broker=True, cases=OUT.items())
def a_header_goes_out_and_comes_back(pika: Any, env: Any, case: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel)
    sent = pika.BasicProperties(headers={"key": case[1]})
    channel.basic_publish("", queue, b"x", sent)
    env.until_ready(channel, queue, 1)
    got = channel.basic_get(queue, auto_ack=True)[1]
    env.show("sent", b"".join(sent.encode()))
    env.show("got", got.headers)
    env.show_text("repr", repr(got)[:400])
    env.show("equal", got == sent)


BAD_OUT: dict[str, Any] = {
    "tuple": (1,),
    "set": {1},
    "object": object,
    "complex": 1j,
    "range": range(3),
    "int 65": 2**63,
    "int 66": -(2**64),
    "decimal too big": decimal.Decimal(2**31),
    "decimal too fine": decimal.Decimal("1E-300"),
    "decimal nan": decimal.Decimal("NaN"),
    "decimal infinite": decimal.Decimal("Infinity"),
    "before 1970": datetime.datetime(1969, 12, 31, tzinfo=UTC),
    "date": datetime.date(2023, 11, 14),
    "nested": {"a": [{"b": (1,)}]},
}


@covers("headers.out.unsupported", "exceptions.UnsupportedAMQPFieldException", cases=BAD_OUT.items())
def a_header_that_cannot_be_encoded_is_refused(pika: Any, env: Any, case: Any) -> None:
    try:
        pika.BasicProperties(headers={"first": 1, "key": case[1]}).encode()
    except pika.exceptions.UnsupportedAMQPFieldException as error:
        env.show("value", error.args[1])
        env.show_text("repr", repr(error))
    except Exception as error:
        env.show("refused", type(error).__name__)


KEYS: dict[str, Any] = {
    "empty": "",
    "text": "key",
    "unicode": "ключ☃",
    "bytes": b"\xff\xfe",
    "ascii bytes": b"key",
    "255": "k" * 255,
    "256": "k" * 256,
    "256 in bytes": "ü" * 128,
    "int": 5,
    "None": None,
    "tuple": ("k",),
}


@covers("headers.keys", "exceptions.ShortStringTooLong", "headers.in.bad-utf8", cases=KEYS.items())
def a_key_is_a_short_string(pika: Any, env: Any, case: Any) -> None:
    def both_ways() -> Any:
        return (
            pika.BasicProperties()
            .decode(b"".join(pika.BasicProperties(headers={case[1]: 1}).encode()))
            .headers
        )

    env.call("both ways", both_ways)


def table(*fields: bytes) -> bytes:
    """Return an AMQP table of fields that are encoded already."""
    content = b"".join(fields)
    return struct.pack(">I", len(content)) + content


def field(key: bytes, kind: bytes, value: bytes) -> bytes:
    """Return one encoded field of a table."""
    return bytes([len(key)]) + key + kind + value


IN: dict[str, bytes] = {
    "t": field(b"t", b"t", b"\x01") + field(b"f", b"t", b"\x00") + field(b"x", b"t", b"\x07"),
    "b": field(b"lo", b"b", b"\x80") + field(b"hi", b"b", b"\x7f"),
    "B": field(b"lo", b"B", b"\x00") + field(b"hi", b"B", b"\xff"),
    "U": field(b"lo", b"U", b"\x80\x00") + field(b"hi", b"U", b"\x7f\xff"),
    "u": field(b"lo", b"u", b"\x00\x00") + field(b"hi", b"u", b"\xff\xff"),
    "s": field(b"lo", b"s", b"\x80\x00") + field(b"hi", b"s", b"\x7f\xff"),
    "I": field(b"lo", b"I", b"\x80\x00\x00\x00") + field(b"hi", b"I", b"\x7f\xff\xff\xff"),
    "i": field(b"lo", b"i", b"\x00\x00\x00\x00") + field(b"hi", b"i", b"\xff\xff\xff\xff"),
    "L": field(b"lo", b"L", b"\x80" + bytes(7)) + field(b"hi", b"L", b"\x7f" + b"\xff" * 7),
    "l": field(b"lo", b"l", b"\x80" + bytes(7)) + field(b"hi", b"l", b"\x7f" + b"\xff" * 7),
    "D": field(b"a", b"D", b"\x02\x00\x00\x01\x3a") + field(b"b", b"D", b"\x00\xff\xff\xff\xff"),
    "S": field(b"a", b"S", b"\x00\x00\x00\x03\xe2\x98\x83") + field(b"b", b"S", b"\x00\x00\x00\x02\xff\xfe"),
    "x": field(b"a", b"x", b"\x00\x00\x00\x02\xff\xfe") + field(b"b", b"x", b"\x00\x00\x00\x00"),
    "T": field(b"a", b"T", bytes(8)) + field(b"b", b"T", struct.pack(">Q", 1700000000)),
    "V": field(b"a", b"V", b""),
    "A": field(b"a", b"A", table(b"I\x00\x00\x00\x01", b"V", b"A" + table())),
    "F": field(b"a", b"F", table(field(b"b", b"F", table()), field(b"c", b"V", b""))),
    "same key twice": field(b"a", b"t", b"\x01") + field(b"a", b"t", b"\x00"),
    "key not UTF-8": field(b"\xff", b"t", b"\x01"),
    "empty": b"",
}


def header_bytes(fields: bytes) -> bytes:
    """Return the encoded properties whose headers are these fields."""
    return struct.pack(">H", 1 << 13) + table(fields)


@covers(
    *(f"headers.in.{kind}" for kind in "tbBUusIiLlDSxTVAF"),
    "headers.in.bad-utf8",
    "headers.in",
    cases=IN.items(),
)
def every_kind_of_field_is_decoded(pika: Any, env: Any, case: Any) -> None:
    encoded = header_bytes(case[1])
    got = pika.BasicProperties().decode(encoded)
    env.show("headers", got.headers)
    env.show("types", [type(value).__name__ for value in got.headers.values()])
    env.show_text("repr", repr(got))
    env.show("bytes again", b"".join(got.encode()))


@covers(
    *(f"headers.in.{kind}" for kind in "tbBusIilDSxTVAF"),
    "headers.in",
    broker=True,
    cases=[item for item in IN.items() if item[0] not in ("U", "L", "empty", "same key twice")],
)
def every_kind_of_field_is_received(pika: Any, env: Any, case: Any) -> None:
    class Raw(oracle_pika.BasicProperties):
        def encode(self) -> list[bytes]:
            return [header_bytes(case[1])]

    channel = env.channel()
    queue = env.queue(channel, exclusive=False)
    env.third_party().basic_publish("", queue, b"x", Raw())
    env.until_ready(channel, queue, 1)
    got: list[Any] = []
    channel.basic_consume(queue, lambda ch, m, properties, b: got.append(properties), auto_ack=True)
    env.pump(channel.connection, lambda: got)
    env.show("headers", got[0].headers)
    env.show("again", got[0].headers is got[0].headers)


@covers("headers.in.f", "headers.in.d")
def a_float_that_is_whole_is_that_number(pika: Any, env: Any) -> None:
    fields = field(b"a", b"f", struct.pack(">f", 2.0)) + field(b"b", b"d", struct.pack(">d", -3.0))
    headers = pika.BasicProperties().decode(header_bytes(fields)).headers
    env.show("equal", headers == {"a": 2, "b": -3})


@covers("exceptions.InvalidFieldTypeException", "headers.in", cases=[b"Z", b"\x00", b"\xff"])
def an_unknown_kind_of_field_is_refused(pika: Any, env: Any, case: Any) -> None:
    env.call("decode", lambda: pika.BasicProperties().decode(header_bytes(field(b"a", case, b""))).headers)
    arguments = b"\x00\x00\x01q\x00" + table(field(b"a", b"t", b"\x01"), field(b"a", case, b""))
    env.call("decode a method", pika.spec.Queue.Declare().decode, arguments)


@covers(
    "frame.Method",
    "frame.Header",
    "frame.Body",
    "frame.Heartbeat",
    "frame.ProtocolHeader",
    "frame.decode_frame",
)
def frames_are_written_and_read(pika: Any, env: Any) -> None:
    frame, spec = pika.frame, pika.spec
    for one in (
        frame.Method(1, spec.Basic.Ack(7, True)),
        frame.Method(65535, spec.Queue.DeclareOk("q", 1, 2)),
        frame.Method(0, spec.Connection.Tune(1, 2, 3)),
        frame.Header(1, 2**33, pika.BasicProperties(type="t")),
        frame.Body(1, b"fragment"),
        frame.Body(1, b""),
        frame.Heartbeat(),
        frame.ProtocolHeader(),
        frame.ProtocolHeader(1, 2, 3),
    ):
        env.show("frame", (type(one).__name__, one.NAME, one.frame_type))
        data = one.marshal()
        env.show("bytes", data)
        used, read = frame.decode_frame(data + b"more")
        env.show("read", (used, type(read).__name__))
        env.show("equal", read == one)
        env.show("incomplete", [frame.decode_frame(data[:size]) for size in (0, 1, 6, 7, len(data) - 1)])
    env.show_pickle("method", frame.Method(1, spec.Basic.Ack(7, True)))
    env.show_pickle("header", frame.Header(1, 5, pika.BasicProperties(type="t")))
    env.call("bad end", frame.decode_frame, b"\x01\x00\x01\x00\x00\x00\x00\x00")
    env.call("bad type", frame.decode_frame, b"\x09\x00\x01\x00\x00\x00\x00\xce")
    env.call("bare frame", frame.Frame(1, 2).marshal)


@covers("frame.Frame", "amqp_object")
def the_bases_of_frames_and_methods_are_there(pika: Any, env: Any) -> None:
    objects = pika.amqp_object
    for name in ("AMQPObject", "Class", "Method", "Properties"):
        cls = getattr(objects, name)
        env.show(name, (cls.NAME, cls.INDEX, hierarchy(cls)))
        one = cls()
        one.field = 5
        env.show_text("repr", repr(one))
        env.show("equal", (one == cls(), one == one))
    env.call("encode", objects.Method().encode)
    env.call("decode", objects.Method().decode, b"")
    env.show("synchronous", objects.Method().synchronous)
    for cls, base in (
        (pika.spec.Basic.Ack, objects.Method),
        (pika.spec.Basic, objects.Class),
        (pika.BasicProperties, objects.Properties),
        (pika.frame.Method, pika.frame.Frame),
        (pika.frame.Frame, objects.AMQPObject),
    ):
        env.show(cls.__name__, issubclass(cls, base))


@covers("amqp_object")
def a_method_carries_content_that_was_set(pika: Any, env: Any) -> None:
    method = pika.spec.Basic.Publish(exchange="e")
    properties = pika.BasicProperties(type="t")
    method._set_content(properties, b"body")
    env.show("content", (method.get_properties() is properties, method.get_body()))


@covers("data.encode_table", "data.decode_table", "data.encode_short_string", "data.decode_short_string")
def the_data_module_encodes_and_decodes(pika: Any, env: Any) -> None:
    data = pika.data
    for value in ({}, None, {"a": 1, "b": [True, None]}, {"n": {"m": b"x"}}):
        pieces: list[bytes] = []
        env.show("size", data.encode_table(pieces, value))
        encoded = b"".join(pieces)
        env.show("bytes", encoded)
        env.show("table", data.decode_table(b"12" + encoded, 2))
    for text in ("", "text", "ü☃", b"\xff"):
        pieces = []
        env.show("size", data.encode_short_string(pieces, text))
        env.show("text", data.decode_short_string(b"".join(pieces) + b"rest", 0))
    env.call("too long", data.encode_short_string, [], "x" * 256)


@covers("compat")
def the_compat_module_has_what_programs_use(pika: Any, env: Any) -> None:
    compat = pika.compat
    env.show("as_bytes", (compat.as_bytes("ü"), compat.as_bytes(b"x")))
    env.show("byte", compat.byte(206))
    env.show("long", (compat.long(5), repr(compat.long(5)), str(compat.long(5)), compat.long(5) + 1))
    env.show("str_or_bytes", compat.str_or_bytes)
    env.show("time_now", compat.time_now() > 0)
    env.show("to_digit", (compat.to_digit("12"), compat.to_digit("12rc"), compat.to_digit("x")))
    env.show("platform", (compat.ON_LINUX, compat.ON_OSX, compat.ON_WINDOWS, compat.HAVE_SIGNAL))
    env.show("SOCKET_ERROR", compat.SOCKET_ERROR)


@covers("headers.out.int")
def an_int_of_the_kind_long_goes_out_as_l(pika: Any, env: Any) -> None:
    for value in (5, pika.compat.long(5), True):
        env.show("bytes", b"".join(pika.BasicProperties(headers={"n": value}).encode()))
