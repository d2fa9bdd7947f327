"""A fork inside a loop's callback: the loop goes on in both, and the connection is the parent's alone."""

from __future__ import annotations

import signal
import ssl
from typing import Any

import cpika
import pytest
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
        if label == "on_close":
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
    assert apart(goes_on_in_both, kind, tls_node.tls_port, certificates.authority) == WHOLE
