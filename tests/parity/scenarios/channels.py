"""Opening, numbering and closing channels, by us and by the broker."""

from __future__ import annotations

import logging
from typing import Any

from parity.harness import covers


@covers(
    "BlockingConnection.channel",
    "BlockingChannel.channel_number",
    "BlockingChannel.int",
    "semantics.channel-numbers",
    broker=True,
)
def channels_are_numbered_from_one(pika: Any, env: Any) -> None:
    connection = env.connect()
    for _ in range(3):
        channel = connection.channel()
        env.show("number", (channel.channel_number, int(channel)))


@covers("BlockingConnection.channel", "semantics.channel-numbers", broker=True)
def the_lowest_free_number_is_used_again(pika: Any, env: Any) -> None:
    connection = env.connect()
    channels = [connection.channel() for _ in range(4)]
    channels[2].close()
    channels[0].close()
    env.show("numbers", [int(connection.channel()) for _ in range(3)])


@covers("BlockingConnection.channel.channel_number", broker=True, cases=[1, 7, 2047, 0, None])
def a_channel_number_may_be_given(pika: Any, env: Any, case: Any) -> None:
    connection = env.connect()
    channel = connection.channel(channel_number=case)
    env.show("number", int(channel))
    env.call("works", channel.basic_qos, prefetch_count=1)
    env.show("next", int(connection.channel()))


@covers(
    "BlockingConnection.channel.channel_number",
    "exceptions.InvalidChannelNumber",
    broker=True,
    cases=["one", "1", 1.5, (1,)],
)
def a_channel_number_must_be_an_int(pika: Any, env: Any, case: Any) -> None:
    connection = env.connect()
    env.call("channel", connection.channel, case)
    env.show("next", int(connection.channel()))


@covers("BlockingConnection.channel", broker=True)
def many_channels_live_side_by_side(pika: Any, env: Any) -> None:
    connection = env.connect()
    channels = [connection.channel() for _ in range(40)]
    queues = [
        env.queue(channel, f"q{int(channel)}", (str(int(channel)).encode(),)) for channel in channels[::8]
    ]
    env.show("bodies", [channels[-1].basic_get(queue, auto_ack=True)[2] for queue in queues])
    for channel in channels[::2]:
        channel.close()
    env.show("open", [int(channel) for channel in channels if channel.is_open])
    env.call("close", connection.close)
    env.show("still open", [int(channel) for channel in channels if channel.is_open])


@covers(
    "BlockingChannel.is_open",
    "BlockingChannel.is_closed",
    "BlockingChannel.connection",
    "BlockingChannel.consumer_tags",
    broker=True,
)
def a_channel_knows_its_connection_state_and_consumers(pika: Any, env: Any) -> None:
    connection = env.connect()
    channel = connection.channel()
    env.show("is ours", channel.connection is connection)
    env.show_state("opened", channel)
    env.show("consumers", channel.consumer_tags)
    queue = env.queue(channel)
    channel.basic_consume(queue, print, consumer_tag="one")
    channel.basic_consume(queue, print, consumer_tag="two")
    env.show("consumers", channel.consumer_tags)
    channel.close()
    env.show_state("closed", channel)
    env.show("consumers", channel.consumer_tags)
    env.show("connection", channel.connection is connection)
    for name in ("channel_number", "connection", "is_open", "is_closed", "consumer_tags"):
        env.call_wrongly(f"set {name}", setattr, channel, name, None)


@covers("BlockingChannel.context-manager", broker=True)
def a_channel_is_a_context_manager_that_closes(pika: Any, env: Any) -> None:
    with env.channel() as channel:
        env.show_state("inside", channel)
    env.show_state("after", channel)
    env.show_state("connection", channel.connection)


@covers("BlockingChannel.context-manager", broker=True)
def an_exception_leaves_the_context_of_a_channel_and_closes_it(pika: Any, env: Any) -> None:
    channel = env.channel()

    def body() -> None:
        with channel:
            raise ZeroDivisionError("mine")

    env.call("with", body)
    env.show_state("after", channel)


@covers("BlockingChannel.context-manager", "semantics.channel-closed-by-broker", broker=True)
def the_brokers_close_leaves_the_context_of_a_channel(pika: Any, env: Any) -> None:
    channel = env.channel()

    def body() -> None:
        with channel:
            channel.queue_purge(env.name("missing"))

    env.call("with", body)
    env.show_state("after", channel)


@covers("BlockingChannel.close", broker=True, cases=[(), (200,), (200, "done"), (404, "text with ünïcode")])
def a_channel_closes_with_a_code_and_text(pika: Any, env: Any, case: Any) -> None:
    channel = env.channel()
    env.call("close", channel.close, *case)
    env.show_state("closed", channel)
    env.call("keywords", channel.connection.channel().close, reply_code=1, reply_text="x")


@covers("BlockingChannel.close", broker=True)
def closing_a_channel_cancels_its_consumers_and_requeues(pika: Any, env: Any) -> None:
    connection = env.connect()
    channel, other = connection.channel(), connection.channel()
    queue = env.queue(other, bodies=(b"one", b"two"))
    got: list[Any] = []
    channel.basic_consume(queue, lambda ch, method, props, body: got.append(body))
    env.pump(connection, lambda: len(got) == 2)
    channel.close()
    env.until_ready(other, queue, 2)
    env.show("again", [(m.redelivered, b) for m, _, b in (other.basic_get(queue) for _ in range(2))])


def _missing(env: Any) -> str:
    return str(env.name("missing"))


NOT_FOUND = {
    "queue_declare passive": lambda ch, env: ch.queue_declare(_missing(env), passive=True),
    "exchange_declare passive": lambda ch, env: ch.exchange_declare(_missing(env), passive=True),
    "basic_get": lambda ch, env: ch.basic_get(_missing(env)),
    "basic_consume": lambda ch, env: ch.basic_consume(_missing(env), print),
    "consume": lambda ch, env: next(ch.consume(_missing(env))),
    "queue_purge": lambda ch, env: ch.queue_purge(_missing(env)),
    "queue_bind no queue": lambda ch, env: ch.queue_bind(_missing(env), "amq.direct"),
    "queue_bind no exchange": lambda ch, env: ch.queue_bind(env.queue(ch), _missing(env)),
    "exchange_bind": lambda ch, env: ch.exchange_bind("amq.fanout", _missing(env)),
}


@covers(
    "semantics.channel-closed-by-broker",
    "exceptions.ChannelClosedByBroker",
    "BlockingChannel.queue_declare.passive",
    "BlockingChannel.exchange_declare.passive",
    broker=True,
    cases=NOT_FOUND.items(),
)
def what_is_not_there_closes_the_channel_with_404(pika: Any, env: Any, case: Any) -> None:
    channel = env.channel()
    with env.log("close"):
        env.call(case[0], case[1], channel, env)
    env.show_state("channel", channel)
    env.show_state("connection", channel.connection)
    env.show("consumers", channel.consumer_tags)
    env.call("later", channel.queue_declare, "")
    env.show("number of the next", int(channel.connection.channel()))


LENIENT = {
    "queue_delete": lambda ch, env: ch.queue_delete(_missing(env)),
    "exchange_delete": lambda ch, env: ch.exchange_delete(_missing(env)),
    "queue_unbind": lambda ch, env: ch.queue_unbind(env.queue(ch), "amq.direct", "never"),
    "exchange_unbind": lambda ch, env: ch.exchange_unbind("amq.fanout", "amq.direct", "never"),
}


@covers("BlockingChannel.queue_delete", "BlockingChannel.exchange_delete", broker=True, cases=LENIENT.items())
def undoing_what_was_never_done_is_no_error(pika: Any, env: Any, case: Any) -> None:
    channel = env.channel()
    env.call(case[0], case[1], channel, env)
    env.show_state("channel", channel)


REFUSED = {
    "declare amq.*: 403": lambda ch, env: ch.queue_declare("amq.parity"),
    "declare amq.* exchange: 403": lambda ch, env: ch.exchange_declare("amq.parity"),
    "delete the default exchange: 403": lambda ch, env: ch.exchange_delete(""),
    "bind to the default exchange: 403": lambda ch, env: ch.queue_bind(env.queue(ch), ""),
    "bind from the default exchange: 403": lambda ch, env: ch.exchange_bind("amq.fanout", ""),
}


@covers("semantics.channel-closed-by-broker", broker=True, cases=REFUSED.items())
def what_is_refused_closes_the_channel_with_403(pika: Any, env: Any, case: Any) -> None:
    channel = env.channel()
    env.call(case[0], case[1], channel, env)
    env.show_state("channel", channel)
    env.show_state("connection", channel.connection)


LOCKED = {
    "queue_declare": lambda ch, queue: ch.queue_declare(queue),
    "queue_declare passive": lambda ch, queue: ch.queue_declare(queue, passive=True),
    "queue_delete": lambda ch, queue: ch.queue_delete(queue),
    "queue_purge": lambda ch, queue: ch.queue_purge(queue),
    "queue_bind": lambda ch, queue: ch.queue_bind(queue, "amq.direct"),
    "queue_unbind": lambda ch, queue: ch.queue_unbind(queue, "amq.direct"),
    "basic_get": lambda ch, queue: ch.basic_get(queue),
    "basic_consume": lambda ch, queue: ch.basic_consume(queue, print),
}


@covers(
    "semantics.channel-closed-by-broker",
    "BlockingChannel.queue_declare.exclusive",
    broker=True,
    cases=LOCKED.items(),
)
def somebody_elses_exclusive_queue_closes_the_channel_with_405(pika: Any, env: Any, case: Any) -> None:
    owner, channel = env.channel(), env.channel()
    queue = env.queue(owner, exclusive=True)
    env.call(case[0], case[1], channel, queue)
    env.show_state("channel", channel)
    env.show_state("owner", owner)


UNLIKE = {
    "durable": {"durable": True},
    "auto_delete": {"auto_delete": True},
    "arguments": {"arguments": {"x-max-length": 5}},
    "exclusive": {"exclusive": True},
}


@covers(
    "semantics.channel-closed-by-broker",
    "BlockingChannel.queue_declare.durable",
    "BlockingChannel.queue_declare.auto_delete",
    "BlockingChannel.queue_declare.arguments",
    broker=True,
    cases=UNLIKE.items(),
)
def declaring_a_queue_anew_and_differently_closes_the_channel(pika: Any, env: Any, case: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, exclusive=False)
    env.call("alike", channel.queue_declare, queue)
    env.call("unlike", channel.queue_declare, queue, **case[1])
    env.show_state("channel", channel)


@covers("semantics.channel-closed-by-broker", broker=True)
def one_channel_closed_by_the_broker_leaves_the_others_alone(pika: Any, env: Any) -> None:
    connection = env.connect()
    broken, sound = connection.channel(), connection.channel()
    queue = env.queue(sound, bodies=(b"kept",))
    got: list[Any] = []
    sound.basic_consume(queue, lambda ch, method, props, body: got.append(body), auto_ack=True)
    env.call("broken", broken.queue_purge, _missing(env))
    env.show_state("broken", broken)
    env.show_state("sound", sound)
    env.pump(connection, lambda: got)
    env.show("got", got)
    env.call("sound works", sound.basic_qos, prefetch_count=1)


@covers("semantics.channel-closed-by-broker", "semantics.without-confirms", broker=True)
def an_acknowledgement_of_nothing_surfaces_on_the_next_call(pika: Any, env: Any) -> None:
    channel = env.channel()
    env.call("ack", channel.basic_ack, 99)
    env.call("next", channel.queue_declare, "", exclusive=True)
    env.show_state("channel", channel)
    env.call("later", channel.queue_declare, "")


@covers("BlockingChannel.flow", broker=True, cases=[True])
def flow_tells_whether_deliveries_flow(pika: Any, env: Any, case: Any) -> None:
    channel = env.channel()
    env.call("flow", channel.flow, case)
    env.call("keyword", channel.flow, active=case)
    env.call_wrongly("nothing", channel.flow)
    env.show_state("channel", channel)


@covers("BlockingChannel.flow", "semantics.connection-closed-by-broker", broker=True)
def stopping_the_flow_is_not_implemented_by_the_broker(pika: Any, env: Any) -> None:
    channel = env.channel()
    env.call("flow", channel.flow, False)
    env.show_state("channel", channel)
    env.show_state("connection", channel.connection)


@covers("BlockingChannel.basic_qos", broker=True)
def qos_takes_counts_and_the_global_flag(pika: Any, env: Any) -> None:
    channel = env.channel()
    env.call("defaults", channel.basic_qos)
    env.call("count", channel.basic_qos, prefetch_count=10)
    env.call("positional", channel.basic_qos, 0, 5, True)
    env.call("global", channel.basic_qos, prefetch_count=65535, global_qos=True)
    env.show_state("channel", channel)


@covers(
    "BlockingChannel.basic_qos",
    broker=True,
    cases=[
        {"prefetch_count": -1},
        {"prefetch_size": -1},
        {"prefetch_count": 65536},
        {"prefetch_size": 2**32},
        {"prefetch_count": "many"},
        {"prefetch_count": None},
        {"prefetch_count": 1.5},
        {"prefetch_count": "7"},
    ],
)
def qos_counts_are_checked(pika: Any, env: Any, case: Any) -> None:
    channel = env.channel()
    env.call("qos", channel.basic_qos, **case)
    env.show_state("channel", channel)


@covers("BlockingChannel.basic_qos", broker=True)
def prefetch_count_bounds_what_is_unacknowledged(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, bodies=tuple(b"%d" % n for n in range(6)))
    channel.basic_qos(prefetch_count=2)
    got: list[Any] = []
    channel.basic_consume(queue, lambda ch, method, props, body: got.append(method.delivery_tag))
    env.pump(channel.connection, lambda: len(got) == 2)
    env.show("ready", channel.queue_declare(queue, passive=True).method.message_count)
    channel.basic_ack(got[-1], multiple=True)
    env.pump(channel.connection, lambda: len(got) == 4)
    env.show("ready", channel.queue_declare(queue, passive=True).method.message_count)
    env.show("tags", got)


@covers("BlockingChannel.basic_recover", broker=True)
def recover_with_requeue_redelivers(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, bodies=(b"one", b"two"))
    for _ in range(2):
        channel.basic_get(queue)
    env.call("recover", channel.basic_recover, requeue=True)
    env.until_ready(channel, queue, 2)
    env.show(
        "again",
        [(m.delivery_tag, m.redelivered, b) for m, _, b in (channel.basic_get(queue) for _ in range(2))],
    )


@covers("BlockingChannel.basic_recover", "semantics.connection-closed-by-broker", broker=True)
def recover_without_requeue_is_not_implemented_by_the_broker(pika: Any, env: Any) -> None:
    channel = env.channel()
    env.call("recover", channel.basic_recover)
    env.show_state("connection", channel.connection)


@covers("BlockingChannel.tx_select", "BlockingChannel.tx_commit", "BlockingChannel.tx_rollback", broker=True)
def a_transaction_commits_and_rolls_back(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel)
    env.call("select", channel.tx_select)
    channel.basic_publish("", queue, b"dropped")
    env.call("rollback", channel.tx_rollback)
    channel.basic_publish("", queue, b"kept")
    env.show("before", channel.queue_declare(queue, passive=True).method.message_count)
    env.call("commit", channel.tx_commit)
    env.show("after", channel.queue_declare(queue, passive=True).method.message_count)
    env.show("got", channel.basic_get(queue))


@covers(
    "BlockingChannel.tx_commit",
    "BlockingChannel.tx_rollback",
    broker=True,
    cases=["tx_commit", "tx_rollback"],
)
def a_channel_without_a_transaction_cannot_end_one(pika: Any, env: Any, case: Any) -> None:
    channel = env.channel()
    env.call(case, getattr(channel, case))
    env.show_state("channel", channel)


@covers("BlockingChannel.tx_select", "BlockingChannel.confirm_delivery", broker=True, cases=["tx", "confirm"])
def confirms_and_transactions_exclude_each_other(pika: Any, env: Any, case: Any) -> None:
    channel = env.channel()
    calls = [channel.tx_select, channel.confirm_delivery]
    ordered = calls if case == "tx" else calls[::-1]
    for call in (*ordered, ordered[1]):  # what was refused is not taken for done
        env.call(call.__name__, call)
    env.show_state("channel", channel)


@covers("semantics.channel-numbers", "semantics.logs", broker=True)
def closing_a_connection_closes_its_channels_in_the_order_of_their_opening(pika: Any, env: Any) -> None:
    connection = env.connect()
    for number in (7, 3, None):
        connection.channel(number)
    with env.log("close", logging.INFO):
        connection.close()
    env.lines = [line for line in env.lines if "pika.channel INFO Closing channel" in line]
    env.show("channels", len(env.lines))
