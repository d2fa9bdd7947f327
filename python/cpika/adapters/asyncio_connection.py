"""pika's adapter for asyncio, which cpika does not have."""

from __future__ import annotations

import logging

from cpika.adapters.base_connection import BaseConnection

LOGGER = logging.getLogger("pika.adapters.asyncio_connection")


class AsyncioConnection(BaseConnection):
    """In pika, a connection on an asyncio event loop."""
