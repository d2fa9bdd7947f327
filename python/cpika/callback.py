"""Callbacks by prefix and key, as pika's connections and channels keep them."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from typing import Any, Callable, Literal, TypeVar, Union, cast

from cpika import amqp_object, frame

LOGGER = logging.getLogger("pika.callback")

_MISSING = object()

_ENDS = frozenset(("_on_channel_close", "_on_connection_closed", "_on_connection_error"))
"""Keys of an end: what a callback raises leaves when everybody has been told."""

AMQPValue = Union[type[amqp_object.AMQPObject], amqp_object.AMQPObject, int, str]


def name_or_value(value: Any) -> str:
    """Return the AMQP name of a class, an object or the method in a frame; of anything else, its `str()`."""
    kind = type(value)
    if kind is str:
        return value  # type: ignore[no-any-return]
    if kind is int:
        return str(value)
    named = value.method if isinstance(value, frame.Method) else value
    kind = named if isinstance(named, type) else type(named)
    return str(named.NAME if issubclass(kind, amqp_object.AMQPObject) else named)


def to_leave(first: BaseException | None, error: BaseException) -> BaseException:
    """Return which of two exceptions leaves when all are called: the first, or one that no log tells of."""
    if first is None or (isinstance(first, Exception) and not isinstance(error, Exception)):
        return error
    return first


_FunctionT = TypeVar("_FunctionT", bound=Callable[..., Any])


def sanitize_prefix(function: _FunctionT) -> _FunctionT:
    """Have a method get its arguments `prefix` and `key`, its first two, by `name_or_value`."""

    @functools.wraps(function)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        given = list(args)
        place = 0
        for name in ("prefix", "key"):
            if name in kwargs:
                kwargs[name] = name_or_value(kwargs[name])
            elif place < len(given):
                given[place] = name_or_value(given[place])
                place += 1
        return function(self, *given, **kwargs)

    return cast("_FunctionT", wrapper)


def check_for_prefix_and_key(function: _FunctionT) -> _FunctionT:
    """Have a method of a `CallbackManager` return False where the manager does not know prefix and key."""

    @functools.wraps(function)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        given = list(args)
        prefix = name_or_value(kwargs["prefix"] if "prefix" in kwargs else given.pop(0))
        key = name_or_value(kwargs["key"] if "key" in kwargs else given.pop(0))
        return function(self, *args, **kwargs) if key in self._stack.get(prefix, {}) else False

    return cast("_FunctionT", wrapper)


class CallbackManager:
    """Keeps callbacks and calls them; prefix and key go through `name_or_value`."""

    CALLS = "calls"
    ARGUMENTS = "arguments"
    DUPLICATE_WARNING = 'Duplicate callback found for "%s:%s"'
    CALLBACK = "callback"
    ONE_SHOT = "one_shot"
    ONLY_CALLER = "only"

    def __init__(self) -> None:
        self._stack: dict[str, dict[str, list[dict[str, Any]]]] = {}

    def add(
        self,
        prefix: AMQPValue,
        key: AMQPValue,
        callback: Callable[..., Any],
        one_shot: bool = True,
        only_caller: object = None,
        arguments: Mapping[str, Any] | None = None,
    ) -> tuple[str, str]:
        """Add a callback.

        :param prefix: usually a channel number
        :param key: usually a method
        :param callback: what to call
        :param one_shot: call it only as often as it was added
        :param only_caller: call it only when `process` names this caller
        :param arguments: call it only when the first argument has these values
        :returns: prefix and key as strings
        """
        # A text is its own name: what is called for every answer is spared the calls that would say so.
        prefix = prefix if type(prefix) is str else name_or_value(prefix)
        key = key if type(key) is str else name_or_value(key)
        entries = self._stack.setdefault(prefix, {}).setdefault(key, [])
        if entries and self._add_again(entries, callback, only_caller, arguments, prefix, key):
            return prefix, key
        entry = {
            self.CALLBACK: callback,
            self.ONE_SHOT: one_shot,
            self.ONLY_CALLER: only_caller,
            self.ARGUMENTS: arguments,
        }
        if one_shot:
            entry[self.CALLS] = 1
        entries.append(entry)
        return prefix, key

    def _add_again(
        self,
        entries: list[dict[str, Any]],
        callback: Callable[..., Any],
        only_caller: object,
        arguments: Mapping[str, Any] | None,
        prefix: str,
        key: str,
    ) -> bool:
        """Return whether it is there already: a one-shot is called once more then."""
        wanted = callback, arguments, only_caller
        for entry in entries:
            if (entry[self.CALLBACK], entry[self.ARGUMENTS], entry[self.ONLY_CALLER]) == wanted:
                if entry[self.ONE_SHOT]:
                    entry[self.CALLS] += 1
                else:
                    LOGGER.warning(self.DUPLICATE_WARNING, prefix, key)
                return True
        return False

    def clear(self) -> None:
        """Remove all callbacks."""
        self._stack = {}

    def cleanup(self, prefix: AMQPValue) -> bool:
        """Remove all callbacks of a prefix.

        :returns: whether there were any
        """
        return bool(self._stack.pop(name_or_value(prefix), None))

    def pending(self, prefix: AMQPValue, key: AMQPValue) -> int | None:
        """Return how many callbacks a key has, None for an unknown key."""
        entries = self._stack.get(name_or_value(prefix), {}).get(name_or_value(key))
        return None if entries is None else len(entries)

    def keys(self, prefix: AMQPValue) -> list[str]:
        """Return the keys of a prefix that have callbacks."""
        return list(self._stack.get(name_or_value(prefix), {}))

    def process(self, prefix: AMQPValue, key: AMQPValue, caller: object, *args: Any, **keywords: Any) -> bool:
        """Call the callbacks of a key; an exception of one is logged and raised.

        At once, but for the end of a channel or a connection: that is told to the others first.

        :param caller: who asks, see `only_caller`
        :param args: arguments of the callbacks
        :param keywords: keyword arguments of the callbacks
        :returns: whether the key is known
        """
        prefix = prefix if type(prefix) is str else name_or_value(prefix)
        key = key if type(key) is str else name_or_value(key)
        entries = self._stack.get(prefix, {}).get(key)
        if entries is None:
            return False
        due, spent = [], []
        met = None  # what one request adds asks for the same arguments
        for entry in list(entries):
            if entry[self.ARGUMENTS] is not met:
                if not self._arguments_match(entry, args):
                    continue
                met = entry[self.ARGUMENTS]
            if entry[self.ONLY_CALLER] not in (None, caller):
                continue
            due.append(entry[self.CALLBACK])
            if entry[self.ONE_SHOT]:
                entry[self.CALLS] -= 1
                if entry[self.CALLS] <= 0:
                    spent.append(entry)
        if spent and len(spent) == len(entries):  # an answer, as a rule
            self.remove_all(prefix, key)
        else:
            for entry in spent:
                self.remove(prefix, key, entry[self.CALLBACK], entry[self.ARGUMENTS])
        told = LOGGER.isEnabledFor(logging.DEBUG)
        raised: BaseException | None = None
        for callback in due:
            if told:
                LOGGER.debug('Calling %s for "%s:%s"', callback, prefix, key)
            try:
                callback(*args, **keywords)
            except BaseException as error:
                if isinstance(error, Exception):
                    LOGGER.exception('Calling %s for "%s:%s" failed', callback, prefix, key)
                if key not in _ENDS:
                    raise
                raised = to_leave(raised, error)
        if raised is not None:
            try:
                raise raised
            finally:
                del raised  # its traceback has this frame
        return True

    def remove(
        self,
        prefix: AMQPValue,
        key: AMQPValue,
        callback_value: Callable[..., Any] | None = None,
        arguments: Mapping[str, Any] | None = None,
    ) -> bool:
        """Remove one callback of a key.

        :param callback_value: the callback; without it nothing is removed
        :param arguments: values that meet the `arguments` it was added with
        :returns: whether the key is known
        """
        prefix, key = name_or_value(prefix), name_or_value(key)
        entries = self._stack.get(prefix, {}).get(key)
        if entries is None:
            return False
        if callback_value is not None:
            entries[:] = [
                entry
                for entry in entries
                if entry[self.CALLBACK] != callback_value
                or (entry[self.ARGUMENTS] is not None and not self._arguments_match(entry, (arguments,)))
            ]
        if not entries:
            self.remove_all(prefix, key)
        return True

    def remove_matching(
        self, prefix: AMQPValue, key: AMQPValue, predicate: Callable[[Callable[..., Any]], bool]
    ) -> bool:
        """Remove the callbacks of a key for which `predicate(callback)` is true.

        :returns: whether there were any
        """
        prefix, key = name_or_value(prefix), name_or_value(key)
        entries = self._stack.get(prefix, {}).get(key)
        if entries is None:
            return False
        left = [entry for entry in entries if not predicate(entry[self.CALLBACK])]
        removed = len(left) < len(entries)
        entries[:] = left
        if not entries:
            self.remove_all(prefix, key)
        return removed

    def remove_all(self, prefix: AMQPValue, key: AMQPValue) -> Literal[False] | None:
        """Remove all callbacks of a key.

        :returns: False for an unknown key, else None
        """
        prefix = prefix if type(prefix) is str else name_or_value(prefix)
        key = key if type(key) is str else name_or_value(key)
        keys = self._stack.get(prefix)
        if keys is None or key not in keys:
            return False
        del keys[key]
        if not keys:
            del self._stack[prefix]
        return None

    def _arguments_match(self, entry: dict[str, Any], args: tuple[Any, ...]) -> bool:
        """Return whether the first argument, a dict, frame or object, has the values that are asked for."""
        expected = entry[self.ARGUMENTS]
        if expected is None:
            return True
        if not args:
            return False
        value = args[0]
        if isinstance(value, dict):
            return all(value.get(name) == wanted for name, wanted in expected.items())
        value = getattr(value, "method", value)
        for name, wanted in expected.items():
            if not getattr(value, name, _MISSING) == wanted:
                return False
        return True
