"""Connections on event loops under attack: cuts, callbacks that raise, close and compute, TLS, threads."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import cpika
import pytest
from cpika.adapters.asyncio_connection import AsyncioConnection
from parity.harness import Broker
from parity.loops import KINDS, Loop
from support.certs import Certificates
from support.nodes import LocalNode
from support.proxy import SERVER, Proxy


class Env:
    """What a `Loop` wants of a scenario's environment."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.said: list[tuple[str, Any]] = []

    def parameters(self, **changes: Any) -> Any:
        return self.broker.parameters(cpika, **changes)

    def show(self, label: str, value: Any) -> None:
        self.said.append((label, value))

    show_error = show_state = show

    def errors(self, label: str) -> list[BaseException]:
        return [value for said, value in self.said if said == label and isinstance(value, BaseException)]


@pytest.fixture(params=KINDS)
def loop(request: pytest.FixtureRequest, broker_url: str) -> Iterator[Loop]:
    made = Loop(cpika, Env(Broker.of_this_run()), request.param)
    yield made
    made.finish()


def some(kinds: str) -> Any:
    return pytest.mark.parametrize("loop", kinds.split(), indirect=True)


def pass_on(loop: Loop, bodies: list[bytes], **changes: Any) -> list[bytes]:
    """Publish, consume and acknowledge the bodies; return what came."""
    got: list[bytes] = []

    def opened(channel: Any) -> None:
        def message(ch: Any, method: Any, _properties: Any, body: bytes) -> None:
            got.append(body)
            ch.basic_ack(method.delivery_tag)
            if len(got) == len(bodies):
                ch.queue_declare(queue[0], passive=True, callback=lambda _frame: loop.close())

        def declared(frame: Any) -> None:
            queue.append(frame.method.queue)
            channel.basic_qos(prefetch_count=20)
            channel.basic_consume(queue[0], message)
            for body in bodies:
                channel.basic_publish("", queue[0], body)

        queue: list[str] = []
        channel.queue_declare("", exclusive=True, callback=declared)

    loop.channel(opened, **changes)
    return got


def random_bodies(count: int) -> list[bytes]:
    chance = random.Random(5)
    sizes = [chance.choice([0, 1, 100, 5000, 70_000, 400_000]) for _ in range(count)]
    return [b"%06d" % number + chance.randbytes(size) for number, size in enumerate(sizes)]


def test_a_connection_that_has_ended_keeps_no_descriptor(broker_url: str) -> None:
    async def live() -> None:
        ended = asyncio.get_running_loop().create_future()
        AsyncioConnection(
            cpika.URLParameters(broker_url),
            on_open_callback=lambda connection: connection.close(),
            on_open_error_callback=lambda _connection, error: ended.set_exception(error),
            on_close_callback=lambda _connection, reason: ended.set_result(reason),
        )
        await ended

    asyncio.run(live())
    gc.collect()
    gc.disable()  # what only the collector finds may stay for long
    try:
        descriptors = len(os.listdir("/dev/fd"))
        for _ in range(3):
            asyncio.run(live())
        assert len(os.listdir("/dev/fd")) == descriptors
    finally:
        gc.enable()


def test_over_tls_all_messages_come_in_order(
    loop: Loop, tls_node: LocalNode, certificates: Certificates
) -> None:
    options = cpika.SSLOptions(certificates.client_context(), "localhost")
    bodies = random_bodies(100)
    assert pass_on(loop, bodies, host="127.0.0.1", port=tls_node.tls_port, ssl_options=options) == bodies


@some("select asyncio")
def test_all_messages_come_in_order_in_pieces(
    loop: Loop, broker_url: str, make_proxy: Callable[..., Proxy]
) -> None:
    proxy = make_proxy(broker_url)
    proxy.split()
    bodies = [b"%06d" % number for number in range(30)] + [bytes(20_000)]
    assert pass_on(loop, bodies, host="127.0.0.1", port=proxy.port) == bodies


def test_what_a_callback_raises_is_the_cause_of_the_end(loop: Loop) -> None:
    mistake = ZeroDivisionError("mine")

    def opened(_channel: Any) -> None:
        raise mistake

    loop.channel(opened)
    (error,) = loop.env.errors("on_close")
    assert isinstance(error, cpika.exceptions.StreamLostError)
    assert error.__cause__ is mistake


@some("select asyncio")
def test_a_cut_in_the_midst_of_messages_ends_the_connection_once(
    loop: Loop, broker_url: str, make_proxy: Callable[..., Proxy]
) -> None:
    proxy = make_proxy(broker_url)
    got = 0

    def opened(channel: Any) -> None:
        def message(ch: Any, method: Any, _properties: Any, _body: bytes) -> None:
            nonlocal got
            got += 1
            ch.basic_ack(method.delivery_tag)
            ch.basic_publish("", queue[0], bytes(50_000))
            if got == 50:
                proxy.cut()

        def declared(frame: Any) -> None:
            queue.append(frame.method.queue)
            channel.basic_consume(queue[0], message)
            for _ in range(20):
                channel.basic_publish("", queue[0], bytes(50_000))

        queue: list[str] = []
        channel.queue_declare("", exclusive=True, callback=declared)

    loop.channel(opened, host="127.0.0.1", port=proxy.port)
    assert got >= 50
    (error,) = loop.env.errors("on_close")
    assert isinstance(error, cpika.exceptions.StreamLostError)
    (reason,) = loop.env.errors("channel's end")
    assert reason is error


@some("select asyncio")
def test_the_transport_s_socket_stays_the_same(loop: Loop) -> None:
    """Each look made another one, whose descriptor was closed before the program could use its number."""

    def opened(channel: Any) -> None:
        transport = channel.connection._transport
        seen.append(transport._sock is transport._sock)
        descriptor = transport._sock.fileno()
        gc.collect()
        seen.append(os.fstat(descriptor).st_ino == os.fstat(transport.engine._loop_fileno()).st_ino)
        seen.append(transport._sock)
        loop.close()

    seen: list[Any] = []
    loop.channel(opened)
    assert seen[:2] == [True, True] and seen[2].fileno() < 0, "closed with the connection"


@some("select asyncio gevent")
def test_heartbeats_go_on_while_a_callback_computes(loop: Loop) -> None:
    def opened(channel: Any) -> None:
        time.sleep(4)  # seconds: RabbitMQ drops a silent client after three
        channel.queue_declare("", exclusive=True, callback=lambda _frame: loop.close())

    loop.channel(opened, heartbeat=1)
    (error,) = loop.env.errors("on_close")
    assert isinstance(error, cpika.exceptions.ConnectionClosedByClient)


@some("select")
def test_heartbeats_over_tls_go_on_while_a_callback_sleeps(
    loop: Loop, tls_node: LocalNode, certificates: Certificates
) -> None:
    options = cpika.SSLOptions(certificates.client_context(), "localhost")

    def opened(channel: Any) -> None:
        time.sleep(4)
        channel.queue_declare("", exclusive=True, callback=lambda _frame: loop.close())

    loop.channel(opened, heartbeat=1, host="127.0.0.1", port=tls_node.tls_port, ssl_options=options)
    (error,) = loop.env.errors("on_close")
    assert isinstance(error, cpika.exceptions.ConnectionClosedByClient)


@some("asyncio")
def test_a_silent_peer_ends_the_connection(
    loop: Loop, broker_url: str, make_proxy: Callable[..., Proxy]
) -> None:
    proxy = make_proxy(broker_url)
    begin = time.monotonic()

    loop.channel(lambda _channel: proxy.drop(SERVER), heartbeat=1, host="127.0.0.1", port=proxy.port)
    (error,) = loop.env.errors("on_close")
    assert isinstance(error, cpika.exceptions.AMQPHeartbeatTimeout)
    assert time.monotonic() - begin < 20  # pika: up to twice six seconds


@some("select poll epoll asyncio tornado")
def test_publishes_from_other_threads_leave_at_once(loop: Loop) -> None:
    threads, each = 4, 200
    got: list[bytes] = []

    def opened(channel: Any) -> None:
        def message(_ch: Any, _method: Any, _properties: Any, body: bytes) -> None:
            got.append(body)
            if len(got) == threads * each:
                loop.close()

        def publish(number: int, queue: str) -> None:
            for count in range(each):
                channel.basic_publish("", queue, b"%d %d" % (number, count))

        def declared(frame: Any) -> None:
            channel.basic_consume(frame.method.queue, message, auto_ack=True, callback=begin)

        def begin(frame: Any) -> None:
            queue = channel_queue[0]
            for number in range(threads):
                threading.Thread(target=publish, args=(number, queue)).start()

        channel_queue: list[str] = []
        channel.queue_declare(
            "", exclusive=True, callback=lambda f: (channel_queue.append(f.method.queue), declared(f))
        )

    begin = time.monotonic()
    loop.channel(opened)
    assert time.monotonic() - begin < 4  # a loop that nobody wakes sleeps 5 seconds
    for number in range(threads):
        mine = [body for body in got if body.startswith(b"%d " % number)]
        assert mine == [b"%d %d" % (number, count) for count in range(each)]


@some("select poll epoll")
def test_what_was_read_behind_an_interrupt_is_run_when_the_loop_runs_again(loop: Loop) -> None:
    got: list[bytes] = []

    def opened(channel: Any) -> None:
        def message(_ch: Any, _method: Any, _properties: Any, body: bytes) -> None:
            got.append(body)
            if len(got) == 1:
                raise KeyboardInterrupt
            if len(got) == 5:
                loop.close()

        def declared(frame: Any) -> None:
            for number in range(5):
                channel.basic_publish("", frame.method.queue, b"%d" % number)
            channel.basic_qos(
                callback=lambda _frame: channel.basic_consume(frame.method.queue, message, True)
            )

        channel.queue_declare("", exclusive=True, callback=declared)

    with pytest.raises(KeyboardInterrupt):
        loop.channel(opened)
    assert loop.connection.is_open
    loop.run()
    assert got == [b"%d" % number for number in range(5)]


def test_closing_in_a_message_callback_is_orderly(loop: Loop) -> None:
    got: list[bytes] = []

    def opened(channel: Any) -> None:
        def message(ch: Any, method: Any, _properties: Any, body: bytes) -> None:
            got.append(body)
            ch.basic_ack(method.delivery_tag)
            if len(got) == 3:
                ch.connection.close()
                with pytest.raises(cpika.exceptions.ChannelWrongStateError):
                    ch.basic_ack(method.delivery_tag)

        def declared(frame: Any) -> None:
            channel.basic_qos(prefetch_count=1)
            channel.basic_consume(frame.method.queue, message)
            for number in range(9):
                channel.basic_publish("", frame.method.queue, b"%d" % number)

        channel.queue_declare("", exclusive=True, callback=declared)

    loop.channel(opened)
    (error,) = loop.env.errors("on_close")
    assert isinstance(error, cpika.exceptions.ConnectionClosedByClient)
    assert got == [b"0", b"1", b"2"]


@some("select asyncio")
def test_the_write_buffer_tells_when_it_is_long_and_short(loop: Loop) -> None:
    told: list[tuple[str, int]] = []

    def opened(channel: Any) -> None:
        connection = channel.connection
        connection.set_write_buffer_limits(100_000, 10_000)
        connection.add_on_write_buffer_high_callback(lambda c: told.append(("high", c.write_buffer_size)))

        def low(c: Any) -> None:
            told.append(("low", c.write_buffer_size))
            loop.close()

        connection.add_on_write_buffer_low_callback(low)
        for _ in range(30):
            channel.basic_publish("", "nobody", bytes(10_000))
        assert connection.write_buffer_size > 300_000

    loop.channel(opened)
    assert [label for label, _ in told] == ["high", "low"]
    assert told[0][1] > 100_000
    assert told[1][1] <= 10_000


def test_limits_that_make_no_sense_are_refused(broker_url: str) -> None:
    loop = Loop(cpika, Env(Broker.of_this_run()), "select")

    def opened(connection: Any) -> None:
        with pytest.raises(ValueError, match="high"):
            connection.set_write_buffer_limits(10, 20)
        loop.close()

    loop.connect(opened)
    loop.finish()


@some("select asyncio")
def test_nothing_is_left_of_a_connection_that_has_ended(loop: Loop) -> None:
    references: list[weakref.ref[Any]] = []

    def opened(channel: Any) -> None:
        references.append(weakref.ref(channel))
        references.append(weakref.ref(channel.connection))
        references.append(weakref.ref(channel.connection._engine))

        def declared(frame: Any) -> None:
            channel.basic_consume(
                frame.method.queue, lambda *_args: channel, callback=lambda _frame: loop.close()
            )

        channel.queue_declare("", exclusive=True, callback=declared)

    loop.channel(opened)
    loop.connection = None
    loop.env.said.clear()
    loop.finish()
    gc.collect()
    assert [reference() for reference in references] == [None, None, None]
