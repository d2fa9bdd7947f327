"""What stands while the cases of a part run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from support.nodes import LocalNode


@contextlib.contextmanager
def no_node() -> Iterator[str]:
    """The cases bring what they need."""
    yield ""


@contextlib.contextmanager
def own_node() -> Iterator[str]:
    """A RabbitMQ node of the part's own."""
    with LocalNode() as node:
        yield node.url
