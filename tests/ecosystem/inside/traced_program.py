"""A program on pika with an agent in the same process: what the agent tells, and what the program sees.

    python traced_program.py AGENT URL QUEUE             on pika
    python -m cpika traced_program.py AGENT URL QUEUE    on cpika

Prints JSON: for each scene what the program saw and the agent's spans.  AGENT is the module agent_AGENT
beside this file: `start()` puts the agent in before pika is imported, `work(name)` is a piece of the
program's work, `spans()` returns and forgets what was recorded.
"""

from __future__ import annotations

import functools
import importlib
import json
import sys
from typing import Any, Callable

agent = importlib.import_module(f"agent_{sys.argv[1]}")
agent.start()

import pika  # noqa: E402
import pika.exceptions  # noqa: E402

QUEUE = sys.argv[3]
EXCHANGE = QUEUE + "-exchange"


class Scene:
    """What a scene works with: a connection of its own, and a list of what it saw."""

    def __init__(self, url: str) -> None:
        self.connection = pika.BlockingConnection(pika.URLParameters(url))
        self.channel = self.connection.channel()
        self.saw: list[Any] = []
        self.channel.queue_delete(QUEUE)
        self.channel.queue_declare(QUEUE)
        self.channel.exchange_declare(EXCHANGE, "topic")
        self.channel.queue_bind(QUEUE, EXCHANGE, "#.routed")

    def message(self, method: Any, properties: Any, body: Any) -> None:
        """Note a message as the program got it; of the headers the names, since agents put numbers in."""
        headers = sorted((properties.headers or {}).keys()) if properties is not None else None
        where = None if method is None else (method.exchange, method.routing_key)
        self.saw.append([where, headers, None if body is None else body.decode()])

    def end(self) -> None:
        """Leave nothing behind."""
        if self.connection.is_open:
            channel = self.connection.channel()
            channel.queue_delete(QUEUE)
            channel.exchange_delete(EXCHANGE)
            self.connection.close()


# ---- publishing ----


def publish_by_position(scene: Scene) -> None:
    """The least that a publish takes."""
    with agent.work("publish"):
        scene.channel.basic_publish("", QUEUE, b"by position")


def publish_by_keyword(scene: Scene) -> None:
    """All five arguments by keyword, with headers and other properties of the program's own."""
    properties = pika.BasicProperties(
        headers={"own": 1}, content_type="text/plain", correlation_id="c-1", reply_to="answers"
    )
    with agent.work("publish"):
        scene.channel.basic_publish(
            exchange=EXCHANGE,
            routing_key="a.routed",
            body="by keyword",
            properties=properties,
            mandatory=True,
        )
    scene.saw.append(sorted(properties.headers))


def publish_with_properties_by_position(scene: Scene) -> None:
    """Properties and mandatory by position; no headers yet."""
    properties = pika.BasicProperties(delivery_mode=2)
    with agent.work("publish"):
        scene.channel.basic_publish(EXCHANGE, "b.routed", b"x", properties, False)
    scene.saw.append(sorted(properties.headers or {}))


def publish_confirmed(scene: Scene) -> None:
    """In confirm mode, where the call waits for the broker's word."""
    scene.channel.confirm_delivery()
    with agent.work("publish"):
        scene.channel.basic_publish("", QUEUE, b"confirmed", mandatory=True)


def publish_unroutable(scene: Scene) -> None:
    """In confirm mode, to nobody: UnroutableError, which the program handles."""
    scene.channel.confirm_delivery()
    with agent.work("publish"):
        try:
            scene.channel.basic_publish("", QUEUE + "-nobody", b"lost", mandatory=True)
            scene.saw.append("no exception")
        except pika.exceptions.UnroutableError as error:
            scene.saw.append(f"UnroutableError, {len(error.messages)} returned")
            scene.message(error.messages[0].method, error.messages[0].properties, error.messages[0].body)


def publish_unroutable_unhandled(scene: Scene) -> None:
    """As before, but the work ends by the exception."""
    scene.channel.confirm_delivery()
    with agent.work("publish"):
        scene.channel.basic_publish("", QUEUE + "-nobody", b"lost", mandatory=True)


def publish_on_a_closed_channel(scene: Scene) -> None:
    """An error that comes before anything is sent."""
    scene.channel.close()
    with agent.work("publish"):
        scene.channel.basic_publish("", QUEUE, b"never")


def publish_what_cannot_be_encoded(scene: Scene) -> None:
    """An error while the message is encoded."""
    with agent.work("publish"):
        scene.channel.basic_publish("", QUEUE, b"never", pika.BasicProperties(headers={"long" * 64: 1}))


def publish_outside_of_any_work(scene: Scene) -> None:
    """Without a span around it."""
    scene.channel.basic_publish("", QUEUE, b"alone")


def publish_to_an_exchange_that_is_not_there(scene: Scene) -> None:
    """The broker closes the channel; a later call says so."""
    with agent.work("publish"):
        scene.channel.basic_publish(EXCHANGE + "-missing", "a", b"lost")
        scene.channel.queue_declare(QUEUE, passive=True)


# ---- callbacks ----


def published(scene: Scene, *bodies: str) -> None:
    """Messages for the consumers, each from a work of its own."""
    for body in bodies:
        with agent.work("published " + body):
            scene.channel.basic_publish(
                EXCHANGE, "c.routed", body, pika.BasicProperties(headers={"own": body})
            )


def consume_by(scene: Scene, register: Callable[[Callable[..., None]], Any]) -> None:
    """Consume a message by a callback that acknowledges it.

    One only: whether two come by one read, and so into the agent's hands before either callback, is chance.
    """

    def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        scene.message(method, properties, body)
        scene.saw.append(type(channel).__name__)
        channel.basic_ack(method.delivery_tag)
        channel.stop_consuming()

    register(on_message)
    scene.channel.start_consuming()


def callback_by_position(scene: Scene) -> None:
    """basic_consume(queue, callback)."""
    published(scene, "one")
    consume_by(scene, lambda function: scene.channel.basic_consume(QUEUE, function, consumer_tag="tag"))


def callback_by_keyword(scene: Scene) -> None:
    """basic_consume(queue=, on_message_callback=)."""
    published(scene, "one")
    consume_by(
        scene,
        lambda function: scene.channel.basic_consume(
            queue=QUEUE, on_message_callback=function, auto_ack=False, exclusive=True, consumer_tag="tag"
        ),
    )


def callback_that_is_a_partial(scene: Scene) -> None:
    """functools.partial has no name of its own."""
    published(scene, "one")

    def with_extra(function: Any, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        function(channel, method, properties, body)

    consume_by(
        scene,
        lambda function: scene.channel.basic_consume(
            QUEUE, functools.partial(with_extra, function), consumer_tag="tag"
        ),
    )


def callback_that_publishes(scene: Scene) -> None:
    """What a callback publishes belongs to the message that it handles."""
    published(scene, "one")

    def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        channel.basic_publish("", QUEUE + "-answers", b"answer to " + body, properties)
        channel.basic_ack(method.delivery_tag)
        channel.stop_consuming()

    scene.channel.queue_declare(QUEUE + "-answers")
    scene.channel.basic_consume(QUEUE, on_message, consumer_tag="tag")
    scene.channel.start_consuming()
    scene.message(*scene.channel.basic_get(QUEUE + "-answers", auto_ack=True))
    scene.channel.queue_delete(QUEUE + "-answers")


def callback_that_raises(scene: Scene) -> None:
    """The exception leaves start_consuming()."""
    published(scene, "one")

    def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        raise LookupError("not to be found")

    scene.channel.basic_consume(QUEUE, on_message, auto_ack=True, consumer_tag="tag")
    try:
        scene.connection.process_data_events(time_limit=5)
        scene.saw.append("no exception")
    except LookupError as error:
        scene.saw.append(repr(error))


def callback_within_work(scene: Scene) -> None:
    """Dispatched by process_data_events() inside another piece of work, in which the message has come."""
    got: list[bytes] = []

    def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        scene.message(method, properties, body)
        got.append(body)

    scene.channel.basic_consume(QUEUE, on_message, auto_ack=True, consumer_tag="tag")
    with pika.BlockingConnection(pika.URLParameters(sys.argv[2])) as other, agent.work("dispatching"):
        other.channel().basic_publish("", QUEUE, "one")
        while not got:
            scene.connection.process_data_events(time_limit=5)


def two_consumers(scene: Scene) -> None:
    """Two callbacks on one channel; a cancelled one gets nothing any more."""
    got: list[str] = []

    def on_message(name: str, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        scene.message(method, properties, body)
        got.append(name)

    other = QUEUE + "-other"
    scene.channel.queue_declare(other)
    for name, queue in (("first", QUEUE), ("second", other)):
        scene.channel.basic_consume(
            queue, functools.partial(on_message, name), auto_ack=True, consumer_tag=name
        )
    with agent.work("publish"):
        scene.channel.basic_publish("", QUEUE, b"1")
    while len(got) < 1:
        scene.connection.process_data_events(time_limit=5)
    scene.channel.basic_cancel("first")
    with agent.work("publish"):
        scene.channel.basic_publish("", other, b"2")
    while len(got) < 2:
        scene.connection.process_data_events(time_limit=5)
    scene.saw.append(got)
    scene.saw.append(scene.channel.consumer_tags)
    scene.channel.queue_delete(other)


# ---- consume() and basic_get() ----


def generator(scene: Scene) -> None:
    """consume() with a publish for each message, left by break."""
    published(scene, "one", "two", "three")
    for number, (method, properties, body) in enumerate(scene.channel.consume(QUEUE, consumer_tag="tag"), 1):
        scene.message(method, properties, body)
        scene.channel.basic_publish("", "nowhere", b"answer")
        scene.channel.basic_ack(method.delivery_tag)
        if number == 3:
            break
    scene.saw.append(scene.channel.cancel())


def generator_with_a_time_limit(scene: Scene) -> None:
    """consume() by keyword with an inactivity timeout, which gives three times None."""
    published(scene, "one")
    for method, properties, body in scene.channel.consume(
        queue=QUEUE, auto_ack=True, inactivity_timeout=0.3, consumer_tag="tag"
    ):
        scene.message(method, properties, body)
        if method is None:
            break
    scene.saw.append(scene.channel.cancel())


def generator_whose_body_raises(scene: Scene) -> None:
    """The loop ends by an exception, and the generator is closed."""
    published(scene, "one")
    messages = scene.channel.consume(QUEUE, auto_ack=True, consumer_tag="tag")
    try:
        for method, properties, body in messages:
            scene.message(method, properties, body)
            raise LookupError("not to be found")
    except LookupError as error:
        scene.saw.append(repr(error))
    messages.close()


def get(scene: Scene) -> None:
    """basic_get() with a message, and without."""
    published(scene, "one")
    for _ in range(2):
        with agent.work("get"):
            scene.message(*scene.channel.basic_get(QUEUE, auto_ack=True))


def get_by_keyword_outside_of_work(scene: Scene) -> None:
    """basic_get(queue=) with an ack by hand."""
    published(scene, "one")
    method, properties, body = scene.channel.basic_get(queue=QUEUE)
    scene.message(method, properties, body)
    scene.channel.basic_ack(method.delivery_tag)


# ---- where the context comes from ----


def context_of_another_program(scene: Scene) -> None:
    """Headers that a tracer of the W3C's format has put in elsewhere."""
    headers = {"traceparent": "00-" + "0af7651916cd43dd8448eb211c80319c" + "-b7ad6b7169203331-01"}
    scene.channel.basic_publish("", QUEUE, b"from afar", pika.BasicProperties(headers=headers))
    agent.spans()
    consume_by(scene, lambda function: scene.channel.basic_consume(QUEUE, function, consumer_tag="tag"))


def no_properties_at_all(scene: Scene) -> None:
    """A message whose publisher set no property: headers are None, not empty."""
    scene.channel.basic_publish("", QUEUE, b"bare")
    agent.spans()
    consume_by(scene, lambda function: scene.channel.basic_consume(QUEUE, function, consumer_tag="tag"))


def declare_what_is_refused(scene: Scene) -> None:
    """The broker closes the channel over another method than a publish."""
    with agent.work("declare"):
        scene.channel.queue_declare(QUEUE, durable=True)


SCENES = [
    publish_by_position,
    publish_by_keyword,
    publish_with_properties_by_position,
    publish_confirmed,
    publish_unroutable,
    publish_unroutable_unhandled,
    publish_on_a_closed_channel,
    publish_what_cannot_be_encoded,
    publish_outside_of_any_work,
    publish_to_an_exchange_that_is_not_there,
    callback_by_position,
    callback_by_keyword,
    callback_that_is_a_partial,
    callback_that_publishes,
    callback_that_raises,
    callback_within_work,
    two_consumers,
    generator,
    generator_with_a_time_limit,
    generator_whose_body_raises,
    get,
    get_by_keyword_outside_of_work,
    context_of_another_program,
    no_properties_at_all,
    declare_what_is_refused,
]


def main(url: str) -> None:
    """Play all scenes and print what came of them."""
    told: dict[str, Any] = {
        "library": "cpika" if hasattr(pika, "__cpika_version__") else "pika",
        "scenes": {},
    }
    for play in SCENES:
        scene = Scene(url)
        agent.spans()
        try:
            play(scene)
        except Exception as error:
            scene.saw.append(f"ends by {type(error).__module__}.{type(error).__qualname__}: {error}")
        told["scenes"][play.__name__] = {"saw": scene.saw, "spans": agent.spans()}
        scene.end()
    print("\n" + json.dumps(told, default=repr))


if __name__ == "__main__":
    main(sys.argv[2])
