"""Values in the hands of tools and odd programs: what is replaced, subclassed, nested without end."""

from __future__ import annotations

import calendar
import datetime
import decimal
import time
from collections.abc import Iterator
from typing import Any

import pytest
from cpika import data

UTC = datetime.timezone.utc
MOMENT = datetime.datetime(2024, 1, 1, tzinfo=UTC)

# ---- names of modules that tools replace ----


class FrozenMeta(type):
    """As freezegun's: whatever is a datetime counts as one of these."""

    real = datetime.datetime

    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, FrozenMeta.real)


class Frozen(datetime.datetime, metaclass=FrozenMeta):
    pass


class Money(decimal.Decimal):
    pass


@pytest.fixture
def frozen(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    with monkeypatch.context() as patch:
        patch.setattr(datetime, "datetime", Frozen)
        yield patch


def encoded(value: Any) -> bytes:
    pieces: list[bytes] = []
    data.encode_value(pieces, value)
    return b"".join(pieces)


def test_a_replaced_datetime_is_used_while_it_is_there(frozen: pytest.MonkeyPatch) -> None:
    wire = encoded(MOMENT)
    assert wire == b"T" + int(MOMENT.timestamp()).to_bytes(8, "big")
    assert encoded(Frozen(2024, 1, 1)) == wire
    assert type(data.decode_value(wire, 0)[0]) is Frozen
    frozen.undo()
    assert type(data.decode_value(wire, 0)[0]) is FrozenMeta.real
    assert encoded(MOMENT) == wire


def test_a_replaced_timegm_is_used_while_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded(MOMENT)
    monkeypatch.setattr(calendar, "timegm", lambda parts: 7)
    assert encoded(MOMENT) == b"T" + (7).to_bytes(8, "big")


def test_a_replaced_decimal_is_used_while_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = encoded(decimal.Decimal("1.5"))
    monkeypatch.setattr(decimal, "Decimal", Money)
    made: list[int] = []
    monkeypatch.setattr(Money, "scaleb", lambda self, power: made.append(power))
    data.decode_value(wire, 0)
    assert made == [-1]


def test_a_module_in_which_a_name_is_no_class_raises_what_isinstance_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    encoded(MOMENT)
    monkeypatch.setattr(datetime, "datetime", time)
    with pytest.raises(TypeError, match="isinstance"):
        encoded(MOMENT)
