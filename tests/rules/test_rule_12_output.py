"""Rule 12: output is one ordered queue; a frame once begun is always finished."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.proxy import CLIENT, Proxy
from support.subject import exceptions, pika

pytestmark = pytest.mark.rule(12)

LARGE = 15 << 20  # bytes: more than the sockets on the way hold


class Interrupted(Exception):
    """Raised by the signal handler of a test."""


@contextlib.contextmanager
def alarm(seconds: float) -> Iterator[None]:
    """SIGALRM after `seconds`, whose handler raises Interrupted."""

    def interrupt(number: int, frame: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def get(channel: Any, queue: str, timeout: float = 10) -> bytes:
    """The next message's body; the broker may need a moment to route it."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        method, _, body = channel.basic_get(queue, auto_ack=True)
        if method is not None:
            return bytes(body)
    raise TimeoutError(f"no message in {queue}")


def interrupt_publish(proxy: Proxy, channel: Any, queue: str, body: Any) -> None:
    """Publishes `body` into a paused proxy and leaves the call by an exception in the middle of it."""
    proxy.pause(CLIENT)
    with pytest.raises(Interrupted), alarm(0.3):
        channel.basic_publish("", queue, body)


def test_a_large_body_whose_publish_was_interrupted_is_finished_later(
    proxy: Proxy, connect: Callable[..., Any], queue_name: str
) -> None:
    channel = connect(proxy).channel()
    channel.queue_declare(queue_name)
    body = bytes(range(256)) * (LARGE // 256)
    interrupt_publish(proxy, channel, queue_name, body)
    proxy.resume()
    channel.basic_publish("", queue_name, b"after")
    assert get(channel, queue_name) == body
    assert get(channel, queue_name) == b"after"
    assert channel.connection.is_open


def test_the_memory_of_an_interrupted_publish_is_the_callers_again(
    proxy: Proxy, connect: Callable[..., Any], queue_name: str
) -> None:
    """What was not sent has been copied: the caller may change or free its buffer."""
    channel = connect(proxy).channel()
    channel.queue_declare(queue_name)
    body = bytearray(b"a" * LARGE)
    interrupt_publish(proxy, channel, queue_name, body)
    body[:] = b"b" * LARGE
    body.clear()  # a buffer that is still referenced could not be resized
    proxy.resume()
    assert get(channel, queue_name) == b"a" * LARGE


def test_everything_appends_behind_what_is_there(
    proxy: Proxy, connect: Callable[..., Any], queue_name: str
) -> None:
    """Behind a stuck body stand small publishes, an ack, a request, heartbeats: they arrive in that order."""
    connection = connect(proxy, heartbeat=1)
    channel = connection.channel()
    channel.queue_declare(queue_name)
    channel.basic_publish("", queue_name, b"first")
    method, _, _ = channel.basic_get(queue_name)
    start = proxy.mark()
    interrupt_publish(proxy, channel, queue_name, bytes(LARGE))
    publishing = threading.Thread(
        target=lambda: [channel.basic_publish("", queue_name, b"%d" % n) for n in range(3)], daemon=True
    )
    publishing.start()
    publishing.join(0.2)
    proxy.resume()
    publishing.join(20)
    assert not publishing.is_alive()
    channel.basic_ack(method.delivery_tag)
    channel.queue_declare(queue_name, passive=True)
    names = [e.name for e in proxy.frames(start=start) if e.name not in ("BODY", "HEADER", "HEARTBEAT")]
    assert names == ["Basic.Publish"] * 4 + ["Basic.Ack", "Queue.Declare"]
    assert not [event for event in proxy.events if event.kind == "bytes"], "the stream is in step"
    assert len(get(channel, queue_name)) == LARGE
    assert [get(channel, queue_name) for _ in range(3)] == [b"0", b"1", b"2"]


def test_a_heartbeat_never_falls_into_the_middle_of_a_frame(
    proxy: Proxy, connect: Callable[..., Any], queue_name: str
) -> None:
    """A body that leaves slower than the heartbeat interval; the proxy parses every frame."""
    channel = connect(proxy, heartbeat=1).channel()
    channel.queue_declare(queue_name)
    proxy.delay(0.01, CLIENT)  # 64 KB each 10 ms: two seconds
    channel.basic_publish("", queue_name, bytes(LARGE // 2))
    proxy.delay(0)
    assert len(get(channel, queue_name, timeout=30)) == LARGE // 2
    assert not [event for event in proxy.events if event.kind == "bytes"], "the stream is in step"


def test_an_encoding_error_leaves_no_byte(proxy: Proxy, connect: Callable[..., Any], queue_name: str) -> None:
    channel = connect(proxy).channel()
    channel.queue_declare(queue_name)
    start = proxy.mark()
    bad = [
        (("", queue_name, b"x", pika.BasicProperties(headers={"k": object()})), Exception),
        (("", queue_name, b"x", pika.BasicProperties(headers={"k" * 256: 1})), Exception),
        (("", "r" * 256, b"x"), exceptions.ShortStringTooLong),
        (("e" * 256, "r", b"x"), exceptions.ShortStringTooLong),
        (("", queue_name, b"x", pika.BasicProperties(content_type=1)), AssertionError),
    ]
    for arguments, kind in bad:
        with pytest.raises(kind):
            channel.basic_publish(*arguments)
    channel.queue_declare(queue_name, passive=True)
    assert [event.name for event in proxy.frames(start=start)] == ["Queue.Declare"]


def test_small_publishes_reach_the_broker_in_the_order_of_their_calls(
    proxy: Proxy, connect: Callable[..., Any], queue_name: str
) -> None:
    channel = connect(proxy).channel()
    channel.queue_declare(queue_name)
    bodies = [b"%d" % number * (1 + number % 7000) for number in range(300)]
    for body in bodies:
        channel.basic_publish("", queue_name, body)
    assert [get(channel, queue_name) for _ in bodies] == bodies
