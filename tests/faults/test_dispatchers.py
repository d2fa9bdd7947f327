"""Rows 3 and 25: who may dispatch.

Several threads may dispatch on one connection. A call `start_consuming()` or `consume()` claims its channel;
what belongs to nobody goes to whoever dispatches.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from support.apart import Interrupted, Together, apart, await_sleep, connect, outcome
from support.moments import interrupted_at_moment
from support.subject import pika

EACH = 30  # messages a consumer


def queue_of(channel: Any) -> str:
    """A queue that ends with its connection."""
    name: str = channel.queue_declare("", exclusive=True).method.queue
    return name


def publish(queue: str, count: int, start: int = 0) -> None:
    """Publishes numbers over a connection of its own; returns when the broker has them."""
    with connect() as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        for number in range(start, start + count):
            channel.basic_publish("", queue, b"%d" % number)


class Sink:
    """A consumer's callback that keeps bodies and threads, and says when enough has come.

    :param wanted: how many messages are enough
    """

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted
        self.bodies: list[int] = []
        self.threads: set[int] = set()
        self.inside = 0
        self.most_inside = 0
        self.enough = threading.Event()

    def __call__(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        self.threads.add(threading.get_ident())
        time.sleep(0.001)  # so that a second one would meet it
        self.bodies.append(int(body))
        self.inside -= 1
        if len(self.bodies) >= self.wanted:
            self.enough.set()


SECOND: dict[str, Callable[[Any], Any]] = {
    "process_data_events": lambda connection: connection.process_data_events(time_limit=0.1),
    "process_data_events many times": lambda connection: [
        connection.process_data_events(time_limit=0) for _ in range(300)
    ],
    "sleep": lambda connection: connection.sleep(0.1),
    "consume": lambda connection: consume_a_little(connection),
    "a failing callback": lambda connection: fail_in_a_callback(connection),
    "start_consuming": lambda connection: start_and_stop(connection),
}


def consume_a_little(connection: Any) -> None:
    channel = connection.channel()
    for _ in channel.consume(queue_of(channel), inactivity_timeout=0.1):
        break
    channel.cancel()


def in_this_thread(action: Callable[[Any], Any]) -> Callable[..., None]:
    """A callback that does `action(channel)` in the thread that makes it.

    A message that comes before that thread has claimed the channel is anybody's: others give it back.
    """
    here = threading.get_ident()

    def on_message(channel: Any, method: Any, *rest: Any) -> None:
        if threading.get_ident() == here:
            action(channel)
        else:
            channel.basic_nack(method.delivery_tag)

    return on_message


def fail_in_a_callback(connection: Any) -> None:
    channel = connection.channel()
    queue = queue_of(channel)
    channel.basic_consume(queue, in_this_thread(lambda channel: 1 / 0))
    publish(queue, 1)
    assert outcome(channel.start_consuming) == "ZeroDivisionError"
    channel.close()


def start_and_stop(connection: Any) -> None:
    channel = connection.channel()
    queue = queue_of(channel)
    channel.basic_consume(queue, in_this_thread(lambda channel: channel.stop_consuming()))
    publish(queue, 1)
    channel.start_consuming()


def a_second_dispatcher(second: str) -> list[Any]:
    """One thread is in `start_consuming()`; another dispatches for a moment and ends."""
    connection = connect()
    channel = connection.channel()
    queue = queue_of(channel)
    sink = Sink(3 * EACH)
    channel.basic_consume(queue, sink, auto_ack=True)
    first = Together(channel.start_consuming)
    await_sleep(first.threads[0])
    publish(queue, EACH)
    feeding = Together(lambda: publish(queue, EACH, EACH))
    Together(lambda: SECOND[second](connection)).join()
    feeding.join()
    publish(queue, EACH, 2 * EACH)
    went_on = sink.enough.wait(4)
    called = threading.Event()
    connection.add_callback_threadsafe(called.set)
    answered = called.wait(4)
    channel.stop_consuming()
    first.join()
    same = sink.threads == {first.threads[0].ident}
    return [went_on, answered, same, sink.bodies == list(range(3 * EACH))]


@pytest.mark.parametrize("second", SECOND)
def test_a_second_dispatcher_that_ends_leaves_the_first_one_hearing(broker_url: str, second: str) -> None:
    """Row 3, who dispatches: the consumer goes on, in its own thread and in order, callbacks too."""
    assert apart(a_second_dispatcher, second) == [True, True, True, True]


def many_generators() -> list[int]:
    """Six threads each run `consume()` on a channel of their own."""
    connection = connect()

    def work() -> int:
        channel = connection.channel()
        queue = queue_of(channel)
        publish(queue, EACH)
        count = 0
        for method, _, body in channel.consume(queue, inactivity_timeout=4):
            if method is None:
                break
            assert int(body) == count
            channel.basic_ack(method.delivery_tag)
            count += 1
            if count == EACH:
                break
        channel.cancel()
        return count

    counts = Together(*[work] * 6).join(12)
    connection.close()
    return counts


def test_each_of_many_generators_gets_its_messages(broker_url: str) -> None:
    """Row 3, who dispatches: `consume()` in several threads at once."""
    assert apart(many_generators) == [EACH] * 6


def many_consumers() -> list[Any]:
    """Four threads each run `start_consuming()` on a channel of their own; they stop one by one."""
    connection = connect()
    sinks = [Sink(EACH) for _ in range(4)]
    channels = [connection.channel() for _ in range(4)]
    queues = [queue_of(channel) for channel in channels]
    for channel, queue, sink in zip(channels, queues, sinks):
        channel.basic_consume(queue, sink, auto_ack=True)
    running = [Together(channel.start_consuming) for channel in channels]
    for together in running:
        await_sleep(together.threads[0])
    for number, (channel, together) in enumerate(zip(channels, running)):
        for queue in queues[number:]:
            publish(queue, EACH, len(sinks[number].bodies))
        assert all(sink.enough.wait(4) for sink in sinks[number:]), [len(sink.bodies) for sink in sinks]
        channel.stop_consuming()
        together.join()
        for sink in sinks[number + 1 :]:
            sink.wanted += EACH
            sink.enough.clear()
    own = [sink.threads == {together.threads[0].ident} for sink, together in zip(sinks, running)]
    connection.close()
    return [own, [len(sink.bodies) for sink in sinks]]


def test_each_of_many_start_consuming_gets_its_channel(broker_url: str) -> None:
    """Row 3, who dispatches: a channel's messages go to the call that claimed it; others stop freely."""
    assert apart(many_consumers) == [[True] * 4, [EACH * number for number in (1, 2, 3, 4)]]


def one_channel_two_claims() -> list[Any]:
    """Two threads in `start_consuming()` on the same channel."""
    connection = connect()
    channel = connection.channel()
    queue = queue_of(channel)
    sink = Sink(5 * EACH)
    channel.basic_consume(queue, sink, auto_ack=True)
    both = Together(channel.start_consuming, channel.start_consuming)
    publish(queue, 5 * EACH)
    came = sink.enough.wait(8)
    channel.stop_consuming()
    both.join()
    connection.close()
    return [came, sink.most_inside, sorted(sink.bodies) == list(range(5 * EACH))]


def test_a_channel_that_two_calls_claim_is_served_one_message_at_a_time(broker_url: str) -> None:
    """Row 3, who dispatches: to either of the two, never to both at once, and both end."""
    assert apart(one_channel_two_claims) == [True, 1, True]


def unclaimed_channels() -> list[Any]:
    """Four threads run `process_data_events()`; consumers on two channels that nobody has claimed."""
    connection = connect()
    sinks = [Sink(3 * EACH), Sink(3 * EACH)]
    queues = []
    for sink in sinks:
        channel = connection.channel()
        queues.append(queue_of(channel))
        channel.basic_consume(queues[-1], sink, auto_ack=True)
    stop = threading.Event()

    def dispatch() -> None:
        while not stop.is_set():
            connection.process_data_events(time_limit=0.05)

    dispatching = Together(*[dispatch] * 4)
    for queue in queues:
        publish(queue, 3 * EACH)
    came = [sink.enough.wait(6) for sink in sinks]
    stop.set()
    dispatching.join()
    connection.close()
    return [came, [sink.most_inside for sink in sinks], [sorted(sink.bodies) for sink in sinks]]


def test_callbacks_of_one_channel_never_run_in_two_threads_at_once(broker_url: str) -> None:
    """Row 3, who dispatches: any dispatcher takes an unclaimed channel's messages, one at a time."""
    whole = list(range(3 * EACH))
    assert apart(unclaimed_channels) == [[True, True], [1, 1], [whole, whole]]


def claimed_beside_others() -> list[Any]:
    """A claimed channel and an unclaimed one, beside threads that run `process_data_events()`."""
    connection = connect()
    claimed, unclaimed = connection.channel(), connection.channel()
    claimed_queue, unclaimed_queue = queue_of(claimed), queue_of(unclaimed)
    sinks = [Sink(EACH), Sink(EACH)]
    claimed.basic_consume(claimed_queue, sinks[0], auto_ack=True)
    unclaimed.basic_consume(unclaimed_queue, sinks[1], auto_ack=True)
    first = Together(claimed.start_consuming)
    await_sleep(first.threads[0])
    stop = threading.Event()

    def dispatch() -> None:
        while not stop.is_set():
            connection.process_data_events(time_limit=0.05)

    others = Together(dispatch, dispatch)
    publish(claimed_queue, EACH)
    publish(unclaimed_queue, EACH)
    came = [sink.enough.wait(5) for sink in sinks]
    stop.set()
    others.join()
    claimed.stop_consuming()
    first.join()
    connection.close()
    return [came, sinks[0].threads == {first.threads[0].ident}]


def test_messages_of_a_claimed_channel_go_to_its_claimer_alone(broker_url: str) -> None:
    """Row 3, who dispatches: other dispatchers read them, and leave them to the call that claimed."""
    assert apart(claimed_beside_others) == [[True, True], True]


def between_two_turns() -> list[Any]:
    """A message comes while `start_consuming()` is between two turns; another thread dispatches meanwhile."""
    connection = connect()
    channel = connection.channel()
    queue = queue_of(channel)
    sink = Sink(2)
    channel.basic_consume(queue, sink, auto_ack=True)
    between, go_on = threading.Event(), threading.Event()
    turn = channel._process_data_events

    def waits_before(*arguments: Any) -> None:
        if sink.bodies:
            between.set()
            assert go_on.wait(10)
        turn(*arguments)

    channel._process_data_events = waits_before
    publish(queue, 1)
    consuming = Together(channel.start_consuming)
    assert between.wait(5)
    publish(queue, 1, 1)
    end = time.monotonic() + 5
    while not channel._waiting_events() and time.monotonic() < end:
        connection.process_data_events(0.01)
    connection.process_data_events(0.01)
    before = list(sink.bodies)
    go_on.set()
    came = sink.enough.wait(5)
    channel.stop_consuming()
    consuming.join()
    connection.close()
    return [before, came, sink.threads == {consuming.threads[0].ident}]


def test_a_claim_stands_between_two_turns_of_its_call(broker_url: str) -> None:
    """Row 3, who dispatches: what comes then is left for the call that claimed."""
    assert apart(between_two_turns) == [[0], True, True]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="CPython breaks where a trace function raises")
def test_a_claim_ends_with_its_call_wherever_an_exception_strikes(broker_url: str) -> None:
    """Row 7, a state entered without a sure exit; the tracebacks are kept, and hold no claim."""
    kept: list[Interrupted] = []
    with pika.BlockingConnection(pika.URLParameters(broker_url)) as connection:
        error: Interrupted | None = Interrupted()
        while error is not None:
            channel = connection.channel()
            queue = queue_of(channel)
            came: list[bytes] = []

            def end_it(channel: Any, method: Any, properties: Any, body: bytes) -> None:
                channel.stop_consuming()

            def note(channel: Any, method: Any, properties: Any, body: bytes, came: Any = came) -> None:
                came.append(body)

            channel.basic_consume(queue, end_it, auto_ack=True)
            channel.basic_publish("", queue, b"")
            error = interrupted_at_moment(channel.start_consuming, len(kept))
            if error is not None:
                kept.append(error)
            channel.stop_consuming()
            channel.basic_consume(queue, note, auto_ack=True)
            channel.basic_publish("", queue, b"after")
            end = time.monotonic() + 5
            while b"after" not in came and time.monotonic() < end:
                connection.process_data_events(0.1)
            assert (len(kept), came[-1:]) == (len(kept), [b"after"])
            channel.close()
    assert len(kept) > 30


def beside_a_callback(what: str) -> list[Any]:
    """Thread A is inside a callback that lasts; thread B dispatches meanwhile."""
    connection = connect()
    first, second = connection.channel(), connection.channel()
    first_queue, second_queue = queue_of(first), queue_of(second)
    inside, leave = threading.Event(), threading.Event()
    seen: list[str] = []

    def slow(channel: Any, *rest: Any) -> None:
        inside.set()
        leave.wait(10)
        channel.stop_consuming()

    def quick(channel: Any, *rest: Any) -> None:
        seen.append("message")
        channel.stop_consuming()

    first.basic_consume(first_queue, slow, auto_ack=True)
    publish(first_queue, 1)
    publish(second_queue, 1)
    slow_thread = Together(first.start_consuming)
    assert inside.wait(5)
    try:
        if what == "start_consuming":
            second.basic_consume(second_queue, quick, auto_ack=True)
            Together(second.start_consuming).join(4)
        elif what == "consume":
            message = Together(lambda: next(second.consume(second_queue, auto_ack=True))).join(4)[0]
            seen.append("message" if message[2] == b"0" else "nothing")
        else:
            connection.call_later(0, lambda: seen.append("timer"))
            connection.add_callback_threadsafe(lambda: seen.append("callback"))
            second.basic_consume(second_queue, lambda *args: seen.append("message"), auto_ack=True)
            Together(lambda: connection.sleep(0.5)).join(4)
    finally:
        leave.set()
    slow_thread.join()
    connection.close()
    return sorted(seen)


@pytest.mark.parametrize("what", ["start_consuming", "consume", "process_data_events"])
def test_a_callback_in_one_thread_makes_no_other_thread_nested(broker_url: str, what: str) -> None:
    """Row 3, who dispatches: what is nested is what the same thread calls inside a callback."""
    wanted = ["callback", "message", "timer"] if what == "process_data_events" else ["message"]
    assert apart(beside_a_callback, what) == wanted


def inside_a_callback() -> list[Any]:
    """What dispatching calls do inside a callback."""
    connection = connect()
    channel, other = connection.channel(), connection.channel()
    queue, second_queue = queue_of(channel), queue_of(other)
    said: list[Any] = []
    busy = [False]

    def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        said.append(["nested" if busy[0] else "message", int(body)])
        if int(body):
            return
        busy[0] = True
        connection.call_later(0, lambda: said.append(["timer", busy[0]]))
        connection.process_data_events(0.1)
        connection.sleep(0.1)
        for which in (channel, other):
            try:
                which.start_consuming()
            except Exception as error:
                said.append([type(error).__name__, str(error)])
        busy[0] = False

    other.basic_consume(second_queue, lambda *args: None)
    channel.basic_consume(queue, on_message, auto_ack=True)
    publish(queue, 3)
    connection.call_later(1, channel.stop_consuming)
    channel.start_consuming()
    connection.close()
    return said


def test_inside_a_callback_dispatching_calls_do_what_pikas_do(broker_url: str) -> None:
    """Row 3, who dispatches: input and output only; `start_consuming()` raises ReentrancyError."""
    said = apart(inside_a_callback)
    assert [entry for entry in said if entry[0] == "ReentrancyError"], said
    theirs = apart(inside_a_callback, subject="pika")
    assert sorted(map(str, said)) == sorted(map(str, theirs))


def start_beside_a_callback_of_its_own_channel() -> list[str]:
    """`start_consuming()` of thread B on a channel while thread A is inside a callback of it."""
    connection = connect()
    channel = connection.channel()
    queue = queue_of(channel)
    inside, leave = threading.Event(), threading.Event()
    order: list[str] = []

    def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        order.append(f"begin {int(body)}")
        if body == b"0":
            inside.set()
            leave.wait(5)
        order.append(f"end {int(body)}")
        if body == b"1":
            channel.stop_consuming()

    channel.basic_consume(queue, on_message, auto_ack=True)
    publish(queue, 2)
    first = Together(channel.start_consuming)
    assert inside.wait(5)
    second = Together(channel.start_consuming)
    await_sleep(second.threads[0])
    leave.set()
    first.join()
    second.join()
    connection.close()
    return order


def test_the_next_message_waits_for_the_callback_of_the_one_before(broker_url: str) -> None:
    """Row 3, who dispatches: one callback a channel at a time, in the order of the deliveries."""
    assert apart(start_beside_a_callback_of_its_own_channel) == ["begin 0", "end 0", "begin 1", "end 1"]


def consume_in_a_callback(moment: str) -> list[Any]:
    """`consume()` on a second channel inside a callback; its messages came before, or come meanwhile."""
    connection = connect()
    channel, other = connection.channel(), connection.channel()
    queue, waiting = queue_of(channel), queue_of(channel)
    bodies: list[int] = []
    late: list[Together] = []

    def on_message(channel: Any, *rest: Any) -> None:
        if moment == "late":
            late.append(Together(lambda: publish(waiting, 3)))
        for method, _, body in other.consume(waiting):
            other.basic_ack(method.delivery_tag)
            bodies.append(int(body))
            if len(bodies) == 3:
                break
        other.cancel()
        channel.stop_consuming()

    if moment == "early":
        publish(waiting, 3)
    publish(queue, 1)
    channel.basic_consume(queue, on_message, auto_ack=True)
    channel.start_consuming()
    for together in late:
        together.join()
    left = other.queue_declare(waiting, passive=True).method.message_count
    connection.close()
    return [bodies, left]


# pika hears nothing inside a callback of what comes after the answer to Basic.Consume.
@pytest.mark.parametrize(("moment", "subject"), [("early", ""), ("late", ""), ("early", "pika")])
def test_consume_inside_a_callback_gets_its_messages(broker_url: str, moment: str, subject: str) -> None:
    """Row 25, who dispatches: what is read for a generator is given to it, also inside a callback."""
    for _ in range(3):
        assert apart(consume_in_a_callback, moment, subject=subject, timeout=6) == [[0, 1, 2], 0]


def callbacks_reach_any_dispatcher() -> list[int]:
    """Two dispatchers; one is stuck in a callback, thread-safe callbacks and timers run in the other."""
    connection = connect()
    channel = connection.channel()
    stuck, leave, stop = threading.Event(), threading.Event(), threading.Event()

    def dispatch() -> None:
        while not stop.is_set():
            connection.process_data_events(time_limit=None)

    def stick() -> None:
        stuck.set()
        leave.wait(10)

    both = Together(dispatch, dispatch)
    connection.add_callback_threadsafe(stick)
    assert stuck.wait(5)
    ran: Counter[str] = Counter()
    enough = threading.Event()

    def note(name: str) -> None:
        ran[name] += 1
        if ran["timer"] == 3 and ran["callback"] == 3:
            enough.set()

    for _ in range(3):
        connection.add_callback_threadsafe(lambda: note("callback"))
        connection.call_later(0.05, lambda: note("timer"))
    enough.wait(4)
    stop.set()
    leave.set()
    for _ in both.threads:
        connection.add_callback_threadsafe(lambda: None)
    while both.hung(0.1):
        connection.add_callback_threadsafe(lambda: None)
    channel.close()
    connection.close()
    return [ran["timer"], ran["callback"]]


def test_callbacks_and_timers_run_in_any_dispatcher(broker_url: str) -> None:
    """Row 3, who dispatches: a dispatcher that is busy in a callback holds up no timer of the others'."""
    assert apart(callbacks_reach_any_dispatcher) == [3, 3]
