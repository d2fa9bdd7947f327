"""What pika's next release adds, where this one does not contradict: exceptions name the broker, and more."""

from __future__ import annotations

import enum
import pickle
import socket
from collections.abc import Callable
from typing import Any

import cpika
import pytest
from cpika import exceptions, spec
from cpika.adapters.utils import connection_workflow
from parity.harness import Broker
from parity.loops import Loop
from support.proxy import Proxy
from support.urls import host_and_port
from test_adapters import Env

Connect = Callable[..., Any]
BROKEN_FRAME = b"\x01\x00\x01\x00\x00\x00\x04\x00\x14\x00\x0a\x00"  # no frame end: the broker hangs up


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def open_blocking(port: int, **options: Any) -> BaseException:
    with pytest.raises(exceptions.AMQPConnectionError) as caught:
        cpika.BlockingConnection(cpika.ConnectionParameters("127.0.0.1", port, **options))
    return caught.value


def open_on_a_loop(port: int, **options: Any) -> BaseException:
    errors: list[BaseException] = []

    def failed(connection: Any, error: BaseException) -> None:
        errors.append(error)
        connection.ioloop.stop()

    connection = cpika.SelectConnection(
        cpika.ConnectionParameters("127.0.0.1", port, **options), on_open_error_callback=failed
    )
    connection.ioloop.start()
    return errors[0]


OPENERS = [open_blocking, open_on_a_loop]


@pytest.mark.parametrize("opened", OPENERS)
def test_a_refused_connect_names_the_broker(opened: Callable[..., BaseException]) -> None:
    port = free_port()
    error: Any = opened(port)
    assert (error.host, error.port) == ("127.0.0.1", port)
    assert "(host=" not in repr(error), "programs have this release's texts in their logs and tests"
    last = error.args[0] if opened is open_blocking else error.args[0].exceptions[-1]
    assert isinstance(last, connection_workflow.AMQPConnectorSocketConnectError)
    assert (last.host, last.port) == ("127.0.0.1", port)
    again = pickle.loads(pickle.dumps(last))
    assert (again.host, again.port, repr(again)) == ("127.0.0.1", port, repr(last))


@pytest.mark.parametrize("opened", OPENERS)
def test_a_refusal_names_the_broker(opened: Callable[..., Any], broker_url: str) -> None:
    port = host_and_port(broker_url)[1]
    error = opened(port, credentials=cpika.PlainCredentials("guest", "wrong"))
    if isinstance(error, connection_workflow.AMQPConnectionWorkflowFailed):
        error = error.exceptions[-1].exception  # type: ignore[attr-defined]
    assert isinstance(error, exceptions.ProbableAuthenticationError)
    assert (error.host, error.port) == ("127.0.0.1", port)
    assert "(host=" not in str(error)


def test_the_end_of_a_connection_names_the_broker_each_time_it_is_told(connect: Connect) -> None:
    connection = connect()
    channel = connection.channel()
    peer = (connection._impl.params.host, connection._impl.params.port)
    connection._impl._write(BROKEN_FRAME)
    with pytest.raises(exceptions.AMQPConnectionError) as caught:
        channel.queue_declare("", exclusive=True)
    assert (caught.value.host, caught.value.port) == peer
    kept: Any = connection._impl._error
    assert kept is not caught.value
    assert (kept.host, kept.port) == peer
    again = pickle.loads(pickle.dumps(kept))
    assert (type(again), again.args, again.host, again.port) == (type(kept), kept.args, *peer)


def test_a_cut_names_the_broker_and_the_text_stays(connect: Connect, proxy: Proxy) -> None:
    connection = connect(proxy)
    proxy.cut()
    with pytest.raises(exceptions.StreamLostError) as caught:
        connection.process_data_events(10)
    assert caught.value.port == proxy.port
    assert "(host=" not in str(caught.value)


def test_exceptions_take_the_broker_by_keyword() -> None:
    error = exceptions.StreamLostError("gone", host="there", port=5)
    assert (error.host, error.port, repr(error)) == ("there", 5, "StreamLostError: ('gone',)")
    closed = exceptions.ConnectionClosedByBroker(320, "so", host="there", port=5)
    assert (closed.host, closed.port) == ("there", 5)
    assert repr(closed) == "ConnectionClosedByBroker: (320) 'so'"
    assert (closed.reply_code, closed.reply_text, closed.args) == (320, "so", (320, "so"))
    assert pickle.loads(pickle.dumps(closed)).port == 5
    plain = exceptions.ConnectionClosedByBroker(320, "so")
    assert (plain.host, plain.port, repr(plain)) == (None, None, "ConnectionClosedByBroker: (320) 'so'")


def test_a_delivery_mode_is_a_number_with_the_texts_of_before(connect: Connect) -> None:
    mode = cpika.DeliveryMode.Persistent
    assert isinstance(mode, enum.IntEnum)
    assert mode == 2
    assert (f"{mode}", str(mode), repr(mode)) == (
        *["DeliveryMode.Persistent"] * 2,
        "<DeliveryMode.Persistent: 2>",
    )
    assert b"".join(cpika.BasicProperties(delivery_mode=mode).encode()) == b"".join(
        cpika.BasicProperties(delivery_mode=2).encode()
    )


def returned_to(channel: Any, queue: Callable[[], Any]) -> None:
    channel.basic_publish("", "cpika-test-nowhere", b"x", mandatory=True)
    queue()


def test_a_blocking_channels_inner_one_forgets_callbacks(connect: Connect) -> None:
    blocking = connect().channel()
    channel = blocking._impl
    got: list[str] = []

    def first(*_message: Any) -> None:
        got.append("first")

    def second(*_message: Any) -> None:
        got.append("second")

    channel.add_on_return_callback(first)
    channel.add_on_return_callback(second)
    returned_to(blocking, lambda: blocking.queue_declare("", exclusive=True))
    assert channel.remove_on_return_callback(first)  # a message for it has come already
    assert not channel.remove_on_return_callback(first)
    blocking.connection.process_data_events(0)
    returned_to(blocking, lambda: blocking.queue_declare("", exclusive=True))
    blocking.connection.process_data_events(0)
    assert got == ["second", "second"]
    channel.add_on_close_callback(first)
    assert channel.remove_on_close_callback(first)
    assert not channel.remove_on_close_callback(first)


@pytest.mark.parametrize("name", ["cancel", "close", "flow", "return"])
def test_a_channel_on_a_loop_forgets_a_callback(name: str, broker_url: str) -> None:
    loop = Loop(cpika, Env(Broker.of_this_run()), "select")
    found: list[bool] = []

    def opened(channel: Any) -> None:
        def callback(*_arguments: Any) -> None:
            found.append(False)

        getattr(channel, f"add_on_{name}_callback")(callback)
        remove = getattr(channel, f"remove_on_{name}_callback")
        found.extend([remove(callback), not remove(callback)])
        channel.basic_publish("", "cpika-test-nowhere", b"x", mandatory=True)
        channel.queue_declare("", exclusive=True, callback=lambda _frame: loop.close())

    loop.channel(opened)
    loop.finish()
    assert found == [True, True]


def test_a_channel_on_a_loop_forgets_a_callback_for_methods(broker_url: str) -> None:
    loop = Loop(cpika, Env(Broker.of_this_run()), "select")
    found: list[Any] = []

    def opened(channel: Any) -> None:
        def callback(frame: Any) -> None:
            found.append(frame)

        channel.add_callback(callback, [spec.Queue.DeclareOk, spec.Basic.QosOk], one_shot=False)
        found.append(channel.remove_callback(callback, [spec.Basic.QosOk]))
        found.append(channel.remove_callback(callback))
        found.append(channel.remove_callback(callback))
        channel.queue_declare("", exclusive=True, callback=lambda _frame: loop.close())

    loop.channel(opened)
    loop.finish()
    assert found == [True, True, False]


@pytest.mark.parametrize(
    "name", ["close", "connection_blocked", "connection_unblocked", "open", "open_error"]
)
def test_a_connection_on_a_loop_forgets_a_callback(name: str) -> None:
    connection = cpika.SelectConnection(
        cpika.ConnectionParameters("127.0.0.1", free_port()), internal_connection_workflow=False
    )

    def callback(*_arguments: Any) -> None:
        """Nobody calls it."""

    getattr(connection, f"add_on_{name}_callback")(callback)
    remove = getattr(connection, f"remove_on_{name}_callback")
    assert remove(callback) is True
    assert remove(callback) is False
    connection.ioloop.close()
