#!/usr/bin/env python3
"""Finds a RabbitMQ broker for tests and demos, or starts one that leaves nothing behind.

    python tools/broker.py exec [--own] -- COMMAND [ARGS...]

runs COMMAND with CPIKA_BROKER_URL set to a broker that answers, and ends with its exit status.  The broker is

1. the one that CPIKA_BROKER_URL names;
2. else one that answers AMQP on 127.0.0.1:5672;
3. else a container, when a Docker engine answers;
4. else a node of the installed ``rabbitmq-server``, on free ports, in a temporary folder.

With ``--own`` it is the fourth, whatever else answers.

What was started here is stopped at the end, also after Ctrl-C.  `LocalNode` is the fourth kind; tests use it
for faults, because it can be killed, paused and restarted without touching anybody else's broker.

Standard library only: it runs before anything is installed.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import glob
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ports import free_ports

DEFAULT_PORT = 5672
START_TIMEOUT = 300.0  # seconds; a node needs 6 of CPU time, which a busy machine may not have sooner
STOP_TIMEOUT = 60.0
SCRATCH_ROOM = 512 * 1024 * 1024  # bytes
CONTAINER_IMAGE = "rabbitmq:4-management"
PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
CONNECTION_START = b"\x00\x0a\x00\x0a"  # class 10, method 10


class BrokerError(RuntimeError):
    """A broker could not be found, started or told what to do."""


def answers_amqp(host: str, port: int, timeout: float = 2.0) -> bool:
    """True when a server at `host`:`port` answers the protocol header within `timeout` seconds."""
    try:
        with socket.create_connection((host, port), timeout) as sock:
            sock.settimeout(timeout)
            sock.sendall(PROTOCOL_HEADER)
            answer = b""
            while len(answer) < 11:
                part = sock.recv(64)
                if not part:
                    return False
                answer += part
    except OSError:
        return False
    return answer[0] == 1 and answer[7:11] == CONNECTION_START


def scratch_folder() -> str | None:
    """Where a node's folder goes: in memory where there is room, else /tmp, else Python's own choice.

    A booting node syncs its database to disk dozens of times: 16 s in memory were 165 s on a disk that others
    wrote to. Both names are short, which TMPDIR need not be: the notify socket's path has to fit into
    sun_path.
    """
    for folder in ("/dev/shm", "/tmp"):
        with contextlib.suppress(OSError):
            if os.access(folder, os.W_OK | os.X_OK) and shutil.disk_usage(folder).free > SCRATCH_ROOM:
                return folder
    return None


def find_program(name: str, *patterns: str) -> str:
    """Path of an executable: the first match of `patterns`, else from PATH.

    Debian's /usr/sbin/rabbitmq-server changes user and folder, so the plain scripts are looked for first.
    """
    for pattern in patterns:
        for path in sorted(glob.glob(pattern), reverse=True):
            if os.access(path, os.X_OK):
                return path
    path_found = shutil.which(name)
    if path_found is None:
        raise BrokerError(f"{name} not found; on Debian: apt-get install rabbitmq-server")
    return path_found


def rabbitmq_program(name: str) -> str:
    """Path of one of RabbitMQ's own scripts."""
    return find_program(name, f"/usr/lib/rabbitmq/bin/{name}", f"/usr/lib/rabbitmq/lib/*/sbin/{name}")


def end_process(process: subprocess.Popen[Any], timeout: float = 10.0) -> None:
    """Terminates a process of ours and, should it not listen, kills it."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Guard:
    """Ends processes of ours and removes a folder when this process is gone, however it ended.

    A shell waits for the end of a pipe that only this process holds open; a kill -9 closes it like anything
    else.
    """

    def __init__(self, processes: Sequence[int], folder: str = "") -> None:
        script = 'read -r line; kill -9 "$@" 2>/dev/null; [ -z "$0" ] || rm -rf -- "$0"'
        self._shell = subprocess.Popen(
            ["/bin/sh", "-c", script, folder, *map(str, processes)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def close(self) -> None:
        """Stands down: its processes are ended in order, and their numbers may be others' soon."""
        self._shell.kill()
        self._shell.wait()
        if self._shell.stdin is not None:
            self._shell.stdin.close()


class Epmd:
    """A port mapper of our own: nodes started here neither use nor leave behind the machine's."""

    def __init__(self) -> None:
        self.port = free_ports(1)[0]
        program = find_program("epmd", "/usr/lib/erlang/bin/epmd", "/usr/lib/erlang/erts-*/bin/epmd")
        self.process = subprocess.Popen(
            [program, "-port", str(self.port), "-address", "127.0.0.1"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._guard = Guard([self.process.pid])

    def close(self) -> None:
        """Ends it.  Safe to repeat."""
        self._guard.close()
        end_process(self.process)


_live_nodes: weakref.WeakSet[LocalNode] = weakref.WeakSet()


@atexit.register
def _close_live_nodes() -> None:
    for node in list(_live_nodes):
        node.close()


class LocalNode:
    """A RabbitMQ node of our own; `guest`/`guest` on 127.0.0.1.

    :param plugins: names of plugins to enable, e.g. ``rabbitmq_management``
    :param config: lines of rabbitmq.conf as a mapping; with any ``ssl_options.*`` the node listens on
        `tls_port` too
    :param env: more environment for the node
    :param peers: names of nodes to join (see `cluster`)
    :param cookie: Erlang cookie; its own where None
    :param epmd: port mapper to share; its own where None
    """

    def __init__(
        self,
        plugins: Sequence[str] = (),
        config: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        *,
        peers: Sequence[str] = (),
        cookie: str | None = None,
        epmd: Epmd | None = None,
    ) -> None:
        self.plugins = tuple(plugins)
        self.port, self.tls_port, self.management_port, self.dist_port = free_ports(4)
        self.name = f"cpika-{secrets.token_hex(4)}@localhost"
        self.cookie = cookie or secrets.token_hex(16)
        self.process: subprocess.Popen[bytes] | None = None
        self._guard: Guard | None = None
        self._owns_epmd = epmd is None
        self._epmd = epmd or Epmd()
        self.folder = Path(tempfile.mkdtemp(prefix="cpika-broker-", dir=scratch_folder()))
        _live_nodes.add(self)
        self._write_files(dict(config or {}), peers)
        self._env = self._environment(env or {})

    def __enter__(self) -> LocalNode:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<LocalNode {self.name} port={self.port}>"

    @property
    def url(self) -> str:
        """AMQP URL of the plain listener."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/%2F"

    @property
    def tls_url(self) -> str:
        """AMQPS URL; the name is `localhost` so that certificates can be checked."""
        return f"amqps://guest:guest@localhost:{self.tls_port}/%2F"

    @property
    def management_url(self) -> str:
        """Base URL of the management interface (with the plugin ``rabbitmq_management``)."""
        return f"http://127.0.0.1:{self.management_port}"

    @property
    def env(self) -> dict[str, str]:
        """Environment in which RabbitMQ's own tools speak to this node."""
        return dict(self._env)

    @property
    def is_running(self) -> bool:
        """True while the node's process lives."""
        return self.process is not None and self.process.poll() is None

    def _write_files(self, config: dict[str, str], peers: Sequence[str]) -> None:
        lines = {
            "listeners.tcp.local": f"127.0.0.1:{self.port}",
            "log.console": "false",
            "vm_memory_high_watermark.absolute": "1GB",
            "disk_free_limit.absolute": "10MB",
        }
        if any(key.startswith("ssl_options.") for key in config):
            lines["listeners.ssl.local"] = f"127.0.0.1:{self.tls_port}"
        if "rabbitmq_management" in self.plugins:
            lines["management.tcp.ip"] = "127.0.0.1"
            lines["management.tcp.port"] = str(self.management_port)
        if peers:
            lines["cluster_formation.peer_discovery_backend"] = "classic_config"
            for number, peer in enumerate((*peers, self.name), 1):
                lines[f"cluster_formation.classic_config.nodes.{number}"] = peer
        lines.update(config)
        self._file("rabbitmq.conf", "".join(f"{key} = {value}\n" for key, value in lines.items()))
        self._file("enabled_plugins", "[" + ",".join(self.plugins) + "].\n")
        self._file("rabbitmq-env.conf", "")  # instead of the machine's
        self._file(".erlang.cookie", self.cookie)
        (self.folder / ".erlang.cookie").chmod(0o400)

    def _file(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, encoding="utf-8")

    def _environment(self, extra: Mapping[str, str]) -> dict[str, str]:
        inherited = {key: os.environ[key] for key in ("PATH", "LANG", "LC_ALL", "TZ") if key in os.environ}
        return {
            **inherited,
            "HOME": str(self.folder),
            "ERL_EPMD_PORT": str(self._epmd.port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_CRASH_DUMP_SECONDS": "0",
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "rabbitmq-env.conf"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_NODENAME": self.name,
            "RABBITMQ_DIST_PORT": str(self.dist_port),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            **extra,
        }

    def start(self, timeout: float = START_TIMEOUT) -> None:
        """Starts the node and waits until it is ready to serve.

        Readiness is the node's own word: it sends READY=1 to NOTIFY_SOCKET, as it does under systemd (which
        also makes the start script exec the node, so that the process is the node itself).
        """
        if self.is_running:
            return
        self._stand_down()
        notify_path = self.folder / "notify"
        with contextlib.suppress(FileNotFoundError):
            notify_path.unlink()
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify,
            open(self.folder / "output", "wb") as output,
        ):
            notify.bind(str(notify_path))
            self.process = subprocess.Popen(
                [rabbitmq_program("rabbitmq-server")],
                env={**self._env, "NOTIFY_SOCKET": str(notify_path)},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self._guard = Guard([self.process.pid], str(self.folder))
            self._await_ready(notify, timeout)

    def _await_ready(self, notify: socket.socket, timeout: float) -> None:
        assert self.process is not None
        deadline = time.monotonic() + timeout
        notify.settimeout(1.0)
        while time.monotonic() < deadline:
            try:
                if b"READY=1" in notify.recv(4096):
                    return
            except socket.timeout:  # another class than TimeoutError before 3.10
                if answers_amqp("127.0.0.1", self.port):
                    return
            if self.process.poll() is not None:
                raise BrokerError(
                    f"{self.name} ended with status {self.process.returncode}:\n{self.log_tail()}"
                )
        raise BrokerError(f"{self.name} was not ready after {timeout:.0f} s:\n{self.log_tail()}")

    def log_tail(self, size: int = 3000) -> str:
        """The last `size` characters of what the node printed and logged."""
        text = ""
        for path in [self.folder / "output", *sorted((self.folder / "log").glob("*.log"))]:
            with contextlib.suppress(OSError):
                text += path.read_text(encoding="utf-8", errors="replace")[-size:]
        return text

    def ctl(self, *args: str, timeout: float = 120.0) -> str:
        """Runs ``rabbitmqctl`` with `args` against this node; returns what it printed."""
        command = [rabbitmq_program("rabbitmqctl"), "--quiet", *args]
        done = subprocess.run(
            command,
            env=self._env,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
        )
        if done.returncode != 0:
            raise BrokerError(
                f"{command} ended with {done.returncode}:\n{(done.stdout + done.stderr).decode()}"
            )
        return done.stdout.decode()

    def eval(self, expression: str, timeout: float = 60.0) -> str:
        """Evaluates an Erlang expression in the node, e.g. ``rabbit_networking:connections().``

        ``erl_call`` is a small C program and answers in milliseconds where ``rabbitmqctl`` boots a virtual
        machine.
        """
        try:
            program = find_program("erl_call", "/usr/lib/erlang/bin/erl_call")
        except BrokerError:
            return self.ctl("eval", expression, timeout=timeout)
        command = [program, "-address", f"127.0.0.1:{self.dist_port}", "-c", self.cookie, "-e"]
        deadline = time.monotonic() + timeout
        while True:
            done = subprocess.run(
                command,
                env=self._env,
                cwd=self.folder,
                input=(expression + "\n").encode(),
                capture_output=True,
                timeout=timeout,
            )
            # Nothing was evaluated then: a busy node lets the handshake of a newcomer run out.
            refused = b"failed to connect" in done.stderr and self.is_running
            if not refused or time.monotonic() > deadline:
                break
        answer = done.stdout.decode()
        if done.returncode != 0 or not answer.startswith("{ok, "):
            raise BrokerError(f"{expression} answered {answer} {done.stderr.decode()}")
        return answer[len("{ok, ") : -1]

    def set_memory_alarm(self, active: bool) -> None:
        """Raises or clears the memory alarm, which blocks or unblocks publishing connections."""
        call = (
            "set_alarm({{resource_limit, memory, node()}, []})"
            if active
            else "clear_alarm({resource_limit, memory, node()})"
        )
        self.eval(f"rabbit_alarm:{call}.")

    def close_connections(self, reason: str) -> None:
        """Makes the node close every client connection with CONNECTION_FORCED (320) and `reason`."""
        self.eval(
            f'[rabbit_networking:close_connection(P, "{reason}")'
            " || P <- rabbit_networking:connections()], ok."
        )

    def stop(self) -> None:
        """Shuts the node down in order; its data stays for the next `start`."""
        if self.process is not None:
            end_process(self.process, STOP_TIMEOUT)
        self._stand_down()

    def kill(self) -> None:
        """SIGKILL: the node is gone at once, its data stays for the next `start`."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._stand_down()

    def _stand_down(self) -> None:
        if self._guard is not None:
            self._guard.close()
            self._guard = None

    def restart(self) -> None:
        """`stop` and `start` on the same ports with the same data."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Ends the node and removes everything of it.  Safe to repeat."""
        self.kill()
        if self._owns_epmd:
            self._epmd.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        _live_nodes.discard(self)


@contextlib.contextmanager
def cluster(size: int = 3, plugins: Sequence[str] = ()) -> Iterator[list[LocalNode]]:
    """`size` nodes joined to one cluster.  The first starts alone, the others join it side by side."""
    with contextlib.ExitStack() as stack:
        epmd = Epmd()
        stack.callback(epmd.close)
        first = LocalNode(plugins, epmd=epmd)
        nodes = [stack.enter_context(first)]
        for _ in range(size - 1):
            nodes.append(LocalNode(plugins, epmd=epmd, cookie=first.cookie, peers=[first.name]))
            stack.callback(nodes[-1].close)
        errors: list[Exception] = []

        def start(node: LocalNode) -> None:
            try:
                node.start()
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=start, args=(node,)) for node in nodes[1:]]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
        yield nodes


def docker_answers() -> bool:
    """True when a Docker engine (not only its client) is there."""
    if shutil.which("docker") is None:
        return False
    try:
        done = subprocess.run(
            ["docker", "info"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=20
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


@contextlib.contextmanager
def container() -> Iterator[str]:
    """A broker in a container, as its AMQP URL; removed at the end."""
    run = ["docker", "run", "--detach", "--rm", "--publish", "127.0.0.1:0:5672", CONTAINER_IMAGE]
    started = subprocess.run(run, capture_output=True, text=True)
    if started.returncode != 0:
        raise BrokerError(f"{' '.join(run)}:\n{started.stderr}")
    identity = started.stdout.strip()
    try:
        published = subprocess.run(
            ["docker", "port", identity, "5672/tcp"], capture_output=True, text=True, check=True
        )
        port = int(published.stdout.split()[0].rpartition(":")[2])
        # The engine's own proxy accepts before the broker does: only an AMQP answer tells.
        deadline = time.monotonic() + START_TIMEOUT
        while not answers_amqp("127.0.0.1", port):
            if time.monotonic() > deadline:
                raise BrokerError(f"{CONTAINER_IMAGE} did not answer within {START_TIMEOUT:.0f} s")
            time.sleep(0.25)
        yield f"amqp://guest:guest@127.0.0.1:{port}/%2F"
    finally:
        subprocess.run(
            ["docker", "rm", "--force", identity], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )


@contextlib.contextmanager
def resolve(own: bool = False) -> Iterator[str]:
    """A broker's AMQP URL, found or started in the order that the module describes; stopped if started
    here.

    :param own: start a node, whatever answers
    """
    given = os.environ.get("CPIKA_BROKER_URL")
    if own:
        with LocalNode() as node:
            yield node.url
    elif given:
        yield given
    elif answers_amqp("127.0.0.1", DEFAULT_PORT):
        yield f"amqp://guest:guest@127.0.0.1:{DEFAULT_PORT}/%2F"
    elif docker_answers():
        with container() as url:
            yield url
    else:
        with LocalNode() as node:
            yield node.url


def run_command(command: Sequence[str], url: str) -> int:
    """Runs `command` with CPIKA_BROKER_URL and forwards signals to it.

    Returns its exit status, or 128 + n where signal n ended it.
    """
    child: subprocess.Popen[bytes] | None = None
    early: list[int] = []  # came while the child was being started

    def forward(number: int, _frame: object) -> None:
        # A terminal sends Ctrl-C to the whole foreground group: the child has it already.
        if number == signal.SIGINT and in_foreground():
            return
        if child is None:
            early.append(number)
        else:
            child.send_signal(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, forward)
    child = subprocess.Popen(command, env={**os.environ, "CPIKA_BROKER_URL": url})
    for held in early:
        child.send_signal(held)
    status = child.wait()
    return status if status >= 0 else 128 - status


def in_foreground() -> bool:
    """True when this process belongs to the foreground group of its terminal."""
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (OSError, ValueError):
        return False


def leave_by_signal(number: int, _frame: object) -> None:
    """Turns a signal into an exit that runs the context managers on its way."""
    raise SystemExit(128 + number)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Runs a command with a RabbitMQ broker.")
    commands = parser.add_subparsers(dest="action", required=True)
    execute = commands.add_parser("exec", help="run COMMAND with CPIKA_BROKER_URL set")
    execute.add_argument("--own", action="store_true", help="start a node, whatever answers")
    execute.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND")
    options = parser.parse_args(arguments)
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        parser.error("exec wants a command")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave_by_signal)
    try:
        with resolve(options.own) as url:
            return run_command(command, url)
    except (BrokerError, FileNotFoundError) as error:
        print(f"broker.py: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
