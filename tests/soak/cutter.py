"""A proxy for one connection that cuts it after so many bytes of one direction."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import threading
from typing import NamedTuple

from support.amqp import FrameSplitter

CLIENT, SERVER = "client", "server"  # where bytes come from
FIN, RST, HALF, SILENCE = "FIN", "RST", "half-close", "silence"
CHUNK = 64 * 1024
NEVER = 1 << 62
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER that makes close() send RST


class Knife(NamedTuple):
    """Where and how.

    :param origin: CLIENT or SERVER, whose bytes are counted
    :param after: the last byte that goes through; the cut comes when it has gone
    :param how: FIN ends both directions in order, and what still comes is read and dropped; RST resets both;
        HALF ends the counted direction only; SILENCE forwards nothing more and keeps both open
    """

    origin: str = CLIENT
    after: int = NEVER
    how: str = FIN


class Cutter:
    """Listens for one client and forwards to `upstream` in a thread of its own until the cut.

    `sent` has the bytes that went through, by origin; `names` those of the server's frames that did, whole.
    """

    def __init__(self, upstream: tuple[str, int], knife: Knife) -> None:
        self.sent = {CLIENT: 0, SERVER: 0}
        self.names: list[str] = []
        self.has_cut = False
        self._knife = knife
        self._upstream = upstream
        self._splitter = FrameSplitter()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._wake, self._stop = os.pipe()
        self._dead: set[str] = set()  # origins whose bytes are dropped
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def __enter__(self) -> Cutter:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends it and what it has open."""
        os.write(self._stop, b".")
        self._thread.join()
        self._listener.close()
        os.close(self._wake)
        os.close(self._stop)

    def count(self, name: str) -> int:
        """How many frames of this name the client was sent whole."""
        return self.names.count(name)

    def _run(self) -> None:
        ready, _, _ = select.select([self._listener, self._wake], [], [])
        if self._wake in ready:
            return
        client, _ = self._listener.accept()
        with client, socket.create_connection(self._upstream) as server, contextlib.suppress(OSError):
            for sock in (client, server):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._forward({CLIENT: client, SERVER: server})

    def _forward(self, sockets: dict[str, socket.socket]) -> None:
        if self._knife.after == 0:
            self._cut(sockets)
        reading = dict(sockets)
        while reading:
            ready, _, _ = select.select([*reading.values(), self._wake], [], [])
            if self._wake in ready:
                return
            for origin in [name for name, sock in reading.items() if sock in ready]:
                data = _received(sockets[origin])
                if not data:
                    del reading[origin]
                    self._end(sockets, origin)
                elif origin not in self._dead:
                    self._pass_on(sockets, origin, data)
                if sockets[origin].fileno() < 0:
                    return  # reset
            if self.has_cut and self._knife.how == SILENCE:
                select.select([self._wake], [], [])
                return

    def _pass_on(self, sockets: dict[str, socket.socket], origin: str, data: bytes) -> None:
        left = self._knife.after - self.sent[origin] if origin == self._knife.origin else NEVER
        part = data[:left]
        self.sent[origin] += len(part)
        if origin == SERVER:
            self.names += [frame.name for frame in self._splitter.feed(part)]
        try:
            sockets[other(origin)].sendall(part)
        except OSError:  # it has hung up
            self._dead.add(origin)
        if len(data) >= left:
            self._cut(sockets)

    def _cut(self, sockets: dict[str, socket.socket]) -> None:
        self.has_cut = True
        how = self._knife.how
        if how == RST:
            for sock in sockets.values():
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
                sock.close()
        elif how == FIN:
            self._dead = {CLIENT, SERVER}
            for origin in sockets:
                self._end(sockets, origin)
        elif how == HALF:
            self._dead = {self._knife.origin}
            self._end(sockets, self._knife.origin)

    @staticmethod
    def _end(sockets: dict[str, socket.socket], origin: str) -> None:
        """Nothing more comes from `origin`."""
        with contextlib.suppress(OSError):
            sockets[other(origin)].shutdown(socket.SHUT_WR)


def _received(sock: socket.socket) -> bytes:
    """The next bytes; nothing at the end, also of a reset: the other side is not to be cut off by it."""
    try:
        return sock.recv(CHUNK)
    except OSError:
        return b""


def other(origin: str) -> str:
    """The other side."""
    return SERVER if origin == CLIENT else CLIENT
