"""Where Twisted's channels and connections differ from pika's on purpose."""

from __future__ import annotations

from typing import Any

from twisted.internet import defer

from parity.differences import differs
from parity.reactor import Twisted, played


@differs(
    "A call on Twisted that was refused",
    "its Deferred has failed, and another that nobody has fails with the channel: an error in Twisted's log",
    "its Deferred has failed",
)
@played
def a_call_that_was_refused(env: Any, twisted: Twisted) -> Any:
    channel = yield twisted.channel()
    yield twisted.call("refused", channel.queue_declare, 5)


@differs(
    "A Deferred of Twisted that is cancelled before its answer comes",
    "the end of its channel (for one of `channel()`: of the connection) raises `AlreadyCalledError`: "
    "`on_closed` and `closed` may never fire",
    "disturbs nobody",
)
@played
def a_request_that_is_cancelled(env: Any, twisted: Twisted) -> Any:
    channel = yield twisted.channel()
    queue = env.name()
    first = channel.queue_declare(queue, exclusive=True)
    second = twisted.call("second", channel.queue_bind, queue, "amq.fanout")
    twisted.watch("first", first)
    first.cancel()
    yield second
    yield twisted.call("it was declared", channel.queue_declare, queue, passive=True)


@differs(
    "A `basic_get` on Twisted that was refused",
    "each that comes later raises `DuplicateGetOkCallback`",
    "the next may be tried",
)
@played
def a_get_that_was_refused(env: Any, twisted: Twisted) -> Any:
    channel = yield twisted.channel()
    queue = yield twisted.queue(channel, exclusive=True)
    yield twisted.call("refused", channel.basic_get, 5)
    yield twisted.call("the next", channel.basic_get, queue)


@differs(
    "What is published on Twisted before `confirm_delivery` is answered",
    "is not counted: later publishes get the confirms of others, or none, or fail for it when it comes back",
    "is counted: later publishes get their own confirms",
)
@played
def publishing_before_confirm_delivery_is_answered(env: Any, twisted: Twisted) -> Any:
    channel = yield twisted.channel()
    nobody = env.name("nobody")
    channel.basic_publish("", nobody, b"0", mandatory=True)
    selecting = channel.confirm_delivery()
    channel.basic_publish("", nobody, b"1", mandatory=True)
    yield selecting
    twisted.call("published", channel.basic_publish, "", nobody, b"2")
    twisted.call("mandatory", channel.basic_publish, "", nobody, b"3", mandatory=True)
    for _ in range(20):  # a confirm may come behind other answers, and not all come on pika
        yield channel.basic_qos()


@differs(
    "`close()` of a Twisted protocol that has no transport yet",
    "`AttributeError`; the connection is opened when the transport comes",
    "hangs up when the transport comes: `ready` fails",
)
@played
def closing_before_there_is_a_transport(env: Any, twisted: Twisted) -> Any:
    protocol = twisted.protocol()
    ready: defer.Deferred[Any] = twisted.watch("ready", protocol.ready)
    env.call("close", protocol.close)
    yield twisted.connect(protocol)
    yield ready
    env.show_state("afterwards", protocol)


@differs(
    "`open()` of a channel on an event loop that is open",
    "is sent: the broker closes the connection",
    "`ValueError`",
)
@played
def opening_a_channel_twice(env: Any, twisted: Twisted) -> Any:
    connection = yield twisted.connection()
    channel = yield twisted.channel(connection)
    env.call("open", channel.open)
    yield twisted.call("behind it", channel.queue_declare, env.name(), exclusive=True)
    env.show_state("afterwards", connection)


@differs(
    "`flow()` in the callback of a `flow()`",
    "is never answered",
    "is answered",
)
@played
def asking_for_flow_in_the_callback_of_flow(env: Any, twisted: Twisted) -> Any:
    channel = yield twisted.channel()
    channel.flow(True).addCallback(lambda _active: twisted.call("again", channel.flow, True))
    yield channel.basic_qos()
    yield channel.basic_qos()
