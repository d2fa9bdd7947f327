"""Row 2: answers that were matched by an order which the broker does not keep.

RabbitMQ answers Basic.Consume and Basic.Cancel from the queue's process, other requests from the channel's:
with two requests in flight on one channel the second may be answered first.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest
from support import amqp, answers
from support.apart import (
    Interrupted,
    Together,
    apart,
    await_sleep,
    connect,
    interrupt_main,
    interruptible,
    on_signal,
    outcome,
)
from support.fakeserver import FakeServer, Peer

ROUNDS = 150

REQUESTS: dict[str, Callable[[Any, str], Any]] = {
    "queue_declare": lambda channel, queue: channel.queue_declare(queue, passive=True),
    "queue_purge": lambda channel, queue: channel.queue_purge(queue),
    "basic_get": lambda channel, queue: channel.basic_get(queue, auto_ack=True),
    "basic_qos": lambda channel, queue: channel.basic_qos(prefetch_count=10),
    "queue_bind": lambda channel, queue: channel.queue_bind(queue, "amq.direct", "k"),
    "basic_consume": lambda channel, queue: channel.basic_cancel(
        channel.basic_consume(queue, lambda *args: None)
    ),
}


def consume_beside(request: str) -> list[int]:
    """Two threads on one channel: one consumes and cancels, the other makes a request, many times each."""
    channel = connect().channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    for _ in range(100):
        channel.basic_publish("", queue, b"x")
    done = [0, 0]

    def consumes() -> None:
        for _ in range(ROUNDS):
            channel.basic_cancel(channel.basic_consume(queue, lambda *args: None))
            done[0] += 1

    def asks() -> None:
        for _ in range(ROUNDS):
            REQUESTS[request](channel, queue)
            done[1] += 1

    Together(consumes, asks).join(timeout=30)
    return done


@pytest.mark.parametrize("request_name", REQUESTS)
def test_two_threads_on_one_channel_both_go_on(broker_url: str, request_name: str) -> None:
    """Row 2, answers: a consumer comes and goes while another thread makes requests; nobody hangs."""
    assert apart(consume_beside, request_name, timeout=40) == [ROUNDS, ROUNDS]


def late_consume_ok() -> list[Any]:
    """The server answers Basic.Consume late; a second thread wants to declare meanwhile."""
    consuming, declaring = threading.Event(), threading.Event()

    def script(peer: Peer) -> None:
        peer.handshake()
        peer.serve_until("Channel.Open")
        consume = peer.expect("Basic.Consume")
        consuming.set()
        assert declaring.wait(5)
        assert answers.silence(peer, 0.3) == [], "a second request left before the first was answered"
        peer.answer(consume)
        declare = peer.expect("Queue.Declare")
        peer.send(answers.declare_ok(declare, 7))
        answers.serve_to_end(peer)

    with FakeServer(script) as server:
        connection = connect(server)
        channel = connection.channel()
        first = Together(lambda: channel.basic_consume("q", print, consumer_tag="mine"))
        assert consuming.wait(5)
        second = Together(lambda: channel.queue_declare("other").method)
        await_sleep(second.threads[0])
        declaring.set()
        tags, (method,) = first.join(), second.join()
        connection.close()
        return [*tags, method.queue, method.message_count]


def test_a_second_request_leaves_when_the_first_is_answered() -> None:
    """Row 2, answers: one awaited request a channel is in flight, the next waits for its turn."""
    assert apart(late_consume_ok) == ["mine", "other", 7]


def requests_queue_up() -> list[str]:
    """Four threads make a request each while the first one's answer is held back."""
    started, all_wait = threading.Event(), threading.Event()
    order: list[str] = []

    def script(peer: Peer) -> None:
        peer.handshake()
        peer.serve_until("Channel.Open")
        for _ in range(5):
            declare = peer.expect("Queue.Declare")
            order.append(answers.declared_queue(declare))
            started.set()
            assert all_wait.wait(10)
            peer.send(answers.declare_ok(declare))
        answers.serve_to_end(peer)

    with FakeServer(script) as server:
        channel = connect(server).channel()
        waiting = [Together(lambda: channel.queue_declare("q0").method.queue)]
        assert started.wait(5)
        for number in range(1, 5):
            waiting.append(Together(lambda name=f"q{number}": channel.queue_declare(name).method.queue))
            await_sleep(waiting[-1].threads[0])
        all_wait.set()
        assert [together.join()[0] for together in waiting] == [f"q{number}" for number in range(5)]
        channel.connection.close()
        return order


def test_waiting_requests_leave_in_the_order_of_their_calls() -> None:
    """Row 2, answers: requests take turns first come, first served, and each gets its own answer."""
    assert apart(requests_queue_up) == ["q0", "q1", "q2", "q3", "q4"]


def one_at_a_time() -> list[int]:
    """Six threads make requests on two channels; the server counts those in flight on each."""
    most = [0, 0]

    def script(peer: Peer) -> None:
        peer.handshake()
        peer.serve_until("Channel.Open")
        peer.serve_until("Channel.Open")
        for _ in range(60):
            frames = [peer.receive()]
            peer.sock.settimeout(0.005)  # a second request would come right behind
            try:
                while True:
                    frames.append(peer.receive())
            except socket.timeout:
                peer.sock.settimeout(30)
            for channel in (1, 2):
                count = sum(frame.channel == channel for frame in frames)
                most[channel - 1] = max(most[channel - 1], count)
            for frame in reversed(frames):
                answers.reply(peer, frame)
            if frames[0].name == "Connection.Close":
                return
        answers.serve_to_end(peer)

    with FakeServer(script) as server:
        connection = connect(server)
        channels = [connection.channel(), connection.channel()]

        def work(number: int) -> Callable[[], None]:
            def run() -> None:
                for index in range(10):
                    name = f"q{number}-{index}"
                    assert channels[number % 2].queue_declare(name).method.queue == name

            return run

        Together(*(work(number) for number in range(6))).join()
        connection.close()
    return most


def test_requests_of_many_threads_arrive_one_at_a_time_on_each_channel() -> None:
    """Row 2, answers: what is in flight on a channel is one request, whatever the threads do."""
    assert apart(one_at_a_time) == [1, 1]


def a_channel_does_not_wait_for_another() -> list[str]:
    """Channel 1 waits for an answer that is late; channel 2 asks meanwhile."""
    held, asked = threading.Event(), threading.Event()

    def script(peer: Peer) -> None:
        peer.handshake()
        peer.serve_until("Channel.Open")
        peer.serve_until("Channel.Open")
        consume = peer.expect("Basic.Consume")
        held.set()
        peer.send(answers.declare_ok(peer.expect("Queue.Declare")))
        assert asked.wait(5)
        peer.answer(consume)
        answers.serve_to_end(peer)

    with FakeServer(script) as server:
        connection = connect(server)
        first, second = connection.channel(), connection.channel()
        consuming = Together(lambda: first.basic_consume("q", print, consumer_tag="late"))
        assert held.wait(5)
        queue = second.queue_declare("early").method.queue
        asked.set()
        tag = consuming.join()[0]
        connection.close()
        return [queue, tag]


def test_turns_are_those_of_a_channel_not_of_the_connection() -> None:
    """Row 2, answers: a late answer on one channel holds nobody up on another."""
    assert apart(a_channel_does_not_wait_for_another) == ["early", "late"]


INTERRUPTED: dict[str, Callable[[Any], Any]] = {
    "Basic.Consume": lambda channel: channel.basic_consume("q", lambda *args: None),
    "Basic.Cancel": lambda channel: channel.basic_cancel("there"),
    "Queue.Purge": lambda channel: channel.queue_purge("q"),
    "Basic.Get": lambda channel: channel.basic_get("q", auto_ack=True),
    "Basic.Qos": lambda channel: channel.basic_qos(prefetch_count=1),
}


def interrupted_request(name: str) -> list[Any]:
    """A request is interrupted; the next one is made before the answer to the first has come."""
    gone = threading.Event()

    def script(peer: Peer) -> None:
        peer.handshake()
        peer.serve_until("Channel.Open")
        peer.serve_until("Basic.Consume")
        first = peer.expect(name)
        interrupt_main()
        assert gone.wait(5)
        early = answers.silence(peer, 0.3)
        assert early == [], f"{early} left before {name} was answered"
        answers.reply(peer, first)
        while True:
            frame = peer.receive()
            if frame.name == "Queue.Declare":
                peer.send(answers.declare_ok(frame, 3))
            else:
                answers.reply(peer, frame)

    with FakeServer(script) as server:
        connection = connect(server)
        channel = connection.channel()
        channel.basic_consume("q", lambda *args: None, consumer_tag="there")
        with interruptible():
            ended = outcome(lambda: INTERRUPTED[name](channel))
        gone.set()
        method = channel.queue_declare("next").method
        again = channel.queue_declare("again").method
        connection.close()
        return [ended, method.queue, method.message_count, again.queue]


@pytest.mark.parametrize("name", INTERRUPTED)
def test_the_answer_to_an_interrupted_request_is_awaited_before_the_next_leaves(name: str) -> None:
    """Row 2, answers: the next request on the channel waits until nothing else can be answered."""
    assert apart(interrupted_request, name) == ["Interrupted", "next", 3, "again"]


def interrupts_beside_requests(action: str) -> list[int]:
    """Against a broker: consume or cancel is interrupted at some moment, then the channel is used."""
    channel = connect().channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    for _ in range(20):
        channel.basic_publish("", queue, b"x")
    stopped = 0
    with interruptible():
        for number in range(60):
            tag = channel.basic_consume(queue, lambda *args: None)
            timer = threading.Timer(0.0001 * (number % 10), interrupt_main)
            try:
                timer.start()
                if action == "cancel":
                    channel.basic_cancel(tag)
                else:
                    channel.basic_consume(queue, lambda *args: None)
                while True:  # the signal comes at any rate
                    timer.join(0.1)
            except Interrupted:
                stopped += 1
            assert channel.queue_declare(queue, passive=True).method.queue == queue
            channel.queue_purge(queue)
            for left in list(channel.consumer_tags):
                channel.basic_cancel(left)
    channel.connection.close()
    return [stopped]


@pytest.mark.parametrize("action", ["consume", "cancel"])
def test_a_channel_is_of_use_after_interrupts_at_any_moment(broker_url: str, action: str) -> None:
    """Row 2, answers: one thread, a raising signal handler, then other requests; none hangs."""
    assert apart(interrupts_beside_requests, action, timeout=20) == [60]


def request_inside_a_signal_handler() -> list[str]:
    """A signal handler asks on the channel whose request the same thread is awaiting."""
    inside: list[str] = []
    started = threading.Event()

    def script(peer: Peer) -> None:
        peer.handshake()
        peer.serve_until("Channel.Open")
        outer = peer.expect("Queue.Declare")
        interrupt_main()
        assert started.wait(5)
        assert answers.silence(peer, 0.2) == [], "the handler's request left before the outer was answered"
        peer.send(answers.declare_ok(outer))
        peer.send(answers.declare_ok(peer.expect("Queue.Declare")))
        answers.serve_to_end(peer)

    with FakeServer(script) as server:
        channel = connect(server).channel()

        def handler() -> None:
            started.set()
            inside.append(channel.queue_declare("inner").method.queue)

        with on_signal(handler):
            outer = channel.queue_declare("outer").method.queue
        channel.connection.close()
        return [outer, *inside]


def test_a_request_in_a_signal_handler_waits_for_the_one_that_it_interrupts() -> None:
    """Row 2, answers: the outer request's turn ends with its answer, not with its call."""
    assert apart(request_inside_a_signal_handler) == ["outer", "inner"]


def stop_beside_a_declaring_callback() -> int:
    """Against a broker: `stop_consuming()` in one thread while the callback of another declares."""
    stopped = 0
    for _ in range(25):
        connection = connect()
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        for _ in range(20):
            channel.basic_publish("", queue, b"x")
        first = threading.Event()

        def on_message(
            channel: Any, method: Any, properties: Any, body: bytes, queue: str = queue, first: Any = first
        ) -> None:
            first.set()
            channel.queue_declare(queue, passive=True)
            channel.basic_ack(method.delivery_tag)

        channel.basic_consume(queue, on_message)
        dispatching = Together(channel.start_consuming)
        assert first.wait(5)
        Together(channel.stop_consuming).join()
        dispatching.join()
        stopped += 1
        connection.close()
    return stopped


def test_stop_consuming_beside_a_callback_that_declares(broker_url: str) -> None:
    """Row 2, answers: the Cancel of one thread and the Declare of another's callback both end."""
    assert apart(stop_beside_a_declaring_callback) == 25


def two_consumers_at_once() -> dict[str, list[str]]:
    """Two threads begin a consumer each on one channel; the broker names one of them late."""
    got: dict[str, list[str]] = {"a": [], "b": []}
    both = threading.Event()

    def script(peer: Peer) -> None:
        peer.handshake()
        peer.serve_until("Channel.Open")
        first = peer.expect("Basic.Consume")
        both.set()
        peer.answer(first)
        tags = [peer.consumer_tag]
        peer.answer(peer.expect("Basic.Consume"))
        tags.append(peer.consumer_tag)
        peer.send(*(amqp.message(1, tag, number + 1, tag.encode()) for number, tag in enumerate(tags)))
        answers.serve_to_end(peer)

    with FakeServer(script) as server:
        connection = connect(server)
        channel = connection.channel()

        def begin(name: str) -> Callable[[], str]:
            def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
                got[name].append(body.decode())

            return lambda: channel.basic_consume("q", on_message, auto_ack=True, consumer_tag=name)

        Together(begin("a"), begin("b")).join()
        while len(got["a"]) + len(got["b"]) < 2:
            connection.process_data_events(1)
        connection.close()
    return got


def test_consumers_that_two_threads_begin_keep_their_tags() -> None:
    """Row 2, answers: two Consume-Ok differ by their tag only, and each reaches its caller."""
    assert apart(two_consumers_at_once) == {"a": ["a"], "b": ["b"]}
