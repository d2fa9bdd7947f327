"""Messages on event loops: consuming, getting, confirms, and what comes back."""

from __future__ import annotations

import importlib
from typing import Any

from parity.loops import Loop, frame_text, on_loops
from parity.scenarios.loops import body_of


@on_loops("loop.consume")
def messages_are_delivered_in_order(env: Any, loop: Loop) -> None:
    def opened(channel: Any) -> None:
        queue = env.name()
        seen: list[bytes] = []

        def message(ch: Any, method: Any, properties: Any, body: bytes) -> None:
            env.show("message", [int(ch), repr(method), repr(properties), body])
            ch.basic_ack(method.delivery_tag)
            seen.append(body)
            if len(seen) == 5:
                loop.close()

        channel.queue_declare(queue, exclusive=True)
        tag = channel.basic_consume(queue, message, callback=loop.then("consuming"))
        env.show("tags", [tag, channel.consumer_tags])
        properties = env.pika.BasicProperties(headers={"n": 1}, content_type="text/plain")
        for n in range(5):
            channel.basic_publish("", queue, b"%d" % n, properties)

    loop.channel(opened)


@on_loops("loop.consume")
def a_large_message_and_an_empty_one(env: Any, loop: Loop) -> None:
    def opened(channel: Any) -> None:
        queue = env.name()
        channel.queue_declare(queue, exclusive=True)
        sizes: list[int] = []

        def message(_channel: Any, _method: Any, _properties: Any, body: bytes) -> None:
            sizes.append(len(body))
            env.show("size", [len(body), body[:1], body[-1:]])
            if len(sizes) == 3:
                loop.close()

        channel.basic_consume(queue, message, auto_ack=True)
        channel.basic_publish("", queue, b"<" + bytes(2_000_000) + b">")
        channel.basic_publish("", queue, b"")
        channel.basic_publish("", queue, b"<" + bytes(300_000) + b">")

    loop.channel(opened)


@on_loops("loop.consume")
def cancelling_a_consumer(env: Any, loop: Loop) -> None:
    def opened(channel: Any) -> None:
        queue = env.name()
        channel.queue_declare(queue, exclusive=True)

        def consuming(_frame: Any) -> None:
            channel.basic_cancel("one", loop.then("cancelled", again))
            env.show("tags", channel.consumer_tags)
            env.call("the same tag", channel.basic_consume, queue, print, consumer_tag="one")
            with env.log("cancel"):
                channel.basic_cancel("one")
                channel.basic_cancel("two")

        def again() -> None:
            env.show("tags", channel.consumer_tags)
            channel.basic_consume(
                queue, body_of(loop, "message", loop.close), consumer_tag="one", callback=loop.then("again")
            )
            channel.basic_publish("", queue, b"x")

        channel.basic_consume(queue, print, consumer_tag="one", callback=consuming)

    loop.channel(opened)


@on_loops("loop.consume")
def messages_of_a_cancelled_consumer_go_back(env: Any, loop: Loop) -> None:
    def opened(channel: Any) -> None:
        queue = env.name()
        channel.queue_declare(queue, exclusive=True)

        def first(ch: Any, method: Any, _properties: Any, body: bytes) -> None:
            env.show("first", body)
            ch.basic_ack(method.delivery_tag)
            ch.basic_cancel("one", loop.then("cancelled", count))

        def count() -> None:
            loop.ready(channel, queue, 2, loop.close)

        for n in range(3):
            channel.basic_publish("", queue, b"%d" % n)
        channel.basic_consume(queue, first, consumer_tag="one")

    loop.channel(opened)


@on_loops("loop.consume")
def a_message_is_got_on_a_channel_that_is_being_opened(env: Any, loop: Loop) -> None:
    queue = env.queue(env.third_party(), bodies=(b"x",), exclusive=False)

    def opened(connection: Any) -> None:
        channel = connection.channel()
        channel.basic_get(queue, body_of(loop, "got", loop.close), auto_ack=True)

    loop.connect(opened)


@on_loops("loop.consume")
def the_broker_cancels_a_consumer(env: Any, loop: Loop) -> None:
    def opened(channel: Any) -> None:
        queue = env.name()

        def cancelled(frame: Any) -> None:
            env.show("cancelled", frame_text(frame))
            env.show("tags", channel.consumer_tags)
            loop.close()

        channel.add_on_cancel_callback(cancelled)
        channel.queue_declare(queue, exclusive=True)
        channel.basic_consume(queue, print, consumer_tag="one")
        channel.queue_delete(queue, callback=loop.then("deleted"))

    loop.channel(opened)


@on_loops("loop.consume")
def publishing_from_a_message_callback(env: Any, loop: Loop) -> None:
    def opened(channel: Any) -> None:
        queue = env.name()

        def message(ch: Any, method: Any, _properties: Any, body: bytes) -> None:
            env.show("message", body)
            if len(body) == 4:
                loop.close()
            else:
                ch.basic_publish("", queue, body + b"x")
            env.call("ack", ch.basic_ack, method.delivery_tag)

        channel.queue_declare(queue, exclusive=True)
        channel.basic_consume(queue, message)
        channel.basic_publish("", queue, b"x")

    loop.channel(opened)


@on_loops("loop.get")
def getting_messages(env: Any, loop: Loop) -> None:
    def opened(channel: Any) -> None:
        queue = env.name()
        channel.queue_declare(queue, exclusive=True)
        channel.add_callback(loop.then("empty", loop.close), [env.pika.spec.Basic.GetEmpty])

        def got(ch: Any, method: Any, properties: Any, body: bytes) -> None:
            body_of(loop, "got")(ch, method, properties, body)
            ch.basic_ack(method.delivery_tag)
            channel.basic_get(queue, got)

        channel.basic_publish("", queue, b"a")
        channel.basic_publish("", queue, b"b")
        channel.basic_get(queue, got)
        env.call("a second get", channel.basic_get, queue, got)

    loop.channel(opened)


@on_loops("loop.confirm")
def confirms_call_back(env: Any, loop: Loop) -> None:
    def opened(channel: Any) -> None:
        queue = env.name()
        left = [3]

        def settled(frame: Any) -> None:
            env.show("settled", [frame.channel_number, type(frame.method).__name__])
            left[0] -= 1
            if left[0] == 0:
                loop.close()

        def selected(frame: Any) -> None:
            env.show("selected", frame_text(frame))
            channel.basic_publish("", queue, b"1")

            def more(body: int) -> None:
                if left[0] > 4 - body:
                    loop.later(0.01, lambda: more(body))  # two confirms in one would be another picture
                    return
                channel.basic_publish("", queue, b"%d" % body)
                if body < 3:
                    more(body + 1)

            more(2)

        channel.queue_declare(queue, exclusive=True)
        channel.confirm_delivery(settled, selected)

    loop.channel(opened)


@on_loops("loop.confirm")
def a_returned_message_comes_before_its_confirm(env: Any, loop: Loop) -> None:
    def opened(channel: Any) -> None:
        channel.add_on_return_callback(body_of(loop, "returned"))
        channel.confirm_delivery(loop.then("settled", loop.close), loop.then("selected"))
        channel.basic_publish("", env.name("nobody"), b"x", mandatory=True)

    loop.channel(opened)


def run_with_channels(loop: Loop, make: Any, opened: Any) -> None:
    """Run a connection whose channels are what `make(connection, number, callback)` makes; one is opened."""

    class Adapter(loop.adapter):  # type: ignore[misc,name-defined]
        def _create_channel(self, number: int, on_open_callback: Any) -> Any:
            return make(self, number, on_open_callback)

    loop.connection = Adapter(
        loop.env.parameters(),
        lambda connection: connection.channel(on_open_callback=opened),
        loop._ended("on_open_error"),
        loop._ended("on_close"),
        loop.native,
    )
    loop.run()


@on_loops("loop.channel")
def a_subclass_of_channel(env: Any, loop: Loop) -> None:
    """Made by an override of `_create_channel`, as programs make it."""
    public = importlib.import_module(f"{loop.pika.__name__}.channel").Channel

    class Mixed:
        def shout(self) -> str:
            return "mixed in"

    class Mine(Mixed, public):  # type: ignore[misc]
        def __init__(self, connection: Any, number: int, on_open_callback: Any) -> None:
            super().__init__(connection, number, on_open_callback)
            self.mine = number

        def queue_declare(self, queue: str, **options: Any) -> Any:
            env.show("declares", sorted(options))
            return super().queue_declare(queue, **options)

        def basic_publish(self, *args: Any, **kwargs: Any) -> Any:
            env.show("publishes", args[2:])
            return public.basic_publish(self, *args, **kwargs)

        def _on_deliver(self, method_frame: Any, header_frame: Any, body: bytes) -> None:
            env.show("delivers", body)
            super()._on_deliver(method_frame, header_frame, body)

    def got(channel: Any, method: Any, _properties: Any, body: bytes) -> None:
        env.show("got", body)
        channel.basic_ack(method.delivery_tag)
        channel.connection.close()

    def opened(channel: Any) -> None:
        env.show("made", [type(channel).__name__, channel.mine, channel.shout(), repr(channel)[:14]])
        env.show("is one", [isinstance(channel, Mine), isinstance(channel, public)])
        env.show("derives", [issubclass(type(channel), Mine), issubclass(type(channel), public)])

        def declared(frame: Any) -> None:
            channel.basic_publish("", frame.method.queue, b"one")
            channel.basic_consume(frame.method.queue, got)

        channel.queue_declare("", exclusive=True, callback=declared)

    run_with_channels(loop, Mine, opened)


@on_loops("loop.channel", kinds=("select", "asyncio"))
def subclasses_of_channel_in_other_forms(env: Any, loop: Loop) -> None:
    public = importlib.import_module(f"{loop.pika.__name__}.channel").Channel

    class Behind:
        def basic_ack(self, *_args: Any) -> None:
            raise AssertionError("it stands behind Channel")

        def shout(self) -> str:
            return "from behind"

    class WrittenOut(public):  # type: ignore[misc]
        def __init__(self, connection: Any, number: int, on_open_callback: Any) -> None:
            public.__init__(self, connection, number, on_open_callback)
            self.mine = "written out"

    class Mixed(public, Behind):  # type: ignore[misc]
        mine = property(lambda self: self.shout())

    class Turned(public):  # type: ignore[misc]
        def __init__(self, on_open_callback: Any, *, to: Any, number: int) -> None:
            super().__init__(to, number, on_open_callback)
            self.mine = "turned round"

    makers = [
        WrittenOut,
        Mixed,
        lambda connection, number, callback: Turned(callback, to=connection, number=number),
    ]
    classes = [WrittenOut, Mixed, Turned]

    def opened(channel: Any) -> None:
        number = channel.channel_number
        env.show(f"channel {number}", [channel.mine, isinstance(channel, classes[number - 1])])

        def message(ch: Any, method: Any, _properties: Any, body: bytes) -> None:
            env.show("body", body)
            ch.basic_ack(method.delivery_tag)
            if number == len(makers):
                ch.connection.close()
            else:
                ch.connection.channel(on_open_callback=opened)

        def declared(frame: Any) -> None:
            channel.basic_publish("", frame.method.queue, b"one")
            channel.basic_consume(frame.method.queue, message)

        channel.queue_declare("", exclusive=True, callback=declared)

    run_with_channels(loop, lambda at, number, callback: makers[number - 1](at, number, callback), opened)
