"""gevent or eventlet with the standard library patched, by the same names for both."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any


class Green:
    """What tests need of a library of green threads; making one patches the standard library.

    :param library: `gevent` or `eventlet`
    """

    def __init__(self, library: str) -> None:
        self._module = importlib.import_module(library)
        if library == "gevent":
            importlib.import_module("gevent.monkey").patch_all()
        else:
            self._module.monkey_patch()
        self._gevent = library == "gevent"
        self.spawn: Callable[..., Any] = self._module.spawn
        self.sleep: Callable[[float], Any] = self._module.sleep
        self.Timeout: Any = self._module.Timeout

    def kill(self, greenlet: Any) -> None:
        """End a greenlet wherever it is, by an exception."""
        greenlet.kill()

    def has_ended(self, greenlet: Any, seconds: float) -> bool:
        """Whether a greenlet ends within a time, by whatever."""
        if self._gevent:
            greenlet.join(seconds)
        else:
            waits = self._module.Timeout(seconds, False)
            try:
                greenlet.wait()
            except BaseException as error:
                if error is waits:
                    return False
            finally:
                waits.cancel()
        return bool(greenlet.dead)
