"""Turns what a user sees (values, exceptions, objects) into text that two libraries can be compared by.

Only what differs between two runs of one library is masked: the names of this run's queues and exchanges,
generated consumer tags and queue names, object addresses, and the package prefix.  All else stands as it is.
"""

from __future__ import annotations

import enum
import hashlib
import inspect
import re
import struct
import types
from typing import Any

LONGEST = 240  # characters of a text or body that are written out; the rest is a digest

_MASKS = (
    (re.compile(r"cpika-parity-[0-9a-f]{8}-"), "parity-"),
    (re.compile(r"(ctag\d+)\.[0-9a-f]{32}"), r"\1.<uuid>"),
    (re.compile(r"amq\.gen-[\w-]{22}"), "amq.gen-<random>"),
    (re.compile(r"\b0x[0-9a-f]{6,}\b"), "<address>"),
    (re.compile(r"transport=<[^<>]*(?:<address>)?[^<>]*>"), "transport=<transport>"),
    (re.compile(r"\bcpika(?:\._core)?(?=\.)"), "pika"),
)


def mask(text: str) -> str:
    """Return `text` with everything that differs from run to run replaced by a placeholder."""
    for pattern, placeholder in _MASKS:
        text = pattern.sub(placeholder, text)
    return text


def render(value: Any) -> str:
    """Return one line that says what `value` is: its type where that is not plain, and all that it shows."""
    return mask(_render(value))


def hierarchy(cls: type) -> str:
    """Return the names of `cls` and its public bases, without `object`."""
    bases = [base.__name__ for base in cls.__mro__ if base is not object]
    return " < ".join(name for name in bases if not name.startswith("_"))


def render_exception(error: BaseException) -> list[str]:
    """Return the lines that an exception shows: hierarchy, args, str, repr and pika's attributes."""
    if isinstance(error, struct.error):
        return [hierarchy(type(error))]  # the interpreter's struct module words the text
    lines = [
        hierarchy(type(error)),
        f"  args {render(error.args)}",
        f"  str  {mask(str(error))}",
        f"  repr {mask(repr(error))}",
    ]
    for name in ("reply_code", "reply_text", "messages"):
        if hasattr(error, name):
            lines.append(f"  {name} {render(getattr(error, name))}")
    return lines


def _render(value: Any) -> str:
    kind = type(value)
    if value is None or kind in (bool, int, float, complex):
        return repr(value)
    if kind in (str, bytes):
        return _shorten(value)
    if isinstance(value, enum.Enum):
        return f"{kind.__qualname__}.{value.name}={value.value!r}"
    if kind in (list, tuple, set, frozenset):
        return _render_sequence(value)
    if kind is dict:
        return "{" + ", ".join(f"{_render(k)}: {_render(v)}" for k, v in value.items()) + "}"
    if isinstance(value, BaseException):
        return f"{kind.__qualname__}{value.args!r}"
    if isinstance(value, type):
        return f"class {value.__qualname__}"
    if isinstance(value, types.ModuleType):
        return f"module {value.__name__}"
    if inspect.isroutine(value):
        return f"callable {value.__name__}"
    if hasattr(value, "NAME") and hasattr(value, "__dict__"):
        return f"{kind.__qualname__} {value!r} vars={_render(vars(value))}"
    if isinstance(value, (int, str)):
        return f"{kind.__qualname__}({value!r})"
    if kind.__name__ in ("BlockingConnection", "BlockingChannel"):
        return kind.__name__
    if kind.__name__ == "ReturnedMessage":
        return f"ReturnedMessage({_render(value.method)}, {_render(value.properties)}, {_render(value.body)})"
    return f"{kind.__qualname__} {value!r}"


def _render_sequence(value: Any) -> str:
    inner = ", ".join(
        _render(item) for item in (sorted(value) if isinstance(value, (set, frozenset)) else value)
    )
    opening, closing = {list: "[]", tuple: "()"}.get(type(value), "{}")
    return f"{opening}{inner}{closing}"


def _shorten(value: str | bytes) -> str:
    if len(value) <= LONGEST:
        return repr(value)
    raw = value if isinstance(value, bytes) else mask(value).encode("utf-8", "surrogatepass")
    return f"{value[:40]!r}... {len(value)} long, sha256 {hashlib.sha256(raw).hexdigest()[:16]}"
