"""`publish_many`: an iterable's messages, many to one send, confirms awaited together."""

from __future__ import annotations

import itertools
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.nodes import LocalNode
from support.proxy import SERVER, Proxy
from support.queues import bodies, count, numbered
from support.subject import exceptions, pika

Connect = Callable[..., Any]
NOWHERE = "cpika-test-nowhere"  # a routing key that no queue has


def full_queue(channel: Any, queue: str, room: int) -> None:
    """A queue that takes `room` messages and nacks every further one."""
    channel.queue_delete(queue)
    channel.queue_declare(queue, arguments={"x-max-length": room, "x-overflow": "reject-publish"})


# ---- what it publishes and returns ----


@pytest.mark.parametrize("n", [0, 1, 2, 1023, 1024, 1025, 5000])
def test_all_are_confirmed_in_order_and_counted(channel: Any, queue_name: str, n: int) -> None:
    assert channel.publish_many(numbered(queue_name, n)) == n
    # Confirmed messages are in the queue: no waiting.
    assert bodies(channel, queue_name) == [b"%d" % i for i in range(n)]


@pytest.mark.parametrize("window", [1, 2, 3, 7, 10**9])
def test_any_window_will_do(channel: Any, queue_name: str, window: int) -> None:
    assert channel.publish_many(numbered(queue_name, 50), window=window) == 50
    assert bodies(channel, queue_name) == [b"%d" % i for i in range(50)]


def test_without_confirms_it_returns_the_count_and_all_arrive(connect: Connect, queue_name: str) -> None:
    channel = connect().channel()
    channel.queue_declare(queue_name)
    assert channel.publish_many(numbered(queue_name, 3000), 10) == 3000
    assert len(bodies(channel, queue_name)) == 3000


def test_messages_are_tuples_or_lists_of_three_to_five(channel: Any, queue_name: str) -> None:
    properties = pika.BasicProperties(
        content_type="text/plain",
        delivery_mode=2,
        headers={"n": 1, "nested": {"list": [1, "a", None]}},
        timestamp=1700000000,
    )
    messages = [
        ("", queue_name, b"three"),
        ["", queue_name, "vier \u00e4"],
        ("", queue_name, bytearray(b"four"), properties),
        ("", queue_name, memoryview(b"none"), None),
        ("", queue_name, b"five", properties, True),
        ("", queue_name, b"", pika.BasicProperties(), False),
    ]
    assert channel.publish_many(messages) == 6
    got = [channel.basic_get(queue_name, auto_ack=True) for _ in messages]
    assert [body for _, _, body in got] == [
        b"three",
        "vier \u00e4".encode(),
        b"four",
        b"none",
        b"five",
        b"",
    ]
    empty = pika.BasicProperties()
    assert [sent for _, sent, _ in got] == [empty, empty, properties, empty, properties, empty]


def test_large_bodies_among_small_ones_keep_their_place(channel: Any, queue_name: str) -> None:
    sizes = [0, 10, 16383, 16384, 20, 131064, 131065, 1, 400_000, 2, 65536, 3]
    sent = [bytes([65 + i]) * size for i, size in enumerate(sizes)]
    assert channel.publish_many(("", queue_name, body) for body in sent) == len(sizes)
    assert bodies(channel, queue_name) == sent


def test_many_leave_with_one_send(proxy: Proxy, connect: Connect, queue_name: str) -> None:
    """Without a proxy's help that cannot be seen; with it, messages of one read have the same time."""
    channel = connect(proxy).channel()
    channel.queue_declare(queue_name)
    start = proxy.mark()
    channel.publish_many(("", queue_name, b"x") for _ in range(500))
    channel.queue_declare(queue_name, passive=True)
    times = {event.time for event in proxy.frames("Basic.Publish", start=start)}
    assert len(proxy.frames("Basic.Publish", start=start)) == 500
    assert len(times) < 50


def test_the_iterable_is_read_lazily_and_memory_stays_constant(channel: Any, queue_name: str) -> None:
    """A message is asked for when there is room for it; 40,000 through, nothing of them stays."""
    channel.queue_delete(queue_name)
    channel.queue_declare(queue_name, arguments={"x-max-length": 10})
    sizes: list[int] = []

    def endless() -> Iterator[tuple[str, str, bytes]]:
        for i in itertools.count():
            if i % 10_000 == 0 and i > 0:
                sizes.append(tracemalloc.get_traced_memory()[0])
            if len(sizes) == 4:
                raise LookupError("enough")
            yield "", queue_name, b"%09d" % i * 20

    tracemalloc.start()
    try:
        with pytest.raises(LookupError, match="enough"):
            channel.publish_many(endless())
    finally:
        tracemalloc.stop()
    assert max(sizes) - min(sizes) < 50_000, sizes


def test_a_large_body_in_flight_is_not_kept(connect: Connect, queue_name: str) -> None:
    """1 MB messages, 60 of them: the peak stays far below their sum."""
    channel = connect().channel()
    channel.queue_declare(queue_name, arguments={"x-max-length": 1})
    channel.confirm_delivery()
    tracemalloc.start()
    try:
        channel.publish_many(("", queue_name, bytes(1_000_000)) for _ in range(60))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8_000_000


# ---- the window ----


@pytest.mark.parametrize("window", [1, 5, 100])
def test_no_more_than_the_window_is_unconfirmed(
    proxy: Proxy, connect: Connect, queue_name: str, window: int
) -> None:
    channel = connect(proxy).channel()
    channel.queue_declare(queue_name)
    channel.confirm_delivery()
    start = proxy.mark()
    proxy.pause(SERVER)
    publishing = threading.Thread(
        target=channel.publish_many, args=(numbered(queue_name, 3 * window), window), daemon=True
    )
    publishing.start()
    proxy.wait_for_count(lambda event: event.name == "Basic.Publish", window, start=start)
    proxy.resume()
    publishing.join(20)
    assert not publishing.is_alive()
    unconfirmed = 0
    confirmed = 0
    most = 0
    for event in proxy.events[start:]:
        assert event.frame is not None
        if event.name == "Basic.Publish":
            unconfirmed += 1
        elif event.name == "Basic.Ack" and event.origin == SERVER:
            now = event.frame.delivery_tag if event.frame.multiple else confirmed + 1
            unconfirmed -= now - confirmed
            confirmed = now
        most = max(most, unconfirmed)
    assert most == window
    assert unconfirmed == 0


@pytest.mark.parametrize("window", [0, -1])
def test_a_window_that_is_none_is_refused(channel: Any, window: int) -> None:
    with pytest.raises(ValueError, match=f"window must be at least 1, but got {window}"):
        channel.publish_many([], window=window)


@pytest.mark.parametrize("window", [1.5, "10", None])
def test_a_window_that_is_no_integer_is_refused(channel: Any, window: Any) -> None:
    with pytest.raises(TypeError):
        channel.publish_many([], window=window)


# ---- refused messages ----


def test_the_first_nack_stops_the_input_and_tells_which(channel: Any, queue_name: str) -> None:
    full_queue(channel, queue_name, 5)
    taken = 0

    def messages() -> Iterator[tuple[str, str, bytes]]:
        nonlocal taken
        for taken in itertools.count(1):
            yield "", queue_name, b"%d" % taken

    with pytest.raises(exceptions.NackError) as caught:
        channel.publish_many(messages(), window=20)
    error = caught.value
    assert error.indexes == list(range(5, taken))
    assert 6 <= taken <= 5 + 2 * 20
    assert error.messages == []
    assert bodies(channel, queue_name) == [b"1", b"2", b"3", b"4", b"5"]


def test_the_first_return_stops_the_input_and_tells_which(channel: Any, queue_name: str) -> None:
    taken = 0

    def messages() -> Iterator[tuple[Any, ...]]:
        nonlocal taken
        for taken in itertools.count(1):
            key = NOWHERE if taken % 7 == 0 else queue_name
            yield "", key, b"%d" % taken, pika.BasicProperties(message_id=str(taken)), True

    with pytest.raises(exceptions.UnroutableError) as caught:
        channel.publish_many(messages(), window=10)
    error = caught.value
    unroutable = [i for i in range(taken) if (i + 1) % 7 == 0]
    assert error.indexes == unroutable
    assert [message.body for message in error.messages] == [b"%d" % (i + 1) for i in unroutable]
    first = error.messages[0]
    assert isinstance(first, pika.adapters.blocking_connection.ReturnedMessage)
    assert (first.method.reply_code, first.method.routing_key) == (312, NOWHERE)
    assert first.properties.message_id == "7"
    assert taken <= 30
    assert bodies(channel, queue_name) == [b"%d" % (i + 1) for i in range(taken) if i not in unroutable]


def test_a_return_without_mandatory_is_no_error(channel: Any) -> None:
    assert channel.publish_many(("", NOWHERE, b"x") for _ in range(100)) == 100


def test_nacks_and_returns_together_are_a_nack_error_with_all_indexes(channel: Any, queue_name: str) -> None:
    full_queue(channel, queue_name, 1)
    messages = [
        ("", queue_name, b"fits", None, True),
        ("", NOWHERE, b"back", None, True),
        ("", queue_name, b"nacked", None, True),
    ]
    with pytest.raises(exceptions.NackError) as caught:
        channel.publish_many(messages)
    assert sorted(caught.value.indexes) == [1, 2]
    assert caught.value.indexes[-1] == 1, "what came back stands last"
    assert [message.body for message in caught.value.messages] == [b"back"]


def test_of_identical_messages_that_came_back_each_has_its_index(channel: Any) -> None:
    messages = [("", NOWHERE, b"same", None, i % 2 == 1) for i in range(10)]
    with pytest.raises(exceptions.UnroutableError) as caught:
        channel.publish_many(messages)
    assert caught.value.indexes == [1, 3, 5, 7, 9]
    assert len(caught.value.messages) == 5


def test_identical_messages_of_which_one_became_routable_in_between(
    channel: Any, connect: Connect, queue_name: str
) -> None:
    """The first finds no queue, the second does: the one that came back is the first."""
    late = queue_name + "-late"

    def messages() -> Iterator[tuple[Any, ...]]:
        yield "", late, b"same", None, True
        channel.queue_declare(late, exclusive=True)  # behind the first, and its answer behind the first's
        yield "", late, b"same", None, True

    with pytest.raises(exceptions.UnroutableError) as caught:
        channel.publish_many(messages())
    assert caught.value.indexes == [0]


def test_the_channel_goes_on_after_a_refusal(channel: Any, queue_name: str) -> None:
    with pytest.raises(exceptions.UnroutableError):
        channel.publish_many([("", NOWHERE, b"x", None, True)])
    assert channel.publish_many(numbered(queue_name, 10)) == 10
    channel.basic_publish("", queue_name, b"one", mandatory=True)
    with pytest.raises(exceptions.UnroutableError) as caught:
        channel.basic_publish("", NOWHERE, b"two", mandatory=True)
    assert [message.body for message in caught.value.messages] == [b"two"]


def test_return_callbacks_are_called_as_ever(channel: Any, connect: Connect) -> None:
    returned: list[bytes] = []
    channel.add_on_return_callback(lambda ch, method, properties, body: returned.append(body))
    with pytest.raises(exceptions.UnroutableError):
        channel.publish_many([("", NOWHERE, b"x", None, True), ("", NOWHERE, b"y", None, True)])
    channel.connection.process_data_events()
    assert returned in ([b"x", b"y"], [b"x"])


# ---- a channel or connection that ends ----


def test_a_channel_that_the_broker_closes_tells_why_and_how_far(channel: Any, queue_name: str) -> None:
    def messages() -> Iterator[tuple[str, str, bytes]]:
        yield from numbered(queue_name, 10)
        yield "cpika-test-no-such-exchange", "", b"x"
        yield from numbered(queue_name, 100_000)

    with pytest.raises(exceptions.ChannelClosedByBroker) as caught:
        channel.publish_many(messages())
    assert caught.value.reply_code == 404
    assert caught.value.confirmed <= 10
    assert caught.value.unconfirmed[-1] >= 10
    assert channel.is_closed
    with pytest.raises(exceptions.ChannelWrongStateError):
        channel.publish_many([])


def check_progress(error: Any, taken: int, window: int) -> None:
    assert 0 <= error.confirmed <= taken
    assert len(error.unconfirmed) <= window
    assert all(error.confirmed <= index < taken for index in error.unconfirmed)
    if error.unconfirmed:
        assert error.unconfirmed[0] == error.confirmed
    assert error.unconfirmed == sorted(set(error.unconfirmed))


@pytest.mark.parametrize("window", [1, 50])
def test_a_lost_connection_tells_what_is_confirmed(
    proxy: Proxy, connect: Connect, queue_name: str, window: int
) -> None:
    channel = connect(proxy).channel()
    channel.queue_declare(queue_name)
    channel.confirm_delivery()
    start = proxy.mark()

    def cut() -> None:
        proxy.wait_for_count(
            lambda event: event.name == "Basic.Ack" and event.origin == SERVER, 20 // window + 1, start=start
        )
        proxy.cut()

    cutter = threading.Thread(target=cut, daemon=True)
    cutter.start()
    taken = 0

    def messages() -> Iterator[tuple[str, str, bytes]]:
        nonlocal taken
        for taken in itertools.count(1):
            yield "", queue_name, b"%d" % (taken - 1)

    with pytest.raises(exceptions.StreamLostError) as caught:
        channel.publish_many(messages(), window)
    cutter.join(10)
    check_progress(caught.value, taken, window)
    assert channel.is_closed
    # What it says is confirmed is in the queue.
    there = {int(body) for body in bodies(connect().channel(), queue_name)}
    assert there >= set(range(taken)) - set(caught.value.unconfirmed) - {taken - 1}
    assert there >= set(range(caught.value.confirmed))


def test_nothing_confirmed_is_all_unconfirmed(proxy: Proxy, connect: Connect, queue_name: str) -> None:
    channel = connect(proxy).channel()
    channel.queue_declare(queue_name)
    channel.confirm_delivery()
    start = proxy.mark()
    proxy.pause(SERVER)

    def cut() -> None:
        proxy.wait_for_count(lambda event: event.name == "Basic.Publish", 10, start=start)
        proxy.cut()

    cutter = threading.Thread(target=cut, daemon=True)
    cutter.start()
    with pytest.raises(exceptions.StreamLostError) as caught:
        channel.publish_many(numbered(queue_name, 100), window=10)
    cutter.join(10)
    assert (caught.value.confirmed, caught.value.unconfirmed) == (0, list(range(10)))


def test_a_killed_broker_tells_what_is_confirmed(node: LocalNode, connect: Connect) -> None:
    channel = connect(node).channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.confirm_delivery()
    taken = 0

    def messages() -> Iterator[tuple[str, str, bytes]]:
        nonlocal taken
        for taken in itertools.count(1):
            if taken == 500:
                node.kill()
            yield "", queue, b"x"

    with pytest.raises(exceptions.AMQPConnectionError) as caught:
        channel.publish_many(messages(), window=64)
    check_progress(caught.value, taken, 64)
    assert caught.value.confirmed >= 500 - 64


def test_a_refused_message_is_not_confirmed_when_the_connection_is_lost_after_it(
    proxy: Proxy, connect: Connect, queue_name: str
) -> None:
    channel = connect(proxy).channel()
    channel.confirm_delivery()
    full_queue(channel, queue_name, 2)
    start = proxy.mark()

    def is_last(event: Any, name: str, tag: int) -> bool:
        return event.name == name and event.origin == SERVER and bool(event.frame.delivery_tag == tag)

    def messages() -> Iterator[tuple[str, str, bytes]]:
        yield from numbered(queue_name, 4)
        channel.connection.process_data_events()  # what is held leaves
        proxy.wait_for(lambda event: is_last(event, "Basic.Ack", 2), start=start)
        proxy.wait_for(lambda event: is_last(event, "Basic.Nack", 4), start=start)
        channel.queue_declare(queue_name, passive=True)  # both were read before the answer to this
        proxy.cut()
        yield "", queue_name, b"into the void"

    with pytest.raises(exceptions.AMQPConnectionError) as caught:
        channel.publish_many(messages())
    assert caught.value.confirmed == 2
    assert caught.value.unconfirmed[:2] == [2, 3]


@pytest.mark.parametrize("what", ["channel", "connection"])
def test_closed_by_the_iterable_itself(channel: Any, queue_name: str, what: str) -> None:
    def messages() -> Iterator[tuple[str, str, bytes]]:
        yield "", queue_name, b"1"
        (channel if what == "channel" else channel.connection).close()
        yield "", queue_name, b"2"

    with pytest.raises(exceptions.AMQPError) as caught:
        channel.publish_many(messages())
    assert isinstance(caught.value, (exceptions.ChannelWrongStateError, exceptions.ConnectionWrongStateError))


def test_a_closed_channel_is_refused_before_the_iterable_is_touched(channel: Any) -> None:
    channel.close()

    class Untouchable:
        def __iter__(self) -> Any:
            raise AssertionError("touched")

    with pytest.raises(exceptions.ChannelWrongStateError):
        channel.publish_many(Untouchable())


# ---- exceptions of the iterable, and what is no message ----


def test_an_exception_of_the_iterable_comes_after_the_drain(
    proxy: Proxy, connect: Connect, queue_name: str
) -> None:
    channel = connect(proxy).channel()
    channel.queue_declare(queue_name)
    channel.confirm_delivery()
    start = proxy.mark()

    def messages() -> Iterator[tuple[str, str, bytes]]:
        yield from numbered(queue_name, 200)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        channel.publish_many(messages())
    last = 0
    for event in proxy.frames("Basic.Ack", SERVER, start):
        assert event.frame is not None
        last = event.frame.delivery_tag
    assert last == 200, "the confirm of the last message came before the exception left"
    assert count(channel, queue_name) == 200


def test_an_exception_of_the_iterable_without_confirms(connect: Connect, queue_name: str) -> None:
    channel = connect().channel()
    channel.queue_declare(queue_name)

    def messages() -> Iterator[tuple[str, str, bytes]]:
        yield from numbered(queue_name, 10)
        raise KeyError("mine")

    with pytest.raises(KeyError):
        channel.publish_many(messages())
    assert len(bodies(channel, queue_name)) == 10


@pytest.mark.parametrize(
    "item",
    ["abc", b"abc", ("", "k"), ("", "k", b"", None, True, 1), 5, None, {"a": 1, "b": 2, "c": 3}, iter("abc")],
    ids=["str", "bytes", "two fields", "six fields", "int", "None", "dict", "iterator"],
)
def test_what_is_no_message_is_refused_and_shown(channel: Any, queue_name: str, item: Any) -> None:
    with pytest.raises(TypeError) as caught:
        channel.publish_many([("", queue_name, b"before"), item, ("", queue_name, b"after")])
    assert str(caught.value) == (
        f"a message is (exchange, routing_key, body[, properties[, mandatory]]), but got {item!r}"
    )
    assert bodies(channel, queue_name) == [b"before"]


@pytest.mark.parametrize(
    ("item", "error"),
    [
        (("e" * 256, "k", b""), "ShortStringTooLong"),
        (("", "k" * 256, b""), "ShortStringTooLong"),
        ((1, "k", b""), "AssertionError"),
        (("", "k", 5), "AttributeError"),
        (("", "k", b"", object()), "AttributeError"),
    ],
)
def test_a_message_that_cannot_be_encoded_raises_what_basic_publish_raises(
    channel: Any, queue_name: str, item: Any, error: str
) -> None:
    with pytest.raises(Exception) as single:
        channel.basic_publish(*item)
    with pytest.raises(Exception) as caught:
        channel.publish_many([("", queue_name, b"before"), item])
    assert type(caught.value) is type(single.value)
    assert type(caught.value).__name__ == error
    assert str(caught.value) == str(single.value)
    assert bodies(channel, queue_name) == [b"before"]


@pytest.mark.parametrize("messages", [None, 5])
def test_what_is_not_iterable_is_refused(channel: Any, messages: Any) -> None:
    with pytest.raises(TypeError, match="not iterable"):
        channel.publish_many(messages)


def test_a_list_that_its_own_properties_change_while_they_are_encoded(channel: Any, queue_name: str) -> None:
    message: list[Any] = []

    class Changing(pika.BasicProperties):  # type: ignore[misc]
        def encode(self) -> Any:
            message.clear()
            return super().encode()

    for _ in range(20):
        message[:] = ["", queue_name, bytes(bytearray(b"body" * 10)), Changing()]
        assert channel.publish_many([message]) == 1
    assert set(bodies(channel, queue_name)) == {b"body" * 10}


def test_confirms_that_the_iterable_asks_for_are_awaited_from_then_on(connect: Connect) -> None:
    """Whether they were was decided before the first message."""
    channel = connect().channel()

    def messages() -> Iterator[tuple[Any, ...]]:
        yield ("", NOWHERE, b"nobody asks", None, True)
        channel.confirm_delivery()
        for number in range(3):
            yield ("", NOWHERE, b"%d" % number, None, True)

    with pytest.raises(exceptions.UnroutableError) as raised:
        channel.publish_many(messages())
    assert [message.body for message in raised.value.messages] == [b"0", b"1", b"2"]
    assert raised.value.indexes == [1, 2, 3]


def test_what_went_before_confirms_is_told_as_unconfirmed(
    make_proxy: Callable[..., Proxy], connect: Connect, broker_url: str, queue_name: str
) -> None:
    proxy = make_proxy(broker_url)
    channel = connect(proxy).channel()
    channel.queue_declare(queue_name)

    def messages() -> Iterator[tuple[Any, ...]]:
        yield ("", queue_name, b"0")
        channel.confirm_delivery()
        proxy.pause(SERVER)
        yield ("", queue_name, b"1")
        yield ("", queue_name, b"2")
        proxy.cut()

    with pytest.raises(exceptions.AMQPConnectionError) as raised:
        channel.publish_many(messages())
    assert raised.value.confirmed == 0
    assert sorted(raised.value.unconfirmed) == [0, 1, 2]
