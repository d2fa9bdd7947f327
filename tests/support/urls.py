"""AMQP URLs: what tests ask of them."""

from __future__ import annotations

import urllib.parse


def host_and_port(url: str) -> tuple[str, int]:
    """Host and port of an AMQP URL."""
    parts = urllib.parse.urlsplit(url)
    return parts.hostname or "127.0.0.1", parts.port or (5671 if parts.scheme == "amqps" else 5672)
