"""SkyWalking's agent, without its reporter: the segments are taken where they are handed over."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

SEGMENTS: list[Any] = []


def start() -> None:
    """Start the agent's plugin for pika."""
    from skywalking import agent, config
    from skywalking.plugins import sw_rabbitmq

    config.init(
        agent_collector_backend_services="127.0.0.1:1", agent_name="program", agent_logging_level="WARNING"
    )
    config.finalize()
    agent = agent.agent if hasattr(agent, "agent") else agent
    type(agent).archive_segment = lambda self, segment: SEGMENTS.append(segment)
    type(agent).is_segment_queue_full = lambda self: False
    sw_rabbitmq.install()


@contextlib.contextmanager
def work(name: str) -> Iterator[None]:
    """A local span around what the program does."""
    from skywalking.trace.context import get_context

    with get_context().new_local_span(op=name):
        yield


def spans() -> list[dict[str, Any]]:
    """The spans of the segments."""
    kept = SEGMENTS[:]
    SEGMENTS.clear()
    return [_span(segment, span) for segment in kept for span in segment.spans]


def _span(segment: Any, span: Any) -> dict[str, Any]:
    return {
        "name": span.op,
        "kind": span.kind.name,
        "trace": str(segment.related_traces[0]),
        "id": f"{segment.segment_id}/{span.sid}",
        "parent": f"{segment.segment_id}/{span.pid}",
        "links": [f"{ref.segment_id}/{ref.span_id}" for ref in span.refs],
        "errors": span.error_occurred,
        "attributes": {tag.key: tag.val for tag in span.iter_tags()},
        "peer": span.peer,
        "layer": span.layer.name,
        "component": span.component.name,
        "logs": [[item.key, str(item.val).splitlines()[-1]] for log in span.logs for item in log.items],
    }
