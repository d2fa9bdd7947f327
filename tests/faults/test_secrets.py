"""No password or token stands in a log record or an error, whoever sent it."""

from __future__ import annotations

import copy
import logging
from typing import Any

import cpika
import pytest
from cpika import _core, frame, spec
from cpika._loggable import loggable
from support.fakeserver import FakeServer, Peer

SECRET = "s3cr3tPW"
CARRIERS = [
    spec.Connection.StartOk({"product": "x"}, "PLAIN", f"\0user\0{SECRET}", "en_US"),
    spec.Connection.SecureOk(SECRET),
    spec.Connection.UpdateSecret(SECRET, "the old one expires"),
]


class Derived(spec.Connection.SecureOk):
    pass


@pytest.mark.parametrize("method", [*CARRIERS, Derived(SECRET)], ids=lambda method: type(method).__name__)
def test_a_method_that_carries_a_secret_is_shown_without_it(method: Any) -> None:
    before = copy.copy(method)
    assert SECRET in repr(method)
    for shown in (loggable(method), loggable(frame.Method(1, method))):
        assert SECRET not in repr(shown)
        assert "***" in repr(shown)
        assert method.NAME in repr(shown)
    assert method == before


@pytest.mark.parametrize(
    "value", [spec.Basic.Ack(1), frame.Method(1, spec.Basic.Ack(1)), spec.BasicProperties(), "text", None]
)
def test_what_carries_no_secret_is_shown_itself(value: Any) -> None:
    assert loggable(value) is value


@pytest.mark.parametrize("method", CARRIERS, ids=lambda method: method.NAME)
def test_a_peer_that_sends_a_clients_secret_back_does_not_get_it_into_the_log(
    method: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def echo(peer: Peer) -> None:
        peer.handshake()
        peer.serve_until("Channel.Open")
        peer.send(frame.Method(0, method).marshal())
        peer.serve_to_end()

    caplog.set_level(logging.DEBUG)
    with FakeServer(echo) as server:
        connection = cpika.BlockingConnection(cpika.ConnectionParameters(server.host, server.port))
        connection.channel()
        connection.process_data_events(0.1)
        connection.close()
    assert f"method=<{method.NAME}(" in caplog.text
    assert SECRET not in caplog.text


class Bytes(spec.Connection.SecureOk):
    def encode(self) -> Any:
        return b"no list"


class NoIndex(spec.Connection.SecureOk):
    INDEX = 0


@pytest.mark.parametrize(("kind", "error"), [(Bytes, TypeError), (NoIndex, ValueError)])
def test_an_error_about_a_method_names_its_class_and_not_what_it_holds(kind: Any, error: Any) -> None:
    def script(peer: Peer) -> None:
        peer.handshake()
        peer.serve_to_end()

    with FakeServer(script) as server:
        connection = cpika.BlockingConnection(cpika.ConnectionParameters(server.host, server.port))
        with pytest.raises(error) as caught:
            _core.Connection._send_method(connection._impl, kind(SECRET))  # type: ignore[arg-type]
        assert kind.__name__ in str(caught.value)
        assert SECRET not in str(caught.value)
        connection.close()
