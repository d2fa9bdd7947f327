"""Row 16: a fork in the middle of dispatching.

The child's copy of the connection is dead: it dispatches none of the parent's messages.
"""

from __future__ import annotations

import contextlib
import gc
import os
import tempfile
import threading
from collections.abc import Callable
from typing import Any

import pytest
from support import amqp, answers
from support.apart import apart, connect, outcome
from support.fakeserver import FakeServer, Peer
from support.forks import Child

COUNT = 8  # messages that are there at once


def send_all(peer: Peer) -> None:
    """All messages at once to whoever consumes."""
    peer.handshake()
    while True:
        frame = peer.receive()
        answers.reply(peer, frame)
        if frame.name == "Basic.Consume":
            tags = range(1, COUNT + 1)
            peer.send(*(amqp.message(frame.channel, peer.consumer_tag, tag, b"%d" % tag) for tag in tags))
        elif frame.name == "Connection.Close":
            return


def fork_in_a_callback(after: str) -> dict[str, Any]:
    """The callback of the second message forks; in the child it returns, or uses the channel."""
    child = Child()
    seen: list[int] = []
    used: list[str] = []
    with FakeServer(send_all) as server:
        connection = connect(server)
        channel = connection.channel()

        def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
            seen.append(int(body))
            if len(seen) == 2:
                child.fork()
                if child.pid == 0 and after == "uses":
                    used.append(outcome(lambda: channel.basic_ack(method.delivery_tag)))
                    used.append(outcome(lambda: channel.basic_publish("", "q", b"x")))
                    used.append(outcome(lambda: channel.queue_declare("q")))
                    used.append(outcome(lambda: connection.process_data_events(0)))
            if child.pid == 0 and after == "raises":
                raise ZeroDivisionError
            if len(seen) == COUNT:
                channel.stop_consuming()

        channel.basic_consume("q", on_message, auto_ack=True)
        ended = outcome(channel.start_consuming)
        again = outcome(lambda: connection.process_data_events(0)) if child.pid == 0 else ""
        if child.pid == 0:
            child.report([seen, ended, again, used])
        told = child.hear()
        connection.close()
        names = [frame.name for frame in server.peer.frames] if server.peer is not None else []
        return {"parent": [seen, ended], "child": told, "acks": names.count("Basic.Ack")}


DEAD = "ConnectionWrongStateError"


@pytest.mark.parametrize("after", ["returns", "uses", "raises"])
def test_a_child_of_a_callback_dispatches_nothing_more(after: str) -> None:
    """Row 16, fork: back in its call the child gets ConnectionWrongStateError; the parent goes on."""
    told = apart(fork_in_a_callback, after)
    assert told["parent"] == [list(range(1, COUNT + 1)), "ok"]
    seen, ended, again, used = told["child"]
    assert seen == [1, 2], "the child has dispatched the parent's messages"
    assert ended == ("ZeroDivisionError" if after == "raises" else DEAD)
    assert again == DEAD
    assert all(name == DEAD for name in used), used
    assert told["acks"] == 0


PLACES: dict[str, Callable[[Any, Any, Callable[[], None]], Any]] = {
    "a timer": lambda connection, channel, fork: (
        connection.call_later(0, fork),
        connection.process_data_events(2),
        connection.process_data_events(0.2),
    ),
    "a thread-safe callback": lambda connection, channel, fork: (
        connection.add_callback_threadsafe(fork),
        connection.process_data_events(2),
        connection.process_data_events(0.2),
    ),
    "a loop over consume": lambda connection, channel, fork: iterate(channel, fork),
}


def iterate(channel: Any, fork: Callable[[], None]) -> None:
    for number, _ in enumerate(channel.consume("q", auto_ack=True)):
        if number == 1:
            fork()
        later.append(number)
        if number == COUNT - 1:
            break


later: list[int] = []  # what has happened so far, in this process


def fork_elsewhere(place: str) -> dict[str, Any]:
    """A fork where the program is called, or goes on, between events."""
    child = Child()
    with FakeServer(send_all) as server:
        connection = connect(server)
        channel = connection.channel()

        def fork() -> None:
            if place != "a loop over consume":
                for _ in range(3):
                    connection.add_callback_threadsafe(lambda: later.append(1))
            child.fork()
            if child.pid == 0:
                later.clear()

        ended = outcome(lambda: PLACES[place](connection, channel, fork))
        if child.pid == 0:
            child.report([later, ended])
        told = child.hear()
        connection.close()
        return {"child": told, "parent": [len(later), ended]}


@pytest.mark.parametrize("place", PLACES)
def test_a_child_goes_no_further_in_the_parents_events(place: str) -> None:
    """Row 16, fork: also behind timers, thread-safe callbacks and the messages of a generator."""
    told = apart(fork_elsewhere, place)
    assert told["parent"] == [COUNT if place == "a loop over consume" else 3, "ok"]
    happened, ended = told["child"]
    # A generator's loop ends its round: the message in hand was received before the fork.
    assert happened == ([1] if place == "a loop over consume" else [])
    assert ended == DEAD


# ---- descriptors of a child that becomes a daemon


def files_of_a_daemon(closed: bool) -> int:
    """How many of eight files, opened where all descriptors were closed before, are what they were."""
    connection = connect()
    threads = [threading.Thread(target=connection.channel().queue_declare, args=("",)) for _ in range(2)]
    for thread in threads:
        thread.start()
    connection.sleep(0.2)  # a wait that is long enough to want to know of signals
    for thread in threads:
        thread.join()
    if closed:
        connection.close()
    child = os.fork()
    if child == 0:
        os.closerange(3, 256)
        files = [tempfile.TemporaryFile() for _ in range(8)]
        before = [os.fstat(file.fileno()).st_ino for file in files]
        del connection, thread, threads
        gc.collect()
        other = connect()
        other.sleep(0.2)
        same = 0
        for file, inode in zip(files, before):
            with contextlib.suppress(OSError):
                same += os.fstat(file.fileno()).st_ino == inode
        os._exit(same)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("closed", [True, False])
def test_a_child_closes_nothing_that_is_the_programs_by_then(broker_url: str, closed: bool) -> None:
    """Two of its files were closed in the first wait that lasted, under the numbers of a pipe."""
    assert apart(files_of_a_daemon, closed) == 8
