"""TCP ports for servers of our own."""

from __future__ import annotations

import contextlib
import errno
import random
import socket
import sys

_reserved: list[socket.socket] = []


def reserve(port: int) -> bool:
    """False when another process of ours has reserved the port.

    It does so by a name in Linux's abstract namespace, which goes with whoever holds it.
    """
    if not sys.platform.startswith("linux"):
        return True
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.bind(f"\0cpika-port-{port}")
    except OSError as error:
        sock.close()
        return error.errno != errno.EADDRINUSE  # where such names are refused, the look has to do
    _reserved.append(sock)
    return True


def free_ports(count: int) -> list[int]:
    """`count` different TCP ports of the loopback that nobody listens on.

    They lie below the range from which the kernel serves outgoing connections, so that none of those takes a
    port between this look and the listener's own bind; and they stay ours while this process lives, so that
    no other run on this machine does.
    """
    rng = random.SystemRandom()
    found: list[int] = []
    while len(found) < count:
        port = rng.randrange(20000, 32000)
        if port in found:
            continue
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", port))
            if reserve(port):
                found.append(port)
    return found
