"""What the tests of `publish_many` have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def channel(connect: Callable[..., Any], queue_name: str) -> Any:
    """A channel in confirm mode; the queue exists."""
    made = connect().channel()
    made.queue_declare(queue_name)
    made.confirm_delivery()
    return made
