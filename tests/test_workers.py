"""gunicorn, uwsgi and celery with workers of each kind; connections that were made before they forked."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(240)  # the first test starts them all

TESTS = Path(__file__).parent
BIN = Path(sys.executable).parent
REQUESTS = 20
SILENCE = 3.5  # seconds, with a heartbeat every second

GUNICORN = [BIN / "gunicorn", "--bind", "127.0.0.1:{port}", "--workers", "2", "--preload", "web:application"]
UWSGI = [
    BIN / "uwsgi",
    "--http-socket",
    "127.0.0.1:{port}",
    "--module",
    "web",
    "--master",
    "--processes",
    "2",
]
UWSGI += ["--die-on-term", "--disable-logging", "--virtualenv", BIN.parent]
CELERY = [BIN / "celery", "--app", "tasks", "worker", "--loglevel", "warning", "--without-gossip"]
CELERY += ["--without-mingle", "--without-heartbeat", "--hostname", "{queue}@%h", "--concurrency"]

# All are loaded before the fork where there is one, with a connection that is made then.
COMMANDS: dict[str, list[Any]] = {
    "gunicorn sync": [*GUNICORN, "--worker-class", "sync"],
    "gunicorn gthread": [*GUNICORN, "--worker-class", "gthread", "--threads", "4"],
    "gunicorn gevent": [*GUNICORN, "--worker-class", "gevent"],
    "uwsgi": UWSGI,
    "uwsgi threads": [*UWSGI, "--threads", "4"],
    "uwsgi gevent": [*UWSGI, "--gevent", "50", "--gevent-early-monkey-patch"],
    "celery prefork": [*CELERY, "2", "--pool", "prefork"],
    "celery threads": [*CELERY, "4", "--pool", "threads"],
    "celery solo": [*CELERY, "1", "--pool", "solo"],
    "celery gevent": [*CELERY, "20", "--pool", "gevent"],
    "celery eventlet": [*CELERY, "20", "--pool", "eventlet"],
}
FORKING = [name for name in COMMANDS if name.split()[0] != "celery" or name == "celery prefork"]


class Served:
    """A server with its workers."""

    def __init__(self, name: str, broker_url: str, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self._queue = f"cpika-test-tasks-{secrets.token_hex(6)}"
        self._celery = name.startswith("celery")
        self._patience = 0.0
        self.log = folder / f"{name.replace(' ', '-')}.log"
        self._environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS / "workers")]),
            "PYTHONWARNINGS": "ignore",
            "CPIKA_BROKER_URL": broker_url,
            "TASK_QUEUE": self._queue,
        }
        with self.log.open("w") as log:
            self._process = subprocess.Popen(
                [str(part).format(port=self._port, queue=self._queue) for part in COMMANDS[name]],
                cwd=folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def ask_all(self) -> dict[str, list[Any]]:
        """Process id and answer of a worker to each request: some, one for the old connection, some later."""
        if self._celery:
            command = [sys.executable, TESTS / "workers" / "ask.py", str(REQUESTS), str(SILENCE)]
            done = subprocess.run(command, env=self._environment, capture_output=True, text=True)
            assert done.returncode == 0, f"{done.stderr[-2000:]}\n{self.log.read_text()[-2000:]}"
            answers: dict[str, list[Any]] = json.loads(done.stdout)
            return answers
        answers = {"first": [self._ask("round_trip", f"m{number}") for number in range(REQUESTS)]}
        answers["before"] = [self._ask("before")]
        time.sleep(SILENCE)
        answers["later"] = [self._ask("round_trip", "later") for _ in range(4)]
        return answers

    def _ask(self, what: str, text: str = "") -> list[Any]:
        deadline = time.monotonic() + 60
        while True:
            try:
                with urllib.request.urlopen(
                    f"http://127.0.0.1:{self._port}/{what}?{text}", timeout=30
                ) as answer:
                    told: list[Any] = json.load(answer)
                    return told
            except OSError as error:  # not there yet
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise AssertionError(f"{error}\n{self.log.read_text()[-4000:]}") from None
                time.sleep(0.05)

    def ask_to_end(self) -> None:
        """Tell the server, which tells its workers."""
        self._process.terminate()
        self._patience = time.monotonic() + 3  # celery's solo and threads see SIGTERM only after ten seconds

    def end(self) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(max(0.0, self._patience - time.monotonic()))
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # workers that it has left behind, too
        self._process.wait()


@pytest.fixture(scope="module")
def answers(
    broker_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], dict[str, list[Any]]]]:
    """What each server's workers answer: all are started at once, and have their silence together."""
    folder = tmp_path_factory.mktemp("workers")
    with contextlib.ExitStack() as ends, ThreadPoolExecutor(len(COMMANDS)) as pool:
        servers: dict[str, Served] = {}
        for name in COMMANDS:
            servers[name] = Served(name, broker_url, folder)
            ends.callback(servers[name].end)
        futures = {name: pool.submit(server.ask_all) for name, server in servers.items()}
        yield lambda name: futures[name].result()
        for server in servers.values():
            server.ask_to_end()


@pytest.mark.parametrize("name", COMMANDS)
def test_workers_use_connections_of_their_own(
    answers: Callable[[str], dict[str, list[Any]]], name: str
) -> None:
    told = answers(name)
    assert [text for _, text in told["first"]] == [f"m{number}" for number in range(REQUESTS)]


@pytest.mark.parametrize("name", COMMANDS)
def test_their_connections_outlast_a_silence_of_three_heartbeats(
    answers: Callable[[str], dict[str, list[Any]]], name: str
) -> None:
    assert [text for _, text in answers(name)["later"]] == ["later"] * 4


@pytest.mark.parametrize("name", FORKING)
def test_a_connection_made_before_the_fork_says_so(
    answers: Callable[[str], dict[str, list[Any]]], name: str
) -> None:
    ((_, told),) = answers(name)["before"]
    assert told.startswith("ConnectionWrongStateError:") and "make a new connection after fork" in told
