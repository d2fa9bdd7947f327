"""Checks of arguments."""

from __future__ import annotations

from typing import Any


def require_string(value: Any, value_name: str) -> None:
    """Require a `str`.

    :raises TypeError: `value` is something else
    """
    if not isinstance(value, str):
        raise TypeError(f"{value_name} must be a str or unicode str, but got {value!r}")


def require_tag(value: Any) -> None:
    """Require a consumer tag to be a `str`.

    Bytes could be sent, but the broker's messages have a `str`, by which nobody finds the consumer.

    :raises TypeError: it is bytes
    :raises AssertionError: it is something else, as the encoder says behind the consumer's registration
    """
    if isinstance(value, bytes):
        require_string(value, "consumer_tag")
    if not isinstance(value, str):
        raise AssertionError("A non-string value was supplied for self.consumer_tag")


def itself(value: Any) -> Any:
    """Return the `str` that something only passes for, like a proxy; anything else as it is."""
    return value.encode().decode() if isinstance(value, str) and not issubclass(type(value), str) else value


def require_callback(callback: Any, callback_name: str = "callback") -> None:
    """Require a callable.

    :raises TypeError: `callback` is something else
    """
    if not callable(callback):
        raise TypeError(f"callback {callback_name} must be callable, but got {callback!r}")


def rpc_completion_callback(callback: Any) -> bool:
    """Require a callable or None.

    :returns: True for None, which asks the broker not to answer
    :raises TypeError: `callback` is something else
    """
    if callback is None:
        return True
    if callable(callback):
        return False
    raise TypeError("completion callback must be callable if not None")


def zero_or_greater(name: str, value: Any) -> None:
    """Require what `int()` makes zero or greater.

    :raises ValueError: `value` is below zero
    """
    if int(value) < 0:
        raise ValueError(f"{name} must be >= 0, but got {value}")
