"""What is not quite a str, a list, a dict is sent as pika sends it."""

from __future__ import annotations

import collections
import copy
import datetime
import decimal
import enum
from collections.abc import Callable, Iterator
from typing import Any

import cpika.adapters.blocking_connection as blocking
import cpika.data
import cpika.frame
import cpika.spec
import pika.adapters.blocking_connection as pika_blocking
import pika.data
import pika.frame
import pika.spec
import pytest
from support.outcomes import outcome

Connect = Callable[..., Any]


class Encoded(str):
    def encode(self, *args: Any) -> bytes:
        return b"<encoded>"


class EncodedToBuffer(str):
    def encode(self, *args: Any) -> Any:
        return bytearray(b"buffer")


class Unencodable(str):
    def encode(self, *args: Any) -> bytes:
        raise LookupError("not this one")


class Listing(list[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter([1, "two"])


class FailingList(list[Any]):
    def __iter__(self) -> Iterator[Any]:
        yield 1
        raise LookupError("no more")


class Itemised(dict[str, Any]):
    def items(self) -> Any:
        return [("a", 1), ["b", 2], "cd"]


class Falsy(dict[str, Any]):
    def __bool__(self) -> bool:
        return False


class Keyed(dict[str, Any]):
    def __getitem__(self, key: str) -> Any:
        return "not asked"

    def keys(self) -> Any:
        return ["not asked"]


class Turned(int):
    def __int__(self) -> int:
        return 7

    def __index__(self) -> int:
        return 8


class Level(enum.IntEnum):
    HIGH = 5


class Colour(str, enum.Enum):
    RED = "red"


class Rounded(decimal.Decimal):
    def normalize(self, context: Any = None) -> decimal.Decimal:
        return decimal.Decimal("2.5")


class Moment(datetime.datetime):
    def utctimetuple(self) -> Any:
        return datetime.datetime(2001, 1, 1).timetuple()


def claims(kind: type, **methods: Callable[..., Any]) -> Any:
    """An object whose __class__ says that it is a `kind`."""
    return type("Claims", (), {"__class__": kind, **methods})()


ODD: dict[str, Any] = {
    "str with its own encode": Encoded("abc"),
    "str that gives a buffer": EncodedToBuffer("abc"),
    "str that cannot be encoded": Unencodable("abc"),
    "str enum": Colour.RED,
    "list with its own iterator": Listing([7]),
    "list that fails": FailingList([7]),
    "dict with its own items": Itemised(x=1),
    "dict that is false": Falsy(x=1),
    "dict with its own keys": Keyed(x=1),
    "OrderedDict": collections.OrderedDict(a=1),
    "defaultdict": collections.defaultdict(int, a=1),
    "UserDict": collections.UserDict(a=1),
    "UserString": collections.UserString("abc"),
    "ChainMap": collections.ChainMap({"a": 1}),
    "tuple": (1, 2),
    "set": {1},
    "class": int,
    "complex": 1j,
    "int with its own int": Turned(5),
    "large int with its own int": Turned(2**40),
    "huge int": Turned(2**80),
    "int enum": Level.HIGH,
    "Decimal with its own normalize": Rounded("1"),
    "datetime with its own tuple": Moment(2020, 1, 1),
    "date": datetime.date(2020, 1, 1),
    "claims to be str": claims(str, encode=lambda self, *args: b"claimed"),
    "claims to be dict": claims(dict, items=lambda self: [("q", 1)]),
    "claims to be list": claims(list, __iter__=lambda self: iter([3])),
    "claims to be int": claims(int, __index__=lambda self: 4),
    "claims to be bool": claims(bool, __int__=lambda self: 1),
    "claims to be Decimal": claims(decimal.Decimal, normalize=lambda self: decimal.Decimal("1.5")),
    "claims to be datetime": claims(
        datetime.datetime, utctimetuple=lambda self: datetime.datetime(2001, 1, 1).timetuple()
    ),
    "claims to be None": claims(type(None)),
}


def value(library: Any, odd: Any) -> Any:
    pieces: list[bytes] = []
    size = library.data.encode_value(pieces, odd)
    return b"".join(pieces), size


def value_in_list(library: Any, odd: Any) -> Any:
    return value(library, [1, odd])


def key(library: Any, odd: Any) -> Any:
    return value(library, {odd: 1})


def short_string(library: Any, odd: Any) -> Any:
    pieces: list[bytes] = []
    size = library.data.encode_short_string(pieces, odd)
    return b"".join(pieces), size


def table(library: Any, odd: Any) -> Any:
    pieces: list[bytes] = []
    size = library.data.encode_table(pieces, odd)
    return b"".join(pieces), size


def headers(library: Any, odd: Any) -> Any:
    return b"".join(library.spec.BasicProperties(headers=odd).encode())


def content_type(library: Any, odd: Any) -> Any:
    return b"".join(library.spec.BasicProperties(content_type=odd).encode())


def priority(library: Any, odd: Any) -> Any:
    return b"".join(library.spec.BasicProperties(priority=odd).encode())


def timestamp(library: Any, odd: Any) -> Any:
    return b"".join(library.spec.BasicProperties(timestamp=odd).encode())


def queue(library: Any, odd: Any) -> Any:
    return b"".join(library.spec.Queue.Declare(queue=odd).encode())


def arguments(library: Any, odd: Any) -> Any:
    return b"".join(library.spec.Queue.Declare(arguments=odd).encode())


def durable(library: Any, odd: Any) -> Any:
    return b"".join(library.spec.Queue.Declare(durable=odd).encode())


def response(library: Any, odd: Any) -> Any:
    return b"".join(library.spec.Connection.StartOk({}, "PLAIN", odd, "en_US").encode())


def delivery_tag(library: Any, odd: Any) -> Any:
    return b"".join(library.spec.Basic.Ack(odd).encode())


PLACES = [
    *(value, value_in_list, key, short_string, table, headers, content_type, priority, timestamp),
    *(queue, arguments, durable, response, delivery_tag),
]


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
@pytest.mark.parametrize("name", ODD)
def test_an_odd_value_is_encoded_as_by_pika(name: str, place: Callable[[Any, Any], Any]) -> None:
    assert outcome(place, cpika, ODD[name]) == outcome(place, pika, ODD[name])


def test_a_frame_with_odd_values_is_marshalled_as_by_pika() -> None:
    def frames(library: Any) -> bytes:
        properties = library.spec.BasicProperties(headers=Itemised(), content_type=Encoded("x"))
        header: bytes = library.frame.Header(1, 5, properties).marshal()
        publish = library.spec.Basic.Publish(exchange=Encoded("e"), routing_key=Colour.RED)
        method: bytes = library.frame.Method(1, publish).marshal()
        return header + method

    assert frames(cpika) == frames(pika)


# ---- objects of pika's names ----


def test_a_copy_of_a_channel_is_usable(connect: Connect, queue_name: str) -> None:
    channel = connect().channel()
    other = copy.copy(channel)
    assert isinstance(other, blocking.BlockingChannel)
    assert other.channel_number == channel.channel_number
    other.queue_declare(queue_name)
    other.basic_publish("", queue_name, b"through the copy")
    assert channel.basic_get(queue_name, auto_ack=True)[2] == b"through the copy"
    behind = copy.copy(channel._impl)
    assert (behind.is_open, behind.channel_number) == (True, channel.channel_number)
    other.close()
    assert not channel.is_open


@pytest.mark.parametrize("library", [blocking, pika_blocking], ids=["cpika", "pika"])
def test_events_are_made_with_pikas_arguments(library: Any) -> None:
    called: list[Any] = []
    timer = library._TimerEvt(callback=lambda: called.append("timer"))
    assert repr(timer).startswith("<_TimerEvt timer_id=None callback=<function ")
    assert timer._callback is not None
    timer.dispatch()

    method_frame = cpika.frame.Method(1, cpika.spec.Basic.Cancel("tag"))
    cancelled = library._ConsumerCancellationEvt(method_frame)
    assert cancelled.method.consumer_tag == "tag"
    assert repr(cancelled) == f"<_ConsumerCancellationEvt method_frame={method_frame!r}>"

    returned = library._ReturnedMessageEvt(
        lambda *args: called.append(args), "channel", "method", "props", b""
    )
    assert repr(returned).endswith("channel='channel' method='method' properties='props' body=b''>")
    returned.dispatch()
    assert called == ["timer", ("channel", "method", "props", b"")]


def proxy(value: Any) -> Any:
    """What stands for a value as proxies do: its class, its methods, its text."""
    kind = type(value)
    names = ("encode", "__index__", "__int__", "__hash__", "__eq__", "__str__", "__repr__")
    methods = {
        name: lambda _self, *args, _name=name: getattr(value, _name)(*args)
        for name in names
        if hasattr(kind, name)
    }
    return claims(kind, **methods)


def test_a_proxy_will_do_for_what_it_stands_for(connect: Connect, queue_name: str) -> None:
    """A consumer of a proxy's name could be begun and not be ended: `close()` of its channel raised."""
    channel = connect().channel()
    channel.queue_declare(proxy(queue_name))
    for body in (b"1", b"2"):
        channel.basic_publish("", queue_name, body)
    method, _properties, body = channel.basic_get(proxy(queue_name))
    assert body == b"1"
    channel.basic_reject(proxy(method.delivery_tag), requeue=False)
    got: list[bytes] = []
    channel.basic_consume(queue_name, lambda *args: got.append(args[3]), True, consumer_tag=proxy("tag"))
    while not got:
        channel.connection.process_data_events(1)
    assert got == [b"2"] and channel.consumer_tags == ["tag"]
    channel.basic_cancel(proxy("tag"))
    assert channel.consumer_tags == []
    channel.basic_consume(queue_name, print, consumer_tag=proxy("tag"))
    channel.close()
    channel = channel.connection.channel()
    for message in channel.consume(queue_name, inactivity_timeout=0.01, consumer_tag=proxy("another")):
        assert message == (None, None, None)
        break
    channel.close()


# ---- consumer tags ----

TAGS = {
    "bytes": (b"mine", TypeError),
    "number": (3, AssertionError),
    "bytearray": (bytearray(b"a"), TypeError),
}


@pytest.mark.parametrize("kind", TAGS)
def test_a_tag_that_is_no_str_is_refused_before_anything_is_sent(
    connect: Connect, queue_name: str, kind: str
) -> None:
    """Bytes were sent: what came for them found no consumer."""
    tag, error = TAGS[kind]
    channel = connect().channel()
    channel.queue_declare(queue_name)
    channel.basic_publish("", queue_name, b"kept")
    for consume in (channel.basic_consume, channel._impl.basic_consume):
        with pytest.raises(error):
            consume(queue_name, lambda *args: None, consumer_tag=tag)
    with pytest.raises(error):
        next(channel.consume(queue_name, consumer_tag=tag))
    assert channel.consumer_tags == []
    assert channel.queue_declare(queue_name, passive=True).method.consumer_count == 0
    assert channel.basic_get(queue_name, auto_ack=True)[2] == b"kept"
    channel.close()


@pytest.mark.parametrize("kind", TAGS)
def test_a_tag_that_is_no_str_is_refused_on_a_loop(broker_url: str, kind: str) -> None:
    tag, error = TAGS[kind]
    seen: list[Any] = []

    def on_channel(channel: Any) -> None:
        try:
            channel.basic_consume("", lambda *args: None, consumer_tag=tag)
        except error:
            seen.append(channel.consumer_tags)
        connection.close()

    def on_close(connection: Any, reason: BaseException) -> None:
        seen.append(type(reason))
        connection.ioloop.stop()

    connection = cpika.SelectConnection(
        cpika.URLParameters(broker_url),
        lambda connection: connection.channel(on_open_callback=on_channel),
        on_close_callback=on_close,
    )
    connection.ioloop.start()
    assert seen == [[], cpika.exceptions.ConnectionClosedByClient]
