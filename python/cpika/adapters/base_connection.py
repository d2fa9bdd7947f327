"""The common class of pika's asynchronous adapters."""

from __future__ import annotations

import logging

from cpika.connection import Connection

LOGGER = logging.getLogger("pika.adapters.base_connection")


class BaseConnection(Connection):
    """In pika, a connection on top of some I/O loop."""
