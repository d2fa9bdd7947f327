"""tools/broker.py: it runs a command with a broker, and leaves nothing behind, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[1] / "tools" / "broker.py"
URL = "amqp://somebody@somewhere/"


def execute(*command: str) -> subprocess.Popen[str]:
    """`broker.py exec -- command`, with a broker given, so that none is looked for."""
    return subprocess.Popen(
        [sys.executable, str(TOOL), "exec", "--", *command],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "CPIKA_BROKER_URL": URL},
        start_new_session=True,
    )


@pytest.mark.parametrize(
    ("command", "status"), [("exit 0", 0), ("exit 7", 7), ("kill -KILL $$", 128 + signal.SIGKILL)]
)
def test_the_exit_status_is_the_commands_own(command: str, status: int) -> None:
    with execute("sh", "-c", f"echo $CPIKA_BROKER_URL; {command}") as tool:
        assert tool.communicate(timeout=20) == (URL + "\n", None)
        assert tool.returncode == status


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_reaches_the_command(number: signal.Signals) -> None:
    code = (
        "import signal, sys, time\n"
        f"signal.signal({int(number)}, lambda *args: sys.exit(42))\n"
        "print('ready', flush=True)\n"
        "while True: time.sleep(0.1)\n"  # not pause(), which a signal just before it does not end
    )
    with execute(sys.executable, "-c", code) as tool:
        assert tool.stdout is not None
        assert tool.stdout.readline() == "ready\n"
        tool.send_signal(number)
        assert tool.wait(20) == 42


def test_a_command_that_does_not_exist_is_told() -> None:
    with execute("/no/such/command") as tool:
        assert tool.wait(20) == 1


@pytest.mark.timeout(600)  # a node has to start
def test_with_own_the_broker_is_a_node_of_ones_own_though_another_is_named() -> None:
    code = (
        "import os, urllib.parse, broker\n"
        "url = urllib.parse.urlsplit(os.environ['CPIKA_BROKER_URL'])\n"
        "print(url.hostname, url.port != 5672, broker.answers_amqp(url.hostname, url.port))\n"
    )
    done = subprocess.run(
        [sys.executable, str(TOOL), "exec", "--own", "--", sys.executable, "-c", code],
        env={**os.environ, "CPIKA_BROKER_URL": URL, "PYTHONPATH": str(TOOL.parent)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert done.stdout == "127.0.0.1 True True\n"


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.timeout(600)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "kill -9"])
def test_a_node_ends_with_whoever_started_it(number: signal.Signals) -> None:
    """Even where nobody could clean up: its processes, and its folder, are gone soon after."""
    code = f"""
import signal, sys, time
sys.path.insert(0, {str(TOOL.parent)!r})
import broker
signal.signal(signal.SIGINT, signal.default_int_handler)
node = broker.LocalNode()
with node:
    print(node.process.pid, node._epmd.process.pid, node.folder, flush=True)
    while True:
        time.sleep(0.1)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as owner:
        assert owner.stdout is not None
        words = owner.stdout.readline().split()
        pids, folder = [int(word) for word in words[:2]], Path(words[2])
        assert folder.is_dir()
        assert not any(gone(pid) for pid in pids)
        owner.send_signal(number)
        owner.wait(30)
    end = time.monotonic() + 20
    while (folder.exists() or not all(gone(pid) for pid in pids)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not folder.exists()
    assert all(gone(pid) for pid in pids)
