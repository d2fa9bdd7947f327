"""Row 20: numbers that are none, a confirm of all, and numbers that leak; row 15: nonsense about frames."""

from __future__ import annotations

import contextlib
import math
import struct
import time
from collections.abc import Callable
from typing import Any

import pytest
from support import amqp, answers
from support.apart import Together, apart, connect, interrupt_main, interruptible, outcome
from support.fakeserver import FakeServer, Peer
from support.subject import exceptions, pika
from support.urls import host_and_port

NAN = float("nan")


def next_of(channel: Any, queue: str, timeout: float) -> Any:
    return next(channel.consume(queue, inactivity_timeout=timeout))


CALLS: dict[str, Callable[[Any, Any, str], Any]] = {
    "process_data_events": lambda connection, channel, queue: connection.process_data_events(NAN),
    "sleep": lambda connection, channel, queue: connection.sleep(NAN),
    "consume": lambda connection, channel, queue: next_of(channel, queue, NAN),
    "process_data_events(inf)": lambda connection, channel, queue: connection.process_data_events(math.inf),
}


def no_number(call: str, message: bool) -> list[Any]:
    """What a call does with a time that is no number: its end, and whether it span; 0.8 s at most."""
    connection = connect()
    channel = connection.channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    if call.startswith("process") and message:
        channel.basic_consume(queue, lambda *args: None, auto_ack=True)
    other = connect().channel()
    with interruptible():
        waiting = Together(
            lambda: (
                time.sleep(0.2),
                other.basic_publish("", queue, b"x") if message else None,
                time.sleep(0.6),
                interrupt_main(),
            )
        )
        begin = time.process_time()
        try:
            told = outcome(lambda: CALLS[call](connection, channel, queue))
            spent = time.process_time() - begin
            waiting.join()
            time.sleep(0.1)
        except BaseException:
            pass
    return [told, spent < 0.3]


@pytest.mark.parametrize("message", [False, True], ids=["silence", "a message"])
@pytest.mark.parametrize("call", CALLS)
def test_a_time_that_is_no_number(broker_url: str, call: str, message: bool) -> None:
    """Row 20, numbers that are none: as pika does, or ValueError; nothing spins."""
    ours = apart(no_number, call, message)
    assert ours[1], "it spins"
    if ours[0] != "ValueError" or "inf" in call:
        assert ours == apart(no_number, call, message, subject="pika")


def timers() -> list[Any]:
    """A timer of no time among others: those that ran, and whether it span."""
    connection = connect()
    ran: list[str] = []
    try:
        connection.call_later(NAN, lambda: ran.append("nan"))
    except ValueError:
        pass
    connection.call_later(0.2, lambda: ran.append("late"))
    connection.call_later(0.05, lambda: ran.append("early"))
    begin = time.process_time()
    end = time.monotonic() + 0.6
    while time.monotonic() < end:
        connection.process_data_events(0.2)
    return [ran, time.process_time() - begin < 0.2]


def test_a_timer_of_no_time_holds_up_no_other(broker_url: str) -> None:
    """Row 20, numbers that are none: it is refused or never fires; the others fire in time.

    In pika such a timer stops the others, and spins.
    """
    assert apart(timers) == [["early", "late"], True]


# ---- confirms of all ----


def confirm_of_all(manner: str, tag: int) -> str:
    """The server confirms with a tag of zero: all that is outstanding."""
    count = 1 if manner == "basic_publish" else 3

    def script(peer: Peer) -> None:
        peer.handshake()
        peer.serve_until("Confirm.Select")
        for _ in range(count):
            while peer.receive().name != "BODY":
                pass
        peer.send(answers.confirm(1, tag, multiple=True))
        answers.serve_to_end(peer)

    with FakeServer(script) as server:
        channel = connect(server).channel()
        channel.confirm_delivery()

        def publish() -> None:
            channel.basic_publish("", "q", b"x")

        if manner == "basic_publish":
            publish()
        elif manner == "buffered":
            with channel.buffered():
                for _ in range(count):
                    publish()
        else:
            assert channel.publish_many([("", "q", b"x")] * count) == count
        channel.connection.close()
    return "confirmed"


@pytest.mark.parametrize("manner", ["basic_publish", "buffered", "publish_many"])
def test_a_confirm_of_tag_zero_settles_all(manner: str) -> None:
    """Row 20, a confirm of all: Basic.Ack(0, multiple=True) means everything outstanding."""
    assert apart(confirm_of_all, manner, 0, timeout=6) == "confirmed"


def nack_of_all() -> list[Any]:
    """The server refuses with a tag of zero."""

    def script(peer: Peer) -> None:
        peer.handshake()
        peer.serve_until("Confirm.Select")
        for _ in range(4):
            while peer.receive().name != "BODY":
                pass
        peer.send(answers.confirm(1, 1))
        peer.send(amqp.method(1, "Basic.Nack", struct.pack(">QB", 0, 1)))
        answers.serve_to_end(peer)

    with FakeServer(script) as server:
        channel = connect(server).channel()
        channel.confirm_delivery()
        try:
            with channel.buffered():
                for _ in range(4):
                    channel.basic_publish("", "q", b"x")
        except exceptions.NackError as error:
            return list(error.indexes)
        return ["confirmed"]


def test_a_nack_of_tag_zero_refuses_all() -> None:
    """Row 20, a confirm of all: the same for Basic.Nack, but for what was confirmed before."""
    assert apart(nack_of_all, timeout=6) == [1, 2, 3]


# ---- numbers that leak ----


def interrupted_channels(count: int, limit: int) -> list[Any]:
    """`connection.channel()` is interrupted again and again where few numbers are to be had."""
    opened = [0]

    def script(peer: Peer) -> None:
        peer.handshake(channel_max=limit)
        while True:
            frame = peer.receive()
            if frame.name == "Channel.Open" and opened[0] < count:
                opened[0] += 1
                interrupt_main()
            answers.reply(peer, frame)

    with FakeServer(script) as server, interruptible():
        connection = connect(server)
        refused = interrupted = 0
        while opened[0] < count:
            try:
                try:
                    connection.channel().close()
                except exceptions.NoFreeChannels:
                    refused += 1
                    if refused > 50 * limit:
                        return [opened[0], refused]
                    connection.process_data_events(0.001)
                while True:
                    time.sleep(0.001 if refused else 1)  # the signal comes at any rate
                    if refused:
                        break
            except exceptions.AMQPError as error:
                return [opened[0], repr(error)]
            except BaseException as error:
                assert type(error).__name__ == "Interrupted", error
                interrupted += 1
        numbers: list[int] = []
        deadline = time.monotonic() + 10
        while len(numbers) < limit and time.monotonic() < deadline:
            with contextlib.suppress(exceptions.NoFreeChannels):  # the last one's Close-Ok is on its way
                numbers.append(int(connection.channel()))
            connection.process_data_events(0)
        numbers.sort()
        full = outcome(connection.channel)
        connection.close()
        return [interrupted, numbers, full]


def test_an_interrupted_channel_gives_its_number_back() -> None:
    """Row 20, numbers that leak: 1000 interrupted ones where there are five; then all five are free."""
    told = apart(interrupted_channels, 1000, 5)
    assert told == [1000, [1, 2, 3, 4, 5], "NoFreeChannels"]


# ---- frames of no size ----


def small_frames(size: int, port: int) -> list[Any]:
    """Two hosts, the first of which wants frames that are too small."""
    seen: list[str] = []

    def script(peer: Peer) -> None:
        try:
            peer.handshake(frame_max=size)
            peer.receive()
        except (EOFError, OSError):
            pass
        finally:
            seen.extend(frame.name for frame in peer.frames)

    told: list[Any] = []
    for sequence in (False, True):
        with FakeServer(script) as server:
            first = pika.ConnectionParameters("127.0.0.1", server.port, stack_timeout=3)
            second = pika.ConnectionParameters("127.0.0.1", port)
            try:
                connection = pika.BlockingConnection([first, second] if sequence else first)
                told.append("second" if connection._impl.params.port == port else "first")
                connection.close()
            except Exception as error:
                told.append("AMQPError" if isinstance(error, exceptions.AMQPError) else repr(error))
    return [*told, "Connection.Open" in seen]


@pytest.mark.parametrize("size", [1, 7, 1000, 4095])
def test_frames_below_the_minimum_are_refused_and_the_next_host_is_tried(broker_url: str, size: int) -> None:
    """Row 15, a peer's nonsense: an AMQP error, never ValueError; the sequence goes on."""
    told = apart(small_frames, size, host_and_port(broker_url)[1])
    assert told == ["AMQPError", "second", False]


@pytest.mark.parametrize("size", [1000, 4095])
def test_pika_goes_to_the_next_host_as_well(broker_url: str, size: int) -> None:
    """Row 15, a peer's nonsense: pika's sequence ends at the same host."""
    port = host_and_port(broker_url)[1]
    assert apart(small_frames, size, port, subject="pika")[1] == "second"
