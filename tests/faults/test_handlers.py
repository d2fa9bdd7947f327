"""Rows 10 and 28: what a program's own code does, or raises, while the library logs or dispatches.

What a signal handler or a log handler raises leaves the call that was made; what the library was about to
do is done all the same, and what it was about to say is not lost.
"""

from __future__ import annotations

import itertools
import logging
import random
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from support import amqp, answers
from support.apart import (
    Interrupted,
    Together,
    apart,
    connect,
    give_way,
    interrupt_main,
    interruptible,
    on_signal,
    outcome,
)
from support.fakeserver import FakeServer, Peer
from support.scripts import Script
from support.subject import exceptions

NOWHERE = "cpika-test-nowhere"  # routing key of no queue


class Stop(BaseException):
    """Nothing that `except Exception` takes."""


RAISES: dict[str, type[BaseException]] = {
    "KeyboardInterrupt": KeyboardInterrupt,
    "SystemExit": SystemExit,
    "Interrupted": Interrupted,
    "Stop": Stop,
}


class Raising(logging.Handler):
    """Raises when a record's text holds `words`, once: itself, or a signal handler that runs within it."""

    def __init__(self, words: str, kind: str, by_signal: bool) -> None:
        super().__init__()
        self.words, self.kind, self.by_signal = words, kind, by_signal
        self.raised = 0
        signal.signal(signal.SIGUSR2, self._on_signal)
        logger = logging.getLogger("pika")
        logger.addHandler(self)
        logger.setLevel(logging.INFO)

    def _on_signal(self, number: int, frame: object) -> None:
        raise RAISES[self.kind]

    def emit(self, record: logging.LogRecord) -> None:
        if self.words in record.getMessage() and not self.raised:
            self.raised += 1
            if self.by_signal:
                signal.raise_signal(signal.SIGUSR2)
            else:
                raise RAISES[self.kind]


def mandatory(channel: Any) -> str:
    return outcome(lambda: channel.basic_publish("", NOWHERE, b"x", mandatory=True))


def a_return(connection: Any, channel: Any) -> Callable[[], Any]:
    """A message comes back while its publish waits for the confirm."""
    return lambda: channel.basic_publish("", NOWHERE, b"first", mandatory=True)


def a_nack(connection: Any, channel: Any) -> Callable[[], Any]:
    """The broker refuses a message."""
    arguments = {"x-max-length": 1, "x-overflow": "reject-publish"}
    queue = channel.queue_declare("", exclusive=True, arguments=arguments).method.queue
    channel.basic_publish("", queue, b"x")
    return lambda: channel.basic_publish("", queue, b"x")


def a_closed_channel(connection: Any, channel: Any) -> Callable[[], Any]:
    """The broker closes another channel while the program dispatches."""
    connection.channel().basic_ack(99)
    return lambda: connection.sleep(4)


def a_refused_request(connection: Any, channel: Any) -> Callable[[], Any]:
    """The broker closes the channel whose request waits."""
    other = connection.channel()
    return lambda: other.queue_declare(NOWHERE, passive=True)


def an_unknown_consumer(connection: Any, channel: Any) -> Callable[[], Any]:
    """A warning that has nothing to do with frames."""
    return lambda: channel.basic_cancel("nobody")


MOMENTS: dict[str, tuple[Callable[..., Any], str]] = {
    "a return": (a_return, "message was returned"),
    "a nack": (a_nack, "Nack'ed"),
    "a closed channel": (a_closed_channel, "remote Channel.Close"),
    "a refused request": (a_refused_request, "remote Channel.Close"),
    "an unknown consumer": (an_unknown_consumer, "unknown consumer"),
}


def raise_while_it_logs(moment: str, kind: str, by_signal: bool, on: bool) -> list[Any]:
    """What leaves the call, and, where it goes on, what the connection is good for afterwards."""
    connection = connect()
    channel = connection.channel()
    channel.confirm_delivery()
    prepare, words = MOMENTS[moment]
    call = prepare(connection, channel)
    handler = Raising(words, kind, by_signal)
    left = outcome(call)
    if not on:
        return [left, handler.raised]
    spare = connection.channel()
    queue = spare.queue_declare("", exclusive=True).method.queue
    spare.basic_publish("", queue, b"after")
    got = spare.basic_get(queue, auto_ack=True)[2]
    told = [left, handler.raised, got == b"after", mandatory(channel), mandatory(channel)]
    connection.close()
    return told


@pytest.mark.parametrize("by_signal", [False, True], ids=["log handler", "signal handler"])
@pytest.mark.parametrize("kind", RAISES)
@pytest.mark.parametrize("moment", MOMENTS)
def test_what_is_raised_while_the_library_logs_leaves_the_call(
    broker_url: str, moment: str, kind: str, by_signal: bool
) -> None:
    """Row 10, work while a frame is handled: raised once, seen once; the connection goes on."""
    told = apart(raise_while_it_logs, moment, kind, by_signal, True)
    assert told == [kind, 1, True, "UnroutableError", "UnroutableError"]


# Where pika handles frames, it makes a StreamLostError of it.
@pytest.mark.parametrize("moment", ["a nack", "an unknown consumer"])
def test_pika_lets_it_leave_as_well(broker_url: str, moment: str) -> None:
    """Row 10, work while a frame is handled: pika's call is left in the same way."""
    told = apart(raise_while_it_logs, moment, "Interrupted", True, False, subject="pika")
    assert told == ["Interrupted", 1]


def raise_at_an_unasked_message(call: str, kind: str, by_signal: bool) -> list[Any]:
    """A delivery for no consumer is logged while a request waits; its answer comes behind."""

    def script(peer: Peer) -> None:
        peer.handshake()
        peer.serve_until("Channel.Open")
        request = peer.receive()
        peer.send(amqp.message(1, "nobody", 1, b"x"))
        if call == "basic_get":
            peer.send(answers.get_ok(1, 2, b"got"))
            peer.sock.settimeout(3)
            reject = peer.receive()
            returned.append([answers.given_back(reject), reject.delivery_tag])
            peer.sock.settimeout(30)
            answers.reply(peer, reject)
        else:
            answers.reply(peer, request)
        answers.serve_to_end(peer)

    returned: list[Any] = []
    with FakeServer(script) as server:
        connection = connect(server)
        channel = connection.channel()
        handler = Raising("Unexpected delivery", kind, by_signal)
        calls: dict[str, Callable[[], Any]] = {
            "basic_get": lambda: channel.basic_get("q"),
            "queue_declare": lambda: channel.queue_declare("q"),
        }
        left = outcome(calls[call])
        after = channel.queue_declare("after").method.queue
        connection.close()
        return [left, handler.raised, after, returned]


@pytest.mark.parametrize("by_signal", [False, True], ids=["log handler", "signal handler"])
@pytest.mark.parametrize("kind", ["Interrupted", "SystemExit"])
@pytest.mark.parametrize("call", ["basic_get", "queue_declare"])
def test_what_is_raised_at_an_unasked_message_leaves_the_request(
    call: str, kind: str, by_signal: bool
) -> None:
    """Row 10, work while a frame is handled: the request's own answer comes later and is swallowed."""
    gone = [[True, 2]] if call == "basic_get" else []
    assert apart(raise_at_an_unasked_message, call, kind, by_signal) == [kind, 1, "after", gone]


def alarms_among_returns(confirms: bool) -> list[int]:
    """A timer's handler raises at some moment while messages come back; each time it must be seen."""
    connection = connect()
    channel = connection.channel()
    channel.add_on_return_callback(lambda *args: None)
    if confirms:
        channel.confirm_delivery()
    logging.getLogger("pika").setLevel(logging.ERROR)
    raised, seen = [0], 0
    chance = random.Random(3)

    def handler(number: int, frame: object) -> None:
        raised[0] += 1
        raise Interrupted

    signal.signal(signal.SIGALRM, handler)

    def publish_until_it_raises(end: float) -> None:
        for number in itertools.count():
            mandatory_or_raise(channel)
            if number % 20 == 0:
                connection.process_data_events(0)
            if time.monotonic() > end:
                return

    for _ in range(150):
        # A loop that stands in the try itself has, in CPython 3.13, a jump that the try does not cover.
        try:
            signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.001, 0.006))
            publish_until_it_raises(time.monotonic() + 1)
            break
        except Interrupted:
            seen += 1
    connection.close()
    return [raised[0], seen]


def mandatory_or_raise(channel: Any) -> None:
    try:
        channel.basic_publish("", NOWHERE, b"x", mandatory=True)
    except exceptions.UnroutableError:
        pass


@pytest.mark.parametrize("confirms", [False, True], ids=["plain", "confirms"])
def test_no_alarm_is_swallowed_among_returned_messages(broker_url: str, confirms: bool) -> None:
    """Row 10, work while a frame is handled: 150 alarms, 150 exceptions."""
    assert apart(alarms_among_returns, confirms, timeout=20) == [150, 150]


TERMINATED = """
import logging
logging.disable(logging.CRITICAL)
signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(7))
connection = pika.BlockingConnection(pika.URLParameters(sys.argv[1]))
channel = connection.channel()
channel.add_on_return_callback(lambda *args: None)
print('ready')
for number in range(10**9):
    channel.basic_publish('', 'cpika-test-nowhere', b'x', mandatory=True)
    if number % 50 == 0:
        connection.process_data_events(0)
"""


def test_sigterm_ends_a_program_whose_messages_come_back(broker_url: str) -> None:
    """Row 10, work while a frame is handled: the handler's SystemExit ends the process, with its status."""
    for pause in (0.05, 0.1, 0.15, 0.2, 0.25):
        with Script(TERMINATED, broker_url) as script:
            script.expect("ready")
            time.sleep(pause)  # any moment will do
            script.interrupt(signal.SIGTERM)
            assert script.finish(5) == 7


def interrupts_among_messages() -> list[Any]:
    """A handler raises again and again while a backlog is dispatched."""
    count = 3000
    seen: list[int] = []
    begun = threading.Event()
    inside = False
    raised = caught = 0

    def strike() -> None:
        nonlocal inside, raised
        if inside:
            inside = False  # behind the call this function's own lines would be struck
            raised += 1
            raise Interrupted

    def script(peer: Peer) -> None:
        peer.handshake()
        channel = peer.serve_until("Basic.Consume").channel
        assert begun.wait(5)
        for tag in range(1, count + 1):
            peer.send(amqp.message(channel, peer.consumer_tag, tag, b"%d" % tag))
            if tag % 100 == 0:
                interrupt_main()
        answers.serve_to_end(peer)

    with FakeServer(script) as server, on_signal(strike):
        connection = connect(server)
        channel = connection.channel()

        def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
            seen.append(int(body))
            if seen[-1] == count:
                channel.stop_consuming()

        channel.basic_consume("q", on_message, auto_ack=True)
        while not seen or seen[-1] != count:
            try:
                begun.set()
                inside = True
                channel.start_consuming()
            except Interrupted:
                caught += 1
        whole = seen == sorted(set(seen))
        return [0 < raised == caught, whole, count - len(seen) <= caught]


def test_interrupts_between_callbacks_lose_no_message() -> None:
    """Row 10, work while a frame is handled: all exceptions arrive; at most the callback's own is lost."""
    assert apart(interrupts_among_messages) == [True, True, True]


# ---- log handlers that use the connection ----


class Publishing(logging.Handler):
    """Sends each record to a queue over the connection that it is about."""

    def __init__(self, channel: Any, queue: str, manner: str) -> None:
        super().__init__()
        self.channel, self.queue, self.manner = channel, queue, manner
        self.busy = False
        self.sent = 0
        self.errors: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if self.busy:
            return
        self.busy = True
        try:
            self.channel.basic_publish("", self.queue, record.getMessage()[:200])
            self.sent += 1
            if self.manner == "request":
                self.channel.queue_declare(self.queue, passive=True)
            elif self.manner == "get":
                self.channel.basic_get(self.queue)
            elif self.manner == "dispatch":
                self.channel.connection.process_data_events(0.01)
        except Exception as error:
            self.errors.append(repr(error))
        finally:
            self.busy = False


def a_log_handler_publishes(which: str, manner: str) -> list[Any]:
    """Returns, a cancelled consumer and a closed channel are logged by way of the same connection."""
    connection = connect()
    channel = connection.channel()
    channel.confirm_delivery()
    queue = channel.queue_declare("", exclusive=True).method.queue
    log_channel = channel if which == "same channel" else connection.channel()
    if manner == "confirm" and log_channel is not channel:
        log_channel.confirm_delivery()
    handler = Publishing(log_channel, queue, manner)
    logging.getLogger("pika").addHandler(handler)
    logging.getLogger("pika").setLevel(logging.INFO)
    bodies = []
    for number in range(3):
        try:
            channel.basic_publish("", NOWHERE, b"%d" % number, mandatory=True)
        except exceptions.UnroutableError as error:
            bodies.append([message.body.decode() for message in error.messages])
    refused = connection.channel()
    told = outcome(lambda: refused.queue_declare(NOWHERE, passive=True))
    channel.basic_cancel("nobody")
    logging.getLogger("pika").removeHandler(handler)

    def all_there() -> bool:
        answer = log_channel.queue_declare(queue, passive=True).method
        return manner == "get" or answer.message_count == handler.sent

    kept = give_way(all_there, lambda: connection.sleep(0.02))
    connection.close()
    return [bodies, told, handler.errors, handler.sent > 3, kept]


@pytest.mark.parametrize("manner", ["publish", "confirm", "request", "get", "dispatch"])
@pytest.mark.parametrize("which", ["same channel", "other channel"])
def test_a_log_handler_may_use_the_connection_that_it_hears_of(
    broker_url: str, which: str, manner: str
) -> None:
    """Row 28, work while a frame is handled: every unroutable publish raises, with its own message."""
    told = apart(a_log_handler_publishes, which, manner)
    assert told == [[["0"], ["1"], ["2"]], "ChannelClosedByBroker", [], True, True]


def an_interrupted_log_handler() -> list[Any]:
    """A log handler waits for the broker when it is interrupted."""
    connection = connect()
    channel = connection.channel()
    channel.confirm_delivery()
    other = connection.channel()
    queue = other.queue_declare("", exclusive=True).method.queue

    class Waiting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "was returned" in record.getMessage():
                Together(interrupt_main)
                while True:
                    other.queue_declare(queue, passive=True)

    handler = Waiting()
    logging.getLogger("pika").addHandler(handler)
    with interruptible():
        left = [mandatory(channel) for _ in range(3)]
    logging.getLogger("pika").removeHandler(handler)
    told = [mandatory(channel), other.queue_declare(queue, passive=True).method.queue == queue]
    connection.close()
    return [left, *told]


def test_an_interrupt_of_a_waiting_log_handler_leaves_the_publish(broker_url: str) -> None:
    """Row 28, work while a frame is handled: the publish never returns as if it had been taken."""
    assert apart(an_interrupted_log_handler) == [["Interrupted"] * 3, "UnroutableError", True]
