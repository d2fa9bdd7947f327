"""Rule 6: nothing from the network is trusted; a violation is pika's exception and a closed connection."""

from __future__ import annotations

import resource
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support import amqp
from support.fakeserver import FakeServer, Peer
from support.subject import exceptions, pika

pytestmark = pytest.mark.rule(6)

FRAME_MAX = 8192
TAG = "tag"


def nested_arrays(depth: int) -> bytes:
    """Properties whose header `a` is `depth` arrays in each other."""
    value = b""
    for _ in range(depth):
        value = b"A" + amqp.long(value)
    return struct.pack(">H", 1 << 13) + amqp.long(amqp.short("a") + value)


def delivery(properties: bytes) -> bytes:
    return amqp.message(1, TAG, 1, b"body", properties)


VIOLATIONS: dict[str, bytes] = {
    "frame end": amqp.frame(amqp.FRAME_METHOD, 1, amqp.deliver(1, TAG, 1)[7:-1], end=0),
    "frame larger than negotiated": amqp.frame(amqp.FRAME_BODY, 1, bytes(FRAME_MAX)),
    "frame type": amqp.frame(7, 1, b"xxxx"),
    "frame of type 0": bytes(64),
    "method id": amqp.frame(amqp.FRAME_METHOD, 1, struct.pack(">HH", 60, 999)),
    "class id": amqp.frame(amqp.FRAME_METHOD, 1, struct.pack(">HH", 9999, 10)),
    "method frame too short for an id": amqp.frame(amqp.FRAME_METHOD, 1, b"\x00\x3c"),
    "method without its arguments": amqp.method(1, "Basic.Deliver", amqp.short(TAG)),
    "short string over the end": amqp.method(1, "Basic.Deliver", b"\xff" + b"t" * 20),
    "header without a method": amqp.content_header(1, 4),
    "body without a header": amqp.deliver(1, TAG, 1) + amqp.body(1, b"body"),
    "body without a method": amqp.body(1, b"body"),
    "method in the middle of content": amqp.deliver(1, TAG, 1) + amqp.deliver(1, TAG, 2),
    "header of another class": amqp.deliver(1, TAG, 1) + amqp.content_header(1, 4, class_id=50),
    "body too long": amqp.deliver(1, TAG, 1) + amqp.content_header(1, 4) + amqp.body(1, b"too long"),
    "header too short": amqp.deliver(1, TAG, 1) + amqp.frame(amqp.FRAME_HEADER, 1, b"\x00\x3c\x00\x00"),
    "properties cut short": delivery(struct.pack(">H", 1 << 15)),
    "property over the end": delivery(struct.pack(">H", 1 << 15) + b"\xff" + b"text/plain"),
    "table longer than the frame": delivery(struct.pack(">H", 1 << 13) + struct.pack(">I", 1 << 31)),
    "table cut in a key": delivery(struct.pack(">H", 1 << 13) + amqp.long(b"\x20key")),
    "table cut in a value": delivery(struct.pack(">H", 1 << 13) + amqp.long(amqp.short("k") + b"l\x00\x00")),
    "array over the table's end": delivery(
        struct.pack(">H", 1 << 13) + amqp.long(amqp.short("k") + b"A" + struct.pack(">I", 100) + b"t\x01")
    ),
    "unknown kind of value": delivery(struct.pack(">H", 1 << 13) + amqp.long(amqp.short("k") + b"?\x01")),
    "protocol header": amqp.PROTOCOL_HEADER,
}
# The frame itself is within what was negotiated: 26,000 arrays in each other need 130 KB.
REPLY_CODES = (501, 502, 503, 504, 505)  # frame, syntax, command invalid, channel, unexpected frame
# Depth, and what stands before each length: a kind, in tables behind a key.
DEEP = {"26,000 nested arrays": (26_000, b"A"), "18,000 nested tables": (18_000, b"\x01aF")}


@pytest.fixture
def serve() -> Iterator[Callable[..., FakeServer]]:
    """Starts scripted servers and closes them, with their own complaints, at the end."""
    servers: list[FakeServer] = []

    def start(script: Callable[[Peer], None]) -> FakeServer:
        servers.append(FakeServer(script))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def consume(server: FakeServer, received: list[Any], **options: Any) -> Any:
    """A consumer connected to `server`; keeps (method, properties, body) of each message."""
    parameters = pika.ConnectionParameters(server.host, server.port, heartbeat=0, **options)
    connection = pika.BlockingConnection(parameters)
    channel = connection.channel()
    channel.basic_consume("q", lambda _, *content: received.append(content), auto_ack=True, consumer_tag=TAG)
    return connection


def violate(data: bytes, frame_max: int = FRAME_MAX) -> Callable[[Peer], None]:
    """A server that sends a good message, `data`, another good one, and waits for the client to close."""

    def script(peer: Peer) -> None:
        peer.handshake(frame_max=frame_max)
        peer.serve_until("Basic.Consume")
        peer.send(amqp.message(1, TAG, 7, b"good"), data)
        peer.serve_to_end()

    return script


def assert_refused(server: FakeServer, received: list[Any], told: bool = True) -> None:
    connection = consume(server, received)
    with pytest.raises(exceptions.StreamLostError):
        end = time.monotonic() + 10
        while time.monotonic() < end:
            connection.process_data_events(time_limit=1)
    assert connection.is_closed
    with pytest.raises(exceptions.ConnectionWrongStateError):
        connection.process_data_events()
    assert server.ended.wait(10), "the client did not close its socket"
    assert server.peer is not None
    closes = [frame for frame in server.peer.frames if frame.name == "Connection.Close"]
    assert len(closes) == told, "the peer is told before the socket is closed"
    assert all(struct.unpack_from(">H", frame.payload, 4)[0] in REPLY_CODES for frame in closes)


@pytest.mark.parametrize("name", VIOLATIONS)
def test_a_violation_closes_the_connection_with_an_exception(
    serve: Callable[..., FakeServer], name: str
) -> None:
    received: list[Any] = []
    assert_refused(serve(violate(VIOLATIONS[name])), received, told=name != "protocol header")
    assert [content[2] for content in received] in ([], [b"good"]), "nothing after the violation is delivered"


@pytest.mark.parametrize("name", DEEP)
def test_tables_nested_without_end_do_not_overflow_the_stack(
    serve: Callable[..., FakeServer], name: str
) -> None:
    depth, entry = DEEP[name]
    # Lengths from the inside out; the innermost is empty.
    value = b"".join(
        entry + struct.pack(">I", (len(entry) + 4) * inside) for inside in reversed(range(depth))
    )
    properties = struct.pack(">H", 1 << 13) + amqp.long(amqp.short("a") + value[len(entry) - 1 :])
    received: list[Any] = []
    assert_refused(serve(violate(delivery(properties), frame_max=1 << 18)), received)


def test_tables_nested_a_hundred_deep_are_read(serve: Callable[..., FakeServer]) -> None:
    received: list[Any] = []
    server = serve(violate(delivery(nested_arrays(90))))
    connection = consume(server, received)
    end = time.monotonic() + 10
    while len(received) < 2 and time.monotonic() < end:
        connection.process_data_events(time_limit=1)
    value = received[1][1].headers["a"]
    depth = 0
    while value:
        value = value[0]
        depth += 1
    assert depth == 89
    connection.close()


def test_the_announced_size_of_a_body_allocates_at_most_a_megabyte_ahead(
    serve: Callable[..., FakeServer],
) -> None:
    """A terabyte is announced, 64 KB come: the process must not grow by more than those and a megabyte."""
    announced = 1 << 40
    sent = 64 * 1024

    def script(peer: Peer) -> None:
        peer.handshake()
        peer.serve_until("Basic.Consume")
        peer.send(amqp.deliver(1, TAG, 1), amqp.content_header(1, announced), amqp.body(1, bytes(sent)))
        peer.serve_to_end()

    server = serve(script)
    received: list[Any] = []
    connection = consume(server, received)

    def address_space() -> int:
        with open("/proc/self/statm", encoding="ascii") as statm:
            return int(statm.read().split()[0]) * resource.getpagesize()

    before = address_space()
    connection.process_data_events(time_limit=0.5)
    assert address_space() - before < 4 << 20
    assert received == []
    server.close()
    with pytest.raises(exceptions.StreamLostError):
        connection.process_data_events(time_limit=5)


def test_frames_for_a_channel_that_was_never_opened_are_not_delivered(
    serve: Callable[..., FakeServer],
) -> None:
    """pika logs them and goes on; whatever the answer, nothing crashes and no callback sees them."""
    received: list[Any] = []
    server = serve(violate(amqp.message(9, TAG, 1, b"strange") + amqp.message(1, TAG, 8, b"later")))
    connection = consume(server, received)
    try:
        end = time.monotonic() + 5
        while len(received) < 2 and time.monotonic() < end:
            connection.process_data_events(time_limit=0.5)
    except exceptions.AMQPConnectionError:
        assert connection.is_closed
    assert b"strange" not in [content[2] for content in received]


def test_a_message_for_an_unknown_consumer_does_not_crash(serve: Callable[..., FakeServer]) -> None:
    received: list[Any] = []
    server = serve(violate(amqp.message(1, "nobody", 1, b"strange") + amqp.message(1, TAG, 8, b"later")))
    connection = consume(server, received)
    try:
        end = time.monotonic() + 5
        while len(received) < 2 and time.monotonic() < end:
            connection.process_data_events(time_limit=0.5)
    except (exceptions.AMQPError, KeyError):
        pass
    assert b"strange" not in [content[2] for content in received]


def test_frames_cut_at_every_byte_arrive_whole(serve: Callable[..., FakeServer]) -> None:
    """However the stream is cut into segments, the same messages come out."""

    def script(peer: Peer) -> None:
        peer.handshake()
        peer.serve_until("Basic.Consume")
        stream = b"".join(amqp.message(1, TAG, tag, b"m%d" % tag) for tag in range(1, 6))
        for position in range(len(stream)):
            peer.send(stream[position : position + 1])
        peer.serve_to_end()

    received: list[Any] = []
    server = serve(script)
    connection = consume(server, received)
    end = time.monotonic() + 10
    while len(received) < 5 and time.monotonic() < end:
        connection.process_data_events(time_limit=1)
    assert [(content[0].delivery_tag, content[2]) for content in received] == [
        (tag, b"m%d" % tag) for tag in range(1, 6)
    ]
    connection.close()


def test_a_body_in_many_small_frames_is_joined(serve: Callable[..., FakeServer]) -> None:
    parts = [bytes([number % 256]) * (1 + number % 50) for number in range(2000)]
    whole = b"".join(parts)
    frames = b"".join(amqp.body(1, part) for part in parts)
    received: list[Any] = []
    server = serve(violate(amqp.deliver(1, TAG, 1) + amqp.content_header(1, len(whole)) + frames))
    connection = consume(server, received)
    end = time.monotonic() + 10
    while len(received) < 2 and time.monotonic() < end:
        connection.process_data_events(time_limit=1)
    assert received[1][2] == whole
    connection.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"AMQP\x00\x00\x09\x01",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x00" * 16,
        amqp.method(0, "Connection.Start"),
    ],
    ids=["protocol header", "HTTP", "zeros", "Start without arguments"],
)
def test_a_server_that_does_not_speak_amqp_is_an_exception_when_connecting(
    serve: Callable[..., FakeServer], answer: bytes
) -> None:
    def script(peer: Peer) -> None:
        peer.sock.recv(8)
        peer.send(answer)
        peer.serve_to_end()

    server = serve(script)
    parameters = pika.ConnectionParameters(server.host, server.port, stack_timeout=3, socket_timeout=3)
    begin = time.monotonic()
    with pytest.raises(exceptions.AMQPError):
        pika.BlockingConnection(parameters)
    assert time.monotonic() - begin < 8
