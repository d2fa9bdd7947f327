"""Runs the programs of an example, on pika or on cpika, and awaits what they print."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from demo_compare import Output

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
PATIENCE = 60.0  # seconds that a program may take to its next awaited line or to its end


class DemoError(Exception):
    """A program did not do what the play awaits."""


@dataclass(frozen=True)
class Client:
    """A way to run a script."""

    name: str
    command: tuple[str, ...]


PIKA = Client("pika", (sys.executable,))
CPIKA = Client("cpika", (sys.executable, "-m", "cpika"))


class Program:
    """One running program of an example."""

    def __init__(self, role: str, command: list[str], env: Mapping[str, str]) -> None:
        self.role = role
        self._lines: dict[str, list[str]] = {"stdout": [], "stderr": []}
        self._news = threading.Condition()
        self._process = subprocess.Popen(
            command,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,  # a Ctrl-C in our terminal is ours; we end the programs
        )
        assert self._process.stdout is not None and self._process.stderr is not None
        self._readers = [
            threading.Thread(target=self._read, args=(self._process.stdout, "stdout"), daemon=True),
            threading.Thread(target=self._read, args=(self._process.stderr, "stderr"), daemon=True),
        ]
        self._open = len(self._readers)
        for reader in self._readers:
            reader.start()

    def _read(self, stream: IO[str], name: str) -> None:
        with stream:
            for line in stream:
                with self._news:
                    self._lines[name].append(line)
                    self._news.notify_all()
        with self._news:
            self._open -= 1
            self._news.notify_all()

    def _text(self) -> str:
        texts = (f"{name} {''.join(lines)!r}" for name, lines in self._lines.items())
        return f"{self.role}: {', '.join(texts)}"

    def await_line(self, part: str, count: int = 1, patience: float = PATIENCE) -> None:
        """Return once `count` lines of stdout contain `part`; DemoError when the program or patience ends."""
        deadline = time.monotonic() + patience
        with self._news:
            while sum(part in line for line in self._lines["stdout"]) < count:
                if self._open == 0 or not self._news.wait(deadline - time.monotonic()):
                    raise DemoError(f"no line with {part!r} came from {self._text()}")

    def interrupt(self) -> None:
        """What Ctrl-C does."""
        self._process.send_signal(signal.SIGINT)

    def terminate(self) -> None:
        """What the command `kill` does."""
        self._process.terminate()

    def finish(self, patience: float = PATIENCE) -> Output:
        """Await the end. Raises DemoError when patience is over."""
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            raise DemoError(f"no end after {patience:.0f} s of {self._text()}") from None
        for reader in self._readers:
            reader.join()
        return Output(
            self.role,
            "".join(self._lines["stdout"]),
            "".join(self._lines["stderr"]),
            self._process.returncode,
        )

    def kill(self) -> None:
        """End it now; safe to repeat."""
        self._process.kill()
        self._process.wait()
        for reader in self._readers:
            reader.join()


class Stage:
    """Where one example is played by one client: starts its programs, keeps their outputs, ends what is left.

    :param client: pika or cpika
    :param url: the broker, handed to the programs in CPIKA_BROKER_URL
    :param prefix: put before every exchange and queue
    :param scratch: an empty folder
    :param examples: folder of the scripts
    """

    def __init__(
        self, client: Client, url: str, prefix: str, scratch: Path, examples: Path = EXAMPLES
    ) -> None:
        self.client = client
        self.scratch = scratch
        self.outputs: list[Output] = []
        self.env = {**os.environ, "CPIKA_BROKER_URL": url, "EXAMPLES_PREFIX": prefix}
        self._examples = examples
        self._programs: list[Program] = []

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *exc_info: object) -> None:
        for program in self._programs:
            program.kill()

    def start(self, role: str, script: str, *arguments: str) -> Program:
        """Start a program; `role` names it in the outputs."""
        command = [*self.client.command, str(self._examples / script), *arguments]
        program = Program(role, command, self.env)
        self._programs.append(program)
        return program

    def finish(self, program: Program, status: int | None = 0) -> Output:
        """Await its end and keep its output; DemoError when it has another status (None: any will do)."""
        output = program.finish()
        self.outputs.append(output)
        if status is not None and output.status != status:
            raise DemoError(
                f"{output.role} ended with status {output.status}, not {status}:\n{output.stderr}"
            )
        return output

    def run(self, role: str, script: str, *arguments: str, status: int | None = 0) -> Output:
        """Start a program and await its end."""
        return self.finish(self.start(role, script, *arguments), status)
