"""Beside `with channel.buffered()`: what ends inside it, threads, Python sockets."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from support.certs import Certificates
from support.nodes import LocalNode
from support.proxy import CLIENT, Proxy
from support.queues import bodies
from support.scripts import Script
from support.subject import exceptions, pika

Connect = Callable[..., Any]
NOWHERE = "cpika-test-nowhere"  # a routing key that no queue has
LONG = 600.0  # seconds: a delay that no test waits for
SOON = 0.05  # seconds: 1 ms is promised; the rest is for a busy machine


# ---- a block that a signal handler's exception leaves before it begins ----


def enter_and_lose(block: Any) -> None:
    """What CPython 3.9 and each from 3.14 on do where a handler raises between `__enter__` and the block."""
    found = block.__exit__
    block.__enter__()
    del found


def test_a_block_that_was_entered_and_never_began_is_over(channel: Any, queue_name: str) -> None:
    channel.confirm_delivery()
    block = channel.buffered(max_delay=LONG)
    enter_and_lose(block)
    with pytest.raises(exceptions.UnroutableError):
        channel.basic_publish("", NOWHERE, b"", mandatory=True)
    with block:
        enter_and_lose(block)
        hasattr(block, "__exit__")
        channel.basic_publish("", queue_name, b"held")  # the outer one is still open
        assert channel.queue_declare(queue_name, passive=True).method.message_count <= 1
    assert bodies(channel, queue_name) == [b"held"]


def test_a_block_ends_once_for_each_time_it_was_entered(channel: Any) -> None:
    block = channel.buffered()
    with contextlib.ExitStack() as stack:
        stack.enter_context(block)
        inner = block.__exit__
        block.__enter__()
        inner(None, None, None)
        with pytest.raises(RuntimeError, match="the block is over"):
            inner(None, None, None)
    with pytest.raises(RuntimeError, match="was not entered"):
        block.__exit__(None, None, None)


def test_threads_that_share_a_block_each_leave_their_own(channel: Any, queue_name: str) -> None:
    channel.confirm_delivery()
    block = channel.buffered(max_delay=LONG)
    inside, leave = threading.Event(), threading.Event()

    def beside() -> None:
        with block:
            inside.set()
            assert leave.wait(10)

    thread = threading.Thread(target=beside)
    with block:
        thread.start()
        assert inside.wait(10)
    with pytest.raises(exceptions.UnroutableError):  # outside of it again
        channel.basic_publish("", NOWHERE, b"", mandatory=True)
    leave.set()
    thread.join()


# ---- a channel or connection that ends inside ----


def test_a_connection_lost_inside_with_confirms(proxy: Proxy, channel: Any, queue_name: str) -> None:
    channel.confirm_delivery()
    with pytest.raises(exceptions.AMQPConnectionError) as caught:
        with channel.buffered(max_delay=LONG):
            for i in range(10):
                channel.basic_publish("", queue_name, b"%d" % i)
            channel.queue_declare(queue_name, passive=True)
            proxy.cut()
            for i in range(10, 20):
                channel.basic_publish("", queue_name, b"%d" % i)
                time.sleep(0.002)
    error = caught.value
    assert error.confirmed <= 10
    # A publish that finds the connection lost before it is sent counts for nothing.
    assert error.unconfirmed == list(range(error.confirmed, error.confirmed + len(error.unconfirmed)))
    assert channel.is_closed


def test_a_connection_lost_inside_without_confirms(proxy: Proxy, channel: Any, queue_name: str) -> None:
    """The messages that were held are lost: the end says so, if no publish has noticed."""
    with pytest.raises(exceptions.AMQPConnectionError):
        with channel.buffered(max_delay=LONG):
            channel.basic_publish("", queue_name, b"held")
            proxy.cut()
            time.sleep(0.1)


@pytest.mark.parametrize("confirms", [False, True])
def test_a_loss_that_another_call_was_told_of_is_told_at_the_end_too(
    proxy: Proxy, channel: Any, queue_name: str, confirms: bool
) -> None:
    if confirms:
        channel.confirm_delivery()
    with pytest.raises(exceptions.AMQPConnectionError):
        with channel.buffered(max_delay=LONG):
            channel.basic_publish("", queue_name, b"held")
            proxy.cut()
            with pytest.raises(exceptions.AMQPConnectionError):
                channel.connection.process_data_events(time_limit=10)


def test_a_broker_killed_inside(node: LocalNode, connect: Connect) -> None:
    channel = connect(node).channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.confirm_delivery()
    with pytest.raises(exceptions.AMQPConnectionError) as caught:
        with channel.buffered():
            for i in range(200):
                if i == 100:
                    node.kill()
                channel.basic_publish("", queue, b"x")
    assert caught.value.confirmed + len(caught.value.unconfirmed) <= 200


def test_a_channel_that_the_broker_closes_inside(channel: Any, queue_name: str) -> None:
    channel.confirm_delivery()
    with pytest.raises(exceptions.ChannelClosedByBroker) as caught:
        with channel.buffered(max_delay=LONG):
            channel.basic_publish("", queue_name, b"0")
            channel.basic_publish("cpika-test-no-such-exchange", "", b"1")
    assert caught.value.reply_code == 404
    assert caught.value.unconfirmed[-1] == 1


@pytest.mark.parametrize("what", ["channel", "connection"])
def test_closed_inside_without_confirms_everything_has_left(
    channel: Any, connect: Connect, queue_name: str, what: str
) -> None:
    with channel.buffered(max_delay=LONG):
        channel.basic_publish("", queue_name, b"1")
        (channel if what == "channel" else channel.connection).close()
    assert bodies(connect().channel(), queue_name) == [b"1"]


def test_forked_inside_the_block_is_the_parents(broker_url: str, queue_name: str) -> None:
    code = """
        connection = pika.BlockingConnection(pika.URLParameters(sys.argv[1]))
        channel = connection.channel()
        channel.queue_declare(sys.argv[2])
        with channel.buffered(max_delay=600):
            channel.basic_publish("", sys.argv[2], b"x")
            child = os.fork()
        if child == 0:
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(status, channel.basic_get(sys.argv[2])[2], channel.basic_get(sys.argv[2])[2])
        connection.close()
    """
    with Script(code, broker_url, queue_name) as script:
        script.expect("0 b'x' None")
        assert script.finish() == 0


# ---- threads ----


def run_all(function: Callable[[int], None], n: int) -> None:
    errors: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            function(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(number,), daemon=True) for number in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(40)
        assert not thread.is_alive()
    assert errors == []


@pytest.mark.parametrize("confirms", [False, True])
def test_blocks_of_several_threads_on_one_channel(channel: Any, queue_name: str, confirms: bool) -> None:
    if confirms:
        channel.confirm_delivery()

    def publish(number: int) -> None:
        for part in range(4):
            with channel.buffered():
                for i in range(100):
                    channel.basic_publish("", queue_name, b"%d %d" % (number, 100 * part + i))

    run_all(publish, 4)
    arrived = [tuple(map(int, body.split())) for body in bodies(channel, queue_name)]
    for number in range(4):
        assert [i for who, i in arrived if who == number] == list(range(400))


def test_each_thread_is_told_of_its_own_at_the_end_of_its_own_block(channel: Any, queue_name: str) -> None:
    channel.confirm_delivery()
    barrier = threading.Barrier(3, timeout=20)

    def publish(number: int) -> None:
        with pytest.raises(exceptions.UnroutableError) as caught:
            with channel.buffered(max_delay=LONG):
                for i in range(5):
                    barrier.wait()  # they take turns, and identical messages come back to all
                    channel.basic_publish("", NOWHERE if i == number else queue_name, b"same", None, True)
        assert caught.value.indexes == [number]
        barrier.wait()

    run_all(publish, 3)
    assert len(bodies(channel, queue_name)) == 12


def test_the_end_of_a_block_awaits_its_confirms_though_another_is_open(
    channel: Any, connect: Connect, queue_name: str
) -> None:
    channel.confirm_delivery()
    opened, finish = threading.Event(), threading.Event()

    def hold() -> None:
        with channel.buffered(max_delay=LONG):
            channel.basic_publish("", queue_name, b"other")
            opened.set()
            assert finish.wait(20)

    other = threading.Thread(target=hold, daemon=True)
    other.start()
    assert opened.wait(10)
    with pytest.raises(exceptions.UnroutableError):
        with channel.buffered(max_delay=LONG):
            channel.basic_publish("", NOWHERE, b"mine", mandatory=True)
    with channel.buffered(max_delay=LONG):
        channel.basic_publish("", queue_name, b"mine")
    looking = connect().channel()
    assert looking.queue_declare(queue_name, passive=True).method.message_count == 2
    finish.set()
    other.join(10)
    assert not other.is_alive()


def test_a_thread_outside_the_block_publishes_as_ever(proxy: Proxy, channel: Any, queue_name: str) -> None:
    channel.confirm_delivery()
    told: list[Any] = []

    def publish(number: int) -> None:
        channel.basic_publish("", queue_name, b"%d" % number)
        with pytest.raises(exceptions.UnroutableError) as caught:
            channel.basic_publish("", NOWHERE, b"outside", mandatory=True)
        told.extend(message.body for message in caught.value.messages)

    with channel.buffered(max_delay=LONG):
        channel.basic_publish("", queue_name, b"inside", mandatory=True)
        run_all(publish, 2)
    assert told == [b"outside"] * 2
    assert len(bodies(channel, queue_name)) == 3


def test_a_block_that_a_generator_ends_in_another_thread(channel: Any, queue_name: str) -> None:
    channel.confirm_delivery()

    def steps() -> Any:
        with channel.buffered(max_delay=LONG):
            channel.basic_publish("", NOWHERE, b"x", mandatory=True)
            yield

    generator = steps()
    next(generator)

    def finish(number: int) -> None:
        with pytest.raises(exceptions.UnroutableError):
            next(generator, None)

    run_all(finish, 1)
    channel.basic_publish("", queue_name, b"not held")
    assert bodies(channel, queue_name) == [b"not held"]


# ---- over a Python socket ----


@pytest.fixture
def tls(tls_node: LocalNode, certificates: Certificates, make_proxy: Callable[..., Proxy]) -> Any:
    """A channel over TLS through a proxy, and the proxy."""
    proxy = make_proxy(tls_node.tls_url)
    parameters = pika.ConnectionParameters(
        "127.0.0.1", proxy.port, ssl_options=pika.SSLOptions(certificates.client_context(), "localhost")
    )
    with pika.BlockingConnection(parameters) as connection:
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        yield channel, queue, proxy


def from_client(event: Any) -> bool:
    return bool(event.origin == CLIENT and event.size > 0)


def test_over_tls_the_keeper_sends_after_max_delay(tls: Any) -> None:
    channel, queue, proxy = tls
    found = []
    with channel.buffered():
        for pause in (0.1, 0.01, 0.1, 0.05, 0.1):
            start = proxy.mark()
            channel.basic_publish("", queue, b"x")
            held = time.monotonic()
            time.sleep(pause)
            found.append(proxy.wait_for(from_client, start=start).time - held)
    assert sorted(found)[len(found) // 2] < SOON, found


def test_over_tls_nothing_leaves_before_its_time(tls: Any) -> None:
    channel, queue, proxy = tls
    start = proxy.mark()
    with channel.buffered(max_delay=LONG):
        for _ in range(50):
            channel.basic_publish("", queue, b"x")
        time.sleep(0.1)
        assert not [event for event in proxy.events[start:] if from_client(event)]
    assert len(bodies(channel, queue)) == 50


def test_over_tls_with_confirms(tls: Any) -> None:
    channel, queue, _ = tls
    channel.confirm_delivery()
    with pytest.raises(exceptions.UnroutableError) as caught:
        with channel.buffered():
            for i in range(500):
                channel.basic_publish("", NOWHERE if i == 77 else queue, bytes(i * 40), None, True)
    assert caught.value.indexes == [77]
    assert channel.publish_many((("", queue, bytes(i * 40)) for i in range(500)), window=50) == 500
    assert [len(body) for body in bodies(channel, queue)] == [i * 40 for i in range(500) if i != 77] + [
        i * 40 for i in range(500)
    ]
