"""Publishing: bodies, keys, properties; what is returned, refused, confirmed."""

from __future__ import annotations

from typing import Any

from parity.harness import covers

BODIES = {
    "bytes": b"plain",
    "str": "text with ünïcødé ☃",
    "empty bytes": b"",
    "empty str": "",
    "zero bytes": b"\x00\xce\x00",
    "not UTF-8": b"\xff\xfe\xc3",
    "large": bytes(range(256)) * 1200,
    "large str": "ä☃" * 60000,
}


@covers("BlockingChannel.basic_publish.body", "semantics.body-types", broker=True, cases=BODIES.items())
def a_body_arrives_as_bytes(pika: Any, env: Any, case: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel)
    env.call("publish", channel.basic_publish, "", queue, case[1])
    env.until_ready(channel, queue, 1)
    env.show("got", channel.basic_get(queue, auto_ack=True))


@covers(
    "BlockingChannel.basic_publish.body", broker=True, cases=[None, 5, 1.5, ["list"], {"a": 1}, ("t",), True]
)
def a_body_of_another_type_is_refused(pika: Any, env: Any, case: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel)
    env.call("publish", channel.basic_publish, "", queue, case)
    env.show("count", channel.queue_declare(queue, passive=True).method.message_count)


@covers("BlockingChannel.basic_publish", broker=True)
def a_publish_takes_keywords_and_positions(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel)
    env.call("positional", channel.basic_publish, "", queue, b"1", pika.BasicProperties(type="t"), False)
    env.call(
        "keywords",
        channel.basic_publish,
        exchange="",
        routing_key=queue,
        body=b"2",
        properties=None,
        mandatory=True,
    )
    env.until_ready(channel, queue, 2)
    for _ in range(2):
        env.show("got", channel.basic_get(queue, auto_ack=True))
    env.call_wrongly("without a body", channel.basic_publish, "", queue)
    env.call_wrongly("with the old immediate", channel.basic_publish, "", queue, b"", immediate=True)


KEYS = {
    "empty": "",
    "ascii": "a.b.c",
    "unicode": "ключ.☃",
    "longest": "k" * 255,
    "bytes": b"as.bytes",
    "not UTF-8": b"\xff\xfe",
}


@covers("BlockingChannel.basic_publish.routing_key", "headers.in.bad-utf8", broker=True, cases=KEYS.items())
def a_routing_key_arrives(pika: Any, env: Any, case: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel)
    exchange = env.name("fanout")  # of our own: whatever others publish stays out
    channel.exchange_declare(exchange, "fanout")
    channel.queue_bind(queue, exchange, "")
    env.call("publish", channel.basic_publish, exchange, case[1], b"x")
    env.until_ready(channel, queue, 1)
    env.show("got", channel.basic_get(queue, auto_ack=True))


BAD_NAMES = {
    "exchange None": (None, "key"),
    "exchange int": (5, "key"),
    "exchange list": (["e"], "key"),
    "exchange too long": ("e" * 256, "key"),
    "exchange too long in bytes": ("ü" * 128, "key"),
    "routing_key None": ("", None),
    "routing_key int": ("", 5),
    "routing_key too long": ("", "k" * 256),
    "routing_key far too long": ("", "k" * 1000),
    "routing_key too long as bytes": ("", b"k" * 256),
    "both": (None, None),
}


@covers(
    "BlockingChannel.basic_publish.exchange",
    "BlockingChannel.basic_publish.routing_key",
    "semantics.encoding-errors-send-nothing",
    "exceptions.ShortStringTooLong",
    broker=True,
    cases=BAD_NAMES.items(),
)
def a_bad_exchange_or_routing_key_is_refused_and_nothing_is_sent(pika: Any, env: Any, case: Any) -> None:
    channel = env.channel()
    env.call("publish", channel.basic_publish, case[1][0], case[1][1], b"x")
    env.show_state("channel", channel)
    env.call("works", channel.basic_qos, prefetch_count=1)


@covers("BlockingChannel.basic_publish.exchange", "semantics.without-confirms", broker=True)
def publishing_to_a_missing_exchange_surfaces_on_a_later_call(pika: Any, env: Any) -> None:
    channel = env.channel()
    env.call("publish", channel.basic_publish, env.name("missing"), "key", b"x")
    env.call("next", channel.queue_declare, "", exclusive=True)
    env.show_state("channel", channel)
    env.call("publish", channel.basic_publish, "", "key", b"x")


@covers("BlockingChannel.basic_publish.exchange", "semantics.without-confirms", broker=True)
def publishing_to_a_missing_exchange_surfaces_in_process_data_events(pika: Any, env: Any) -> None:
    channel = env.channel()
    channel.basic_publish(env.name("missing"), "key", b"x")
    env.pump(channel.connection, lambda: channel.is_closed)
    env.show_state("channel", channel)
    env.show_state("connection", channel.connection)
    env.call("later", channel.basic_publish, "", "key", b"x")
    env.call("start_consuming", channel.start_consuming)


@covers("BlockingChannel.basic_publish.exchange", "BlockingChannel.confirm_delivery", broker=True)
def publishing_to_a_missing_exchange_raises_at_once_with_confirms(pika: Any, env: Any) -> None:
    channel = env.channel()
    channel.confirm_delivery()
    env.call("publish", channel.basic_publish, env.name("missing"), "key", b"x")
    env.show_state("channel", channel)


PROPERTIES = {
    "content_type": "application/json",
    "content_encoding": "gzip",
    "headers": {"key": "value"},
    "delivery_mode": 2,
    "priority": 7,
    "correlation_id": "c-1",
    "reply_to": "somewhere",
    "expiration": "60000",
    "message_id": "m-1",
    "timestamp": 1700000000,
    "type": "kind",
    "user_id": "guest",
    "app_id": "app",
    "cluster_id": "cluster",
}


@covers("BlockingChannel.basic_publish.properties", "BasicProperties", broker=True, cases=PROPERTIES.items())
def each_property_arrives(pika: Any, env: Any, case: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel)
    value = env.broker.user if case[0] == "user_id" else case[1]
    env.call("publish", channel.basic_publish, "", queue, b"x", pika.BasicProperties(**{case[0]: value}))
    env.until_ready(channel, queue, 1)
    properties = channel.basic_get(queue, auto_ack=True)[1]
    env.show("got", getattr(properties, case[0]) == value)
    if case[0] != "user_id":
        env.show("all", properties)


@covers("BlockingChannel.basic_publish.properties", "BasicProperties", broker=True)
def all_properties_arrive_together_and_equal_what_was_sent(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel)
    sent = pika.BasicProperties(**dict(PROPERTIES, user_id=None))
    channel.basic_publish("", queue, b"x", sent)
    env.until_ready(channel, queue, 1)
    got = channel.basic_get(queue, auto_ack=True)[1]
    env.show("got", got)
    env.show("equal", got == sent)
    env.show_pickle("got", got)


@covers(
    "BlockingChannel.basic_publish.properties", "DeliveryMode", broker=True, cases=["Transient", "Persistent"]
)
def a_delivery_mode_may_be_the_enum(pika: Any, env: Any, case: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel)
    properties = pika.BasicProperties(delivery_mode=pika.DeliveryMode[case])
    channel.basic_publish("", queue, b"x", properties)
    env.until_ready(channel, queue, 1)
    env.show("got", channel.basic_get(queue, auto_ack=True)[1].delivery_mode)


@covers("BlockingChannel.basic_publish.properties", broker=True)
def properties_changed_after_their_making_count(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel)
    properties = pika.BasicProperties(type="before", headers={"n": 1})
    properties.type = "after"
    properties.headers["n"] = 2
    vars(properties)["app_id"] = "by vars"
    properties.__dict__["message_id"] = "by dict"
    channel.basic_publish("", queue, b"x", properties)
    properties.type = "too late"
    env.until_ready(channel, queue, 1)
    env.show("got", channel.basic_get(queue, auto_ack=True)[1])


@covers(
    "BlockingChannel.basic_publish.properties",
    "semantics.encoding-errors-send-nothing",
    broker=True,
    cases=[
        ("content_type", 5),
        ("content_encoding", 1.5),
        ("delivery_mode", "two"),
        ("delivery_mode", 300),
        ("delivery_mode", -1),
        ("priority", "high"),
        ("priority", 256),
        ("correlation_id", 7),
        ("reply_to", ["q"]),
        ("expiration", 60000),
        ("message_id", object),
        ("timestamp", "now"),
        ("timestamp", -1),
        ("timestamp", 1.5),
        ("type", 1),
        ("user_id", 1),
        ("app_id", 1),
        ("cluster_id", 1),
        ("correlation_id", "c" * 256),
        ("headers", {"k" * 256: 1}),
        ("headers", {1: "int key"}),
        ("headers", ["not", "a", "dict"]),
        ("headers", {"big": 2**70}),
        ("headers", {"small": -(2**70)}),
        ("headers", {"set": {1}}),
        ("headers", {"tuple": (1,)}),
        ("headers", {"object": object}),
        ("headers", {"nested": {"deep": [(1,)]}}),
    ],
)
def a_property_that_cannot_be_encoded_is_refused_and_nothing_is_sent(pika: Any, env: Any, case: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel)
    try:
        channel.basic_publish("", queue, b"x", pika.BasicProperties(**{case[0]: case[1]}))
    except pika.exceptions.UnsupportedAMQPFieldException as error:
        env.show("value", error.args[1])
        env.show_text("repr", repr(error))
    except Exception as error:
        env.show_error("publish", error)
    env.show("count", channel.queue_declare(queue, passive=True).method.message_count)
    channel.basic_publish("", queue, b"works")
    env.until_ready(channel, queue, 1)


@covers("BlockingChannel.basic_publish.properties", broker=True, cases=[{"type": "t"}, 5])
def properties_of_another_type_are_refused(pika: Any, env: Any, case: Any) -> None:
    channel = env.channel()
    env.call_wrongly("publish", channel.basic_publish, "", "nowhere", b"x", case)
    env.call("works", channel.basic_qos, prefetch_count=1)


@covers("BlockingChannel.basic_publish.properties", broker=True, cases=[None, {}, 0, ""])
def properties_that_are_false_are_the_empty_ones(pika: Any, env: Any, case: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel)
    env.call("publish", channel.basic_publish, "", queue, b"x", case)
    env.until_ready(channel, queue, 1)
    env.show("got", channel.basic_get(queue, auto_ack=True)[1])


@covers("BlockingChannel.confirm_delivery", "semantics.confirm-mode", broker=True)
def a_confirmed_publish_returns_none(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel)
    env.call("confirm_delivery", channel.confirm_delivery)
    for body in (b"one", b"two"):
        env.call("publish", channel.basic_publish, "", queue, body)
    env.call("large", channel.basic_publish, "", queue, b"x" * 300_000)
    env.call("unroutable", channel.basic_publish, "", env.name("nowhere"), b"lost")
    env.call("counts", channel.queue_declare, queue, passive=True)


@covers("BlockingChannel.confirm_delivery", "semantics.confirm-mode", broker=True)
def a_second_confirm_delivery_only_logs(pika: Any, env: Any) -> None:
    channel = env.channel()
    with env.log("first"):
        env.call("first", channel.confirm_delivery)
    with env.log("second"):
        env.call("second", channel.confirm_delivery)
    env.call("publish", channel.basic_publish, "", "nowhere", b"x")


@covers("semantics.confirm-mode", "exceptions.NackError", broker=True)
def a_message_the_queue_rejects_is_a_nack_error(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    channel.confirm_delivery()
    env.call("first", channel.basic_publish, "", queue, b"fits")
    env.call("second", channel.basic_publish, "", queue, b"too much")
    env.call("mandatory", channel.basic_publish, "", queue, b"too much", mandatory=True)
    env.show_state("channel", channel)
    channel.queue_purge(queue)
    env.call("works", channel.basic_publish, "", queue, b"fits again")


@covers("semantics.confirm-mode", "exceptions.UnroutableError", "ReturnedMessage", broker=True)
def a_mandatory_message_without_a_queue_is_an_unroutable_error(pika: Any, env: Any) -> None:
    channel = env.channel()
    channel.confirm_delivery()
    properties = pika.BasicProperties(message_id="m", headers={"n": 1})
    try:
        channel.basic_publish("", env.name("nowhere"), b"lost", properties, mandatory=True)
    except pika.exceptions.UnroutableError as error:
        env.show_error("publish", error)
        env.show("messages", type(error.messages))
        for message in error.messages:
            env.show(
                "is a ReturnedMessage", type(message) is pika.adapters.blocking_connection.ReturnedMessage
            )
            env.show("method", message.method)
            env.show("properties", message.properties)
            env.show("body", message.body)
    env.call("works", channel.basic_publish, "", env.queue(channel), b"x", mandatory=True)
    env.call("again", channel.basic_publish, "", env.name("nowhere"), b"", mandatory=True)


@covers("BlockingChannel.add_on_return_callback", "semantics.confirm-mode", broker=True)
def with_confirms_a_return_reaches_the_callbacks_too(pika: Any, env: Any) -> None:
    channel = env.channel()
    got: list[Any] = []
    channel.add_on_return_callback(env.collector("returned", got))
    channel.confirm_delivery()
    env.call("publish", channel.basic_publish, "", env.name("nowhere"), b"lost", mandatory=True)
    env.show("before dispatch", len(got))
    env.pump(channel.connection, lambda: got)
    env.show("after dispatch", len(got))


@covers("BlockingChannel.add_on_return_callback", "BlockingChannel.basic_publish.mandatory", broker=True)
def without_confirms_a_return_reaches_the_callbacks_only(pika: Any, env: Any) -> None:
    channel = env.channel()
    got: list[Any] = []
    env.call("add", channel.add_on_return_callback, env.collector("first callback", got))
    channel.add_on_return_callback(env.collector("second callback", got))
    properties = pika.BasicProperties(headers={"n": 1})
    for body in (b"one", b"two"):
        env.call("publish", channel.basic_publish, "", env.name("nowhere"), body, properties, mandatory=True)
    channel.basic_publish("", env.name("nowhere"), b"not mandatory")
    env.pump(channel.connection, lambda: len(got) == 4)
    method, properties = got[0][1], got[0][2]
    env.show("channel is ours", got[0][0] is channel)
    env.show("types", (type(method) is pika.spec.Basic.Return, type(properties) is pika.BasicProperties))
    env.show_pickle("method", method)


@covers("BlockingChannel.add_on_return_callback", "semantics.dispatch", broker=True)
def returned_messages_wait_for_a_dispatching_call(pika: Any, env: Any) -> None:
    channel = env.channel()
    got: list[Any] = []
    channel.add_on_return_callback(env.collector("returned", got))
    channel.basic_publish("", env.name("nowhere"), b"lost", mandatory=True)
    for _ in range(3):
        channel.basic_qos(prefetch_count=1)
    env.show("before", len(got))
    env.call("dispatch", channel.connection.process_data_events)
    env.show("after", len(got))


@covers("BlockingChannel.add_on_return_callback", broker=True)
def the_exception_of_a_return_callback_leaves_the_dispatching_call(pika: Any, env: Any) -> None:
    channel = env.channel()
    got: list[Any] = []

    def on_return(ch: Any, method: Any, properties: Any, body: Any) -> None:
        got.append(body)
        if len(got) == 1:
            raise LookupError("mine")

    channel.add_on_return_callback(on_return)
    for body in (b"one", b"two"):
        channel.basic_publish("", env.name("nowhere"), body, mandatory=True)
    channel.basic_qos(prefetch_count=1)
    env.call("dispatch", channel.connection.process_data_events)
    env.show("got", got)
    channel.basic_publish("", env.name("nowhere"), b"three", mandatory=True)
    env.pump(channel.connection, lambda: len(got) == 3)
    env.show("got", got)


@covers("BlockingChannel.add_on_return_callback", broker=True, cases=[None, "callback"])
def a_return_callback_that_is_not_callable_fails_when_called(pika: Any, env: Any, case: Any) -> None:
    channel = env.channel()
    env.call("add", channel.add_on_return_callback, case)
    channel.basic_publish("", env.name("nowhere"), b"x", mandatory=True)
    channel.basic_qos(prefetch_count=1)
    env.call("dispatch", channel.connection.process_data_events)


@covers("BlockingChannel.basic_publish.mandatory", broker=True)
def a_mandatory_message_with_a_large_body_comes_back_whole(pika: Any, env: Any) -> None:
    channel = env.channel()
    channel.confirm_delivery()
    body = bytes(range(256)) * 1100
    try:
        channel.basic_publish("", env.name("nowhere"), body, mandatory=True)
    except pika.exceptions.UnroutableError as error:
        env.show("whole", error.messages[0].body == body)
        env.show("body", error.messages[0].body)


@covers("BlockingChannel.basic_publish", "semantics.order", broker=True)
def messages_keep_their_order(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel)
    for number in range(200):
        channel.basic_publish("", queue, b"%d" % number)
    env.until_ready(channel, queue, 200)
    bodies = [channel.basic_get(queue, auto_ack=True)[2] for _ in range(200)]
    env.show("in order", bodies == [b"%d" % number for number in range(200)])
