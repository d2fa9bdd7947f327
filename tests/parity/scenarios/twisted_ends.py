"""Twisted: how channels and connections end, and what the Deferreds that wait for them get."""

from __future__ import annotations

from typing import Any

from twisted.internet import defer

from parity.cutting import Cut
from parity.reactor import Twisted, on_reactor


@on_reactor("twisted.end")
def a_bad_declare_closes_the_channel_and_fails_what_waits(env: Any, twisted: Twisted) -> Any:
    connection = yield twisted.connection()
    channel = yield twisted.channel(connection)
    queue = yield twisted.queue(channel, exclusive=True)
    messages, _ = yield channel.basic_consume(queue, consumer_tag="mine")
    for n in range(2):
        twisted.watch(f"get {n} of the consumer", messages.get())
    yield twisted.call("declare", channel.queue_declare, queue, durable=True, exclusive=True)
    env.show("closed", [channel.is_closed, channel.is_open, channel.consumer_tags])
    for name, args in (
        ("queue_declare", (queue,)),
        ("basic_consume", (queue,)),
        ("basic_publish", ("", queue, b"x")),
        ("basic_cancel", ("mine",)),
        ("basic_get", (queue,)),
        ("confirm_delivery", ()),
        ("tx_select", ()),
        ("flow", (True,)),
    ):
        yield twisted.call(name, getattr(channel, name), *args)
    for name, args in (("basic_ack", (1,)), ("basic_nack", (1,)), ("basic_reject", (1,)), ("close", ())):
        twisted.call(name, getattr(channel, name), *args)
    yield twisted.watch("get afterwards", messages.get())
    env.show_state("the connection", connection)
    yield twisted.call("another channel", connection.channel)


@on_reactor("twisted.end")
def requests_confirms_consumers_then_on_closed_fail_in_this_order(env: Any, twisted: Twisted) -> Any:
    channel = yield twisted.channel()
    queue = yield twisted.queue(channel, exclusive=True)
    yield channel.confirm_delivery()
    messages, _ = yield channel.basic_consume(queue, consumer_tag="mine")
    seen: list[str] = []

    def failed(failure: Any, label: str) -> None:
        seen.append(f"{label} {failure.type.__name__}")

    messages.get().addErrback(failed, "consumer 1")
    messages.get().addErrback(failed, "consumer 2")
    channel.on_closed.addCallback(lambda _reason: seen.append("on_closed"))
    channel.queue_declare(queue, durable=True, exclusive=True).addErrback(failed, "request")
    channel.queue_bind(queue, "amq.fanout").addErrback(failed, "request")
    channel.basic_qos().addErrback(failed, "request")
    channel.basic_publish(env.name("nowhere"), queue, b"1").addErrback(failed, "publish 1")
    channel.basic_publish("", queue, b"2").addErrback(failed, "publish 2")
    yield channel.on_closed
    env.show("in order", seen)


@on_reactor("twisted.end", its_log=False)
def on_closed_of_a_channel_that_we_close(env: Any, twisted: Twisted) -> Any:
    channel = yield twisted.channel()
    queue = yield twisted.queue(channel, exclusive=True)
    messages, _ = yield channel.basic_consume(queue, consumer_tag="mine")
    twisted.watch("get", messages.get())
    twisted.call("under way", channel.queue_bind, queue, "amq.fanout")
    twisted.call("behind it", channel.basic_qos, prefetch_count=1)
    env.show("close", channel.close(320, "enough"))
    twisted.call("close again", channel.close)
    twisted.call("declare", channel.queue_declare, queue)
    twisted.call("consume", channel.basic_consume, queue)
    twisted.call("cancel", channel.basic_cancel, "mine")
    twisted.call("publish", channel.basic_publish, "", queue, b"x")
    yield channel.on_closed
    yield twisted.call("declare afterwards", channel.queue_declare, queue)


@on_reactor("twisted.end")
def a_channel_that_we_close_while_the_broker_does(env: Any, twisted: Twisted) -> Any:
    channel = yield twisted.channel()
    twisted.call("a request", channel.queue_declare, env.name("nowhere"), passive=True)
    twisted.call("a request", channel.queue_declare, env.name(), exclusive=True)
    channel.close()
    yield channel.on_closed


@on_reactor("twisted.end")
def a_close_that_crosses_the_broker_s(env: Any, twisted: Twisted) -> Any:
    connection = yield twisted.connection()
    channel = yield twisted.channel(connection)
    twisted.call("a request", channel.queue_declare, env.name("nowhere"), passive=True)
    yield twisted.in_one_turn(connection, b"NOT_FOUND")
    twisted.call("a request", channel.queue_declare, env.name(), exclusive=True)
    channel.close()
    yield channel.on_closed
    yield twisted.call("another channel", connection.channel)


@on_reactor("twisted.end")
def a_channel_and_then_its_connection_are_closed(env: Any, twisted: Twisted) -> Any:
    connection = yield twisted.connection()
    channel = yield twisted.channel(connection)
    closed = connection.closed
    twisted.call("a request", channel.queue_declare, env.name(), exclusive=True)
    channel.close(320, "the channel")
    connection.close(320, "the connection")
    yield closed


@on_reactor("twisted.end")
def an_on_closed_that_closes_the_connection(env: Any, twisted: Twisted) -> Any:
    connection = yield twisted.connection()
    channel = yield twisted.channel(connection)
    closed = connection.closed
    channel.on_closed.addCallback(lambda _reason: connection.close())
    twisted.call("a request", channel.queue_declare, env.name("nowhere"), passive=True)
    yield closed


@on_reactor("twisted.end")
def closing_the_connection_fails_what_waits(env: Any, twisted: Twisted) -> Any:
    connection = yield twisted.connection()
    channel = yield twisted.channel(connection)
    queue = yield twisted.queue(channel, exclusive=True)
    messages, _ = yield channel.basic_consume(queue, consumer_tag="mine")
    twisted.watch("get", messages.get())
    twisted.call("a request", channel.queue_declare, queue, passive=True)
    twisted.call("a channel", connection.channel)
    closed = connection.close(320, "enough")
    yield closed
    yield twisted.watch("get afterwards", messages.get())
    yield twisted.call("declare afterwards", channel.queue_declare, queue)
    twisted.call("ack afterwards", channel.basic_ack, 1)
    env.show("closed", channel.is_closed)
    env.show_state("the connection", connection)


@on_reactor("twisted.end")
def the_broker_closes_the_connection(env: Any, twisted: Twisted) -> Any:
    connection = yield twisted.connection()
    one = yield twisted.channel(connection)
    two = yield twisted.channel(connection)
    queue = env.name()
    yield one.queue_declare(queue, exclusive=True)
    messages, _ = yield one.basic_consume(queue, consumer_tag="mine")
    twisted.watch("get", messages.get())
    closed = connection.closed
    twisted.call("bad", two.basic_qos, prefetch_size=1)
    yield twisted.in_one_turn(connection, b"NOT_IMPLEMENTED")
    twisted.call("a channel behind it", connection.channel)
    yield closed
    env.show_state("the connection", connection)
    env.show("closed", connection.closed)
    yield twisted.call("afterwards", two.basic_qos)
    twisted.call("channel afterwards", connection.channel)


@on_reactor("twisted.end")
def a_peer_that_cuts_the_connection(env: Any, twisted: Twisted) -> Any:
    with Cut(env.broker) as cut:
        connection = yield twisted.connection(cut.port)
        channel = yield twisted.channel(connection)
        queue = env.name()
        yield channel.queue_declare(queue, exclusive=True)
        yield channel.confirm_delivery()
        messages, _ = yield channel.basic_consume(queue, consumer_tag="mine")
        twisted.watch("get", messages.get())
        closed = connection.closed
        cut.now()
        twisted.call("publish", channel.basic_publish, "", queue, b"x")
        yield closed
    yield twisted.watch("get afterwards", messages.get())
    yield twisted.call("publish afterwards", channel.basic_publish, "", queue, b"x")
    env.show("close", connection.close())


@on_reactor("twisted.end")
def a_transport_that_the_program_loses(env: Any, twisted: Twisted) -> Any:
    connection = yield twisted.connection()
    channel = yield twisted.channel(connection)
    twisted.call("pending", channel.queue_declare, env.name(), exclusive=True)
    closed = connection.closed
    connection.transport.abortConnection()
    env.show_state("at once", connection)
    yield closed
    env.show("channel", channel.is_closed)


@on_reactor("twisted.end")
def a_protocol_that_is_connected_again(env: Any, twisted: Twisted) -> Any:
    connection = yield twisted.connection()
    yield connection.close()
    yield twisted.connect(connection)
    while not connection.is_open:
        yield twisted.soon()
    env.show("afterwards", [connection.ready, connection.closed])
    channel = yield twisted.channel(connection)
    yield twisted.call("declare", channel.queue_declare, env.name(), exclusive=True)
    env.show("close", connection.close())
    while not connection.is_closed:
        yield twisted.soon()


@on_reactor("twisted.end")
def the_closed_deferred_whose_callback_connects_again(env: Any, twisted: Twisted) -> Any:
    connection = yield twisted.connection()
    channel = yield twisted.channel(connection)
    closed = connection.closed

    def again(_reason: Any) -> Any:
        env.show_state("the old one", connection)
        env.show("its channel", channel.is_closed)
        return twisted.connection()

    closed.addCallback(again)
    connection.close()
    another = yield closed
    yield twisted.call("channel", another.channel)


@on_reactor("twisted.callbacks")
def an_answer_s_callback_that_raises_is_its_deferred_s(env: Any, twisted: Twisted) -> Any:
    connection = yield twisted.connection()
    channel = yield twisted.channel(connection)
    raising = channel.queue_declare(env.name(), exclusive=True)
    raising.addCallback(lambda _frame: 1 // 0)
    yield twisted.call("the next", channel.queue_declare, env.name("b"), exclusive=True)
    yield twisted.watch("raising", raising)
    env.show_state("the connection", connection)


@on_reactor("twisted.callbacks")
def errbacks_that_use_the_channel_that_ends(env: Any, twisted: Twisted) -> Any:
    connection = yield twisted.connection()
    channel = yield twisted.channel(connection)
    queue = yield twisted.queue(channel, exclusive=True)
    messages, _ = yield channel.basic_consume(queue, consumer_tag="mine")
    opening: list[Any] = []

    def failed(_failure: Any) -> None:
        env.show("state", [channel.is_open, channel.is_closed])
        twisted.call("declare", channel.queue_declare, queue)
        twisted.call("publish", channel.basic_publish, "", queue, b"x")
        twisted.watch("get", messages.get()).cancel()
        opening.append(twisted.call("another channel", connection.channel))

    bad = channel.queue_declare(env.name("nowhere"), passive=True)
    bad.addErrback(failed)
    yield channel.on_closed
    yield opening[0]


@on_reactor("twisted.callbacks")
def on_closed_whose_callback_raises(env: Any, twisted: Twisted) -> Any:
    connection = yield twisted.connection()
    channel = yield twisted.channel(connection)
    ended: defer.Deferred[Any] = defer.Deferred()
    channel.on_closed.addCallback(ended.callback)
    channel.on_closed.addCallback(lambda _nothing: 1 // 0)
    channel.close()
    yield ended
    another = yield twisted.channel(connection)
    env.show("another", [another.channel_number, channel.is_closed])


@on_reactor("twisted.cancel")
def a_consume_that_is_cancelled_consumes(env: Any, twisted: Twisted) -> Any:
    channel = yield twisted.channel()
    queue = yield twisted.queue(channel, exclusive=True)
    consuming = channel.basic_consume(queue, consumer_tag="mine")
    twisted.watch("consume", consuming)
    consuming.cancel()
    yield twisted.call("flow", channel.flow, True)
    env.show("tags", channel.consumer_tags)
    yield twisted.call("cancel", channel.basic_cancel, "mine")


@on_reactor("twisted.cancel")
def a_publish_that_is_cancelled_is_confirmed_to_nobody(env: Any, twisted: Twisted) -> Any:
    channel = yield twisted.channel()
    yield channel.confirm_delivery()
    first = channel.basic_publish("", "nobody", b"1")
    twisted.watch("first", first)
    first.cancel()
    ack = yield channel.basic_publish("", "nobody", b"2")
    env.show("second", type(ack).__name__)


@on_reactor("twisted.cancel")
def what_is_cancelled_and_never_answered_does_not_disturb_the_end(env: Any, twisted: Twisted) -> Any:
    channel = yield twisted.channel()
    pending = [channel.queue_declare(env.name("nowhere"), passive=True), channel.basic_qos()]
    for n, one in enumerate(pending):
        twisted.watch(f"request {n}", one)
        one.cancel()
    yield channel.on_closed


@on_reactor("twisted.cancel")
def closed_that_is_cancelled(env: Any, twisted: Twisted) -> Any:
    connection = yield twisted.connection()
    twisted.call("close", connection.close)
    connection.closed.cancel()
    env.show_state("closing", connection)
    while not connection.is_closed:
        yield twisted.soon()
    env.show("afterwards", connection.closed)


@on_reactor("twisted.cancel")
def ready_that_is_cancelled(env: Any, twisted: Twisted) -> Any:
    protocol = twisted.protocol()
    twisted.watch("ready", protocol.ready)
    yield twisted.connect(protocol)
    protocol.ready.cancel()
    while not protocol.is_open:
        yield twisted.soon()
    env.show("afterwards", [protocol.ready, type(protocol.closed).__name__])
    yield twisted.call("close", protocol.close)
