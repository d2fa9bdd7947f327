"""The AMQP handshake without I/O, for all drivers: what is said, what is agreed, what a refusal means."""

from __future__ import annotations

import sys
from typing import Any

import cpika
import cpika.connection
from cpika import exceptions, frame, spec
from cpika._states import ConnectionStates
from cpika.connection import Parameters

PROTOCOL_HEADER = b"AMQP" + bytes((0, *spec.PROTOCOL_VERSION))


# How a connection ends while it is made tells which step the broker refused.
REFUSED_AT: dict[int, tuple[type[exceptions.AMQPConnectionError], str]] = {
    ConnectionStates.CONNECTION_PROTOCOL: (
        exceptions.IncompatibleProtocolError,
        "Probably incompatible Protocol Versions",
    ),
    ConnectionStates.CONNECTION_START: (
        exceptions.ProbableAuthenticationError,
        "Connection closed while authenticating indicating a probable authentication error",
    ),
    ConnectionStates.CONNECTION_TUNE: (
        exceptions.ProbableAccessDeniedError,
        "Connection closed while tuning the connection indicating a probable permission error when "
        "accessing a virtual host",
    ),
}


def capabilities(start: Any) -> dict[str, Any]:
    """Return what the broker says in Connection.Start that it can do."""
    told = start.server_properties.get("capabilities")
    return told if isinstance(told, dict) else {}


def _product() -> str:
    """Return this library's name, or what a program has put in the place of pika's."""
    product = cpika.connection.PRODUCT
    return "cpika" if product == cpika.connection._PIKAS_PRODUCT else product


def client_properties(params: Parameters) -> dict[str, Any]:
    """Return what the broker is told about this client."""
    return {
        "product": _product(),
        # As platform.python_version(): that module takes a tenth of what importing this library does.
        "platform": f"Python {sys.version.split()[0]}",
        "capabilities": {
            "authentication_failure_close": True,
            "basic.nack": True,
            "connection.blocked": True,
            "consumer_cancel_notify": True,
            "exchange_exchange_bindings": True,
            "publisher_confirms": True,
        },
        "information": f"a C core behind the interface of pika {cpika.__version__}",
        "version": cpika.__cpika_version__,
        **(params.client_properties or {}),
    }


def start_ok(params: Parameters, start: Any) -> Any:
    """Return the answer to Connection.Start; the credentials are erased if they say so.

    :raises pika.exceptions.ProtocolVersionMismatch: the broker speaks another version
    :raises pika.exceptions.AuthenticationError: none of its mechanisms is ours
    """
    if (start.version_major, start.version_minor) != spec.PROTOCOL_VERSION[0:2]:
        raise exceptions.ProtocolVersionMismatch(frame.ProtocolHeader(), frame.Method(0, start))
    mechanism, response = params.credentials.response_for(start)
    if not mechanism:
        raise exceptions.AuthenticationError(params.credentials.TYPE)
    params.credentials.erase_credentials()
    return spec.Connection.StartOk(client_properties(params), mechanism, response, params.locale)


def settle_limits(connection: Any, params: Parameters, tune: Any) -> tuple[int, int]:
    """Put into the parameters what is agreed after Connection.Tune.

    :param connection: what a callable `heartbeat` gets as its first argument
    :returns: the size of a frame in bytes, and the heartbeat's timeout in seconds
    :raises ValueError: the broker wants frames smaller than AMQP allows, or the heartbeat has no 16 bits
    :raises TypeError: what a callable `heartbeat` returned is no number
    """
    params.channel_max = negotiate(params.channel_max, tune.channel_max)
    frame_max = negotiate(params.frame_max, tune.frame_max)
    if frame_max < spec.FRAME_MIN_SIZE:
        raise ValueError(f"Min AMQP 0.9.1 Frame Size is {spec.FRAME_MIN_SIZE}, but got {frame_max}")
    params._frame_max = frame_max  # the broker may want less than the setter allows a user
    heartbeat = params.heartbeat
    if callable(heartbeat):
        heartbeat = heartbeat(connection, tune.heartbeat)
        if heartbeat is None or callable(heartbeat):
            raise TypeError(f"heartbeat callback must not return None or callable, but got {heartbeat!r}")
    params.heartbeat = heartbeat = tune.heartbeat if heartbeat is None else heartbeat
    if heartbeat > 65535:  # AMQP has 16 bits for it
        raise ValueError(f"heartbeat must be <= 65535, but got {heartbeat!r}")
    return frame_max, int(heartbeat)


def negotiate(ours: int | None, theirs: int | None) -> int:
    """Return the smaller of two limits; 0 or None is no limit."""
    ours, theirs = ours or 0, theirs or 0
    return min(ours, theirs) if ours and theirs else max(ours, theirs)
