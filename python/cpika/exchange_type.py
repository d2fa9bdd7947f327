"""The exchange types of AMQP 0-9-1."""

from __future__ import annotations

from enum import Enum


class ExchangeType(str, Enum):
    """An exchange type; each member equals the string that names it in Exchange.Declare."""

    direct = "direct"
    fanout = "fanout"
    headers = "headers"
    topic = "topic"
