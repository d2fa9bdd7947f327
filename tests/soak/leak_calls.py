"""Every call of the interface, as it should be and with arguments that cannot be sent."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple

from support.subject import exceptions, pika

from .judge import QUEUE_LIFE

TAG = "leaks"  # the same each time: a library may keep the last tags
CHANNEL, CONNECTION = "channel", "connection"
LONG_KEY = "k" * 300
LONE_SURROGATE = "\ud800"


class World:
    """What the calls are made on, and with: one object for each argument, whose references can be counted."""

    def __init__(self, url: str) -> None:
        self.parameters = pika.URLParameters(url)
        self.parameters.heartbeat = 0
        self.queue = "soak-leaks-queue"
        self.other_queue = "soak-leaks-other"
        self.exchange = "soak-leaks-exchange"
        self.other_exchange = "soak-leaks-source"
        self.body = b"x" * 700
        self.large = b"y" * 150_000
        self.headers = {"text": "value", "list": [1, {"deep": b"bytes"}]}
        self.properties = pika.BasicProperties(content_type="text/plain", headers=self.headers)
        self.arguments = {"x-expires": QUEUE_LIFE["x-expires"]}
        self.unencodable = {"a" * 100: object()}
        self.bad_properties = pika.BasicProperties(headers=self.unencodable)
        self.callback = Callback()
        self.interrupting = False
        """A call is about to be broken off: on a channel of its own already."""
        self.made: Any = None
        """A channel that a call has opened, for `tidy`."""
        self.connection: Any = None
        self.closed_connection = self.connect()
        self.dead_channel = self.closed_connection.channel()
        self.closed_connection.close()
        self.heal()
        self.closed_channel = self.connection.channel()
        self.closed_channel.close()

    def connect(self) -> Any:
        return pika.BlockingConnection(self.parameters)

    def tidy(self) -> None:
        """Closes what a call has opened."""
        if self.made is not None and self.made.is_open:
            self.made.close()
        self.made = None

    def heal(self) -> None:
        """A new connection and channel where there is none any more, and what the calls expect."""
        if self.connection is None or self.connection.is_closed:
            self.connection = self.connect()
            self.channel = self.connection.channel()
        elif self.channel.is_closed:
            self.channel = self.connection.channel()
        self.channel.queue_declare(self.queue, arguments=self.arguments)
        self.channel.exchange_declare(self.exchange, "topic", auto_delete=False)
        self.channel.exchange_declare(self.other_exchange, "topic", auto_delete=False)

    def counted(self) -> list[Any]:
        """The arguments."""
        return [
            self.queue,
            self.exchange,
            self.body,
            self.large,
            self.headers,
            self.properties,
            self.arguments,
            self.unencodable,
            self.bad_properties,
            self.callback,
        ]


class Callback:
    """Ends consuming with the first message."""

    def __call__(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        repr((method, properties))
        channel.basic_ack(method.delivery_tag)
        channel.stop_consuming()


Use = Callable[[World, Any], Any]


class Call(NamedTuple):
    """A call.

    :param good: makes it on a channel or connection, as it should be
    :param bad: makes it so that it raises before anything is sent
    :param refused: makes it so that the broker closes the channel
    :param waits: it can be interrupted
    :param fewer: divides the number of calls, where one takes long
    """

    name: str
    owner: str
    good: Use
    bad: tuple[Use, ...] = ()
    refused: Use | None = None
    waits: bool = True
    fewer: int = 1
    closed: bool = True


def settle(how: Callable[[Any, int], None]) -> Use:
    """Publishes, gets, and does this with the delivery tag."""

    def use(world: World, channel: Any) -> None:
        channel.basic_publish("", world.queue, world.body)
        method, _, _ = channel.basic_get(world.queue)
        if method is not None:
            how(channel, method.delivery_tag)

    return use


def get(world: World, channel: Any) -> None:
    channel.basic_publish("", world.queue, world.large, world.properties)
    channel.basic_get(world.queue, auto_ack=True)
    channel.basic_get(world.queue, auto_ack=True)


def publish(world: World, channel: Any) -> None:
    channel.basic_publish(world.exchange, "nowhere", world.body, world.properties)
    channel.basic_publish(world.exchange, "nowhere", world.large)


def publish_confirmed(world: World, channel: Any) -> None:
    channel.confirm_delivery()
    channel.basic_publish(world.exchange, "nowhere", world.body, world.properties)
    with contextlib.suppress(exceptions.UnroutableError):
        channel.basic_publish(world.exchange, "nowhere", world.body, mandatory=True)


def buffered(world: World, channel: Any) -> None:
    with channel.buffered():
        for _ in range(5):
            channel.basic_publish(world.exchange, "nowhere", world.body, world.properties)


def publish_many(world: World, channel: Any) -> None:
    channel.publish_many((world.exchange, "nowhere", world.body) for _ in range(5))


def publish_many_confirmed(world: World, channel: Any) -> None:
    channel.confirm_delivery()
    with contextlib.suppress(exceptions.UnroutableError):
        publish_many(world, channel)


def consume_and_cancel(world: World, channel: Any) -> None:
    channel.basic_consume(world.queue, world.callback, consumer_tag=TAG, arguments={"x-priority": 1})
    channel.basic_cancel(TAG)


def start_consuming(world: World, channel: Any) -> None:
    channel.basic_publish("", world.queue, world.body, world.properties)
    channel.basic_consume(world.queue, world.callback, consumer_tag=TAG)
    channel.start_consuming()


def generate(world: World, channel: Any) -> None:
    channel.basic_publish("", world.queue, world.body, world.properties)
    for method, _, _ in channel.consume(world.queue, consumer_tag=TAG, inactivity_timeout=1):
        channel.basic_ack(method.delivery_tag)
        channel.get_waiting_message_count()
        break
    channel.cancel()


def fresh(use: Use) -> Use:
    """On a channel of its own, since what it does stays with the channel; on a closed one as it is."""

    def on_new_channel(world: World, channel: Any) -> Any:
        if not channel.is_open or world.interrupting:
            return use(world, channel)
        with channel.connection.channel() as new:
            return use(world, new)

    return on_new_channel


def new_connection(use: Use) -> Use:
    """On a connection of its own."""

    def on_new_connection(world: World, connection: Any) -> Any:
        if not connection.is_open:
            return use(world, connection)
        with world.connect() as new:
            return use(world, new)

    return on_new_connection


def open_channel(world: World, connection: Any) -> None:
    world.made = connection.channel()


def timer(world: World, connection: Any) -> None:
    connection.call_later(0, lambda: None)
    connection.remove_timeout(connection.call_later(60, lambda: None))
    connection.process_data_events(0.001)


def threadsafe(world: World, connection: Any) -> None:
    connection.add_callback_threadsafe(lambda: None)
    connection.process_data_events(0.001)


def transaction(world: World, channel: Any) -> None:
    channel.tx_select()
    channel.basic_publish(world.exchange, "nowhere", world.body)
    channel.tx_commit()
    channel.basic_publish(world.exchange, "nowhere", world.body)
    channel.tx_rollback()


def publishing() -> list[Call]:
    """What sends messages."""
    bad: tuple[Use, ...] = (
        lambda w, c: c.basic_publish("", w.queue, 5),
        lambda w, c: c.basic_publish("", LONG_KEY, w.body, w.properties),
        lambda w, c: c.basic_publish(7, w.queue, w.body, w.properties),
        lambda w, c: c.basic_publish("", w.queue, w.body, w.bad_properties),
        lambda w, c: c.basic_publish("", w.queue, LONE_SURROGATE),
        lambda w, c: c.basic_publish("", w.queue, w.large, w.bad_properties),
        lambda w, c: c.basic_publish("", w.queue),
    )
    calls = [
        Call("basic_publish", CHANNEL, publish, bad, waits=False),
        Call("basic_publish, confirmed", CHANNEL, fresh(publish_confirmed), fewer=2),
        Call("confirm_delivery", CHANNEL, fresh(lambda w, c: c.confirm_delivery()), fewer=2),
    ]
    if hasattr(pika.adapters.blocking_connection.BlockingChannel, "publish_many"):
        many_bad: tuple[Use, ...] = (
            lambda w, c: c.publish_many([("", LONG_KEY, w.body)]),
            lambda w, c: c.publish_many([("", w.queue, w.body, w.bad_properties)]),
            lambda w, c: c.publish_many([("", w.queue)]),
            lambda w, c: c.publish_many(5),
        )
        calls += [
            Call("buffered", CHANNEL, buffered),
            Call("publish_many", CHANNEL, publish_many, many_bad),
            Call("publish_many, confirmed", CHANNEL, fresh(publish_many_confirmed), fewer=2),
        ]
    return calls


def receiving() -> list[Call]:
    """What gets messages and settles them."""
    return [
        Call(
            "basic_get",
            CHANNEL,
            get,
            (lambda w, c: c.basic_get(LONG_KEY), lambda w, c: c.basic_get(5)),
            refused=lambda w, c: c.basic_get("soak-no-such-queue"),
        ),
        Call("basic_ack", CHANNEL, settle(lambda c, tag: c.basic_ack(tag)), (lambda w, c: c.basic_ack("x"),)),
        Call(
            "basic_nack",
            CHANNEL,
            settle(lambda c, tag: c.basic_nack(tag, requeue=False)),
            (lambda w, c: c.basic_nack(-1),),
        ),
        Call(
            "basic_reject",
            CHANNEL,
            settle(lambda c, tag: c.basic_reject(tag, requeue=False)),
            (lambda w, c: c.basic_reject("x"),),
        ),
        Call(
            "basic_consume",
            CHANNEL,
            consume_and_cancel,
            (
                lambda w, c: c.basic_consume(w.queue, 5),
                lambda w, c: c.basic_consume(LONG_KEY, w.callback),
                lambda w, c: c.basic_consume(w.queue, w.callback, arguments=w.unencodable),
            ),
            refused=lambda w, c: c.basic_consume("soak-no-such-queue", w.callback),
        ),
        Call("basic_cancel", CHANNEL, lambda w, c: c.basic_cancel("nobody"), ()),
        Call("start_consuming", CHANNEL, start_consuming),
        Call("stop_consuming", CHANNEL, lambda w, c: c.stop_consuming(), waits=False),
        Call(
            "consume",
            CHANNEL,
            generate,
            (
                lambda w, c: next(c.consume(LONG_KEY)),
                lambda w, c: next(c.consume(w.queue, arguments=w.unencodable)),
            ),
            refused=lambda w, c: next(c.consume("soak-no-such-queue")),
        ),
        Call("cancel", CHANNEL, lambda w, c: c.cancel(), waits=False),
        Call("get_waiting_message_count", CHANNEL, lambda w, c: c.get_waiting_message_count(), waits=False),
        Call(
            "basic_qos",
            CHANNEL,
            lambda w, c: c.basic_qos(prefetch_count=10),
            (lambda w, c: c.basic_qos(prefetch_count=70_000), lambda w, c: c.basic_qos(prefetch_count="x")),
        ),
        Call("basic_recover", CHANNEL, lambda w, c: c.basic_recover(requeue=True)),
    ]


def queues() -> list[Call]:
    """Queues and their bindings."""
    return [
        Call(
            "queue_declare",
            CHANNEL,
            lambda w, c: c.queue_declare(w.queue, arguments=w.arguments),
            (
                lambda w, c: c.queue_declare(LONG_KEY),
                lambda w, c: c.queue_declare(5),
                lambda w, c: c.queue_declare(w.queue, arguments=w.unencodable),
                lambda w, c: c.queue_declare(LONE_SURROGATE),
            ),
            refused=lambda w, c: c.queue_declare("soak-no-such-queue", passive=True),
        ),
        Call(
            "queue_bind",
            CHANNEL,
            lambda w, c: c.queue_bind(w.queue, w.exchange, "key", {"x": 1}),
            (
                lambda w, c: c.queue_bind(w.queue, w.exchange, "key", w.unencodable),
                lambda w, c: c.queue_bind(w.queue, w.exchange, LONG_KEY),
            ),
            refused=lambda w, c: c.queue_bind("soak-no-such-queue", w.exchange, "k"),
        ),
        Call(
            "queue_unbind",
            CHANNEL,
            lambda w, c: c.queue_unbind(w.queue, w.exchange, "key", {"x": 1}),
            (lambda w, c: c.queue_unbind(w.queue, w.exchange, "key", w.unencodable),),
        ),
        Call(
            "queue_purge",
            CHANNEL,
            lambda w, c: c.queue_purge(w.queue),
            (lambda w, c: c.queue_purge(LONG_KEY),),
        ),
        Call(
            "queue_delete",
            CHANNEL,
            lambda w, c: c.queue_delete(w.other_queue),
            (lambda w, c: c.queue_delete(LONG_KEY),),
        ),
    ]


def exchanges() -> list[Call]:
    """Exchanges and their bindings."""
    return [
        Call(
            "exchange_declare",
            CHANNEL,
            lambda w, c: c.exchange_declare(w.exchange, "topic"),
            (
                lambda w, c: c.exchange_declare(w.exchange, "topic", arguments=w.unencodable),
                lambda w, c: c.exchange_declare(LONG_KEY, "topic"),
                lambda w, c: c.exchange_declare(5),
            ),
            refused=lambda w, c: c.exchange_declare("soak-no-such-exchange", passive=True),
        ),
        Call(
            "exchange_bind",
            CHANNEL,
            lambda w, c: c.exchange_bind(w.exchange, w.other_exchange, "k"),
            (lambda w, c: c.exchange_bind(w.exchange, w.other_exchange, "k", w.unencodable),),
        ),
        Call(
            "exchange_unbind",
            CHANNEL,
            lambda w, c: c.exchange_unbind(w.exchange, w.other_exchange, "k"),
            (lambda w, c: c.exchange_unbind(w.exchange, w.other_exchange, LONG_KEY),),
        ),
        Call(
            "exchange_delete",
            CHANNEL,
            lambda w, c: c.exchange_delete("soak-no-such-exchange"),
            (lambda w, c: c.exchange_delete(LONG_KEY),),
        ),
    ]


def channel_itself() -> list[Call]:
    """Transactions, flow, callbacks, close."""
    return [
        Call("tx_select, tx_commit, tx_rollback", CHANNEL, fresh(transaction), fewer=2),
        Call("flow", CHANNEL, lambda w, c: c.flow(True)),
        Call(
            "add_on_return_callback",
            CHANNEL,
            fresh(lambda w, c: c.add_on_return_callback(w.callback)),
            (),
            waits=False,
            fewer=2,
            closed=False,
        ),
        Call(
            "add_on_cancel_callback",
            CHANNEL,
            fresh(lambda w, c: c.add_on_cancel_callback(w.callback)),
            (),
            waits=False,
            fewer=2,
            closed=False,
        ),
        Call(
            "close of a channel",
            CHANNEL,
            fresh(lambda w, c: c.close()),
            (lambda w, c: c.close(reply_code="x"), lambda w, c: c.close(200, LONG_KEY)),
            fewer=2,
        ),
    ]


def connections() -> list[Call]:
    """Of BlockingConnection."""
    return [
        Call(
            "BlockingConnection",
            CONNECTION,
            lambda w, c: w.connect().close(),
            (
                lambda w, c: pika.BlockingConnection("amqp://nowhere"),
                lambda w, c: pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", 1)),
            ),
            fewer=10,
            closed=False,
        ),
        Call(
            "channel",
            CONNECTION,
            open_channel,
            (lambda w, c: c.channel("x"), lambda w, c: c.channel(70_000)),
            fewer=2,
        ),
        Call(
            "process_data_events",
            CONNECTION,
            lambda w, c: c.process_data_events(0.001),
            (lambda w, c: c.process_data_events("x"),),
        ),
        Call("sleep", CONNECTION, lambda w, c: c.sleep(0.001), (lambda w, c: c.sleep("x"),)),
        Call("call_later, remove_timeout", CONNECTION, timer, (lambda w, c: c.call_later("x", w.callback),)),
        Call("add_callback_threadsafe", CONNECTION, threadsafe, (lambda w, c: c.add_callback_threadsafe(5),)),
        Call(
            "update_secret",
            CONNECTION,
            lambda w, c: c.update_secret("secret", "a reason"),
            (lambda w, c: c.update_secret("secret", LONG_KEY),),
        ),
    ]


def connection_itself() -> list[Call]:
    """Callbacks of a connection, and its close."""
    return [
        Call(
            "add_on_connection_blocked_callback",
            CONNECTION,
            new_connection(lambda w, c: c.add_on_connection_blocked_callback(w.callback)),
            (lambda w, c: c.add_on_connection_blocked_callback(5),),
            waits=False,
            fewer=10,
            closed=False,
        ),
        Call(
            "add_on_connection_unblocked_callback",
            CONNECTION,
            new_connection(lambda w, c: c.add_on_connection_unblocked_callback(w.callback)),
            (lambda w, c: c.add_on_connection_unblocked_callback(5),),
            waits=False,
            fewer=10,
            closed=False,
        ),
        Call(
            "close of a connection",
            CONNECTION,
            new_connection(lambda w, c: c.close()),
            (lambda w, c: c.close("x"), lambda w, c: c.close(200, LONG_KEY)),
            fewer=10,
        ),
    ]


def all_calls() -> list[Call]:
    """The table."""
    return [
        *publishing(),
        *receiving(),
        *queues(),
        *exchanges(),
        *channel_itself(),
        *connections(),
        *connection_itself(),
    ]


def not_in_the_table() -> set[str]:
    """Public methods that no line of it names."""
    named = " ".join(call.name for call in all_calls()).replace(",", " ").split()
    blocking = pika.adapters.blocking_connection
    public = {
        name
        for owner in (blocking.BlockingConnection, blocking.BlockingChannel)
        for name in dir(owner)
        if not name.startswith("_") and callable(getattr(owner, name))
    }
    return public - set(named) - {"close"}
