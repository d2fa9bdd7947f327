"""New Relic's agent in developer mode, which reports to nobody: transactions are taken as it records them."""

from __future__ import annotations

import os
from typing import Any

os.environ.update(
    NEW_RELIC_LICENSE_KEY="0" * 40, NEW_RELIC_APP_NAME="program", NEW_RELIC_DEVELOPER_MODE="true"
)
os.environ.update(NEW_RELIC_LOG="stderr", NEW_RELIC_LOG_LEVEL="warning")

RECORDED: list[Any] = []


def start() -> None:
    """Start the agent."""
    import newrelic.agent
    from newrelic.core.stats_engine import StatsEngine

    newrelic.agent.initialize()
    record = StatsEngine.record_transaction

    def record_and_keep(engine: Any, transaction: Any) -> Any:
        RECORDED.append(transaction)
        return record(engine, transaction)

    StatsEngine.record_transaction = record_and_keep
    newrelic.agent.register_application(timeout=10)


def work(name: str) -> Any:
    """A background transaction around what the program does."""
    import newrelic.agent

    return newrelic.agent.BackgroundTask(newrelic.agent.application(), name)


def spans() -> list[dict[str, Any]]:
    """The transactions, each with its tree of traces."""
    kept = RECORDED[:]
    RECORDED.clear()
    return [
        {
            "name": node.path,
            "kind": node.type,
            "trace": node.trace_id,
            "id": node.guid,
            "parent": node.parent_span,
            "errors": [[error.type, error.message] for error in node.errors],
            "attributes": _attributes(node.agent_attributes),
            "intrinsics": _attributes(node.trace_intrinsics),
            "tree": _tree(node.root),
        }
        for node in kept
    ]


def _tree(node: Any) -> dict[str, Any]:
    told = {"node": type(node).__name__, "children": [_tree(child) for child in node.children]}
    for name in ("name", "library", "operation", "destination_type", "destination_name", "params"):
        if hasattr(node, name):
            told[name] = getattr(node, name)
    told["attributes"] = _attributes(getattr(node, "agent_attributes", {}))
    told["errors"] = getattr(node, "error", None)
    return told


CHANGING = (
    "uration",
    "totalTime",
    "time",
    "guid",
    "priority",
    "traceId",
    "thread",
    "id",
    "cpu",
    "tracestate",
)
STANDS = ("code.filepath", "code.lineno")
"""Where the code of a library stands is its own affair."""


def _attributes(attributes: Any) -> dict[str, Any]:
    items = attributes.items() if hasattr(attributes, "items") else [(a.name, a.value) for a in attributes]
    return {
        key: value for key, value in items if key not in STANDS and not any(word in key for word in CHANGING)
    }
