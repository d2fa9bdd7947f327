"""The values of the property `delivery_mode`."""

from __future__ import annotations

from enum import Enum


class DeliveryMode(Enum):
    """Whether the broker keeps a message in memory only, or also on disk when its queue is durable."""

    Transient = 1
    Persistent = 2
