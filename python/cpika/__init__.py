"""cpika takes the place of pika, the AMQP 0-9-1 client: the same names and behaviour on a core written in C.

`import cpika as pika`, `cpika.install_as_pika()` before the first `import pika`, or `python -m cpika SCRIPT`.
Names are loaded when they are first used.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cpika import adapters as adapters
    from cpika import amqp_object as amqp_object
    from cpika import callback as callback
    from cpika import channel as channel
    from cpika import compat as compat
    from cpika import connection as connection
    from cpika import credentials as credentials
    from cpika import data as data
    from cpika import delivery_mode as delivery_mode
    from cpika import diagnostic_utils as diagnostic_utils
    from cpika import exceptions as exceptions
    from cpika import exchange_type as exchange_type
    from cpika import frame as frame
    from cpika import heartbeat as heartbeat
    from cpika import spec as spec
    from cpika import tcp_socket_opts as tcp_socket_opts
    from cpika import validators as validators
    from cpika._as_pika import install_as_pika as install_as_pika
    from cpika.adapters.base_connection import BaseConnection as BaseConnection
    from cpika.adapters.blocking_connection import BlockingConnection as BlockingConnection
    from cpika.adapters.select_connection import SelectConnection as SelectConnection
    from cpika.adapters.utils.connection_workflow import AMQPConnectionWorkflow as AMQPConnectionWorkflow
    from cpika.connection import Connection as Connection
    from cpika.connection import ConnectionParameters as ConnectionParameters
    from cpika.connection import SSLOptions as SSLOptions
    from cpika.connection import URLParameters as URLParameters
    from cpika.credentials import PlainCredentials as PlainCredentials
    from cpika.delivery_mode import DeliveryMode as DeliveryMode
    from cpika.spec import BasicProperties as BasicProperties

__version__ = "1.4.4"
"""The release of pika whose behaviour this is; tracers choose their interface by it."""

__cpika_version__ = "0.1.0"
"""The release of cpika."""

__all__ = [
    "AMQPConnectionWorkflow",
    "BaseConnection",
    "BasicProperties",
    "BlockingConnection",
    "Connection",
    "ConnectionParameters",
    "DeliveryMode",
    "PlainCredentials",
    "SSLOptions",
    "SelectConnection",
    "URLParameters",
    "adapters",
    "exceptions",
    "frame",
    "install_as_pika",
    "spec",
]

_HOMES = {
    "AMQPConnectionWorkflow": "cpika.adapters.utils.connection_workflow",
    "BaseConnection": "cpika.adapters.base_connection",
    "BasicProperties": "cpika.spec",
    "BlockingConnection": "cpika.adapters.blocking_connection",
    "Connection": "cpika.connection",
    "ConnectionParameters": "cpika.connection",
    "DeliveryMode": "cpika.delivery_mode",
    "PlainCredentials": "cpika.credentials",
    "SSLOptions": "cpika.connection",
    "SelectConnection": "cpika.adapters.select_connection",
    "URLParameters": "cpika.connection",
    "install_as_pika": "cpika._as_pika",
}

_SUBMODULES = frozenset(
    {
        "adapters",
        "amqp_object",
        "callback",
        "channel",
        "compat",
        "connection",
        "credentials",
        "data",
        "delivery_mode",
        "diagnostic_utils",
        "exceptions",
        "exchange_type",
        "frame",
        "heartbeat",
        "spec",
        "tcp_socket_opts",
        "validators",
    }
)

_LOADED_IN_CALLS = frozenset({"ast", "ssl"})
_MOST_LOOKS = 20  # this thread may itself be the one that loads
_loading: list[str] = []  # modules that threads are about to load, which are in no list of Python's yet

# Programs filter and configure pika's loggers by name, so the names stay.
logging.getLogger("pika").addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    """Load a name or a submodule when it is first asked for."""
    if name in _SUBMODULES:
        return importlib.import_module(f"cpika.{name}")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    _loading.append(home)
    try:
        value = getattr(importlib.import_module(home), name)
    finally:
        _loading.remove(home)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, *_SUBMODULES})


def _being_loaded() -> list[str]:
    """Return the modules of this library, and those that it loads in a call, that threads are loading now."""
    found = [
        name
        for name, module in list(sys.modules.items())
        if (name.startswith(("cpika.", "pika.")) or name in _LOADED_IN_CALLS)
        and getattr(getattr(module, "__spec__", None), "_initializing", False)
    ]
    return found + [name for name in _loading if name not in sys.modules]


def _finish_loading() -> None:
    """Wait until no thread loads a part of this library.

    In a child made by fork that thread is gone, and a module's lock with it: loading that part never ends.
    """
    for _ in range(_MOST_LOOKS):
        names = _being_loaded()
        if not names:
            return
        for name in names:
            importlib.import_module(name)  # waits
        time.sleep(0.001)  # who has loaded goes on, maybe with the next one


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_finish_loading)
