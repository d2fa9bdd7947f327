"""Consuming with callbacks: what they get, in which order, and what they may do."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable
from typing import Any

from parity.harness import covers


def consume(env: Any, channel: Any, queue: str, **options: Any) -> list[Any]:
    """Consume `queue` and return the list to which each message's (method, properties, body) is appended."""
    got: list[Any] = []
    channel.basic_consume(
        queue, lambda ch, method, properties, body: got.append((method, properties, body)), **options
    )
    return got


@covers("BlockingChannel.basic_consume", "BlockingChannel.start_consuming", "BasicProperties", broker=True)
def a_callback_gets_channel_method_properties_and_body(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel)
    channel.basic_publish(
        "", queue, b"hello", pika.BasicProperties(content_type="text/plain", headers={"n": 1})
    )

    def on_message(*args: Any) -> None:
        env.show("got", args)
        env.show("channel is ours", args[0] is channel)
        env.show("types", (type(args[1]) is pika.spec.Basic.Deliver, type(args[2]) is pika.BasicProperties))
        env.show("body type", type(args[3]))
        args[0].stop_consuming()

    env.call("basic_consume", channel.basic_consume, queue, on_message)
    env.call("start_consuming", channel.start_consuming)


@covers("spec.Basic.Deliver", "values.method-objects", broker=True)
def what_a_callback_gets_are_ordinary_objects(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, bodies=(b"one", b"two"))
    got = consume(env, channel, queue, consumer_tag="c")
    env.pump(channel.connection, lambda: len(got) == 2)
    (one, properties, _), (two, _, _) = got
    env.show("equal", (one == two, one != two, one == one, properties == got[1][1]))
    two.delivery_tag = one.delivery_tag
    env.show("equal when made so", one == two)
    one.mine = "kept"
    env.show("attribute", (one.mine, vars(one)))
    env.show("built alike", two == pika.spec.Basic.Deliver("c", 1, False, "", queue))
    env.show_pickle("method", one)
    env.show_pickle("properties", properties)
    env.call_wrongly("hash", hash, one)
    env.show_text("repr", repr(one))


def _deleted(method: Any) -> dict[str, Any]:
    del method.delivery_tag
    return vars(method)


def _replaced(method: Any) -> dict[str, Any]:
    method.delivery_tag = "mine"
    return vars(method)


FIRST_LOOKS: dict[str, Callable[[Any], Any]] = {
    "delivery_tag": lambda method: method.delivery_tag,
    "vars": vars,
    "repr": repr,
    "equal": lambda method: method == method,
    "pickle": lambda method: vars(pickle.loads(pickle.dumps(method))),
    "copy": lambda method: vars(copy.copy(method)),
    "deepcopy": lambda method: vars(copy.deepcopy(method)),
    "del": _deleted,
    "set": _replaced,
    "hasattr": lambda method: hasattr(method, "delivery_tag"),
    "encode": lambda method: b"".join(method.encode()),
    "init": lambda method: (method.__init__("again", 7), vars(method)),
}
"""cpika makes a delivery tag's int when something looks for it: each of these may be the first."""


@covers("spec.Basic.Deliver", "values.method-objects", broker=True)
def whatever_looks_first_at_a_method_sees_the_same(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, bodies=tuple(b"%d" % n for n in range(len(FIRST_LOOKS))))
    got = consume(env, channel, queue, consumer_tag="c")
    env.pump(channel.connection, lambda: len(got) == len(FIRST_LOOKS))
    for (method, _, _), (name, look) in zip(got, FIRST_LOOKS.items()):
        env.show(name, look(method))
        env.show(f"{name}, afterwards", vars(method))


@covers("BlockingChannel.start_consuming", "BlockingChannel.stop_consuming", "semantics.order", broker=True)
def messages_come_in_order_until_stop_consuming(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, bodies=tuple(b"%d" % n for n in range(30)))

    def on_message(ch: Any, method: Any, properties: Any, body: bytes) -> None:
        env.show("got", (method.delivery_tag, body))
        ch.basic_ack(method.delivery_tag)
        if body == b"29":
            env.call("stop", ch.stop_consuming)

    channel.basic_consume(queue, on_message)
    env.call("start_consuming", channel.start_consuming)
    env.show("left", channel.queue_declare(queue, passive=True).method.message_count)


@covers("BlockingChannel.start_consuming", "semantics.start-consuming", broker=True)
def start_consuming_without_consumers_returns_at_once(pika: Any, env: Any) -> None:
    channel = env.channel()
    env.call("start_consuming", channel.start_consuming)
    tag = channel.basic_consume(env.queue(channel), print)
    channel.basic_cancel(tag)
    env.call("after a cancel", channel.start_consuming)


@covers("BlockingChannel.stop_consuming", broker=True)
def stop_consuming_with_a_tag_stops_that_consumer(pika: Any, env: Any) -> None:
    channel = env.channel()
    one, two = env.queue(channel, "one", (b"1",)), env.queue(channel, "two")

    def first(ch: Any, method: Any, properties: Any, body: Any) -> None:
        env.show("first", body)
        env.call("stop", ch.stop_consuming, "first")
        env.show("consumers", ch.consumer_tags)
        ch.basic_publish("", two, b"2")

    def second(ch: Any, method: Any, properties: Any, body: Any) -> None:
        env.show("second", body)
        env.call("stop", ch.stop_consuming, consumer_tag="second")

    channel.basic_consume(one, first, consumer_tag="first")
    channel.basic_consume(two, second, consumer_tag="second")
    env.call("start_consuming", channel.start_consuming)
    env.call("unknown", channel.stop_consuming, "nobody")


@covers("BlockingChannel.stop_consuming", broker=True)
def stop_consuming_stops_all_consumers_of_its_channel_only(pika: Any, env: Any) -> None:
    connection = env.connect()
    channel, other = connection.channel(), connection.channel()
    for _ in range(3):
        channel.basic_consume(env.queue(channel), print)
    other.basic_consume(env.queue(other, "other"), print, consumer_tag="other")
    env.show("before", len(channel.consumer_tags))
    env.call("stop", channel.stop_consuming)
    env.show("after", (channel.consumer_tags, other.consumer_tags))
    env.call("again", channel.stop_consuming)


@covers("BlockingChannel.stop_consuming", "BlockingConnection.call_later", broker=True)
def a_timer_stops_consuming(pika: Any, env: Any) -> None:
    channel = env.channel()
    got = consume(env, channel, env.queue(channel))
    channel.connection.call_later(0.01, channel.stop_consuming)
    env.call("start_consuming", channel.start_consuming)
    env.show("got", got)


@covers("BlockingChannel.stop_consuming", "BlockingConnection.add_callback_threadsafe", broker=True)
def another_thread_stops_consuming_by_a_threadsafe_callback(pika: Any, env: Any) -> None:
    channel = env.channel()
    channel.basic_consume(env.queue(channel), print)
    started = threading.Event()
    channel.connection.call_later(0, started.set)

    def stop() -> None:
        started.wait(10)
        channel.connection.add_callback_threadsafe(channel.stop_consuming)

    thread = threading.Thread(target=stop)
    thread.start()
    env.call("start_consuming", channel.start_consuming)
    thread.join()
    env.show("consumers", channel.consumer_tags)


@covers("BlockingChannel.basic_consume.auto_ack", broker=True)
def with_auto_ack_the_broker_forgets_at_once(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, bodies=(b"one", b"two"))
    got = consume(env, channel, queue, auto_ack=True)
    env.pump(channel.connection, lambda: len(got) == 2)
    env.show("got", [body for _, _, body in got])
    env.show("messages", channel.queue_delete(queue).method.message_count)


@covers("BlockingChannel.basic_consume.consumer_tag", "semantics.consumer-tags", broker=True)
def consumer_tags_are_generated_or_given(pika: Any, env: Any) -> None:
    connection = env.connect()
    for _ in range(2):
        channel = connection.channel()
        queue = env.queue(channel)
        env.call("generated", channel.basic_consume, queue, print)
        env.call("given", channel.basic_consume, queue, print, consumer_tag="mine")
        env.call("empty", channel.basic_consume, queue, print, consumer_tag="")
        env.call("None", channel.basic_consume, queue, print, consumer_tag=None)
        env.call("unicode", channel.basic_consume, queue, print, consumer_tag="mein-ünïcødé")
        env.show("different", len(set(channel.consumer_tags)))


@covers(
    "BlockingChannel.basic_consume.consumer_tag",
    "exceptions.DuplicateConsumerTag",
    "semantics.consumer-tags",
    broker=True,
)
def a_consumer_tag_is_used_once(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, bodies=(b"one",))
    got = consume(env, channel, queue, consumer_tag="mine")
    env.call("again", channel.basic_consume, queue, print, consumer_tag="mine")
    env.show("consumers", channel.consumer_tags)
    env.pump(channel.connection, lambda: got)
    env.call(
        "on another channel", channel.connection.channel().basic_consume, queue, print, consumer_tag="mine"
    )
    channel.basic_cancel("mine")
    env.call("after a cancel", channel.basic_consume, queue, print, consumer_tag="mine")


@covers("BlockingChannel.basic_consume.consumer_tag", broker=True, cases=[5, 1.5, ("t",), "t" * 256])
def a_consumer_tag_must_be_a_short_text(pika: Any, env: Any, case: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel)
    env.call("consume", channel.basic_consume, queue, print, consumer_tag=case)
    env.show("consumers", channel.consumer_tags)


@covers("BlockingChannel.basic_consume.exclusive", "semantics.channel-closed-by-broker", broker=True)
def an_exclusive_consumer_is_alone(pika: Any, env: Any) -> None:
    connection = env.connect()
    channel, other = connection.channel(), connection.channel()
    queue = env.queue(channel)
    env.call("exclusive", channel.basic_consume, queue, print, exclusive=True, consumer_tag="mine")
    env.call("another", other.basic_consume, queue, print)
    env.show_state("other", other)
    env.show("consumers", (channel.consumer_tags, other.consumer_tags))
    channel.basic_cancel("mine")
    env.call("then", connection.channel().basic_consume, queue, print, consumer_tag="then")


@covers("BlockingChannel.basic_consume.exclusive", "semantics.channel-closed-by-broker", broker=True)
def a_consumer_cannot_become_exclusive_beside_others(pika: Any, env: Any) -> None:
    connection = env.connect()
    channel, other = connection.channel(), connection.channel()
    queue = env.queue(channel)
    channel.basic_consume(queue, print)
    env.call("exclusive", other.basic_consume, queue, print, exclusive=True)


@covers("BlockingChannel.basic_consume.arguments", broker=True)
def a_consumer_of_higher_priority_is_served_first(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel)
    low = consume(env, channel, queue, arguments={"x-priority": 1}, auto_ack=True)
    high = consume(env, channel, queue, arguments={"x-priority": 10}, auto_ack=True)
    for body in (b"one", b"two", b"three"):
        channel.basic_publish("", queue, body)
    env.pump(channel.connection, lambda: len(low) + len(high) == 3)
    env.show("low", len(low))
    env.show("high", [body for _, _, body in high])


@covers("BlockingChannel.basic_consume", broker=True)
def a_consume_takes_positions_and_keywords(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel)
    env.call("positional", channel.basic_consume, queue, print, True, False, "a", {"x-priority": 1})
    env.call(
        "keywords",
        channel.basic_consume,
        queue=queue,
        on_message_callback=print,
        auto_ack=False,
        exclusive=False,
        consumer_tag="b",
        arguments=None,
    )
    env.call_wrongly("no callback", channel.basic_consume, queue)
    env.call_wrongly("old name", channel.basic_consume, queue, print, no_ack=True)
    env.show("consumers", channel.consumer_tags)


@covers("BlockingChannel.basic_cancel", "semantics.basic-cancel", broker=True)
def a_cancel_inside_the_callback_requeues_what_was_not_dispatched(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, bodies=(b"one", b"two", b"three", b"four"))

    def on_message(ch: Any, method: Any, properties: Any, body: Any) -> None:
        env.show("got", (method.delivery_tag, body))
        env.call("cancel", ch.basic_cancel, method.consumer_tag)
        ch.basic_ack(method.delivery_tag)

    channel.basic_consume(queue, on_message)
    env.call("start_consuming", channel.start_consuming)
    env.until_ready(channel, queue, 3)
    env.show("rest", [(m.redelivered, b) for m, _, b in (channel.basic_get(queue) for _ in range(3))])


@covers("BlockingChannel.basic_cancel", "semantics.basic-cancel", broker=True)
def a_cancel_requeues_what_was_received(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, bodies=(b"one", b"two", b"three"))
    got = consume(env, channel, queue, consumer_tag="c")
    env.until_delivered(channel, queue)
    env.call("cancel", channel.basic_cancel, "c")
    env.show("dispatched", got)
    env.until_ready(channel, queue, 3)
    env.show("again", [(m.redelivered, b) for m, _, b in (channel.basic_get(queue) for _ in range(3))])


@covers("BlockingChannel.basic_cancel", "semantics.basic-cancel", broker=True)
def a_cancel_with_auto_ack_returns_what_was_received(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, bodies=(b"one", b"two", b"three"))
    got = consume(env, channel, queue, consumer_tag="c", auto_ack=True)
    env.until_delivered(channel, queue)
    env.call("cancel", channel.basic_cancel, consumer_tag="c")
    env.show("dispatched", got)
    env.call("process", channel.connection.process_data_events)
    env.show("dispatched", got)


@covers("BlockingChannel.basic_cancel", "semantics.basic-cancel", broker=True)
def a_cancel_leaves_the_messages_of_other_consumers(pika: Any, env: Any) -> None:
    channel = env.channel()
    one, two = env.queue(channel, "one", (b"1",)), env.queue(channel, "two", (b"2",))
    first = consume(env, channel, one, consumer_tag="first", auto_ack=True)
    second = consume(env, channel, two, consumer_tag="second", auto_ack=True)
    env.until_delivered(channel, one)
    env.until_delivered(channel, two)
    env.call("cancel", channel.basic_cancel, "first")
    env.show("consumers", channel.consumer_tags)
    env.pump(channel.connection, lambda: second)
    env.show("dispatched", (len(first), len(second)))


@covers("BlockingChannel.basic_cancel", "semantics.basic-cancel", broker=True, cases=["nobody", "", None, 5])
def an_unknown_consumer_tag_is_a_warning(pika: Any, env: Any, case: Any) -> None:
    channel = env.channel()
    with env.log("cancel"):
        env.call("cancel", channel.basic_cancel, case)
    env.show_state("channel", channel)


@covers("BlockingChannel.basic_cancel", broker=True)
def a_consumer_is_cancelled_once(pika: Any, env: Any) -> None:
    channel = env.channel()
    tag = channel.basic_consume(env.queue(channel), print)
    env.call("once", channel.basic_cancel, tag)
    with env.log("twice"):
        env.call("twice", channel.basic_cancel, tag)


@covers("BlockingChannel.start_consuming", "semantics.callback-exceptions", broker=True)
def the_exception_of_a_callback_leaves_start_consuming_which_continues_after(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, bodies=(b"0", b"1", b"2", b"3"))

    def on_message(ch: Any, method: Any, properties: Any, body: bytes) -> None:
        env.show("got", (method.delivery_tag, method.redelivered, body))
        if body in (b"1", b"3"):
            raise ValueError(f"mine about {body!r}")
        if body == b"5":
            ch.stop_consuming()

    channel.basic_consume(queue, on_message)
    for more in (b"4", b"5", b"6"):
        env.call("start_consuming", channel.start_consuming)
        channel.basic_publish("", queue, more)
    env.show_state("channel", channel)


@covers("semantics.callback-exceptions", broker=True)
def an_exception_that_is_no_exception_leaves_too(pika: Any, env: Any) -> None:
    class Stop(BaseException):
        pass

    channel = env.channel()
    queue = env.queue(channel, bodies=(b"one",))
    got: list[Any] = []

    def on_message(ch: Any, method: Any, properties: Any, body: bytes) -> None:
        got.append(body)
        if len(got) == 1:
            raise Stop("now")
        ch.stop_consuming()

    channel.basic_consume(queue, on_message, auto_ack=True)
    try:
        channel.start_consuming()
    except Stop as stop:
        env.show("left with", stop.args)
    channel.basic_publish("", queue, b"two")
    env.call("start_consuming", channel.start_consuming)
    env.show("got", got)


@covers("BlockingChannel.basic_consume", "semantics.callback-exceptions", broker=True)
def a_callback_of_the_wrong_shape_is_a_type_error_of_the_dispatching_call(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, bodies=(b"one",))
    channel.basic_consume(queue, lambda body: None)
    env.call("start_consuming", channel.start_consuming)


@covers("exceptions.ReentrancyError", "semantics.dispatch", broker=True)
def start_consuming_inside_a_callback_is_a_reentrancy_error(pika: Any, env: Any) -> None:
    connection = env.connect()
    channel, other = connection.channel(), connection.channel()
    queue = env.queue(channel, bodies=(b"one",))
    other.basic_consume(env.queue(other, "other"), print)

    def on_message(ch: Any, method: Any, properties: Any, body: Any) -> None:
        env.call("same channel", ch.start_consuming)
        env.call("other channel", other.start_consuming)
        ch.stop_consuming()

    channel.basic_consume(queue, on_message)
    env.call("start_consuming", channel.start_consuming)


@covers(
    "semantics.dispatch", "BlockingConnection.process_data_events", broker=True, cases=["process", "sleep"]
)
def nested_dispatching_does_input_and_output_only(pika: Any, env: Any, case: Any) -> None:
    channel = env.channel()
    connection = channel.connection
    queue = env.queue(channel, bodies=(b"0", b"1", b"2"))
    depth: list[int] = []

    def on_message(ch: Any, method: Any, properties: Any, body: bytes) -> None:
        depth.append(1)
        env.show("entered", (len(depth), body))
        connection.call_later(0, lambda: env.show("timer at depth", len(depth)))
        if case == "process":
            env.call("nested", connection.process_data_events)
        else:
            env.call("nested", connection.sleep, 0.005)
        depth.pop()
        if body == b"2":
            ch.stop_consuming()

    channel.basic_consume(queue, on_message, auto_ack=True)
    env.until_delivered(channel, queue)
    env.call("start_consuming", channel.start_consuming)
    env.call("process", connection.process_data_events)


@covers("semantics.dispatch", broker=True)
def a_callback_may_make_any_call(pika: Any, env: Any) -> None:
    channel = env.channel()
    connection = channel.connection
    queue, result = env.queue(channel, bodies=(b"one", b"two")), env.queue(channel, "result")

    def on_message(ch: Any, method: Any, properties: Any, body: bytes) -> None:
        env.show("got", body)
        env.call("ack", ch.basic_ack, method.delivery_tag)
        env.call("declare", ch.queue_declare, env.name("inner"), exclusive=True)
        env.call("qos", ch.basic_qos, prefetch_count=5)
        with connection.channel() as inner:
            inner.confirm_delivery()
            env.call("publish", inner.basic_publish, "", result, body.upper(), mandatory=True)
            env.call("get", inner.basic_get, result)
        if body == b"two":
            ch.stop_consuming()

    channel.basic_consume(queue, on_message)
    env.call("start_consuming", channel.start_consuming)


@covers("semantics.dispatch", broker=True)
def calls_outside_queue_deliveries_and_dispatch_nothing(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, bodies=tuple(b"%d" % n for n in range(5)))
    got = consume(env, channel, queue)
    env.until_delivered(channel, queue)
    env.show("before", len(got))
    env.call("process", channel.connection.process_data_events)
    env.show("after one call", [body for _, _, body in got])
    env.call("process", channel.connection.process_data_events)
    env.show("after another", len(got))


@covers("BlockingChannel.close", "semantics.dispatch", broker=True)
def a_callback_may_close_its_channel(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, bodies=(b"one", b"two", b"three"))

    def on_message(ch: Any, method: Any, properties: Any, body: Any) -> None:
        env.show("got", body)
        env.call("close", ch.close)

    channel.basic_consume(queue, on_message)
    env.call("start_consuming", channel.start_consuming)
    env.show_state("channel", channel)
    other = channel.connection.channel()
    env.until_ready(other, queue, 3)


@covers("BlockingConnection.close", "semantics.dispatch", broker=True)
def a_callback_may_close_the_connection(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, bodies=(b"one", b"two", b"three"))

    def on_message(ch: Any, method: Any, properties: Any, body: Any) -> None:
        env.show("got", body)
        env.call("close", ch.connection.close)

    channel.basic_consume(queue, on_message)
    env.call("start_consuming", channel.start_consuming)
    env.show_state("channel", channel)
    env.show_state("connection", channel.connection)
