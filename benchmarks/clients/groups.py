"""Finds a scenario of event loops or threads; only its own libraries are imported, for the sake of memory."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

from common import Job


def scenarios_beside(pika: ModuleType, name: str) -> dict[str, Callable[[Job], None]]:
    """The scenarios of what `name` begins with, a loop, threads or aio; none for a blocking one."""
    kind = name.partition("_")[0]
    if kind in ("select", "asyncio", "uvloop", "tornado", "gevent"):
        from loop_scenarios import loop_scenarios

        return loop_scenarios(pika)
    if kind == "twisted":
        from twisted_scenarios import twisted_scenarios

        return twisted_scenarios(pika)
    if kind == "threads":
        from thread_scenarios import thread_scenarios

        return thread_scenarios(pika)
    if kind == "aio":
        from cpika_aio import aio_scenarios

        return aio_scenarios()
    return {}
