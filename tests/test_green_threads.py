"""gevent and eventlet, monkey-patched: others run, heartbeats go, waits can be broken off, forks are seen."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from support.apart import apart, connect, outcome
from support.certs import Certificates
from support.greenlets import Green
from support.nodes import LocalNode
from support.subject import pika

LIBRARIES = ["gevent", "eventlet"]
pytestmark = [
    pytest.mark.parametrize("library", LIBRARIES),
    pytest.mark.timeout(120),
]
QUIET = {"PYTHONWARNINGS": "ignore"}  # eventlet advises against itself at each import


def burn(seconds: float) -> None:
    """Compute, without waiting."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


# ---- others run


def publish_for(channel: Any, queue: str, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        channel.basic_publish("", "cpika-test-nowhere", b"x")


def process_for(channel: Any, queue: str, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        channel.connection.process_data_events()


def consume_for(channel: Any, queue: str, seconds: float) -> None:
    """Callbacks that compute, and messages that stand ready all the time."""
    count = int(seconds / 0.001)
    for _ in range(count):
        channel.basic_publish("", queue, b"x")
    left = count

    def on_message(*args: Any) -> None:
        nonlocal left
        burn(0.001)
        left -= 1
        if not left:
            channel.stop_consuming()

    channel.basic_consume(queue, on_message, auto_ack=True)
    channel.start_consuming()


def generate_for(channel: Any, queue: str, seconds: float) -> None:
    count = int(seconds / 0.001)
    for _ in range(count):
        channel.basic_publish("", queue, b"x")
    for number, _ in enumerate(channel.consume(queue, auto_ack=True), 1):
        burn(0.001)
        if number == count:
            break


BUSY: dict[str, Callable[[Any, str, float], None]] = {
    "publishing": publish_for,
    "process_data_events()": process_for,
    "start_consuming()": consume_for,
    "consume()": generate_for,
}


def longest_silence(library: str, what: str) -> float:
    """The longest time that another greenlet had to wait for its turn, over the time the busy one took."""
    green = Green(library)
    connection = connect()
    channel = connection.channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    longest = 0.0

    def tick() -> None:
        nonlocal longest
        last = time.monotonic()
        while True:
            green.sleep(0.001)
            longest, last = max(longest, time.monotonic() - last), time.monotonic()

    green.spawn(tick)
    green.sleep(0.01)
    begin = time.monotonic()
    BUSY[what](channel, queue, 1.0)
    green.sleep(0.01)
    return longest / (time.monotonic() - begin)


@pytest.mark.parametrize("what", BUSY)
def test_others_run_while_a_greenlet_always_finds_something_to_do(library: str, what: str) -> None:
    """It was nearly the whole time: a call that never waits never let others run."""
    assert apart(longest_silence, library, what, environment=QUIET) < 0.4


# ---- resumed once


def resumed_wrongly(library: str) -> list[str]:
    """What greenlets that had waited on a connection got from a queue, and nobody had put there."""
    green = Green(library)
    queues = importlib.import_module(f"{library}.queue")
    connection = connect()
    wrong: list[str] = []

    idle: list[Any] = []

    def work(channel: Any) -> None:
        mine = queues.Queue()
        for _ in range(200):
            channel.basic_qos(prefetch_count=1)
            idle.append(mine)
            got = mine.get()
            if got != "work":
                wrong.append(repr(got))

    def feed() -> None:
        while True:
            green.sleep(0.001)
            while idle:
                idle.pop().put("work")

    workers = [green.spawn(work, connection.channel()) for _ in range(4)]
    green.spawn(feed)
    assert all(green.has_ended(worker, 10) for worker in workers)
    return wrong


def test_a_greenlet_is_resumed_once_for_what_it_waits_for(library: str) -> None:
    """eventlet's select() resumes it for each descriptor that is ready, wherever it waits by then."""
    assert apart(resumed_wrongly, library, environment=QUIET) == []


# ---- heartbeats


def after_computing(library: str) -> str:
    """What a declare gives after three heartbeat intervals in which no greenlet has waited."""
    Green(library)
    connection = connect(heartbeat=1)
    channel = connection.channel()
    burn(4.5)
    return outcome(lambda: channel.queue_declare("", exclusive=True))


def test_heartbeats_go_while_all_greenlets_compute(library: str) -> None:
    """A keeper that is a greenlet itself would not run."""
    assert apart(after_computing, library, environment=QUIET) == "ok"


def over_tls(library: str, port: int, authority: str) -> list[str]:
    """A round trip over TLS, heartbeats while no greenlet waits, and another one."""
    Green(library)
    import ssl

    options = pika.SSLOptions(ssl.create_default_context(cafile=authority), "localhost")
    parameters = pika.ConnectionParameters("localhost", port, heartbeat=1, ssl_options=options)
    with pika.BlockingConnection(parameters) as connection:
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.basic_publish("", queue, bytes(1 << 20))
        burn(4.5)
        size = len(next(channel.consume(queue, auto_ack=True))[2])
        return [str(size), outcome(channel.cancel)]


def test_tls_and_its_heartbeats_work(library: str, tls_node: LocalNode, certificates: Certificates) -> None:
    given = (library, tls_node.tls_port, str(certificates.authority))
    # The name is localhost, which eventlet's own resolver takes from /etc/hosts only, if there is one.
    environment = {**QUIET, "EVENTLET_NO_GREENDNS": "yes"}
    assert apart(over_tls, *given, environment=environment, timeout=30) == [str(1 << 20), "ok"]


def closed_while_the_keeper_sends(library: str) -> list[bool]:
    """Whether the main thread closed a socket whose connection ended while the keeper was inside send()."""
    nap = time.sleep  # the system's, whatever the library puts in its place
    green = Green(library)
    connection = connect(heartbeat=1)
    sock = connection._impl._transport._sock
    kind = type(sock)
    send = kind.send
    closable = kind if library == "gevent" else sock  # where close() stands
    close = closable.close
    main = threading.get_native_id()
    sending: list[int] = []
    closers: list[bool] = []

    def slow_send(self: Any, data: Any, *args: Any) -> int:
        if threading.get_native_id() != main:
            sending.append(len(data))
            nap(0.3)
        return int(send(self, data, *args))

    def noted_close(*args: Any) -> None:
        closers.append(threading.get_native_id() == main)
        close(*args)

    kind.send, closable.close = slow_send, noted_close
    while not sending:
        green.sleep(0.01)
    connection._impl._terminate(ValueError("given up"))
    green.sleep(0.5)  # the keeper has come out by then
    return closers


def test_the_heartbeats_thread_leaves_closing_to_the_sockets_own(library: str) -> None:
    """Closing tells an event loop, which is another thread's."""
    assert apart(closed_while_the_keeper_sends, library, environment=QUIET) == [True]


# ---- waits


def idle_consumers(library: str) -> list[Any]:
    """Two consumers that wait for long on connections of their own, which another greenlet closes then."""
    green = Green(library)
    from cpika.adapters.utils import _waiting

    waits = 0
    wait = _waiting.wait

    def counted(*args: Any, **options: Any) -> bool:
        nonlocal waits
        waits += 1
        return wait(*args, **options)

    _waiting.wait = counted
    connections = [connect() for _ in range(2)]
    ended: list[Any] = []

    def consume(connection: Any) -> None:
        channel = connection.channel()
        channel.basic_consume(channel.queue_declare("", exclusive=True).method.queue, print)
        ended.append(outcome(channel.start_consuming))

    greenlets = [green.spawn(consume, connection) for connection in connections]
    green.sleep(1.0)
    waits = 0
    green.sleep(2.0)
    counted_waits = waits
    for connection in connections:
        connection.close()
    return [counted_waits, [green.has_ended(greenlet, 5) for greenlet in greenlets], ended]


def test_idle_consumers_wake_seldom_and_end_when_another_greenlet_closes(library: str) -> None:
    """They woke twenty times a second each, since no wait over a Python socket ever ended empty."""
    waits, ended, how = apart(idle_consumers, library, environment=QUIET)
    assert waits <= 4
    assert ended == [True, True] and how == ["ok", "ok"]


def number_that_is_anothers(library: str) -> list[str]:
    """A wait whose descriptor has the number of one that was closed while a greenlet waited for that."""
    green = Green(library)
    from cpika.adapters.utils import _waiting

    def wait_in_vain() -> None:
        with contextlib.suppress(OSError):  # eventlet tells it that the descriptor was closed
            _waiting.wait(number, read=True, wakes=[waker], milliseconds=20_000)

    number, other = os.pipe()
    waker, wake = os.pipe()
    greenlet = green.spawn(wait_in_vain)
    green.sleep(0.05)
    os.write(wake, b"w")  # its greenlet is woken, but runs later
    reader, writer = os.pipe()
    os.dup2(reader, number)
    os.write(writer, b"x")
    found = str(_waiting.wait(number, read=True, milliseconds=5_000))
    ended = green.has_ended(greenlet, 5)
    for descriptor in (number, other, waker, wake, reader, writer):
        os.close(descriptor)
    return [found, str(ended)]


def test_a_descriptor_may_have_the_number_of_one_that_a_greenlet_waits_for(library: str) -> None:
    """Of another connection, closed a moment ago: eventlet complained of a second reader."""
    assert apart(number_that_is_anothers, library, environment=QUIET) == ["True", "True"]


CALLS: dict[str, Callable[[Any, str], Any]] = {
    "start_consuming": lambda channel, queue: channel.start_consuming(),
    "consume": lambda channel, queue: list(channel.consume(queue)),
    "process_data_events": lambda channel, queue: channel.connection.process_data_events(None),
    "sleep": lambda channel, queue: channel.connection.sleep(30),
    "get": lambda channel, queue: [channel.basic_get(queue) for _ in range(100_000)],
    "declare": lambda channel, queue: [channel.queue_declare(queue, passive=True) for _ in range(100_000)],
    "confirm": lambda channel, queue: [channel.basic_publish("", queue, b"x") for _ in range(100_000)],
}


def broken_off(library: str, how: str) -> list[str]:
    """Breaks calls off at one moment after the other, and then uses channel and connection.

    :returns: what was wrong
    """
    green = Green(library)
    connection = connect()
    wrong = []
    for name, call in CALLS.items():
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        if name == "confirm":
            channel.confirm_delivery()
        for number in range(10):
            if name == "start_consuming":
                channel.basic_consume(queue, print, consumer_tag=f"tag-{number}")
            if how == "kill":
                greenlet = green.spawn(call, channel, queue)
                green.sleep(0.002 * number)
                green.kill(greenlet)
                if not green.has_ended(greenlet, 5):
                    wrong.append(f"{name} goes on")
            else:
                timeout = green.Timeout(0.001 + 0.002 * number)
                try:
                    with timeout:
                        call(channel, queue)
                except green.Timeout as error:
                    if error is not timeout:
                        wrong.append(f"{name}: another timeout")
                else:
                    wrong.append(f"{name} was not broken off")
            if name == "start_consuming":
                channel.stop_consuming()
            elif name == "consume":
                channel.cancel()
        used = outcome(lambda q=queue, c=channel: c.queue_declare(q, passive=True))
        if used != "ok":
            wrong.append(f"{name}: {used}")
        channel.close()
    connection.close()
    return wrong


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("how", ["kill", "Timeout"])
def test_a_call_that_is_broken_off_leaves_channel_and_connection_usable(library: str, how: str) -> None:
    assert apart(broken_off, library, how, environment=QUIET, timeout=30) == []


def another_takes_over(library: str) -> list[Any]:
    """The greenlet that waits for the socket, for all others, is killed: one of them has to do it."""
    green = Green(library)
    connection = connect()
    got: list[int] = []
    greenlets = []
    queues: dict[int, str] = {}

    def consume(number: int) -> None:
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.basic_consume(queue, lambda *args: got.append(number), auto_ack=True)
        queues[number] = queue
        channel.start_consuming()

    for number in range(4):
        greenlets.append(green.spawn(consume, number))
        while number not in queues:
            green.sleep(0.01)
        green.sleep(0.05)
    publisher = connection.channel()
    for number in range(3):
        green.kill(greenlets[number])
        publisher.basic_publish("", queues[3], b"x")
        deadline = time.monotonic() + 3
        while got.count(3) <= number and time.monotonic() < deadline:
            green.sleep(0.01)
    return got


def test_when_the_greenlet_that_polls_is_killed_another_does(library: str) -> None:
    assert apart(another_takes_over, library, environment=QUIET) == [3, 3, 3]


def signalled(library: str) -> list[Any]:
    """A handler that raises while the only greenlet waits for long."""
    Green(library)

    def handler(number: int, frame: Any) -> None:
        raise KeyError(number)

    signal.signal(signal.SIGALRM, handler)
    connection = connect()
    channel = connection.channel()
    channel.basic_consume(channel.queue_declare("", exclusive=True).method.queue, print)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    begin = time.monotonic()
    try:
        channel.start_consuming()
    except KeyError:
        pass
    return [time.monotonic() - begin, outcome(connection.close)]


def test_a_signal_is_handled_while_a_greenlet_waits_for_long(library: str) -> None:
    seconds, closed = apart(signalled, library, environment=QUIET)
    assert seconds < 2 and closed == "ok"


def waits_for_a_name(library: str) -> list[str]:
    """Names are looked up; other greenlets run meanwhile."""
    Green(library)
    threads = threading.active_count()
    with pika.BlockingConnection(pika.ConnectionParameters("localhost")) as connection:
        return [outcome(connection.channel), str(threading.active_count() - threads)]


def test_a_host_name_is_looked_up(library: str, broker_url: str) -> None:
    if "127.0.0.1:5672" not in broker_url and "localhost:5672" not in broker_url:
        pytest.skip("the broker is elsewhere")
    assert apart(waits_for_a_name, library, environment=QUIET) == ["ok", "0"]


# ---- forks


def forked(library: str) -> dict[str, Any]:
    """A fork while a greenlet consumes: what its copy in the child gets, and what the parent receives."""
    green = Green(library)
    connection = connect(heartbeat=1)
    channel = connection.channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    got = 0

    def on_message(*args: Any) -> None:
        nonlocal got
        got += 1

    channel.basic_consume(queue, on_message, auto_ack=True)
    reading, writing = os.pipe()
    ended: list[str] = []
    consumer = green.spawn(lambda: ended.append(outcome(channel.start_consuming)))
    green.sleep(0.2)
    child = os.fork()
    if child == 0:
        green.has_ended(consumer, 8)  # its next look, at the latest when its wait is over
        own = outcome(lambda: connect(heartbeat=1).channel().queue_declare("", exclusive=True))
        os.write(writing, f"{ended} {outcome(connection.channel)} {own} {got}".encode())
        os._exit(0)
    for _ in range(20):
        channel.basic_publish("", queue, b"x")
        green.sleep(0.01)
    deadline = time.monotonic() + 5
    while got < 20 and time.monotonic() < deadline:
        green.sleep(0.01)
    os.close(writing)
    green.sleep(0.01)  # gevent closes it when its event loop runs
    with open(reading) as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    channel.stop_consuming()
    return {"child": told, "got": got, "parent": [green.has_ended(consumer, 3), *ended]}


def test_a_child_of_a_fork_takes_nothing_from_its_parent(library: str) -> None:
    """Greenlets are copied, too: one that waits in the child wakes, and finds that this is a child."""
    dead = "ConnectionWrongStateError"
    told = apart(forked, library, environment=QUIET, timeout=25)
    assert told == {"child": f"['{dead}'] {dead} ok 0", "got": 20, "parent": [True, "ok"]}
