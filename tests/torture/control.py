"""The test's hand on the scripted server: starts it, and talks with it by lines of JSON."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any


class Control:
    """A control connection; commands are answered in order."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), 20)
        self._file = self._socket.makefile("rw")
        self._lock = threading.Lock()

    def __call__(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Sends a command and returns the answer."""
        with self._lock:
            self._file.write(json.dumps({"command": command, **arguments}) + "\n")
            self._file.flush()
            answer: dict[str, Any] = json.loads(self._file.readline())
        return answer

    def close(self) -> None:
        """Ends the control connection, not the server."""
        self._file.close()
        self._socket.close()


class ScriptedServer:
    """The server's process; its violations are on `output`, line by line.

    :param certificate: PEM files of certificate and key; None without TLS
    """

    def __init__(self, certificate: tuple[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "torture.scripted", *(certificate or ())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        )
        assert self.process.stdout is not None
        self.output = self.process.stdout
        word, _, ports = self.output.readline().partition(" ")
        assert word == "PORTS", f"the scripted server said {word!r}"
        self.port, self.control_port = json.loads(ports)

    def close(self) -> None:
        """Ends it."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(10)
