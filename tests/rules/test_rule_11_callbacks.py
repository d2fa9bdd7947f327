"""Rule 11: before user code runs the state is whole; a callback may close, call, dispatch again, raise."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from support.proxy import SERVER, Proxy
from support.subject import exceptions

pytestmark = pytest.mark.rule(11)

COUNT = 10
BODIES = [b"%d" % number for number in range(COUNT)]


class Scene:
    """Ten messages that stand ready at the client when dispatching begins: callbacks run in mid-buffer."""

    def __init__(self, proxy: Proxy, connect: Callable[..., Any], queue: str) -> None:
        self.proxy = proxy
        self.queue = queue
        self.observer = connect().channel()
        self.observer.queue_declare(queue)
        self.connection = connect(proxy)
        self.channel = self.connection.channel()
        for body in BODIES:
            self.observer.basic_publish("", queue, body)
        self.await_count(COUNT)
        self.seen: list[bytes] = []
        self.tags: list[int] = []
        self.action: Callable[[Any, Any], None] = lambda channel, method: None
        self.act_at = 3

    def on_message(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        self.seen.append(body)
        self.tags.append(method.delivery_tag)
        channel.basic_ack(method.delivery_tag)
        if len(self.seen) == self.act_at:
            self.action(channel, method)

    def consume(self, **options: Any) -> str:
        tag: str = self.channel.basic_consume(self.queue, self.on_message, **options)
        self.proxy.wait_for_count(lambda e: e.name == "Basic.Deliver" and e.origin == SERVER, COUNT)
        return tag

    def dispatch(self, count: int, timeout: float = 10) -> None:
        """Dispatches until `count` messages have been seen."""
        end = time.monotonic() + timeout
        while len(self.seen) < count and time.monotonic() < end:
            self.connection.process_data_events(time_limit=0.5)
        assert len(self.seen) >= count

    def dispatch_nothing_more(self) -> None:
        before = len(self.seen)
        self.connection.process_data_events(time_limit=0.2)
        assert len(self.seen) == before

    def count(self) -> int:
        """Messages that the broker holds ready."""
        return int(self.observer.queue_declare(self.queue, passive=True).method.message_count)

    def await_count(self, count: int) -> None:
        """The broker moves messages in its own time: asks until it has moved them."""
        end = time.monotonic() + 10
        while self.count() != count and time.monotonic() < end:
            time.sleep(0.01)
        assert self.count() == count


@pytest.fixture
def scene(proxy: Proxy, connect: Callable[..., Any], queue_name: str) -> Scene:
    return Scene(proxy, connect, queue_name)


def test_closing_the_channel_in_a_callback_ends_its_deliveries(scene: Scene) -> None:
    scene.action = lambda channel, method: channel.close()
    scene.consume()
    scene.dispatch(3)
    scene.dispatch_nothing_more()
    assert scene.seen == BODIES[:3]
    assert scene.connection.is_open
    scene.await_count(COUNT - 3)
    with pytest.raises(exceptions.ChannelWrongStateError):
        scene.channel.basic_ack(4)
    assert scene.connection.channel().is_open


def test_closing_the_connection_in_a_callback_ends_its_deliveries(scene: Scene) -> None:
    scene.action = lambda channel, method: scene.connection.close()
    scene.consume()
    scene.dispatch(3)
    assert scene.seen == BODIES[:3]
    assert scene.connection.is_closed
    assert scene.channel.is_closed
    scene.await_count(COUNT - 3)
    with pytest.raises(exceptions.ConnectionWrongStateError):
        scene.connection.process_data_events()


def test_an_rpc_in_a_callback_answers_and_the_rest_follows_in_order(scene: Scene) -> None:
    answers: list[str] = []

    def call(channel: Any, method: Any) -> None:
        answers.append(channel.queue_declare(scene.queue, passive=True).method.queue)
        answers.append(channel.connection.channel().queue_declare("", exclusive=True).method.queue)

    scene.action = call
    scene.consume()
    scene.dispatch(COUNT)
    assert answers[0] == scene.queue
    assert answers[1].startswith("amq.gen")
    assert scene.seen == BODIES


def test_dispatching_again_in_a_callback_does_io_but_calls_nobody(scene: Scene) -> None:
    depth: list[int] = []

    def call(channel: Any, method: Any) -> None:
        before = len(scene.seen)
        scene.connection.process_data_events(time_limit=0.1)
        scene.connection.sleep(0.1)
        depth.append(len(scene.seen) - before)

    scene.action = call
    scene.consume()
    scene.dispatch(COUNT)
    assert depth == [0]
    assert scene.seen == BODIES


def test_start_consuming_in_a_callback_is_refused_and_nothing_is_lost(scene: Scene) -> None:
    scene.action = lambda channel, method: channel.start_consuming()
    scene.consume()
    with pytest.raises(exceptions.ReentrancyError):
        scene.dispatch(COUNT)
    scene.dispatch(COUNT)
    assert scene.seen == BODIES


def test_after_an_exception_of_a_callback_the_next_call_goes_on_with_the_next_message(scene: Scene) -> None:
    class Oops(Exception):
        pass

    def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        scene.seen.append(body)
        channel.basic_ack(method.delivery_tag)
        raise Oops(body)

    scene.channel.basic_consume(scene.queue, on_message)
    scene.proxy.wait_for_count(lambda e: e.name == "Basic.Deliver", COUNT)
    raised: list[bytes] = []
    end = time.monotonic() + 10
    while len(raised) < COUNT and time.monotonic() < end:
        try:
            scene.connection.process_data_events(time_limit=0.5)
        except Oops as oops:
            raised.append(oops.args[0])
    assert raised == scene.seen == BODIES
    assert scene.connection.is_open
    scene.dispatch_nothing_more()


def test_an_exception_leaves_start_consuming_which_can_be_called_again(scene: Scene) -> None:
    def fail(channel: Any, method: Any) -> None:
        raise LookupError

    scene.action = fail
    scene.consume()
    with pytest.raises(LookupError):
        scene.channel.start_consuming()
    scene.action, scene.act_at = (lambda channel, method: channel.stop_consuming()), COUNT
    scene.channel.start_consuming()
    assert scene.seen == BODIES


def test_a_consumer_that_cancels_itself_gives_the_rest_back(scene: Scene) -> None:
    pending: list[Any] = []
    scene.action = lambda channel, method: pending.append(channel.basic_cancel(method.consumer_tag))
    scene.consume()
    scene.dispatch(3)
    scene.dispatch_nothing_more()
    assert scene.seen == BODIES[:3]
    assert pending == [[]]
    scene.await_count(COUNT - 3)
    assert scene.channel.is_open
    assert scene.channel.consumer_tags == []


def test_a_cancelled_consumer_that_acks_automatically_hands_the_rest_out(scene: Scene) -> None:
    pending: list[Any] = []

    def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        scene.seen.append(body)
        if len(scene.seen) == 3:
            pending.extend(channel.basic_cancel(method.consumer_tag))

    scene.channel.basic_consume(scene.queue, on_message, auto_ack=True)
    scene.proxy.wait_for_count(lambda e: e.name == "Basic.Deliver", COUNT)
    scene.dispatch(3)
    scene.dispatch_nothing_more()
    assert scene.seen + [body for _, _, body in pending] == BODIES
    scene.await_count(0)


def test_cancelling_another_consumer_gives_its_messages_back(scene: Scene) -> None:
    """Two consumers on two queues; the first callback cancels the second consumer before it was called."""
    other = scene.channel.queue_declare("", exclusive=True).method.queue
    for body in BODIES:
        scene.channel.basic_publish("", other, body)
    stolen: list[bytes] = []
    other_tag = "other"
    scene.act_at = 1
    scene.action = lambda channel, method: channel.basic_cancel(other_tag)
    scene.channel.basic_consume(scene.queue, scene.on_message)
    scene.channel.basic_consume(other, lambda *args: stolen.append(args[3]), consumer_tag=other_tag)
    scene.proxy.wait_for_count(lambda e: e.name == "Basic.Deliver", 2 * COUNT)
    scene.dispatch(COUNT)
    scene.dispatch_nothing_more()
    assert stolen == []
    assert scene.seen == BODIES
    method, _, body = scene.channel.basic_get(other, auto_ack=True)
    assert (method.redelivered, method.message_count, body) == (True, COUNT - 1, BODIES[0])


def test_stop_consuming_in_a_callback_gives_the_rest_back(scene: Scene) -> None:
    scene.action = lambda channel, method: channel.stop_consuming()
    scene.consume()
    scene.channel.start_consuming()
    assert scene.seen == BODIES[:3]
    scene.await_count(COUNT - 3)


def test_a_callback_replaced_in_a_callback_is_the_next_one_called(scene: Scene) -> None:
    """Tracers replace `on_message_callback` after basic_consume: it is read for each message."""
    later: list[bytes] = []
    tag = scene.consume()
    info = scene.channel._consumer_infos[tag]
    scene.action = lambda channel, method: setattr(
        info, "on_message_callback", lambda *args: later.append(args[3])
    )
    scene.dispatch(3)
    scene.connection.process_data_events(time_limit=0.5)
    assert scene.seen == BODIES[:3]
    assert later == BODIES[3:]


def test_a_consumer_replaced_under_its_tag_in_a_callback_gets_what_follows(scene: Scene) -> None:
    """What the delivery before has found is not good for the next one."""
    later: list[bytes] = []

    def replace(channel: Any, method: Any) -> None:
        channel.basic_cancel(method.consumer_tag)
        channel.basic_consume(
            scene.queue, lambda *args: later.append(args[3]), auto_ack=True, consumer_tag=method.consumer_tag
        )

    scene.action = replace
    scene.consume()
    scene.dispatch(3)
    end = time.monotonic() + 10
    while len(later) < COUNT - 3 and time.monotonic() < end:
        scene.connection.process_data_events(time_limit=0.5)
    assert scene.seen == BODIES[:3]
    assert sorted(later) == BODIES[3:]


def test_a_consumer_taken_out_of_the_dict_in_a_callback_gets_nothing_more(scene: Scene) -> None:
    """Also by somebody who has asked the channel for the dict long before."""
    infos = scene.channel._consumer_infos
    scene.action = lambda channel, method: infos.pop(method.consumer_tag)
    scene.consume()
    scene.dispatch(3)
    scene.dispatch_nothing_more()
    assert scene.seen == BODIES[:3]


def test_a_consumer_replaced_in_the_dict_in_a_callback_gets_what_follows(scene: Scene) -> None:
    later: list[bytes] = []
    infos = scene.channel._consumer_infos
    tag = scene.consume()
    other = type(infos[tag])(tag, False, on_message_callback=lambda *args: later.append(args[3]))
    other.state = infos[tag].state
    scene.action = lambda channel, method: infos.update({tag: other})
    scene.dispatch(3)
    scene.connection.process_data_events(time_limit=0.5)
    assert (scene.seen, later) == (BODIES[:3], BODIES[3:])


def test_publishing_large_bodies_in_a_callback_leaves_the_rest_in_place(scene: Scene) -> None:
    """The publish reads while it waits, so the input buffer grows and moves under the callback."""
    scene.action = lambda channel, method: channel.basic_publish("", "cpika-test-nowhere", bytes(15 << 20))
    scene.consume()
    more = [b"%d" % number for number in range(COUNT, 2000)]
    for body in more:
        scene.observer.basic_publish("", scene.queue, body)
    scene.dispatch(2000)
    assert scene.seen == BODIES + more


def test_another_threads_rpc_during_a_callback_loses_no_message(scene: Scene) -> None:
    results: list[int] = []

    def call(channel: Any, method: Any) -> None:
        other = scene.connection.channel

        def work() -> None:
            results.append(other().queue_declare("", exclusive=True).channel_number)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join(10)

    scene.action = call
    scene.consume()
    scene.dispatch(COUNT)
    assert len(results) == 1
    assert scene.seen == BODIES


def test_the_generator_goes_on_after_an_exception_of_its_body(scene: Scene) -> None:
    seen = []
    generator = scene.channel.consume(scene.queue)
    for method, _, body in generator:
        seen.append(body)
        scene.channel.basic_ack(method.delivery_tag)
        if len(seen) == 4:
            break
    for method, _, body in scene.channel.consume(scene.queue):
        seen.append(body)
        scene.channel.basic_ack(method.delivery_tag)
        if len(seen) == COUNT:
            break
    assert seen == BODIES
    assert scene.channel.cancel() == 0


def test_a_connection_dropped_in_a_callback_can_be_forgotten(scene: Scene) -> None:
    """The last reference goes while its own buffer is being dispatched."""
    scene.action = lambda channel, method: scene.__dict__.update(channel=None, connection=None)
    scene.consume()
    connection = scene.connection
    connection.process_data_events(time_limit=0.5)
    assert scene.seen[:3] == BODIES[:3]
    connection.close()
