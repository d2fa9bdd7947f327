"""Consumers that the broker cancels, several consumers, and what else comes to callbacks."""

from __future__ import annotations

from typing import Any

from parity.harness import covers
from parity.scenarios.consume import consume


@covers(
    "BlockingChannel.add_on_cancel_callback", "semantics.start-consuming", "spec.Basic.Cancel", broker=True
)
def the_deletion_of_its_queue_cancels_a_consumer_and_ends_start_consuming(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, exclusive=False)
    env.call("add", channel.add_on_cancel_callback, env.collector("first callback"))
    channel.add_on_cancel_callback(env.collector("second callback"))
    tag = channel.basic_consume(queue, print, consumer_tag="mine")
    channel.connection.call_later(0, lambda: env.third_party().queue_delete(queue))
    env.call("start_consuming", channel.start_consuming)
    env.show("consumers", channel.consumer_tags)
    env.show_state("channel", channel)
    with env.log("cancel"):
        env.call("cancel", channel.basic_cancel, tag)


@covers("BlockingChannel.add_on_cancel_callback", broker=True)
def a_cancel_callback_added_twice_is_called_once(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, exclusive=False)
    callback = env.collector("callback")
    channel.add_on_cancel_callback(callback)
    channel.add_on_cancel_callback(callback)
    channel.basic_consume(queue, print, consumer_tag="mine")
    channel.connection.call_later(0, lambda: env.third_party().queue_delete(queue))
    env.call("start_consuming", channel.start_consuming)


@covers("BlockingChannel.add_on_cancel_callback", "semantics.start-consuming", broker=True)
def what_came_before_the_cancellation_is_dispatched_before_it(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, exclusive=False, bodies=(b"one", b"two"))
    channel.add_on_cancel_callback(lambda frame: env.show("cancelled", frame.method.consumer_tag))
    channel.basic_consume(
        queue, lambda ch, method, properties, body: env.show("got", body), consumer_tag="mine"
    )
    env.until_delivered(channel, queue)
    env.third_party().queue_delete(queue)
    env.call("start_consuming", channel.start_consuming)


@covers("BlockingChannel.add_on_cancel_callback", broker=True)
def other_consumers_outlive_the_cancellation_of_one(pika: Any, env: Any) -> None:
    channel = env.channel()
    doomed, kept = env.queue(channel, "doomed", exclusive=False), env.queue(channel, "kept")

    def on_cancel(frame: Any) -> None:
        env.show("cancelled", frame)
        env.show("consumers", channel.consumer_tags)
        channel.basic_publish("", kept, b"now")

    def on_message(ch: Any, method: Any, properties: Any, body: Any) -> None:
        env.show("got", body)
        ch.stop_consuming()

    channel.add_on_cancel_callback(on_cancel)
    channel.basic_consume(doomed, on_message, consumer_tag="doomed")
    channel.basic_consume(kept, on_message, consumer_tag="kept", auto_ack=True)
    channel.connection.call_later(0, lambda: env.third_party().queue_delete(doomed))
    env.call("start_consuming", channel.start_consuming)


@covers("BlockingChannel.add_on_cancel_callback", "semantics.callback-exceptions", broker=True)
def the_exception_of_a_cancel_callback_leaves_the_dispatching_call(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, exclusive=False)

    def on_cancel(frame: Any) -> None:
        raise LookupError("mine")

    channel.add_on_cancel_callback(on_cancel)
    channel.basic_consume(queue, print)
    channel.connection.call_later(0, lambda: env.third_party().queue_delete(queue))
    env.call("start_consuming", channel.start_consuming)
    env.show("consumers", channel.consumer_tags)
    env.call("start_consuming", channel.start_consuming)


@covers("BlockingChannel.basic_cancel", "BlockingChannel.add_on_cancel_callback", broker=True)
def a_consumer_that_the_broker_cancelled_can_be_cancelled_before_the_callback(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, exclusive=False)
    channel.add_on_cancel_callback(env.collector("cancelled"))
    channel.basic_consume(queue, print, consumer_tag="mine")
    env.third_party().queue_delete(queue)
    channel.basic_qos(prefetch_count=1)
    env.show("consumers", channel.consumer_tags)
    env.call("cancel", channel.basic_cancel, "mine")
    env.show("consumers", channel.consumer_tags)
    env.call("process", channel.connection.process_data_events)


@covers("BlockingConnection.process_data_events", "semantics.dispatch", broker=True)
def consumers_on_several_channels_are_served_by_one_loop(pika: Any, env: Any) -> None:
    connection = env.connect()
    channels = [connection.channel() for _ in range(3)]
    queues = [env.queue(channel, f"q{int(channel)}") for channel in channels]
    order: list[Any] = []
    for channel, queue in zip(channels, queues):
        channel.basic_consume(queue, lambda ch, m, p, body: order.append((int(ch), body)), auto_ack=True)
    for number, index in enumerate((0, 2, 1, 1, 0, 2)):
        channels[0].basic_publish("", queues[index], b"%d" % number)
        env.pump(connection, lambda wanted=number + 1: len(order) == wanted)
    env.show("order", order)


@covers("semantics.order", "semantics.dispatch", broker=True)
def consumers_of_one_channel_are_called_in_the_order_of_arrival(pika: Any, env: Any) -> None:
    channel = env.channel()
    queues = [env.queue(channel, f"q{number}") for number in range(3)]
    order: list[Any] = []
    for number, queue in enumerate(queues):
        channel.basic_consume(
            queue, lambda ch, m, p, body, number=number: order.append((number, body)), auto_ack=True
        )
    for number, index in enumerate((2, 0, 1, 1, 2, 0)):
        channel.basic_publish("", queues[index], b"%d" % number)
        env.until_delivered(channel, queues[index])
    env.call("process", channel.connection.process_data_events)
    env.show("order", order)


@covers("BlockingChannel.start_consuming", "semantics.dispatch", broker=True)
def start_consuming_serves_the_other_channels_too(pika: Any, env: Any) -> None:
    connection = env.connect()
    channel, other = connection.channel(), connection.channel()
    queue, quiet = env.queue(other, bodies=(b"for the other",)), env.queue(channel, "quiet")

    def on_message(ch: Any, method: Any, properties: Any, body: Any) -> None:
        env.show("got", (int(ch), body))
        channel.stop_consuming()

    channel.basic_consume(quiet, print)
    other.basic_consume(queue, on_message)
    env.call("start_consuming", channel.start_consuming)
    env.show("consumers", (channel.consumer_tags, len(other.consumer_tags)))


@covers("BlockingChannel.basic_consume", broker=True)
def a_callback_may_publish_to_its_own_queue(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, bodies=(b"0",))
    seen: list[int] = []

    def on_message(ch: Any, method: Any, properties: Any, body: bytes) -> None:
        seen.append(int(body))
        ch.basic_ack(method.delivery_tag)
        if seen[-1] == 25:
            ch.stop_consuming()
        else:
            ch.basic_publish("", queue, b"%d" % (seen[-1] + 1))

    channel.basic_consume(queue, on_message)
    env.call("start_consuming", channel.start_consuming)
    env.show("seen", seen)


@covers(
    "BlockingChannel.basic_consume", "Parameters.frame_max.negotiation", broker=True, cases=[8192, 131072]
)
def large_bodies_are_delivered_whole(pika: Any, env: Any, case: Any) -> None:
    channel = env.connect(frame_max=case).channel()
    bodies = (bytes(range(256)) * 1200, b"", b"small", bytes(range(255, -1, -1)) * 1500)
    queue = env.queue(channel, bodies=bodies)
    got = consume(env, channel, queue, auto_ack=True)
    env.pump(channel.connection, lambda: len(got) == len(bodies))
    env.show("whole", [body == sent for (_, _, body), sent in zip(got, bodies)])


@covers("BlockingChannel.basic_consume", broker=True)
def consumers_of_one_queue_share_its_messages(pika: Any, env: Any) -> None:
    connection = env.connect()
    channels = [connection.channel() for _ in range(2)]
    queue = env.queue(channels[0])
    got = [consume(env, channel, queue, auto_ack=True) for channel in channels]
    for number in range(10):
        channels[0].basic_publish("", queue, b"%d" % number)
    env.pump(connection, lambda: sum(map(len, got)) == 10)
    env.show("all", sorted(body for part in got for _, _, body in part))
    env.show("both", all(got))


@covers("semantics.channel-closed-by-broker", "BlockingChannel.start_consuming", broker=True)
def the_brokers_close_of_the_channel_leaves_start_consuming(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, bodies=(b"one",))

    def on_message(ch: Any, method: Any, properties: Any, body: Any) -> None:
        env.show("got", body)
        env.call("ack", ch.basic_ack, 77)

    channel.basic_consume(queue, on_message)
    env.call("start_consuming", channel.start_consuming)
    env.show_state("channel", channel)
    env.show("consumers", channel.consumer_tags)
    env.call("again", channel.start_consuming)


@covers("spec.Basic.Deliver", "headers.out.dict", broker=True)
def a_dead_lettered_message_tells_its_history(pika: Any, env: Any) -> None:
    channel = env.channel()
    dead = env.queue(channel, "dead")
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead}
    queue = env.queue(channel, bodies=(b"refused",), arguments=arguments)
    got = consume(env, channel, dead)
    method, _, _ = channel.basic_get(queue)
    env.call("reject", channel.basic_reject, method.delivery_tag, requeue=False)
    env.pump(channel.connection, lambda: got)
    headers = got[0][1].headers
    death = headers["x-death"][0]
    env.show("time", (type(death["time"]).__name__, str(death["time"].tzinfo)))
    del death["time"]
    env.show("headers", headers)
