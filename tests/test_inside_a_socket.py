"""What runs while a Python socket's own method runs - handlers, other threads - does no harm."""

from __future__ import annotations

import select
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from support import amqp
from support.fakeserver import FakeServer, Peer
from support.moments import interrupted_at_moment
from support.subject import exceptions, pika

pytestmark = pytest.mark.rule(9)


class Interrupted(BaseException):
    """What a signal handler raises."""


class Socket(socket.socket):
    """Not CPython's own class, so it is used through its methods; each may be made to run something."""

    inside_send: Callable[[], None] | None = None
    after_send: Callable[[], None] | None = None
    inside_recv: Callable[[], None] | None = None
    after_recv: Callable[[], None] | None = None
    closing: Callable[[], None] | None = None
    returns: ClassVar[dict[str, Any]] = {}  # by method, instead of what it should

    def close(self) -> None:
        if Socket.closing is not None:
            Socket.closing()
        super().close()

    def send(self, *args: Any) -> int:
        run, Socket.inside_send = Socket.inside_send, None
        if run is not None:
            run()
        sent = super().send(*args)
        run, Socket.after_send = Socket.after_send, None
        if run is not None:
            run()
        return int(sent) if "send" not in Socket.returns else Socket.returns["send"]  # type: ignore[no-any-return]

    def recv(self, *args: Any) -> bytes:
        run, Socket.inside_recv = Socket.inside_recv, None
        if run is not None:
            run()
        if "recv" in Socket.returns:
            return Socket.returns["recv"]  # type: ignore[no-any-return]
        data = super().recv(*args)
        run, Socket.after_recv = Socket.after_recv, None
        if run is not None:
            run()
        return data


@pytest.fixture
def open_channel(monkeypatch: pytest.MonkeyPatch, connect: Callable[..., Any]) -> Any:
    connection_socket = socket.socket
    monkeypatch.setattr(socket, "socket", Socket)
    channel = connect().channel()
    monkeypatch.setattr(socket, "socket", connection_socket)
    yield channel
    Socket.inside_send = Socket.after_send = Socket.inside_recv = Socket.after_recv = Socket.closing = None
    Socket.returns = {}


@pytest.mark.timeout(20)
def test_a_handler_that_interrupts_send_publishes_behind_it(open_channel: Any, queue_name: str) -> None:
    open_channel.queue_declare(queue_name)
    Socket.inside_send = lambda: open_channel.basic_publish("", queue_name, b"second")
    open_channel.basic_publish("", queue_name, b"first")
    bodies = [open_channel.basic_get(queue_name, auto_ack=True)[2] for _ in range(2)]
    assert bodies == [b"first", b"second"]


@pytest.mark.timeout(20)
def test_a_handler_that_interrupts_send_may_close_the_connection(open_channel: Any) -> None:
    connection = open_channel.connection

    def close() -> None:
        with pytest.raises(exceptions.ReentrancyError):
            connection.close()

    Socket.inside_send = close
    open_channel.basic_publish("", "cpika-test-nowhere", b"")


@pytest.mark.timeout(20)
def test_a_connection_is_closed_while_another_thread_is_inside_its_socket(open_channel: Any) -> None:
    connection = open_channel.connection
    inside, closing = threading.Event(), threading.Event()

    def stay() -> None:
        inside.set()
        closing.wait(10)

    def publish() -> None:
        try:
            open_channel.basic_publish("", "cpika-test-nowhere", b"")
        except exceptions.AMQPError:
            pass

    Socket.inside_send = stay
    thread = threading.Thread(target=publish)
    thread.start()
    assert inside.wait(10)
    threading.Timer(0.2, closing.set).start()
    connection._impl._terminate(exceptions.ConnectionClosedByClient(200, "Normal shutdown"))
    thread.join(10)
    assert not thread.is_alive()
    assert connection.is_closed


@pytest.mark.timeout(20)
def test_what_is_raised_behind_a_recv_ends_a_connection_that_would_be_out_of_step(open_channel: Any) -> None:
    """The bytes that had come are lost with the exception: nothing that follows could be trusted."""

    def interrupt() -> None:
        raise Interrupted

    Socket.after_recv = interrupt
    with pytest.raises(Interrupted):
        open_channel.queue_declare("", exclusive=True)
    assert open_channel.connection.is_closed
    with pytest.raises(exceptions.ChannelWrongStateError):
        open_channel.basic_publish("", "cpika-test-nowhere", b"")


@pytest.mark.timeout(20)
@pytest.mark.parametrize("where", ["inside_send", "inside_recv"])
def test_a_socket_that_a_signal_has_interrupted_is_asked_again(
    open_channel: Any, queue_name: str, where: str
) -> None:
    """InterruptedError: nothing was done.  It ended the connection."""

    def interrupt() -> None:
        raise InterruptedError(4, "Interrupted system call")

    setattr(Socket, where, interrupt)
    open_channel.queue_declare(queue_name)
    assert getattr(Socket, where) is None
    open_channel.basic_publish("", queue_name, b"x")
    assert open_channel.basic_get(queue_name, auto_ack=True)[2] == b"x"


class Stop(InterruptedError):
    """What a signal handler raises that has its own idea of errors."""


@pytest.mark.timeout(20)
@pytest.mark.parametrize("error", [Stop(4, "stop"), InterruptedError("stop")], ids=["derived", "no EINTR"])
@pytest.mark.parametrize("where", ["after_send", "after_recv"])
def test_what_only_looks_like_an_interrupted_call_has_lost_the_stream(
    open_channel: Any, where: str, error: InterruptedError
) -> None:
    """Bytes had gone, or come: asked again, the socket would send the same once more, or wait for them."""

    def interrupt() -> None:
        raise error

    setattr(Socket, where, interrupt)
    with pytest.raises(exceptions.StreamLostError, match="stop"):
        open_channel.queue_declare("", exclusive=True)
    assert open_channel.connection.is_closed


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "method, returned", [("send", None), ("send", -1), ("send", 1 << 70), ("recv", None), ("recv", "text")]
)
def test_a_socket_that_returns_what_cannot_be_has_lost_the_stream(
    open_channel: Any, method: str, returned: Any
) -> None:
    """As on pika.  The bare TypeError or ValueError passed for a signal handler's."""
    Socket.returns = {method: returned}
    with pytest.raises(exceptions.StreamLostError, match=rf"{method}\(.*\) of the socket .*{returned!r}"):
        open_channel.queue_declare("", exclusive=True)
    assert open_channel.connection.is_closed


@pytest.mark.timeout(20)
@pytest.mark.parametrize("times", [1, 2])
def test_a_socket_whose_close_is_interrupted_is_closed(open_channel: Any, times: int) -> None:
    """However impatient somebody is: the broker would go on delivering to nobody."""
    handlers = iter([Interrupted(f"number {number}") for number in range(times)])
    sock = open_channel.connection._impl._transport._sock

    def interrupt() -> None:
        for error in handlers:
            raise error

    Socket.closing = interrupt
    with pytest.raises(Interrupted, match=f"number {times - 1}") as caught:
        open_channel.connection.close()
    assert times == 1 or str(caught.value.__context__) == "number 0"
    assert sock.fileno() == -1
    assert not list(handlers)
    assert open_channel.connection.is_closed


@pytest.mark.rule(11)
def test_a_finalizer_that_runs_while_a_delivery_is_decoded_does_not_change_the_order() -> None:
    """A replaced __init__ of Basic.Deliver stands for all user code that may run in the middle of a frame."""
    count = 50

    def script(peer: Peer) -> None:
        peer.handshake()
        channel = peer.serve_until("Basic.Consume").channel
        peer.send(*(amqp.message(channel, peer.consumer_tag, tag, b"x") for tag in range(1, count + 1)))
        peer.serve_to_end()

    seen: list[int] = []
    original = pika.spec.Basic.Deliver.__init__
    with FakeServer(script) as server:
        connection = pika.BlockingConnection(pika.ConnectionParameters(server.host, server.port))
        channel = connection.channel()

        def init(self: Any, *args: Any, **kwargs: Any) -> None:
            original(self, *args, **kwargs)
            channel.basic_publish("", "q", b"from within")

        channel.basic_consume("q", lambda ch, method, properties, body: seen.append(method.delivery_tag))
        pika.spec.Basic.Deliver.__init__ = init
        try:
            while len(seen) < count:
                connection.process_data_events(1)
        finally:
            pika.spec.Basic.Deliver.__init__ = original
        connection.close()
    assert seen == list(range(1, count + 1))


@pytest.mark.rule(6)
@pytest.mark.timeout(20)
def test_what_another_thread_receives_meanwhile_leaves_a_message_that_is_being_made_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """recv() gives the GIL away: its bytes may come back while the buffer's are being made into a message."""
    bodies = [b"1" * 2000, b"2" * 2000, b"3" * 6000]
    third = threading.Event()

    def script(peer: Peer) -> None:
        peer.handshake()
        channel = peer.serve_until("Basic.Consume").channel
        messages = [
            amqp.message(channel, peer.consumer_tag, tag + 1, body) for tag, body in enumerate(bodies)
        ]
        peer.send(*messages[:2])
        third.wait(10)
        peer.send(messages[2])
        peer.serve_to_end()

    received, decoding = threading.Event(), threading.Event()
    sockets: list[socket.socket] = []

    class Recorded(socket.socket):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            sockets.append(self)

        def recv(self, *args: Any) -> bytes:
            data = super().recv(*args)
            if data and threading.current_thread().name == "publisher":
                received.set()
                decoding.wait(10)
            return data

    monkeypatch.setattr(socket, "socket", Recorded)
    seen: list[bytes] = []

    def publish(channel: Any) -> None:
        while not received.is_set():
            channel.basic_publish("", "q", b"looks at the input when the last look is 1 ms old")

    with FakeServer(script) as server:
        connection = pika.BlockingConnection(pika.ConnectionParameters(server.host, server.port))
        monkeypatch.undo()
        own = [sock for sock in sockets if sock.getsockname()[1] != server.port]
        channel = connection.channel()
        publisher = threading.Thread(target=publish, args=[channel], name="publisher")

        def on_message(ch: Any, method: Any, properties: Any, body: bytes) -> None:
            seen.append(body)
            if len(seen) == 1:
                third.set()
                assert select.select(own, [], [], 10)[0]
                publisher.start()
                assert received.wait(10)

        original = pika.spec.Basic.Deliver.__init__

        def init(self: Any, *args: Any, **kwargs: Any) -> None:
            original(self, *args, **kwargs)
            if received.is_set() and not decoding.is_set():
                decoding.set()
                publisher.join(10)

        channel.basic_consume("q", on_message, auto_ack=True)
        monkeypatch.setattr(pika.spec.Basic.Deliver, "__init__", init)
        while len(seen) < len(bodies):
            connection.process_data_events(1)
        assert not publisher.is_alive()
        connection.close()
    assert seen == bodies


def refused(call: Callable[[], Any]) -> Callable[[], None]:
    def inside() -> None:
        with pytest.raises(exceptions.ReentrancyError):
            call()

    return inside


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "name", "close connection.close basic_cancel stop_consuming cancel consume basic_get publish".split()
)
def test_a_call_that_may_not_wait_inside_a_socket_changes_nothing(
    name: str, open_channel: Any, connect: Callable[..., Any], queue_name: str
) -> None:
    """The consumers are still there afterwards, and all messages are somebody's."""
    channel, got = open_channel, []
    channel.queue_declare(queue_name)
    channel.queue_declare(f"{queue_name}-2", exclusive=True)
    confirmed = channel.connection.channel()
    confirmed.confirm_delivery()
    channel.basic_qos(prefetch_count=1)

    def on_message(_channel: Any, method: Any, _properties: Any, body: bytes) -> None:
        got.append(body)
        channel.basic_ack(method.delivery_tag)

    tag = channel.basic_consume(queue_name, on_message)
    generator = channel.consume(f"{queue_name}-2", inactivity_timeout=0.01)
    assert next(generator) == (None, None, None)
    calls: dict[str, Callable[[], Any]] = {
        "close": channel.close,
        "connection.close": channel.connection.close,
        "basic_cancel": lambda: channel.basic_cancel(tag),
        "stop_consuming": channel.stop_consuming,
        "cancel": channel.cancel,
        "consume": lambda: channel.basic_consume(queue_name, print, consumer_tag="other"),
        "basic_get": lambda: channel.basic_get(queue_name),
        "publish": lambda: confirmed.basic_publish("", queue_name, b"refused"),
    }
    Socket.inside_send = refused(calls[name])
    channel.basic_publish("", queue_name, b"first")
    assert Socket.inside_send is None
    channel.basic_publish("", queue_name, b"second")
    channel.basic_publish("", f"{queue_name}-2", b"third")
    while len(got) < 2:
        channel.connection.process_data_events(5)
    assert got == [b"first", b"second"]
    assert tag in channel.consumer_tags
    assert len(channel.consumer_tags) == 2
    method = None
    while method is None:
        method, _, body = next(generator)
    assert body == b"third"
    channel.basic_ack(method.delivery_tag)
    channel.close()
    assert connect().channel().basic_get(queue_name) == (None, None, None)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("where", ["after_send", "after_recv"])
def test_an_exception_whose_repr_uses_the_connection_has_nothing_sent_twice(
    where: str, open_channel: Any, connect: Callable[..., Any], queue_name: str
) -> None:
    """Its text tells why the connection ended; a finalizer may run there as well."""
    said: list[str] = []

    class Talkative(BaseException):
        def __repr__(self) -> str:
            for call in (
                lambda: open_channel.queue_declare(""),
                lambda: open_channel.basic_publish("", queue_name, b"again"),
            ):
                try:
                    call()
                except Exception as error:
                    said.append(type(error).__name__)
            return "Talkative"

    def interrupt() -> None:
        raise Talkative

    observer = connect().channel()
    observer.queue_declare(queue_name)
    setattr(Socket, where, interrupt)
    with pytest.raises(Talkative):
        open_channel.basic_publish("", queue_name, b"once")
        open_channel.queue_declare(queue_name, passive=True)
    assert open_channel.connection.is_closed
    assert said[:1] == ["ReentrancyError"]
    observer.connection.sleep(0.1)
    bodies = [observer.basic_get(queue_name, auto_ack=True)[2] for _ in range(2)]
    assert bodies == [b"once", None]


@pytest.mark.timeout(20)
def test_what_interrupts_the_text_of_an_exception_that_ends_the_connection_leaves_the_call(
    open_channel: Any,
) -> None:
    class Interruptible(OSError):
        def __repr__(self) -> str:
            raise Interrupted

    def fail() -> None:
        raise Interruptible

    Socket.inside_send = fail
    with pytest.raises(Interrupted) as caught:
        open_channel.basic_publish("", "cpika-test-nowhere", b"")
    assert isinstance(caught.value.__context__, Interruptible)
    assert open_channel.connection.is_closed
    assert "Interrupted" in str(open_channel.connection._impl._error)


@pytest.mark.timeout(20)
def test_an_interrupt_while_held_acks_leave_behind_a_failed_callback_is_raised(
    open_channel: Any, queue_name: str
) -> None:
    open_channel.queue_declare(queue_name)
    for _ in range(100):
        open_channel.basic_publish("", queue_name, b"")

    def interrupt() -> None:
        raise Interrupted

    def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        channel.basic_ack(method.delivery_tag)
        if method.delivery_tag == 10:
            Socket.inside_send = interrupt  # the ack is held back, for more messages stand ready
            raise KeyError("the callback's")

    open_channel.basic_consume(queue_name, on_message)
    open_channel.queue_declare(queue_name, passive=True)
    with pytest.raises(Interrupted) as caught:
        while True:
            open_channel.connection.process_data_events(1)
    assert isinstance(caught.value.__context__, KeyError)


@pytest.mark.timeout(20)
def test_an_interrupt_of_close_outlives_an_error_of_the_second_attempt(open_channel: Any) -> None:
    strikes = iter([Interrupted(), OSError(107, "of the second")])

    def strike() -> None:
        for error in strikes:
            raise error

    Socket.closing = strike
    connection = open_channel.connection
    with pytest.raises(Interrupted):
        connection.close()
    assert connection.is_closed


@pytest.mark.skipif(sys.version_info < (3, 11), reason="CPython breaks where a trace function raises")
@pytest.mark.timeout(60)
def test_what_is_held_leaves_in_time_though_an_interrupt_struck_while_its_keeper_was_told(
    open_channel: Any, connect: Callable[..., Any], queue_name: str
) -> None:
    other = connect().channel()
    other.queue_declare(queue_name)

    def publish() -> None:
        open_channel.basic_publish("", queue_name, b"")

    publish()
    moment = 0
    struck = True
    while struck:
        other.queue_purge(queue_name)
        with open_channel.buffered(max_bytes=1 << 20, max_delay=0.01):
            struck = interrupted_at_moment(publish, moment) is not None
            publish()
            end = time.monotonic() + 5
            while other.queue_declare(queue_name, passive=True).method.message_count == 0:
                assert time.monotonic() < end, moment
        moment += 1
    assert moment > 1
