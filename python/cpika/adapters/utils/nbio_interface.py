"""The interfaces between pika's asynchronous connections and their I/O loops: names only."""

from __future__ import annotations

from cpika.compat import AbstractBase


class AbstractIOServices(AbstractBase):
    """In pika, what a connection asks of an I/O loop."""


class AbstractFileDescriptorServices(AbstractBase):
    """In pika, how a connection watches descriptors."""


class AbstractTimerReference(AbstractBase):
    """In pika, a timer that can be cancelled."""


class AbstractIOReference(AbstractBase):
    """In pika, an operation that can be cancelled."""


class AbstractStreamProtocol(AbstractBase):
    """In pika, what a stream tells the connection."""


class AbstractStreamTransport(AbstractBase):
    """In pika, what a connection asks of its stream."""
