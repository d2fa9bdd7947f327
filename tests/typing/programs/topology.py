"""Declarations from read-only settings, typed as Mapping and Dict; frames that come back."""

from __future__ import annotations

from collections import OrderedDict
from types import MappingProxyType
from typing import Any, Dict, List, Mapping, Optional, Tuple

import pika
from pika import frame, spec
from pika.adapters.blocking_connection import BlockingChannel

QUEUES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "tasks": MappingProxyType({"x-max-priority": 10}),
        "retry": MappingProxyType({"x-message-ttl": 5000, "x-dead-letter-exchange": ""}),
    }
)
QUORUM: Dict[str, Any] = {"x-queue-type": "quorum"}
ORDERED: OrderedDict[str, Any] = OrderedDict([("x-match", "all"), ("kind", "report")])


def declare(channel: BlockingChannel, queue: str, options: Dict[str, Any]) -> int:
    declared: frame.Method[spec.Queue.DeclareOk] = channel.queue_declare(
        queue, durable=True, arguments=options
    )
    return declared.method.message_count or 0


def declare_all(channel: BlockingChannel) -> List[Tuple[str, int]]:
    counts = [(name, declare(channel, name, dict(options))) for name, options in QUEUES.items()]
    channel.exchange_declare("by_header", exchange_type="headers", arguments=None)
    channel.queue_bind("tasks", "by_header", "", arguments=ORDERED)
    channel.exchange_bind(destination="by_header", source="amq.headers", arguments=QUORUM)
    channel.exchange_unbind("by_header", "amq.headers", arguments=QUORUM)
    channel.queue_unbind("tasks", "by_header", "", ORDERED)
    channel.queue_purge("tasks")
    return counts


def consume_some(channel: BlockingChannel, limit: int) -> List[bytes]:
    bodies: List[bytes] = []
    for method, _properties, body in channel.consume("tasks", inactivity_timeout=1.5):
        if method is None or body is None:
            break
        bodies.append(body)
        if method.delivery_tag is not None:
            channel.basic_ack(method.delivery_tag)
        if len(bodies) == limit:
            break
    channel.cancel()
    return bodies


def connect(options: Optional[Dict[str, Any]] = None) -> pika.BlockingConnection:
    parameters = pika.ConnectionParameters(
        host="localhost",
        credentials=pika.PlainCredentials("guest", "guest", erase_on_connect=True),
        client_properties=options or {"connection_name": "topology"},
        tcp_options={"TCP_KEEPIDLE": 60},
        blocked_connection_timeout=300,
        heartbeat=lambda connection, proposed: min(proposed, 30),
    )
    parameters.virtual_host = "/"
    return pika.BlockingConnection([parameters])
