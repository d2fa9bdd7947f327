"""A fork inside a loop's callback: the loop goes on in both, and the connection is the parent's alone."""

from __future__ import annotations

import signal
import ssl
from typing import Any

import cpika
import pytest
from cpika.adapters.utils import io_services_utils
from parity.harness import Broker
from parity.loops import KINDS, Loop
from support.apart import apart
from support.certs import Certificates
from support.forks import Child
from support.nodes import LocalNode

COUNT = 8  # messages at once
PATIENCE = 20  # seconds until the child's loop has to have ended


class Env:
    """What a `Loop` wants of a scenario's environment."""

    def __init__(self) -> None:
        self.errors: list[str] = []

    def parameters(self, **changes: Any) -> Any:
        return Broker.of_this_run().parameters(cpika, **changes)

    def show(self, label: str, value: Any) -> None: ...

    show_state = show

    def show_error(self, label: str, error: BaseException) -> None:
        if label in ("on_close", "on_open_error"):
            self.errors.append(type(error).__name__)


def goes_on_in_both(kind: str, port: int, authority: str) -> Any:
    """The callback of the second message forks, and returns; all others are there, or come later."""
    changes: dict[str, Any] = {"heartbeat": 0}
    if port:
        context = ssl.create_default_context(cafile=authority)
        changes.update(host="127.0.0.1", port=port, ssl_options=cpika.SSLOptions(context, "localhost"))
    env, child, got = Env(), Child(), list[int]()
    loop = Loop(cpika, env, kind)

    def opened(channel: Any) -> None:
        def publish(first: int) -> None:
            for number in range(first, first + COUNT):
                channel.basic_publish("", queue[0], b"%d" % number)

        def message(ch: Any, method: Any, _properties: Any, body: bytes) -> None:
            got.append(int(body))
            ch.basic_ack(method.delivery_tag)
            if len(got) == 2:
                child.fork()
                if child.pid == 0:
                    signal.alarm(PATIENCE)
            elif len(got) == COUNT:
                loop.later(0.2, lambda: publish(COUNT))  # who reads the socket by then?
            elif len(got) == 2 * COUNT:
                loop.close()

        def declared(frame: Any) -> None:
            queue.append(frame.method.queue)
            publish(0)
            channel.basic_consume(queue[0], message)

        queue: list[str] = []
        channel.queue_declare("", exclusive=True, callback=declared)

    try:
        loop.channel(opened, **changes)
    finally:
        if child.pid == 0:
            child.report([got, env.errors])
    return [got, env.errors, child.hear()]


WHOLE = [list(range(2 * COUNT)), ["ConnectionClosedByClient"], [[0, 1], ["StreamLostError"]]]


@pytest.mark.rule(7)
@pytest.mark.parametrize("kind", KINDS)
def test_a_loop_that_goes_on_in_a_child_has_nothing_of_its_parents(kind: str, broker_url: str) -> None:
    assert apart(goes_on_in_both, kind, 0, "") == WHOLE


@pytest.mark.rule(7)
@pytest.mark.parametrize("kind", KINDS)
def test_over_tls_it_takes_nothing_out_of_its_parents_epoll_either(
    kind: str, tls_node: LocalNode, certificates: Certificates
) -> None:
    given = (kind, tls_node.tls_port, certificates.authority)
    assert apart(goes_on_in_both, *given) == WHOLE


def fork_behind(step: str, child: Child) -> None:
    """Fork when a connection that is being made has begun this step and waits, once."""
    kind, method = {
        "connect": ("_AsyncSocketConnector", "_start_async"),
        "handshake": ("_AsyncStreamConnector", "_start_async"),
    }[step]
    owner = getattr(io_services_utils, kind)
    original = getattr(owner, method)

    def begin_and_fork(self: Any) -> None:
        original(self)
        setattr(owner, method, original)
        child.fork()
        if child.pid == 0:
            signal.alarm(PATIENCE)

    setattr(owner, method, begin_and_fork)


def connects_in_the_parent(kind: str, step: str, port: int, authority: str) -> Any:
    """How opening ends in the parent, and in its child."""
    # A child whose loop shares its parent's epoll may hear of nothing: its timer ends it.
    changes: dict[str, Any] = {"heartbeat": 0, "connection_attempts": 1, "stack_timeout": 3}
    if port:
        context = ssl.create_default_context(cafile=authority)
        changes.update(host="127.0.0.1", port=port, ssl_options=cpika.SSLOptions(context, "localhost"))
    env, child, opened = Env(), Child(), list[str]()
    fork_behind(step, child)
    loop = Loop(cpika, env, kind)

    def declare(channel: Any) -> None:
        channel.queue_declare(
            "", exclusive=True, callback=lambda frame: (opened.append("open"), loop.close())
        )

    try:
        loop.channel(declare, **changes)
    finally:
        if child.pid == 0:
            child.report([opened, len(env.errors)])
    return [opened, env.errors, child.hear()]


# libuv changes what it watches through a ring of the kernel that a child shares, and aborts where both do so.
CONNECTING = [kind for kind in KINDS if kind != "uvloop"]
CONNECTED = [["open"], ["ConnectionClosedByClient"], [[], 1]]


@pytest.mark.rule(7)
@pytest.mark.parametrize("kind", CONNECTING)
def test_a_child_does_not_go_on_connecting_in_its_parents_place(kind: str, broker_url: str) -> None:
    assert apart(connects_in_the_parent, kind, "connect", 0, "") == CONNECTED


@pytest.mark.rule(7)
@pytest.mark.parametrize("kind", CONNECTING)
def test_nor_with_its_handshake(kind: str, tls_node: LocalNode, certificates: Certificates) -> None:
    given = (kind, "handshake", tls_node.tls_port, certificates.authority)
    assert apart(connects_in_the_parent, *given) == CONNECTED
