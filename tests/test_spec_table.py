"""Every method and property of pika.spec, held against ours: ids, fields, defaults, bytes, behaviour."""

from __future__ import annotations

import copy
import inspect
import itertools
import pickle
import random
import re
from typing import Any

import cpika.spec as spec
import pika.spec as pika_spec
import pytest

METHOD_NAMES = [cls.NAME for cls in pika_spec.methods.values()]
PROPERTY_NAMES = list(vars(pika_spec.BasicProperties()))

KIND_OF_CALL = {"'B'": "octet", "'>H'": "short", "'>I'": "long", "'>Q'": "longlong"}
VALUES: dict[str, list[Any]] = {
    "octet": [0, 1, 255],
    "short": [0, 1, 0xFFFF],
    "long": [0, 1, 0xFFFFFFFF],
    "longlong": [0, 1, 0xFFFFFFFFFFFFFFFF],
    "bit": [False, True],
    "shortstr": ["", "name", "é€\N{EARTH GLOBE ASIA-AUSTRALIA}", "x" * 255, b"bytes"],
    "longstr": ["", "PLAIN", "x" * 300, b"\x00user\x00secret"],
    "table": [None, {}, {"x-max-priority": 5, "nested": {"list": [1, "two", None]}}],
}
BAD_VALUES: dict[str, list[Any]] = {
    "octet": [-1, 256, None, "1", 1.5],
    "short": [-1, 0x10000, None, "1"],
    "long": [-1, 0x100000000, None, "1"],
    "longlong": [-1, 0x10000000000000000, None, "1"],
    "shortstr": [None, 5, "x" * 256, "é" * 128, b"x" * 256, bytearray(b"x"), "\ud800"],
    "longstr": [None, 5, bytearray(b"x"), "\ud800"],
    "table": [{"k": object()}, {"x" * 256: 1}, {"k": 1 << 64}, {5: 1}, 5, {"k": (1,)}],
}


def ours(name: str) -> Any:
    return getattr(getattr(spec, name.split(".")[0]), name.split(".")[1])


def theirs(name: str) -> Any:
    return getattr(getattr(pika_spec, name.split(".")[0]), name.split(".")[1])


def kinds_of(cls: Any) -> dict[str, str]:
    """The wire kind of each field, read from what pika's encode() does with it."""
    kinds = {}
    source = inspect.getsource(cls.encode)
    for call, field in re.findall(r"struct\.pack\(('>?\w'), self\.(\w+)\)", source):
        kinds[field] = KIND_OF_CALL[call]
    kinds.update(dict.fromkeys(re.findall(r"encode_short_string\(pieces, self\.(\w+)\)", source), "shortstr"))
    kinds.update(dict.fromkeys(re.findall(r"value = as_bytes\(self\.(\w+)\)", source), "longstr"))
    kinds.update(dict.fromkeys(re.findall(r"encode_table\(pieces, self\.(\w+)\)", source), "table"))
    kinds.update(dict.fromkeys(re.findall(r"if self\.(\w+):", source), "bit"))
    return kinds


def sample(cls: Any, step: int) -> dict[str, Any]:
    """A value for each field; other steps, other values."""
    kinds = kinds_of(cls)
    names = list(inspect.signature(cls.__init__).parameters)[1:]
    return {name: VALUES[kinds[name]][(step + i) % len(VALUES[kinds[name]])] for i, name in enumerate(names)}


def arguments(cls: Any) -> list[tuple[str, Any]]:
    """Names and defaults of the constructor, as a caller sees them."""
    parameters = inspect.signature(cls).parameters.values()
    return [
        (p.name, p.kind, "required" if p.default is p.empty else (str(p.default), type(p.default).__name__))
        for p in parameters
    ]


def made(cls: Any) -> Any:
    """An object with what defaults there are."""
    required = [name for name, _, default in arguments(cls) if default == "required"]
    return cls(**dict.fromkeys(required, "given"))


def outcome(call: Any, *args: Any) -> Any:
    """What a call returns, or the type and the text of what it raises."""
    try:
        return call(*args)
    except Exception as error:
        return type(error).__name__, str(error)


def encoded(value: Any) -> bytes:
    return b"".join(value.encode())


def encoded_or_error(value: Any) -> Any:
    result = outcome(encoded, value)
    if isinstance(result, tuple) and result[0] == "UnsupportedAMQPFieldException":
        return result[0]  # its text tells pika's pieces
    return result


def test_pika_has_no_method_that_we_lack() -> None:
    assert [(number, cls.NAME) for number, cls in spec.methods.items()] == [
        (number, cls.NAME) for number, cls in pika_spec.methods.items()
    ]


def test_every_public_name_of_pika_spec_is_there_with_its_value() -> None:
    constants = {k: v for k, v in vars(pika_spec).items() if k.isupper()}
    assert {k: getattr(spec, k, None) for k in constants} == constants
    missing = [
        k for k, v in vars(pika_spec).items() if inspect.isclass(v) and k != "str" and not hasattr(spec, k)
    ]
    assert not missing


@pytest.mark.parametrize(
    "name", ["Connection", "Channel", "Access", "Exchange", "Queue", "Basic", "Tx", "Confirm"]
)
def test_a_class_has_pikas_index_name_and_methods(name: str) -> None:
    def public(cls: Any) -> list[str]:
        return [k for k in dir(cls) if not k.startswith("_")]

    mine, other = getattr(spec, name), getattr(pika_spec, name)
    assert (mine.INDEX, mine.NAME, public(mine)) == (other.INDEX, other.NAME, public(other))
    assert (mine.__module__, mine.__qualname__) == ("cpika.spec", other.__qualname__)
    assert repr(mine()) == repr(other())


@pytest.mark.parametrize("name", METHOD_NAMES)
def test_a_method_has_pikas_id_name_arguments_and_defaults(name: str) -> None:
    mine, other = ours(name), theirs(name)
    assert (mine.INDEX, mine.NAME) == (other.INDEX, other.NAME)
    assert (mine.__name__, mine.__qualname__, mine.__module__) == (
        other.__name__,
        other.__qualname__,
        "cpika.spec",
    )
    assert arguments(mine) == arguments(other)
    assert made(mine).synchronous is made(other).synchronous
    assert spec.has_content(mine.INDEX) is pika_spec.has_content(other.INDEX)
    assert spec.methods[mine.INDEX] is mine
    assert [base.__name__ for base in mine.__mro__] == [base.__name__ for base in other.__mro__]


@pytest.mark.parametrize("name", METHOD_NAMES)
def test_a_method_made_of_defaults_looks_and_encodes_as_pikas(name: str) -> None:
    mine, other = made(ours(name)), made(theirs(name))
    assert list(vars(mine).items()) == list(vars(other).items())
    assert repr(mine) == repr(other)
    assert repr(made(ours(name))) == repr(other)  # without a dict behind it
    assert encoded_or_error(made(ours(name))) == encoded_or_error(other)
    assert encoded_or_error(mine) == encoded_or_error(other)
    assert mine == other
    assert not mine != other


@pytest.mark.parametrize("name", METHOD_NAMES)
def test_a_method_with_values_encodes_to_pikas_bytes(name: str) -> None:
    for step in range(5):
        fields = sample(theirs(name), step)
        mine, other = ours(name)(**fields), theirs(name)(**fields)
        assert encoded(mine) == encoded(other)
        assert repr(mine) == repr(other)
        assert vars(mine) == vars(other)
        assert mine == other
        by_position = ours(name)(*fields.values())
        assert encoded(by_position) == encoded(other)


@pytest.mark.parametrize("name", [n for n in METHOD_NAMES if n != "Connection.UpdateSecret"])
def test_a_method_decodes_to_pikas_fields(name: str) -> None:
    for step in range(5):
        data = encoded(theirs(name)(**sample(theirs(name), step)))
        mine, other = ours(name)(), theirs(name)()
        assert mine.decode(data) is mine
        assert list(vars(mine).items()) == list(vars(other.decode(data)).items())
        assert vars(ours(name)().decode(b"????" + data, 4)) == vars(other)
        assert vars(ours(name)().decode(data + b"more")) == vars(other)
        assert encoded(mine) == encoded(other)


def test_update_secret_decodes_into_its_own_fields() -> None:
    secret = spec.Connection.UpdateSecret("", "").decode(b"\x00\x00\x00\x03new\x03why")
    assert vars(secret) == {"new_secret": b"new", "reason": "why"}


@pytest.mark.parametrize("name", [n for n in METHOD_NAMES if list(kinds_of(theirs(n)))])
def test_a_bad_value_raises_what_it_raises_in_pika(name: str) -> None:
    kinds = kinds_of(theirs(name))
    for field, kind in kinds.items():
        for bad in BAD_VALUES.get(kind, []):
            fields = {**sample(theirs(name), 1), field: bad}
            expected = encoded_or_error(theirs(name)(**fields))
            assert encoded_or_error(ours(name)(**fields)) == expected, (field, bad)


@pytest.mark.parametrize("name", METHOD_NAMES)
def test_truncated_arguments_raise_and_change_nothing(name: str) -> None:
    data = encoded(theirs(name)(**sample(theirs(name), 1)))
    for end in range(len(data)):
        target = made(ours(name))
        with pytest.raises(Exception, match="reaches over the end"):
            target.decode(data[:end])
        assert target == made(ours(name))


@pytest.mark.parametrize("name", METHOD_NAMES)
def test_a_method_survives_pickle_and_copy(name: str) -> None:
    mine = ours(name)(**sample(theirs(name), 2))
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        loaded = pickle.loads(pickle.dumps(mine, protocol))
        assert type(loaded) is type(mine)
        assert list(vars(loaded).items()) == list(vars(mine).items())
    assert copy.copy(mine) == mine
    assert copy.deepcopy(mine) == mine


def test_basic_properties_have_pikas_arguments_flags_and_class() -> None:
    mine, other = spec.BasicProperties, pika_spec.BasicProperties
    assert arguments(mine) == arguments(other)
    flags = {k: v for k, v in vars(other).items() if k.startswith("FLAG_")}
    assert {k: v for k, v in vars(mine).items() if k.startswith("FLAG_")} == flags
    assert (mine.INDEX, mine.NAME, mine.CLASS.__name__) == (other.INDEX, other.NAME, other.CLASS.__name__)
    assert spec.props == {60: mine}


def property_values() -> dict[str, list[Any]]:
    return {
        name: [v for v in VALUES[kind] if v is not None]
        for name, kind in kinds_of(pika_spec.BasicProperties).items()
        if kind != "bit"
    }


def test_properties_of_every_presence_encode_and_decode_as_pikas() -> None:
    values = property_values()
    chosen = random.Random(8)
    for presence in itertools.islice(itertools.product((False, True), repeat=14), 0, None, 7):
        fields = {name: chosen.choice(values[name]) for name, there in zip(PROPERTY_NAMES, presence) if there}
        mine, other = spec.BasicProperties(**fields), pika_spec.BasicProperties(**fields)
        data = encoded(other)
        assert encoded(mine) == data
        assert mine == other
        assert repr(mine) == repr(other)
        read, other_read = spec.BasicProperties().decode(data), pika_spec.BasicProperties().decode(data)
        assert list(vars(read).items()) == list(vars(other_read).items())


@pytest.mark.parametrize("name", PROPERTY_NAMES)
def test_a_bad_property_raises_what_it_raises_in_pika(name: str) -> None:
    kind = kinds_of(pika_spec.BasicProperties)[name]
    for bad in BAD_VALUES[kind]:
        expected = encoded_or_error(pika_spec.BasicProperties(**{name: bad}))
        assert encoded_or_error(spec.BasicProperties(**{name: bad})) == expected, bad


def test_a_delivery_mode_of_the_enum_becomes_its_number() -> None:
    assert vars(spec.BasicProperties(delivery_mode=spec.DeliveryMode.Persistent))["delivery_mode"] == 2


@pytest.mark.parametrize(
    ("name", "args", "kwargs"),
    [
        ("Basic.Ack", (1, 2, 3), {}),
        ("Basic.Ack", (1,), {"delivery_tag": 2}),
        ("Basic.Ack", (), {"tag": 2}),
        ("Tx.Select", (1,), {}),
        ("Connection.UpdateSecret", (), {}),
        ("Connection.UpdateSecret", ("s",), {}),
        ("Connection.UpdateSecret", (1, 2, 3), {}),
    ],
)
def test_wrong_arguments_raise_the_error_of_a_python_function(name: str, args: Any, kwargs: Any) -> None:
    expected = outcome(lambda: theirs(name)(*args, **kwargs))
    assert outcome(lambda: ours(name)(*args, **kwargs)) == expected
    assert expected[0] == "TypeError"
