"""Import paths, public names, signatures, and names with an underscore that tracers and programs use."""

from __future__ import annotations

import importlib
import inspect
import types
from collections import deque
from typing import Any
from unittest import mock

import pika as oracle_pika

from parity.harness import MODULES, covers

TOP = (
    "BaseConnection",
    "BasicProperties",
    "BlockingConnection",
    "ConnectionParameters",
    "DeliveryMode",
    "PlainCredentials",
    "SSLOptions",
    "SelectConnection",
    "URLParameters",
    "AMQPConnectionWorkflow",
    "adapters",
    "frame",
    "spec",
    "exceptions",
)


@covers("import.pika", *(f"import.{module}" for module in MODULES), cases=["", *MODULES])
def a_module_has_pikas_path(pika: Any, env: Any, case: Any) -> None:
    module = importlib.import_module(f"{pika.__name__}.{case}" if case else pika.__name__)
    found: Any = pika
    for part in case.split(".") if case else ():
        found = getattr(found, part)
    env.show("found by attributes", found is module)


@covers("import.pika", cases=TOP)
def the_package_exports(pika: Any, env: Any, case: Any) -> None:
    value = getattr(pika, case)
    env.show(
        "kind", "module" if isinstance(value, types.ModuleType) else (type(value).__name__, value.__name__)
    )


@covers("import.version")
def the_version_is_that_of_the_release_that_is_followed(pika: Any, env: Any) -> None:
    env.show("major", pika.__version__.split(".")[0])
    env.show("minor", pika.__version__.split(".")[1])


SAME = {
    "BlockingConnection": (
        "BlockingConnection",
        "adapters.BlockingConnection",
        "adapters.blocking_connection.BlockingConnection",
    ),
    "ConnectionParameters": ("ConnectionParameters", "connection.ConnectionParameters"),
    "URLParameters": ("URLParameters", "connection.URLParameters"),
    "SSLOptions": ("SSLOptions", "connection.SSLOptions"),
    "PlainCredentials": ("PlainCredentials", "credentials.PlainCredentials"),
    "BasicProperties": ("BasicProperties", "spec.BasicProperties"),
    "DeliveryMode": ("DeliveryMode", "delivery_mode.DeliveryMode"),
    "SelectConnection": (
        "SelectConnection",
        "adapters.SelectConnection",
        "adapters.select_connection.SelectConnection",
    ),
    "BaseConnection": (
        "BaseConnection",
        "adapters.BaseConnection",
        "adapters.base_connection.BaseConnection",
    ),
    "AMQPConnectionWorkflow": (
        "AMQPConnectionWorkflow",
        "adapters.utils.connection_workflow.AMQPConnectionWorkflow",
    ),
}


@covers("import.pika", cases=SAME.items())
def one_name_is_one_object_wherever_it_is_found(pika: Any, env: Any, case: Any) -> None:
    first, *rest = (find(pika, path) for path in case[1])
    env.show("same", [other is first for other in rest])
    env.show("name", (first.__name__, first.__qualname__, first.__module__.partition(".")[2]))


@covers("import.channel", "import.connection")
def tracers_find_the_classes_they_wrap(pika: Any, env: Any) -> None:
    env.show("Channel", inspect.isclass(pika.channel.Channel))
    env.show("MAX_CHANNELS", pika.channel.MAX_CHANNELS)
    env.show("Connection", inspect.isclass(pika.connection.Connection))
    env.show("Connection.channel", callable(pika.connection.Connection.channel))
    for name in ("BlockingConnection", "BlockingChannel", "ReturnedMessage"):
        env.show(name, inspect.isclass(getattr(pika.adapters.blocking_connection, name)))


CLASSES = (
    "BlockingConnection",
    "adapters.blocking_connection.BlockingChannel",
    "ConnectionParameters",
    "URLParameters",
    "connection.Parameters",
    "SSLOptions",
    "PlainCredentials",
    "credentials.ExternalCredentials",
    "BasicProperties",
    "frame.Frame",
    "frame.Method",
    "frame.Header",
    "frame.Body",
    "frame.Heartbeat",
    "frame.ProtocolHeader",
    "adapters.blocking_connection.ReturnedMessage",
    "exchange_type.ExchangeType",
    "DeliveryMode",
    "amqp_object.AMQPObject",
    "amqp_object.Method",
    "amqp_object.Class",
    "amqp_object.Properties",
    "callback.CallbackManager",
)
ENUMS = ("exchange_type.ExchangeType", "DeliveryMode")
MODULE_NAMES = ("spec", "exceptions", "validators", "frame", "data", "credentials", "connection", "compat")


def find(library: Any, path: str) -> Any:
    """Return what `path` names in `library`."""
    found = library
    for part in path.split("."):
        found = getattr(found, part)
    return found


def public_names(path: str) -> list[str]:
    """Return the public names of pika's own class or module; the helpers of its annotations do not count."""
    return sorted(
        name
        for name, value in inspect.getmembers(find(oracle_pika, path))
        if not name.startswith("_")
        and getattr(type(value), "__module__", "") != "typing"
        and not inspect.ismodule(value)
        and not (path == "spec" and hasattr(oracle_pika.compat, name))
        and (path in CLASSES or getattr(value, "__module__", f"pika.{path}") == f"pika.{path}")
    )


def kind(owner: Any, name: str) -> str:
    """Return what sort of thing a name is to those who use it."""
    static = inspect.getattr_static(owner, name)
    if isinstance(static, (property, types.GetSetDescriptorType, types.MemberDescriptorType)):
        return "attribute"
    value = getattr(owner, name)
    return "class" if isinstance(value, type) else "callable" if callable(value) else "value"


@covers("introspection.names", cases=[*CLASSES, *MODULE_NAMES])
def pikas_public_names_are_all_there(pika: Any, env: Any, case: Any) -> None:
    owner = find(pika, case)
    for name in public_names(case):
        env.show(name, kind(owner, name) if hasattr(owner, name) else "missing")


@covers("introspection.signatures", cases=[name for name in CLASSES if name not in ENUMS])
def pikas_signatures_are_kept(pika: Any, env: Any, case: Any) -> None:
    owner, oracle = find(pika, case), find(oracle_pika, case)
    names = [name for name in public_names(case) if inspect.isfunction(getattr(oracle, name))]
    env.show("methods", len(names))
    for name in names:
        env.call(name, signature, getattr(owner, name))
    if "__init__" in vars(oracle) and "BlockingChannel" not in case:
        env.show("making one", signature(owner, skip=0))


def signature(function: Any, skip: int = 1) -> list[Any]:
    """Return the names, kinds and defaults of the parameters after `skip` of them, without annotations."""
    return [
        (one.name, one.kind.name.lower(), "-" if one.default is one.empty else plain(one.default))
        for one in list(inspect.signature(function).parameters.values())[skip:]
    ]


def plain(default: Any) -> Any:
    """Return a default as text that is the same in both libraries."""
    return default.__qualname__ if isinstance(default, type) else default


@covers("used._consumer_infos.loop", broker=True)
def a_program_loops_while_there_are_consumer_infos(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, bodies=(b"one", b"two", b"three"))
    env.show("none yet", (bool(channel._consumer_infos), len(channel._consumer_infos)))

    def on_message(ch: Any, method: Any, properties: Any, body: Any) -> None:
        env.show("got", body)
        if body == b"three":
            ch.stop_consuming()

    channel.basic_consume(queue, on_message, consumer_tag="mine", auto_ack=True)
    env.show("infos", list(channel._consumer_infos))
    while channel._consumer_infos:
        channel.connection.process_data_events(time_limit=1)
    env.show("after", list(channel._consumer_infos))


@covers("used._consumer_infos.on_message_callback", broker=True)
def a_tracer_replaces_the_callback_after_basic_consume(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel)

    def original(ch: Any, method: Any, properties: Any, body: Any) -> None:
        env.show("original", body)
        ch.stop_consuming()

    tag = channel.basic_consume(queue, original, consumer_tag="mine")
    info = channel._consumer_infos[tag]
    env.show("info", (info.consumer_tag, info.auto_ack, info.on_message_callback is original))

    def traced(ch: Any, method: Any, properties: Any, body: Any) -> None:
        env.show("traced", (body, ch is channel))
        original(ch, method, properties, body)

    info.on_message_callback = traced
    channel.basic_publish("", queue, b"one")
    env.call("start_consuming", channel.start_consuming)


@covers("used._consumer_infos.on_message_callback", broker=True)
def a_callback_is_read_at_dispatch_not_at_arrival(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, bodies=(b"one", b"two"))
    tag = channel.basic_consume(queue, lambda *args: env.show("first", args[3]), auto_ack=True)
    env.until_delivered(channel, queue)
    channel._consumer_infos[tag].on_message_callback = lambda *args: env.show("second", args[3])
    env.call("process", channel.connection.process_data_events)


@covers("used.generator-info", broker=True)
def a_tracer_replaces_the_events_that_a_generator_pops(pika: Any, env: Any) -> None:
    blocking = pika.adapters.blocking_connection
    channel = env.channel()
    queue = env.queue(channel, bodies=(b"one", b"two"))

    class Proxy:
        def __init__(self, wrapped: Any) -> None:
            self.wrapped = wrapped

        def popleft(self) -> Any:
            event = self.wrapped.popleft()
            env.show("popped", isinstance(event, blocking._ConsumerDeliveryEvt))
            env.show("event", (event.method.delivery_tag, event.properties, event.body))
            return event

        def __getattr__(self, name: str) -> Any:
            return getattr(self.wrapped, name)

        def __len__(self) -> int:
            return len(self.wrapped)

        def __iter__(self) -> Any:
            return iter(self.wrapped)

        def __getitem__(self, index: int) -> Any:
            return self.wrapped[index]

    plain = blocking._QueueConsumerGeneratorInfo.__init__

    def wrapped(self: Any, *args: Any, **kwargs: Any) -> None:
        env.show("made with", (args, sorted(kwargs)))
        plain(self, *args, **kwargs)
        env.show("events", type(self.pending_events) is deque)
        self.pending_events = Proxy(self.pending_events)

    blocking._QueueConsumerGeneratorInfo.__init__ = wrapped
    try:
        generator = channel.consume(queue, auto_ack=True, consumer_tag="mine")
        env.show("got", [next(generator)[2] for _ in range(2)])
        env.call("waiting", channel.get_waiting_message_count)
        env.call("cancel", channel.cancel)
    finally:
        blocking._QueueConsumerGeneratorInfo.__init__ = plain


@covers("used.connection._impl", broker=True)
def programs_look_at_the_implementation_of_a_connection(pika: Any, env: Any) -> None:
    connection = env.connect()
    implementation = connection._impl
    env.show(
        "params",
        (implementation.params.host == env.broker.host, implementation.params.port == env.broker.port),
    )
    env.show("virtual_host", implementation.params.virtual_host == env.broker.vhost)
    properties = implementation.server_properties
    env.show("server", (properties["product"], sorted(properties["capabilities"].items())))
    env.show("state", (implementation.is_open, implementation.is_closed))
    connection.close()
    env.show("state", (implementation.is_open, implementation.is_closed))


@covers("used.channel._impl", broker=True)
def programs_look_at_the_implementation_of_a_channel(pika: Any, env: Any) -> None:
    channel = env.channel()
    implementation = channel._impl
    env.show("number", implementation.channel_number)
    env.show("state", (implementation.is_open, implementation.is_closed))
    env.show("connection", implementation.connection is channel.connection._impl)
    env.show("params", implementation.connection.params.host == env.broker.host)
    channel.close()
    env.show("state", (implementation.is_open, implementation.is_closed))


@covers("used.patch-instance", broker=True)
def a_tracer_replaces_methods_on_a_channel(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel)
    for name in ("basic_publish", "basic_consume", "basic_ack", "basic_get", "queue_declare"):
        plain = getattr(channel, name)

        def traced(*args: Any, _name: str = name, _plain: Any = plain, **kwargs: Any) -> Any:
            env.show("traced", (_name, len(args), sorted(kwargs)))
            return _plain(*args, **kwargs)

        setattr(channel, name, traced)
    channel.basic_publish("", queue, b"one", properties=pika.BasicProperties())
    channel.queue_declare(queue, passive=True)
    channel.basic_consume(queue, lambda ch, m, p, b: (ch.basic_ack(m.delivery_tag), ch.stop_consuming()))
    channel.start_consuming()
    env.call("get", channel.basic_get, queue=queue)


@covers("used.patch-class", broker=True)
def a_tracer_replaces_methods_on_the_classes(pika: Any, env: Any) -> None:
    blocking = pika.adapters.blocking_connection
    plain_channel, plain_publish = blocking.BlockingConnection.channel, blocking.BlockingChannel.basic_publish
    plain_init = blocking.BlockingChannel.__init__

    def channel(self: Any, *args: Any, **kwargs: Any) -> Any:
        env.show("channel", (args, kwargs))
        return plain_channel(self, *args, **kwargs)

    def publish(self: Any, *args: Any, **kwargs: Any) -> Any:
        env.show("publish", (args[2:], kwargs))
        return plain_publish(self, *args, **kwargs)

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        plain_init(self, *args, **kwargs)
        env.show("made", self.channel_number)

    blocking.BlockingConnection.channel = channel
    blocking.BlockingChannel.basic_publish = publish
    blocking.BlockingChannel.__init__ = init
    try:
        connection = env.connect()
        one = connection.channel(channel_number=5)
        queue = env.queue(one, bodies=(b"x",))
        one.basic_publish("", queue, b"y", mandatory=True)
    finally:
        blocking.BlockingConnection.channel = plain_channel
        blocking.BlockingChannel.basic_publish = plain_publish
        blocking.BlockingChannel.__init__ = plain_init


@covers("used.attributes-on-deliver", broker=True)
def a_tracer_keeps_things_on_what_a_callback_gets(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue, other = env.queue(channel), env.queue(channel, "other")
    channel.basic_publish("", queue, b"x", pika.BasicProperties(headers={"traceparent": "00-1"}))

    def on_message(ch: Any, method: Any, properties: Any, body: Any) -> None:
        method._nr_start_time = 5
        properties.headers["seen"] = True
        properties.__dict__["mine"] = 1
        env.show("method", vars(method))
        env.show("properties", vars(properties))
        ch.basic_publish("", other, body, properties)
        ch.stop_consuming()

    channel.basic_consume(queue, on_message, auto_ack=True)
    env.call("start_consuming", channel.start_consuming)
    env.until_ready(channel, other, 1)
    env.show("published again", channel.basic_get(other, auto_ack=True)[1])


@covers("used.channel._process_data_events", broker=True)
def programs_call_process_data_events_of_a_channel(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, bodies=(b"one",))
    got: list[Any] = []
    channel.basic_consume(queue, lambda ch, m, p, body: got.append(body), auto_ack=True)
    while not got:
        channel._process_data_events(time_limit=1)
    env.show("got", got)
    channel.basic_ack(99)

    def wait() -> None:
        while True:
            channel._process_data_events(time_limit=1)

    env.call("after a close by the broker", wait)


@covers("used.subclass", broker=True)
def the_classes_may_be_subclassed(pika: Any, env: Any) -> None:
    class Connection(pika.BlockingConnection):
        def channel(self, *args: Any, **kwargs: Any) -> Any:
            env.show("channel", args)
            return super().channel(*args, **kwargs)

    connection = env.keep(Connection(env.parameters()))
    channel = connection.channel(3)
    env.show("number", int(channel))
    env.show("connection", channel.connection is connection)
    env.show_text("repr", repr(connection)[:20])
    env.call("close", connection.close)
    env.call("close", connection.close)


@covers("used.channel._pending_events", broker=True)
def programs_take_the_pending_events_apart(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel)
    got: list[bytes] = []
    channel.basic_consume(queue, lambda ch, m, p, body: got.append(body), auto_ack=True)
    channel.add_on_return_callback(lambda ch, method, p, body: got.append(body))
    for number in range(5):
        channel.basic_publish("", queue, b"%d" % number)
    pending = channel._pending_events
    env.until(lambda: len(pending) == 5, lambda: channel.basic_qos(prefetch_count=10))
    channel.basic_publish("", "nobody", b"comes back", mandatory=True)
    env.until(lambda: len(pending) == 6, lambda: channel.basic_qos(prefetch_count=10))
    env.show("all", [type(evt).__name__ for evt in pending])
    env.show("first", [pending[0].body, pending.popleft().body, len(pending)])
    env.show("last", [type(pending[-1]).__name__, pending.pop().body, len(pending), bool(pending)])
    channel.connection.process_data_events(0)
    env.show("dispatched", got)
    env.show("then", [len(pending), bool(pending), list(pending)])
    channel.basic_publish("", queue, b"dropped")
    env.until(lambda: pending, lambda: channel.basic_qos(prefetch_count=10))
    pending.clear()
    env.call("nothing", pending.popleft)
    channel.connection.process_data_events(0)
    env.show("at the end", got)


@covers("used.channel._pending_events", broker=True)
def pending_events_keep_their_order_when_a_callback_raises(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel)
    got: list[bytes] = []

    def callback(_channel: Any, _method: Any, _properties: Any, body: bytes) -> None:
        got.append(body)
        if body == b"0":
            raise ValueError(body)

    channel.basic_consume(queue, callback, auto_ack=True)
    for number in range(5):
        if number == 3:
            env.until(lambda: len(channel._pending_events) == 3, lambda: channel.basic_qos(prefetch_count=10))
            env.show("looked at", [evt.body for evt in channel._pending_events.copy()])
        channel.basic_publish("", queue, b"%d" % number)
    env.until(lambda: len(channel._pending_events) == 5, lambda: channel.basic_qos(prefetch_count=10))
    env.call("raises", channel.connection.process_data_events, 0)
    channel.basic_publish("", queue, b"last")
    env.pump(channel.connection, lambda: got[-1] == b"last")
    env.show("got", got)


@covers("used.channel._pending_events", "used.subclass", broker=True)
def a_subclass_dispatches_the_pending_events_itself(pika: Any, env: Any) -> None:
    blocking = pika.adapters.blocking_connection

    class Channel(blocking.BlockingChannel):
        def _dispatch_events(self) -> None:
            while self._pending_events:
                evt = self._pending_events.popleft()
                env.show("dispatches", type(evt).__name__)
                if type(evt) is blocking._ConsumerDeliveryEvt:
                    info = self._consumer_infos[evt.method.consumer_tag]
                    info.on_message_callback(self, evt.method, evt.properties, evt.body)
                elif type(evt) is blocking._ConsumerCancellationEvt:
                    del self._consumer_infos[evt.method_frame.method.consumer_tag]

    connection = env.connect()
    opened = blocking._CallbackResult(connection._OnChannelOpenedArgs)
    impl = connection._impl.channel(on_open_callback=opened.set_value_once)
    channel = Channel(impl, connection)
    impl._set_cookie(channel)
    channel._flush_output(opened.is_ready)
    queue = env.queue(channel, bodies=(b"one",))
    channel.basic_consume(queue, lambda ch, *_message: ch.queue_delete(queue), auto_ack=True)
    channel.start_consuming()
    env.show("consumers", dict(channel._consumer_infos))


@covers("used.connection._ready_events", broker=True)
def programs_append_ready_events(pika: Any, env: Any) -> None:
    class Event:
        def dispatch(self) -> None:
            env.show("dispatched", 1)

    connection = env.connect()
    for limit in (0, 0.1, None):
        connection._ready_events.append(Event())
        if limit is None:
            connection.call_later(0.1, lambda: None)
        connection.process_data_events(limit)
        env.show("left", len(connection._ready_events))
    connection._ready_events.append(Event())
    connection.sleep(0.05)


@covers("used.connection._create_connection")
def tests_of_programs_patch_create_connection(pika: Any, env: Any) -> None:
    kind = pika.adapters.blocking_connection.BlockingConnection
    with mock.patch.object(kind, "_create_connection", autospec=True) as create:
        parameters = pika.ConnectionParameters("nowhere.invalid")
        connection = kind(parameters)
    env.show("asked", create.call_args == mock.call(connection, parameters, None))
    env.show("is its own", connection._impl is create.return_value)
