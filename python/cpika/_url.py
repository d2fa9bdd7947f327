"""What stands in a URL and in the options of its query; errors about it never show a secret."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from urllib.parse import ParseResult


def without_secret(value: Any) -> str:
    """Return how an error shows a value that was given for credentials: never more than its type."""
    if value is None or isinstance(value, (bool, type)):
        return repr(value)
    return f"an object of type {type(value).__name__}"


def mask_url(url: str) -> str:
    """Return the URL without its password and query, for an error message.

    Where it is not certain which part is the password, nothing after the scheme is shown.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return "***"
    address = rest.partition("?")[0]
    if rest.count("@") > 1 or address.count("@") != rest.count("@"):
        return f"{scheme}://***"
    user_info, at, location = address.rpartition("@")
    if not at:
        return f"{scheme}://***" if ":" in address else f"{scheme}://{address}"
    user, colon, _ = user_info.partition(":")
    return f"{scheme}://{user}{':***' if colon else ''}@{location}"


def split_url(url: str) -> tuple[ParseResult, int | None]:
    """Return the parts of the URL and its port, with `http` for `amqp`, whose syntax urllib knows."""
    from urllib.parse import urlparse

    try:
        parts = urlparse("http" + url[4:] if url[:4].lower() == "amqp" else url)
        return parts, parts.port
    except ValueError as error:
        reason = str(error)
    # Outside the handler, so that the error raised does not lead to one whose text may hold the password.
    if reason in ("Invalid IPv6 URL", "Port out of range 0-65535"):
        raise ValueError(reason)
    raise ValueError(f"URL {mask_url(url)!r} has an invalid host or port; is a '/', '@' or ':' not encoded?")


def parse_number(kind: Callable[[str], Any], name: str, value: str) -> Any:
    """Return an option of the query as an int or a float."""
    try:
        return kind(value)
    except ValueError as exc:
        raise ValueError(f"Invalid {name} value {value!r}: {exc!r}") from exc


def parse_ssl_options(value: str) -> dict[str, Any] | None:
    """Return the option `ssl_options` of the query, which may hold the password of a key."""
    import ast

    try:
        options = ast.literal_eval(value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        options = NotImplemented
    if options is NotImplemented:
        raise ValueError("Invalid ssl_options value: it is not a Python literal")
    if options is not None and not isinstance(options, dict):
        raise TypeError(f"ssl_options must be a dict or None, but got {without_secret(options)}")
    return options
