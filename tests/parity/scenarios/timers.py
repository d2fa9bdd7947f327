"""Timers, thread-safe callbacks, sleep and process_data_events."""

from __future__ import annotations

import functools
import threading
import time
from typing import Any

from parity.harness import covers


@covers("BlockingConnection.call_later", "semantics.timers", broker=True)
def timers_fire_in_the_order_of_their_deadlines(pika: Any, env: Any) -> None:
    connection = env.connect()
    fired: list[Any] = []
    delays = (0.06, 0.02, 0.04, 0, 0.05)
    wanted = [(delay, functools.partial(fired.append, delay)) for delay in delays]
    env.timers(connection.call_later, connection.remove_timeout, wanted)
    env.pump(connection, lambda: len(fired) == 5)
    env.show("fired", fired)


@covers("BlockingConnection.call_later", "semantics.timers", broker=True)
def timers_without_delay_fire_in_one_call_in_their_order(pika: Any, env: Any) -> None:
    connection = env.connect()
    fired: list[Any] = []
    for number in range(5):
        env.show("id is None", connection.call_later(0, functools.partial(fired.append, number)) is None)
    env.show("before", fired)
    env.call("process", connection.process_data_events)
    env.show("after", fired)


@covers("BlockingConnection.call_later", "semantics.timers", broker=True)
def a_timer_fires_once(pika: Any, env: Any) -> None:
    connection = env.connect()
    fired: list[Any] = []
    connection.call_later(0, lambda: fired.append(1))
    for _ in range(3):
        connection.process_data_events(time_limit=0.005)
    env.show("fired", fired)


@covers("BlockingConnection.call_later", broker=True, cases=[None, "callback", 5, -1, "delay"])
def a_timer_needs_a_callable_and_a_delay(pika: Any, env: Any, case: Any) -> None:
    connection = env.connect()
    if case == -1:
        env.call("negative", connection.call_later, -1, print)
    elif case == "delay":
        env.call_wrongly("text", connection.call_later, "soon", print)
        env.call_wrongly("None", connection.call_later, None, print)
        env.call_wrongly("nothing", connection.call_later, 1)
    else:
        env.call("callback", connection.call_later, 0, case)
    env.call("works", connection.process_data_events)


@covers("BlockingConnection.remove_timeout", "semantics.timers", broker=True)
def a_removed_timer_does_not_fire(pika: Any, env: Any) -> None:
    connection = env.connect()
    fired: list[Any] = []
    kept = connection.call_later(0.01, lambda: fired.append("kept"))
    gone = connection.call_later(0.005, lambda: fired.append("gone"))
    env.call("remove", connection.remove_timeout, gone)
    env.pump(connection, lambda: fired)
    env.show("fired", fired)
    env.call("remove a fired one", connection.remove_timeout, kept)
    env.call("remove twice", connection.remove_timeout, timeout_id=gone)


@covers("BlockingConnection.remove_timeout", "semantics.timers", broker=True)
def a_timer_removes_another_that_is_due(pika: Any, env: Any) -> None:
    connection = env.connect()
    fired: list[Any] = []
    ids: list[Any] = []

    def first() -> None:
        fired.append("first")
        env.call("remove", connection.remove_timeout, ids[1])

    ids.append(connection.call_later(0, first))
    ids.append(connection.call_later(0, lambda: fired.append("second")))
    ids.append(connection.call_later(0, lambda: fired.append("third")))
    env.pump(connection, lambda: "third" in fired)
    env.show("fired", fired)


@covers("BlockingConnection.call_later", "semantics.callback-exceptions", broker=True)
def the_exception_of_a_timer_leaves_the_dispatching_call_and_later_ones_fire(pika: Any, env: Any) -> None:
    connection = env.connect()
    fired: list[Any] = []

    def fail() -> None:
        raise KeyError("mine")

    connection.call_later(0, fail)
    connection.call_later(0, lambda: fired.append("after"))
    env.call("process", connection.process_data_events)
    env.show("fired", fired)
    env.call("process", connection.process_data_events)
    env.show("fired", fired)
    env.show_state("connection", connection)


@covers("BlockingConnection.call_later", "semantics.timers", broker=True)
def a_timer_made_by_a_timer_fires_in_a_later_call(pika: Any, env: Any) -> None:
    connection = env.connect()
    fired: list[Any] = []

    def again() -> None:
        fired.append(len(fired))
        if len(fired) < 3:
            connection.call_later(0, again)

    connection.call_later(0, again)
    for _ in range(3):
        connection.process_data_events()
        env.show("fired", fired)


@covers("semantics.dispatch", "BlockingConnection.call_later", broker=True)
def timers_do_not_fire_in_other_calls(pika: Any, env: Any) -> None:
    channel = env.channel()
    fired: list[Any] = []
    channel.connection.call_later(0, lambda: fired.append(1))
    for _ in range(3):
        channel.basic_qos(prefetch_count=1)
    channel.queue_declare("", exclusive=True)
    env.show("before", fired)
    channel.connection.process_data_events()
    env.show("after", fired)


@covers("semantics.dispatch", broker=True)
def timers_come_before_messages(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, bodies=(b"one", b"two"))
    channel.basic_consume(queue, lambda ch, m, p, body: env.show("message", body), auto_ack=True)
    channel.connection.call_later(0, lambda: env.show("timer", True))
    env.until_delivered(channel, queue)
    env.call("process", channel.connection.process_data_events)


@covers("BlockingConnection.call_later", broker=True)
def a_closed_connection_forgets_its_timers(pika: Any, env: Any) -> None:
    connection = env.connect()
    fired: list[Any] = []
    connection.call_later(0, lambda: fired.append(1))
    connection.close()
    env.show("fired", fired)


@covers("BlockingConnection.add_callback_threadsafe", "semantics.timers", "used.dramatiq.fifo", broker=True)
def threadsafe_callbacks_of_one_thread_run_in_their_order(pika: Any, env: Any) -> None:
    connection = env.connect()
    ran: list[Any] = []

    def add() -> None:
        for number in range(100):
            connection.add_callback_threadsafe(functools.partial(ran.append, number))

    thread = threading.Thread(target=add)
    thread.start()
    env.pump(connection, lambda: len(ran) == 100)
    thread.join()
    env.show("in order", ran == list(range(100)))


@covers("BlockingConnection.add_callback_threadsafe", broker=True)
def threadsafe_callbacks_run_in_the_thread_that_dispatches(pika: Any, env: Any) -> None:
    connection = env.connect()
    threads: list[Any] = []
    thread = threading.Thread(
        target=lambda: connection.add_callback_threadsafe(lambda: threads.append(threading.current_thread()))
    )
    thread.start()
    thread.join()
    env.show("before", threads)
    env.pump(connection, lambda: threads)
    env.show("is ours", threads[0] is threading.current_thread())


@covers(
    "BlockingConnection.add_callback_threadsafe",
    "BlockingConnection.process_data_events",
    "semantics.timers",
    broker=True,
    cases=["process_data_events", "start_consuming", "sleep", "consume"],
)
def a_threadsafe_callback_wakes_every_wait(pika: Any, env: Any, case: Any) -> None:
    channel = env.channel()
    connection = channel.connection
    queue = env.queue(channel)
    asleep = threading.Event()
    connection.call_later(0, asleep.set)

    def wake() -> None:
        asleep.wait(10)
        connection.add_callback_threadsafe(awake)

    def awake() -> None:
        env.show("awake", True)
        if case == "start_consuming":
            channel.stop_consuming()
        elif case == "consume":
            channel.cancel()

    connection.process_data_events()
    asleep.clear()
    connection.call_later(0, asleep.set)
    thread = threading.Thread(target=wake)
    thread.start()
    started = time.monotonic()
    if case == "process_data_events":
        while not any(line.startswith("awake") for line in env.lines):
            connection.process_data_events(time_limit=None)
    elif case == "start_consuming":
        channel.basic_consume(queue, print)
        env.call("start_consuming", channel.start_consuming)
    elif case == "sleep":
        env.call("sleep", connection.sleep, 0.3)
    else:
        env.show("consumed", list(channel.consume(queue)))
    thread.join()
    env.show("soon", time.monotonic() - started < 5)


@covers("BlockingConnection.add_callback_threadsafe", "BlockingChannel.basic_ack", broker=True)
def another_thread_acknowledges_by_a_threadsafe_callback(pika: Any, env: Any) -> None:
    channel = env.channel()
    connection = channel.connection
    queue = env.queue(channel, bodies=(b"one", b"two", b"three"))
    threads: list[threading.Thread] = []
    acked: list[int] = []

    def acknowledge(tag: int) -> None:
        channel.basic_ack(tag)
        acked.append(tag)
        if len(acked) == 3:
            channel.stop_consuming()

    def on_message(ch: Any, method: Any, properties: Any, body: Any) -> None:
        callback = functools.partial(acknowledge, method.delivery_tag)
        thread = threading.Thread(target=connection.add_callback_threadsafe, args=(callback,))
        thread.start()
        thread.join()
        threads.append(thread)

    channel.basic_consume(queue, on_message)
    env.call("start_consuming", channel.start_consuming)
    env.show("acked", acked)
    env.show("left", channel.queue_declare(queue, passive=True).method.message_count)


@covers("BlockingConnection.add_callback_threadsafe", "semantics.dispatch", broker=True)
def a_threadsafe_callback_added_in_a_callback_runs_after_it(pika: Any, env: Any) -> None:
    connection = env.connect()
    order: list[Any] = []

    def outer() -> None:
        connection.add_callback_threadsafe(lambda: order.append("inner"))
        order.append("outer")

    connection.call_later(0, outer)
    env.pump(connection, lambda: "inner" in order)
    env.show("order", order)


@covers("BlockingConnection.sleep", broker=True)
def sleep_lasts_and_dispatches(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, bodies=(b"one",))
    seen: list[str] = []
    channel.basic_consume(queue, lambda ch, m, p, body: seen.append("message"), auto_ack=True)
    env.until_delivered(channel, queue)
    channel.connection.call_later(0.01, lambda: seen.append("timer"))
    started = time.monotonic()
    env.call("sleep", channel.connection.sleep, 0.1)
    env.show("long enough", time.monotonic() - started >= 0.0999)
    env.show("seen", seen)
    env.call("keyword", channel.connection.sleep, duration=0)


@covers("BlockingConnection.sleep", broker=True, cases=[-1, -0.001, "long", None])
def a_sleep_is_not_negative(pika: Any, env: Any, case: Any) -> None:
    connection = env.connect()
    if isinstance(case, (int, float)):
        env.call("sleep", connection.sleep, case)
    else:
        env.call_wrongly("sleep", connection.sleep, case)
    env.call("works", connection.process_data_events)


@covers("BlockingConnection.process_data_events.time_limit", broker=True, cases=[0, 0.02, 1])
def process_data_events_waits_no_longer_than_its_limit(pika: Any, env: Any, case: Any) -> None:
    connection = env.connect()
    connection.process_data_events()
    started = time.monotonic()
    env.call("process", connection.process_data_events, case)
    took = time.monotonic() - started
    env.show("waited", took >= case * 0.999)
    env.show("not much longer", took < case + 2)


@covers("BlockingConnection.process_data_events.time_limit", broker=True, cases=[None, 5, 0.5])
def process_data_events_returns_when_something_happened(pika: Any, env: Any, case: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, bodies=(b"one",))
    got: list[Any] = []
    channel.basic_consume(queue, lambda ch, m, p, body: got.append(body), auto_ack=True)
    while not got:
        channel.connection.process_data_events(time_limit=case)
    env.show("got", got)
    channel.connection.call_later(0.01, lambda: got.append("timer"))
    started = time.monotonic()
    while len(got) < 2:
        channel.connection.process_data_events(time_limit=case)
    env.show("soon", time.monotonic() - started < 4)


@covers("BlockingConnection.process_data_events.time_limit", broker=True, cases=[-1, "long"])
def a_time_limit_is_not_negative(pika: Any, env: Any, case: Any) -> None:
    connection = env.connect()
    if case == -1:
        env.call("process", connection.process_data_events, time_limit=case)
    else:
        env.call_wrongly("process", connection.process_data_events, time_limit=case)
    env.show_state("connection", connection)


@covers("semantics.dispatch", "semantics.timers", broker=True)
def what_an_earlier_call_has_received_comes_before_timers(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, bodies=(b"one", b"two"))
    channel.basic_consume(queue, lambda ch, m, p, body: env.show("message", body), auto_ack=True)
    env.until_delivered(channel, queue)
    channel.basic_qos(prefetch_count=1)  # behind its answer nothing stands unread
    channel.connection.call_later(0, lambda: env.show("timer", True))
    channel.connection.add_callback_threadsafe(lambda: env.show("threadsafe", True))
    for number in range(2):
        env.call(f"process {number}", channel.connection.process_data_events)


@covers("BlockingConnection.add_callback_threadsafe", "semantics.timers", broker=True)
def threadsafe_callbacks_come_behind_timers_that_are_overdue(pika: Any, env: Any) -> None:
    connection = env.connect()
    ran: list[Any] = []
    connection.add_callback_threadsafe(lambda: ran.append("threadsafe"))
    connection.call_later(0.01, lambda: ran.append("10 ms"))
    connection.call_later(0, lambda: ran.append("at once"))
    connection.call_later(60, lambda: ran.append("a minute"))
    time.sleep(0.02)
    env.pump(connection, lambda: len(ran) >= 3)
    env.show("in the order of", ran)


@covers("BlockingConnection.process_data_events", "semantics.dispatch", broker=True)
def an_override_of_process_data_events_is_what_consuming_waits_by(pika: Any, env: Any) -> None:
    class Stop(Exception):
        pass

    channel = env.channel()
    connection = channel.connection
    queue = env.queue(channel, bodies=(b"one", b"two"))
    original = connection.process_data_events
    turns: list[Any] = []

    def watched(time_limit: Any = 0) -> None:
        turns.append(time_limit)
        if len(turns) > 4:
            raise Stop(len(turns))
        original(time_limit=0.1)

    connection.process_data_events = watched
    got: list[Any] = []
    tag = channel.basic_consume(queue, lambda ch, m, p, body: got.append(body), auto_ack=True)
    env.call("start_consuming", channel.start_consuming)
    env.show("got", got)
    env.show("time limits", set(turns))
    channel.basic_cancel(tag)
    turns.clear()
    channel.basic_publish("", queue, b"three")
    env.show("consume", next(channel.consume(queue, auto_ack=True))[2])
    env.call("consume on", next, channel.consume(queue, auto_ack=True))
    env.show("time limits", set(turns))
