"""Runs the code on the documentation's pages.

A fenced block of Python or of shell commands is run as it stands, in a folder of the page's own, and has to
end with status 0 and nothing on stderr. A comment on the line above it says what else:

    <!-- not run: WHY -->        the reason
    <!-- file: NAME -->          kept under that name, for the blocks that follow
    <!-- with: NAME -->          a fragment: one of PRELUDES stands before it
    <!-- prints: TEXT -->        what it has to print
    <!-- until: TEXT; SIGINT --> it does not end by itself: once it has printed that, it gets the signal
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import NamedTuple

LANGUAGES = {"python", "sh", "ini", "dockerfile", "yaml", "toml"}
RUNNABLE = {"python", "sh"}
MARKS = {"not run", "file", "with", "prints", "until"}
FENCE = re.compile(r"^(?:<!-- (?P<marks>[^\n]*) -->\n)?```(?P<language>\w+)\n(?P<code>.*?)^```$", re.M | re.S)
PATIENCE = 60  # seconds for a block

CONNECT = """\
import cpika as pika
connection = pika.BlockingConnection(pika.ConnectionParameters("localhost"))
channel = connection.channel()
channel.queue_declare("tasks", durable=True)
channel.queue_purge("tasks")
"""
PRELUDES = {
    "connection": CONNECT,
    "channel": CONNECT,
    "three messages": CONNECT + "for number in range(3): channel.basic_publish('', 'tasks', str(number))\n",
}


class Block(NamedTuple):
    """A block of code on a page."""

    line: int
    language: str
    code: str
    marks: dict[str, str]


def blocks(page: Path) -> list[Block]:
    """The blocks of a page that are in a language; `text` and directives of the site are none."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(text.count("\n", 0, found.start()) + 1, found["language"], found["code"], marks(found["marks"]))
        for found in FENCE.finditer(text)
        if found["language"] != "text"
    ]


def marks(comment: str | None) -> dict[str, str]:
    """What the comment above a block says: the names of marks with their values."""
    if comment is None:
        return {}
    parts = [comment] if comment.startswith("not run") else comment.split("; ")
    return {name: value for name, _, value in (part.partition(": ") for part in parts)}


class Runner:
    """Runs blocks one after another in a folder, against a broker.

    :param host: where `localhost` of the pages is
    :param port: and the port that they leave out
    """

    def __init__(self, folder: Path, port: int, host: str = "127.0.0.1") -> None:
        self.folder = folder
        self._port = port
        self._host = host
        self.environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONUNBUFFERED": "1",
        }

    def _here(self, code: str) -> str:
        """The code, with the broker of the tests for the one of the reader's machine."""
        code = code.replace(
            'ConnectionParameters("localhost"', f'ConnectionParameters("{self._host}", {self._port}'
        )
        return code.replace("@localhost/", f"@{self._host}:{self._port}/")

    def run(self, block: Block) -> None:
        """Run a block; an AssertionError says what it did instead of what it should."""
        if "not run" in block.marks:
            return
        code = self._here(block.code)
        if "file" in block.marks:
            (self.folder / block.marks["file"]).write_text(code, encoding="utf-8")
            if block.language == "python":
                compile(code, block.marks["file"], "exec")
            return
        code = self._here(PRELUDES[block.marks["with"]]) + code if "with" in block.marks else code
        command = [sys.executable, "-c", code] if block.language == "python" else ["sh", "-euc", code]
        if "until" in block.marks:
            assert block.language == "sh", f"line {block.line}: 'until' is for a command"
            command[-1] = f"exec {code}"  # the signal is for the program, not for the shell
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if "until" in block.marks else subprocess.PIPE,
            text=True,
        )
        timer = threading.Timer(PATIENCE, process.kill)
        timer.start()
        try:
            printed = self._until(process, block) if "until" in block.marks else ""
            stdout, stderr = process.communicate()
        finally:
            timer.cancel()
        assert process.returncode == 0 and not stderr, f"line {block.line}: {process.returncode}\n{stderr}"
        assert block.marks.get("prints", "") in printed + stdout, (
            f"line {block.line} printed: {printed}{stdout}"
        )

    @staticmethod
    def _until(process: subprocess.Popen[str], block: Block) -> str:
        """Read what it prints until the text has come, then send it the signal."""
        (name,) = (mark for mark in block.marks if mark.startswith("SIG"))
        assert process.stdout is not None
        printed = ""
        for line in process.stdout:
            printed += line
            if block.marks["until"] in line:
                process.send_signal(getattr(signal, name))
                return printed
        raise AssertionError(
            f"line {block.line}: ended without {block.marks['until']!r}; printed:\n{printed}"
        )
