"""Row 11: check, then act, across a wait: what another thread, or a handler, ends meanwhile."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest
from support import amqp, answers
from support.apart import Together, apart, await_sleep, connect, interrupt_main, on_signal, outcome
from support.fakeserver import FakeServer, Peer
from support.subject import pika

MAY_RAISE = {
    "ok",
    "ChannelWrongStateError",
    "ConnectionWrongStateError",
    "ChannelClosedByClient",
    "ConnectionClosedByClient",
}


def ends(what: str, channel: Any) -> Callable[[], Any]:
    """What a worker does with its channel."""
    calls: dict[str, Callable[[], Any]] = {
        "close": channel.close,
        "cancel": lambda: channel.basic_cancel(channel.consumer_tags[0]),
        "stop_consuming": channel.stop_consuming,
    }
    return calls[what]


def close_among_workers(what: str, rounds: int) -> list[Any]:
    """Against a broker: six workers end their consumers as the main thread closes the connection."""
    raised: set[str] = set()
    closed: list[str] = []
    for number in range(rounds):
        connection = connect()
        channels = [connection.channel() for _ in range(6)]
        queue = channels[0].queue_declare("", exclusive=True).method.queue
        for channel in channels:
            channel.basic_consume(queue, lambda *args: None)
        together = threading.Barrier(7)

        def work(channel: Any, delay: float, together: threading.Barrier = together) -> Callable[[], str]:
            def run() -> str:
                together.wait()
                threading.Event().wait(delay)
                return outcome(ends(what, channel))

            return run

        workers = Together(*(work(channel, 0.0002 * place) for place, channel in enumerate(channels)))
        together.wait()
        threading.Event().wait(0.0001 * (number % 8))
        told = outcome(connection.close)
        closed.append(told if connection.is_closed else f"{told}, still open")
        raised.update(workers.join())
    return [sorted(set(closed)), sorted(raised)]


@pytest.mark.parametrize("what", ["close", "cancel", "stop_consuming"])
def test_a_connection_closes_while_workers_end_their_consumers(broker_url: str, what: str) -> None:
    """Row 11, check then act: `close()` closes, and raises nothing, whoever was quicker."""
    closed, raised = apart(close_among_workers, what, 25)
    assert closed == ["ok"]
    assert set(raised) <= MAY_RAISE | {"IndexError"}, raised  # no tag was left to cancel


def close_while_another_waits(what: str) -> list[Any]:
    """A thread awaits Cancel-Ok or Close-Ok, which is late, when the main thread closes the connection."""
    waiting = threading.Event()

    def script(peer: Peer) -> None:
        peer.handshake()
        peer.serve_until("Basic.Consume")
        cancel = peer.expect("Basic.Cancel")
        waiting.set()
        await_sleep(threading.main_thread())
        assert answers.silence(peer, 0.2) == [], "a second request left before the first was answered"
        answers.reply(peer, cancel)
        answers.serve_to_end(peer)

    with FakeServer(script) as server:
        connection = connect(server)
        channel = connection.channel()
        channel.basic_consume("q", lambda *args: None)
        worker = Together(lambda: outcome(ends(what, channel)))
        assert waiting.wait(5)
        told = outcome(connection.close)
        return [told, connection.is_closed, *worker.join()]


@pytest.mark.parametrize("what", ["close", "cancel", "stop_consuming"])
def test_a_connection_closes_while_a_worker_awaits_an_answer(what: str) -> None:
    """Row 11, check then act: the consumer that another thread is cancelling is not cancelled twice."""
    told, closed, worker = apart(close_while_another_waits, what)
    assert (told, closed) == ("ok", True)
    assert worker in MAY_RAISE


def two_signals(action: str) -> list[Any]:
    """A handler ends consuming; while it waits for the broker a second signal has it do so again."""
    calls = itertools.count()
    told: list[str] = []

    def script(peer: Peer) -> None:
        peer.handshake()
        peer.serve_until("Basic.Consume")
        peer.serve_until("Basic.Consume")
        await_sleep(threading.main_thread())
        interrupt_main()
        cancel = peer.expect("Basic.Cancel")
        interrupt_main()
        assert second.wait(5)
        answers.silence(peer, 0.1)
        answers.reply(peer, cancel)
        while True:
            answers.reply(peer, peer.receive())

    second = threading.Event()
    with FakeServer(script) as server:
        connection = connect(server)
        channel = connection.channel()

        def handler() -> None:
            if next(calls) == 1:
                second.set()
            told.append(outcome(getattr(channel if action == "stop_consuming" else connection, action)))

        channel.basic_consume("q", lambda *args: None)
        channel.basic_consume("q", lambda *args: None)
        with on_signal(handler):
            left = outcome(channel.start_consuming)
        if connection.is_open:
            connection.close()
        return [left, connection.is_closed, sorted(told)]


def test_two_signals_that_stop_consuming() -> None:
    """Row 11, check then act: the second handler runs inside the first, and both do their work."""
    assert apart(two_signals, "stop_consuming") == ["ok", True, ["ok", "ok"]]


def test_two_signals_that_close_the_connection() -> None:
    """Row 11, check then act: one of the two closes it; the other may say that it is closed already."""
    left, closed, told = apart(two_signals, "close")
    assert closed
    assert left in ("ok", "ConnectionWrongStateError")
    assert "ok" in told
    assert set(told) <= {"ok", "ConnectionWrongStateError"}


def stop_in_many_threads(rounds: int) -> list[str]:
    """Against a broker: four threads stop the same consumers at once."""
    told: set[str] = set()
    for _ in range(rounds):
        connection = connect()
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        for _ in range(3):
            channel.basic_consume(queue, lambda *args: None)
        dispatching = Together(channel.start_consuming)
        await_sleep(dispatching.threads[0])
        told.update(Together(*[lambda channel=channel: outcome(channel.stop_consuming)] * 4).join())
        dispatching.join()
        connection.close()
    return sorted(told)


def test_several_threads_stop_the_same_consumers(broker_url: str) -> None:
    """Row 11, check then act: a consumer that is being cancelled by another is no error."""
    assert apart(stop_in_many_threads, 10) == ["ok"]


def close_beside_another() -> list[str]:
    """A call of close() awaits its answer; another has found the connection open just before that."""
    asked, answer = threading.Event(), threading.Event()

    def script(peer: Peer) -> None:
        peer.handshake()
        peer.expect("Connection.Close")
        asked.set()
        answer.wait(10)
        peer.send(amqp.method(0, "Connection.CloseOk"))

    with FakeServer(script) as server:
        connection = connect(server)
        first = Together(lambda: outcome(connection.close))
        asked.wait()
        second = outcome(lambda: connection._impl.close(200, "", 1.0))
        answer.set()
        return [*first.join(), second]


def test_a_call_of_close_does_not_keep_the_answer_from_the_one_that_awaits_it() -> None:
    """Row 11, check then act: it ended the connection, and none of them had closed it."""
    assert apart(close_beside_another) == ["ok", "ConnectionWrongStateError"]


def close_in_many_threads(rounds: int) -> list[Any]:
    """Against a broker: three threads close the same channel, then the same connection."""
    told = []
    for _ in range(rounds):
        connection = connect()
        channel = connection.channel()
        channel.basic_consume(channel.queue_declare("", exclusive=True).method.queue, lambda *args: None)
        for thing in (channel, connection):
            names = Together(*[lambda thing=thing: outcome(thing.close)] * 3).join()
            told.append([thing.is_closed, "ok" in names, set(names) <= MAY_RAISE])
    return told


def test_several_threads_close_the_same_channel_and_connection(broker_url: str) -> None:
    """Row 11, check then act: closed once; who comes later is told so."""
    assert apart(close_in_many_threads, 10) == [[True, True, True]] * 20


class InterruptedClose(socket.socket):
    """A Python socket whose close() a signal handler interrupts before it has closed anything, once."""

    interrupt: BaseException | None = None

    def close(self) -> None:
        if InterruptedClose.interrupt is not None:
            error, InterruptedClose.interrupt = InterruptedClose.interrupt, None
            raise error
        super().close()


@pytest.mark.parametrize("how", ["close()", "by the peer"])
def test_an_interrupt_inside_the_sockets_close_leaves_no_socket_open(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker would go on delivering to a connection that the program takes for closed."""
    hung_up = threading.Event()

    def script(peer: Peer) -> None:
        peer.handshake()
        if how == "by the peer":
            peer.send(answers.connection_close())
        with contextlib.suppress(EOFError):
            peer.serve_to_end()
            while peer.sock.recv(1 << 16):
                pass
        hung_up.set()

    monkeypatch.setattr(socket, "socket", InterruptedClose)
    with FakeServer(script) as server:
        connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", server.port))
        InterruptedClose.interrupt = KeyboardInterrupt()
        with pytest.raises(KeyboardInterrupt):
            connection.close() if how == "close()" else connection.process_data_events(5)
        assert hung_up.wait(10), "the socket is still open"
    assert connection.is_closed
