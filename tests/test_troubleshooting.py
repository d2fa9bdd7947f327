"""docs/troubleshooting.md has its errors by message: each heading is what a real error says."""

from __future__ import annotations

import os
import re
import secrets
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cpika as pika
import pytest
from support import amqp, answers
from support.certs import Certificates
from support.fakeserver import FakeServer, Peer
from support.nodes import LocalNode
from support.urls import host_and_port

PAGE = Path(__file__).resolve().parent.parent / "docs" / "troubleshooting.md"
HEADINGS = re.findall(r"^### `(.+)`$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
NAME = "cpika-test.troubleshooting"


class Scenes:
    """What provokes each error: methods that raise it, by heading."""

    def __init__(self, url: str, node: LocalNode, certificates: Certificates) -> None:
        self.host, self.port = host_and_port(url)
        self.node = node
        self.certificates = certificates
        self.queue = f"{NAME}.{secrets.token_hex(4)}"

    def connection(self, **options: Any) -> pika.BlockingConnection:
        options = {"host": self.host, "port": self.port, **options}
        return pika.BlockingConnection(pika.ConnectionParameters(**options))

    def channel(self, **options: Any) -> Any:
        return self.connection(**options).channel()

    def at_server(self, script: Callable[[Peer], None], use: Callable[[Any], object], **options: Any) -> None:
        """Use a channel of a scripted server."""

        def serve(peer: Peer) -> None:
            peer.handshake(heartbeat=options.get("heartbeat", 0))
            peer.answer(peer.expect("Channel.Open"))
            script(peer)

        with FakeServer(serve) as server:
            use(self.channel(host="127.0.0.1", port=server.port, **options))

    # ---- connecting

    def refused(self) -> None:
        self.connection(host="127.0.0.1", port=1)

    def unknown_host(self) -> None:
        self.connection(host="rabbit.invalid")

    def wrong_password(self) -> None:
        self.connection(credentials=pika.PlainCredentials("guest", "wrong"))

    def wrong_virtual_host(self) -> None:
        self.connection(virtual_host="nowhere")

    def no_amqp(self) -> None:
        def serve(peer: Peer) -> None:
            peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        with FakeServer(serve) as server:
            self.connection(host="127.0.0.1", port=server.port)

    def tls_to_a_plain_port(self) -> None:
        context = self.certificates.client_context()
        self.connection(
            port=self.node.port, host="127.0.0.1", ssl_options=pika.SSLOptions(context, "localhost")
        )

    def stranger(self) -> None:
        context = ssl.create_default_context()
        self.connection(port=self.node.tls_port, host="127.0.0.1", ssl_options=pika.SSLOptions(context))

    def url_as_parameters(self) -> None:
        pika.BlockingConnection("amqp://localhost")  # type: ignore[arg-type]

    # ---- the broker closes the channel

    def inequivalent(self) -> None:
        channel = self.channel()
        channel.queue_declare(self.queue, exclusive=True)
        channel.queue_declare(self.queue, exclusive=True, arguments={"x-expires": 1000})

    def unknown_tag(self) -> None:
        channel = self.channel()
        channel.basic_ack(77)
        channel.queue_declare("", exclusive=True)

    def locked(self) -> None:
        owner = self.channel()
        owner.queue_declare(self.queue, exclusive=True)
        self.channel().queue_declare(self.queue, passive=True)

    def too_many_channels(self) -> None:
        connection = self.connection(channel_max=1)
        connection.channel()
        connection.channel()

    # ---- the connection ends

    def hung_up(self) -> None:
        self.at_server(lambda peer: None, lambda channel: channel.connection.process_data_events(5))

    def silence(self) -> None:
        self.at_server(
            lambda peer: peer.serve_to_end(), lambda channel: channel.connection.sleep(20), heartbeat=1
        )

    def closed_by_broker(self) -> None:
        self.at_server(
            lambda peer: peer.send(answers.connection_close()),
            lambda channel: channel.connection.process_data_events(5),
        )

    def blocked(self) -> None:
        def script(peer: Peer) -> None:
            peer.send(amqp.method(0, "Connection.Blocked", amqp.short("memory")))
            peer.serve_to_end()

        self.at_server(script, lambda channel: channel.connection.sleep(10), blocked_connection_timeout=0.1)

    def closed_before(self) -> None:
        connection = self.connection()
        connection.close()
        connection.channel()

    def channel_closed_before(self) -> None:
        channel = self.channel()
        channel.close()
        channel.basic_publish("", self.queue, b"")

    # ---- publishing, consuming, loading

    def unroutable(self) -> None:
        channel = self.channel()
        channel.confirm_delivery()
        channel.basic_publish("", self.queue, b"", mandatory=True)

    def nacked(self) -> None:
        channel = self.channel()
        full = {"x-max-length": 1, "x-overflow": "reject-publish"}
        channel.queue_declare(self.queue, exclusive=True, arguments=full)
        channel.confirm_delivery()
        for _ in range(10):
            channel.basic_publish("", self.queue, b"")

    def nested(self) -> None:
        channel = self.channel()
        channel.queue_declare(self.queue, exclusive=True)
        channel.basic_publish("", self.queue, b"")
        channel.basic_consume(self.queue, lambda channel, *message: channel.start_consuming())
        channel.start_consuming()

    def same_tag(self) -> None:
        channel = self.channel()
        channel.queue_declare(self.queue, exclusive=True)
        for _ in range(2):
            channel.basic_consume(self.queue, print, consumer_tag="mine")

    def too_late(self) -> None:
        program = "import pika, cpika; cpika.install_as_pika()"
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, env={**os.environ}
        )
        raise RuntimeError(done.stderr)


def publish(*arguments: Any) -> Callable[[Scenes], None]:
    return lambda scenes: scenes.channel().basic_publish(*arguments)


PROVOKED: dict[str, Callable[[Scenes], object]] = {
    "AMQPConnectorSocketConnectError: ConnectionRefusedError(111, 'Connection refused')": Scenes.refused,
    "gaierror(-2, 'Name or service not known')": Scenes.unknown_host,
    "ProbableAuthenticationError": Scenes.wrong_password,
    "ProbableAccessDeniedError": Scenes.wrong_virtual_host,
    "IncompatibleProtocolError": Scenes.no_amqp,
    "SSLError": Scenes.tls_to_a_plain_port,
    "SSLCertVerificationError": Scenes.stranger,
    "Expected connection parameters, but got an object of type str; a URL goes through URLParameters": (
        Scenes.url_as_parameters
    ),
    "Unexpected URL scheme": lambda scenes: pika.URLParameters("localhost:5672"),
    "unexpected kwargs": lambda scenes: pika.ConnectionParameters(vhost="secret"),
    "NOT_FOUND - no queue": lambda scenes: scenes.channel().queue_declare(scenes.queue, passive=True),
    "PRECONDITION_FAILED - inequivalent arg": Scenes.inequivalent,
    "PRECONDITION_FAILED - unknown delivery tag": Scenes.unknown_tag,
    "RESOURCE_LOCKED - cannot obtain exclusive access": Scenes.locked,
    "ACCESS_REFUSED": lambda scenes: scenes.channel().queue_declare("amq.mine"),
    "NoFreeChannels": Scenes.too_many_channels,
    "StreamLostError": Scenes.hung_up,
    "AMQPHeartbeatTimeout": Scenes.silence,
    "ConnectionClosedByBroker": Scenes.closed_by_broker,
    "ConnectionBlockedTimeout": Scenes.blocked,
    "ConnectionWrongStateError": Scenes.closed_before,
    "ChannelWrongStateError": Scenes.channel_closed_before,
    "UnroutableError": Scenes.unroutable,
    "NackError": Scenes.nacked,
    "A non-string value was supplied for self.exchange": publish(None, "key", b""),
    "AMQP Short String can contain up to 255 bytes": publish("", 256 * "x", b""),
    "Unsupported field kind": publish("", "key", b"", pika.BasicProperties(headers={"a": object()})),
    "start_consuming may not be called from the scope of another": Scenes.nested,
    "DuplicateConsumerTag": Scenes.same_tag,
    "cpika.install_as_pika() came too late": Scenes.too_late,
}


@pytest.mark.parametrize("heading", HEADINGS)
def test_an_error_says_what_its_heading_says(
    heading: str, broker_url: str, tls_node: LocalNode, certificates: Certificates
) -> None:
    with pytest.raises(Exception) as caught:
        PROVOKED[heading](Scenes(broker_url, tls_node, certificates))
    # The last line of a traceback has the type and str(); logs often have repr().
    assert heading in f"{type(caught.value).__name__}: {caught.value}\n{caught.value!r}"


def test_every_scene_has_a_heading() -> None:
    assert [heading for heading in PROVOKED if heading not in HEADINGS] == []
