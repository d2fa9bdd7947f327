"""Consuming with the generator `consume()`."""

from __future__ import annotations

import types
from typing import Any

from parity.harness import covers


@covers("BlockingChannel.consume", broker=True)
def consume_is_a_generator_of_messages(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, bodies=(b"one", b"two", b"three"))
    generator = channel.consume(queue)
    env.show("is a generator", isinstance(generator, types.GeneratorType))
    env.show("consumers before", channel.consumer_tags)
    for method, properties, body in generator:
        env.show("got", (method, properties, body))
        env.call("ack", channel.basic_ack, method.delivery_tag)
        if body == b"three":
            break
    env.show("consumers", len(channel.consumer_tags))
    env.call("cancel", channel.cancel)
    env.show("consumers", channel.consumer_tags)
    env.show("left", channel.queue_declare(queue, passive=True).method.message_count)


@covers("BlockingChannel.consume", "semantics.consume-generator", broker=True)
def consume_resumes_with_the_same_arguments(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, bodies=(b"one", b"two", b"three", b"four"))
    tags = []
    for _ in range(4):
        for method, _, body in channel.consume(queue, auto_ack=True):
            env.show("got", (method.delivery_tag, body))
            tags.append(method.consumer_tag)
            break
    env.show("one consumer", (len(set(tags)), len(channel.consumer_tags)))
    env.call("cancel", channel.cancel)


@covers(
    "BlockingChannel.consume",
    "semantics.consume-generator",
    broker=True,
    cases=[
        {"auto_ack": True},
        {"exclusive": True},
        {"queue": "another"},
    ],
)
def consume_with_other_arguments_is_a_value_error(pika: Any, env: Any, case: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, bodies=(b"one", b"two", b"three"))
    next(channel.consume(queue))
    env.call("other", next, channel.consume(**{"queue": queue, **case}))
    env.show("same goes on", next(channel.consume(queue))[2])
    env.call("cancel", channel.cancel)
    # No tag: what came back may have been given to the old consumer once more before it was cancelled.
    env.show("then it may", next(channel.consume(queue, auto_ack=True))[2])


@covers("BlockingChannel.consume", "semantics.consume-generator", broker=True)
def consume_resumes_whatever_the_other_arguments_are(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, bodies=(b"one", b"two", b"three"))
    first = next(channel.consume(queue, consumer_tag="mine", arguments={"x-priority": 1}))
    second = next(channel.consume(queue, consumer_tag="ignored", inactivity_timeout=5))
    third = next(channel.consume(queue, False, False, {"x-priority": 9}, 5, "ignored too"))
    env.show("got", [(method.consumer_tag, body) for method, _, body in (first, second, third)])
    env.show("consumers", channel.consumer_tags)


@covers("BlockingChannel.consume.inactivity_timeout", "semantics.consume-generator", broker=True)
def inactivity_yields_three_nones_and_goes_on(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel)
    generator = channel.consume(queue, inactivity_timeout=0.02)
    env.show("got", [next(generator) for _ in range(2)])
    channel.basic_publish("", queue, b"at last")
    env.until_delivered(channel, queue)
    env.show("got", next(generator))
    env.show("got", next(generator))
    env.show("consumers", len(channel.consumer_tags))


@covers("BlockingChannel.consume.inactivity_timeout", broker=True)
def no_time_for_inactivity_yields_at_once_what_there_is(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel)
    generator = channel.consume(queue, inactivity_timeout=0)
    env.show("got", [next(generator) for _ in range(3)])


@covers("BlockingChannel.consume.inactivity_timeout", broker=True)
def messages_that_wait_come_before_inactivity(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, bodies=(b"one", b"two"))
    generator = channel.consume(queue, inactivity_timeout=5)
    next(generator)
    env.until_delivered(channel, queue)
    env.show("got", next(generator)[2])


@covers("BlockingChannel.cancel", "semantics.consume-generator", broker=True)
def cancel_requeues_what_waits(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, bodies=tuple(b"%d" % n for n in range(5)))
    method, _, body = next(channel.consume(queue))
    env.show("first", body)
    env.until_delivered(channel, queue)
    env.show("waiting", channel.get_waiting_message_count())
    env.call("cancel", channel.cancel)
    env.show("waiting", channel.get_waiting_message_count())
    channel.basic_ack(method.delivery_tag)
    env.until_ready(channel, queue, 4)
    env.show("again", [(m.redelivered, b) for m, _, b in (channel.basic_get(queue) for _ in range(4))])


@covers("BlockingChannel.cancel", broker=True)
def cancel_with_auto_ack_drops_what_waits(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, bodies=(b"one", b"two", b"three"))
    next(channel.consume(queue, auto_ack=True))
    env.until_delivered(channel, queue)
    env.show("waiting", channel.get_waiting_message_count())
    env.call("cancel", channel.cancel)
    env.show("left", channel.queue_delete(queue).method.message_count)


@covers("BlockingChannel.cancel", broker=True)
def cancel_without_a_generator_is_a_warning(pika: Any, env: Any) -> None:
    channel = env.channel()
    with env.log("cancel"):
        env.call("cancel", channel.cancel)
    next(channel.consume(env.queue(channel, bodies=(b"one",))))
    env.call("once", channel.cancel)
    with env.log("twice"):
        env.call("twice", channel.cancel)


@covers("BlockingChannel.cancel", "BlockingChannel.consume", broker=True)
def a_cancel_inside_the_loop_ends_it(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, bodies=(b"one", b"two"))
    for method, _, body in channel.consume(queue):
        env.show("got", body)
        channel.basic_ack(method.delivery_tag)
        env.call("cancel", channel.cancel)
    env.show("after the loop", channel.consumer_tags)


@covers("BlockingChannel.get_waiting_message_count", broker=True)
def waiting_messages_are_counted(pika: Any, env: Any) -> None:
    channel = env.channel()
    env.call("without a generator", channel.get_waiting_message_count)
    queue = env.queue(channel, bodies=(b"one", b"two", b"three"))
    generator = channel.consume(queue)
    next(generator)
    env.until_delivered(channel, queue)
    env.call("two wait", channel.get_waiting_message_count)
    next(generator)
    env.call("one waits", channel.get_waiting_message_count)


@covers("BlockingChannel.consume", "semantics.consume-generator", broker=True)
def the_deletion_of_its_queue_ends_the_generator(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, exclusive=False, bodies=(b"one", b"two"))
    channel.add_on_cancel_callback(env.collector("cancel callback"))
    generator = channel.consume(queue, consumer_tag="mine")
    env.show("got", next(generator)[2])
    env.until_delivered(channel, queue)
    env.third_party().queue_delete(queue)
    channel.basic_qos(prefetch_count=1)
    env.show("waiting", channel.get_waiting_message_count())
    env.show("rest", [body for _, _, body in generator])
    env.call("next", next, generator)
    env.call("cancel", channel.cancel)
    env.call("process", channel.connection.process_data_events)


@covers("BlockingChannel.consume", "semantics.consume-generator", broker=True)
def the_deletion_of_its_queue_ends_a_generator_that_waits(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, exclusive=False)
    channel.connection.call_later(0, lambda: env.third_party().queue_delete(queue))
    env.show("all", list(channel.consume(queue)))
    env.show_state("channel", channel)


@covers("BlockingChannel.consume.auto_ack", "BlockingChannel.consume.exclusive", broker=True)
def consume_may_be_exclusive_and_acknowledge_by_itself(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, bodies=(b"one",))
    env.show("got", next(channel.consume(queue, auto_ack=True, exclusive=True))[2])
    env.call("another", channel.connection.channel().basic_consume, queue, print)
    env.show("messages", channel.queue_declare(queue, passive=True).method.message_count)


@covers("BlockingChannel.consume.consumer_tag", "exceptions.DuplicateConsumerTag", broker=True)
def the_generators_tag_may_be_given_but_not_taken(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, bodies=(b"one", b"two"))
    channel.basic_consume(env.queue(channel, "other"), print, consumer_tag="taken")
    env.call("taken", next, channel.consume(queue, consumer_tag="taken"))
    env.show("got", next(channel.consume(queue, consumer_tag="free"))[0].consumer_tag)
    env.show("consumers", channel.consumer_tags)


@covers("BlockingChannel.consume", broker=True)
def a_generator_that_was_closed_leaves_its_consumer(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, bodies=(b"one", b"two"))
    generator = channel.consume(queue)
    next(generator)
    generator.close()
    env.show("consumers", len(channel.consumer_tags))
    env.call("closed", next, generator)
    env.show("resumed", next(channel.consume(queue))[2])


@covers("BlockingChannel.consume", "semantics.callback-exceptions", broker=True)
def an_exception_in_the_loop_leaves_the_rest_for_later(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, bodies=(b"one", b"two"))

    def loop() -> None:
        for _, _, body in channel.consume(queue):
            raise ValueError(f"mine about {body!r}")

    env.call("loop", loop)
    env.call("loop", loop)
    env.show_state("channel", channel)


@covers("BlockingChannel.consume", broker=True)
def arguments_of_consume_are_looked_at_when_it_starts(pika: Any, env: Any) -> None:
    channel = env.channel()
    channel.close()
    generator = channel.consume("nowhere")
    env.show("made", isinstance(generator, types.GeneratorType))
    env.call("started", next, generator)
    env.call_wrongly("no queue", channel.consume)


@covers("BlockingChannel.consume", "semantics.channel-closed-by-broker", broker=True)
def the_brokers_close_of_the_channel_leaves_the_generator(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, bodies=(b"one",))
    generator = channel.consume(queue)
    next(generator)
    channel.basic_ack(99)
    env.call("next", next, generator)
    env.show_state("channel", channel)
    env.call("again", next, channel.consume(queue))
    env.show("waiting", channel.get_waiting_message_count())


@covers("BlockingChannel.consume", "semantics.dispatch", broker=True)
def callbacks_and_timers_run_while_the_generator_waits(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue, other = env.queue(channel), env.queue(channel, "other")

    def on_message(ch: Any, method: Any, properties: Any, body: Any) -> None:
        env.show("callback", body)
        ch.basic_publish("", queue, b"for the generator")

    def on_timer() -> None:
        env.show("timer", True)
        channel.basic_publish("", other, b"for the callback")

    channel.basic_consume(other, on_message, auto_ack=True)
    channel.connection.call_later(0, on_timer)
    env.show("generator", next(channel.consume(queue, auto_ack=True))[2])


@covers("BlockingChannel.stop_consuming", "BlockingChannel.consume", broker=True)
def stop_consuming_stops_the_generator_too(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, bodies=(b"one", b"two"))
    generator = channel.consume(queue)
    next(generator)
    env.until_delivered(channel, queue)
    env.call("stop", channel.stop_consuming)
    env.show("rest", list(generator))
    env.until_ready(channel, queue, 1)


@covers("BlockingChannel.close", "BlockingChannel.consume", broker=True, cases=["channel", "connection"])
def closing_ends_the_generator(pika: Any, env: Any, case: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, bodies=(b"one", b"two"))
    generator = channel.consume(queue)
    next(generator)
    env.call("close", channel.close if case == "channel" else channel.connection.close)
    env.show("rest", list(generator))
    env.call("waiting", channel.get_waiting_message_count)


@covers("BlockingChannel.start_consuming", "BlockingChannel.consume", broker=True)
def start_consuming_serves_beside_a_generator(pika: Any, env: Any) -> None:
    channel = env.channel()
    one, two = env.queue(channel, "one", (b"1", b"2")), env.queue(channel, "two", (b"3",))
    env.show("generator", next(channel.consume(one))[2])

    def on_message(ch: Any, method: Any, properties: Any, body: Any) -> None:
        env.show("callback", body)
        ch.stop_consuming(method.consumer_tag)
        ch.cancel()

    channel.basic_consume(two, on_message)
    env.call("start_consuming", channel.start_consuming)
    env.show("consumers", channel.consumer_tags)


@covers("BlockingChannel.consume", "semantics.consume-generator", "semantics.dispatch", broker=True)
def consume_gives_what_has_come_before_it_runs_the_callbacks_of_others(pika: Any, env: Any) -> None:
    channel = env.channel()
    other = channel.connection.channel()
    queue, others = env.queue(channel), env.queue(channel)
    other.basic_consume(others, lambda ch, m, p, body: env.show("callback", body), auto_ack=True)
    generator = channel.consume(queue, auto_ack=True, inactivity_timeout=0.2)
    env.show("nothing yet", next(generator))
    for target in (others, queue, others, queue):
        channel.basic_publish("", target, target.encode())
    env.until_delivered(channel, queue)
    env.until_delivered(channel, others)
    channel.basic_qos(prefetch_count=1)  # behind its answer nothing stands unread
    channel.connection.call_later(0, lambda: env.show("timer", True))
    env.show("in store", channel.get_waiting_message_count())
    for _ in range(2):
        env.show("got", next(generator)[2] == queue.encode())
    env.call("process", channel.connection.process_data_events)
    env.call("cancel", channel.cancel)
