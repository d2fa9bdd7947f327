"""What the tests of buffered blocks have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support.proxy import Proxy


@pytest.fixture
def channel(proxy: Proxy, connect: Callable[..., Any], queue_name: str) -> Any:
    """A channel through the proxy; the queue exists."""
    made = connect(proxy).channel()
    made.queue_declare(queue_name)
    return made
