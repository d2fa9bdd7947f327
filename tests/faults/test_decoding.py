"""Row 13: a failure between taking a frame and giving its answer.

It reaches the caller whose answer it is, and leaves no waiter behind.
"""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support import amqp, answers
from support.apart import Together, apart, await_sleep, connect, outcome
from support.fakeserver import FakeServer, Peer
from support.subject import pika

HEADERS = amqp.short("a") + b"I\x00\x00\x00\x01" + amqp.short("b") + b"S" + amqp.long(b"text")
PROPERTIES = b"\xa0\x00" + amqp.short("text/plain") + amqp.long(HEADERS)  # content type and headers


def message_got(channel: int, tag: int) -> bytes:
    """A Basic.GetOk and a content with properties."""
    whole = answers.get_ok(channel, tag, b"body")
    plain = amqp.content_header(channel, 4)
    return whole.replace(plain, amqp.content_header(channel, 4, PROPERTIES))


def serve(peer: Peer) -> None:
    """Every queue has messages; every publish is confirmed."""
    peer.handshake()
    tag = 0
    while True:
        frame = peer.receive()
        if frame.name == "Basic.Get":
            tag += 1
            peer.send(message_got(frame.channel, tag))
        elif frame.name == "Basic.Publish":
            tag += 1
            peer.send(answers.confirm(frame.channel, tag))
        elif frame.name == "Basic.Consume":
            answers.reply(peer, frame)
            for number in range(1, 4):
                peer.send(amqp.message(frame.channel, peer.consumer_tag, number, b"x", PROPERTIES))
        else:
            answers.reply(peer, frame)


def serve_one(sock: socket.socket) -> None:
    with sock, contextlib.suppress(EOFError, OSError):
        serve(Peer(sock))


@contextlib.contextmanager
def server_process() -> Iterator[int]:
    """A server in a process of its own, whose allocations are its own; gives the port."""
    alive, parents_end = os.pipe()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        pid = os.fork()
        if pid == 0:
            os.close(parents_end)
            silent = os.open(os.devnull, os.O_RDWR)
            os.dup2(silent, 1)
            os.dup2(silent, 2)
            threading.Thread(target=lambda: os._exit(len(os.read(alive, 1))), daemon=True).start()
            while True:
                threading.Thread(target=serve_one, args=(listener.accept()[0],), daemon=True).start()
        try:
            yield listener.getsockname()[1]
        finally:
            os.close(parents_end)
            os.waitpid(pid, 0)


def stop_at_the_third(channel: Any, method: Any, properties: Any, body: bytes) -> None:
    assert properties.headers == {"a": 1, "b": "text"}
    if method.delivery_tag >= 3:
        channel.stop_consuming()


def consume_three(channel: Any) -> None:
    # No closure: where there is no memory for one, CPython 3.13 itself crashes.
    channel.basic_consume("q", stop_at_the_third, auto_ack=True)
    channel.start_consuming()


CALLS: dict[str, Callable[[Any], Any]] = {
    "queue_declare": lambda channel: channel.queue_declare("q"),
    "basic_get": lambda channel: channel.basic_get("q", auto_ack=True),
    "basic_qos": lambda channel: channel.basic_qos(prefetch_count=1),
    "confirmed publish": lambda channel: channel.basic_publish("", "q", b"x"),
    "consume": consume_three,
    "channel": lambda channel: channel.connection.channel(),
}


def out_of_memory(call: str) -> dict[str, int]:
    """The n-th allocation of a call fails, for each n in turn; then the connection is used, or is over."""
    import _testcapi  # type: ignore[import-not-found]

    gc.disable()
    ends: dict[str, int] = {}
    fine = number = 0
    with server_process() as port:
        while fine < 3 and number < 500:
            connection = connect(port)
            channel = connection.channel()
            if call == "confirmed publish":
                channel.confirm_delivery()
            function = CALLS[call]
            left = "ok"
            _testcapi.set_nomemory(number, number + 1)
            try:
                function(channel)
            except BaseException as error:
                _testcapi.remove_mem_hooks()
                left = type(error).__name__
            _testcapi.remove_mem_hooks()
            number += 1
            fine = fine + 1 if left == "ok" else 0
            end = f"{left}, {and_then(connection, channel)}"
            ends[end] = ends.get(end, 0) + 1
    return ends


def and_then(connection: Any, channel: Any) -> str:
    """What the connection is good for after a failure: `goes on`, `over`, or what is wrong."""
    if connection.is_closed:
        return "over"
    told = [outcome(lambda: channel.queue_declare("next")) if channel.is_open else "ok"]
    told.append(outcome(lambda: connection.channel().queue_declare("next")))
    told.append(outcome(connection.close))
    return "goes on" if told == ["ok"] * 3 else ", ".join(told)


@pytest.mark.parametrize("call", CALLS)
def test_a_memory_error_reaches_the_caller_and_leaves_nobody_waiting(call: str) -> None:
    """Row 13, between taking and giving: MemoryError, and the connection goes on or is over with it."""
    ends = apart(out_of_memory, call, timeout=12)
    allowed = {"ok, goes on", "MemoryError, goes on", "MemoryError, over"}
    assert set(ends) <= allowed, ends
    if call != "confirmed publish":  # which makes no object
        assert any(end.startswith("MemoryError") for end in ends), ends


class Broken(Exception):
    """What a patched class raises."""


def a_class_that_fails(call: str) -> list[Any]:
    """The properties of a message cannot be made, once; a second caller waits meanwhile."""
    original = pika.BasicProperties.__init__
    failing = [False]

    def broken(self: Any, *args: Any, **kwargs: Any) -> None:
        if failing[0]:
            failing[0] = False
            raise Broken
        original(self, *args, **kwargs)

    pika.BasicProperties.__init__ = broken
    with FakeServer(serve) as server:
        connection = connect(server)
        channel = connection.channel()
        failing[0] = True
        left = outcome(lambda: CALLS[call](channel))
        pika.BasicProperties.__init__ = original
        return [left, failing[0], and_then(connection, channel)]


@pytest.mark.parametrize("call", ["basic_get", "consume"])
def test_an_exception_while_a_message_is_made_reaches_the_caller(call: str) -> None:
    """Row 13, between taking and giving: the exception itself; nothing waits for ever."""
    left, unused, then = apart(a_class_that_fails, call)
    if unused:
        assert [left, then] == ["ok", "goes on"]  # made without `__init__`
    else:
        assert left == "Broken"
        assert then in ("goes on", "over")


def a_failure_beside_a_waiter() -> list[Any]:
    """Thread A decodes a message and fails; thread B waits for an answer on another channel."""

    def broken(self: Any, *args: Any, **kwargs: Any) -> None:
        raise Broken

    def script(peer: Peer) -> None:
        peer.handshake()
        channel = peer.serve_until("Basic.Consume").channel
        declare = peer.expect("Queue.Declare")
        for together in waiting:
            await_sleep(together.threads[0])
        peer.send(amqp.message(channel, peer.consumer_tag, 1, b"x", PROPERTIES))
        peer.send(answers.declare_ok(declare))
        answers.serve_to_end(peer)

    waiting: list[Together] = []
    with FakeServer(script) as server:
        connection = connect(server)
        consuming, other = connection.channel(), connection.channel()
        consuming.basic_consume("q", lambda *args: None, auto_ack=True)
        pika.BasicProperties.__init__ = broken
        waiting.append(Together(lambda: connection.process_data_events(1)))
        waiting.append(Together(lambda: other.queue_declare("q")))
        hung = [together.hung(4) for together in waiting]
        errors = [type(together.errors[0]).__name__ for together in waiting]
        return [hung, errors]


def test_a_failure_of_one_caller_does_not_strand_another() -> None:
    """Row 13, between taking and giving: the other gets its answer, or learns that it is over."""
    hung, errors = apart(a_failure_beside_a_waiter)
    assert hung == [[], []]
    assert errors == ["NoneType", "NoneType"] or "Broken" in errors
