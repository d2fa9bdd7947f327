"""What a callback has been called with, for who waits for it: pika's `_CallbackResult`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

_LOG = logging.getLogger("pika.adapters.blocking_connection")


class _CallbackResult:
    """Takes calls as a callback, and tells of them; as a context manager it forgets them at the end.

    :param value_class: makes a value from the arguments of a call; not needed for `signal_once`
    """

    __slots__ = ("_ready", "_value_class", "_values")

    def __init__(self, value_class: Callable[..., Any] | None = None) -> None:
        self._value_class = value_class
        self._ready: bool = False
        self._values: tuple[Any, ...] | list[Any] | None = None

    def reset(self) -> None:
        """Forget the calls."""
        self._ready = False
        self._values = None

    def __bool__(self) -> bool:
        return self.is_ready()

    def __enter__(self) -> _CallbackResult:
        return self

    def __exit__(self, *args: Any, **kwargs: Any) -> None:
        self.reset()

    def is_ready(self) -> bool:
        """Return whether there was a call."""
        return self._ready

    @property
    def ready(self) -> bool:
        """Whether there was a call."""
        return self._ready

    def signal_once(self, *_args: Any, **_kwargs: Any) -> None:
        """A callback for one call, with any arguments.

        :raises AssertionError: there was one already
        """
        assert not self._ready, "_CallbackResult was already set"
        self._ready = True

    def set_value_once(self, *args: Any, **kwargs: Any) -> None:
        """A callback for one call, which becomes `value`.

        :raises AssertionError: there was one already
        """
        self.signal_once()
        self._values = (self._make("set_value_once", args, kwargs),)

    def append_element(self, *args: Any, **kwargs: Any) -> None:
        """A callback for any number of calls, which become `elements`.

        :raises AssertionError: `value` or `signal_once` was used before
        """
        self._check(not self._ready or isinstance(self._values, list), "append_element", with_ready=True)
        value = self._make("append_element", args, kwargs)
        if isinstance(self._values, list):
            self._values.append(value)
        else:
            self._values = [value]
        self._ready = True

    @property
    def value(self) -> Any:
        """What `set_value_once` was called with.

        :raises AssertionError: it was not
        """
        assert self._ready, "_CallbackResult was not set"
        self._check(isinstance(self._values, tuple) and len(self._values) == 1, "set_value_once")
        assert self._values is not None
        return self._values[0]

    @property
    def elements(self) -> list[Any]:
        """What `append_element` was called with.

        :raises AssertionError: it was not
        """
        assert self._ready, "_CallbackResult was not set"
        self._check(isinstance(self._values, list) and bool(self._values), "append_element")
        assert isinstance(self._values, list)
        return self._values

    def _make(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            return self._value_class(*args, **kwargs)  # type: ignore[misc]
        except Exception:
            _LOG.error("%s failed: value_class=%r; args=%r; kwargs=%r", name, self._value_class, args, kwargs)
            raise

    def _check(self, fits: bool, name: str, with_ready: bool = False) -> None:
        if with_ready:
            assert fits, (
                f"_CallbackResult state is incompatible with {name}: "
                f"ready={self._ready!r}; values={self._values!r}"
            )
        assert fits, f"_CallbackResult value is incompatible with {name}: {self._values!r}"
