"""Uses of every method, of properties and of tables, and what happens to them without memory.

    python -m support.value_uses

makes each allocation of each use fail once and prints what came of it other than MemoryError: in a process of
its own, whose shallow stack needs no memory for frames.
"""

from __future__ import annotations

import contextlib
import copy
import datetime
import decimal
import gc
import sys
from collections.abc import Callable
from typing import Any

from cpika import _core, data, spec

from support.caches import clear_caches

ROUNDS = 20
MOST = 400  # allocations of one use
GROWTH_AT = (0, 1, 2, 3, 4, 6, 8, 12)  # the failing allocations after which memory is counted

HEADERS: dict[str, Any] = {
    "a": 1,
    "b": ["x", {"y": 2}],
    "c": b"z",
    "d": datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc),
    "e": decimal.Decimal("1.5"),
    "f": 1.5,
    "g": None,
    "h": True,
    "i": 2**40,
}


def properties() -> Any:
    texts = {name: name for name in ("content_type", "reply_to", "message_id", "app_id")}
    return spec.BasicProperties(headers=dict(HEADERS), priority=1, timestamp=2, **texts)


NUMBERS = "delivery_tag message_count consumer_count reply_code class_id method_id".split()


def with_values(kind: Any) -> Any:
    """A method with a table where there can be one."""
    method = kind("a", "b") if kind is spec.Connection.UpdateSecret else kind()
    for name, value in vars(method).items():
        if value is None:
            table = name in ("arguments", "server_properties", "client_properties")
            setattr(method, name, dict(HEADERS) if table else 1 if name in NUMBERS else "text")
    return method


def uses_of(value: Any) -> dict[str, Callable[[], Any]]:
    other = copy.copy(value)
    wire = b"".join(value.encode())
    return {
        "construct": type(value) if not isinstance(value, spec.Connection.UpdateSecret) else lambda: None,
        "encode": value.encode,
        "decode": lambda: type(value).__new__(type(value)).decode(wire),
        "repr": lambda: repr(value),
        "==": lambda: value == other,
        "reduce": value.__reduce__,
        "dict": lambda: vars(type(value).__new__(type(value))),
        "attribute": lambda: setattr(type(value).__new__(type(value)), "extra", 1),
    }


PIECES: list[bytes] = []
data.encode_table(PIECES, HEADERS)
TABLE = b"".join(PIECES)

USES: dict[str, Callable[[], Any]] = {
    f"{value.NAME} {name}": use
    for value in (properties(), *(with_values(kind) for kind in spec.methods.values()))
    for name, use in uses_of(value).items()
}
FAILING: dict[str, Callable[[], Any]] = {
    "value of no type": lambda: data.encode_value([], ["x" * 1000, {"deep": object()}]),
    "key of no type": lambda: data.encode_table([], {"x": "y" * 1000, 1: 2}),
    "long key": lambda: data.encode_table([], {"x" * 256: 1}),
    "long string": lambda: data.encode_short_string([], "x" * 256),
    "large number": lambda: data.encode_value([], [2**70]),
    "early datetime": lambda: data.encode_value([], [datetime.datetime(1960, 1, 1)]),
    "large decimal": lambda: data.encode_value([], [decimal.Decimal("1e20")]),
    "surrogate": lambda: data.encode_value([], ["\udcff"]),
    "self": lambda: data.encode_value([], SELF),
    "kind": lambda: data.decode_value(b"A\x00\x00\x00\x03t\x01?", 0),
    "cut table": lambda: data.decode_table(TABLE[:-3], 0),
    "cut properties": lambda: spec.BasicProperties().decode(b"\x20\x00\x00\x00\x00\xff\x01aS"),
    "cut method": lambda: spec.Queue.Declare().decode(b"\x00\x00\x05ab"),
    "properties of no type": lambda: spec.BasicProperties(content_type="x", app_id=1).encode(),  # type: ignore[arg-type]
    "headers of no type": lambda: spec.BasicProperties(headers={"a": "x" * 1000, "b": object()}).encode(),
    "arguments of no type": lambda: spec.Queue.Declare(queue="q", arguments={"a": object()}).encode(),
    "keyword": lambda: spec.BasicProperties(bad=1),  # type: ignore[call-arg]
    "too many": lambda: spec.Basic.Ack(1, 2, 3),  # type: ignore[arg-type, call-arg]
    "missing": lambda: spec.Connection.UpdateSecret(),  # type: ignore[call-arg]
    "no descriptor": lambda: _core.hot_method(len, failure),
}
SELF: list[Any] = []
SELF.append(SELF)


def failure(use: Callable[[], Any]) -> str:
    """The type of what a use raises."""
    try:
        use()
    except Exception as error:
        return type(error).__name__
    return "nothing"


def growth(use: Callable[[], Any]) -> int:
    """Blocks that so many rounds leave behind, the smaller of two counts."""

    def after() -> int:
        for _ in range(ROUNDS):
            with contextlib.suppress(Exception):
                use()
        gc.collect()
        clear_caches()
        return sys.getallocatedblocks()

    after()
    counts = [after() for _ in range(3)]
    return min(counts[1] - counts[0], counts[2] - counts[1])


def main() -> None:
    import _testcapi

    def failing(use: Callable[[], Any], at: int) -> str:
        clear_caches()  # a look-up that is not in it takes another way
        _testcapi.set_nomemory(at, at + 1)
        try:
            use()
            _testcapi.remove_mem_hooks()
        except BaseException as error:
            _testcapi.remove_mem_hooks()
            # CPython's own, without memory for the traceback; of a function of ours it would tell the name.
            traceback_lost = str(error) == "error return without exception set"
            return "MemoryError" if traceback_lost else type(error).__name__
        return "nothing"

    gc.disable()  # a collection in the middle would fail for reasons of its own
    gc.collect()
    gc.freeze()  # what is there already need not be looked at each time
    injected = 0
    for name, use in {**USES, **FAILING}.items():
        usual = failure(use)
        same = at = 0
        while same < 3 and at < MOST:
            outcome = failing(use, at)
            injected += outcome == "MemoryError"
            if outcome not in (usual, "MemoryError"):
                print(name, "raises", outcome, "at", at)
            same = same + 1 if outcome == usual else 0
            at += 1
        for place in GROWTH_AT:
            if place < at and growth(lambda use=use, place=place: failing(use, place)) >= ROUNDS:  # type: ignore[misc]
                print(name, "leaks at", place)
    print("injected", injected)


if __name__ == "__main__":
    main()
