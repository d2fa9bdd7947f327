"""A publish for which memory runs out half way: nothing of the caller's is kept, nobody waits for it."""

from __future__ import annotations

import gc
import resource
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.apart import apart, connect
from support.subject import pika

LARGE = 64 * 2**20  # bytes of a body that no socket takes at once
ROOM = 16 * 2**20  # bytes of memory that are left, less than a copy of it takes
OPEN_OK = struct.pack(">BHIIIB", 1, 1, 8, 0x0014000B, 0, 0xCE)


class Struck(Exception):
    """What the signal handler raises."""


def strike(*_: Any) -> None:
    raise Struck


def publish_without_room() -> dict[str, Any]:
    """A handler ends the publish of a large body, and there is no room for a copy of what has not left."""
    from cpika import _core

    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    connection = _core.Connection(ours)
    connection.connection_state = 5
    channel = _core.Channel(connection, 1)
    theirs.sendall(OPEN_OK)
    channel._open()
    body = b"A" * LARGE
    signal.signal(signal.SIGALRM, strike)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, before[1]))
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    told = ""
    try:
        channel.basic_publish("", "q", body)
    except Struck:
        told = "Struck"
    resource.setrlimit(resource.RLIMIT_AS, before)
    closed = connection.connection_state == 0
    del body
    gc.collect()
    other = bytearray(b"S" * LARGE)  # somebody else's bytes, at the same place perhaps
    seen = {"A": 0, "S": 0}

    def read() -> None:
        while data := theirs.recv(2**20):
            for letter in seen:
                seen[letter] += data.count(letter.encode())

    thread = threading.Thread(target=read)
    thread.start()
    again = ""
    try:
        channel.basic_publish("", "q", b"next")
    except MemoryError:
        again = "MemoryError"
    thread.join(10)
    assert other is not None
    return {"told": told, "closed": closed, "next": again, "others": seen["S"]}


def test_what_has_not_left_of_a_body_is_never_somebody_elses(broker_url: str) -> None:
    """The rest was sent from where the body had been."""
    wanted = {"told": "Struck", "closed": True, "next": "MemoryError", "others": 0}
    assert apart(publish_without_room) == wanted


def forgotten(what: str) -> list[Any]:
    """Which failing allocations of a call leave a consumer that only the broker knows; how many failed."""
    import _testcapi  # type: ignore[import-not-found]

    bad = []
    for failing in range(100):
        connection = connect()
        channel, other = connection.channel(), connection.channel()
        queue = other.queue_declare("", exclusive=True).method.queue
        calls: dict[str, Callable[[], Any]] = {
            "consume": lambda: channel.basic_consume(queue, print, auto_ack=True),  # noqa: B023
            "cancel": lambda: channel.basic_cancel("tag"),  # noqa: B023
        }
        if what == "cancel":
            channel.basic_consume(queue, print, auto_ack=failing % 2 == 0, consumer_tag="tag")
        _testcapi.set_nomemory(failing, failing + 1)
        try:
            calls[what]()
            _testcapi.remove_mem_hooks()
            return [bad, failing]
        except MemoryError:
            _testcapi.remove_mem_hooks()
        if channel.is_open and not channel.consumer_tags:
            end = time.monotonic() + 5
            while other.queue_declare(queue, passive=True).method.consumer_count:
                if time.monotonic() > end:
                    bad.append(failing)
                    break
        if connection.is_open:
            connection.close()
    raise AssertionError("it never succeeds")


@pytest.mark.parametrize("what", ["consume", "cancel"])
def test_a_consumer_that_the_channel_has_forgotten_is_cancelled(broker_url: str, what: str) -> None:
    """Its messages would be lost, or go back and come again without end."""
    pytest.importorskip("_testcapi")
    bad, failed = apart(forgotten, what)
    assert bad == []
    assert failed > 2


NESTED = 57  # publishes of the inner call until the outer one's list of 256 is full


def nested(failing: int) -> list[Any]:
    """The failing-th allocation of a publish fails that two lists of unconfirmed ones have to grow for."""
    import _testcapi  # type: ignore[import-not-found]

    connection = connect()
    channel = connection.channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.confirm_delivery()

    def messages() -> Any:
        for _ in range(NESTED - 1):
            yield "", queue, b"inner"
        _testcapi.set_nomemory(failing, failing + 1)
        yield "", queue, b"last"
        _testcapi.remove_mem_hooks()

    told = "ok"
    try:
        with channel.buffered():
            for _ in range(200):
                channel.basic_publish("", queue, b"outer")
            channel.publish_many(messages())
    except MemoryError:
        _testcapi.remove_mem_hooks()
        told = "MemoryError"
    if not channel.is_open or connection.is_closed:
        return [told, "closed"]
    with channel.buffered():  # its verdicts are those of its own publishes
        channel.basic_publish("", queue, b"behind")
        try:
            channel.publish_many([("", "nobody", b"lost", None, True)])
        except pika.exceptions.UnroutableError:
            return [told, "goes on"]
    return [told, "a return was not told"]


@pytest.mark.parametrize("failing", [0, 1])
def test_a_publish_that_could_not_be_counted_is_waited_for_by_nobody(broker_url: str, failing: int) -> None:
    """One list had counted it when the other could not grow: publish_many() hung, or tags were off by one."""
    pytest.importorskip("_testcapi")
    told, then = apart(nested, failing)
    assert told == "MemoryError"
    assert then in ("goes on", "closed")


def delivered(auto_ack: bool) -> list[Any]:
    """Which failing allocations of a dispatching call lose a message of three; how many raised."""
    import _testcapi

    wrong, raised = [], 0
    for failing in range(40):
        connection = connect()
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        got: list[Any] = [None] * 4
        count = bytearray(1)

        def callback(_channel: Any, _method: Any, _properties: Any, body: bytes) -> None:
            got[count[0]] = body  # noqa: B023
            count[0] += 1  # noqa: B023

        callback(
            None, None, None, b""
        )  # what CPython keeps of a call is there from now on: it asks for no memory
        count[0] = 0
        channel.basic_consume(queue, callback, auto_ack=auto_ack)
        bodies = [bytes([number]) * 600 for number in range(3)]
        for body in bodies:
            channel.basic_publish("", queue, body, pika.BasicProperties(headers={"number": 1}))
        _testcapi.set_nomemory(failing, failing + 1)
        try:
            connection.process_data_events(0.2)
            _testcapi.remove_mem_hooks()
        except MemoryError:
            _testcapi.remove_mem_hooks()
            raised += 1
        end = time.monotonic() + 5
        while connection.is_open and count[0] < 3 and time.monotonic() < end:
            connection.process_data_events(0.2)
        if connection.is_open:  # else the broker has them again
            if got[:3] != bodies:
                wrong.append(failing)
            connection.close()
    return [wrong, raised]


@pytest.mark.parametrize("auto_ack", [False, True])
def test_a_message_that_could_not_be_made_comes_in_the_next_call(broker_url: str, auto_ack: bool) -> None:
    """It was with nobody until its channel closed."""
    pytest.importorskip("_testcapi")
    wrong, raised = apart(delivered, auto_ack)
    assert wrong == []
    assert raised > 4
