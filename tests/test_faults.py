"""What a program sees when the broker, the network or the program itself lets go."""

from __future__ import annotations

import gc
import os
import socket
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from support import amqp
from support.fakeserver import NULL_TABLE, FakeServer, Peer
from support.nodes import LocalNode
from support.proxy import CLIENT, SERVER, Proxy
from support.scripts import Script
from support.subject import StackTimeout, exceptions, pika

LOST = exceptions.StreamLostError
SHUTDOWN = exceptions.ConnectionClosedByBroker
NOWHERE = "cpika-test-nowhere"  # routing key of no queue


def consume(connection: Any, channel: Any, queue: str) -> None:
    channel.basic_consume(queue, lambda *args: None)
    channel.start_consuming()


def consume_generator(connection: Any, channel: Any, queue: str) -> None:
    for _ in channel.consume(queue):
        raise AssertionError("there is no message")


def publish(connection: Any, channel: Any, queue: str) -> None:
    while True:
        channel.basic_publish("", NOWHERE, b"x" * 1000)


def publish_confirmed(connection: Any, channel: Any, queue: str) -> None:
    channel.confirm_delivery()
    while True:
        channel.basic_publish("", NOWHERE, b"x" * 1000)


def request(connection: Any, channel: Any, queue: str) -> None:
    while True:
        channel.queue_declare(queue, passive=True)


def wait(connection: Any, channel: Any, queue: str) -> None:
    connection.process_data_events(time_limit=None)


ACTIVITIES = [consume, consume_generator, publish, publish_confirmed, request, wait]


class Busy:
    """Each activity in a thread and on a connection of its own."""

    def __init__(self, connect: Callable[..., Any], target: Any, queue: str) -> None:
        self.errors: dict[str, BaseException] = {}
        self.connections: dict[str, tuple[Any, Any]] = {}
        self._threads = []
        started = threading.Barrier(len(ACTIVITIES) + 1)
        for activity in ACTIVITIES:
            connection = connect(target, heartbeat=0)
            channel = connection.channel()
            channel.queue_declare(queue)
            self.connections[activity.__name__] = connection, channel
            thread = threading.Thread(target=self._run, args=(activity, queue, started), daemon=True)
            thread.start()
            self._threads.append(thread)
        started.wait(20)
        # All have begun; the fastest have published many messages when the slowest sends its first request.
        time.sleep(0.2)

    def _run(self, activity: Callable[..., None], queue: str, started: threading.Barrier) -> None:
        connection, channel = self.connections[activity.__name__]
        started.wait(20)
        try:
            activity(connection, channel, queue)
        except BaseException as error:
            self.errors[activity.__name__] = error

    def assert_all_ended(self, *kinds: type[BaseException]) -> None:
        for thread in self._threads:
            thread.join(20)
        assert set(self.errors) == set(self.connections), "these go on as if nothing had happened"
        for name, error in self.errors.items():
            assert isinstance(error, kinds), f"{name}: {error!r}"
            if isinstance(error, SHUTDOWN):
                assert error.reply_code == 320
            connection, channel = self.connections[name]
            assert connection.is_closed
            assert channel.is_closed
            with pytest.raises(exceptions.ConnectionWrongStateError):
                connection.process_data_events()
            with pytest.raises(exceptions.ConnectionWrongStateError):
                connection.channel()
            with pytest.raises(exceptions.ChannelWrongStateError):
                channel.basic_publish("", NOWHERE, b"x")
            with pytest.raises(exceptions.ChannelWrongStateError):
                channel.queue_declare("")


def test_a_killed_broker_ends_every_activity_with_a_lost_stream(
    node: LocalNode, connect: Callable[..., Any], queue_name: str
) -> None:
    busy = Busy(connect, node, queue_name)
    node.kill()
    busy.assert_all_ended(LOST)
    with pytest.raises(exceptions.AMQPConnectionError):
        connect(node)


def test_a_restarted_broker_ends_every_activity_with_its_reason_and_can_be_used_again(
    node: LocalNode, connect: Callable[..., Any], queue_name: str
) -> None:
    connection = connect(node)
    channel = connection.channel()
    channel.queue_declare(queue_name, durable=True)
    channel.confirm_delivery()
    channel.basic_publish("", queue_name, b"kept", pika.BasicProperties(delivery_mode=2))
    connection.close()
    busy = Busy(connect, node, "cpika-test-transient")
    node.restart()
    busy.assert_all_ended(SHUTDOWN, LOST)
    assert any(isinstance(error, SHUTDOWN) for error in busy.errors.values())
    channel = connect(node).channel()
    assert channel.basic_get(queue_name, auto_ack=True)[2] == b"kept"
    channel.queue_delete(queue_name)


def test_connections_closed_by_the_operator_say_so(
    node: LocalNode, connect: Callable[..., Any], queue_name: str
) -> None:
    busy = Busy(connect, node, queue_name)
    node.close_connections("go away")
    busy.assert_all_ended(SHUTDOWN, LOST)
    texts = {error.reply_text for error in busy.errors.values() if isinstance(error, SHUTDOWN)}
    assert texts == {"CONNECTION_FORCED - go away"}


@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
def test_a_cut_network_ends_every_activity_with_a_lost_stream(
    broker_url: str,
    make_proxy: Callable[..., Proxy],
    connect: Callable[..., Any],
    queue_name: str,
    reset: bool,
) -> None:
    proxy = make_proxy(broker_url, record=False)
    busy = Busy(connect, proxy, queue_name)
    proxy.cut(reset)
    busy.assert_all_ended(LOST)


def publish_until(connection: Any, channel: Any, done: Callable[[], bool], seconds: float = 20) -> None:
    """Publishes and dispatches: an alarm reaches the broker's readers in time, and blocks who publishes."""
    end = time.monotonic() + seconds
    while not done() and time.monotonic() < end:
        channel.basic_publish("", NOWHERE, b"x")
        connection.process_data_events(time_limit=0.1)
    assert done()


def test_an_alarm_blocks_and_unblocks_with_callbacks_in_the_dispatching_call(
    node: LocalNode, connect: Callable[..., Any]
) -> None:
    connection = connect(node)
    channel = connection.channel()
    seen: list[tuple[str, bool, str]] = []

    def note(which: str) -> Callable[..., None]:
        return lambda caller, frame: seen.append((which, caller is connection, frame.method.NAME))

    connection.add_on_connection_blocked_callback(note("blocked"))
    connection.add_on_connection_unblocked_callback(note("unblocked"))
    node.set_memory_alarm(True)
    publish_until(connection, channel, lambda: bool(seen))
    node.set_memory_alarm(False)
    connection.process_data_events(time_limit=20)
    assert seen == [
        ("blocked", True, "Connection.Blocked"),
        ("unblocked", True, "Connection.Unblocked"),
    ]
    assert channel.queue_declare("", exclusive=True).method.queue


def test_a_connection_blocked_for_too_long_is_closed(node: LocalNode, connect: Callable[..., Any]) -> None:
    connection = connect(node, blocked_connection_timeout=0.5)
    channel = connection.channel()
    blocked: list[float] = []
    connection.add_on_connection_blocked_callback(lambda *args: blocked.append(time.monotonic()))
    node.set_memory_alarm(True)
    publish_until(connection, channel, lambda: bool(blocked))
    with pytest.raises(exceptions.ConnectionBlockedTimeout):
        connection.process_data_events(time_limit=20)
    assert 0.2 < time.monotonic() - blocked[0] < 5
    assert connection.is_closed


def test_the_timeout_of_a_blocked_connection_ends_a_confirmed_publish(
    node: LocalNode, connect: Callable[..., Any]
) -> None:
    connection = connect(node, blocked_connection_timeout=0.5)
    channel = connection.channel()
    channel.confirm_delivery()
    node.set_memory_alarm(True)
    end = time.monotonic() + 20
    with pytest.raises(exceptions.ConnectionBlockedTimeout):
        while time.monotonic() < end:
            channel.basic_publish("", NOWHERE, b"x")


def test_unblocking_in_time_stops_the_timeout(node: LocalNode, connect: Callable[..., Any]) -> None:
    connection = connect(node, blocked_connection_timeout=3)
    channel = connection.channel()
    seen: list[str] = []
    connection.add_on_connection_blocked_callback(lambda *args: seen.append("blocked"))
    connection.add_on_connection_unblocked_callback(lambda *args: seen.append("unblocked"))
    node.set_memory_alarm(True)
    publish_until(connection, channel, lambda: bool(seen))
    node.set_memory_alarm(False)
    connection.process_data_events(time_limit=20)
    assert seen == ["blocked", "unblocked"]
    connection.sleep(3.5)
    assert connection.is_open


@pytest.mark.parametrize("origin", [CLIENT, SERVER])
def test_close_returns_within_the_stack_timeout_when_nobody_answers(
    proxy: Proxy, connect: Callable[..., Any], queue_name: str, origin: str
) -> None:
    connection = connect(proxy, stack_timeout=1, heartbeat=0)
    channel = connection.channel()
    channel.queue_declare(queue_name)
    channel.basic_consume(queue_name, print)
    proxy.pause(origin)
    begin = time.monotonic()
    try:
        connection.close()
    except exceptions.AMQPError as error:
        assert not isinstance(error, exceptions.ConnectionWrongStateError)
    assert time.monotonic() - begin < 5
    assert connection.is_closed
    assert channel.is_closed


def test_a_broker_that_answers_nothing_is_given_up_within_the_stack_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        parameters = pika.ConnectionParameters(
            "127.0.0.1", silent.getsockname()[1], stack_timeout=1, socket_timeout=5
        )
        begin = time.monotonic()
        with pytest.raises(StackTimeout):
            pika.BlockingConnection(parameters)
        assert 0.9 < time.monotonic() - begin < 4


@pytest.mark.parametrize("after", ["header", "StartOk", "TuneOk"])
def test_a_hang_up_in_the_handshake_is_named_by_its_moment(after: str) -> None:
    def script(peer: Peer) -> None:
        start = b"\x00\x09" + NULL_TABLE + amqp.long(b"PLAIN") + amqp.long(b"en_US")
        if after == "header":
            peer.sock.recv(8)
            return
        peer.send(amqp.method(0, "Connection.Start", start))
        peer.expect("Connection.StartOk")
        if after == "StartOk":
            return
        peer.send(amqp.method(0, "Connection.Tune", b"\x00\x00\x00\x02\x00\x00\x00\x00"))
        peer.expect("Connection.TuneOk")
        peer.expect("Connection.Open")

    wanted = {
        "header": exceptions.IncompatibleProtocolError,
        "StartOk": exceptions.ProbableAuthenticationError,
        "TuneOk": exceptions.ProbableAccessDeniedError,
    }
    with FakeServer(script) as server, pytest.raises(wanted[after]):
        pika.BlockingConnection(pika.ConnectionParameters(server.host, server.port))


def test_attempts_that_are_refused_are_repeated_until_somebody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    accepted: list[float] = []

    def listen() -> None:
        with socket.create_server(("127.0.0.1", port)) as listener:
            listener.settimeout(20)
            client, _ = listener.accept()
            accepted.append(time.monotonic())
            client.close()

    begin = time.monotonic()
    threading.Timer(0.7, listen).start()
    parameters = pika.ConnectionParameters("127.0.0.1", port, connection_attempts=30, retry_delay=0.1)
    with pytest.raises(exceptions.AMQPConnectionError):
        pika.BlockingConnection(parameters)
    assert accepted, "no attempt came after the listener was there"
    assert accepted[0] - begin > 0.6


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_two_hundred_connections_leave_no_descriptor(broker_url: str) -> None:
    parameters = pika.URLParameters(broker_url)
    with pika.BlockingConnection(parameters) as connection:
        connection.channel()
    before = descriptors()
    for number in range(200):
        connection = pika.BlockingConnection(parameters)
        channel = connection.channel()
        channel.basic_publish("", NOWHERE, b"x")
        if number % 2:
            connection.close()
        del connection, channel
        if number % 20 == 19:
            gc.collect()
    gc.collect()
    assert descriptors() <= before + 2


def test_failed_connections_leave_no_descriptor() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        parameters = pika.ConnectionParameters("127.0.0.1", nobody.getsockname()[1])
        before = descriptors()
        for _ in range(50):
            with pytest.raises(exceptions.AMQPConnectionError):
                pika.BlockingConnection(parameters)
        gc.collect()
        assert descriptors() <= before + 2


@pytest.mark.parametrize("how", ["closed", "cut", "forgotten"])
def test_connections_and_channels_are_freed(
    proxy: Proxy, connect: Callable[..., Any], queue_name: str, how: str
) -> None:
    connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", proxy.port))
    channel = connection.channel()
    channel.queue_declare(queue_name)
    channel.basic_publish("", queue_name, b"x")
    tag = channel.basic_consume(queue_name, lambda consuming, *_: consuming.stop_consuming())
    channel.start_consuming()
    assert tag
    if how == "closed":
        connection.close()
    elif how == "cut":
        proxy.cut()
        with pytest.raises(LOST):
            connection.process_data_events(time_limit=10)
    references = [weakref.ref(connection), weakref.ref(channel)]
    del connection, channel
    gc.collect()
    assert [reference() for reference in references] == [None, None]
    proxy.wait_for(lambda event: event.kind == "close")


def test_memory_does_not_grow_with_the_messages(broker_url: str) -> None:
    """Resident memory after 50,000 messages is that after 10,000, within four megabytes: 100 bytes each."""
    code = """
        connection = pika.BlockingConnection(pika.URLParameters(sys.argv[1]))
        channel = connection.channel()
        queue = channel.queue_declare('', exclusive=True).method.queue
        received = 0

        def on_message(channel, method, properties, body):
            global received
            received += 1
            assert properties.headers['text'] and method.routing_key
            channel.basic_ack(method.delivery_tag)

        def resident():
            with open('/proc/self/statm') as statm:
                return int(statm.read().split()[1]) * os.sysconf('SC_PAGESIZE')

        def turn_over(count):
            wanted = received + count
            for number in range(count):
                properties = pika.BasicProperties(headers={'text': str(number)}, message_id=str(number))
                channel.basic_publish('', queue, b'x' * 1000, properties)
                if number % 100 == 99:
                    connection.process_data_events()
            while received < wanted:
                connection.process_data_events(time_limit=1)

        channel.basic_consume(queue, on_message)
        turn_over(10000)
        before = resident()
        turn_over(40000)
        print(resident() - before)
        connection.close()
    """
    with Script(code, broker_url) as script:
        grown = int(script.line(timeout=50))
        assert script.finish() == 0
    assert grown < 4 << 20
