"""pika's adapter for asyncio, which cpika does not have."""

from __future__ import annotations

from cpika.adapters.base_connection import BaseConnection


class AsyncioConnection(BaseConnection):
    """In pika, a connection on an asyncio event loop."""
