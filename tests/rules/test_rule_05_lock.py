"""Rule 5: one lock a connection guards output and socket; it is never held across user code or a wait."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from support.proxy import CLIENT, Proxy
from support.subject import exceptions, pika

pytestmark = pytest.mark.rule(5)


def run_in_thread(work: Callable[[], Any], timeout: float = 10.0) -> Any:
    """What `work` returns in a thread of its own; fails when it does not come to an end."""
    result: list[Any] = []
    thread = threading.Thread(target=lambda: result.append(work()), daemon=True)
    thread.start()
    thread.join(timeout)
    assert result, "the thread is stuck or failed"
    return result[0]


def test_a_callback_may_wait_for_a_thread_that_publishes_and_acks(
    proxy: Proxy, connect: Callable[..., Any], queue_name: str
) -> None:
    connection = connect(proxy)
    channel = connection.channel()
    channel.queue_declare(queue_name)
    channel.basic_publish("", queue_name, b"work")
    done: list[bool] = []

    def callback(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        def work() -> bool:
            channel.basic_publish("", "cpika-test-nowhere", b"from a thread")
            channel.basic_ack(method.delivery_tag)
            return True

        done.append(run_in_thread(work))

    channel.basic_consume(queue_name, callback)
    end = time.monotonic() + 10
    while not done and time.monotonic() < end:
        connection.process_data_events(time_limit=1)
    assert done == [True]
    proxy.wait_for(lambda event: event.name == "Basic.Ack" and event.origin == CLIENT)


def test_a_thread_publishes_while_another_waits_for_input(proxy: Proxy, connect: Callable[..., Any]) -> None:
    connection = connect(proxy)
    channel = connection.channel()
    waiting = threading.Thread(target=connection.process_data_events, kwargs={"time_limit": 3}, daemon=True)
    waiting.start()
    begin = time.monotonic()
    run_in_thread(lambda: channel.basic_publish("", "cpika-test-nowhere", b"x") is None)
    sent = proxy.wait_for_frame("Basic.Publish").time
    assert sent - begin < 1
    waiting.join(10)
    assert not waiting.is_alive()


def test_a_small_publish_waits_behind_a_large_one_and_is_not_mixed_into_it(
    proxy: Proxy, connect: Callable[..., Any], queue_name: str
) -> None:
    """The socket is full with one thread's body; another thread's message is whole and comes after it."""
    connection = connect(proxy)
    channel = connection.channel()
    channel.queue_declare(queue_name)
    proxy.pause(CLIENT)
    large = threading.Thread(
        target=channel.basic_publish, args=("", queue_name, bytes(15 << 20)), daemon=True
    )
    small = threading.Thread(target=channel.basic_publish, args=("", queue_name, b"small"), daemon=True)
    large.start()
    large.join(0.3)
    assert large.is_alive(), "the body went into the socket's buffers whole"
    small.start()
    proxy.resume()
    large.join(20)
    small.join(20)
    assert not large.is_alive()
    assert not small.is_alive()
    sizes = []
    end = time.monotonic() + 10
    while len(sizes) < 2 and time.monotonic() < end:
        method, _, body = channel.basic_get(queue_name, auto_ack=True)
        if method is not None:
            sizes.append(len(body))
    assert sizes == [15 << 20, 5]


def test_a_body_whose_release_runs_user_code_that_publishes_does_not_lock_up(
    connect: Callable[..., Any],
) -> None:
    """The last reference to properties and body may go inside a call; what runs then may use it."""
    connection = connect()
    channel = connection.channel()
    released: list[bool] = []

    class Headers(dict):  # type: ignore[type-arg]
        def __del__(self) -> None:
            channel.basic_publish("", "cpika-test-nowhere", b"released")
            released.append(True)

    def publish() -> bool:
        for _ in range(50):
            properties = pika.BasicProperties(headers=Headers(a=1))
            channel.basic_publish("", "cpika-test-nowhere", b"x", properties)
            del properties
        gc.collect()
        return True

    assert run_in_thread(publish)
    assert len(released) == 50


def test_the_descriptor_may_be_closed_while_threads_publish(connect: Callable[..., Any]) -> None:
    """Every thread ends with a state error; none writes to a descriptor that somebody else has by then."""
    connection = connect()
    channel = connection.channel()
    errors: list[BaseException] = []
    started = threading.Barrier(5)

    def publish() -> None:
        started.wait()
        try:
            while True:
                channel.basic_publish("", "cpika-test-nowhere", b"x" * 100)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=publish, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    started.wait()
    connection.sleep(0.05)
    connection.close()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    wanted = (exceptions.ChannelWrongStateError, exceptions.ConnectionWrongStateError)
    assert len(errors) == 4
    assert all(isinstance(error, wanted) for error in errors), errors
