"""The values of the property `delivery_mode`."""

from __future__ import annotations

from enum import Enum, IntEnum


class DeliveryMode(IntEnum):
    """Whether the broker keeps a message in memory only, or also on disk when its queue is durable."""

    Transient = 1
    Persistent = 2

    # An IntEnum as in pika's next release; its texts as in this one.
    __str__ = Enum.__str__

    def __format__(self, format_spec: str) -> str:
        return format(str(self), format_spec)
