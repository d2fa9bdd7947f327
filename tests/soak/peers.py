"""Scripted servers in processes of their own, so that a client's memory and time are its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any

from support.fakeserver import Peer

PATIENCE = 10.0  # seconds that a script waits for its client
NOTICED = 60.0  # seconds in which a client that has given up, or waited in vain, must have closed its socket


class HangUpError(Exception):
    """A script ends the connection by itself."""


class CountingPeer(Peer):
    """Knows how much it has sent."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self.sent = 0

    def send(self, *parts: bytes) -> None:
        """Sends bytes as they are."""
        data = b"".join(parts)
        self.sent += len(data)
        super().send(data)

    def report(self, ended: bool, error: str) -> dict[str, Any]:
        """What its owner wants to know."""
        closes = [frame.payload[4:6].hex() for frame in self.frames if frame.name == "Connection.Close"]
        return {
            "sent": self.sent,
            "closes": [int(code, 16) for code in closes],
            "texts": [
                frame.payload[7 : 7 + frame.payload[6]].decode()
                for frame in self.frames
                if frame.name == "Connection.Close"
            ],
            "names": sorted({frame.name for frame in self.frames if frame.type == 1}),
            "ended": ended,
            "error": error,
        }


Script = Callable[[CountingPeer], None]


class PeerProcess:
    """Serves each connection with `script(peer)`, one after the other, in a fork.

    :param context: for TLS; None for a plain socket
    """

    def __init__(self, script: Script, context: ssl.SSLContext | None = None) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = listener.getsockname()[1]
        reader, writer = os.pipe()
        alive_reader, self._alive = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(self._alive)
                threading.Thread(target=_end_with, args=(alive_reader,), daemon=True).start()
                with os.fdopen(writer, "w") as out:
                    _serve(listener, script, context, out)
            finally:
                os._exit(0)
        listener.close()
        os.close(writer)
        os.close(alive_reader)
        self._reports = os.fdopen(reader)

    def __enter__(self) -> PeerProcess:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def report(self) -> dict[str, Any]:
        """Of the next connection that has ended."""
        line = self._reports.readline()
        return (
            json.loads(line) if line else {"error": "the scripted server is gone", "ended": True, "sent": 0}
        )

    def close(self) -> None:
        """Ends the process."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self._reports.close()
        os.close(self._alive)


def _end_with(alive: int) -> None:
    """Ends this process when the one that holds the other end of the pipe is gone."""
    os.read(alive, 1)
    os._exit(0)


def _serve(listener: socket.socket, script: Script, context: ssl.SSLContext | None, out: Any) -> None:
    while True:
        sock, _ = listener.accept()
        sock.settimeout(PATIENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer = CountingPeer(sock)
        error, hung_up = "", False
        try:
            if context is not None:
                peer.sock = context.wrap_socket(sock, server_side=True)
            script(peer)
        except (HangUpError, socket.timeout):
            hung_up = True
        except (EOFError, OSError, ValueError):
            pass  # the client has gone, or speaks of other things
        except Exception as problem:
            error = repr(problem)
        out.write(json.dumps(peer.report(hung_up or _has_ended(peer), error)) + "\n")
        out.flush()
        with contextlib.suppress(OSError):
            peer.sock.close()


def _has_ended(peer: CountingPeer) -> bool:
    """True when the client closes its socket in time."""
    deadline = time.monotonic() + NOTICED
    try:
        while time.monotonic() < deadline:
            peer.sock.settimeout(max(0.01, deadline - time.monotonic()))
            if not peer.sock.recv(1 << 16):
                return True
    except socket.timeout:
        return False
    except (OSError, ValueError):
        return True
    return False
