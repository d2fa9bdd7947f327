"""An exception strikes inside a TLS socket that a loop watches: the loop takes it out before it is closed."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from typing import Any, ClassVar

import cpika
import pytest
from cpika import exceptions
from cpika.adapters.asyncio_connection import AsyncioConnection
from cpika.adapters.select_connection import IOLoop, SelectConnection
from support.certs import Certificates
from support.nodes import LocalNode


class Struck(KeyboardInterrupt):
    """A signal handler's."""


class Breaking(ssl.SSLSocket):
    """Raises an exception in its next call, once."""

    raising: ClassVar[dict[str, BaseException]] = {}

    def recv(self, *args: Any) -> bytes:
        self._strike("recv")
        return super().recv(*args)

    def send(self, *args: Any) -> int:
        self._strike("send")
        return super().send(*args)

    def _strike(self, where: str) -> None:
        error = self.raising.pop(where, None)
        if error is not None:
            raise error


@pytest.fixture(params=["select", "asyncio"])
def loop(request: pytest.FixtureRequest) -> Iterator[Any]:
    made: Any = IOLoop() if request.param == "select" else asyncio.new_event_loop()
    yield made
    made.close()
    Breaking.raising.clear()


class Opened:
    """A connection over TLS, and what it has been told."""

    def __init__(self, loop: Any, node: LocalNode, certificates: Certificates) -> None:
        context = certificates.client_context()
        context.sslsocket_class = Breaking
        self.reasons: list[BaseException] = []
        self.loop = loop
        kind = SelectConnection if isinstance(loop, IOLoop) else AsyncioConnection
        self.connection = kind(
            self._parameters(node, context),
            self._opened,
            lambda _connection, error: self.reasons.append(error),
            self._closed,
            custom_ioloop=loop,
        )
        self.run()

    @staticmethod
    def _parameters(node: LocalNode, context: ssl.SSLContext) -> Any:
        made = cpika.URLParameters(node.tls_url)
        made.ssl_options = cpika.SSLOptions(context, "localhost")
        return made

    def run(self) -> None:
        self.loop.start() if isinstance(self.loop, IOLoop) else self.loop.run_forever()

    def _opened(self, connection: Any) -> None:
        connection.channel(on_open_callback=self._channel_opened)

    def _channel_opened(self, channel: Any) -> None:
        self.channel = channel
        self.loop.stop()

    def _closed(self, _connection: Any, reason: BaseException) -> None:
        self.reasons.append(reason)
        self.loop.stop()


def assert_usable(loop: Any, node: LocalNode, certificates: Certificates) -> None:
    """Another connection on the same loop, which may get the number of the one before."""
    other = Opened(loop, node, certificates)
    assert other.channel.is_open
    other.connection.close()
    other.run()
    assert isinstance(other.reasons[0], exceptions.ConnectionClosedByClient)


@pytest.mark.parametrize("where", ["recv", "send"])
def test_a_base_exception_leaves_the_loop_which_ends_the_connection_next(
    loop: Any, where: str, tls_node: LocalNode, certificates: Certificates
) -> None:
    """On select later runs raised EBADF, another connection's too; on asyncio a new descriptor was deaf."""
    opened = Opened(loop, tls_node, certificates)
    Breaking.raising[where] = Struck()
    opened.channel.queue_declare("", exclusive=True, callback=print)  # so that an answer comes
    with pytest.raises(Struck):
        opened.run()
    opened.run()
    (reason,) = opened.reasons
    assert isinstance(reason, exceptions.StreamLostError) and "Struck" in str(reason)
    assert opened.connection.is_closed
    assert_usable(loop, tls_node, certificates)


@pytest.mark.parametrize("where", ["recv", "send"])
def test_an_exception_ends_the_connection_and_is_told(
    loop: Any, where: str, tls_node: LocalNode, certificates: Certificates
) -> None:
    """On select EBADF left the loop in its place, and nobody was told."""
    opened = Opened(loop, tls_node, certificates)
    Breaking.raising[where] = KeyError("mine")
    opened.channel.queue_declare("", exclusive=True, callback=print)  # so that an answer comes
    opened.run()
    (reason,) = opened.reasons
    assert isinstance(reason, exceptions.StreamLostError) and "KeyError" in str(reason)
    assert_usable(loop, tls_node, certificates)
