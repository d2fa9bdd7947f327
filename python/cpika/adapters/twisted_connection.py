"""pika's adapter for Twisted, which cpika does not have."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

from cpika._not_built import NotBuilt

LOGGER = logging.getLogger("pika.adapters.twisted_connection")


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
