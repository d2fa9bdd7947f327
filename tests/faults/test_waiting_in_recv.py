"""A program with one thread awaits an answer in `recv` itself, which nobody can wake: there is nobody.

The server is in this process, the program in one of its own.
"""

from __future__ import annotations

import ctypes
import os
import platform
import select
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from operator import methodcaller
from pathlib import Path
from typing import Any

import pytest
from support import amqp, answers
from support.amqp import Frame
from support.apart import Together, apart, await_sleep, connect, interruptible, on_signal, outcome
from support.fakeserver import FakeServer, Peer

# Without it nobody can know that he is the only thread, and all wait in poll.
WITH_GIL = getattr(sys, "_is_gil_enabled", lambda: True)()
RECV = {"x86_64": 45, "aarch64": 207}.get(platform.machine())  # recvfrom's number
LARGE = 100_000  # bytes of a body: more than one read takes
MANY = 500

pytestmark = pytest.mark.skipif(
    RECV is None or sys.platform != "linux", reason="the wait in recv is Linux's, its number this machine's"
)


def waits_in(pid: int, timeout: float = 5.0) -> int:
    """The number of the system call in which a process sleeps, once it does."""
    end = time.monotonic() + timeout
    seen = -1
    while time.monotonic() < end:
        words = Path(f"/proc/{pid}/syscall").read_text().split()
        if words[0] != "running" and int(words[0]) == seen:
            return seen
        seen = -1 if words[0] == "running" else int(words[0])
        time.sleep(0.005)
    raise AssertionError("it did not come to rest")


def pid_in(frame: Frame) -> int:
    """The process that declares a queue of its number."""
    return int(answers.declared_queue(frame))


def observed(scene: Callable[[list[int]], None]) -> None:
    """Plays a scene that notes where the process waits, until the server has looked while it was in recv.

    That is so for 50 ms, then it waits in poll: on a busy machine the server may look too late.
    """
    for _ in range(10):
        seen: list[int] = []
        scene(seen)
        if RECV in seen or not WITH_GIL:
            break
    assert (RECV in seen) == WITH_GIL, seen


def served(script: Callable[[Peer, Frame], None], program: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What the program returns, and the server's peer; the script goes on from its first Queue.Declare."""

    def serve(peer: Peer) -> None:
        peer.handshake()
        script(peer, peer.serve_until("Queue.Declare"))
        answers.serve_to_end(peer)

    with FakeServer(serve) as server:
        return [apart(program, server.port, *arguments), server.peer]


def declares(port: int, beside: bool = False, nonblocking: bool = False) -> list[Any]:
    """Declares a queue; with a thread beside it; or with a socket that somebody has made non-blocking."""
    over = threading.Event()
    if beside:
        threading.Thread(target=over.wait, daemon=True).start()
    connection = connect(port)
    channel = connection.channel()
    if nonblocking:
        os.set_blocking(connection._impl._descriptor(), False)
    began = time.process_time()
    count = channel.queue_declare(str(os.getpid())).method.message_count
    used = time.process_time() - began
    connection.close()
    over.set()
    return [count, used]


@pytest.mark.parametrize("beside", [False, True])
def test_a_program_of_one_thread_waits_in_recv(beside: bool) -> None:
    """And one of several where others can wake it."""

    def scene(seen: list[int]) -> None:
        def script(peer: Peer, frame: Frame) -> None:
            seen.append(waits_in(pid_in(frame)))
            peer.send(answers.declare_ok(frame, 7))

        (count, _), _ = served(script, declares, beside)
        assert count == 7

    if beside:
        seen: list[int] = []
        scene(seen)
        assert len(seen) == 1 and RECV not in seen
    else:
        observed(scene)


@pytest.mark.parametrize("nonblocking", [False, True])
def test_an_answer_that_takes_long_costs_no_time_of_the_processor(nonblocking: bool) -> None:
    """Also where somebody has made the socket non-blocking again."""

    def script(peer: Peer, frame: Frame) -> None:
        answers.silence(peer, 1.0)
        peer.send(answers.declare_ok(frame, 7))

    (count, used), _ = served(script, declares, False, nonblocking)
    assert count == 7
    assert used < 0.3


def interrupted(port: int) -> list[Any]:
    connection = connect(port)
    channel = connection.channel()
    told = []
    with interruptible():
        for _ in range(5):
            began = time.monotonic()
            ended = outcome(lambda: channel.queue_declare(str(os.getpid())))
            told.append([ended, time.monotonic() - began])
    after = channel.queue_declare("after").method.queue
    connection.close()
    return [told, after]


def test_a_signal_ends_the_wait_in_recv() -> None:
    def script(peer: Peer, frame: Frame) -> None:
        for number in range(5):
            os.kill(pid_in(frame), signal.SIGUSR1)
            peer.send(answers.declare_ok(frame))  # the next request stands behind this one
            if number < 4:
                frame = peer.expect("Queue.Declare")

    (told, after), _ = served(script, interrupted)
    assert [ended for ended, _ in told] == ["Interrupted"] * 5
    assert min(seconds for _, seconds in told) < 0.1
    assert after == "after"


def excepted(port: int, beside: bool) -> list[Any]:
    """Another thread sets an exception in this one, which waits; with `beside` it stays to the end."""
    over = threading.Event()
    me = ctypes.c_ulong(threading.get_ident())

    def set_exception() -> None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(me, ctypes.py_object(SystemExit))
        if beside:
            over.wait()

    connection = connect(port)
    channel = connection.channel()
    threading.Timer(0.2, set_exception).start()
    began = time.monotonic()
    try:
        ended = str(channel.queue_declare("q").method)
    except SystemExit:
        ended = "SystemExit"
    took = time.monotonic() - began
    over.set()
    connection.channel()  # has the server answer
    connection.close()
    return [ended, took]


@pytest.mark.parametrize("beside", [False, True])
def test_an_exception_of_another_thread_comes_however_often_the_peer_sends(beside: bool) -> None:
    """Each short sleep ends with something, none becomes a long one: within five seconds all the same."""

    def script(peer: Peer, frame: Frame) -> None:
        end = time.monotonic() + 8
        while time.monotonic() < end and not select.select([peer.sock], [], [], 0.02)[0]:
            peer.send(amqp.HEARTBEAT)
        peer.send(answers.declare_ok(frame))

    (ended, took), _ = served(script, excepted, beside)
    assert ended == "SystemExit"
    assert took < 5


def hung_up(port: int) -> list[str]:
    connection = connect(port)
    channel = connection.channel()
    return [outcome(lambda: channel.queue_declare(str(os.getpid()))), str(connection.is_open)]


@pytest.mark.parametrize("how", ["closes", "cuts"])
def test_the_end_of_the_connection_ends_the_wait_in_recv(how: str) -> None:
    def scene(seen: list[int]) -> None:
        def script(peer: Peer, frame: Frame) -> None:
            seen.append(waits_in(pid_in(frame)))
            if how == "closes":
                peer.send(answers.connection_close())
            else:
                peer.sock.close()

        told, _ = served(script, hung_up)
        assert told == ["ConnectionClosedByBroker" if how == "closes" else "StreamLostError", "False"]

    observed(scene)


def consumes_meanwhile(port: int) -> list[Any]:
    connection = connect(port)
    channel = connection.channel()
    came: list[list[int]] = []

    def note(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        came.append([method.delivery_tag, len(body), body == bytes([method.delivery_tag % 256]) * len(body)])

    channel.basic_consume("q", note, auto_ack=True)
    count = channel.queue_declare(str(os.getpid())).method.message_count
    before = len(came)
    while len(came) < MANY + 2:
        connection.process_data_events(1)
    connection.close()
    return [count, before, came]


def test_what_comes_before_the_answer_is_dispatched_whole_and_in_order() -> None:
    """More than the wait's own read takes, also large messages, in frames that are cut anywhere."""
    sizes = [LARGE if tag % MANY == 1 else 10 for tag in range(1, MANY + 3)]

    def scene(seen: list[int]) -> None:
        def script(peer: Peer, frame: Frame) -> None:
            messages = [
                amqp.message(frame.channel, peer.consumer_tag, tag, bytes([tag % 256]) * size)
                for tag, size in enumerate(sizes, 1)
            ]
            stream = b"".join([*messages, answers.declare_ok(frame, 7)])
            seen.append(waits_in(pid_in(frame)))
            at = 0
            for end in (1, 7, 100, 4195, 8291, 12_388, LARGE // 2, LARGE + 5_000, len(stream)):
                peer.send(stream[at:end])
                at = end
                if end < len(stream):
                    waits_in(pid_in(frame))

        (count, before, came), _ = served(script, consumes_meanwhile)
        assert [count, before] == [7, 0]
        assert came == [[tag, size, True] for tag, size in enumerate(sizes, 1)]

    observed(scene)


def beside_a_thread_of_c(port: int) -> list[Any]:
    """A thread that Python does not know calls in while the one that it knows waits."""
    connection = connect(port)
    first, second = connection.channel(), connection.channel()
    told: list[Any] = []
    libc = ctypes.CDLL(None)

    @ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
    def calls_in(argument: Any) -> None:
        began = time.monotonic()
        told.append(second.queue_declare("second").method.queue)
        connection.process_data_events(0.05)
        told.append(time.monotonic() - began < 5)

    thread = ctypes.c_ulong()
    assert libc.pthread_create(ctypes.byref(thread), None, calls_in, None) == 0
    told.insert(0, first.queue_declare(str(os.getpid())).method.message_count)
    libc.pthread_join(thread, None)
    connection.close()
    return told


def test_a_thread_that_python_does_not_know_gets_its_answer_meanwhile() -> None:
    def script(peer: Peer, frame: Frame) -> None:
        frames = {answers.declared_queue(frame): frame}
        while len(frames) < 2:
            frame = peer.expect("Queue.Declare")
            frames[answers.declared_queue(frame)] = frame
        peer.send(answers.declare_ok(frames.pop("second")))
        answers.silence(peer, 0.3)
        peer.send(answers.declare_ok(frames.popitem()[1], 7))

    told, _ = served(script, beside_a_thread_of_c)
    assert told == [7, "second", True]


def publishes_in_c(port: int) -> list[str]:
    """A thread of C publishes when the end has come, and lets nobody run before that has failed."""
    connection = connect(port)
    first, second = connection.channel(), connection.channel()
    told: list[str] = []
    holds_on = partial(ctypes.PyDLL(None).usleep, 30_000)  # with the interpreter's lock
    publish = partial(second.basic_publish, "", "q", b"x")

    @ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
    def calls_in(argument: Any) -> None:
        ctypes.CDLL(None).usleep(5_000)
        told.append(outcome(lambda: list(map(methodcaller("__call__"), [holds_on, publish, publish]))))

    libc = ctypes.CDLL(None)
    thread = ctypes.c_ulong()
    assert libc.pthread_create(ctypes.byref(thread), None, calls_in, None) == 0
    told.append(outcome(lambda: first.queue_declare("q")))
    libc.pthread_join(thread, None)
    return told


def test_what_a_failed_send_meets_does_not_hide_what_recv_has_in_its_hand() -> None:
    """The broker says why, and cuts; of the calls that meet it the first is told why."""

    def script(peer: Peer, frame: Frame) -> None:
        time.sleep(0.015)  # the thread of C holds on by now
        peer.send(answers.connection_close())
        peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        time.sleep(0.001)
        peer.sock.close()

    told = [sorted(served(script, publishes_in_c)[0]) for _ in range(6)]
    assert all("ConnectionClosedByBroker" in names for names in told), told
    behind = {"ChannelWrongStateError", "ConnectionClosedByBroker", "ok"}  # of a call that has been closed
    assert {name for names in told for name in names} <= behind


def keeps_a_copy(port: int) -> list[Any]:
    """Takes the socket as tools do, before the first wait in recv: a second thread lives until then."""
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    connection = connect(port)
    channel = connection.channel()
    sock = connection._impl._transport._sock
    over.set()
    thread.join()
    count = channel.queue_declare(str(os.getpid())).method.message_count
    began = time.monotonic()
    told = [outcome(lambda: sock.recv(1, socket.MSG_PEEK)) for _ in range(20)]
    took = time.monotonic() - began
    connection.close()
    return [count, sock.gettimeout(), told, took]


def test_a_socket_that_tools_have_stays_non_blocking() -> None:
    def script(peer: Peer, frame: Frame) -> None:
        peer.send(answers.declare_ok(frame, 7))

    (count, timeout, told, took), _ = served(script, keeps_a_copy)
    assert [count, timeout, told] == [7, 0.0, ["BlockingIOError"] * 20]
    assert took < 0.5  # a wait in each would be a second


def handles_for_long(port: int) -> list[Any]:
    """The main thread awaits an answer; a handler takes long; another thread's answer comes meanwhile."""
    connection = connect(port)
    first, second = connection.channel(), connection.channel()
    handled: list[float] = []

    def other() -> float:
        for _ in range(2):  # beyond the first, short wait: it is the main thread that polls then
            await_sleep(threading.main_thread())
        began = time.monotonic()
        second.queue_declare("second")
        return time.monotonic() - began

    def handler() -> None:
        end = time.monotonic() + 2
        while time.monotonic() < end:
            time.sleep(0.01)
        handled.append(end)

    with on_signal(handler):
        thread = Together(other)
        first.queue_declare(str(os.getpid()))
        (took,) = thread.join()
    connection.close()
    return [len(handled), took]


def test_a_handler_that_takes_long_keeps_no_other_threads_answer() -> None:
    """Rule 13: whoever runs a handler polls no more, and says so."""

    def script(peer: Peer, frame: Frame) -> None:
        frames = {answers.declared_queue(frame): frame}
        while len(frames) < 2:
            frame = peer.expect("Queue.Declare")
            frames[answers.declared_queue(frame)] = frame
        second = frames.pop("second")
        name, frame = frames.popitem()
        answers.silence(peer, 0.3)  # the long waits have begun
        os.kill(int(name), signal.SIGUSR1)
        answers.silence(peer, 0.1)
        peer.send(answers.declare_ok(second))
        answers.silence(peer, 2.2)
        peer.send(answers.declare_ok(frame))

    (handled, took), _ = served(script, handles_for_long)
    assert handled == 1
    assert took < 1.5
