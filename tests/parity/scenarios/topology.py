"""Declaring, binding, unbinding, purging and deleting queues and exchanges."""

from __future__ import annotations

from typing import Any

from parity.harness import covers


@covers("BlockingChannel.queue_declare", "semantics.returns-frame-method", "frame.Method", broker=True)
def declaring_a_queue_returns_its_name_and_counts(pika: Any, env: Any) -> None:
    channel = env.channel()
    frame = env.call("declare", channel.queue_declare, env.name(), exclusive=True)
    env.show("is a frame.Method", isinstance(frame, pika.frame.Method))
    env.show("is a DeclareOk", isinstance(frame.method, pika.spec.Queue.DeclareOk))
    env.show("fields", (frame.method.queue, frame.method.message_count, frame.method.consumer_count))
    env.show("channel_number", frame.channel_number)
    env.show("equal", frame == channel.queue_declare(frame.method.queue, exclusive=True))
    env.show_pickle("frame", frame)


@covers("BlockingChannel.queue_declare", broker=True)
def an_empty_name_lets_the_broker_choose_one(pika: Any, env: Any) -> None:
    channel = env.channel()
    one = channel.queue_declare("", exclusive=True).method.queue
    two = channel.queue_declare(queue="", exclusive=True).method.queue
    env.show("generated", (one, two))
    env.show("different", one != two)
    env.call("get", channel.basic_get, one)


@covers("BlockingChannel.queue_declare", "BlockingChannel.queue_purge", broker=True)
def an_empty_name_later_means_the_last_declared_queue(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, bodies=(b"one",))
    env.show("get", channel.basic_get("", auto_ack=True))
    env.call("purge", channel.queue_purge, "")
    env.call("bind", channel.queue_bind, "", "amq.direct", "key")
    env.call("delete", channel.queue_delete, "")
    env.call("is gone", channel.queue_declare, queue, passive=True)


@covers("BlockingChannel.queue_declare.passive", broker=True)
def a_passive_declare_counts_messages_and_consumers(pika: Any, env: Any) -> None:
    channel, other = env.channel(), env.channel()
    queue = env.queue(channel, exclusive=False, bodies=(b"one", b"two", b"three"))
    env.call("counts", channel.queue_declare, queue, passive=True)
    other.basic_qos(prefetch_count=1)
    other.basic_consume(queue, lambda *args: None)
    env.until_ready(channel, queue, 2)
    env.call("counts", channel.queue_declare, queue, passive=True)


@covers(
    "BlockingChannel.queue_declare.durable",
    "BlockingChannel.queue_declare.exclusive",
    "BlockingChannel.queue_declare.auto_delete",
    broker=True,
    cases=["durable", "exclusive", "auto_delete"],
)
def a_queue_is_declared_with_each_flag(pika: Any, env: Any, case: Any) -> None:
    channel = env.channel()
    queue = env.name()
    env.call("declare", channel.queue_declare, queue, **{case: True})
    env.call("alike", channel.queue_declare, queue, **{case: True})
    env.call("passive", channel.queue_declare, queue, passive=True)
    env.call("unlike", channel.queue_declare, queue, **{case: False})


@covers("BlockingChannel.queue_declare.auto_delete", broker=True)
def an_auto_delete_queue_goes_with_its_last_consumer(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, exclusive=False, auto_delete=True)
    tag = channel.basic_consume(queue, print)
    env.call("cancel", channel.basic_cancel, tag)
    env.call("passive", channel.queue_declare, queue, passive=True)


QUEUE_ARGUMENTS = {
    "x-message-ttl": 60000,
    "x-expires": 60000,
    "x-max-length": 10,
    "x-max-length-bytes": 10000,
    "x-overflow": "reject-publish",
    "x-dead-letter-exchange": "amq.fanout",
    "x-max-priority": 5,
    "x-queue-mode": "lazy",
    "x-single-active-consumer": True,
    "x-custom": {"nested": [1, "two", None]},
}


@covers("BlockingChannel.queue_declare.arguments", broker=True, cases=QUEUE_ARGUMENTS.items())
def a_queue_is_declared_with_arguments(pika: Any, env: Any, case: Any) -> None:
    channel = env.channel()
    queue = env.name()
    env.call("declare", channel.queue_declare, queue, exclusive=True, arguments=dict([case]))
    env.call("alike", channel.queue_declare, queue, exclusive=True, arguments=dict([case]))


@covers(
    "BlockingChannel.queue_declare.arguments",
    "semantics.channel-closed-by-broker",
    broker=True,
    cases=[("ttl", "x-message-ttl", "soon"), ("length", "x-max-length", -1), ("type", "x-queue-type", "odd")],
)
def the_broker_refuses_bad_arguments_of_a_queue(pika: Any, env: Any, case: Any) -> None:
    channel = env.channel()
    env.call("declare", channel.queue_declare, env.name(), arguments={case[1]: case[2]})
    env.show_state("channel", channel)


@covers("BlockingChannel.queue_declare.arguments", broker=True)
def arguments_of_a_queue_may_be_none_or_empty(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.name()
    env.call("None", channel.queue_declare, queue, exclusive=True, arguments=None)
    env.call("empty", channel.queue_declare, queue, exclusive=True, arguments={})


@covers(
    "BlockingChannel.queue_declare",
    "exceptions.ShortStringTooLong",
    broker=True,
    cases=[("255", "q" * 255), ("256", "q" * 256), ("128 two-byte", "ü" * 128), ("unicode", "q-ünïcødé-☃")],
)
def a_queue_name_holds_255_bytes(pika: Any, env: Any, case: Any) -> None:
    channel = env.channel()
    env.call("declare", channel.queue_declare, case[1], exclusive=True)
    env.show_state("channel", channel)


NOT_STRINGS = {
    "queue_declare None": lambda ch: ch.queue_declare(None),
    "queue_declare int": lambda ch: ch.queue_declare(5),
    "queue_declare bytes": lambda ch: ch.queue_declare(b"q"),
    "queue_delete None": lambda ch: ch.queue_delete(None),
    "queue_purge int": lambda ch: ch.queue_purge(5),
    "queue_bind queue": lambda ch: ch.queue_bind(None, "amq.direct"),
    "queue_bind exchange": lambda ch: ch.queue_bind("q", None),
    "queue_bind key": lambda ch: ch.queue_bind("q", "amq.direct", 5),
    "queue_unbind queue": lambda ch: ch.queue_unbind(None, "amq.direct"),
    "queue_unbind exchange": lambda ch: ch.queue_unbind("q", None),
    "queue_unbind key": lambda ch: ch.queue_unbind("q", "amq.direct", 5),
    "exchange_declare None": lambda ch: ch.exchange_declare(None),
    "exchange_declare type": lambda ch: ch.exchange_declare("e", 5),
    "exchange_declare type None": lambda ch: ch.exchange_declare("e", None),
    "exchange_delete None": lambda ch: ch.exchange_delete(),
    "exchange_delete int": lambda ch: ch.exchange_delete(5),
    "exchange_bind destination": lambda ch: ch.exchange_bind(None, "amq.direct"),
    "exchange_bind source": lambda ch: ch.exchange_bind("amq.direct", None),
    "exchange_bind key": lambda ch: ch.exchange_bind("amq.direct", "amq.fanout", None),
    "exchange_unbind None": lambda ch: ch.exchange_unbind(),
    "exchange_unbind int": lambda ch: ch.exchange_unbind(5, "amq.direct"),
    "basic_get None": lambda ch: ch.basic_get(None),
    "basic_get bytes": lambda ch: ch.basic_get(b"q"),
    "basic_consume queue": lambda ch: ch.basic_consume(None, print),
    "basic_consume callback": lambda ch: ch.basic_consume("q", None),
    "basic_consume callback text": lambda ch: ch.basic_consume("q", "print"),
    "consume": lambda ch: next(ch.consume(None)),
}


@covers("semantics.names-are-str", "validators.require_string", broker=True, cases=NOT_STRINGS.items())
def a_name_that_is_not_text_is_refused_before_anything_is_sent(pika: Any, env: Any, case: Any) -> None:
    channel = env.channel()
    env.call(case[0], case[1], channel)
    env.show_state("channel", channel)
    env.call("works", pika.BlockingConnection.channel, channel.connection)


BAD_ARGUMENTS = {
    "queue_declare": lambda ch, bad: ch.queue_declare("q", arguments=bad),
    "queue_bind": lambda ch, bad: ch.queue_bind("q", "amq.direct", arguments=bad),
    "queue_unbind": lambda ch, bad: ch.queue_unbind("q", "amq.direct", arguments=bad),
    "exchange_declare": lambda ch, bad: ch.exchange_declare("e", arguments=bad),
    "exchange_bind": lambda ch, bad: ch.exchange_bind("amq.fanout", "amq.direct", arguments=bad),
    "exchange_unbind": lambda ch, bad: ch.exchange_unbind("amq.fanout", "amq.direct", arguments=bad),
    "basic_consume": lambda ch, bad: ch.basic_consume("q", print, arguments=bad),
}


@covers(
    "headers.out.unsupported",
    "exceptions.UnsupportedAMQPFieldException",
    broker=True,
    cases=BAD_ARGUMENTS.items(),
)
def an_argument_of_an_unknown_type_is_refused(pika: Any, env: Any, case: Any) -> None:
    channel = env.channel()
    try:
        case[1](channel, {"x-bad": ("tuple",)})
    except pika.exceptions.UnsupportedAMQPFieldException as error:
        env.show("value", error.args[1])
        env.show_text("repr", repr(error))
    env.show_state("channel", channel)


@covers(
    "BlockingChannel.queue_bind",
    "BlockingChannel.queue_unbind",
    "BlockingChannel.exchange_declare",
    "BlockingChannel.exchange_bind",
    "BlockingChannel.exchange_unbind",
    "BlockingChannel.exchange_delete",
    "BlockingChannel.queue_purge",
    "BlockingChannel.queue_delete",
    "semantics.returns-frame-method",
    broker=True,
)
def every_call_about_topology_returns_its_answer(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, bodies=(b"one", b"two"))
    one, two = env.name("one"), env.name("two")
    env.call("exchange_declare", channel.exchange_declare, one)
    env.call("exchange_declare", channel.exchange_declare, two, "fanout")
    env.call("exchange_bind", channel.exchange_bind, two, one, "key")
    env.call("queue_bind", channel.queue_bind, queue, one, "key")
    env.call("queue_unbind", channel.queue_unbind, queue, one, "key")
    env.call("exchange_unbind", channel.exchange_unbind, two, one, "key")
    env.call("exchange_delete", channel.exchange_delete, one)
    env.call("exchange_delete", channel.exchange_delete, exchange=two, if_unused=True)
    env.call("queue_purge", channel.queue_purge, queue)
    channel.basic_publish("", queue, b"three")
    env.call("queue_delete", channel.queue_delete, queue)


@covers("BlockingChannel.queue_bind", broker=True)
def without_a_routing_key_a_queue_is_bound_by_its_name(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel)
    channel.queue_bind(queue, "amq.direct")
    channel.basic_publish("amq.direct", queue, b"by name")
    env.until_ready(channel, queue, 1)
    env.show("got", channel.basic_get(queue, auto_ack=True)[2])
    env.call("unbind", channel.queue_unbind, queue, "amq.direct")
    channel.basic_publish("amq.direct", queue, b"lost")
    env.show("left", channel.queue_declare(queue, passive=True).method.message_count)


@covers("BlockingChannel.queue_bind", "BlockingChannel.queue_unbind", broker=True)
def an_empty_routing_key_is_a_key(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel)
    channel.queue_bind(queue=queue, exchange="amq.direct", routing_key="")
    channel.basic_publish("amq.direct", "", b"by nothing")
    env.until_ready(channel, queue, 1)
    env.show("got", channel.basic_get(queue, auto_ack=True))
    env.call("unbind", channel.queue_unbind, queue=queue, exchange="amq.direct", routing_key="")


@covers("BlockingChannel.queue_bind", broker=True)
def a_headers_exchange_matches_by_arguments(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel)
    arguments = {"x-match": "all", "colour": "red", "size": 3}
    env.call("bind", channel.queue_bind, queue, "amq.headers", arguments=arguments)
    for headers in ({"colour": "red", "size": 3}, {"colour": "red"}, {"colour": "blue", "size": 3}):
        channel.basic_publish("amq.headers", "", b"x", pika.BasicProperties(headers=headers))
    env.until_ready(channel, queue, 1)
    env.show("matched", channel.basic_get(queue, auto_ack=True)[1].headers)
    env.call("unbind", channel.queue_unbind, queue, "amq.headers", arguments=arguments)


@covers(
    "BlockingChannel.exchange_declare",
    "ExchangeType",
    broker=True,
    cases=["direct", "fanout", "headers", "topic"],
)
def an_exchange_is_declared_by_text_and_by_enum(pika: Any, env: Any, case: Any) -> None:
    channel = env.channel()
    exchange = env.name("e")
    env.call("text", channel.exchange_declare, exchange, case)
    env.call("enum", channel.exchange_declare, exchange, pika.exchange_type.ExchangeType[case])
    env.call("keyword", channel.exchange_declare, exchange=exchange, exchange_type=case)
    env.call("default", channel.exchange_declare, exchange)


@covers("BlockingChannel.exchange_declare.flags", broker=True, cases=["durable", "auto_delete", "internal"])
def an_exchange_is_declared_with_each_flag(pika: Any, env: Any, case: Any) -> None:
    channel = env.channel()
    exchange = env.name("e")
    env.call("declare", channel.exchange_declare, exchange, **{case: True})
    env.call("passive", channel.exchange_declare, exchange, passive=True)
    env.call("unlike", channel.exchange_declare, exchange)


@covers("BlockingChannel.exchange_declare.flags", "semantics.channel-closed-by-broker", broker=True)
def nobody_publishes_to_an_internal_exchange(pika: Any, env: Any) -> None:
    channel = env.channel()
    exchange = env.name("e")
    channel.exchange_declare(exchange, internal=True)
    env.call("publish", channel.basic_publish, exchange, "", b"x")
    env.call("next", channel.queue_declare, "", exclusive=True)


@covers("BlockingChannel.exchange_declare.arguments", broker=True)
def what_an_exchange_cannot_route_goes_to_its_alternate(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue, alternate, exchange = env.queue(channel), env.name("alternate"), env.name("e")
    channel.exchange_declare(alternate, "fanout")
    channel.queue_bind(queue, alternate)
    env.call("declare", channel.exchange_declare, exchange, arguments={"alternate-exchange": alternate})
    channel.basic_publish(exchange, "nowhere", b"kept")
    env.until_ready(channel, queue, 1)
    env.show("got", channel.basic_get(queue, auto_ack=True))


@covers("BlockingChannel.exchange_bind", "BlockingChannel.exchange_unbind", broker=True)
def messages_follow_a_binding_between_exchanges(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue, source, destination = env.queue(channel), env.name("s"), env.name("d")
    channel.exchange_declare(source, "topic")
    channel.exchange_declare(destination, "fanout")
    env.call("bind", channel.exchange_bind, destination=destination, source=source, routing_key="a.*")
    channel.queue_bind(queue, destination)
    for key in ("a.b", "b.a"):
        channel.basic_publish(source, key, key.encode())
    env.until_ready(channel, queue, 1)
    env.show("got", channel.basic_get(queue, auto_ack=True))
    env.call("unbind", channel.exchange_unbind, destination=destination, source=source, routing_key="a.*")
    channel.basic_publish(source, "a.c", b"lost")
    env.show("left", channel.queue_declare(queue, passive=True).method.message_count)


@covers("BlockingChannel.exchange_delete", "semantics.channel-closed-by-broker", broker=True)
def an_exchange_in_use_is_not_deleted_if_unused(pika: Any, env: Any) -> None:
    channel = env.channel()
    exchange = env.name("e")
    channel.exchange_declare(exchange)
    channel.queue_bind(env.queue(channel), exchange)
    env.call("delete", channel.exchange_delete, exchange, if_unused=True)
    env.show_state("channel", channel)
    env.call("delete anyway", channel.connection.channel().exchange_delete, exchange)


@covers("BlockingChannel.queue_delete", "semantics.channel-closed-by-broker", broker=True)
def a_queue_with_consumers_is_not_deleted_if_unused(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel)
    channel.basic_consume(queue, print)
    env.call("delete", channel.connection.channel().queue_delete, queue, if_unused=True)
    env.call("delete anyway", channel.connection.channel().queue_delete, queue)


@covers("BlockingChannel.queue_delete", "semantics.channel-closed-by-broker", broker=True)
def a_queue_with_messages_is_not_deleted_if_empty(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, bodies=(b"one", b"two"))
    env.call("delete", channel.connection.channel().queue_delete, queue, if_empty=True)
    env.call("delete anyway", channel.queue_delete, queue=queue, if_unused=True)


@covers("BlockingChannel.queue_purge", broker=True)
def a_purge_counts_what_was_ready(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, bodies=tuple(b"%d" % n for n in range(7)))
    channel.basic_get(queue)
    env.call("purge", channel.queue_purge, queue)
    env.call("again", channel.queue_purge, queue=queue)


@covers("BlockingChannel.queue_declare", "BlockingChannel.exchange_declare", broker=True)
def wrong_calls_are_refused_by_the_interpreter(pika: Any, env: Any) -> None:
    channel = env.channel()
    for name in (
        "queue_declare",
        "queue_bind",
        "queue_delete",
        "queue_purge",
        "exchange_declare",
        "exchange_bind",
    ):
        method = getattr(channel, name)
        env.call_wrongly(f"{name} without arguments", method)
        env.call_wrongly(f"{name} with an unknown one", method, "a", "b", colour="red")
    env.show_state("channel", channel)
