"""Getting one message at a time, and acknowledging, refusing and requeueing."""

from __future__ import annotations

from typing import Any

from parity.harness import covers


@covers("BlockingChannel.basic_get", broker=True)
def get_from_an_empty_queue_gives_three_nones(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel)
    env.call("get", channel.basic_get, queue)
    env.call("keywords", channel.basic_get, queue=queue, auto_ack=True)


@covers("BlockingChannel.basic_get", "spec.Basic.GetOk", broker=True)
def get_gives_method_properties_body_and_counts_the_rest(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, bodies=(b"one", b"two", b"three"))
    for _ in range(4):
        got = env.call("get", channel.basic_get, queue)
    channel.basic_nack(multiple=True)
    env.until_ready(channel, queue, 3)
    got = channel.basic_get(queue)
    env.show(
        "types", (type(got), type(got[0]) is pika.spec.Basic.GetOk, type(got[1]) is pika.BasicProperties)
    )
    env.show_pickle("method", got[0])


@covers("BlockingChannel.basic_get.auto_ack", broker=True)
def get_with_auto_ack_needs_no_acknowledgement(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, bodies=(b"one", b"two"))
    env.show("got", channel.basic_get(queue, True)[2])
    env.show("got", channel.basic_get(queue, auto_ack=False)[2])
    channel.close()
    other = channel.connection.channel()
    env.until_ready(other, queue, 1)
    env.show("again", other.basic_get(queue))


@covers("BlockingChannel.basic_get", broker=True)
def get_beside_consumers_gets_its_own_message(pika: Any, env: Any) -> None:
    channel = env.channel()
    consumed, queue = env.queue(channel, "c", (b"consumed",)), env.queue(channel, bodies=(b"got",))
    bodies: list[Any] = []
    channel.basic_consume(consumed, lambda ch, m, p, body: bodies.append(body))
    env.show("get", channel.basic_get(queue)[2])
    env.show("empty", channel.basic_get(queue))
    env.show("dispatched", bodies)
    env.pump(channel.connection, lambda: bodies)
    env.show("dispatched", bodies)


@covers("BlockingChannel.basic_get", broker=True)
def get_takes_large_and_empty_bodies(pika: Any, env: Any) -> None:
    channel = env.channel()
    bodies = (b"x" * 300_000, b"", bytes(range(256)) * 2000)
    queue = env.queue(channel, bodies=bodies)
    env.show("whole", [channel.basic_get(queue, auto_ack=True)[2] == body for body in bodies])


@covers("BlockingChannel.basic_ack", broker=True)
def an_acknowledged_message_is_gone(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, bodies=(b"one", b"two"))
    method, _, _ = channel.basic_get(queue)
    env.call("ack", channel.basic_ack, method.delivery_tag)
    method, _, _ = channel.basic_get(queue)
    env.call("keywords", channel.basic_ack, delivery_tag=method.delivery_tag, multiple=False)
    channel.basic_recover(requeue=True)
    env.show("messages", channel.queue_declare(queue, passive=True).method.message_count)


def _left(env: Any, channel: Any, queue: str, count: int) -> list[Any]:
    env.until_ready(channel, queue, count)
    return [(m.redelivered, b) for m, _, b in (channel.basic_get(queue, auto_ack=True) for _ in range(count))]


@covers(
    "BlockingChannel.basic_ack.multiple",
    broker=True,
    cases=[((3, True), 2), ((0, True), 1), ((1, True), 4), ((2, False), 4)],
)
def one_or_several_are_acknowledged(pika: Any, env: Any, case: Any) -> None:
    arguments, ready = case
    channel = env.channel()
    queue = env.queue(channel, bodies=tuple(b"%d" % n for n in range(5)))
    for _ in range(4):
        channel.basic_get(queue)
    env.call("ack", channel.basic_ack, *arguments)
    channel.basic_recover(requeue=True)
    env.show("left", _left(env, channel, queue, ready))


@covers("BlockingChannel.basic_ack.multiple", broker=True)
def all_are_acknowledged_by_tag_zero(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, bodies=(b"one", b"two", b"three"))
    for _ in range(2):
        channel.basic_get(queue)
    env.call("ack", channel.basic_ack, multiple=True)
    channel.basic_recover(requeue=True)
    env.show("left", _left(env, channel, queue, 1))


@covers(
    "BlockingChannel.basic_nack",
    broker=True,
    cases=[
        ({"delivery_tag": 2}, 2),
        ({"delivery_tag": 2, "multiple": True}, 3),
        ({"multiple": True}, 4),
        ({"delivery_tag": 2, "requeue": False}, 1),
        ({"delivery_tag": 3, "multiple": True, "requeue": False}, 1),
    ],
)
def nack_requeues_or_drops_one_or_several(pika: Any, env: Any, case: Any) -> None:
    arguments, ready = case
    channel = env.channel()
    queue = env.queue(channel, bodies=tuple(b"%d" % n for n in range(4)))
    for _ in range(3):
        channel.basic_get(queue)
    env.call("nack", channel.basic_nack, **arguments)
    env.show("left", _left(env, channel, queue, ready))


@covers("BlockingChannel.basic_reject", broker=True, cases=[True, False])
def reject_requeues_or_drops_one(pika: Any, env: Any, case: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, bodies=(b"one", b"two"))
    method, _, _ = channel.basic_get(queue)
    env.call("reject", channel.basic_reject, method.delivery_tag, case)
    env.show("left", _left(env, channel, queue, 1 + case))


@covers("BlockingChannel.basic_reject", broker=True)
def reject_requeues_unless_told_otherwise(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, bodies=(b"one",))
    env.call("reject", channel.basic_reject, delivery_tag=channel.basic_get(queue)[0].delivery_tag)
    env.show("left", _left(env, channel, queue, 1))


@covers(
    "BlockingChannel.basic_reject",
    "semantics.reject-needs-an-int",
    broker=True,
    cases=["1", None, 1.0, b"1", [1]],
)
def reject_takes_an_int_only(pika: Any, env: Any, case: Any) -> None:
    channel = env.channel()
    env.call("reject", channel.basic_reject, case)
    env.call("works", channel.basic_qos, prefetch_count=1)


@covers(
    "BlockingChannel.basic_ack",
    "BlockingChannel.basic_nack",
    "BlockingChannel.basic_reject",
    "semantics.encoding-errors-send-nothing",
    broker=True,
    cases=[
        (f"{name} {tag!r}", name, tag)
        for name in ("basic_ack", "basic_nack", "basic_reject")
        for tag in (-1, 2**64, "one", None, 1.5)
    ],
)
def a_delivery_tag_is_64_bits_and_nothing_else_is_sent(pika: Any, env: Any, case: Any) -> None:
    channel = env.channel()
    env.call("call", getattr(channel, case[1]), case[2])
    env.call("works", channel.basic_qos, prefetch_count=1)
    env.show_state("channel", channel)


@covers(
    "BlockingChannel.basic_ack",
    "BlockingChannel.basic_nack",
    "BlockingChannel.basic_reject",
    "semantics.channel-closed-by-broker",
    broker=True,
    cases=["basic_ack", "basic_nack", "basic_reject"],
)
def answering_twice_closes_the_channel(pika: Any, env: Any, case: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, bodies=(b"one",))
    method, _, _ = channel.basic_get(queue)
    env.call("once", channel.basic_ack, method.delivery_tag)
    env.call("twice", getattr(channel, case), method.delivery_tag)
    env.call("next", channel.queue_declare, queue, passive=True)
    env.show_state("channel", channel)
    env.call("later", channel.basic_ack, method.delivery_tag)


@covers("BlockingChannel.basic_ack", "semantics.channel-closed-by-broker", broker=True)
def a_wrong_acknowledgement_surfaces_silently_in_process_data_events(pika: Any, env: Any) -> None:
    channel = env.channel()
    channel.basic_ack(5)
    env.pump(channel.connection, lambda: channel.is_closed)
    env.show_state("channel", channel)
    env.call("later", channel.basic_ack, 5)
    env.show("number of the next", int(channel.connection.channel()))


@covers("BlockingChannel.basic_ack", "semantics.channel-closed-by-broker", broker=True)
def a_tag_belongs_to_its_channel(pika: Any, env: Any) -> None:
    connection = env.connect()
    channel, other = connection.channel(), connection.channel()
    queue = env.queue(channel, bodies=(b"one",))
    method, _, _ = channel.basic_get(queue)
    env.call("ack elsewhere", other.basic_ack, method.delivery_tag)
    env.call("elsewhere", other.basic_qos, prefetch_count=1)
    env.call("ack here", channel.basic_ack, method.delivery_tag)
    env.call("here", channel.basic_qos, prefetch_count=1)


@covers("BlockingChannel.basic_nack", broker=True)
def a_requeued_message_is_redelivered_to_its_consumer(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, bodies=(b"one",))
    got: list[Any] = []

    def on_message(ch: Any, method: Any, properties: Any, body: Any) -> None:
        got.append((method.delivery_tag, method.redelivered, body))
        if len(got) < 3:
            env.call("nack", ch.basic_nack, method.delivery_tag)
        else:
            env.call("ack", ch.basic_ack, method.delivery_tag)
            ch.stop_consuming()

    channel.basic_consume(queue, on_message)
    env.call("start_consuming", channel.start_consuming)
    env.show("got", got)


@covers("BlockingChannel.basic_ack", broker=True)
def messages_without_an_acknowledgement_come_back_when_the_connection_ends(pika: Any, env: Any) -> None:
    owner, channel = env.channel(), env.channel()
    queue = env.queue(owner, exclusive=False, bodies=(b"one", b"two"))
    one, _, _ = channel.basic_get(queue)
    channel.basic_get(queue)
    channel.basic_ack(one.delivery_tag)
    channel.connection.close()
    env.show("left", _left(env, owner, queue, 1))
