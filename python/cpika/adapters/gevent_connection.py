"""pika's adapter for gevent's hub, which cpika does not have."""

from __future__ import annotations

import logging

from cpika.adapters.base_connection import BaseConnection

LOGGER = logging.getLogger("pika.adapters.gevent_connection")


class GeventConnection(BaseConnection):
    """In pika, a connection on gevent's hub."""

    _INSTEAD = "use pika.BlockingConnection after gevent.monkey.patch_all()"
