"""Twisted: the queues that consumers fill, and what callbacks of their messages do."""

from __future__ import annotations

from typing import Any

from twisted.internet import defer

from parity.reactor import Twisted, on_reactor


def fill(env: Any, queue: str, *bodies: bytes) -> None:
    """Have somebody else publish to a queue that is not exclusive."""
    for body in bodies:
        env.third_party().basic_publish("", queue, body)


@on_reactor("twisted.consume")
def messages_come_in_order_to_whoever_waits(env: Any, twisted: Twisted) -> Any:
    connection = yield twisted.connection()
    channel = yield twisted.channel(connection)
    queue = yield twisted.queue(channel)
    messages, tag = yield twisted.call("consume", channel.basic_consume, queue, consumer_tag="mine")
    env.show("tags", [tag, channel.consumer_tags])
    waiting = [twisted.watch(f"get {n}", messages.get()) for n in range(2)]
    fill(env, queue, b"1", b"2", b"3", b"4")
    yield defer.gatherResults(waiting)
    env.show("queue", twisted.said(messages))
    yield twisted.watch("get 3", messages.get())
    message = yield messages.get()
    env.show("the last", [message.method.delivery_tag, message.body, message.channel is channel])
    channel.basic_ack(message.method.delivery_tag, multiple=True)
    yield twisted.call("left", channel.queue_declare, queue, passive=True)


@on_reactor("twisted.consume")
def a_get_in_the_callback_of_a_get_of_the_same_queue(env: Any, twisted: Twisted) -> Any:
    connection = yield twisted.connection()
    channel = yield twisted.channel(connection)
    queue = yield twisted.queue(channel)
    messages, _ = yield channel.basic_consume(queue, auto_ack=True)
    done: defer.Deferred[Any] = defer.Deferred()
    turns: list[int] = []

    def got(message: Any, who: str) -> None:
        env.show(who, message.body)
        turns.append(twisted.turns)
        if message.body == b"last":
            done.callback(None)
        else:
            messages.get().addCallback(got, who)

    for who in ("one", "two"):
        messages.get().addCallback(got, who)
    fill(env, queue, b"1", b"2", b"3", b"4", b"last")
    yield twisted.in_one_turn(connection, b"last")
    yield done
    env.show("turns", len(set(turns)))
    env.show("queue", twisted.said(messages))


@on_reactor("twisted.turns")
def what_comes_in_one_read_is_there_in_one_turn(env: Any, twisted: Twisted) -> Any:
    connection = yield twisted.connection()
    channel = yield twisted.channel(connection)
    queue = yield twisted.queue(channel)
    messages, _ = yield channel.basic_consume(queue, auto_ack=True)
    first = messages.get()
    first.addCallback(lambda message: env.show("in the callback", twisted.said(messages)))
    fill(env, queue, b"1", b"2", b"last")
    yield twisted.in_one_turn(connection, b"last")
    yield first
    env.show("behind it", twisted.said(messages))
    yield twisted.soon()
    env.show("in the next turn", twisted.said(messages))


@on_reactor("twisted.consume", its_log=False)
def several_consumers_have_queues_of_their_own(env: Any, twisted: Twisted) -> Any:
    channel = yield twisted.channel()
    names = [env.name("a"), env.name("b")]
    queues = []
    for name in names:
        yield channel.queue_declare(name, exclusive=True)
        messages, _tag = yield twisted.call("consume", channel.basic_consume, name, consumer_tag=name[-1])
        queues.append(messages)
    yield twisted.call("the same tag", channel.basic_consume, names[0], consumer_tag="a")
    for n in range(2):
        for name in names:
            channel.basic_publish("", name, b"%s%d" % (name[-1].encode(), n))
    for _ in range(2):
        for messages in queues:
            message = yield messages.get()
            env.show(message.method.consumer_tag, message.body)
    env.show("tags", channel.consumer_tags)
    yield twisted.call("cancel", channel.basic_cancel, "a")
    env.show("tags", channel.consumer_tags)
    channel.basic_publish("", names[1], b"still")
    yield twisted.watch("b", queues[1].get())
    yield twisted.watch("a", queues[0].get())


@on_reactor("twisted.consume")
def a_consumer_of_a_queue_that_is_not_there(env: Any, twisted: Twisted) -> Any:
    channel = yield twisted.channel()
    yield twisted.call("consume", channel.basic_consume, env.name("nowhere"), consumer_tag="mine")
    yield twisted.call("again", channel.basic_consume, env.name("nowhere"))


@on_reactor("twisted.consume")
def an_exclusive_consumer_keeps_others_out(env: Any, twisted: Twisted) -> Any:
    connection = yield twisted.connection()
    one = yield twisted.channel(connection)
    two = yield twisted.channel(connection)
    queue = env.name()
    yield one.queue_declare(queue, exclusive=True)
    messages, _ = yield one.basic_consume(queue, exclusive=True, arguments={"x-priority": 3})
    yield twisted.call("the other", two.basic_consume, queue)
    yield two.on_closed
    one.basic_publish("", queue, b"x")
    yield twisted.watch("the first", messages.get())


@on_reactor("twisted.consume")
def cancelling_fails_whoever_waits_the_last_first(env: Any, twisted: Twisted) -> Any:
    channel = yield twisted.channel()
    queue = yield twisted.queue(channel, exclusive=True)
    messages, tag = yield channel.basic_consume(queue, consumer_tag="mine")
    for n in range(3):
        twisted.watch(f"get {n}", messages.get())
    twisted.call("cancel", channel.basic_cancel, tag)
    yield twisted.call("flow", channel.flow, True)
    yield twisted.watch("get afterwards", messages.get())
    yield twisted.watch("put afterwards", messages.put(1))
    twisted.call("cancel what is not there", channel.basic_cancel, tag)
    twisted.call("cancel what is not there", channel.basic_cancel, "nobody")
    yield twisted.call("again by the same tag", channel.basic_consume, queue, consumer_tag="mine")


@on_reactor("twisted.consume")
def cancelling_drops_what_the_queue_holds(env: Any, twisted: Twisted) -> Any:
    connection = yield twisted.connection()
    channel = yield twisted.channel(connection)
    queue = yield twisted.queue(channel)
    messages, tag = yield channel.basic_consume(queue, consumer_tag="mine")
    fill(env, queue, b"1", b"2", b"last")
    yield twisted.in_one_turn(connection, b"last")
    yield messages.get()
    env.show("before", twisted.said(messages))
    yield twisted.call("cancel", channel.basic_cancel, tag)
    env.show("afterwards", twisted.said(messages))
    yield twisted.call("recover", channel.basic_recover, True)
    yield twisted.ready(channel, queue, 3)


@on_reactor("twisted.consume")
def the_broker_cancels_when_the_queue_is_deleted(env: Any, twisted: Twisted) -> Any:
    channel = yield twisted.channel()
    queue = yield twisted.queue(channel)
    messages, _ = yield channel.basic_consume(queue, consumer_tag="mine")
    waiting = [twisted.watch(f"get {n}", messages.get()) for n in range(2)]
    env.third_party().queue_delete(queue)
    yield defer.gatherResults(waiting)
    env.show("tags", channel.consumer_tags)
    yield twisted.watch("get afterwards", messages.get())


@on_reactor("twisted.consume")
def deleting_a_queue_ends_its_consumers(env: Any, twisted: Twisted) -> Any:
    channel = yield twisted.channel()
    one, two = env.name("one"), env.name("two")
    queues = []
    for name in (one, two):
        yield channel.queue_declare(name, exclusive=True)
        messages, _ = yield channel.basic_consume(name, consumer_tag=name[-3:])
        queues.append(messages)
        twisted.watch(f"get of {name[-3:]}", messages.get())
    yield twisted.call("delete", channel.queue_delete, one)
    yield twisted.call("flow", channel.flow, True)
    env.show("tags", channel.consumer_tags)
    yield twisted.watch("get of one afterwards", queues[0].get())
    env.show("two", twisted.said(queues[1]))
    yield channel.basic_cancel("two")
    yield twisted.call("delete without consumers", channel.queue_delete, two)


@on_reactor("twisted.consume")
def a_consumer_that_cancels_itself_while_more_come(env: Any, twisted: Twisted) -> Any:
    connection = yield twisted.connection()
    channel = yield twisted.channel(connection)
    queue = yield twisted.queue(channel)
    messages, tag = yield channel.basic_consume(queue, consumer_tag="mine")
    first = messages.get()

    def got(message: Any) -> Any:
        env.show("got", message.body)
        channel.basic_ack(message.method.delivery_tag)
        return channel.basic_cancel(tag)

    first.addCallback(got)
    fill(env, queue, b"1", b"2", b"last")
    yield twisted.in_one_turn(connection, b"last")
    yield twisted.watch("cancelled", first)
    yield twisted.watch("get", messages.get())
    yield twisted.ready(channel, queue, 2)


@on_reactor("twisted.consume")
def a_cancel_that_crosses_the_broker_s(env: Any, twisted: Twisted) -> Any:
    connection = yield twisted.connection()
    channel = yield twisted.channel(connection)
    queue = yield twisted.queue(channel)
    messages, tag = yield channel.basic_consume(queue, consumer_tag="mine")
    twisted.watch("get", messages.get())
    env.third_party().queue_delete(queue)
    yield twisted.in_one_turn(connection, b"mine")
    yield twisted.call("cancel", channel.basic_cancel, tag)
    env.show("tags", channel.consumer_tags)


@on_reactor("twisted.queue")
def a_queue_can_be_closed_by_hand(env: Any, twisted: Twisted) -> Any:
    channel = yield twisted.channel()
    name = env.name()
    yield channel.queue_declare(name, exclusive=True)
    messages, tag = yield channel.basic_consume(name, consumer_tag="mine", auto_ack=True)
    twisted.watch("waiting", messages.get())
    env.show("close", messages.close(ZeroDivisionError("by hand")))
    yield twisted.watch("get", messages.get())
    channel.basic_publish("", name, b"x")
    yield twisted.call("flow", channel.flow, True)
    env.show("close again", messages.close(ValueError("again")))
    yield twisted.watch("get", messages.get())
    yield twisted.call("cancel", channel.basic_cancel, tag)


@on_reactor("twisted.queue")
def a_queue_has_limits(env: Any, twisted: Twisted) -> Any:
    messages = twisted.adapter.ClosableDeferredQueue(1, 1)
    env.show("closed", messages.closed)
    env.show("put", messages.put(1))
    env.call("too much", messages.put, 2)
    yield twisted.watch("get", messages.get())
    waiting = twisted.watch("get", messages.get())
    env.call("too many", messages.get)
    env.show("queue", twisted.said(messages))
    messages.put("x")
    yield waiting
    nothing = twisted.adapter.ClosableDeferredQueue(0)
    env.call("nothing fits", nothing.put, 1)
    nobody = twisted.adapter.ClosableDeferredQueue(backlog=0)
    env.call("nobody waits", nobody.get)
    env.call("closed without a reason", nobody.close, None)
    env.call("open still", nobody.put, 1)
    yield twisted.watch("get", nobody.get())


@on_reactor("twisted.queue")
def closing_a_queue_whose_errbacks_use_it(env: Any, twisted: Twisted) -> Any:
    messages = twisted.adapter.ClosableDeferredQueue()
    again: list[Any] = []

    def failed(_failure: Any) -> None:
        again.append(twisted.watch("get in the errback", messages.get()))
        again.append(twisted.watch("put in the errback", messages.put(1)))
        messages.close(ValueError("again"))

    first, second = messages.get(), messages.get()
    twisted.watch("first", first)
    second.addErrback(failed)
    messages.close(ZeroDivisionError("closed"))
    yield defer.gatherResults(again)
    env.show("closed", messages.closed)


@on_reactor("twisted.cancel")
def a_get_of_a_queue_that_is_cancelled_takes_no_message(env: Any, twisted: Twisted) -> Any:
    channel = yield twisted.channel()
    name = env.name()
    yield channel.queue_declare(name, exclusive=True)
    messages, _ = yield channel.basic_consume(name, auto_ack=True)
    first, second = messages.get(), messages.get()
    twisted.watch("first", first)
    first.cancel()
    channel.basic_publish("", name, b"x")
    message = yield second
    env.show("second", message.body)


@on_reactor("twisted.callbacks")
def a_message_s_callback_that_raises_is_its_deferred_s(env: Any, twisted: Twisted) -> Any:
    connection = yield twisted.connection()
    channel = yield twisted.channel(connection)
    queue = yield twisted.queue(channel)
    messages, _ = yield channel.basic_consume(queue, auto_ack=True)
    first = messages.get()
    first.addCallback(lambda message: 1 // (len(message.body) - 1))
    second = messages.get()
    fill(env, queue, b"1", b"last")
    yield twisted.in_one_turn(connection, b"last")
    yield second
    yield twisted.watch("first", first)
    env.show_state("the connection", connection)


@on_reactor("twisted.callbacks")
def a_message_s_callback_that_nobody_hears_of(env: Any, twisted: Twisted) -> Any:
    channel = yield twisted.channel()
    queue = yield twisted.queue(channel, exclusive=True)
    messages, _ = yield channel.basic_consume(queue, auto_ack=True)
    messages.get().addCallback(lambda message: 1 // 0)
    channel.basic_publish("", queue, b"1")
    channel.basic_publish("", queue, b"2")
    message = yield messages.get()
    env.show("second", message.body)


@on_reactor("twisted.callbacks", its_log=False)
def a_message_s_callback_publishes_and_closes(env: Any, twisted: Twisted) -> Any:
    connection = yield twisted.connection()
    channel = yield twisted.channel(connection)
    queue = yield twisted.queue(channel)
    messages, _ = yield channel.basic_consume(queue, consumer_tag="mine")
    first = messages.get()

    def got(message: Any) -> None:
        env.show("got", message.body)
        env.call("publish", lambda: channel.basic_publish("", queue, b"more").called)
        env.call("close", channel.close, 320, "enough")
        env.call("publish behind", channel.basic_publish, "", queue, b"never")
        env.call("ack behind", channel.basic_ack, message.method.delivery_tag)
        twisted.call("declare behind", channel.queue_declare, queue)
        twisted.watch("get behind", messages.get())

    first.addCallback(got)
    fill(env, queue, b"1", b"last")
    yield twisted.in_one_turn(connection, b"last")
    yield channel.on_closed
    env.until_ready(env.third_party(), queue, 3)


@on_reactor("twisted.callbacks")
def a_message_s_callback_closes_the_connection(env: Any, twisted: Twisted) -> Any:
    connection = yield twisted.connection()
    channel = yield twisted.channel(connection)
    queue = yield twisted.queue(channel)
    messages, _ = yield channel.basic_consume(queue, consumer_tag="mine")
    closed = connection.closed

    def got(message: Any) -> None:
        env.show("got", message.body)
        connection.close()
        twisted.watch("get behind", messages.get())
        env.call("another channel", lambda: connection.channel())

    messages.get().addCallback(got)
    fill(env, queue, b"1", b"last")
    yield twisted.in_one_turn(connection, b"last")
    yield closed
    env.show("queue", twisted.said(messages))


@on_reactor("twisted.callbacks")
def a_message_s_callback_aborts_the_transport(env: Any, twisted: Twisted) -> Any:
    connection = yield twisted.connection()
    channel = yield twisted.channel(connection)
    queue = yield twisted.queue(channel)
    messages, _ = yield channel.basic_consume(queue, consumer_tag="mine")
    closed = connection.closed

    def got(message: Any) -> None:
        env.show("got", message.body)
        connection.transport.abortConnection()
        channel.basic_ack(message.method.delivery_tag)
        env.show_state("the connection", connection)

    messages.get().addCallback(got)
    twisted.watch("get behind", messages.get())
    fill(env, queue, b"1", b"2", b"last")
    yield twisted.in_one_turn(connection, b"last")
    yield closed
    env.show("queue", twisted.said(messages))


@on_reactor("twisted.callbacks")
def a_return_callback_that_raises_ends_the_connection(env: Any, twisted: Twisted) -> Any:
    connection = yield twisted.connection()
    channel = yield twisted.channel(connection)
    closed = connection.closed

    def returned(_message: Any) -> None:
        raise ZeroDivisionError("mine")

    channel.add_on_return_callback(returned)
    channel.basic_publish("", env.name("nobody"), b"x", mandatory=True)
    twisted.call("pending", channel.queue_declare, env.name(), exclusive=True)
    yield closed
