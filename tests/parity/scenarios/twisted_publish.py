"""Twisted: publishing and its confirms, and getting."""

from __future__ import annotations

from typing import Any

from twisted.internet import defer

from parity.reactor import Twisted, on_reactor


@on_reactor("twisted.get")
def getting_from_a_queue(env: Any, twisted: Twisted) -> Any:
    channel = yield twisted.channel()
    queue = yield twisted.queue(channel, exclusive=True)
    yield twisted.call("empty", channel.basic_get, queue)
    properties = env.pika.BasicProperties(content_type="text/plain", headers={"a": 1})
    channel.basic_publish("", queue, b"1", properties)
    channel.basic_publish("", queue, "ä")
    channel.basic_publish("", queue, b"")
    message = yield twisted.call("first", channel.basic_get, queue)
    env.show("its channel", message.channel is channel)
    env.show("ack", channel.basic_ack(message.method.delivery_tag))
    message = yield twisted.call("second", channel.basic_get, queue)
    env.show("nack", channel.basic_nack(message.method.delivery_tag, requeue=True))
    message = yield twisted.call("second again", channel.basic_get, queue)
    env.show("reject", channel.basic_reject(message.method.delivery_tag, requeue=False))
    yield twisted.call("third", channel.basic_get, queue, auto_ack=True)
    yield twisted.call("empty again", channel.basic_get, queue)


@on_reactor("twisted.get")
def a_second_get_raises(env: Any, twisted: Twisted) -> Any:
    channel = yield twisted.channel()
    queue = yield twisted.queue(channel, exclusive=True)
    first = twisted.call("first", channel.basic_get, queue)
    twisted.call("second", channel.basic_get, queue)
    yield first
    yield twisted.call("third", channel.basic_get, queue)


@on_reactor("twisted.get")
def a_get_in_the_callback_of_a_get(env: Any, twisted: Twisted) -> Any:
    channel = yield twisted.channel()
    queue = yield twisted.queue(channel, exclusive=True)
    for body in (b"1", b"2"):
        channel.basic_publish("", queue, body)

    def again(message: Any) -> Any:
        if message is not None:
            env.show("got", message.body)
            return channel.basic_get(queue, auto_ack=True).addCallback(again)
        return "drained"

    first = channel.basic_get(queue, auto_ack=True)
    yield twisted.watch("the last", first.addCallback(again))


@on_reactor("twisted.get")
def a_get_of_no_queue_closes_the_channel(env: Any, twisted: Twisted) -> Any:
    channel = yield twisted.channel()
    yield twisted.call("get", channel.basic_get, env.name("nowhere"))


@on_reactor("twisted.get")
def a_get_empty_callback_comes_too(env: Any, twisted: Twisted) -> Any:
    channel = yield twisted.channel()
    queue = yield twisted.queue(channel, exclusive=True)
    seen: defer.Deferred[Any] = defer.Deferred()
    channel.callback_deferred(seen, [env.pika.spec.Basic.GetEmpty])
    twisted.watch("by callback_deferred", seen)
    yield twisted.call("get", channel.basic_get, queue)
    yield seen


@on_reactor("twisted.publish")
def publishing_without_confirms(env: Any, twisted: Twisted) -> Any:
    channel = yield twisted.channel()
    returned: list[Any] = []
    env.show("add", channel.add_on_return_callback(returned.append))
    yield twisted.call("to nobody", channel.basic_publish, "", env.name("nobody"), b"x")
    yield twisted.call("mandatory", channel.basic_publish, "", env.name("nobody"), b"y", mandatory=True)
    yield twisted.call("turn", channel.flow, True)
    env.show("returned", [twisted.said(message) for message in returned])
    env.show("its channel", returned[0].channel is channel)


@on_reactor("twisted.publish")
def publishing_to_no_exchange_closes_the_channel(env: Any, twisted: Twisted) -> Any:
    channel = yield twisted.channel()
    yield twisted.call("publish", channel.basic_publish, env.name("nowhere"), "q", b"x")
    yield channel.on_closed
    yield twisted.call("publish again", channel.basic_publish, "", "q", b"x")


@on_reactor("twisted.confirm")
def confirms_fire_each_publish(env: Any, twisted: Twisted) -> Any:
    channel = yield twisted.channel()
    queue = yield twisted.queue(channel, exclusive=True)
    yield twisted.call("select", channel.confirm_delivery)
    for n in range(3):
        confirm = yield channel.basic_publish("", queue, b"%d" % n)
        env.show("confirmed", [type(confirm).__name__, confirm.delivery_tag])
    many = [channel.basic_publish("", queue, b"%d" % n) for n in range(20)]
    fired: list[int] = []
    for n, one in enumerate(many):
        one.addCallback(lambda _ack, n=n: fired.append(n))
    yield defer.gatherResults(many)
    env.show("in order", fired)
    yield twisted.call("select again", channel.confirm_delivery)


@on_reactor("twisted.confirm")
def a_publish_before_select_ok_is_not_awaited(env: Any, twisted: Twisted) -> Any:
    channel = yield twisted.channel()
    queue = yield twisted.queue(channel, exclusive=True)
    selecting = channel.confirm_delivery()
    yield twisted.call("meanwhile", channel.basic_publish, "", queue, b"0")
    yield twisted.watch("selected", selecting)
    yield twisted.call("flow", channel.flow, True)
    yield twisted.ready(channel, queue, 1)


@on_reactor("twisted.confirm")
def an_unroutable_message_fails_its_publish(env: Any, twisted: Twisted) -> Any:
    channel = yield twisted.channel()
    yield channel.confirm_delivery()
    channel.add_on_return_callback(lambda message: env.show("returned", twisted.said(message)))
    properties = env.pika.BasicProperties(message_id="m")
    publish = channel.basic_publish("", env.name("nobody"), b"x" * 300, properties, mandatory=True)
    try:
        yield publish
    except env.pika.exceptions.UnroutableError as error:
        env.show("messages", [twisted.said(message) for message in error.messages])
        env.show("channel", error.messages[0].channel is channel)
        env.show_text("text", str(error))
    confirm = yield channel.basic_publish("", env.name("nobody"), b"not mandatory")
    env.show("not mandatory", type(confirm).__name__)


@on_reactor("twisted.confirm")
def a_full_queue_nacks(env: Any, twisted: Twisted) -> Any:
    channel = yield twisted.channel()
    queue = env.name()
    arguments = {"x-max-length": 1, "x-overflow": "reject-publish"}
    yield channel.queue_declare(queue, exclusive=True, arguments=arguments)
    yield channel.confirm_delivery()
    confirm = yield channel.basic_publish("", queue, b"1")
    env.show("first", type(confirm).__name__)
    nacked = False
    for _ in range(5):  # the queue may take one more than its length
        try:
            yield channel.basic_publish("", queue, b"more")
        except env.pika.exceptions.NackError as error:
            if not nacked:
                env.show_error("nacked", error)
            nacked = True


@on_reactor("twisted.confirm")
def confirms_that_are_awaited_when_the_channel_closes(env: Any, twisted: Twisted) -> Any:
    channel = yield twisted.channel()
    yield channel.confirm_delivery()
    nowhere = env.name("nowhere")
    twisted.call("first", channel.basic_publish, nowhere, "q", b"1")
    twisted.call("second", channel.basic_publish, nowhere, "q", b"2")
    yield channel.on_closed
    yield twisted.call("third", channel.basic_publish, "", "q", b"3")


@on_reactor("twisted.confirm")
def publishing_in_the_callback_of_a_confirm(env: Any, twisted: Twisted) -> Any:
    channel = yield twisted.channel()
    yield channel.confirm_delivery()

    def confirmed(ack: Any) -> Any:
        env.show("confirmed", ack.delivery_tag)
        if ack.delivery_tag < 4:
            return channel.basic_publish("", env.name("nobody"), b"x").addCallback(confirmed)
        raise ZeroDivisionError("the last")

    yield twisted.watch("outcome", channel.basic_publish("", "nobody", b"x").addCallback(confirmed))
    ack = yield channel.basic_publish("", "nobody", b"x")
    env.show("afterwards", ack.delivery_tag)
