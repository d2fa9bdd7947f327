"""Runs a program written for pika on pika and, under `python -m cpika`, on cpika; compares what it prints."""

from __future__ import annotations

import difflib
import os
import re
import subprocess
import sys
import textwrap
import uuid

_PREAMBLE = """\
import logging, sys, threading, time
import pika, pika.channel, pika.adapters.blocking_connection
from pika.adapters.blocking_connection import BlockingChannel
from pika.channel import Channel

def connect(**options):
    parameters = pika.URLParameters(sys.argv[1])
    for name, value in options.items():
        setattr(parameters, name, value)
    return pika.BlockingConnection(parameters)

def tell(what, use, *args, **kwargs):
    "What a use returns or raises."
    try:
        result = use(*args, **kwargs)
    except BaseException as error:
        print(what, "raised", repr(error))
    else:
        print(what, "->", repr(result))
        return result
"""


def _start(program: str, library: str, *arguments: str) -> subprocess.Popen[str]:
    alias = [] if library == "pika" else ["-m", "cpika"]
    return subprocess.Popen(
        [sys.executable, *alias, "-c", _PREAMBLE + textwrap.dedent(program), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )


def _lines(process: subprocess.Popen[str], library: str) -> list[str]:
    try:
        output, errors = process.communicate(timeout=50)
    except subprocess.TimeoutExpired:
        process.kill()
        output, errors = process.communicate()
        errors += "\nit takes too long"
    assert process.returncode == 0, f"on {library}:\n{output}\n{errors}"
    return [_alike(line) for line in output.splitlines()]


def run(program: str, library: str, *arguments: str) -> list[str]:
    """The lines that a program prints on one library; ids, addresses and ports are made alike."""
    return _lines(_start(program, library, *arguments), library)


def _alike(line: str) -> str:
    line = re.sub(r"ctag(\d+)\.[0-9a-f]{32}", r"ctag\1.*", line)
    line = re.sub(r"amq\.gen-[\w-]+", "amq.gen-*", line)
    line = re.sub(r"\b0x[0-9a-f]+", "0x", line)
    return re.sub(r"transport=<?[^>]*>(?: object at 0x>)?", "transport=*", line)


def same_on_both(program: str, *arguments: str) -> list[str]:
    """Runs a program on both and asserts that it prints the same, and something.

    `{name}` in it is a name that no other run uses.
    """
    names = {library: f"cpika-test-{uuid.uuid4().hex}" for library in ("pika", "cpika")}
    started = {
        library: _start(program.replace("{name}", name), library, *arguments)
        for library, name in names.items()
    }
    lines = {
        library: [line.replace(names[library], "NAME") for line in _lines(process, library)]
        for library, process in started.items()
    }
    difference = "\n".join(difflib.unified_diff(lines["pika"], lines["cpika"], "pika", "cpika", lineterm=""))
    assert not difference, difference
    assert lines["pika"], "it prints nothing"
    return lines["pika"]
