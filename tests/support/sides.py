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


def run(program: str, library: str, *arguments: str) -> list[str]:
    """The lines that a program prints on one library; ids, addresses and ports are made alike."""
    code = _PREAMBLE + textwrap.dedent(program)
    alias = [] if library == "pika" else ["-m", "cpika"]
    done = subprocess.run(
        [sys.executable, *alias, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=50,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )
    assert done.returncode == 0, f"on {library}:\n{done.stdout}\n{done.stderr}"
    return [_alike(line) for line in done.stdout.splitlines()]


def _alike(line: str) -> str:
    line = re.sub(r"ctag(\d+)\.[0-9a-f]{32}", r"ctag\1.*", line)
    line = re.sub(r"amq\.gen-[\w-]+", "amq.gen-*", line)
    line = re.sub(r"\b0x[0-9a-f]+", "0x", line)
    return re.sub(r"transport=<?[^>]*>(?: object at 0x>)?", "transport=*", line)


def same_on_both(program: str, *arguments: str) -> list[str]:
    """Runs a program on both and asserts that it prints the same, and something.

    `{name}` in it is a name that no other run uses.
    """
    lines = {}
    for library in ("pika", "cpika"):
        name = f"cpika-test-{uuid.uuid4().hex}"
        lines[library] = [
            line.replace(name, "NAME") for line in run(program.replace("{name}", name), library, *arguments)
        ]
    difference = "\n".join(difflib.unified_diff(lines["pika"], lines["cpika"], "pika", "cpika", lineterm=""))
    assert not difference, difference
    assert lines["pika"], "it prints nothing"
    return lines["pika"]
