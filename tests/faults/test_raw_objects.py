"""Objects that nobody has initialised, or twice, and attributes that get what they do not take."""

from __future__ import annotations

import contextlib
import gc
import platform
import resource
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cpika import _core, spec
from support.apart import apart, outcome
from support.apart import connect as connect_apart
from support.forks import names_of_threads

RAW = {
    "a block's end": lambda: _core.BufferedPublishing.__new__(_core.BufferedPublishing).__exit__(
        None, None, None
    ),
    "a block's begin": lambda: _core.BufferedPublishing.__new__(_core.BufferedPublishing).__enter__(),
    "_await_requests": lambda: _core.Channel.__new__(_core.Channel)._await_requests(None),
    "_terminate": lambda: _core.Connection.__new__(_core.Connection)._terminate(ValueError()),
    "_loop_close": lambda: _core.Connection.__new__(_core.Connection)._loop_close(),
    "_loop_readable": lambda: _core.Connection.__new__(_core.Connection)._loop_readable(),
    "_loop_feed": lambda: _core.Connection.__new__(_core.Connection)._loop_feed(b""),
}


def raw(what: str) -> str:
    return outcome(RAW[what])


@pytest.mark.parametrize("what", RAW)
def test_what_was_never_initialised_says_so(what: str) -> None:
    wanted = "ok" if what in ("_terminate", "_loop_close") else "RuntimeError"
    assert apart(raw, what) == wanted


def on_no_loop() -> list[str]:
    """What the loops' side of the core does on a connection that is on none."""
    connection = connect_apart()
    channel = connection.channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    got: list[bytes] = []
    channel.basic_consume(queue, lambda ch, method, properties, body: got.append(body), auto_ack=True)
    channel.basic_publish("", queue, b"x")
    refused = [
        outcome(call) for call in (connection._impl._loop_readable, lambda: connection._impl._loop_feed(b""))
    ]
    while not got:
        connection.process_data_events(1)
    connection.close()
    return refused


def test_a_connection_on_no_loop_is_read_by_none(broker_url: str) -> None:
    assert apart(on_no_loop) == ["RuntimeError"] * 2


@pytest.mark.parametrize("number", [-5, 2**40])
def test_a_number_that_is_no_descriptor_is_refused(number: int) -> None:
    with pytest.raises((ValueError, OverflowError), match=str(number)):
        _core.Connection(number)


def test_an_attribute_that_cannot_be_deleted_says_so(connect: Callable[..., Any]) -> None:
    channel = connect().channel()
    with pytest.raises(AttributeError, match="_delivery_confirmation"):
        del channel._delivery_confirmation


def test_a_channel_that_is_initialised_again_stays_usable(connect: Callable[..., Any]) -> None:
    """pika's does: two bases of one class may both call it."""
    connection = connect()
    channel = connection.channel()
    channel.__init__(channel._impl, connection)
    assert channel.is_open
    assert channel.queue_declare("", exclusive=True).method.queue


def test_a_channel_that_is_told_to_be_another_stays_what_it_is(connect: Callable[..., Any]) -> None:
    connection = connect()
    channel, other = connection.channel(), connection.channel()
    with pytest.raises(RuntimeError, match="once"):
        channel.__init__(other._impl, connection)
    for one in (channel, other):
        assert one.queue_declare("", exclusive=True).method.queue


def test_an_address_that_leads_back_is_collected() -> None:
    class Core(_core.Connection):
        pass

    def living() -> int:
        return sum(type(one) is Core for one in gc.get_objects())

    core = Core.__new__(Core)
    core._address = (core,)  # a tuple, which the collector cannot empty
    assert living() == 1
    del core
    gc.collect()
    assert living() == 0


# ---- classes of values ----


class Tenant(spec.BasicProperties):
    """Properties of a program."""


@pytest.mark.parametrize(
    ("kind", "other"),
    [
        (spec.BasicProperties, spec.Channel.CloseOk),
        (spec.Confirm, spec.Channel.CloseOk),
        (spec.Channel.CloseOk, spec.Confirm),
        (spec.Channel.CloseOk, spec.Basic.QosOk),
        (spec.BasicProperties, int),
    ],
)
def test_a_value_does_not_become_another_kind(kind: Any, other: type) -> None:
    """pika lets it; what the core knows of a value's fields is its class's.  encode() crashed."""
    value = kind()
    with pytest.raises(TypeError, match="__class__"):
        value.__class__ = other
    assert type(value) is kind


def test_a_value_may_become_one_of_a_derived_class_and_back() -> None:
    value = spec.BasicProperties(app_id="a")
    value.__class__ = Tenant
    value.tenant = "t"
    assert (type(value), value.__class__, value.app_id, value.tenant) == (Tenant, Tenant, "a", "t")
    value.__class__ = spec.BasicProperties
    assert (type(value), value.app_id, value.tenant) == (spec.BasicProperties, "a", "t")


# ---- a thread that cannot be started ----


@contextlib.contextmanager
def no_room_for_a_stack() -> Iterator[None]:
    """There is room for everything but a thread's stack."""
    # That of the last one is kept for the next one: it is taken by this.
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    soft, _ = resource.getrlimit(resource.RLIMIT_STACK)
    assert soft == resource.RLIM_INFINITY or soft > 2**22
    # musl goes by what CPython's own program asks for, 1 MiB, and not by that limit.
    room = 2**22 if platform.libc_ver()[0] == "glibc" else 2**19
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def without_threads() -> list[str]:
    """Connects where there is room for everything but a thread's stack."""
    connect_apart().close()
    # The keeper's thread ends when it has had nothing to keep for a second.
    for there in (True, False):
        while there != ("cpika-keeper" in names_of_threads()):
            time.sleep(0.01)
    told = ""
    with no_room_for_a_stack():
        try:
            connect_apart(heartbeat=60)
        except RuntimeError as error:
            told = str(error)
    return [told, outcome(lambda: connect_apart().close())]


def test_where_no_thread_can_be_started_connecting_says_so(broker_url: str) -> None:
    """It was a MemoryError without a word."""
    assert apart(without_threads) == ["can't start new thread", "ok"]


def without_a_keeper() -> list[bool]:
    """The keeper cannot be started again behind a fork; there is room later."""
    connection = connect_apart(heartbeat=60)
    _core.pause_keeper()
    with no_room_for_a_stack():
        _core.resume_keeper()
        gone = "cpika-keeper" not in names_of_threads()
    connection.process_data_events(0.01)
    end = time.monotonic() + 10
    while "cpika-keeper" not in names_of_threads() and time.monotonic() < end:
        time.sleep(0.01)
    connection.close()
    return [gone, time.monotonic() < end]


def test_a_keeper_that_found_no_room_behind_a_fork_is_started_later(broker_url: str) -> None:
    """At a limit of processes the child had taken its place: no heartbeat was sent any more."""
    assert apart(without_a_keeper) == [True, True]


def test_values_whose_class_has_got_other_bases_say_so() -> None:
    """What an object holds is what its class was when it was first looked at.  encode() crashed."""

    class Changed(spec.Confirm):
        pass

    value: Any = Changed()
    late: Any = Changed()
    assert vars(value) == {}
    Changed.__bases__ = (spec.Channel.CloseOk,)
    assert (late.encode(), late.synchronous) == ([], False)
    for call in (value.encode, lambda: value.decode(b""), lambda: value.synchronous):
        with pytest.raises(TypeError, match="made as no method"):
            call()


# ---- what is told of a consumer, a channel, a class


def unopened() -> Any:
    connection = _core.Connection(None)
    connection.connection_state = 5
    return _core.Channel(connection, 1)


def test_a_channel_that_was_never_opened_does_not_become_open() -> None:
    """A publish on one crashed."""
    channel = unopened()
    with pytest.raises(RuntimeError, match="never opened"):
        channel._state = 2
    channel._state = 0


def cancelled(tag: str | None) -> str:
    """What _cancel() says of a consumer with this tag, None: without."""
    channel = connect_apart().channel()
    info = _core._ConsumerInfo(tag or "x", False, lambda *_: None)
    if tag is None:
        del info.consumer_tag
    return outcome(lambda: channel._cancel(info, 1))


@pytest.mark.parametrize("tag, told", [("x" * 5000, "ShortStringTooLong"), (None, "AttributeError")])
def test_a_consumer_without_a_tag_or_with_a_long_one_is_not_cancelled(
    broker_url: str, tag: str | None, told: str
) -> None:
    """The tag was copied onto the stack, however long, or wherever it was."""
    assert apart(cancelled, tag) == told


def test_a_blocks_end_is_no_end_of_other_objects() -> None:
    """It took their memory for a block's."""
    descriptor = _core.BufferedPublishing.__dict__["__exit__"]
    with pytest.raises(TypeError, match="'str'"):
        descriptor.__get__("a" * 100)


class Odd(Exception):
    """An exception whose second instance is none."""

    made = 0

    def __new__(cls, *args: Any) -> Any:
        Odd.made += 1
        return 42 if Odd.made > 1 else Exception.__new__(cls, *args)


def test_an_exception_whose_class_makes_none_is_raised_itself() -> None:
    error = Odd("first")
    with pytest.raises(Odd) as caught:
        _core.raise_again(error)
    assert caught.value is error
