"""A broker of the demo's own with its management interface: a local node, else a container."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from collections.abc import Iterator

from broker import (
    CONTAINER_IMAGE,
    START_TIMEOUT,
    BrokerError,
    LocalNode,
    answers_amqp,
    docker_answers,
)
from demo_scenarios import Node


class Container:
    """RabbitMQ with its management page in a container; removed at the end."""

    def __init__(self) -> None:
        ports = [option for port in (5672, 15672) for option in ("--publish", f"127.0.0.1:0:{port}")]
        self._identity = docker("run", "--detach", "--rm", *ports, CONTAINER_IMAGE)

    def __enter__(self) -> Container:
        try:
            self.port = self._published(5672)
            self.url = f"amqp://guest:guest@127.0.0.1:{self.port}/%2F"
            self.management_url = f"http://127.0.0.1:{self._published(15672)}"
            deadline = time.monotonic() + START_TIMEOUT
            while not answers_amqp("127.0.0.1", self.port):
                if time.monotonic() > deadline:
                    raise BrokerError(f"{CONTAINER_IMAGE} did not answer within {START_TIMEOUT:.0f} s")
                time.sleep(0.25)  # an engine tells of a started container, not of a broker that serves
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        docker("rm", "--force", self._identity)

    def _published(self, port: int) -> int:
        return int(docker("port", self._identity, f"{port}/tcp").split()[0].rpartition(":")[2])


def docker(*arguments: str) -> str:
    """Run one docker command; return what it printed. Raises BrokerError."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise BrokerError(f"docker {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout.strip()


@contextlib.contextmanager
def management_node() -> Iterator[Node]:
    """A broker with its management interface, for as long as the context lasts. Raises BrokerError."""
    if shutil.which("rabbitmq-server"):
        # Statistics each half second instead of five: check.py waits for them.
        config = {"collect_statistics_interval": "500"}
        with LocalNode(plugins=["rabbitmq_management"], config=config) as node:
            yield node
    elif docker_answers():
        with Container() as container:
            yield container
    else:
        raise BrokerError("check.py needs a broker of its own: install rabbitmq-server, or start Docker")
