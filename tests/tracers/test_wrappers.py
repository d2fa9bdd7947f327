"""Wrappers as tracers put them around pika's methods are called on cpika as on pika.

In the same order, with the same arguments given in the same way, and the same exceptions inside and outside.
"""

from __future__ import annotations

import pytest
from support.sides import run, same_on_both

# What is wrapped, and how: each gives `wrap(names)`, which makes calls be noted.
NOTING = """
from itertools import count
numbers = count(1)
depth = 0

def shown(value):
    if isinstance(value, Channel):
        return "Channel"
    return getattr(value, "__name__", None) or repr(value)

def note(label, call, args, kwargs):
    global depth
    keywords = {name: shown(value) for name, value in sorted(kwargs.items())}
    print("  " * depth, "begin", label, [shown(value) for value in args], keywords)
    depth += 1
    try:
        result = call(*args, **kwargs)
    except BaseException as error:
        depth -= 1
        print("  " * depth, "raise", label, repr(error))
        raise
    depth -= 1
    print("  " * depth, "end", label, shown(result))
    return result
"""
BY_ASSIGNMENT = (
    NOTING
    + """
def wrap(cls, names):
    for name in names:
        def noted(self, *args, _original=getattr(cls, name), _label=cls.__name__ + "." + name, **kwargs):
            return note(_label, lambda *a, **k: _original(self, *a, **k), args, kwargs)
        noted.__name__ = name
        setattr(cls, name, noted)
"""
)
BY_WRAPT = (
    NOTING
    + """
import wrapt
def wrap(cls, names):
    for name in names:
        wrapt.wrap_function_wrapper(
            cls, name,
            lambda wrapped, instance, args, kwargs, label=cls.__name__ + "." + name:
                note(label, wrapped, args, kwargs),
        )
"""
)
CALLS = [
    *("basic_ack", "basic_cancel", "basic_consume", "basic_get", "basic_nack", "basic_publish", "basic_qos"),
    *("basic_recover", "basic_reject", "close", "confirm_delivery", "exchange_bind", "exchange_declare"),
    *("exchange_delete", "exchange_unbind", "flow", "queue_bind", "queue_declare", "queue_delete"),
    *("queue_purge", "queue_unbind", "tx_commit", "tx_rollback", "tx_select"),
]
EVERYTHING = """
connection = connect()
channel = connection.channel()
prepare(channel)
tell("declare", channel.queue_declare, "{name}", exclusive=True)
tell("exchange", channel.exchange_declare, "{name}", "fanout", auto_delete=True)
topic = pika.exchange_type.ExchangeType.topic
tell("other", channel.exchange_declare, exchange="{name}2", exchange_type=topic)
tell("bind", channel.queue_bind, "{name}", "{name}")
tell("exchange bind", channel.exchange_bind, "{name}", "{name}2", "key", {"a": 1})
tell("exchange unbind", channel.exchange_unbind, "{name}", "{name}2", "key", {"a": 1})
tell("unbind", channel.queue_unbind, "{name}", "{name}", routing_key="x")
tell("delete", channel.exchange_delete, "{name}2")
tell("qos", channel.basic_qos, prefetch_count=5)
tell("flow", channel.flow, True)
for body in (b"1", "two", b"", b"4"):
    tell("publish", channel.basic_publish, "", "{name}", body, pika.BasicProperties(headers={"n": 1}))
tell("get", channel.basic_get, "{name}")
tell("ack", channel.basic_ack, 1)
tell("get", channel.basic_get, queue="{name}", auto_ack=True)
tell("recover", channel.basic_recover, True)
got = []
tag = channel.basic_consume("{name}", lambda ch, method, properties, body: got.append((ch is channel, body)))
while len(got) < 2:
    connection.process_data_events(1)
print(got)
tell("nack", channel.basic_nack, 3, requeue=False)
tell("reject", channel.basic_reject, 4, False)
tell("cancel", channel.basic_cancel, tag)
tell("cancel again", channel.basic_cancel, tag)
tell("get", channel.basic_get, "{name}")
for body in (b"5", b"6"):
    channel.basic_publish("", "{name}", body)
for message in channel.consume("{name}", inactivity_timeout=5):
    print(message)
    channel.basic_ack(message[0].delivery_tag)
    while not channel.get_waiting_message_count():  # the other one goes back at the end, on both
        connection.process_data_events(1)
    break
tell("generator", channel.cancel)
tell("purge", channel.queue_purge, "{name}")
# What goes wrong, inside and outside.
tell("short string", channel.basic_publish, "", "x" * 256, b"")
tell("bad header", channel.basic_publish, "", "{name}", b"", pika.BasicProperties(headers={"a": object}))
tell("no name", channel.queue_declare, None)
tell("reject", channel.basic_reject, "x")
tell("duplicate", lambda: [channel.basic_consume("{name}", print, consumer_tag="t") for _ in range(2)])
tell("select", connection.channel().tx_select)
second = connection.channel()
prepare(second)
tell("confirms", second.confirm_delivery)
tell("confirmed", second.basic_publish, "", "{name}", b"c", mandatory=True)
tell("unroutable", second.basic_publish, "", "{name}-nobody", b"c", mandatory=True)
tell("passive", second.queue_declare, "{name}-missing", passive=True)
tell("closed", second.basic_ack)
tell("closed", second.queue_purge, "{name}")
tell("closed", second.basic_publish, "", "{name}", b"")
tell("close", channel.close)
third = connection.channel()
prepare(third)
for use in (third.tx_select, third.tx_commit, third.tx_rollback):
    tell("tx", use)
tell("delete", third.queue_delete, "{name}")
connection.close()
"""
ON_CLASS = f"wrap(Channel, {CALLS!r})\nprepare = lambda channel: None\n"
ON_INSTANCE = f"""
def prepare(channel):
    impl = channel._impl
    for name in {CALLS!r}:
        def noted(*args, _original=getattr(impl, name), _label=name, **kwargs):
            return note(_label, _original, args, kwargs)
        setattr(impl, name, noted)
"""
ON_BLOCKING = f"wrap(BlockingChannel, {CALLS!r})\n" + ON_CLASS


@pytest.mark.parametrize(
    "how",
    [
        BY_ASSIGNMENT + ON_CLASS,
        BY_WRAPT + ON_CLASS,
        BY_ASSIGNMENT + ON_INSTANCE,
        BY_WRAPT + ON_BLOCKING,
    ],
    ids=["class, by assignment", "class, by wrapt", "instance", "both classes, by wrapt"],
)
def test_each_method_of_a_channel_is_called_through_its_wrappers(how: str, broker_url: str) -> None:
    lines = same_on_both(how + EVERYTHING, broker_url)
    for name in CALLS:
        assert any(f" begin Channel.{name} " in line or f" begin {name} " in line for line in lines), name


def test_one_wrapped_method_leaves_the_others_alone(broker_url: str) -> None:
    for name in ("basic_publish", "basic_consume"):
        same_on_both(
            BY_WRAPT + f"wrap(Channel, [{name!r}])\nprepare = lambda ch: None\n" + EVERYTHING, broker_url
        )


def test_a_wrapper_may_change_arguments_and_results(broker_url: str) -> None:
    same_on_both(
        """
        publish, consume = Channel.basic_publish, Channel.basic_consume
        def traced_publish(self, *args, **kwargs):
            properties = kwargs["properties"] or pika.BasicProperties()
            properties.headers = {**(properties.headers or {}), "trace": kwargs["routing_key"]}
            kwargs.update(properties=properties, body=kwargs["body"] + b"!")
            return publish(self, *args, **kwargs)
        def traced_consume(self, queue, on_message_callback, **kwargs):
            def callback(channel, method, properties, body):
                print("receives", channel is self, type(channel).__name__, method.delivery_tag, body)
                properties.headers["seen"] = True
                on_message_callback(channel, method, properties, body)
            return consume(self, queue, callback, **kwargs)
        Channel.basic_publish, Channel.basic_consume = traced_publish, traced_consume
        connection = connect()
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        def on_message(ch, method, properties, body):
            print("callback", ch is channel, sorted(properties.headers), body)
            ch.basic_ack(method.delivery_tag)
            if body == b"last!":
                ch.stop_consuming()
        for body in (b"first", b"last"):
            channel.basic_publish("", queue, body)
        channel.basic_consume(queue, on_message)
        channel.start_consuming()
        for body in (b"a", b"b"):
            channel.basic_publish("", queue, body)
        for method, properties, body in channel.consume(queue):
            print(method.delivery_tag, sorted(properties.headers), body)
            if body == b"b!":
                break
        print(channel.cancel())
        connection.close()
        """,
        broker_url,
    )


def test_overrides_in_subclasses_are_not_hidden_by_wrappers(broker_url: str) -> None:
    same_on_both(
        """
        class Ours(BlockingChannel):
            def basic_publish(self, exchange, routing_key, body, **kwargs):
                print("override", body)
                return super().basic_publish(exchange, routing_key, body, **kwargs)
            def queue_declare(self, queue, **kwargs):
                print("override", queue)
                return super().queue_declare(queue, **kwargs)
        class Connection(pika.BlockingConnection):
            def channel(self, channel_number=None):
                channel = super().channel(channel_number)
                channel.__class__ = Ours
                return channel
        for name in ("basic_publish", "queue_declare"):
            def noted(self, *args, _original=getattr(Channel, name), _name=name, **kwargs):
                print("wrapper", _name)
                return _original(self, *args, **kwargs)
            setattr(Channel, name, noted)
        connection = Connection(pika.URLParameters(sys.argv[1]))
        channel = connection.channel()
        queue = channel.queue_declare("{name}", exclusive=True).method.queue
        channel.basic_publish("", queue, b"x")
        print(channel.basic_get(queue, auto_ack=True)[2])
        channel._impl.basic_publish("", queue, b"y")
        connection.process_data_events(0)
        print(channel.basic_get(queue, auto_ack=True)[2])
        connection.close()
        """,
        broker_url,
    )


def test_wrappers_that_are_taken_off_are_called_no_more(broker_url: str) -> None:
    same_on_both(
        """
        from unittest import mock
        connection = connect()
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        def publish(label):
            print(label)
            channel.basic_publish("", queue, b"x")
            print(channel.basic_get(queue, auto_ack=True)[2])
        publish("before")
        original = Channel.basic_publish
        with mock.patch.object(Channel, "basic_publish", autospec=True, side_effect=original) as fake:
            publish("patched")
            print(fake.call_args.kwargs["routing_key"] == queue, fake.call_count)
        publish("after")
        with mock.patch.object(channel._impl, "basic_get", wraps=channel._impl.basic_get) as fake:
            publish("patched")
            print(fake.call_count)
        publish("after")
        print(fake.call_count)
        connection.close()
        """,
        broker_url,
    )


def test_the_short_way_is_open_again_when_nothing_is_wrapped(broker_url: str) -> None:
    lines = run(
        """
        import sys
        connection = connect()
        channel = connection.channel()
        def frames():
            seen = []
            def profile(frame, event, argument):
                if event == "call":
                    seen.append(frame.f_code.co_name)
            sys.setprofile(profile)
            channel.basic_ack(0, True) if False else channel.basic_publish("", "nobody", b"x")
            sys.setprofile(None)
            return seen
        print(frames())
        original, Channel.basic_publish = Channel.basic_publish, lambda *a, **k: original(*a, **k)
        print("basic_publish" in frames())
        Channel.basic_publish = original
        print(frames())
        listened = connection.channel()
        listened._impl.add_on_close_callback(lambda *args: None)
        print("basic_publish" in frames())
        listened.close()
        print(frames())
        connection.close()
        """,
        "cpika",
        broker_url,
    )
    assert lines == ["[]", "True", "[]", "True", "[]"]


def test_channels_made_through_wrappers_of_both_connections(broker_url: str) -> None:
    same_on_both(
        """
        from pika.connection import Connection
        def wrapped(cls):
            original = cls.channel
            def channel(self, *args, **kwargs):
                print("begin", cls.__name__, len(args), sorted(kwargs))
                result = original(self, *args, **kwargs)
                print("end", cls.__name__, type(result).__name__, result.is_open, result.channel_number)
                return result
            cls.channel = channel
        wrapped(Connection)
        wrapped(pika.BlockingConnection)
        connection = connect()
        channel = connection.channel()
        print(channel.is_open, int(channel), int(connection.channel(7)), int(connection.channel()))
        tell("nonsense", connection.channel, "x")
        connection.close()
        tell("closed", connection.channel)
        """,
        broker_url,
    )


def test_what_a_wrapper_raises_leaves_the_call_and_the_channel_lives(broker_url: str) -> None:
    same_on_both(
        """
        connection = connect()
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        calls = []
        def failing(original, before):
            def wrapper(self, *args, **kwargs):
                calls.append(1)
                if before:
                    raise KeyError("before")
                original(self, *args, **kwargs)
                raise KeyError("after")
            return wrapper
        publish, get, declare = Channel.basic_publish, Channel.basic_get, Channel.queue_declare
        for before in (True, False):
            Channel.basic_publish = failing(publish, before)
            tell("publish", channel.basic_publish, "", queue, b"x")
            Channel.basic_publish = publish
        Channel.queue_declare = failing(declare, True)
        tell("declare", channel.queue_declare, queue, passive=True)
        Channel.queue_declare = declare
        got = []
        channel.basic_consume(queue, lambda *message: got.append(message[3]), auto_ack=True)
        while not got:
            connection.process_data_events(1)
        print(got, len(calls))
        connection.close()
        """,
        broker_url,
    )


def test_threads_publish_through_a_wrapper(broker_url: str) -> None:
    """pika's channels are one thread's: here each has its own, and on cpika all share one as well."""
    program = """
        publish = Channel.basic_publish
        counted = []
        def wrapper(self, *args, **kwargs):
            counted.append(kwargs["body"])
            return publish(self, *args, **kwargs)
        Channel.basic_publish = wrapper
        connection = connect()
        shared = connection.channel()
        shared.confirm_delivery()
        queue = shared.queue_declare("", exclusive=True).method.queue
        def work(number):
            for i in range(100):
                shared.basic_publish("", queue, b"%d %d" % (number, i), mandatory=True)
        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        print(len(counted), shared.queue_declare(queue, passive=True).method.message_count)
        connection.close()
    """
    assert run(program, "cpika", broker_url) == ["400 400"]


def test_a_lost_connection_is_told_outside_of_the_wrapper(broker_url: str) -> None:
    same_on_both(
        """
        import socket
        publish = Channel.basic_publish
        def wrapper(self, *args, **kwargs):
            try:
                publish(self, *args, **kwargs)
                print("nothing inside")
            except Exception as error:
                print("inside", type(error).__name__)
                raise
        Channel.basic_publish = wrapper
        connection = connect()
        channel = connection.channel()
        channel.confirm_delivery()
        connection._impl._transport._sock.shutdown(socket.SHUT_RDWR)
        try:
            channel.basic_publish("", "nobody", b"x")
        except pika.exceptions.AMQPConnectionError as error:
            print("outside", type(error).__name__)
        tell("again", channel.basic_publish, "", "nobody", b"x")
        print(channel.is_open, connection.is_open)
        """,
        broker_url,
    )


def test_confirms_that_the_broker_refuses_behind_a_wrapper_are_not_taken_for_done(broker_url: str) -> None:
    same_on_both(
        """
        confirm = Channel.confirm_delivery
        def wrapper(self, *args, **kwargs):
            return confirm(self, *args, **kwargs)
        Channel.confirm_delivery = wrapper
        connection = connect()
        channel = connection.channel()
        channel.tx_select()
        tell("refused", channel.confirm_delivery)
        tell("again", channel.confirm_delivery)
        print(channel.is_open, connection.is_open)
        """,
        broker_url,
    )


def test_a_block_of_publishes_goes_through_wrappers_and_stays_a_block(broker_url: str) -> None:
    lines = run(
        """
        publish = Channel.basic_publish
        counted = []
        def wrapper(self, *args, **kwargs):
            counted.append(1)
            return publish(self, *args, **kwargs)
        Channel.basic_publish = wrapper
        connection = connect()
        channel = connection.channel()
        channel.confirm_delivery()
        queue = channel.queue_declare("", exclusive=True).method.queue
        before = connection._impl.bytes_sent
        with channel.buffered(max_delay=60):
            for _ in range(100):
                channel.basic_publish("", queue, b"x", mandatory=True)
            print(connection._impl.bytes_sent - before)
        print(len(counted), channel.queue_declare(queue, passive=True).method.message_count)
        connection.close()
        """,
        "cpika",
        broker_url,
    )
    assert lines == ["0", "100 100"]
