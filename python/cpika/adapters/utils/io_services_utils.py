"""What pika's I/O loops share; the two checks are all that is left without the loops."""

from __future__ import annotations

import logging
import numbers
from typing import Any

from cpika._not_built import NotBuilt

_LOGGER = logging.getLogger("pika.adapters.utils.io_services_utils")


def check_callback_arg(callback: Any, name: str) -> None:
    """Require a callable.

    :raises TypeError: `callback` is something else
    """
    if not callable(callback):
        raise TypeError(f"{name} must be callable, but got {callback!r}")


def check_fd_arg(fd: Any) -> None:
    """Require an integer for a file descriptor.

    :raises TypeError: `fd` is something else
    """
    if not isinstance(fd, numbers.Integral):
        raise TypeError(f"Paramter must be a file descriptor, but got {fd!r}")


class SocketConnectionMixin(NotBuilt):
    """In pika, connects sockets from an I/O loop."""


class StreamingConnectionMixin(NotBuilt):
    """In pika, sets up TLS and the stream from an I/O loop."""
