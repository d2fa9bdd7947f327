"""Mandatory publishes that await their confirms: which of them has come back."""

from __future__ import annotations

from collections import deque
from itertools import takewhile
from typing import Any

from cpika._buffer import Buffer

Identity = tuple[bytes, bytes, bytes]


def _octets(value: str | Buffer) -> bytes:
    return value.encode() if isinstance(value, str) else bytes(memoryview(value))


def frozen(body: str | Buffer) -> str | Buffer:
    """Return a body that is the same when it comes back, whatever the program does with its buffer."""
    return body if isinstance(body, (str, bytes)) else bytes(memoryview(body))


def covered(pending: dict[int, Any], verdict: Any) -> list[int]:
    """Return the delivery tags, of those that are pending, of which a Basic.Ack or Nack speaks."""
    last = verdict.delivery_tag
    if not verdict.multiple:
        return [last] if last in pending else []
    # Tags are given in order, and a dict keeps it: the first that is later ends the search.
    return list(takewhile(lambda tag: not last or tag <= last, pending))


class Mandatory:
    """The mandatory publishes of a channel with confirms that the broker has not confirmed yet.

    A Basic.Return has no delivery tag, and the confirms of earlier publishes may come between it and its own.
    It is known by what it carries: exchange, routing key and body, the oldest publish like it first. They are
    compared as the bytes that were sent, whatever types the program has given.
    """

    def __init__(self) -> None:
        self._alike: dict[Identity, deque[int]] = {}  # tags of those that have not come back
        self._identities: dict[int, Identity] = {}
        self._returned: dict[int, Any] = {}

    def __len__(self) -> int:
        """How many are not confirmed yet."""
        return len(self._identities)

    def add(self, tag: int, exchange: str, routing_key: str, body: str | Buffer) -> None:
        """A mandatory message was published, and has this delivery tag."""
        identity = _octets(exchange), _octets(routing_key), _octets(body)
        self._identities[tag] = identity
        self._alike.setdefault(identity, deque()).append(tag)

    def note(self, method: Any, body: bytes, message: Any) -> bool:
        """Keep `message`, what came back with a Basic.Return; False: no publish is like it."""
        alike = self._alike.get((_octets(method.exchange), _octets(method.routing_key), body))
        if not alike:
            return False
        self._returned[alike.popleft()] = message
        return True

    def settle(self, tag: int) -> Any:
        """Forget a publish that was confirmed or refused; return its message if it came back, else None."""
        identity = self._identities.pop(tag, None)
        if identity is None:
            return None
        message = self._returned.pop(tag, None)
        alike = self._alike.get(identity)
        if message is None and alike is not None:
            alike.remove(tag)
        if not alike:
            self._alike.pop(identity, None)
        return message

    def settle_all(self, verdict: Any) -> None:
        """Forget those of a Basic.Ack or Nack, whose confirms nobody awaits."""
        for tag in covered(self._identities, verdict):
            self.settle(tag)

    def clear(self) -> None:
        """Forget all."""
        self._alike.clear()
        self._identities.clear()
        self._returned.clear()
