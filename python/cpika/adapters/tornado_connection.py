"""pika's adapter for Tornado, which cpika does not have."""

from __future__ import annotations

import logging

from cpika.adapters.base_connection import BaseConnection

LOGGER = logging.getLogger("pika.adapters.tornado_connection")


class TornadoConnection(BaseConnection):
    """In pika, a connection on a Tornado I/O loop."""
