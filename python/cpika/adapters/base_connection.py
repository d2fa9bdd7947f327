"""The common class of pika's asynchronous adapters."""

from __future__ import annotations

from cpika.connection import Connection


class BaseConnection(Connection):
    """In pika, a connection on top of some I/O loop."""
