"""OpenTelemetry's instrumentation of pika with its own exporter into memory."""

from __future__ import annotations

from typing import Any

from opentelemetry import trace
from opentelemetry.instrumentation.pika import PikaInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

EXPORTER = InMemorySpanExporter()


def start() -> None:
    """Instrument pika, unless the launcher of the distribution has done so."""
    provider = trace.get_tracer_provider()
    launched = isinstance(provider, TracerProvider)
    if not launched:
        provider = TracerProvider()
        trace.set_tracer_provider(provider)
    provider.add_span_processor(SimpleSpanProcessor(EXPORTER))
    if not launched:
        PikaInstrumentor().instrument()


def work(name: str) -> Any:
    """A span around what the program does."""
    return trace.get_tracer("program").start_as_current_span(name)


def spans() -> list[dict[str, Any]]:
    """The spans that have ended."""
    ended = EXPORTER.get_finished_spans()
    EXPORTER.clear()
    return [
        {
            "name": span.name,
            "kind": span.kind.name,
            "trace": span.context.trace_id,
            "id": span.context.span_id,
            "parent": span.parent.span_id if span.parent else None,
            "links": [link.context.span_id for link in span.links],
            "status": [span.status.status_code.name, span.status.description],
            "attributes": dict(span.attributes or {}),
            "events": [[event.name, _events(event)] for event in span.events],
        }
        for span in ended
    ]


def _events(event: Any) -> dict[str, Any]:
    return {key: value for key, value in event.attributes.items() if key != "exception.stacktrace"}
