"""pika's adapter for gevent's hub, which cpika does not have."""

from __future__ import annotations

from cpika.adapters.base_connection import BaseConnection


class GeventConnection(BaseConnection):
    """In pika, a connection on gevent's hub."""

    _INSTEAD = "use pika.BlockingConnection after gevent.monkey.patch_all()"
