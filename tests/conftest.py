"""Fixtures of all tests: brokers, the fault proxy, connections, queue names; and a timeout for every test."""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.certs import Certificates
from support.nodes import LocalNode, allow_client, broker, tls_broker
from support.proxy import Proxy
from support.urls import host_and_port

TEST_TIMEOUT = (
    60  # seconds, where a test does not say; the first test that uses a node waits for its start as well
)
NODE_TIMEOUT = 600
COMPILING = {"test_c", "test_layers", "test_packaging", "test_sanitizers", "test_static"}


def pytest_configure(config: pytest.Config) -> None:
    # Workers and the interpreters of scenes inherit it: each would compile all that it imports again.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    config.addinivalue_line("markers", "rule(number): the rule of docs/architecture.md that the test holds")


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Gives every test a timeout; tests on a node of their own get the node's start on top.

    With several workers the tests of a file stay together, and so do all that compile: they share a folder.
    """
    nodes = {"session_node"}
    for item in items:
        group = "build" if item.path.stem in COMPILING else item.path.stem
        item.add_marker(pytest.mark.xdist_group(group))
        if item.get_closest_marker("timeout") is None:
            own_node = nodes & set(getattr(item, "fixturenames", ()))
            item.add_marker(pytest.mark.timeout(NODE_TIMEOUT if own_node else TEST_TIMEOUT))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Refuses a pytest and an xdist that do not group: two workers would build in the same folder."""
    config = session.config
    if hasattr(config, "workerinput") and config.getoption("dist") == "loadgroup":
        for item in session.items:
            if "@" not in item.nodeid:
                raise pytest.UsageError(
                    f"pytest {pytest.__version__} runs {item.nodeid} in no group of xdist's"
                )


@pytest.fixture(scope="session")
def broker_url() -> Iterator[str]:
    """AMQP URL of a broker that tests share: found or started as tools/broker.py says.  Never harm it."""
    with broker.resolve() as url:
        os.environ["CPIKA_BROKER_URL"] = url
        yield url


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """An authority of our own with a server's and a client's certificate."""
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def session_node(certificates: Certificates) -> Iterator[LocalNode]:
    """The one node of the tests' own, started once: a start costs six seconds of CPU time."""
    with tls_broker(certificates) as node:
        allow_client(node)
        yield node


@pytest.fixture
def node(session_node: LocalNode) -> Iterator[LocalNode]:
    """The node of our own for alarms, closed connections, kills and restarts.

    A test finds it running and without alarms, whatever the one before has done to it.
    """
    session_node.start()
    yield session_node
    if session_node.is_running:
        session_node.set_memory_alarm(False)


@pytest.fixture(scope="module")
def tls_node(session_node: LocalNode) -> LocalNode:
    """The same node, for its TLS listener and EXTERNAL authentication."""
    session_node.start()
    return session_node


@pytest.fixture
def make_proxy() -> Iterator[Callable[..., Proxy]]:
    """Makes proxies in front of an AMQP URL; keyword arguments as `Proxy` takes them."""
    with contextlib.ExitStack() as stack:

        def make(url: str, **options: Any) -> Proxy:
            return stack.enter_context(Proxy(*host_and_port(url), **options))

        yield make


@pytest.fixture
def proxy(broker_url: str, make_proxy: Callable[..., Proxy]) -> Proxy:
    """A fault proxy in front of the shared broker."""
    return make_proxy(broker_url)


@pytest.fixture
def connect(broker_url: str) -> Iterator[Callable[..., Any]]:
    """Opens connections of the library under test.

    `connect()` goes to the shared broker, `connect(proxy)` through a proxy, `connect(node)` to a node;
    keyword arguments are those of ConnectionParameters.  What is still open at the end is closed.
    """
    from support.subject import pika

    opened: list[Any] = []

    def open_connection(target: Any = None, **options: Any) -> Any:
        host, port = host_and_port(broker_url)
        if target is not None:
            host, port = getattr(target, "host", "127.0.0.1"), target.port
        options.setdefault("connection_attempts", 1)
        connection = pika.BlockingConnection(pika.ConnectionParameters(host, port, **options))
        opened.append(connection)
        return connection

    yield open_connection
    for connection in opened:
        with contextlib.suppress(Exception):
            if connection.is_open:
                connection.close()


_queue_numbers = itertools.count(1)


@pytest.fixture
def queue_name(broker_url: str) -> Iterator[str]:
    """A queue name that nobody else uses; the queue, if made on the shared broker, is deleted at the end."""
    name = f"cpika-test-{os.getpid()}-{next(_queue_numbers)}-{secrets.token_hex(3)}"
    yield name
    from support.subject import pika

    with pika.BlockingConnection(pika.URLParameters(broker_url)) as connection:
        connection.channel().queue_delete(name)
