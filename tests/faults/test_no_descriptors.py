"""Where a process has no descriptor left: what was asked for is answered, and nothing is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import resource
from collections.abc import Iterator
from typing import Any

import pytest
from cpika.adapters.asyncio_connection import AsyncioConnection
from cpika.adapters.select_connection import SelectConnection
from parity.harness import Broker
from support.apart import Together, apart, await_sleep, connect
from support.subject import pika

LOOP = asyncio.new_event_loop()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd")) - 1  # one is that of the look itself


@contextlib.contextmanager
def descriptors_left(count: int) -> Iterator[None]:
    """There are just so many."""
    taken: list[int] = []
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        for _ in range(count):
            os.close(taken.pop())
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for descriptor in taken:
            os.close(descriptor)


def calls_beside_a_consumer(call: str) -> Any:
    """A thread consumes; another one, which has to wait for it, calls where no descriptor is left."""
    connection = connect()
    channel = connection.channel()
    channel.confirm_delivery()
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.basic_publish("", queue, b"the only one")
    other = connection.channel()
    other.basic_consume(other.queue_declare("", exclusive=True).method.queue, print)
    consumer = Together(other.start_consuming)
    await_sleep(consumer.threads[0])
    with descriptors_left(0):
        if call == "basic_get":
            found = channel.basic_get(queue, auto_ack=True)[2].decode()
        elif call == "basic_publish":
            channel.basic_publish("", queue, b"another one", mandatory=True)
            found = channel.queue_declare(queue, passive=True).method.message_count
        else:
            connection.close()
            found = connection.is_closed
    if call != "close":
        connection.close()
    consumer.join()
    return found


@pytest.mark.parametrize(
    "call, found",
    [("basic_get", "the only one"), ("basic_publish", 2), ("close", True)],
)
def test_a_call_of_another_thread_gets_its_answer(broker_url: str, call: str, found: Any) -> None:
    """OSError came behind the request: a message was gone, one was published that the caller sends again."""
    assert apart(calls_beside_a_consumer, call) == found


def attempt(kind: str, ends: list[str]) -> None:
    """Connects, and closes where that went well; says how it has ended."""

    def over(connection: Any, error: Any) -> None:
        ends.append(type(error).__name__)
        connection.ioloop.stop()

    callbacks = {
        "on_open_callback": lambda connection: connection.close(),
        "on_open_error_callback": over,
        "on_close_callback": over,
    }
    parameters = Broker.of_this_run().parameters(pika)
    if kind == "asyncio":
        AsyncioConnection(parameters, **callbacks, custom_ioloop=LOOP)
        LOOP.run_forever()
        return
    connection = SelectConnection(parameters, **callbacks)
    try:
        connection.ioloop.start()
    finally:
        connection.ioloop.close()


def left_behind_by_attempts(kind: str) -> tuple[int, list[str]]:
    """How many descriptors more there are when attempts have failed at each place, and how they ended."""
    ends: list[str] = []
    attempt(kind, ends)
    gc.collect()
    before = descriptors()
    for room in range(8):
        with descriptors_left(room), contextlib.suppress(OSError):
            attempt(kind, ends)
    gc.collect()
    return descriptors() - before, ends


@pytest.mark.parametrize("kind", ["asyncio", "select"])
def test_an_attempt_on_a_loop_leaves_no_socket_behind(broker_url: str, kind: str) -> None:
    """Each left one, so who tries again at the limit never got away from it."""
    left, ends = apart(left_behind_by_attempts, kind)
    assert left == 0
    assert "ConnectionClosedByClient" in ends
    assert {"AMQPConnectionError", "AMQPConnectionWorkflowFailed"} & set(
        ends
    )  # no socket, or no engine for it
