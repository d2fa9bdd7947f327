"""Where cpika differs from pika on purpose, each difference with a scenario that shows it.

tests/test_differences.py plays them like parity scenarios, demands that the two libraries do differ, and that
docs/differences.md has an entry for each title.
"""

from __future__ import annotations

import copy
import dataclasses
import pickle
import socket
import struct
from collections.abc import Callable
from typing import Any

import pika as oracle_pika

from parity.harness import Play, Scenario
from parity.scenarios.handshake import connect, end, read_frame
from parity.scenarios.values import field, header_bytes


@dataclasses.dataclass(frozen=True)
class Difference:
    """One deliberate difference: its title, what each library does, and a scenario that shows it."""

    title: str
    pika: str
    cpika: str
    play: Play


DIFFERENCES: list[Difference] = []


def differs(title: str, pika: str, cpika: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a scenario that shows the difference `title`."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        play = Scenario(function, (), True, None).plays()[0]
        DIFFERENCES.append(Difference(title, pika, cpika, play))
        return function

    return register


@differs(
    "Dispatching on a closed connection",
    "process_data_events(number) and sleep() raise ValueError",
    "they raise ConnectionWrongStateError, as with None",
)
def dispatching_on_a_closed_connection(pika: Any, env: Any) -> None:
    connection = env.connect()
    connection.close()
    env.call("process_data_events", connection.process_data_events)
    env.call("sleep", connection.sleep, 0.01)


@differs(
    "basic_get on a closed connection",
    "raises ConnectionWrongStateError where every other channel method raises ChannelWrongStateError",
    "raises ChannelWrongStateError",
)
def basic_get_on_a_closed_connection(pika: Any, env: Any) -> None:
    channel = env.channel()
    channel.connection.close()
    env.call("get", channel.basic_get, "nowhere")


@differs(
    "Messages that wait behind a failed callback",
    "after a callback raised, they stay until something else arrives on the channel",
    "the next dispatching call goes on with them",
)
def messages_that_wait_behind_a_failed_callback(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, bodies=(b"one", b"two"))

    def on_message(ch: Any, method: Any, properties: Any, body: bytes) -> None:
        env.show("got", body)
        if body == b"one":
            raise ValueError("mine")

    channel.basic_consume(queue, on_message, auto_ack=True)
    env.until_delivered(channel, queue)
    for _ in range(2):
        env.call("process", channel.connection.process_data_events)


@differs(
    "The tag of a generator whose queue was deleted",
    "stays in consumer_tags for good",
    "is removed",
)
def the_tag_of_a_generator_whose_queue_was_deleted(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel, exclusive=False)
    generator = channel.consume(queue, consumer_tag="mine", inactivity_timeout=0)
    next(generator)
    env.third_party().queue_delete(queue)
    channel.basic_qos(prefetch_count=1)
    env.show("rest", list(generator))
    env.show("consumers", channel.consumer_tags)


@differs(
    "A thread-safe callback that is not callable",
    "add_callback_threadsafe takes it; the dispatching call fails later",
    "add_callback_threadsafe raises TypeError",
)
def a_threadsafe_callback_that_is_not_callable(pika: Any, env: Any) -> None:
    connection = env.connect()
    env.call("add", connection.add_callback_threadsafe, None)
    env.call("process", connection.process_data_events)


@differs(
    "A heartbeat callable that returns nonsense",
    "looks like a denied virtual host: ProbableAccessDeniedError",
    "raises the TypeError itself",
)
def a_heartbeat_callable_that_returns_nonsense(pika: Any, env: Any) -> None:
    for nonsense in (None, "soon", 2.5):
        env.call("connect", env.connect, heartbeat=lambda connection, proposed, value=nonsense: value)


@differs(
    "A peer that answers with another protocol header",
    "IncompatibleProtocolError speaks of an end of file, once the peer hangs up",
    "IncompatibleProtocolError says what came, at once",
)
def a_peer_that_answers_with_another_protocol_header(pika: Any, env: Any) -> None:
    def talk(client: socket.socket) -> None:
        read_frame(client)
        client.sendall(b"AMQP\x00\x01\x00\x00")
        end(client)

    connect(pika, env, talk)


@differs(
    "Values in messages about parameters",
    "repeat credentials and unknown keywords with their values, passwords among them",
    "name the keyword and the type only; a URL is shown without what may be a password",
)
def values_in_messages_about_parameters(pika: Any, env: Any) -> None:
    env.call("keyword", pika.ConnectionParameters, passwort="secret")
    env.call("credentials", pika.ConnectionParameters, credentials=("user", "secret"))
    env.call("url", pika.URLParameters, "amqp://user:se/cret@h")


@differs(
    "A URL with a user but no password",
    "TypeError from within urllib",
    "ValueError that says so",
)
def a_url_with_a_user_but_no_password(pika: Any, env: Any) -> None:
    env.call("make", pika.URLParameters, "amqp://user@h")


@differs(
    "Pickled NackError and UnroutableError",
    "count the letters of their message after unpickling",
    "keep their message",
)
def pickled_nack_and_unroutable_errors(pika: Any, env: Any) -> None:
    for name in ("NackError", "UnroutableError"):
        error = getattr(pika.exceptions, name)([1, 2])
        env.show(name, str(pickle.loads(pickle.dumps(error))))


@differs(
    "Decoding Connection.UpdateSecret",
    "stores the secret in a field `mechanisms`",
    "stores it in `new_secret`",
)
def decoding_update_secret(pika: Any, env: Any) -> None:
    method = pika.spec.Connection.UpdateSecret("secret", "reason")
    env.show("decoded", pika.spec.Connection.UpdateSecret("", "").decode(b"".join(method.encode())))


@differs(
    "Floats in headers",
    "float is refused; kinds f and d are cut to whole numbers",
    "float is sent as d, but for nan and the infinities, which RabbitMQ does not know; "
    "kinds f and d are floats",
)
def floats_in_headers(pika: Any, env: Any) -> None:
    env.call_wrongly("out", pika.BasicProperties(headers={"pi": 3.25}).encode)
    env.show(
        "in", pika.BasicProperties().decode(header_bytes(field(b"a", b"d", struct.pack(">d", 3.25)))).headers
    )


@differs(
    "Bodies that are bytearray or memoryview",
    "AttributeError or a broken message",
    "sent like bytes, and so is every object with a contiguous buffer",
)
def bodies_that_are_bytearray_or_memoryview(pika: Any, env: Any) -> None:
    channel = env.channel()
    queue = env.queue(channel)
    for body in (bytearray(b"one"), memoryview(b"two")):
        env.call("publish", channel.basic_publish, "", queue, body)
        env.show("messages", channel.queue_purge(queue).method.message_count)


@differs(
    "Timestamps beyond the range of datetime",
    "a header of kind T beyond the year 9999 fails",
    "is the number of seconds",
)
def timestamps_beyond_the_range_of_datetime(pika: Any, env: Any) -> None:
    encoded = header_bytes(field(b"a", b"T", b"\xff" * 8))
    env.call("decode", lambda: pika.BasicProperties().decode(encoded).headers)


@differs(
    "A name that does not resolve, in a sequence of parameters",
    "gives up the rest of the sequence",
    "tries the next",
)
def a_name_that_does_not_resolve_in_a_sequence(pika: Any, env: Any) -> None:
    sequence = [env.parameters(host="no-such-host.invalid"), env.parameters()]
    try:
        env.keep(pika.BlockingConnection(sequence))
    except OSError as error:
        env.show("failed", type(error).__name__)
    else:
        env.show("connected", True)


@differs(
    "The product that the broker is told",
    "Pika Python Client Library",
    "cpika; `version` is cpika's and `information` names both. `client_properties` overrides each, "
    "`pika.connection.PRODUCT` the first",
)
def the_product_that_the_broker_is_told(pika: Any, env: Any) -> None:
    def talk(client: socket.socket) -> None:
        read_frame(client)
        start = oracle_pika.spec.Connection.Start(server_properties={}, mechanisms="PLAIN", locales="en_US")
        client.sendall(oracle_pika.frame.Method(0, start).marshal())
        env.show("product", read_frame(client).method.client_properties["product"])
        end(client)

    connect(pika, env, talk)


@differs(
    "What `BlockingConnection` cannot connect to: a URL as a string, a dict, credentials, a number",
    "`AttributeError`, `KeyError` or `TypeError` from within",
    "`TypeError` that says what came",
)
def what_a_connection_cannot_connect_to(pika: Any, env: Any) -> None:
    for value in ("amqp://localhost", {"host": "localhost"}, pika.PlainCredentials("u", "p"), 5):
        env.call("connect", pika.BlockingConnection, value)


@differs(
    "`_impl_class` of `BlockingConnection`",
    "another implementation, for pika's own tests",
    "only None: `TypeError`",
)
def impl_class(pika: Any, env: Any) -> None:
    env.call("connect", pika.BlockingConnection, env.parameters(), object)


@differs(
    "A user name or password that is neither str nor bytes",
    "`AttributeError`",
    "`TypeError` that names the field",
)
def a_user_name_or_password_that_is_neither_str_nor_bytes(pika: Any, env: Any) -> None:
    for name, password in (("user", 5), (5, "password")):
        env.call("connect", env.connect, credentials=pika.PlainCredentials(name, password))


@differs(
    "Parameters that cannot be encoded: a virtual host over 255 bytes or one that UTF-8 cannot express, "
    "a heartbeat over 65535 seconds, "
    "an exception in a heartbeat callable",
    "`ProbableAccessDeniedError` about a lost stream",
    "the error itself: `ShortStringTooLong`, `ValueError`, the callable's exception",
)
def parameters_that_cannot_be_encoded(pika: Any, env: Any) -> None:
    def fail(connection: Any, proposed: int) -> int:
        raise LookupError("mine")

    for changes in ({"virtual_host": "v" * 256}, {"heartbeat": 65536}, {"heartbeat": fail}):
        env.call("connect", env.connect, **changes)


@differs(
    "A URL that is no str",
    "`TypeError` or `ValueError` from within",
    "`TypeError` that says so",
)
def a_url_that_is_no_str(pika: Any, env: Any) -> None:
    for value in (b"amqp://h", None):
        env.call("make", pika.URLParameters, value)


@differs(
    '`port=float("inf")`',
    "`OverflowError`",
    "`TypeError`, as for other nonsense",
)
def an_infinite_port(pika: Any, env: Any) -> None:
    env.call("make", pika.ConnectionParameters, port=float("inf"))


@differs(
    "An explicit channel number that is in use",
    "the broker closes the connection",
    "`InvalidChannelNumber`",
)
def an_explicit_channel_number_that_is_in_use(pika: Any, env: Any) -> None:
    connection = env.connect()
    connection.channel(5)
    env.call("again", connection.channel, 5)
    env.show_state("connection", connection)


@differs(
    "Properties that fill more than a frame",
    "are sent; the broker closes the connection",
    "`ValueError`, nothing is sent",
)
def properties_that_fill_more_than_a_frame(pika: Any, env: Any) -> None:
    channel = env.connect(frame_max=8192).channel()
    env.call(
        "publish", channel.basic_publish, "", "nowhere", b"", pika.BasicProperties(headers={"k": "v" * 9000})
    )
    env.call("next", channel.basic_qos, prefetch_count=1)
    env.show_state("connection", channel.connection)


@differs(
    "Other callbacks and timer ids that are none",
    "`add_on_connection_blocked_callback` and `remove_timeout` raise what lies beneath",
    "the same types of exception with another text",
)
def other_callbacks_and_timer_ids_that_are_none(pika: Any, env: Any) -> None:
    connection = env.connect()
    env.call("callback", connection.add_on_connection_blocked_callback, None)
    env.call("timer", connection.remove_timeout, "nonsense")


@differs(
    "Fields of methods and properties",
    "are attributes of objects only",
    "are descriptors of the class too: `spec.Basic.Ack.delivery_tag` is no AttributeError. `vars()` of an "
    "object gives the same fields",
)
def fields_of_methods_and_properties(pika: Any, env: Any) -> None:
    env.show("of the class", hasattr(pika.spec.Basic.Ack, "delivery_tag"))


@differs(
    "`encode()` of methods and properties",
    "a list of many pieces",
    "a list of at most one piece, of the same bytes",
)
def encode_of_methods_and_properties(pika: Any, env: Any) -> None:
    env.show("pieces", len(pika.spec.Queue.DeclareOk("queue", 1, 2).encode()))
    env.show("pieces", len(pika.BasicProperties(type="t", app_id="a").encode()))


@differs(
    "Bases of exceptions",
    "-",
    "some have one more, private base class, which shows in `__mro__` and in what Python says of missing "
    "constructor arguments",
)
def bases_of_exceptions(pika: Any, env: Any) -> None:
    env.show("bases", [base.__name__ for base in pika.exceptions.ChannelClosed.__mro__])


@differs(
    "Classes of methods and properties among several bases",
    "are plain Python classes",
    "have a layout of their own: `class X(BasicProperties, dict)` is a `TypeError`, as it is with list, str, "
    "int, an exception, a class with `__slots__` or a second class of pika's. Python classes without such a "
    "layout can stand beside them",
)
def several_bases(pika: Any, env: Any) -> None:
    def derive(*bases: Any) -> Any:
        return type("X", bases, {}).__name__

    env.show("mixin", derive(pika.BasicProperties, type("Mixin", (), {})))
    for base in (dict, ValueError, pika.spec.Basic.Ack):
        env.call(base.__name__, derive, pika.BasicProperties, base)


class Long(bytes):
    def __len__(self) -> int:
        return 99


@differs(
    "bytes of a subclass whose `len()` is not their length",
    "are sent with that length",
    "are sent with their length",
)
def bytes_of_another_length(pika: Any, env: Any) -> None:
    env.show("encoded", b"".join(pika.BasicProperties(content_type=Long(b"abc")).encode()))


@differs(
    "Assigning to `__class__` of a method or of properties",
    "any class of pika's",
    "the class itself and classes derived from it; others are a `TypeError`",
)
def an_assigned_class(pika: Any, env: Any) -> None:
    value = pika.spec.Channel.CloseOk()
    env.call("assign", setattr, value, "__class__", pika.spec.Basic.QosOk)
    env.show("now", type(value).__name__)


@differs("`copy.copy()` of a channel", "another object that shares the state", "the channel itself")
def copied_channel(pika: Any, env: Any) -> None:
    channel = env.channel()
    env.show("same", copy.copy(channel) is channel)


@differs(
    "Methods written in C",
    "Python functions",
    "`basic_publish`, `basic_ack`, `basic_nack`, `basic_reject` and `basic_get` are C methods that have the "
    "looks of Python functions: for `isinstance`, `inspect`, `unittest.mock`, `pickle`, and with code put in "
    "place of theirs. `type()` of one is another type, and profilers count them to their callers",
)
def methods_written_in_c(pika: Any, env: Any) -> None:
    for name in ("basic_publish", "basic_ack", "basic_nack", "basic_reject", "basic_get"):
        env.show(name, type(getattr(pika.adapters.blocking_connection.BlockingChannel, name)).__name__)


@differs(
    "Negative offsets of `decode()` and of the decoders of `data`",
    "count from the end; a string that reaches the end is read as an empty one, "
    "and what ends early goes on at the front",
    "count from the end",
)
def negative_offsets(pika: Any, env: Any) -> None:
    env.call("string", pika.data.decode_short_string, b"junk\x03abc", -4)
    env.call("early", pika.data.decode_value, b"\x01\x02\x03\x04I\x00", -2)
