"""The states of a connection: pika's names and numbers, and what a repr calls them."""

from __future__ import annotations

from typing import ClassVar


class ConnectionStates:
    """What `pika.connection.Connection` has of them, for every class that stands for one."""

    CONNECTION_CLOSED = 0
    CONNECTION_INIT = 1
    CONNECTION_PROTOCOL = 2
    CONNECTION_START = 3
    CONNECTION_TUNE = 4
    CONNECTION_OPEN = 5
    CONNECTION_CLOSING = 6

    _STATE_NAMES: ClassVar[dict[int, str]] = {
        CONNECTION_CLOSED: "CLOSED",
        CONNECTION_INIT: "INIT",
        CONNECTION_PROTOCOL: "PROTOCOL",
        CONNECTION_START: "START",
        CONNECTION_TUNE: "TUNE",
        CONNECTION_OPEN: "OPEN",
        CONNECTION_CLOSING: "CLOSING",
    }
