"""The engine alone: a broker's bytes go in; events, answers and the reason of the end come out."""

from __future__ import annotations

import socket
import struct
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, cast

import pytest
from cpika import _core, exceptions, frame, spec

FRAME_MAX = 4096
OPEN, CLOSED = 5, 0  # of connection_state
HEARTBEAT = frame.Heartbeat().marshal()
PERSISTENT = spec.BasicProperties(delivery_mode=2, headers={"number": 7, "nested": {"list": [1, "two"]}})


# ---- the broker's bytes ----


def method(number: int, what: Any) -> bytes:
    return frame.Method(number, what).marshal()


def raw(kind: int, number: int, payload: bytes, end: int = spec.FRAME_END) -> bytes:
    return struct.pack(">BHI", kind, number, len(payload)) + payload + bytes((end,))


def header(size: int, properties: spec.BasicProperties | None = None, number: int = 1) -> bytes:
    return frame.Header(number, size, properties or spec.BasicProperties()).marshal()


def content(bodies: Sequence[bytes], properties: spec.BasicProperties | None = None) -> bytes:
    frames = [frame.Body(1, body).marshal() for body in bodies]
    return header(sum(map(len, bodies)), properties) + b"".join(frames)


def deliver(tag: int, consumer: str = "consumer") -> bytes:
    return method(1, spec.Basic.Deliver(consumer, tag, False, "exchange", "key"))


DELIVER = spec.Basic.Deliver("consumer", 1, False, "exchange", "key")
RETURN = spec.Basic.Return(312, "NO_ROUTE", "", "nowhere")
START = spec.Connection.Start(0, 9, {"product": "bytes"}, b"PLAIN", b"en_US")
CLOSE = spec.Connection.Close(320, "CONNECTION_FORCED - shutdown", 0, 0)


# ---- the engine ----


class Memory:
    """What an engine that sends requests writes to and reads from: each write makes the next answer readable.

    It never waits: an engine that finds no answer fails at once, for want of `_wait_socket`.
    """

    def __init__(self, piece: int = 65536) -> None:
        self.sent: list[bytes] = []
        self.answers: deque[bytes] = deque()
        self._readable = b""
        self._piece = piece

    def send(self, data: bytes) -> int:
        self.sent.append(data)
        if self.answers:
            self._readable += self.answers.popleft()
        return len(data)

    def recv(self, most: int) -> bytes:
        if not self._readable:
            raise BlockingIOError
        n = min(most, self._piece)
        data, self._readable = self._readable[:n], self._readable[n:]
        return data

    def close(self) -> None:
        self.answers.clear()


class Connection(_core.Connection):
    def _on_held(self) -> None:
        """What is held back leaves as soon as the call that has written it waits."""


class Channel(_core.Channel):
    """Notes what the engine tells while a call waits."""

    def __init__(self, connection: _core.Connection, number: int) -> None:
        super().__init__(connection, number)
        self.nacks: list[Any] = []

    def _on_nack(self, nack: Any, exchange: str, key: str, mandatory: bool) -> None:
        self.nacks.append(nack)

    def _on_returned(self, returned: Any, properties: Any, body: bytes) -> None:
        """For the log."""

    def _returned_message(self, returned: Any, properties: Any, body: bytes) -> tuple[str, bytes]:
        return returned.reply_text, body


class Session(NamedTuple):
    memory: Memory
    connection: _core.Connection
    channel: Channel

    def rpc(self, request: Any, answer: Any) -> Any:
        self.memory.answers.append(method(1, answer))
        return self.channel._rpc(request, answer.INDEX)


def over(memory: Memory) -> _core.Connection:
    return Connection(cast(socket.socket, memory))


def tuned(connection: _core.Connection) -> _core.Connection:
    connection.connection_state = OPEN
    connection._tune(FRAME_MAX, 0, None)
    return connection


def opened(piece: int = 65536) -> Session:
    """A connection with channel 1, which has a consumer and two callbacks for what comes back."""
    memory = Memory(piece)
    connection = tuned(over(memory))
    session = Session(memory, connection, Channel(connection, 1))
    memory.answers.append(method(1, spec.Channel.OpenOk()))
    session.channel._open()
    consume = spec.Basic.Consume(queue="queue", consumer_tag="consumer")
    session.rpc(consume, spec.Basic.ConsumeOk("consumer"))
    session.channel._return_callback_count = 2
    return session


def fed(connection: _core.Connection, pieces: Iterable[bytes]) -> _core.Connection:
    for piece in pieces:
        connection._feed(piece)
    return connection


class Outcome(NamedTuple):
    events: list[tuple[Any, ...]]
    output: bytes
    error: str
    state: int
    frames: int


def outcome(connection: _core.Connection) -> Outcome:
    events = [
        (kind, None if channel is None else channel.channel_number, *rest)
        for kind, channel, *rest in connection._take_events()
    ]
    output, error = connection._take_output(), repr(connection._error)
    return Outcome(events, output, error, connection.connection_state, connection.frames_received)


def splits(stream: bytes) -> Iterable[list[bytes]]:
    """Byte by byte, and every way to cut it in two."""
    yield [stream[i : i + 1] for i in range(len(stream))]
    for at in range(1, len(stream)):
        yield [stream[:at], stream[at:]]


# ---- how a connection begins ----


@pytest.mark.parametrize("piece", [1, 2, 7, 65536])
def test_a_connection_is_opened_by_bytes_of_any_size(piece: int) -> None:
    memory = Memory(piece)
    connection = over(memory)
    start_ok = spec.Connection.StartOk({"product": "cpika"}, "PLAIN", "\0guest\0guest", "en_US")
    tune = spec.Connection.Tune(2047, FRAME_MAX, 60)
    tune_ok = spec.Connection.TuneOk(2047, FRAME_MAX, 0)
    opening = spec.Connection.Open("/", insist=True)
    memory.answers += [method(0, START), method(0, tune), b"", method(0, spec.Connection.OpenOk("hosts"))]

    connection._write(frame.ProtocolHeader().marshal())
    assert connection._rpc(None, START.INDEX) == START
    assert connection._rpc(start_ok, tune.INDEX) == tune
    connection._tune(FRAME_MAX, 0, None)
    connection._send_method(tune_ok)
    assert connection._rpc(opening, spec.Connection.OpenOk.INDEX) == spec.Connection.OpenOk("hosts")

    expected = [method(0, start_ok), method(0, tune_ok), method(0, opening)]
    assert memory.sent == [b"AMQP\0\0\x09\x01", *expected]
    assert connection.frames_received == 3


@pytest.mark.parametrize("piece", [1, 65536])
def test_a_channel_is_opened_used_and_closed_by_bytes(piece: int) -> None:
    session = opened(piece)
    assert session.channel.is_open
    assert list(session.connection._open_channels) == [1]
    session.rpc(spec.Confirm.Select(), spec.Confirm.SelectOk())
    assert session.channel._delivery_confirmation
    session.rpc(spec.Channel.Close(200, "bye", 0, 0), spec.Channel.CloseOk())
    assert session.channel.is_closed
    assert session.connection._open_channels == {}
    consume = spec.Basic.Consume(queue="queue", consumer_tag="consumer")
    requests = [spec.Channel.Open(), consume, spec.Confirm.Select(), spec.Channel.Close(200, "bye", 0, 0)]
    assert session.memory.sent == [method(1, request) for request in requests]


# ---- messages ----


BODIES: list[list[bytes]] = [[], [b"whole"], [b"in ", b"two"], [b"a", b"", b"c"], [b"x" * 4088, b"y" * 4088]]


@pytest.mark.parametrize("properties", [spec.BasicProperties(), PERSISTENT], ids=["bare", "persistent"])
@pytest.mark.parametrize("bodies", BODIES, ids=["empty", "one", "two", "hollow", "full frames"])
def test_a_message_in_pieces_is_the_same_message(
    bodies: list[bytes], properties: spec.BasicProperties
) -> None:
    stream = deliver(3) + content(bodies, properties)
    expected = spec.Basic.Deliver("consumer", 3, False, "exchange", "key")
    for pieces in ([stream], [deliver(3), content(bodies, properties)], [stream[:-1], stream[-1:]]):
        got = outcome(fed(opened().connection, pieces))
        assert got.events == [("delivery", 1, expected, properties, b"".join(bodies))]
        assert got.output == b""


def test_nothing_is_told_of_a_message_before_its_last_byte() -> None:
    stream = deliver(1) + content([b"body"])
    connection = opened().connection
    connection._feed(stream[:-1])
    assert connection._take_events() == []
    connection._feed(stream[-1:])
    assert [event[0] for event in connection._take_events()] == ["delivery"]


def test_messages_of_two_channels_interleave() -> None:
    session = opened()
    second = Channel(session.connection, 2)
    session.memory.answers.append(method(2, spec.Channel.OpenOk()))
    second._open()
    second._return_callback_count = 1
    stream = deliver(1) + method(2, RETURN) + header(1) + header(1, number=2)
    stream += frame.Body(2, b"2").marshal() + frame.Body(1, b"1").marshal()
    got = outcome(fed(session.connection, [stream]))
    seen = [(event[0], event[1], event[4]) for event in got.events]
    assert seen == [("return", 2, b"2"), ("delivery", 1, b"1")]


# ---- what the broker says unasked ----


FLOW_OFF, FLOW_ON = spec.Channel.Flow(False), spec.Channel.Flow(True)
BLOCKED, UNBLOCKED = spec.Connection.Blocked("memory"), spec.Connection.Unblocked()
CANCEL = spec.Basic.Cancel("consumer", True)
CHANNEL_CLOSE = spec.Channel.Close(404, "NOT_FOUND", 60, 40)
GONE = deliver(1, "gone")
GONE_METHOD = spec.Basic.Deliver("gone", 1, False, "exchange", "key")
BARE = spec.BasicProperties()

UNASKED: dict[str, tuple[bytes, list[tuple[Any, ...]], bytes]] = {
    "nothing": (b"", [], b""),
    "heartbeats": (HEARTBEAT * 3, [], b""),
    "blocked": (method(0, BLOCKED), [("method", None, BLOCKED, None, None)], b""),
    "unblocked": (method(0, UNBLOCKED), [("method", None, UNBLOCKED, None, None)], b""),
    **{
        f"flow {flow.active}": (
            method(1, flow),
            [("method", 1, flow, None, None)],
            method(1, spec.Channel.FlowOk(flow.active)),
        )
        for flow in (FLOW_OFF, FLOW_ON)
    },
    "nobody's delivery": (GONE + content([b"x"]), [("unexpected", 1, GONE_METHOD, BARE, b"x")], b""),
    "cancel and a late delivery": (
        method(1, CANCEL) + deliver(1) + content([]),
        [
            ("cancel", 1, CANCEL, None, None),
            ("method", 1, CANCEL, None, None),
            ("unexpected", 1, DELIVER, BARE, b""),
        ],
        b"",
    ),
    "return": (
        method(1, RETURN) + content([b"back"], PERSISTENT),
        [("return", 1, RETURN, PERSISTENT, b"back")] * 2,
        b"",
    ),
    "confirms of nothing": (
        method(1, spec.Basic.Ack(9, True)) + method(1, spec.Basic.Nack(10, True, False)),
        [],
        b"",
    ),
    "answer to nothing": (
        method(1, spec.Queue.DeclareOk("q", 1, 2)),
        [("method", 1, spec.Queue.DeclareOk("q", 1, 2), None, None)],
        b"",
    ),
    "channel's method on channel 0": (
        method(0, CHANNEL_CLOSE),
        [("method", None, CHANNEL_CLOSE, None, None)],
        b"",
    ),
    "channel close": (
        method(1, CHANNEL_CLOSE) + deliver(1) + content([b"late"]),
        [("channel closed", 1, None, None, None)],
        method(1, spec.Channel.CloseOk()),
    ),
}


@pytest.mark.parametrize(("stream", "events", "output"), UNASKED.values(), ids=UNASKED)
def test_what_the_broker_says_unasked_is_told_and_answered(
    stream: bytes, events: list[tuple[Any, ...]], output: bytes
) -> None:
    got = outcome(fed(opened().connection, [stream]))
    assert got.events == events
    assert got.output == output
    assert (got.state, got.error) == (OPEN, "None")


def test_a_channel_that_the_broker_closes_says_why() -> None:
    session = opened()
    session.connection._feed(method(1, CHANNEL_CLOSE))
    assert repr(session.channel._closing_reason) == "ChannelClosedByBroker: (404) 'NOT_FOUND'"
    with pytest.raises(exceptions.ChannelWrongStateError, match=r"^Channel is closed\.$"):
        session.channel._check_open()


def test_without_anything_to_write_to_a_handshake_is_told_as_it_comes() -> None:
    said = [START, spec.Connection.Tune(2047, FRAME_MAX, 60), spec.Connection.OpenOk("hosts"), BLOCKED]
    stream = b"".join(method(0, what) for what in said) + HEARTBEAT
    whole = outcome(fed(_core.Connection(None), [stream]))
    assert whole.events == [("method", None, what, None, None) for what in said]
    assert (whole.output, whole.error, whole.frames) == (b"", "None", 5)
    for pieces in splits(stream):
        assert outcome(fed(_core.Connection(None), pieces)) == whole, f"cut behind {pieces[0]!r}"


END = method(0, CLOSE) + b"what nobody reads"
# A channel that is closed takes along what was not dispatched: apart from the rest.
UNASKED_CLOSE = UNASKED["channel close"][0]
ALL_BUT_CLOSE = b"".join(stream for stream, _, _ in UNASKED.values() if stream != UNASKED_CLOSE)
LIVES = {
    "to its end": (deliver(4) + content([b"in ", b"two"], PERSISTENT) + ALL_BUT_CLOSE + END, 14),
    "of a closed channel": (deliver(4) + content([b"lost"]) + UNASKED_CLOSE + HEARTBEAT + END, 2),
}


@pytest.mark.parametrize(("stream", "events"), LIVES.values(), ids=LIVES)
def test_however_a_stream_is_cut_the_same_comes_of_it(stream: bytes, events: int) -> None:
    whole = outcome(fed(opened().connection, [stream]))
    assert (len(whole.events), whole.state) == (events, CLOSED)
    assert whole.output.endswith(method(0, spec.Connection.CloseOk()))
    for pieces in splits(stream):
        assert outcome(fed(opened().connection, pieces)) == whole, f"cut behind {pieces[0]!r}"


# ---- confirms ----


def confirming() -> Session:
    session = opened()
    session.rpc(spec.Confirm.Select(), spec.Confirm.SelectOk())
    return session


ACK, NACK = spec.Basic.Ack, spec.Basic.Nack
RETURNED = method(1, RETURN) + content([b"body"])
MESSAGE = ("", "nowhere", b"body", None, True)


@pytest.mark.parametrize("verdict", [ACK(1), ACK(1, True), ACK(7, True), ACK(0, True)], ids=repr)
def test_a_publish_is_over_when_an_ack_covers_it(verdict: Any) -> None:
    session = confirming()
    session.memory.answers.append(method(1, verdict))
    session.channel.basic_publish(*MESSAGE)


@pytest.mark.parametrize("verdict", [NACK(1, False, False), NACK(3, True, False)], ids=repr)
def test_a_publish_that_a_nack_covers_is_refused(verdict: Any) -> None:
    session = confirming()
    session.memory.answers.append(method(1, verdict))
    with pytest.raises(exceptions.NackError):
        session.channel.basic_publish(*MESSAGE)
    assert session.channel.nacks == [verdict]


def test_a_publish_that_came_back_is_unroutable() -> None:
    session = confirming()
    session.memory.answers.append(RETURNED + method(1, ACK(1)))
    with pytest.raises(exceptions.UnroutableError) as raised:
        session.channel.basic_publish(*MESSAGE)
    messages: list[Any] = list(raised.value.messages)
    assert messages == [("NO_ROUTE", b"body")]


@pytest.mark.parametrize(
    "verdicts",
    [
        [ACK(3, True)],
        [ACK(0, True)],
        [ACK(2), ACK(3, True)],
        [ACK(3), ACK(1), ACK(2)],
        [ACK(2, True), ACK(3)],
    ],
    ids=repr,
)
def test_many_publishes_are_confirmed_in_any_order(verdicts: list[Any]) -> None:
    session = confirming()
    session.memory.answers.append(b"".join(method(1, verdict) for verdict in verdicts))
    assert session.channel.publish_many([MESSAGE] * 3) == 3


# ---- how a connection ends ----


def test_connection_close_is_answered_and_ends_everything() -> None:
    session = opened()
    session.connection._feed(method(0, CLOSE) + deliver(1) + content([]))
    got = outcome(session.connection)
    assert got.events == [("ended", None, None, None, None)]
    assert got.output == method(0, spec.Connection.CloseOk())
    assert got.error == "ConnectionClosedByBroker: (320) 'CONNECTION_FORCED - shutdown'"
    assert session.channel.is_closed
    with pytest.raises(exceptions.ConnectionClosedByBroker, match="CONNECTION_FORCED"):
        session.connection._check()


HALVES = {
    "nothing": b"",
    "half a head": HEARTBEAT[:3],
    "half a method": method(0, CLOSE)[:-1],
    "half a body": deliver(1) + content([b"body"])[:-3],
    "no header": deliver(1),
    "half a protocol header": b"AMQP\0",
}


@pytest.mark.parametrize("half", HALVES.values(), ids=HALVES)
def test_a_peer_that_hangs_up_ends_the_connection_and_what_it_said_before_counts(half: bytes) -> None:
    connection = fed(opened().connection, [deliver(1) + content([b"before"]), half])
    connection._feed_eof()
    connection._feed(deliver(2) + content([b"behind"]))
    got = outcome(connection)
    assert [(event[0], event[4]) for event in got.events] == [("delivery", b"before"), ("ended", None)]
    assert (got.state, got.output) == (CLOSED, b"")
    assert got.error == "StreamLostError: ('Transport indicated EOF',)"


def test_a_greeting_for_another_protocol_is_answered_by_a_header_and_that_ends_it() -> None:
    for pieces in splits(b"AMQP\0\0\x09\x01"):
        got = outcome(fed(_core.Connection(None), pieces))
        assert got.error == "StreamLostError: ('The peer answered with a protocol header of its own',)"
        assert (got.state, got.output) == (CLOSED, b"")


# ---- violations ----


def start_with(table: bytes) -> bytes:
    """A Connection.Start with these bytes for its table's."""
    strings = struct.pack(">I4sI", 4, b"none", 0)
    return asking(0, START, b"\0\x09" + struct.pack(">I", len(table)) + table + strings)


def asking(number: int, what: Any, arguments: bytes) -> bytes:
    """That method with other arguments than it can have."""
    return raw(spec.FRAME_METHOD, number, struct.pack(">I", what.INDEX) + arguments)


def arguments_of(what: Any) -> bytes:
    return b"".join(what.encode())


def nested(levels: int) -> bytes:
    table = b"\x01kV"
    for _ in range(levels):
        table = b"\x01kF" + struct.pack(">I", len(table)) + table
    return table


def bad_header(class_id: int, flags_and_list: bytes) -> bytes:
    return deliver(1) + raw(spec.FRAME_HEADER, 1, struct.pack(">HHQ", class_id, 0, 0) + flags_and_list)


def body(payload: bytes) -> bytes:
    return frame.Body(1, payload).marshal()


SIZE = "Frame of {} bytes is outside of the negotiated size"
UNDUE = "content {} where none was due on channel 1"
DUE = "method frame on channel 1 where content was due"
MALFORMED = "Malformed fields in a frame of {} bytes"
STRAY = "frame of type {} for channel 7, which was never opened"

INVALID: dict[str, tuple[bytes, int, str]] = {
    "frame end": (raw(8, 0, b"", end=0), 501, "Invalid FRAME_END marker"),
    "end of a body": (deliver(1) + header(1) + raw(3, 1, b"x", end=0xCD), 501, "Invalid FRAME_END marker"),
    "frame type": (raw(9, 0, b""), 501, "Unknown frame type: 9"),
    "frame type 0": (raw(0, 0, b""), 501, "Unknown frame type: 0"),
    "a byte too large": (raw(3, 1, bytes(FRAME_MAX - 7))[:20], 501, SIZE.format(4089)),
    "as large as can be": (struct.pack(">BHI", 3, 1, 2**32 - 1), 501, SIZE.format(4294967295)),
    "no method id": (raw(1, 0, b"abc"), 501, SIZE.format(3)),
    "no header": (raw(2, 1, bytes(12)), 501, SIZE.format(12)),
    "method": (raw(1, 1, struct.pack(">HH", 60, 999)), 503, "Unknown method: class 60, method 999"),
    "class": (raw(1, 0, struct.pack(">HH", 99, 10)), 503, "Unknown method: class 99, method 10"),
    "short close": (asking(0, CLOSE, b"\1\x40"), 502, MALFORMED.format(6)),
    "long unblocked": (asking(0, UNBLOCKED, b"x"), 502, MALFORMED.format(5)),
    "short deliver": (asking(1, DELIVER, arguments_of(DELIVER)[:-1]), 502, MALFORMED.format(34)),
    "long deliver": (asking(1, DELIVER, arguments_of(DELIVER) + b"x"), 502, MALFORMED.format(36)),
    "short return": (asking(1, RETURN, arguments_of(RETURN)[:-1]), 502, MALFORMED.format(23)),
    "short ack": (asking(1, ACK(1), bytes(8)), 502, MALFORMED.format(12)),
    "long nack": (asking(1, NACK(1), bytes(10)), 502, MALFORMED.format(14)),
    "key over the table's end": (start_with(b"\x09k"), 502, MALFORMED.format(24)),
    "value over the table's end": (start_with(b"\x01kS\0\0\0\x09x"), 502, MALFORMED.format(30)),
    "nesting": (start_with(nested(101)), 502, "Table nested too deep in a frame of 732 bytes"),
    "class of a header": (bad_header(50, b"\0\0"), 502, MALFORMED.format(14)),
    "header list that is cut": (bad_header(60, b"\x80\0\x09"), 502, MALFORMED.format(15)),
    "header list that goes on": (bad_header(60, b"\0\0\x09"), 502, MALFORMED.format(15)),
}
UNEXPECTED: dict[str, tuple[bytes, int, str]] = {
    "header without a method": (header(0), 505, UNDUE.format("header")),
    "second header": (deliver(1) + header(1) + header(1), 505, UNDUE.format("header")),
    "body without a method": (body(b"x"), 505, UNDUE.format("body")),
    "body without a header": (deliver(1) + body(b"x"), 505, UNDUE.format("body")),
    "body behind an empty message": (deliver(1) + content([]) + body(b"x"), 505, UNDUE.format("body")),
    "method for a header": (deliver(1) + deliver(2), 505, DUE),
    "method in a body": (deliver(1) + header(2) + body(b"x") + method(1, FLOW_ON), 505, DUE),
    "header on channel 0": (header(0, number=0), 504, "frame of type 2 on channel 0"),
    "body on channel 0": (raw(3, 0, b""), 504, "frame of type 3 on channel 0"),
    "method of no channel": (method(7, FLOW_ON), 504, STRAY.format(1)),
    "body of no channel": (raw(3, 7, b""), 504, STRAY.format(3)),
}
# Each with the error that the specification's reply code stands for, and what pika's class makes of the text.
VIOLATIONS: dict[str, tuple[bytes, str, int, str]] = {
    **{
        name: (stream, f"InvalidFrameError: Invalid frame received: {text!r}", code, text)
        for name, (stream, code, text) in INVALID.items()
    },
    **{
        name: (stream, f"UnexpectedFrameError: Received a frame out of sequence: {text!r}", code, text)
        for name, (stream, code, text) in UNEXPECTED.items()
    },
    "kind of a table's value": (
        start_with(b"\x01kZ"),
        "InvalidFieldTypeException: Unsupported field kind in a frame of 25 bytes",
        502,
        "in a frame of 25 bytes",
    ),
    "kind of a header's value": (
        bad_header(60, b"\x20\0\0\0\0\3\1kZ"),
        "InvalidFieldTypeException: Unsupported field kind in a frame of 21 bytes",
        502,
        "in a frame of 21 bytes",
    ),
    "body longer than announced": (
        deliver(1) + header(5) + body(b"xyz") * 2,
        "BodyTooLongError: Received too many bytes for a message delivery: Received 6, expected 5",
        501,
        "content of 6 bytes on channel 1 where its header said 5",
    ),
}


@pytest.mark.parametrize(("stream", "cause", "code", "text"), VIOLATIONS.values(), ids=VIOLATIONS)
def test_a_violation_ends_the_connection_and_both_sides_are_told_why(
    stream: bytes, cause: str, code: int, text: str
) -> None:
    connection = fed(opened().connection, [stream, deliver(9) + content([b"behind"])])
    error = connection._error
    assert type(error) is exceptions.StreamLostError
    assert error.args == (f"Stream connection lost: {cause}",)
    assert repr(error.__cause__) == cause
    whole = outcome(connection)
    assert whole.output == method(0, spec.Connection.Close(code, text, 0, 0))
    assert whole.state == CLOSED
    assert whole.events[-1][0] == "ended"
    for pieces in splits(stream):
        assert outcome(fed(opened().connection, pieces)) == whole, f"cut behind {pieces[0]!r}"


@pytest.mark.parametrize("stream", [raw(9, 0, b""), start_with(b"\x09k")], ids=["frame type", "table"])
def test_a_violation_before_the_peer_has_made_itself_known_is_not_answered(stream: bytes) -> None:
    connection = fed(_core.Connection(None), [stream])
    assert isinstance(connection._error, exceptions.StreamLostError)
    assert connection._take_output() == b""


def test_an_error_of_the_wire_is_raised_by_whoever_uses_the_channel_next() -> None:
    session = opened()
    session.connection._feed(body(b"x"))
    with pytest.raises(exceptions.StreamLostError, match="content body where none was due on channel 1"):
        session.channel._check_open()
    with pytest.raises(exceptions.ChannelWrongStateError):  # it is told once
        session.channel._check_open()
