"""Site24x7's agent, without its collector: transactions are taken when they have ended."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from typing import Any

os.environ.update(S247_LICENSE_KEY="program", APM_LOGS_DIR=tempfile.mkdtemp(prefix="cpika-ecosystem-"))

ENDED: list[Any] = []


def start() -> None:
    """Start the agent; it thinks that its collector has told it to go on."""
    from apminsight import constants
    from apminsight.agent import Agent
    from apminsight.collector.metric_dispatcher import MetricDispatcher

    end = Agent.end_txn

    def end_and_keep(agent: Any, transaction: Any, *args: Any, **kwargs: Any) -> None:
        end(agent, transaction, *args, **kwargs)
        ENDED.append(transaction)

    Agent.end_txn = end_and_keep
    Agent.update_threshold_config = lambda self, name=None: {"instance.status": constants.manage_agent}
    Agent.is_cpu_threshold_breached = lambda self: False
    MetricDispatcher.has_started = lambda self: True
    with contextlib.redirect_stdout(None):
        import apminsight

        apminsight.initialize_agent({"license_key": "program", "app_port": "80"})


@contextlib.contextmanager
def work(name: str) -> Iterator[None]:
    """A background transaction around what the program does."""
    from apminsight.agentfactory import get_agent
    from apminsight.context import clear_cur_context
    from apminsight.instrumentation.util import create_tracker_info

    agent = get_agent()
    transaction = agent.check_and_create_bgtxn(name, create_tracker_info("program", {"method": name}))
    try:
        yield
    except Exception as error:
        agent.end_txn(transaction, err=error)
        raise
    else:
        agent.end_txn(transaction)
    finally:
        clear_cur_context()


def spans() -> list[dict[str, Any]]:
    """The trackers of the transactions."""
    kept = [transaction for transaction in ENDED if transaction is not None]
    ENDED.clear()
    return [
        _tracker(transaction, tracker)
        for transaction in kept
        for tracker in transaction.get_trackers().values()
    ]


def _tracker(transaction: Any, tracker: Any) -> dict[str, Any]:
    return {
        "name": tracker.get_tracker_name(),
        "transaction": transaction.get_txn_name(),
        "kind": tracker.get_component(),
        "trace": transaction.get_trace_id(),
        "id": tracker.get_span_id(),
        "parent": tracker.get_parent_span_id(),
        "errors": [tracker.is_error(), tracker.get_exception_name()],
        "attributes": dict(tracker.get_info()),
        "exceptions": dict(transaction.get_exceptions_info() or {}),
    }
