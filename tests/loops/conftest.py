"""Fixtures of the tests of `cpika.aio`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import cpika
import pytest
from parity.harness import Broker

SECONDS = 30.0


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Runs a coroutine to its end on a loop of each kind."""

    def run_on_a_new_loop(coroutine: Coroutine[Any, Any, Any]) -> Any:
        if request.param == "uvloop":
            import uvloop

            loop: Any = uvloop.new_event_loop()
        else:
            loop = asyncio.new_event_loop()
        try:
            return loop.run_until_complete(asyncio.wait_for(coroutine, SECONDS))
        finally:
            loop.close()

    return run_on_a_new_loop


@pytest.fixture
def params(broker_url: str) -> Any:
    return Broker.of_this_run().parameters(cpika)
