"""What pika keeps to bridge platforms and versions; `long` and `as_bytes` are the parts that programs use."""

from __future__ import annotations

import abc
import os
import re
import socket
import sys
import time

RE_NUM = re.compile(r"(\d+).+")

ON_LINUX = sys.platform.startswith("linux")
ON_OSX = sys.platform == "darwin"
ON_WINDOWS = sys.platform == "win32"

HAVE_SIGNAL = os.name == "posix"


class AbstractBase(metaclass=abc.ABCMeta):  # noqa: B024 - only a name to derive from
    """The root of pika's abstract classes."""


SOCKET_ERROR = OSError

SOL_TCP: int = getattr(socket, "SOL_TCP", socket.IPPROTO_TCP)

str_or_bytes = (str, bytes)


class long(int):
    """An int that is encoded in a table as `l` (64 bits) even if it fits in 32."""

    def __str__(self) -> str:
        return str(int(self))

    def __repr__(self) -> str:
        return f"{self}L"


def time_now() -> float:
    """Return the monotonic clock, in seconds."""
    return time.monotonic()


def byte(*args: int) -> bytes:
    """Return the bytes of the given values (0..255)."""
    return bytes(args)


def as_bytes(value: str | bytes) -> bytes:
    """Return `value` if it is bytes, else its UTF-8 encoding."""
    return value if isinstance(value, bytes) else value.encode("UTF-8")


def to_digit(value: str) -> int:
    """Return the number that `value` starts with, or 0; a number alone must fill `value`."""
    if value.isdigit():
        return int(value)
    match = RE_NUM.match(value)
    return int(match.group(1)) if match else 0


def get_linux_version(release_str: str) -> tuple[int, ...]:
    """Return the first three parts of a kernel release such as '6.1.0-18-amd64' as numbers."""
    version = release_str.split("-")[0]
    return tuple(to_digit(part) for part in version.split(".", 3)[:3])


# os.uname() rather than the module platform, which takes longer to import than this whole module.
LINUX_VERSION = get_linux_version(os.uname().release) if ON_LINUX else None


def nonblocking_socketpair(
    family: int = socket.AF_INET, socket_type: int = socket.SOCK_STREAM, proto: int = 0
) -> tuple[socket.socket, socket.socket]:
    """Return two non-blocking TCP sockets of the loopback interface that are connected to each other.

    :raises ValueError: `family` is not AF_INET or AF_INET6, or the kind of socket is not TCP
    """
    hosts = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
    if family not in hosts:
        raise ValueError("Only AF_INET and AF_INET6 socket address families are supported")
    if socket_type != socket.SOCK_STREAM:
        raise ValueError("Only SOCK_STREAM socket socket_type is supported")
    if proto != 0:
        raise ValueError("Only protocol zero is supported")

    with socket.socket(family, socket_type, proto) as listener:
        listener.bind((hosts[socket.AddressFamily(family)], 0))
        listener.listen(1)
        client = socket.socket(family, socket_type, proto)
        try:
            client.connect(listener.getsockname()[:2])
            server, _ = listener.accept()
        except BaseException:
            client.close()
            raise
    client.setblocking(False)
    server.setblocking(False)
    return server, client
