"""What a use of one library gives, in a form that can be compared with the other's."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any


def outcome(use: Callable[..., Any], *args: Any) -> Any:
    """What a use returns, as text, or the type and text of what it raises; without addresses."""
    try:
        return neutral(repr(use(*args)))
    except Exception as error:
        return type(error).__name__, neutral(str(error))


def neutral(text: str) -> str:
    return re.sub(r"\b0x[0-9a-f]+", "0x", text.replace("cpika", "pika"))
