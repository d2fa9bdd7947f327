"""Rows 8, 9 and 26: answers for nobody, and what a channel still owes when it closes."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from support import amqp, answers
from support.amqp import Frame
from support.apart import (
    Interrupted,
    Together,
    apart,
    await_sleep,
    connect,
    give_way,
    interrupt_main,
    interruptible,
    outcome,
)
from support.fakeserver import FakeServer, Peer
from support.moments import at_moment, interrupted_at_moment
from support.proxy import CLIENT, SERVER, Proxy
from support.subject import pika
from support.urls import host_and_port

# ---- row 8: the message of an interrupted basic_get ----

READERS: dict[str, Callable[[Any, Any], Any]] = {
    "process_data_events": lambda connection, other: connection.process_data_events(0.05),
    "a request elsewhere": lambda connection, other: other.queue_declare("q"),
    "another thread": lambda connection, other: Together(lambda: connection.process_data_events(0.05)).join(),
    "a publish": lambda connection, other: (
        threading.Event().wait(0.01),
        other.basic_publish("", "q", b"x"),
    ),
}


def an_answer_that_comes_late(reader: str, auto_ack: bool) -> list[Any]:
    """The answer to an interrupted `basic_get` comes later, read by somebody."""
    gone, back = threading.Event(), threading.Event()
    told: list[Any] = []

    def script(peer: Peer) -> None:
        peer.handshake()
        for _ in range(2):
            peer.serve_until("Channel.Open")
        peer.expect("Basic.Get")
        interrupt_main()
        assert gone.wait(5)
        peer.send(answers.get_ok(1, 7, b"precious"))
        while True:
            frame = peer.receive()
            if frame.channel == 1 and frame.name not in ("Channel.Close", "Queue.Declare"):
                told.append([frame.name in ("Basic.Reject", "Basic.Nack"), answers.given_back(frame)])
                told[-1].append(frame.delivery_tag)
                back.set()
            answers.reply(peer, frame)

    with FakeServer(script) as server:
        connection = connect(server)
        channel, other = connection.channel(), connection.channel()
        with interruptible():
            ended = outcome(lambda: channel.basic_get("q", auto_ack=auto_ack))
        gone.set()
        promptly = give_way(back.is_set, lambda: READERS[reader](connection, other), 0.7 if auto_ack else 3)
        after = channel.queue_declare("after").method.queue
        connection.close()
        return [ended, promptly, after, told]


@pytest.mark.parametrize("reader", READERS)
def test_the_message_of_an_interrupted_get_goes_back(reader: str) -> None:
    """Row 8, answers for nobody: requeued as soon as the answer is read, whoever reads it."""
    told = apart(an_answer_that_comes_late, reader, False)
    assert told == ["Interrupted", True, "after", [[True, True, 7]]]


def test_with_auto_ack_there_is_nothing_to_give_back() -> None:
    """Row 8, answers for nobody: what the broker has forgotten is not rejected."""
    told = apart(an_answer_that_comes_late, "process_data_events", True)
    assert told == ["Interrupted", False, "after", []]


def an_interrupt_behind_the_answer(rounds: int) -> list[Any]:
    """Another thread reads the answer and, before the caller can run, has it interrupted."""
    settled: list[int] = []
    tags: list[int] = []

    def script(peer: Peer) -> None:
        peer.handshake()
        consuming = peer.serve_until("Basic.Consume").channel
        getting = 0
        while True:
            frame = peer.receive()
            if frame.name == "Basic.Get":
                await_sleep(threading.main_thread())
                tags.append(len(tags) + 1)
                getting = frame.channel
                signal = amqp.message(consuming, peer.consumer_tag, len(tags), b"now")
                peer.send(answers.get_ok(getting, tags[-1], b"precious") + signal)
            elif answers.given_back(frame) and frame.channel == getting:
                settled.append(frame.delivery_tag)
            else:
                answers.reply(peer, frame)

    with FakeServer(script) as server, interruptible():
        connection = connect(server)
        consuming, getting = connection.channel(), connection.channel()
        consuming.basic_consume("q", lambda *args: interrupt_main(), auto_ack=True)
        dispatching = Together(consuming.start_consuming)
        got: list[int] = []
        for _ in range(rounds):
            try:
                method, _, _ = getting.basic_get("q")
                got.append(method.delivery_tag)
                while True:  # the signal comes at any rate
                    threading.Event().wait(1)
            except Interrupted:
                pass
            getting.queue_declare("sync")
        connection.close()
        dispatching.hung(2)
        return [len(tags), sorted([*got, *settled]) == tags, len(set(got) & set(settled))]


def test_an_interrupt_between_answer_and_return_loses_no_message() -> None:
    """Row 8, answers for nobody: each message is either returned to the caller or given back."""
    assert apart(an_interrupt_behind_the_answer, 20) == [20, True, 0]


# ---- rows 8, 9, 26 against a broker: a proxy holds the answer back ----


class Held:
    """A connection through a proxy, a channel on it, and a queue with three messages."""

    def __init__(self, url_port: int) -> None:
        self.proxy = Proxy("127.0.0.1", url_port)
        self.connection = connect(self.proxy)
        self.spare = self.connection.channel()
        self.queue = self.spare.queue_declare("", exclusive=True).method.queue
        self.spare.confirm_delivery()
        for number in range(3):
            self.spare.basic_publish("", self.queue, b"%d" % number)
        self.channel = self.connection.channel()

    def interrupt(self, call: Callable[[], Any]) -> str:
        """Makes a call whose answer is held back, and interrupts it once the broker has it."""
        mark = self.proxy.mark()
        self.proxy.pause(SERVER)

        def when_sent() -> None:
            self.proxy.wait_for(lambda event: event.kind == "frame" and event.origin == CLIENT, start=mark)
            await_sleep(threading.main_thread())
            interrupt_main()

        with interruptible():
            watching = Together(when_sent)
            told = outcome(call)
        watching.join()
        return told

    def count(self) -> list[int]:
        """Messages that are ready, and consumers."""
        answer = self.spare.queue_declare(self.queue, passive=True).method
        return [answer.message_count, answer.consumer_count]

    def settles(self, wanted: list[int]) -> bool:
        return give_way(lambda: self.count() == wanted, lambda: self.connection.sleep(0.02), 4)

    def behind_close(self) -> list[str]:
        """What the client has sent on the channel behind its Channel.Close or Channel.CloseOk."""
        names = [
            event.name
            for event in self.proxy.frames()
            if event.frame is not None and event.frame.channel == int(self.channel)
        ]
        for place, name in enumerate(names):
            if name in ("Channel.Close", "Channel.CloseOk"):
                return names[place + 1 :]
        return []


INTERRUPTED: dict[str, Callable[[Held], Any]] = {
    "basic_get": lambda scene: scene.channel.basic_get(scene.queue),
    "basic_consume": lambda scene: scene.channel.basic_consume(scene.queue, lambda *args: None),
    "basic_cancel": lambda scene: scene.channel.basic_cancel("there"),
    "consume": lambda scene: next(scene.channel.consume(scene.queue)),
    "basic_qos": lambda scene: scene.channel.basic_qos(prefetch_count=2),
}


def close_after_an_interrupt(port: int, call: str, late: bool, what: str) -> dict[str, Any]:
    """A request is interrupted, then the channel or the connection is closed.

    With `late` the answer is still held back when the closing begins.
    """
    scene = Held(port)
    if call == "basic_cancel":
        scene.channel.basic_consume(scene.queue, lambda *args: None, consumer_tag="there")
    told: dict[str, Any] = {"call": scene.interrupt(lambda: INTERRUPTED[call](scene))}
    if late:
        threading.Timer(0.2, scene.proxy.resume, [SERVER]).start()
    else:
        scene.proxy.resume(SERVER)
    if what == "channel":
        told["close"] = outcome(scene.channel.close)
        told["count"] = scene.settles([3, 0])
        told["alive"] = outcome(scene.connection.close)
    else:
        told["close"] = outcome(scene.connection.close)
        told["count"] = True
        told["alive"] = "ok" if scene.connection.is_closed else "still open"
    told["behind"] = scene.behind_close()
    return told


@pytest.mark.parametrize("what", ["channel", "connection"])
@pytest.mark.parametrize("late", [False, True], ids=["answered", "late"])
@pytest.mark.parametrize("call", INTERRUPTED)
def test_closing_after_an_interrupted_request(broker_url: str, call: str, late: bool, what: str) -> None:
    """Rows 9 and 26, closing channels: cleanly; the messages are back, the connection was not harmed."""
    told = apart(close_after_an_interrupt, host_and_port(broker_url)[1], call, late, what)
    assert told == {"call": "Interrupted", "close": "ok", "count": True, "alive": "ok", "behind": []}


def live_on_after_an_interrupt(port: int, call: str) -> list[Any]:
    """The channel goes on being used: nothing of the interrupted request is left on it."""
    scene = Held(port)
    told: list[Any] = [scene.interrupt(lambda: INTERRUPTED[call](scene))]
    scene.proxy.resume(SERVER)
    told.append(scene.settles([3, 0]))
    bodies: list[str] = []

    def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        bodies.append(body.decode())
        channel.basic_ack(method.delivery_tag)
        if len(bodies) == 3:
            channel.stop_consuming()

    scene.connection.call_later(4, scene.channel.stop_consuming)
    scene.channel.basic_consume(scene.queue, on_message)
    scene.channel.start_consuming()
    told += [sorted(bodies), outcome(scene.connection.close)]
    return told


@pytest.mark.parametrize("call", ["basic_get", "basic_consume", "consume"])
def test_an_interrupted_request_leaves_nothing_on_a_channel_that_lives_on(broker_url: str, call: str) -> None:
    """Rows 8 and 26, answers for nobody: the orphan is cancelled, its messages are for the next."""
    told = apart(live_on_after_an_interrupt, host_and_port(broker_url)[1], call)
    assert told == ["Interrupted", True, ["0", "1", "2"], "ok"]


def get_again(port: int) -> list[Any]:
    """After an interrupted `basic_get` the next one finds the message."""
    scene = Held(port)
    told: list[Any] = [scene.interrupt(lambda: scene.channel.basic_get(scene.queue))]
    scene.proxy.resume(SERVER)
    assert scene.settles([3, 0])
    bodies = []
    for _ in range(3):
        method, _, body = scene.channel.basic_get(scene.queue)
        bodies.append([body.decode(), method.redelivered])
    scene.connection.close()
    return [*told, sorted(bodies)]


def test_the_next_get_finds_the_message_of_an_interrupted_one(broker_url: str) -> None:
    """Row 8, answers for nobody: the message is redelivered, none is lost."""
    told = apart(get_again, host_and_port(broker_url)[1])
    assert told == ["Interrupted", [["0", True], ["1", False], ["2", False]]]


# ---- row 9: nothing behind the end of a channel ----


def frames_behind(frames: list[Frame], channel: int) -> list[str]:
    """What came on a channel behind its Channel.CloseOk."""
    names = [frame.name for frame in frames if frame.channel == channel]
    return names[names.index("Channel.CloseOk") + 1 :] if "Channel.CloseOk" in names else ["no CloseOk"]


def held_acks_and_a_close() -> list[Any]:
    """Messages and the Close of their channel come in one piece; the callbacks ack."""
    got = threading.Event()

    def script(peer: Peer) -> None:
        peer.handshake()
        channel = peer.serve_until("Basic.Consume").channel
        messages = [amqp.message(channel, peer.consumer_tag, tag, b"x") for tag in range(1, 21)]
        peer.send(*messages, answers.channel_close(channel))
        while peer.receive().name != "Channel.CloseOk":
            pass
        answers.silence(peer, 0.2)
        got.set()
        answers.serve_to_end(peer)

    with FakeServer(script) as server:
        connection = connect(server)
        channel = connection.channel()
        channel.basic_consume("q", lambda channel, method, *rest: channel.basic_ack(method.delivery_tag))
        left = outcome(channel.start_consuming)
        assert got.wait(5)
        connection.close()
        assert server.peer is not None
        return [left, frames_behind(server.peer.frames, 1)]


def test_acks_that_are_held_back_do_not_follow_close_ok() -> None:
    """Row 9, closing channels: what is for a channel leaves before its Close-Ok, or not at all."""
    assert apart(held_acks_and_a_close) == ["ChannelClosedByBroker", []]


def threads_and_a_close(round_number: int) -> list[str]:
    """Three threads ack on a channel, one fills blocks on another; the server closes the first."""

    def script(peer: Peer) -> None:
        peer.handshake()
        for _ in range(2):
            peer.serve_until("Channel.Open")
        end = time.monotonic() + 0.05 + 0.01 * (round_number % 7)
        while time.monotonic() < end:
            peer.receive()
        peer.send(answers.channel_close(1))
        while peer.receive().name != "Channel.CloseOk":
            pass
        over.set()
        answers.silence(peer, 0.2)

    over = threading.Event()
    with FakeServer(script) as server:
        connection = connect(server)
        acking, filling = connection.channel(), connection.channel()

        def acks() -> None:
            while True:
                acking.basic_ack(1)

        def fills() -> None:
            while not over.is_set():
                with filling.buffered(max_delay=0.0002):
                    filling.basic_publish("", "q", bytes(3000))
                    threading.Event().wait(0.001)

        threads = Together(acks, acks, acks, fills)
        assert server.ended.wait(8)
        hung = threads.hung(5)
        assert not hung, hung
        assert server.peer is not None
        return frames_behind(server.peer.frames, 1)


def many_closes(rounds: int) -> list[list[str]]:
    return [threads_and_a_close(number) for number in range(rounds)]


def test_acks_of_other_threads_do_not_follow_close_ok(slow_sends: dict[str, str]) -> None:
    """Row 9, closing channels: also when a send is under way, and slow, as the channel closes."""
    assert apart(many_closes, 10, environment=slow_sends) == [[]] * 10


# ---- row 8: a channel that an interrupt has lost ----


def lowest_number(connection: Any) -> int:
    """The number of a new channel, once the Close-Ok of others has had its time."""
    end = time.monotonic() + 5
    while True:
        channel = connection.channel()
        channel.close()
        if channel.channel_number == 1 or time.monotonic() > end:
            return int(channel.channel_number)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="CPython breaks where a trace function raises")
# The end of a generator is struck, too.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("again", [None, 0, 1, 2])
def test_a_channel_that_is_lost_to_an_interrupt_is_closed_wherever_it_struck(
    broker_url: str, again: int | None
) -> None:
    """And wherever a second one strikes behind the first."""
    with pika.BlockingConnection(pika.URLParameters(broker_url)) as connection:
        connection.channel().close()  # what is imported and made once, is
        kept: list[Interrupted] = []  # with their tracebacks, and all that those hold
        while (error := interrupted_at_moment(connection.channel, len(kept), again)) is not None:
            kept.append(error)
            assert (len(kept), lowest_number(connection)) == (len(kept), 1)
        assert len(kept) > 200


@pytest.mark.parametrize("wanted", [None, 7])
def test_two_channels_that_are_opened_one_inside_the_other_never_have_one_number(
    broker_url: str, wanted: int | None
) -> None:
    """Rule 13: a handler or finalizer opens the inner one; a number that both ask for goes to one of them."""
    with pika.BlockingConnection(pika.URLParameters(broker_url)) as connection:
        opened: list[Any] = []
        refused: list[Exception] = []

        def open_channel() -> None:
            try:
                opened.append(connection.channel(wanted))
            except pika.exceptions.InvalidChannelNumber as error:
                refused.append(error)

        open_channel()  # what is imported and made once, is
        moment = 0
        expected = 2 if wanted is None else 1
        while True:
            for channel in opened:
                channel.close()
            opened.clear()
            refused.clear()
            if not at_moment(open_channel, moment, open_channel):
                break
            assert (moment, len({int(channel) for channel in opened})) == (moment, expected)
            assert len(opened) + len(refused) == 2
            moment += 1
        assert moment > 200
