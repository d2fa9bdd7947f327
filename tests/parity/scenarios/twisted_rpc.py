"""Twisted: connections, channels and requests, their Deferreds and what these fire with."""

from __future__ import annotations

import inspect
from typing import Any

from twisted.internet import defer

from parity.reactor import Twisted, on_reactor


@on_reactor("twisted.connection")
def connecting_makes_a_protocol_ready(env: Any, twisted: Twisted) -> Any:
    protocol = twisted.protocol()
    env.show("closed", protocol.closed)
    env.show_state("made", protocol)
    ready = protocol.ready
    env.show("same", (yield twisted.connect(protocol)) is protocol)
    env.show_state("connected", protocol)
    env.show("ready is", protocol.ready is ready)
    twisted.watch("ready", ready)
    yield ready
    env.show("afterwards", [protocol.ready, type(protocol.closed).__name__])
    env.show_state("open", protocol)
    env.show("class", twisted.said(protocol))


@on_reactor("twisted.connection")
def connection_ready_may_say_what_ready_fires_with(env: Any, twisted: Twisted) -> Any:
    kind: Any = twisted.adapter.TwistedProtocolConnection
    given = iter([5, twisted.soon(6), defer.fail(ZeroDivisionError("no"))])

    class Mine(kind):  # type: ignore[misc]
        def connectionReady(self) -> Any:
            env.show("in connectionReady", [self.is_open, self.ready, type(self.closed).__name__])
            return next(given)

    for _ in range(3):
        protocol = twisted.protocol(Mine)
        twisted.watch("ready", protocol.ready)
        ready = protocol.ready
        yield twisted.connect(protocol)
        yield ready


@on_reactor("twisted.connection")
def a_connection_ready_that_raises_fails_ready_only(env: Any, twisted: Twisted) -> Any:
    kind: Any = twisted.adapter.TwistedProtocolConnection

    class Mine(kind):  # type: ignore[misc]
        def connectionReady(self) -> Any:
            raise ZeroDivisionError("mine")

    protocol = twisted.protocol(Mine)
    ready = twisted.watch("ready", protocol.ready)
    yield twisted.connect(protocol)
    yield ready
    env.show_state("afterwards", protocol)
    yield twisted.call("close", protocol.close)


@on_reactor("twisted.connection")
def a_wrong_password_fails_ready(env: Any, twisted: Twisted) -> Any:
    protocol = twisted.protocol(credentials=env.pika.PlainCredentials("guest", "wrong"))
    ready = twisted.watch("ready", protocol.ready)
    yield twisted.connect(protocol)
    yield ready
    env.show("closed", protocol.closed)
    env.show_state("afterwards", protocol)
    twisted.call("close", protocol.close)


@on_reactor("twisted.connection")
def a_virtual_host_that_is_not_there_fails_ready(env: Any, twisted: Twisted) -> Any:
    protocol = twisted.protocol(virtual_host="nowhere", connection_attempts=3)
    ready = twisted.watch("ready", protocol.ready)
    yield twisted.connect(protocol)
    yield ready


@on_reactor("twisted.connection")
def a_peer_that_hangs_up_at_once_fails_ready(env: Any, twisted: Twisted) -> Any:
    protocol = twisted.protocol()
    ready = twisted.watch("ready", protocol.ready)
    yield twisted.connect(protocol, env.serve(lambda client: client.recv(8)))
    yield ready


@on_reactor("twisted.connection")
def what_a_connection_that_is_not_open_refuses(env: Any, twisted: Twisted) -> Any:
    protocol = twisted.protocol()
    env.call("channel", protocol.channel)
    yield twisted.connect(protocol)
    env.call("channel while it opens", protocol.channel)
    yield protocol.ready
    yield protocol.close()
    env.call("channel afterwards", protocol.channel)
    env.show("close afterwards", protocol.close())


@on_reactor("twisted.connection")
def closing_while_it_opens(env: Any, twisted: Twisted) -> Any:
    protocol = twisted.protocol()
    ready = twisted.watch("ready", protocol.ready)
    yield twisted.connect(protocol)
    env.show("close", protocol.close())
    yield ready
    env.show_state("afterwards", protocol)


@on_reactor("twisted.connection")
def closing_twice(env: Any, twisted: Twisted) -> Any:
    connection = yield twisted.connection()
    closed = connection.close(320, "enough")
    env.show("is closed", closed is connection.closed)
    env.show_state("closing", connection)
    try:
        connection.close()
    except env.pika.exceptions.ConnectionWrongStateError as error:
        env.show("again", str(error).partition(" request on ")[0])
    yield closed
    env.show("afterwards", connection.closed)


@on_reactor("twisted.connection")
def impossible_numbers_of_channels(env: Any, twisted: Twisted) -> Any:
    connection = yield twisted.connection()
    env.call("a text", connection.channel, "x")
    first = connection.channel(7)
    second = connection.channel()
    channels = yield defer.gatherResults([first, second])
    env.show("channels", [twisted.said(channel) for channel in channels])


@on_reactor("twisted.connection")
def channels_are_opened_in_order_and_numbers_used_again(env: Any, twisted: Twisted) -> Any:
    connection = yield twisted.connection()
    channels = yield defer.gatherResults([connection.channel() for _ in range(3)])
    env.show("channels", [twisted.said(channel) for channel in channels])
    channels[1].close()
    yield twisted.watch("end", channels[1].on_closed)
    yield twisted.call("another", connection.channel)


@on_reactor("twisted.connection")
def a_protocol_of_the_program_hears_what_twisted_says(env: Any, twisted: Twisted) -> Any:
    kind: Any = twisted.adapter.TwistedProtocolConnection

    class Mine(kind):  # type: ignore[misc]
        def connectionMade(self) -> None:
            env.show("connectionMade", [self.connected, self.is_open, type(self.ready).__name__])

        def connectionReady(self) -> Any:
            env.show("connectionReady", [self.connected, self.is_open])
            return super().connectionReady()

        def connectionLost(self, reason: Any) -> None:
            env.show("connectionLost", [reason.type.__name__, self.is_closed])
            super().connectionLost(reason)
            env.show("behind it", [self.is_closed, self.closed])

    protocol = twisted.protocol(Mine)
    ready = protocol.ready
    yield twisted.connect(protocol)
    yield ready
    yield twisted.call("close", protocol.close)


@on_reactor("twisted.names")
def a_channel_may_be_made_of_one_with_callbacks(env: Any, twisted: Twisted) -> Any:
    connection = yield twisted.connection()
    opened: defer.Deferred[Any] = defer.Deferred()
    connection._impl.channel(on_open_callback=opened.callback)
    channel = twisted.adapter.TwistedChannel((yield opened))
    twisted.watch("its end", channel.on_closed)
    yield twisted.call("declare", channel.queue_declare, env.name(), exclusive=True)


@on_reactor("twisted.names")
def a_channel_shows_what_pika_s_shows(env: Any, twisted: Twisted) -> Any:
    channel = yield twisted.channel()
    text = repr(channel)
    env.show_text("repr", text[: text.index(" conn=")])
    env.show("state", [channel.is_open, channel.is_closing, channel.is_closed, channel.flow_active])
    env.show("numbers", [channel.channel_number, channel.consumer_tags])
    env.show("connection", [type(channel.connection).__name__, channel.connection.is_open])
    env.call("no such name", getattr, channel, "callWhenReady")
    env.call("a name of Channel", getattr, channel, "add_on_flow_callback")
    channel.close()
    env.show("closing", [channel.is_open, channel.is_closing, channel.is_closed])
    yield channel.on_closed
    env.show("closed", [channel.is_open, channel.is_closing, channel.is_closed])


@on_reactor("twisted.names")
def names_and_signatures_are_pika_s(env: Any, twisted: Twisted) -> Any:
    inherited = set(dir(twisted.adapter.protocol.Protocol)) | set(dir(defer.DeferredQueue))
    for name in ("TwistedProtocolConnection", "TwistedChannel", "ClosableDeferredQueue", "ReceivedMessage"):
        kind = getattr(twisted.adapter, name)
        for attribute in sorted(set(dir(kind)) - inherited):
            if attribute.startswith("_"):
                continue
            value = getattr(kind, attribute)
            if inspect.isfunction(value):
                taken = inspect.signature(value).parameters.values()
                env.show(f"{name}.{attribute}", [f"{one.name}={one.default!r}" for one in taken])
            else:
                env.show_text(f"{name}.{attribute}", type(value).__name__)
    yield from ()


@on_reactor("twisted.rpc")
def requests_of_queues_and_exchanges(env: Any, twisted: Twisted) -> Any:
    channel = yield twisted.channel()
    queue, one, two = env.name(), env.name("one"), env.name("two")
    call = twisted.call
    yield call("queue_declare", channel.queue_declare, queue, exclusive=True)
    yield call("passive", channel.queue_declare, queue, passive=True)
    yield call("exchange_declare", channel.exchange_declare, one, "topic", auto_delete=True)
    kind = env.pika.exchange_type.ExchangeType.fanout
    yield call("exchange_declare by an enum", channel.exchange_declare, two, kind)
    yield call("exchange_bind", channel.exchange_bind, two, one, "a.*", {"x": 1})
    yield call("queue_bind", channel.queue_bind, queue, two)
    channel.basic_publish(one, "a.b", b"through both")
    yield call("get", channel.basic_get, queue, auto_ack=True)
    yield call("queue_unbind", channel.queue_unbind, queue, two)
    yield call("exchange_unbind", channel.exchange_unbind, two, one, "a.*", {"x": 1})
    channel.basic_publish("", queue, b"x")
    yield call("queue_purge", channel.queue_purge, queue)
    yield call("exchange_delete", channel.exchange_delete, two, if_unused=True)
    yield call("queue_delete", channel.queue_delete, queue, if_empty=True)
    yield call("qos", channel.basic_qos, 0, 5, False)
    yield call("recover", channel.basic_recover, True)
    yield call("flow", channel.flow, True)
    env.show("active", channel.flow_active)


@on_reactor("twisted.rpc")
def requests_are_answered_in_order(env: Any, twisted: Twisted) -> Any:
    channel = yield twisted.channel()
    queue, other = env.name(), env.name("other")
    yield channel.queue_declare(other, exclusive=True)
    calls = [
        twisted.call("declare", channel.queue_declare, queue, exclusive=True),
        twisted.call("bind", channel.queue_bind, queue, "amq.fanout"),
        twisted.call("consume", channel.basic_consume, queue, consumer_tag="mine"),
        twisted.call("passive", channel.queue_declare, other, passive=True),
        twisted.call("qos", channel.basic_qos, prefetch_count=1),
        twisted.call("get", channel.basic_get, other),
        twisted.call("cancel", channel.basic_cancel, "mine"),
        twisted.call("flow", channel.flow, True),
    ]
    yield defer.gatherResults(calls)


@on_reactor("twisted.rpc")
def transactions(env: Any, twisted: Twisted) -> Any:
    channel = yield twisted.channel()
    queue = yield twisted.queue(channel, exclusive=True)
    yield twisted.call("select", channel.tx_select)
    yield twisted.call("publish", channel.basic_publish, "", queue, b"dropped")
    yield twisted.call("rollback", channel.tx_rollback)
    channel.basic_publish("", queue, b"kept")
    yield twisted.call("commit", channel.tx_commit)
    yield twisted.call("get", channel.basic_get, queue, auto_ack=True)
    yield twisted.call("get", channel.basic_get, queue, auto_ack=True)
    yield twisted.call("confirms in a transaction", channel.confirm_delivery)


@on_reactor("twisted.rpc")
def a_commit_without_a_transaction_closes_the_channel(env: Any, twisted: Twisted) -> Any:
    channel = yield twisted.channel()
    yield twisted.call("commit", channel.tx_commit)


@on_reactor("twisted.rpc")
def callback_deferred_gets_the_frame(env: Any, twisted: Twisted) -> Any:
    channel = yield twisted.channel()
    got: defer.Deferred[Any] = defer.Deferred()
    replies = [env.pika.spec.Queue.DeclareOk, env.pika.spec.Queue.PurgeOk]
    env.show("returned", channel.callback_deferred(got, replies))
    twisted.watch("by callback_deferred", got)
    yield twisted.call("declare", channel.queue_declare, env.name(), exclusive=True)


@on_reactor("twisted.rpc")
def a_callback_deferred_that_fires_twice(env: Any, twisted: Twisted) -> Any:
    connection = yield twisted.connection()
    channel = yield twisted.channel(connection)
    got: defer.Deferred[Any] = defer.Deferred()
    spec = env.pika.spec
    channel.callback_deferred(got, [spec.Queue.DeclareOk, spec.Queue.PurgeOk])
    twisted.watch("by callback_deferred", got)
    queue = env.name()
    yield twisted.call("declare", channel.queue_declare, queue, exclusive=True)
    yield twisted.call("purge", channel.queue_purge, queue)
    env.show_state("afterwards", connection)


@on_reactor("twisted.arguments", its_log=False)
def bad_arguments_of_requests_fail_the_deferred(env: Any, twisted: Twisted) -> Any:
    channel = yield twisted.channel()
    for name, args in (
        ("queue_declare", (5,)),
        ("queue_declare", (None,)),
        ("queue_bind", ("q", 5)),
        ("queue_unbind", (b"q", "x")),
        ("queue_purge", (5,)),
        ("queue_delete", ([],)),
        ("exchange_declare", (5,)),
        ("exchange_declare", ("x" * 300,)),
        ("exchange_bind", (1, 2)),
        ("exchange_delete", (5,)),
        ("basic_qos", (-1,)),
        ("basic_qos", (0, 70000)),
        ("basic_qos", (0, "1")),
        ("basic_consume", (5,)),
        ("basic_cancel", (5,)),
    ):
        yield twisted.call(f"{name}{args!r:.40}", getattr(channel, name), *args)
    yield twisted.call("the channel works", channel.queue_declare, env.name(), exclusive=True)


@on_reactor("twisted.arguments")
def bad_arguments_of_what_has_no_answer_raise(env: Any, twisted: Twisted) -> Any:
    channel = yield twisted.channel()
    twisted.call("ack", channel.basic_ack, "x")
    twisted.call("nack", channel.basic_nack, None)
    twisted.call("reject", channel.basic_reject, "x")
    twisted.call("publish a number", channel.basic_publish, "", "q", 5)
    twisted.call("publish to a number", channel.basic_publish, 5, "q", b"x")
    twisted.call("publish by a long key", channel.basic_publish, "", "x" * 256, b"x")
    twisted.call("callback_deferred", channel.callback_deferred, None, [])
    twisted.call("publish a text", channel.basic_publish, "", "q", "ü")
    yield twisted.call("the channel works", channel.queue_declare, env.name(), exclusive=True)


@on_reactor("twisted.arguments")
def wrong_numbers_of_arguments_raise(env: Any, twisted: Twisted) -> Any:
    channel = yield twisted.channel()
    for name in ("queue_declare", "queue_bind", "basic_publish", "basic_consume", "basic_reject"):
        env.call_wrongly(name, getattr(channel, name))
    env.call_wrongly("nowait", channel.queue_declare, "q", nowait=True)


@on_reactor("twisted.turns", its_log=False)
def what_runs_in_the_turn_of_the_answer(env: Any, twisted: Twisted) -> Any:
    channel = yield twisted.channel()
    here = twisted.turns
    yield twisted.call("publish", channel.basic_publish, "", "nobody", b"x")
    env.show("a publish needs no turn", twisted.turns == here)
    yield channel.queue_declare(env.name(), exclusive=True)
    env.show("a request does", twisted.turns > here)
    here = twisted.turns
    twisted.call("bad", channel.queue_declare, 5)
    env.show("a refusal does not", twisted.turns == here)
    twisted.native.callLater(0, env.show, "behind", "in the next turn")
    channel.close()
    env.show("closing is awaited", [channel.is_closing, channel.on_closed.called])
    yield channel.on_closed
    here = twisted.turns
    yield twisted.call("afterwards", channel.queue_declare, env.name("b"))
    env.show("a closed channel answers at once", twisted.turns == here)
