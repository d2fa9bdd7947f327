"""pika's adapter for Twisted, which cpika does not have."""

from __future__ import annotations

from typing import Any, NamedTuple

from cpika._not_built import NotBuilt


class ReceivedMessage(NamedTuple):
    """A message as pika's Twisted adapter hands it over."""

    channel: Any
    method: Any
    properties: Any
    body: Any


class ClosableDeferredQueue(NotBuilt):
    """In pika, a queue of Deferreds that ends when its consumer does."""


class TwistedChannel(NotBuilt):
    """In pika, a channel whose methods return Deferreds."""


class TwistedProtocolConnection(NotBuilt):
    """In pika, a connection that is a Twisted protocol."""
