"""`with channel.buffered()`: publishes held back, leaving together; with confirms awaited together."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from support.proxy import CLIENT, SERVER, Proxy
from support.queues import bodies
from support.subject import exceptions

Connect = Callable[..., Any]
NOWHERE = "cpika-test-nowhere"  # a routing key that no queue has
LONG = 600.0  # seconds: a delay that no test waits for
SOON = 0.05  # seconds: 1 ms is promised; the rest is for a busy machine


def published(proxy: Proxy, start: int) -> int:
    return len(proxy.frames("Basic.Publish", start=start))


def is_publish(event: Any) -> bool:
    return bool(event.name == "Basic.Publish")


# ---- when it leaves ----


def test_all_arrive_in_order(channel: Any, queue_name: str) -> None:
    sent = [b"%d" % i * (1 + i % 300) for i in range(3000)]
    with channel.buffered():
        for body in sent:
            channel.basic_publish("", queue_name, body)
    assert bodies(channel, queue_name) == sent


def test_nothing_leaves_before_its_time(proxy: Proxy, channel: Any, queue_name: str) -> None:
    start = proxy.mark()
    with channel.buffered(max_delay=LONG) as same:
        assert same is channel
        for _ in range(100):
            channel.basic_publish("", queue_name, b"x")
        time.sleep(0.1)  # what would leave by mistake has had the time
        assert published(proxy, start) == 0
    proxy.wait_for_count(is_publish, 100, start=start)


def test_it_leaves_when_it_is_max_bytes_long(proxy: Proxy, channel: Any, queue_name: str) -> None:
    start = proxy.mark()
    with channel.buffered(max_bytes=10_000, max_delay=LONG):
        for _ in range(9):
            channel.basic_publish("", queue_name, bytes(1000))
        assert published(proxy, start) == 0
        channel.basic_publish("", queue_name, bytes(1000))
        proxy.wait_for_count(is_publish, 10, start=start)
        channel.basic_publish("", queue_name, b"held again")
        time.sleep(0.05)
        assert published(proxy, start) == 10


def test_max_bytes_of_one_holds_nothing_back(proxy: Proxy, channel: Any, queue_name: str) -> None:
    with channel.buffered(max_bytes=1, max_delay=LONG):
        for _ in range(3):
            start = proxy.mark()
            channel.basic_publish("", queue_name, b"x")
            proxy.wait_for(is_publish, start=start)


def delays(
    proxy: Proxy, channel: Any, queue: str, pauses: list[float], work: Callable[[float], None]
) -> list[float]:
    """How long after its basic_publish each message was seen at the proxy, while the thread does `work`."""
    found = []
    for pause in pauses:
        start = proxy.mark()
        channel.basic_publish("", queue, b"x")
        held = time.monotonic()
        work(pause)
        found.append(proxy.wait_for(is_publish, start=start).time - held)
    return found


def compute(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sum(range(100))


@pytest.mark.parametrize("work", [time.sleep, compute])
def test_it_leaves_after_max_delay_whatever_the_program_does(
    proxy: Proxy, channel: Any, queue_name: str, work: Callable[[float], None]
) -> None:
    """With long and short pauses: the keeper that fell asleep has to be woken each time."""
    pauses = [0.1, 0.02, 0.1, 0.005, 0.1, 0.1, 0.03]
    with channel.buffered():
        found = delays(proxy, channel, queue_name, pauses, work)
    assert sorted(found)[len(found) // 2] < SOON, found
    assert max(found) < 1, found


def test_a_longer_max_delay_is_kept(proxy: Proxy, channel: Any, queue_name: str) -> None:
    start = proxy.mark()
    with channel.buffered(max_delay=0.3):
        begin = time.monotonic()
        channel.basic_publish("", queue_name, b"1")
        time.sleep(0.1)
        channel.basic_publish("", queue_name, b"2")
        first, second = proxy.wait_for_count(is_publish, 2, start=start)
    assert 0.25 < first.time - begin < 2
    assert first.time == second.time, "the second left with the first"


@pytest.mark.parametrize(
    "call",
    [
        lambda channel, queue: channel.queue_declare(queue, passive=True),
        lambda channel, queue: channel.basic_get(queue),
        lambda channel, queue: channel.connection.process_data_events(),
        lambda channel, queue: channel.connection.sleep(0.01),
        lambda channel, queue: channel.connection.channel(),
        lambda channel, queue: next(channel.consume(queue, inactivity_timeout=0.01)),
        lambda channel, queue: channel.confirm_delivery(),
    ],
    ids=["rpc", "get", "process_data_events", "sleep", "channel", "consume", "confirm_delivery"],
)
def test_it_leaves_before_a_call_that_waits(
    proxy: Proxy, channel: Any, queue_name: str, call: Callable[[Any, str], Any]
) -> None:
    start = proxy.mark()
    with channel.buffered(max_delay=LONG):
        channel.basic_publish("", queue_name, b"x")
        call(channel, queue_name)
        proxy.wait_for(is_publish, start=start)


def test_a_large_body_takes_what_is_held_along_in_its_place(
    proxy: Proxy, channel: Any, queue_name: str
) -> None:
    sent = [b"a", b"b" * 100_000, b"c", b"d" * 16384, b"e"]
    start = proxy.mark()
    with channel.buffered(max_delay=LONG):
        for body in sent[:2]:
            channel.basic_publish("", queue_name, body)
        proxy.wait_for_count(is_publish, 2, start=start)
        for body in sent[2:]:
            channel.basic_publish("", queue_name, body)
    assert bodies(channel, queue_name) == sent


def test_the_body_is_the_callers_again_when_basic_publish_returns(channel: Any, queue_name: str) -> None:
    body = bytearray(b"before")
    with channel.buffered(max_delay=LONG):
        channel.basic_publish("", queue_name, body)
        body[:] = b"after!"
        body.extend(b"more")
    assert bodies(channel, queue_name) == [b"before"]


def test_acks_and_publishes_that_are_held_keep_their_order(
    proxy: Proxy, channel: Any, queue_name: str
) -> None:
    """A callback that publishes, then acks, in a buffered block: the ack never goes first."""
    target = channel.queue_declare("", exclusive=True).method.queue
    with channel.buffered():
        for i in range(200):
            channel.basic_publish("", queue_name, b"%d" % i)
    channel.queue_declare(queue_name, passive=True)  # they have passed the proxy
    start = proxy.mark()
    done = 0

    def on_message(ch: Any, method: Any, properties: Any, body: bytes) -> None:
        nonlocal done
        ch.basic_publish("", target, body)
        ch.basic_ack(method.delivery_tag)
        done += 1

    with channel.buffered(max_delay=LONG):
        channel.basic_consume(queue_name, on_message)
        end = time.monotonic() + 20
        while done < 200 and time.monotonic() < end:
            channel.connection.process_data_events(time_limit=1)
    channel.queue_declare(queue_name, passive=True)
    names = [
        event.name for event in proxy.frames(start=start) if event.name in ("Basic.Publish", "Basic.Ack")
    ]
    assert names == ["Basic.Publish", "Basic.Ack"] * 200
    assert bodies(channel, target) == [b"%d" % i for i in range(200)]


# ---- limits ----


@pytest.mark.parametrize(
    "limits", [{"max_bytes": 0}, {"max_bytes": -5}, {"max_delay": -1}, {"max_delay": float("nan")}], ids=repr
)
def test_limits_that_are_none_are_refused(channel: Any, limits: dict[str, Any]) -> None:
    with pytest.raises(
        ValueError,
        match=f"{next(iter(limits))} must be .*, but got {next(iter(limits.values()))}",
    ):
        with channel.buffered(**limits):
            raise AssertionError("inside")
    channel.basic_publish("", NOWHERE, b"x")


@pytest.mark.parametrize("limits", [{"max_bytes": 1.5}, {"max_delay": "1"}, {"max_bytes": None}], ids=repr)
def test_limits_that_are_no_numbers_are_refused(channel: Any, limits: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        with channel.buffered(**limits):
            raise AssertionError("inside")


def test_a_closed_channel_is_refused(channel: Any) -> None:
    channel.close()
    with pytest.raises(exceptions.ChannelWrongStateError):
        with channel.buffered():
            raise AssertionError("inside")


def test_an_encoding_error_leaves_what_was_held(channel: Any, queue_name: str) -> None:
    with channel.buffered(max_delay=LONG):
        channel.basic_publish("", queue_name, b"1")
        with pytest.raises(exceptions.ShortStringTooLong):
            channel.basic_publish("", "k" * 256, b"never")
        channel.basic_publish("", queue_name, b"2")
    assert bodies(channel, queue_name) == [b"1", b"2"]


# ---- nested, left by an exception ----


def test_the_end_of_an_inner_block_sends_and_the_outer_limits_hold_again(
    proxy: Proxy, channel: Any, queue_name: str
) -> None:
    with channel.buffered(max_delay=LONG):
        channel.basic_publish("", queue_name, b"outer")
        start = proxy.mark()
        with channel.buffered(max_bytes=200, max_delay=LONG):
            channel.basic_publish("", queue_name, b"inner")
        proxy.wait_for_count(is_publish, 2, start=start)
        start = proxy.mark()
        for _ in range(20):
            channel.basic_publish("", queue_name, bytes(100))
        time.sleep(0.05)
        assert published(proxy, start) == 0
    proxy.wait_for_count(is_publish, 20, start=start)


def test_left_by_an_exception_it_still_sends(channel: Any, queue_name: str) -> None:
    with pytest.raises(KeyError, match="mine"):
        with channel.buffered(max_delay=LONG):
            channel.basic_publish("", queue_name, b"x")
            raise KeyError("mine")
    assert bodies(channel, queue_name) == [b"x"]


def test_left_by_ctrl_c_it_does_not_wait_for_a_broker_that_reads_nothing(
    proxy: Proxy, channel: Any, queue_name: str
) -> None:
    body = bytes(1000)
    proxy.pause(CLIENT)
    with pytest.raises(KeyboardInterrupt):
        with channel.buffered(max_bytes=64 << 20, max_delay=LONG):
            for _ in range(20_000):  # more than the sockets take
                channel.basic_publish("", queue_name, body)
            left = time.monotonic()
            raise KeyboardInterrupt
    assert time.monotonic() - left < 2, "it waits without end, or not at all"
    proxy.resume()
    # What was left behind leaves without further calls.
    proxy.wait_for_count(is_publish, 20_000, timeout=30)


def test_left_by_an_exception_it_awaits_no_confirms(proxy: Proxy, channel: Any, queue_name: str) -> None:
    channel.confirm_delivery()
    start = proxy.mark()
    proxy.pause(SERVER)
    with pytest.raises(KeyError) as caught:
        with channel.buffered(max_delay=LONG):
            channel.basic_publish("", NOWHERE, b"x", mandatory=True)
            raise KeyError("mine")
    assert not hasattr(caught.value, "unconfirmed")
    proxy.wait_for(is_publish, start=start)
    proxy.resume()
    # What came back belongs to nobody any more: not to the next publish either.
    channel.basic_publish("", queue_name, b"fine", mandatory=True)
    assert channel.publish_many([("", queue_name, b"fine", None, True)]) == 1


def test_one_block_object_may_be_used_again(channel: Any, queue_name: str) -> None:
    block = channel.buffered()
    for _ in range(3):
        with block:
            channel.basic_publish("", queue_name, b"x")
            with block:
                channel.basic_publish("", queue_name, b"y")
    assert bodies(channel, queue_name) == [b"x", b"y"] * 3


# ---- with confirms ----


def test_with_confirms_the_end_awaits_them_all(proxy: Proxy, channel: Any, queue_name: str) -> None:
    channel.confirm_delivery()
    start = proxy.mark()
    with channel.buffered():
        for i in range(2000):
            channel.basic_publish("", queue_name, b"%d" % i, mandatory=True)
    last = 0
    for event in proxy.frames("Basic.Ack", SERVER, start):
        assert event.frame is not None
        last = max(last, event.frame.delivery_tag)
    assert last == 2000
    assert channel.queue_declare(queue_name, passive=True).method.message_count == 2000


def test_a_publish_inside_does_not_wait_for_its_confirm(proxy: Proxy, channel: Any, queue_name: str) -> None:
    channel.confirm_delivery()
    proxy.pause(SERVER)
    with channel.buffered():
        for _ in range(100):
            channel.basic_publish("", queue_name, b"x")
        proxy.resume()


def test_at_the_end_it_tells_what_came_back(channel: Any, queue_name: str) -> None:
    channel.confirm_delivery()
    with pytest.raises(exceptions.UnroutableError) as caught:
        with channel.buffered():
            for i in range(100):
                channel.basic_publish("", NOWHERE if i in (3, 50, 99) else queue_name, b"%d" % i, None, True)
    assert caught.value.indexes == [3, 50, 99]
    assert [message.body for message in caught.value.messages] == [b"3", b"50", b"99"]
    assert len(bodies(channel, queue_name)) == 97


def test_at_the_end_it_tells_what_was_nacked(channel: Any, queue_name: str) -> None:
    channel.confirm_delivery()
    channel.queue_delete(queue_name)
    channel.queue_declare(queue_name, arguments={"x-max-length": 4, "x-overflow": "reject-publish"})
    with pytest.raises(exceptions.NackError) as caught:
        with channel.buffered():
            for i in range(10):
                channel.basic_publish("", queue_name, b"%d" % i)
    assert sorted(caught.value.indexes) == [4, 5, 6, 7, 8, 9]
    assert len(bodies(channel, queue_name)) == 4


def test_an_inner_block_leaves_its_confirms_to_the_outer_one(channel: Any, queue_name: str) -> None:
    channel.confirm_delivery()
    with pytest.raises(exceptions.UnroutableError) as caught:
        with channel.buffered():
            channel.basic_publish("", queue_name, b"0", mandatory=True)
            with channel.buffered():
                channel.basic_publish("", NOWHERE, b"1", mandatory=True)
            channel.basic_publish("", queue_name, b"2", mandatory=True)
    assert caught.value.indexes == [1]
    assert bodies(channel, queue_name) == [b"0", b"2"]


def test_the_next_block_counts_anew(channel: Any, queue_name: str) -> None:
    channel.confirm_delivery()
    for _ in range(2):
        with pytest.raises(exceptions.UnroutableError) as caught:
            with channel.buffered():
                channel.basic_publish("", queue_name, b"0")
                channel.basic_publish("", NOWHERE, b"1", mandatory=True)
        assert caught.value.indexes == [1]
    channel.basic_publish("", queue_name, b"alone")


def test_confirm_delivery_inside_begins_no_other_count(channel: Any, queue_name: str) -> None:
    with pytest.raises(exceptions.UnroutableError) as caught:
        with channel.buffered(max_delay=LONG):
            channel.basic_publish("", NOWHERE, b"without", mandatory=True)
            channel.confirm_delivery()
            channel.basic_publish("", queue_name, b"0", mandatory=True)
            channel.basic_publish("", NOWHERE, b"1", mandatory=True)
    assert caught.value.indexes == [2]


def test_publish_many_inside_awaits_its_own(channel: Any, queue_name: str) -> None:
    channel.confirm_delivery()
    with pytest.raises(exceptions.UnroutableError) as outer:
        with channel.buffered(max_delay=LONG):
            channel.basic_publish("", NOWHERE, b"block", mandatory=True)
            with pytest.raises(exceptions.UnroutableError) as inner:
                channel.publish_many([("", queue_name, b"1"), ("", NOWHERE, b"many", None, True)])
            assert channel.publish_many([("", queue_name, b"2")]) == 1
    assert (inner.value.indexes, outer.value.indexes) == ([1], [0])
    assert [message.body for message in outer.value.messages] == [b"block"]
