"""The credentials that a connection shows to the broker.

No repr and no error of these classes contains a password.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Union

import cpika
from cpika.compat import as_bytes

if TYPE_CHECKING:
    import cpika.spec

LOGGER = logging.getLogger("pika.credentials")


class _Credentials(Protocol):
    """What a class of credentials of one's own needs, beside a place in VALID_TYPES."""

    TYPE: ClassVar[str]
    erase_on_connect: bool

    def response_for(self, start: cpika.spec.Connection.Start) -> tuple[str | None, bytes | None]: ...
    def erase_credentials(self) -> None: ...


def _offers(start: cpika.spec.Connection.Start, mechanism: str) -> bool:
    """Return whether the broker's Connection.Start names the mechanism."""
    return as_bytes(mechanism) in as_bytes(start.mechanisms).split()


def encode_secret(name: str, value: Any) -> bytes:
    """Return the bytes of a user name, a password or the like. Errors name it and never show it.

    :raises TypeError: neither str nor bytes
    :raises ValueError: UTF-8 cannot express it
    """
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, but got an object of type {type(value).__name__}")
    try:
        return value.encode("utf-8")
    except UnicodeEncodeError:
        pass  # that error holds the whole string; the one raised must not lead to it
    raise ValueError(f"{name} holds characters that UTF-8 cannot express")


class PlainCredentials:
    """User name and password, the mechanism PLAIN."""

    TYPE: ClassVar[str] = "PLAIN"

    def __init__(self, username: str, password: str, erase_on_connect: bool = False) -> None:
        """
        :param username: user name
        :param password: password
        :param erase_on_connect: forget both once they have been sent
        """
        self.username: str = username
        self.password: str = password
        self.erase_on_connect = erase_on_connect

    def __eq__(self, other: object) -> bool:
        if isinstance(other, PlainCredentials):
            return (
                self.username == other.username
                and self.password == other.password
                and self.erase_on_connect == other.erase_on_connect
            )
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def response_for(self, start: cpika.spec.Connection.Start) -> tuple[str | None, bytes | None]:
        """Return the mechanism and the response for Connection.StartOk.

        :param start: the broker's Connection.Start
        :returns: (None, None) if the broker does not offer PLAIN
        :raises TypeError: user name or password is not a string
        :raises ValueError: UTF-8 cannot express one of them
        """
        if not _offers(start, PlainCredentials.TYPE):
            return None, None
        parts = [encode_secret(name, getattr(self, name) or "") for name in ("username", "password")]
        return PlainCredentials.TYPE, b"\0" + b"\0".join(parts)

    def erase_credentials(self) -> None:
        """Forget user name and password if that was asked for; the connection calls it after StartOk."""
        if self.erase_on_connect:
            LOGGER.info("Erasing stored credential values")
            # pika's annotations do not tell of this either: users would have to ask for None everywhere.
            self.username = None  # type: ignore[assignment]
            self.password = None  # type: ignore[assignment]


class ExternalCredentials:
    """Authentication outside AMQP, as by a TLS client certificate: the mechanism EXTERNAL."""

    TYPE: ClassVar[str] = "EXTERNAL"

    def __init__(self) -> None:
        self.erase_on_connect = False

    def __eq__(self, other: object) -> bool:
        if isinstance(other, ExternalCredentials):
            return self.erase_on_connect == other.erase_on_connect
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def response_for(self, start: cpika.spec.Connection.Start) -> tuple[str | None, bytes | None]:
        """Return the mechanism and an empty response for Connection.StartOk.

        :param start: the broker's Connection.Start
        :returns: (None, None) if the broker does not offer EXTERNAL
        """
        if not _offers(start, ExternalCredentials.TYPE):
            return None, None
        return ExternalCredentials.TYPE, b""

    def erase_credentials(self) -> None:
        """Do nothing: there is nothing to forget."""
        LOGGER.debug("Not supported by this Credentials type")


Credentials = Union[PlainCredentials, ExternalCredentials]

VALID_TYPES: list[type[Any]] = [PlainCredentials, ExternalCredentials]
"""The classes that connection parameters accept; append one of your own to have it accepted."""
