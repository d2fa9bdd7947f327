"""pika's bridge from its own kind of I/O loop to its connections: names only."""

from __future__ import annotations

import logging

from cpika._not_built import NotBuilt

LOGGER = logging.getLogger("pika.adapters.utils.selector_ioloop_adapter")


class AbstractSelectorIOLoop(NotBuilt):
    """In pika, the I/O loop that a `SelectorIOServicesAdapter` needs."""


class SelectorIOServicesAdapter(NotBuilt):
    """In pika, the services of such an I/O loop."""
