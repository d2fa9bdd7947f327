"""What is in a queue, seen through a channel of the test's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def bodies(channel: Any, queue: str) -> list[bytes]:
    """All messages of the queue, taken out."""
    found = []
    while True:
        method, _, body = channel.basic_get(queue, auto_ack=True)
        if method is None:
            return found
        found.append(body)


def count(channel: Any, queue: str) -> int:
    """How many messages are ready."""
    return int(channel.queue_declare(queue, passive=True).method.message_count)


def numbered(queue: str, n: int) -> Iterator[tuple[str, str, bytes]]:
    """Messages for `publish_many` whose bodies are their numbers."""
    return (("", queue, b"%d" % i) for i in range(n))
