"""Rule 4: acks in a burst leave together, each its own frame, and none waits long."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from support.proxy import CLIENT, Proxy

pytestmark = pytest.mark.rule(4)

PROMISED = 0.001  # seconds
SOON = (
    0.05  # for the usual one on a busy machine, whose scheduler alone may take longer than what is promised
)


class Consumer:
    """A channel through the proxy with `count` messages delivered and none dispatched yet."""

    def __init__(self, proxy: Proxy, connect: Callable[..., Any], queue: str, count: int) -> None:
        self.proxy = proxy
        self.connection = connect(proxy)
        self.channel = self.connection.channel()
        self.queue = queue
        self.channel.queue_declare(queue)
        self.bodies = [b"%d" % number for number in range(count)]
        for body in self.bodies:
            self.channel.basic_publish("", queue, body)
        self.channel.queue_declare(queue, passive=True)  # the proxy has seen all of them when this returns

    def start(self, callback: Callable[..., None]) -> None:
        """Consumes with `callback`; returns when all messages stand ready at the client."""
        self.channel.basic_consume(self.queue, callback)
        self.proxy.wait_for_count(lambda event: event.name == "Basic.Deliver", len(self.bodies))

    def dispatch_until(self, done: Callable[[], bool]) -> None:
        end = time.monotonic() + 20
        while not done() and time.monotonic() < end:
            self.connection.process_data_events(time_limit=0.2)
        assert done()


@pytest.fixture
def consumer(proxy: Proxy, connect: Callable[..., Any], queue_name: str) -> Callable[[int], Consumer]:
    return lambda count: Consumer(proxy, connect, queue_name, count)


def is_ack(event: Any) -> bool:
    return bool(event.name == "Basic.Ack" and event.origin == CLIENT)


def compute(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sum(i * i for i in range(100))


@pytest.mark.parametrize("work", [time.sleep, compute], ids=["sleeping", "computing"])
def test_an_ack_leaves_although_its_callback_goes_on(
    consumer: Callable[[int], Consumer], work: Callable[[float], None], record_property: Callable[..., None]
) -> None:
    count = 30
    scene = consumer(count)
    acked: dict[int, float] = {}

    def callback(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        channel.basic_ack(method.delivery_tag)
        acked[method.delivery_tag] = time.monotonic()
        work(0.05)

    scene.start(callback)
    scene.dispatch_until(lambda: len(acked) == count)
    seen = {
        event.frame.delivery_tag: event.time
        for event in scene.proxy.wait_for_count(is_ack, count)
        if event.frame is not None
    }
    delays = sorted(seen[tag] - acked[tag] for tag in acked)
    record_property("ack delays in ms", [round(delay * 1000, 2) for delay in delays])
    # Many may have met a busy moment of the machine; acks that are held too long would all be late.
    assert delays[0] < PROMISED, f"acks took {delays} s"
    assert delays[count // 2] < SOON, f"acks took {delays} s"


def test_each_ack_is_a_frame_of_its_own_in_the_order_given(consumer: Callable[[int], Consumer]) -> None:
    count = 500
    scene = consumer(count)
    tags: list[int] = []

    def callback(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        channel.basic_ack(method.delivery_tag)
        tags.append(method.delivery_tag)

    scene.start(callback)
    scene.dispatch_until(lambda: len(tags) == count)
    frames = [event.frame for event in scene.proxy.wait_for_count(is_ack, count)]
    assert [frame.delivery_tag for frame in frames if frame] == tags == list(range(1, count + 1))
    assert not any(frame.multiple for frame in frames if frame)


def test_an_ack_that_asks_for_multiple_stays_one(consumer: Callable[[int], Consumer]) -> None:
    scene = consumer(5)
    got: list[int] = []
    scene.start(lambda channel, method, properties, body: got.append(method.delivery_tag))
    scene.dispatch_until(lambda: len(got) == 5)
    scene.channel.basic_ack(5, multiple=True)
    event = scene.proxy.wait_for(is_ack)
    assert event.frame is not None
    assert (event.frame.delivery_tag, event.frame.multiple) == (5, True)


def test_nothing_stays_held_when_the_dispatching_call_returns(consumer: Callable[[int], Consumer]) -> None:
    scene = consumer(20)
    got: list[int] = []

    def callback(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        channel.basic_ack(method.delivery_tag)
        got.append(method.delivery_tag)

    scene.start(callback)
    scene.dispatch_until(lambda: len(got) == 20)
    returned = time.monotonic()
    assert scene.proxy.wait_for_count(is_ack, 20)[-1].time - returned < SOON


def test_nothing_stays_held_when_the_dispatching_call_raises(consumer: Callable[[int], Consumer]) -> None:
    scene = consumer(20)

    def callback(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        channel.basic_ack(method.delivery_tag)
        raise LookupError(method.delivery_tag)

    scene.start(callback)
    with pytest.raises(LookupError):
        scene.dispatch_until(lambda: False)
    raised = time.monotonic()
    assert scene.proxy.wait_for(is_ack).time - raised < SOON


def test_an_ack_outside_a_callback_leaves_at_once(consumer: Callable[[int], Consumer]) -> None:
    scene = consumer(1)
    method, _, _ = scene.channel.basic_get(scene.queue)
    scene.channel.basic_ack(method.delivery_tag)
    returned = time.monotonic()
    assert scene.proxy.wait_for(is_ack).time - returned < SOON


def test_a_publish_in_a_callback_is_not_held_back_and_keeps_its_place(
    consumer: Callable[[int], Consumer],
) -> None:
    scene = consumer(3)
    published: list[float] = []

    def callback(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        channel.basic_publish("", "cpika-test-nowhere", b"before")
        channel.basic_ack(method.delivery_tag)
        channel.basic_publish("", "cpika-test-nowhere", b"after")
        published.append(time.monotonic())
        time.sleep(0.1)

    start = scene.proxy.mark()
    scene.channel.basic_consume(scene.queue, callback)
    scene.dispatch_until(lambda: len(published) == 3)
    sent = scene.proxy.wait_for_count(
        lambda event: event.origin == CLIENT and event.name in ("Basic.Ack", "Basic.Publish"), 9, start=start
    )
    assert [event.name for event in sent] == ["Basic.Publish", "Basic.Ack", "Basic.Publish"] * 3
    delays = sorted(event.time - moment for event, moment in zip(sent[2::3], published))
    assert delays[1] < SOON, f"publishes took {delays} s"


def test_acks_reach_the_broker_before_a_later_request(consumer: Callable[[int], Consumer]) -> None:
    """An ack, then a request on the same channel: the broker has processed the ack when the answer comes."""
    scene = consumer(10)
    left: list[int] = []

    def callback(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        channel.basic_ack(method.delivery_tag)
        left.append(channel.queue_declare(scene.queue, passive=True).method.message_count)

    scene.start(callback)
    scene.dispatch_until(lambda: len(left) == 10)
    scene.channel.close()
    assert scene.connection.channel().queue_declare(scene.queue, passive=True).method.message_count == 0
