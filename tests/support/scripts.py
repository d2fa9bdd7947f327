"""Runs Python in a process of its own and talks with it by lines: for signals, forks and exit statuses."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

# A shell starts what runs in its background with SIGINT ignored, and that is inherited: whoever runs the
# tests in such a way gets KeyboardInterrupt all the same.
PREAMBLE = """\
import os, signal, sys, threading, time
from support.subject import exceptions, pika
signal.signal(signal.SIGINT, signal.default_int_handler)
"""


class Script:
    """`code` in a new interpreter, `arguments` in its sys.argv[1:]; its standard error goes to ours."""

    def __init__(self, code: str, *arguments: object) -> None:
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", PREAMBLE + textwrap.dedent(code), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Script:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def line(self, timeout: float = 20.0) -> str:
        """The next line that it prints; fails when it ends or `timeout` seconds pass first."""
        try:
            line = self._lines.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError(f"the script printed nothing for {timeout} s") from None
        if line is None:
            raise EOFError(f"the script ended with status {self.process.wait()}")
        return line

    def expect(self, text: str, timeout: float = 20.0) -> None:
        """Fails unless the next line is `text`."""
        line = self.line(timeout)
        assert line == text, f"expected {text!r}, the script printed {line!r}"

    def tell(self, text: str) -> None:
        """Writes a line to its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def interrupt(self, number: int = signal.SIGINT) -> float:
        """Sends a signal; returns the moment (time.monotonic)."""
        moment = time.monotonic()
        self.process.send_signal(number)
        return moment

    def await_sleep(self, timeout: float = 10.0) -> None:
        """Returns when its main thread sleeps in the kernel, as it does in any wait.

        There is no event for that: the state is read until it has been the same three times in a row.
        """
        stat = Path(f"/proc/{self.process.pid}/stat")
        deadline = time.monotonic() + timeout
        asleep = 0
        while asleep < 3:
            asleep = asleep + 1 if stat.read_text().rpartition(")")[2].split()[0] == "S" else 0
            if time.monotonic() > deadline:
                raise TimeoutError(f"the script did not come to rest within {timeout} s")
            time.sleep(0.005)

    def finish(self, timeout: float = 20.0) -> int:
        """Waits for its end; returns its exit status."""
        return self.process.wait(timeout)
