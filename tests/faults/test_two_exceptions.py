"""An interrupt while another exception is on its way, or made, leaves the call, with that as its context."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cpika._core import raise_again
from support.proxy import CLIENT, SERVER, Proxy

NOWHERE = "cpika-test-nowhere"  # a routing key that no queue has
Connect = Callable[..., Any]


class Interrupted(BaseException):
    """What the signal handler raises."""


@pytest.fixture
def alarm() -> Iterator[Callable[[], None]]:
    """Has a signal handler raise in half a second."""

    def strike(number: int, frame: Any) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, strike)
    yield lambda: signal.setitimer(signal.ITIMER_REAL, 0.5) and None
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.timeout(20)
def test_while_publish_many_awaits_confirms_behind_an_exception_of_its_iterable(
    proxy: Proxy, connect: Connect, alarm: Callable[[], None]
) -> None:
    channel = connect(proxy).channel()
    channel.confirm_delivery()
    proxy.pause(SERVER)  # nothing is confirmed

    def messages() -> Iterator[tuple[str, str, bytes]]:
        yield "", NOWHERE, b"x"
        alarm()
        raise KeyError("mine")

    with pytest.raises(Interrupted) as caught:
        channel.publish_many(messages())
    assert isinstance(caught.value.__context__, KeyError)
    proxy.resume()
    channel.basic_publish("", NOWHERE, b"as usable as before")


@pytest.mark.timeout(20)
@pytest.mark.parametrize("message", [None, 5], ids=["the iterable's", "the core's"])
def test_one_exception_object_that_is_raised_twice_is_not_its_own_context(
    proxy: Proxy, connect: Connect, message: Any
) -> None:
    """Whoever walks along the chain of contexts would never come to an end."""
    channel = connect(proxy).channel()
    channel.confirm_delivery()
    proxy.pause(SERVER)  # nothing is confirmed
    kept = KeyError("mine")

    def strike(_number: int, _frame: Any) -> None:
        raise kept

    def messages() -> Iterator[Any]:
        yield "", NOWHERE, b"x"
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        if message is None:
            raise kept
        yield message  # which is none

    before = signal.signal(signal.SIGALRM, strike)
    try:
        with pytest.raises(KeyError) as caught:
            channel.publish_many(messages())
    finally:
        signal.signal(signal.SIGALRM, before)
        proxy.resume()
    assert caught.value is kept
    assert (kept.__context__ is None) if message is None else isinstance(kept.__context__, TypeError)


@pytest.mark.timeout(20)
def test_while_a_block_sends_behind_an_exception(
    proxy: Proxy, connect: Connect, alarm: Callable[[], None]
) -> None:
    channel = connect(proxy).channel()
    proxy.pause(CLIENT)  # nothing is read
    body = bytes(1000)
    with pytest.raises(Interrupted) as caught:
        with channel.buffered(max_bytes=64 << 20, max_delay=600.0):
            for _ in range(20_000):  # more than the sockets take
                channel.basic_publish("", NOWHERE, body)
            alarm()
            raise KeyError("mine")
    assert isinstance(caught.value.__context__, KeyError)
    proxy.resume()
    channel.queue_declare("", exclusive=True)


@pytest.mark.timeout(20)
def test_while_a_delivery_tag_says_its_number(connect: Connect) -> None:
    """Not a word of a bad argument: it was not asked to the end."""
    handlers = iter([Interrupted()])

    class Tag:
        def __index__(self) -> int:
            for error in handlers:
                raise error
            return 1

    channel = connect().channel()
    with pytest.raises(Interrupted):
        channel.basic_ack(Tag())


def test_while_the_message_of_an_error_is_made(connect: Connect) -> None:
    """What a __repr__ raises is raised, as in pika, whose messages are Python's."""

    class Odd:
        def __repr__(self) -> str:
            raise Interrupted

    channel = connect().channel()
    for call in (channel.publish_many, lambda odd: channel.publish_many([("", odd)])):
        with pytest.raises(Interrupted) as caught:
            call([Odd()])
        assert caught.value.__context__ is None


def test_while_a_timer_is_removed(connect: Connect) -> None:
    """At any moment of it.  (Standard containers, too, make messages that hold the repr of a value.)"""
    connection = connect()
    remove = type(connection).remove_timeout.__code__
    struck: list[Interrupted] = []
    came: list[Interrupted] = []

    def strike(number: int, frame: Any) -> None:
        if frame.f_code is remove:
            struck.append(Interrupted())
            raise struck[-1]
        signal.setitimer(signal.ITIMER_REAL, 50e-6)  # too early, or too late

    before = signal.signal(signal.SIGALRM, strike)
    signal.setitimer(signal.ITIMER_REAL, 50e-6)
    try:
        while len(struck) < 300:
            timer = connection.call_later(600.0, print)
            try:
                connection.remove_timeout(timer)
            except Interrupted as error:
                came.append(error)
                signal.setitimer(signal.ITIMER_REAL, 50e-6 + 1e-7 * (len(struck) % 40))
            if len(came) != len(struck):
                break
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert came == struck


def test_while_progress_is_noted_at_an_exception_of_the_iterable(connect: Connect) -> None:
    """`confirmed` and `unconfirmed`; that it takes no attributes would be no word of anybody's."""

    class Odd(Exception):
        def __setattr__(self, name: str, value: Any) -> None:
            raise Interrupted

    def messages() -> Iterator[tuple[str, str, bytes]]:
        yield "", NOWHERE, b"x"
        raise Odd

    channel = connect().channel()
    channel.confirm_delivery()
    with pytest.raises(Interrupted) as caught:
        channel.publish_many(messages())
    assert isinstance(caught.value.__context__, Odd)


def test_while_a_consumer_is_forgotten_whose_tag_is_the_programs(connect: Connect) -> None:
    class Tag(str):
        def __hash__(self) -> int:
            for error in handlers:
                raise error
            return str.__hash__(self)

        __eq__ = str.__eq__

    handlers: Iterator[BaseException] = iter(())
    channel = connect().channel()
    tag = Tag("cpika-test-tag")
    channel.basic_consume(channel.queue_declare("", exclusive=True).method.queue, print, consumer_tag=tag)
    info = channel._consumer_infos[tag]
    handlers = iter([Interrupted()])
    with pytest.raises(Interrupted):
        channel._cancel(info)


def test_while_a_kept_error_is_made_anew() -> None:
    """Of a class whose constructor is the program's."""
    handlers: Iterator[BaseException] = iter(())

    class Odd(OSError):
        def __init__(self, *arguments: object) -> None:
            for error in handlers:
                raise error
            super().__init__(*arguments)

    kept = Odd("kept")
    handlers = iter([Interrupted()])
    with pytest.raises(Interrupted):
        raise_again(kept)
    with pytest.raises(Odd):
        raise_again(kept)
