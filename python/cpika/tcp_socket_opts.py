"""Options of a TCP socket by name."""

from __future__ import annotations

import logging
import socket
from collections.abc import Mapping

from cpika.compat import SOL_TCP

LOGGER = logging.getLogger("pika.tcp_socket_opts")

_KEEPALIVE_OPTIONS = ("TCP_KEEPIDLE", "TCP_KEEPCNT", "TCP_KEEPINTVL")

_SUPPORTED_TCP_OPTIONS: dict[str, int] = {
    name: getattr(socket, name) for name in ("TCP_USER_TIMEOUT", *_KEEPALIVE_OPTIONS) if hasattr(socket, name)
}


def socket_requires_keepalive(tcp_options: Mapping[str, int]) -> bool:
    """Return whether one of the options has an effect only with SO_KEEPALIVE."""
    return any(name in tcp_options for name in _KEEPALIVE_OPTIONS)


def set_sock_opts(tcp_options: Mapping[str, int] | None, sock: socket.socket) -> None:
    """Set the options on the socket; an unknown name logs a warning.

    :param tcp_options: values by name, or None
    :raises OSError: the system refuses a value
    """
    if not tcp_options:
        return
    if socket_requires_keepalive(tcp_options):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in tcp_options.items():
        option = _SUPPORTED_TCP_OPTIONS.get(name)
        if option is None:
            LOGGER.warning("Unsupported TCP option %s:%s", name, value)
        else:
            sock.setsockopt(SOL_TCP, option, value)
