"""Rows 19 and 27: waits that are woken, instead of waking to look."""

from __future__ import annotations

import ctypes
import functools
import signal
import socket
import statistics
import struct
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.apart import Together, apart, await_sleep, connect, on_signal
from support.proxy import CLIENT, Proxy

IDLE = 5.0  # seconds of counting
A_SECOND = 1.5  # wake-ups of a thread that are still about one a second


def consumer(connection: Any) -> Any:
    """A channel with a consumer of an empty queue."""
    channel = connection.channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.basic_consume(queue, lambda *args: None, auto_ack=True)
    return channel


def switches() -> dict[int, int]:
    """Voluntary context switches of each thread of the process but this one."""
    counts = {}
    for task in Path("/proc/self/task").iterdir():
        number = int(task.name)
        if number == threading.get_native_id():
            continue
        for line in (task / "status").read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches"):
                counts[number] = int(line.split()[1])
    return counts


def idle_calls() -> dict[str, Callable[[], Any]]:
    """Calls that wait for nothing in particular, each group on a connection of its own."""
    plain, beating, many, generating = (connect(), connect(heartbeat=60), connect(), connect().channel())
    queue = generating.queue_declare("", exclusive=True).method.queue
    dispatching, sleeping = connect(), connect()
    calls: dict[str, Callable[[], Any]] = {
        "start_consuming": consumer(plain).start_consuming,
        "start_consuming with heartbeats": consumer(beating).start_consuming,
        "consume": lambda: next(generating.consume(queue)),
        "process_data_events": lambda: dispatching.process_data_events(None),
        "sleep": lambda: sleeping.sleep(60),
    }
    for number in range(4):
        calls[f"start_consuming, {number + 1} of 4"] = consumer(many).start_consuming
    return calls


def idle_threads() -> dict[str, float]:
    """Wake-ups a second of each thread of the process while all calls are idle."""
    calls = idle_calls()
    waiting = Together(*calls.values())
    names = dict(zip((thread.native_id for thread in waiting.threads), calls))
    time.sleep(1)  # for them to come to rest
    before = switches()
    time.sleep(IDLE)
    after = switches()
    told = {names[task]: (after[task] - before[task]) / IDLE for task in before if task in names}
    others = [after[task] - before[task] for task in before if task not in names]
    told["all other threads"] = sum(others) / IDLE
    for name, thread, error in zip(calls, waiting.threads, waiting.errors):
        if not thread.is_alive():
            told[name] = float("inf")
            print(name, repr(error))
    return {name: rate for name, rate in told.items() if rate > A_SECOND}


def test_an_idle_dispatcher_wakes_about_once_a_second(broker_url: str) -> None:
    """Row 19, waits that poll: voluntary context switches of every thread over five seconds."""
    assert apart(idle_threads) == {}


def signals_to_an_idle_dispatcher(manner: str) -> float:
    """The median of the times from a signal to its handler, in seconds."""
    connection = connect()
    channel = consumer(connection)
    sent: list[float] = []
    delays: list[float] = []
    handled = threading.Event()

    def handler() -> None:
        delays.append(time.monotonic() - sent[-1])
        handled.set()

    def send() -> None:
        main = threading.main_thread()
        for _ in range(15):
            await_sleep(main)
            handled.clear()
            sent.append(time.monotonic())
            signal.pthread_kill(main.ident or 0, signal.SIGUSR1)
            assert handled.wait(5)
        connection.add_callback_threadsafe(channel.stop_consuming)

    with on_signal(handler):
        sending = Together(send)
        if manner == "start_consuming":
            channel.start_consuming()
        elif manner == "beside another":
            other = Together(lambda: connection.process_data_events(None))
            await_sleep(other.threads[0])
            channel.start_consuming()
        else:
            while channel.consumer_tags:
                connection.process_data_events(None)
        sending.join()
    return statistics.median(delays)


@pytest.mark.parametrize("manner", ["start_consuming", "process_data_events", "beside another"])
def test_a_signal_handler_runs_at_once_in_an_idle_dispatcher(broker_url: str, manner: str) -> None:
    """Row 19, waits that poll: the median of fifteen signals is under 100 ms."""
    assert apart(signals_to_an_idle_dispatcher, manner) < 0.1


def exception_from_outside(manner: str) -> list[Any]:
    """`PyThreadState_SetAsyncExc` to a thread that waits in a dispatching call."""
    connection = connect()
    channel = consumer(connection)

    def run() -> None:
        if manner == "start_consuming":
            channel.start_consuming()
        elif manner == "process_data_events":
            connection.process_data_events(None)
        elif manner == "sleep":
            connection.sleep(60)
        else:
            next(channel.consume(channel.queue_declare("", exclusive=True).method.queue))

    waiting = Together(run)
    await_sleep(waiting.threads[0])
    begin = time.monotonic()
    ident = ctypes.c_ulong(waiting.threads[0].ident or 0)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, ctypes.py_object(SystemExit))
    hung = waiting.hung(6)
    took = time.monotonic() - begin
    alive = channel.queue_declare("", exclusive=True).method.queue != ""
    return [hung, type(waiting.errors[0]).__name__, took < 5, alive]


@pytest.mark.parametrize("manner", ["start_consuming", "process_data_events", "sleep", "consume"])
def test_an_exception_from_outside_reaches_an_idle_dispatcher(broker_url: str, manner: str) -> None:
    """Row 19, waits that poll: within five seconds, and the connection stays usable."""
    assert apart(exception_from_outside, manner) == [[], "SystemExit", True, True]


def wake(who: str, what: str, first: bool) -> list[Any]:
    """A timer or a callback is set while the dispatcher waits for nothing in particular.

    With `first` there is a later timer already.
    """
    connection = connect()
    channel = consumer(connection)
    fired: list[float] = []
    begun: list[float] = []
    done = threading.Event()

    def fire() -> None:
        fired.append(time.monotonic())
        done.set()
        channel.stop_consuming()

    def set_it() -> None:
        begun.append(time.monotonic())
        if what == "call_later":
            connection.call_later(0.1, fire)
        else:
            connection.add_callback_threadsafe(fire)

    if first:
        connection.call_later(30, fire)

    def from_outside() -> None:
        await_sleep(threading.main_thread())
        if who == "signal":
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
        else:
            set_it()
        if not done.wait(4):
            channel.stop_consuming()

    with on_signal(set_it):
        setting = Together(from_outside)
        channel.start_consuming()
        setting.join()
    connection.close()
    return [len(fired), bool(fired) and fired[0] - begun[0] < 0.5]


@pytest.mark.parametrize("first", [False, True], ids=["no timer", "a later timer"])
@pytest.mark.parametrize("what", ["call_later", "add_callback_threadsafe"])
@pytest.mark.parametrize("who", ["signal", "thread"])
def test_a_timer_or_callback_wakes_an_idle_dispatcher(
    broker_url: str, who: str, what: str, first: bool
) -> None:
    """Row 27, waits that are not woken: set by a signal handler or another thread, it runs in its time."""
    assert apart(wake, who, what, first) == [1, True]


def removed_and_set_again() -> list[Any]:
    """Another thread removes the timer that the dispatcher waits for, and sets a nearer one."""
    connection = connect()
    channel = consumer(connection)
    ran: list[str] = []
    timer = connection.call_later(3, lambda: ran.append("removed"))

    def from_outside() -> None:
        await_sleep(threading.main_thread())
        connection.remove_timeout(timer)
        connection.call_later(0.05, lambda: (ran.append("set"), channel.stop_consuming()))

    setting = Together(from_outside)
    begin = time.monotonic()
    channel.start_consuming()
    setting.join()
    return [ran, time.monotonic() - begin < 2]


def test_a_dispatcher_follows_timers_that_others_change(broker_url: str) -> None:
    """Row 27, waits that are not woken: the nearest timer counts, whoever set it."""
    assert apart(removed_and_set_again) == [["set"], True]


def two_set_timers() -> list[Any]:
    """A thread has looked which timer is next; before it says so, another one sets an earlier one."""
    connection = connect()
    channel = consumer(connection)
    ran: list[str] = []

    def note(frame: Any, event: str, arg: Any) -> None:
        if event == "c_call" and arg.__name__ == "_set_timer":
            sys.setprofile(None)
            connection.call_later(0.05, lambda: (ran.append("early"), channel.stop_consuming()))

    sys.setprofile(note)
    connection.call_later(3, lambda: (ran.append("late"), channel.stop_consuming()))
    begin = time.monotonic()
    channel.start_consuming()
    connection.close()
    return [ran, time.monotonic() - begin < 2]


def test_an_earlier_timer_counts_whoever_says_so_last(broker_url: str) -> None:
    assert apart(two_set_timers) == [["early"], True]


def removed_while_others_set() -> list[int]:
    """Threads set timers while others remove so many of theirs that what is removed is swept out."""
    connection = connect()
    ran: list[int] = []
    each, threads = 400, 3

    def work(number: int) -> None:
        for index in range(each):
            connection.call_later(0.0, functools.partial(ran.append, number * each + index))
            for _ in range(3):
                connection.remove_timeout(connection.call_later(30, int))

    def dispatch() -> None:
        end = time.monotonic() + 8
        while len(ran) < each * threads and time.monotonic() < end:
            connection.process_data_events(0.01)

    Together(dispatch, *(functools.partial(work, number) for number in range(threads))).join()
    connection.close()
    return [len(ran), len(set(ran)), each * threads]


def test_no_timer_is_lost_where_removed_ones_are_swept_out(broker_url: str) -> None:
    assert len(set(apart(removed_while_others_set))) == 1


# ---- a socket that is full


def is_full(sock: socket.socket) -> bool:
    """Whether the kernel has as much to send as it takes (SO_MEMINFO)."""
    _, _, _, most, _, queued, *_ = struct.unpack("9I", sock.getsockopt(socket.SOL_SOCKET, 55, 36))
    return queued >= most


def stays_full(sock: socket.socket) -> bool:
    """The same for some time: as long as the peer's kernel takes more, it is full for a moment only."""
    end = time.monotonic() + 0.3
    while is_full(sock):
        if time.monotonic() > end:
            return True
        time.sleep(0.01)
    return False


def test_who_waits_for_input_alone_hears_that_another_waits_for_room(proxy: Proxy) -> None:
    """The request was sent when the consumer's long sleep was over: up to 4 s later."""
    connection = connect(proxy, heartbeat=0)
    consuming, publishing, asking = consumer(connection), connection.channel(), connection.channel()
    thread = threading.Thread(target=consuming.start_consuming)
    thread.start()
    time.sleep(0.2)  # its short sleep is over
    await_sleep(thread)
    sock = connection._impl._transport._sock
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
    proxy.pause(CLIENT)
    while not stays_full(sock):
        publishing.basic_publish("", "cpika-test-nowhere", bytes(1000))

    def ask() -> float:
        asking.exchange_declare("amq.direct", passive=True, arguments={"k": "y" * 100_000})
        return time.monotonic()

    asker = Together(ask)
    time.sleep(0.2)  # nor is this one's short: behind that it would look by itself
    await_sleep(asker.threads[0])
    begin = time.monotonic()
    proxy.resume(CLIENT)
    (answered,) = asker.join()
    connection.add_callback_threadsafe(consuming.stop_consuming)
    thread.join(8)
    connection.close()
    assert answered - begin < 1.0
