"""What pika's adapters share."""

from __future__ import annotations

import importlib
from typing import Any

_SUBMODULES = ("connection_workflow", "io_services_utils", "nbio_interface", "selector_ioloop_adapter")


def __getattr__(name: str) -> Any:
    """Load a submodule when it is first asked for: pika's package has all of them from the start."""
    if name not in _SUBMODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"cpika.adapters.utils.{name}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_SUBMODULES})
