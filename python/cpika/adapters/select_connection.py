"""pika's own I/O loop and the adapter on it, which cpika does not have."""

from __future__ import annotations

import logging

from cpika._not_built import NotBuilt
from cpika.adapters.base_connection import BaseConnection

LOGGER = logging.getLogger("pika.adapters.select_connection")


class SelectConnection(BaseConnection):
    """In pika, a connection on pika's own I/O loop."""


class PollEvents:
    """The events that pika's I/O loop knows, as bits."""

    READ = 0x0001
    WRITE = 0x0004
    ERROR = 0x0008


class IOLoop(NotBuilt):
    """In pika, the I/O loop of `SelectConnection`."""
