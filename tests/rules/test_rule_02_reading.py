"""Rule 2: while waiting to write, keep reading; and who only writes learns what the broker says."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from typing import Any

import pytest
from support import amqp
from support.fakeserver import FakeServer, Peer
from support.proxy import SERVER, Proxy
from support.subject import exceptions, pika

pytestmark = pytest.mark.rule(2)

MEGABYTE = 1 << 20


def test_two_full_pipes_do_not_lock_each_other(
    broker_url: str, connect: Callable[..., Any], make_proxy: Callable[..., Proxy], queue_name: str
) -> None:
    """The broker's side of the proxy reads nothing from us while its own bytes for us are stuck."""
    count = 24
    body = bytes(MEGABYTE)
    filler = connect().channel()
    filler.queue_declare(queue_name)
    filler.confirm_delivery()
    for _ in range(count):
        filler.basic_publish("", queue_name, body)
    proxy = make_proxy(broker_url, lockstep=True, receive_buffer=65536)
    connection = connect(proxy)
    channel = connection.channel()
    received: list[int] = []
    channel.basic_consume(queue_name, lambda *args: received.append(len(args[3])), auto_ack=True)
    for _ in range(count):
        channel.basic_publish("", queue_name, body)
    end = time.monotonic() + 30
    while len(received) < 2 * count and time.monotonic() < end:
        connection.process_data_events(time_limit=1)
    assert received == [MEGABYTE] * (2 * count)


def publish_until_it_raises(channel: Any, seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        channel.basic_publish("", "cpika-test-nowhere", b"x")


def test_a_publisher_that_only_writes_learns_that_its_channel_was_closed(connect: Callable[..., Any]) -> None:
    channel = connect().channel()
    channel.basic_publish("cpika-test-no-such-exchange", "key", b"x")
    with pytest.raises(exceptions.ChannelClosedByBroker) as caught:
        publish_until_it_raises(channel)
    assert caught.value.reply_code == 404
    with pytest.raises(exceptions.ChannelWrongStateError):
        channel.basic_publish("", "key", b"x")


@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
def test_a_publisher_that_only_writes_learns_that_the_connection_is_gone(
    proxy: Proxy, connect: Callable[..., Any], reset: bool
) -> None:
    connection = connect(proxy)
    channel = connection.channel()
    channel.basic_publish("", "cpika-test-nowhere", b"x")
    proxy.cut(reset)
    with pytest.raises(exceptions.StreamLostError):
        publish_until_it_raises(channel)
    assert connection.is_closed
    assert channel.is_closed
    with pytest.raises(exceptions.ChannelWrongStateError):
        channel.basic_publish("", "key", b"x")


def test_the_end_of_the_stream_is_noticed_before_the_next_message_is_written(
    proxy: Proxy, connect: Callable[..., Any]
) -> None:
    """The first publish after a pause longer than a millisecond raises; it is not lost in silence."""
    connection = connect(proxy)
    channel = connection.channel()
    channel.basic_publish("", "cpika-test-nowhere", b"x")
    proxy.wait_for_frame("Basic.Publish")
    proxy.cut(reset=False)
    # The FIN stands in our socket when cut() returns; the last look at the input has to be over 1 ms old.
    time.sleep(0.01)
    with pytest.raises(exceptions.StreamLostError):
        channel.basic_publish("", "cpika-test-nowhere", b"lost?")


def test_a_publisher_that_only_writes_learns_that_the_broker_closed_the_connection(
    proxy: Proxy, connect: Callable[..., Any]
) -> None:
    channel = connect(proxy).channel()
    close = b"\x01\x40" + amqp.short("CONNECTION_FORCED - because") + b"\x00\x00\x00\x00"
    proxy.inject(amqp.method(0, "Connection.Close", close))
    with pytest.raises(exceptions.ConnectionClosedByBroker) as caught:
        publish_until_it_raises(channel)
    assert (caught.value.reply_code, caught.value.reply_text) == (320, "CONNECTION_FORCED - because")


def test_input_is_read_while_a_large_body_waits_for_room(
    proxy: Proxy, connect: Callable[..., Any], queue_name: str
) -> None:
    """Deliveries that arrive while a publish is stuck are dispatched afterwards, in order."""
    connection = connect(proxy)
    channel = connection.channel()
    channel.queue_declare(queue_name)
    received: list[bytes] = []
    channel.basic_consume(queue_name, lambda *args: received.append(args[3]), auto_ack=True)
    other = connect().channel()
    proxy.delay(0.01)
    for number in range(5):
        other.basic_publish("", queue_name, b"%d" % number)
    channel.basic_publish("", "cpika-test-nowhere", bytes(8 * MEGABYTE))
    proxy.delay(0)
    end = time.monotonic() + 10
    while len(received) < 5 and time.monotonic() < end:
        connection.process_data_events(time_limit=1)
    assert received == [b"0", b"1", b"2", b"3", b"4"]
    assert len(proxy.frames("Basic.Deliver", origin=SERVER)) == 5


WORK_S = 0.03  # seconds that a callback takes
CLOSES = {
    "Basic.Ack": amqp.method(
        1, "Channel.Close", struct.pack(">H", 406) + amqp.short("no such tag") + bytes(4)
    ),
    "Basic.Publish": amqp.method(
        0, "Connection.Close", struct.pack(">H", 320) + amqp.short("bye") + bytes(4)
    ),
}


@pytest.mark.parametrize("sent", list(CLOSES))
def test_callbacks_do_not_go_on_for_long_behind_the_end_of_their_channel(sent: str) -> None:
    """With more messages at hand nothing was read: all of them were worked on, and what was sent was lost."""

    def serve(peer: Peer) -> None:
        peer.handshake()
        peer.serve_until("Basic.Consume")
        peer.send(*(amqp.message(1, peer.consumer_tag, number, b"x") for number in range(1, 31)))
        peer.serve_until(sent)
        peer.send(CLOSES[sent])
        peer.serve_to_end()

    done: list[int] = []

    def work(channel: Any, method: Any, _properties: Any, _body: bytes) -> None:
        time.sleep(WORK_S)
        if sent == "Basic.Ack":
            channel.basic_ack(method.delivery_tag)
        else:
            channel.basic_publish("", "result", b"x")
        done.append(method.delivery_tag)

    with FakeServer(serve) as server:
        connection = pika.BlockingConnection(pika.ConnectionParameters(server.host, server.port))
        channel = connection.channel()
        channel.basic_consume("q", work, auto_ack=sent != "Basic.Ack")
        with pytest.raises((exceptions.ChannelClosedByBroker, exceptions.ConnectionClosedByBroker)):
            channel.start_consuming()
        if connection.is_open:
            connection.close()
    assert len(done) <= 3
