"""Row 4: the end of the stream is a state, not an act.

What was received before it is dispatched first, whatever the callbacks do meanwhile; then the dispatching
caller gets the first reason.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from typing import Any

import pytest
from support import amqp, answers
from support.apart import Together, apart, await_sleep, connect
from support.certs import Certificates
from support.fakeserver import FakeServer, Peer
from support.subject import pika

COUNT = 6  # messages in the stream's last segment
LINGER_NONE = struct.pack("ii", 1, 0)

# How the peer goes: what it says, whether only its sending ends, and the reason that the caller gets.
ENDINGS: dict[str, tuple[bytes, str, list[Any]]] = {
    "Close and end": (answers.connection_close(), "close", ["ConnectionClosedByBroker", 320]),
    "Close and half end": (answers.connection_close(), "half", ["ConnectionClosedByBroker", 320]),
    "end": (b"", "close", ["StreamLostError", None]),
    "half end": (b"", "half", ["StreamLostError", None]),
    "reset": (b"", "reset", ["StreamLostError", None]),
}

ACTIONS: dict[str, Callable[[Any, int], Any]] = {
    "publish": lambda channel, tag: channel.basic_publish("", "q", b"x"),
    "large publish": lambda channel, tag: channel.basic_publish("", "q", bytes(1 << 20)),
    "ack": lambda channel, tag: channel.basic_ack(tag),
    "nack": lambda channel, tag: channel.basic_nack(tag),
    "request": lambda channel, tag: channel.queue_declare("q", passive=True),
    "get": lambda channel, tag: channel.basic_get("q"),
    "wait": lambda channel, tag: channel.connection.process_data_events(0.01),
    "cancel": lambda channel, tag: channel.basic_cancel(channel.consumer_tags[0]),
}


class GoingServer(FakeServer):
    """Sends COUNT messages to the first consumer and goes as `ending` says; `gone` is set when it has.

    With `tls` (paths of certificate and key) it speaks TLS.
    """

    def __init__(self, ending: str, tls: tuple[str, str] | None = None) -> None:
        self._tls = tls
        self.gone = threading.Event()
        self.over = threading.Event()
        self._ending = ending
        super().__init__(self._go)

    def _go(self, peer: Peer) -> None:
        if self._tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self._tls)
            peer.sock = context.wrap_socket(peer.sock, server_side=True)
        peer.handshake()
        channel = peer.serve_until("Basic.Consume").channel
        self._last_segment(peer, channel)

    def _last_segment(self, peer: Peer, channel: int) -> None:
        said, how, _ = ENDINGS[self._ending]
        bodies = [amqp.message(channel, peer.consumer_tag, tag, b"%d" % tag) for tag in range(1, COUNT + 1)]
        peer.send(*bodies, said)
        if how == "half":
            with contextlib.suppress(OSError):  # the client may have hung up already
                peer.sock.shutdown(socket.SHUT_WR)
            self.gone.set()
            try:
                while True:
                    peer.receive()
            except (EOFError, OSError):
                return
        if how == "reset":
            self.over.wait(10)  # a reset that comes with the messages may throw them away
            peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NONE)
        peer.sock.close()
        self.gone.set()


def reason(error: BaseException) -> list[Any]:
    """Name and reply code of an exception."""
    return [type(error).__name__, getattr(error, "reply_code", None)]


def callbacks_that_go_on(action: str, ending: str, *files: str) -> dict[str, Any]:
    """Each callback acts once the peer has gone, and lives with what it gets.

    With `files` (of the authority, the server's certificate and its key) over TLS.
    """
    seen: list[int] = []
    raised: list[list[Any]] = []
    options = {}
    if files:
        context = ssl.create_default_context(cafile=files[0])
        options["ssl_options"] = pika.SSLOptions(context, "localhost")
    with GoingServer(ending, (files[1], files[2]) if files else None) as server:
        channel = connect(server, **options).channel()

        def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
            seen.append(int(body))
            server.over.set()
            assert server.gone.wait(5)
            try:
                ACTIONS[action](channel, method.delivery_tag)
            except Exception as error:
                raised.append(reason(error))

        channel.basic_consume("q", on_message)
        try:
            channel.start_consuming()
            last = ["returned", None]
        except Exception as error:
            last = reason(error)
        return {"seen": seen, "raised": raised, "last": last}


def assert_all_came(told: dict[str, Any], wanted: list[Any]) -> None:
    """All messages, and the reason: for the first who was told, a callback or the call that dispatches."""
    assert told["seen"] == list(range(1, COUNT + 1)), told
    for name, code in told["raised"]:
        assert [name, code] == wanted or name in STATE_ERRORS, told
    if wanted in told["raised"]:  # as with pika, its caller is told no more than that it is closed
        assert told["last"][0] in STATE_ERRORS, told
    else:
        assert told["last"] == wanted, told


STATE_ERRORS = ("ChannelWrongStateError", "ConnectionWrongStateError")
KEPT = [action for action in ACTIONS if action != "cancel"]  # a cancel takes what waits off its consumer


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("action", KEPT)
def test_all_that_came_before_the_end_is_dispatched(action: str, ending: str) -> None:
    """Row 4, end of stream: six messages and the end; each callback acts on a peer that has gone."""
    told = apart(callbacks_that_go_on, action, ending)
    assert_all_came(told, ENDINGS[ending][2])


@pytest.mark.parametrize("ending", ["Close and end", "end"])
@pytest.mark.parametrize("action", ["publish", "ack", "request"])
def test_all_that_came_before_the_end_is_dispatched_over_tls(
    certificates: Certificates, action: str, ending: str
) -> None:
    """Row 4, end of stream: the same over TLS, where no ack is held back."""
    files = [certificates.authority, certificates.server_cert, certificates.server_key]
    told = apart(callbacks_that_go_on, action, ending, *files)
    assert_all_came(told, ENDINGS[ending][2])


@pytest.mark.parametrize("ending", ["Close and half end", "half end"])
def test_a_cancel_behind_the_end_raises_the_reason(ending: str) -> None:
    """Row 4, end of stream: the consumer that a callback cancels gets no more; the reason still comes."""
    told = apart(callbacks_that_go_on, "cancel", ending)
    wanted = ENDINGS[ending][2]
    assert told["seen"][:1] == [1], told
    assert wanted in (*told["raised"], told["last"]), told


def callbacks_that_raise(action: str, ending: str) -> dict[str, Any]:
    """What the action raises leaves the dispatching call; the program dispatches again."""
    seen: list[int] = []
    ended: list[list[Any]] = []
    with GoingServer(ending) as server:
        connection = connect(server)
        channel = connection.channel()

        def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
            seen.append(int(body))
            server.over.set()
            assert server.gone.wait(5)
            ACTIONS[action](channel, method.delivery_tag)

        channel.basic_consume("q", on_message)
        while len(ended) < 2 * COUNT and (not ended or ended[-1][0] != "ConnectionWrongStateError"):
            try:
                connection.process_data_events(2)
            except Exception as error:
                ended.append(reason(error))
        return {"seen": seen, "ended": ended, "open": connection.is_open}


@pytest.mark.parametrize("ending", ["Close and half end", "half end", "Close and end"])
@pytest.mark.parametrize("action", ["publish", "ack", "request"])
def test_messages_behind_a_failed_callback_are_dispatched_by_the_next_call(action: str, ending: str) -> None:
    """Row 4, end of stream: every message is dispatched once, then the first reason comes, then closed."""
    told = apart(callbacks_that_raise, action, ending)
    wanted = ENDINGS[ending][2]
    assert told["seen"] == list(range(1, COUNT + 1)), told
    assert wanted in told["ended"], told
    assert told["ended"][-1][0] == "ConnectionWrongStateError", told
    assert not told["open"]


def generator_to_the_end(action: str, ending: str) -> dict[str, Any]:
    """`consume()`: the loop's body acts on a peer that has gone."""
    seen: list[int] = []
    raised: list[list[Any]] = []
    with GoingServer(ending) as server:
        channel = connect(server).channel()
        try:
            for method, _, body in channel.consume("q"):
                seen.append(int(body))
                server.over.set()
                assert server.gone.wait(5)
                try:
                    ACTIONS[action](channel, method.delivery_tag)
                except Exception as error:
                    raised.append(reason(error))
            last = ["ended", None]
        except Exception as error:
            last = reason(error)
        return {"seen": seen, "raised": raised, "last": last}


@pytest.mark.parametrize("ending", ["Close and half end", "half end"])
@pytest.mark.parametrize("action", ["publish", "ack", "request"])
def test_a_generator_gives_all_that_came_before_the_end(action: str, ending: str) -> None:
    """Row 4, end of stream: the same for `consume()`."""
    assert_all_came(apart(generator_to_the_end, action, ending), ENDINGS[ending][2])


def another_thread_meets_the_end(ending: str) -> dict[str, Any]:
    """While a callback lasts, another thread finds the end by a request and a publish."""
    seen: list[int] = []
    inside, leave = threading.Event(), threading.Event()
    with GoingServer(ending) as server:
        connection = connect(server)
        other = connection.channel()
        channel = connection.channel()

        def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
            seen.append(int(body))
            inside.set()
            leave.wait(5)

        def meets() -> list[list[Any]]:
            found = []
            for call in (
                lambda: other.queue_declare("q", passive=True),
                lambda: other.basic_publish("", "q", b"x"),
            ):
                try:
                    call()
                except Exception as error:
                    found.append(reason(error))
            return found

        channel.basic_consume("q", on_message)
        dispatching = Together(channel.start_consuming)
        assert inside.wait(5)
        assert server.gone.wait(5)
        found = Together(meets).join()[0]
        leave.set()
        assert not dispatching.hung(5)
        error = dispatching.errors[0]
        return {"seen": seen, "found": found, "last": reason(error) if error is not None else None}


@pytest.mark.parametrize("ending", ["Close and half end", "half end", "Close and end"])
def test_another_thread_that_meets_the_end_takes_nothing_from_the_dispatcher(ending: str) -> None:
    """Row 4, end of stream: the other thread gets the reason, the dispatcher its messages and the reason."""
    told = apart(another_thread_meets_the_end, ending)
    wanted = ENDINGS[ending][2]
    assert told["seen"] == list(range(1, COUNT + 1)), told
    assert told["found"][0] == wanted, told
    assert len(told["found"]) == 2, told
    assert told["last"] == wanted, told


def answered_before_the_end() -> list[Any]:
    """The answer to a request and the end come in one segment, behind messages of a consumer."""
    seen: list[int] = []

    def script(peer: Peer) -> None:
        peer.handshake()
        channel = peer.serve_until("Basic.Consume").channel
        declare = peer.expect("Queue.Declare")
        messages = [amqp.message(channel, peer.consumer_tag, tag, b"%d" % tag) for tag in (1, 2, 3)]
        peer.send(*messages, answers.declare_ok(declare, 5), answers.connection_close())
        with contextlib.suppress(OSError):  # the client may have hung up already
            peer.sock.shutdown(socket.SHUT_WR)
        answers.serve_to_end(peer)

    with FakeServer(script) as server:
        connection = connect(server)
        channel = connection.channel()
        channel.basic_consume("q", lambda channel, method, properties, body: seen.append(int(body)))
        count = channel.queue_declare("q", passive=True).method.message_count
        try:
            while True:
                connection.process_data_events(2)
        except Exception as error:
            return [count, seen, reason(error)]


def test_an_answer_that_came_before_the_end_is_an_answer() -> None:
    """Row 4, end of stream: the request succeeds, the messages are dispatched, then the reason comes."""
    assert apart(answered_before_the_end) == [5, [1, 2, 3], ["ConnectionClosedByBroker", 320]]


def a_dispatcher_waits_at_the_end() -> list[Any]:
    """Two threads wait in the dispatcher when the peer goes: who gets what?"""

    def script(peer: Peer) -> None:
        peer.handshake()
        peer.serve_until("Channel.Open")
        peer.expect("Queue.Declare")
        for together in waiting:
            await_sleep(together.threads[0])
        peer.send(answers.connection_close())
        with contextlib.suppress(OSError):  # the client may have hung up already
            peer.sock.shutdown(socket.SHUT_WR)
        answers.serve_to_end(peer)

    waiting: list[Together] = []
    with FakeServer(script) as server:
        connection = connect(server)
        channel = connection.channel()
        for _ in range(2):
            waiting.append(Together(lambda: connection.process_data_events(None)))
        waiting.append(Together(lambda: channel.queue_declare("q")))
        assert not [together for together in waiting if together.hung(5)]
        errors = [together.errors[0] for together in waiting]
        return sorted(reason(error)[0] for error in errors if error is not None)


def test_everybody_who_waits_learns_the_reason() -> None:
    """Row 4, end of stream: one reason for all that were waiting; nobody returns as if nothing were."""
    assert apart(a_dispatcher_waits_at_the_end) == ["ConnectionClosedByBroker"] * 3
