"""Ports that refuse, or do not answer; and no socket is left open."""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import threading
from collections.abc import Iterator
from typing import Callable

import pytest
from support import connects


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Listens on the loopback interface; nobody accepts."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.fixture
def closed_port() -> int:
    """A port that refuses."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


@pytest.fixture
def full_port() -> Iterator[int]:
    with connects.full_port() as port:
        yield port


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[socket.socket], None]], int]]:
    """Starts servers that do something with each connection; returns their ports."""
    with contextlib.ExitStack() as stack:

        def start(handle: Callable[[socket.socket], None]) -> int:
            server = socket.create_server(("127.0.0.1", 0))

            def run() -> None:
                while True:
                    try:
                        client, _ = server.accept()
                    except OSError:
                        return
                    with client, contextlib.suppress(OSError):
                        handle(client)

            thread = threading.Thread(target=run)
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.close)
            stack.callback(server.shutdown, socket.SHUT_RDWR)
            port: int = server.getsockname()[1]
            return port

        yield start


def open_sockets() -> set[str]:
    """The sockets of this process."""
    names = set()
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            names.add(os.readlink(f"/proc/self/fd/{descriptor}"))
    return {name for name in names if name.startswith("socket:")}


@pytest.fixture(autouse=True)
def no_socket_leaks() -> Iterator[None]:
    """Whatever happens, no socket stays open, and none waits for the garbage collector to close it."""
    gc.collect()
    gc.disable()
    before = open_sockets()
    yield
    gc.enable()
    assert open_sockets() <= before
