"""pika's adapter for Tornado, which cpika does not have."""

from __future__ import annotations

from cpika.adapters.base_connection import BaseConnection


class TornadoConnection(BaseConnection):
    """In pika, a connection on a Tornado I/O loop."""
