"""pika's connection adapters; `blocking_connection` is the one that cpika builds on its core."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cpika.adapters import base_connection as base_connection
    from cpika.adapters import blocking_connection as blocking_connection
    from cpika.adapters import select_connection as select_connection
    from cpika.adapters import utils as utils
    from cpika.adapters.asyncio_connection import AsyncioConnection as AsyncioConnection
    from cpika.adapters.base_connection import BaseConnection as BaseConnection
    from cpika.adapters.blocking_connection import BlockingConnection as BlockingConnection
    from cpika.adapters.select_connection import IOLoop as IOLoop
    from cpika.adapters.select_connection import SelectConnection as SelectConnection

__all__ = ["AsyncioConnection", "BaseConnection", "BlockingConnection", "IOLoop", "SelectConnection"]

_HOMES = {
    "AsyncioConnection": "asyncio_connection",
    "BaseConnection": "base_connection",
    "BlockingConnection": "blocking_connection",
    "IOLoop": "select_connection",
    "SelectConnection": "select_connection",
}

_SUBMODULES = frozenset(
    {
        *_HOMES.values(),
        "gevent_connection",
        "thread_safe_connection",
        "tornado_connection",
        "twisted_connection",
        "utils",
    }
)


def __getattr__(name: str) -> Any:
    """Load a name or a submodule when it is first asked for."""
    if name in _SUBMODULES:
        return importlib.import_module(f"cpika.adapters.{name}")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"cpika.adapters.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, *_SUBMODULES})
