"""What the scripted server does with each method: a broker in little."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from support import amqp

from .queues import Consumer, Message, Queue
from .wire import Method

if TYPE_CHECKING:
    from .session import Session

OBSERVER = b"torture-observer"  # a client property: the connection is spared
NACKED = "nacked"  # a queue whose name contains it refuses what is published with confirms


class Channel:
    """The server's side of a channel."""

    def __init__(self, session: Session, number: int) -> None:
        self.session, self.number = session, number
        self.open = True
        self.owes_ok = self.got_ok = False  # where both sides have sent Close
        self.consumers: dict[str, Consumer] = {}
        self.leaving: dict[str, str] = {}  # consumers that the server has cancelled, and their lanes
        self.out: dict[int, tuple[Queue, Message, Consumer | None]] = {}  # unacknowledged, by delivery tag
        self.last_tag = 0
        self.prefetch = 0
        self.confirming = False
        self.published = 0
        self.confirmable: set[int] = set()
        self.refused: set[int] = set()
        self.waiting: set[int] = set()  # published and not confirmed
        self.transaction: list[tuple[Method, bytes, bytes]] | None = None
        self.publish: Method | None = None
        self.head = b""
        self.body = bytearray()
        self.size = 0

    # ---- deliveries ----

    def hand_out(
        self, queue: Queue, message: Message, consumer: Consumer | None, no_ack: bool = False
    ) -> int:
        """Gives a message the next delivery tag."""
        self.last_tag += 1
        if not (consumer.no_ack if consumer is not None else no_ack):
            self.out[self.last_tag] = queue, message, consumer
        return self.last_tag

    def settle(self, tag: int, multiple: bool, requeue: bool) -> None:
        """Ack (without `requeue`), Nack and Reject."""
        if multiple:
            tags = sorted(t for t in self.out if t <= tag or tag == 0)
        elif tag in self.out:
            tags = [tag]
        else:
            self.session.server.complain(self.session, "unknown delivery tag", f"{tag} on {self.number}")
            self.close_by_server(406, f"PRECONDITION_FAILED - unknown delivery tag {tag}")
            return
        queues = set()
        for one in tags:
            queue, message, consumer = self.out.pop(one)
            queues.add(queue)
            if consumer is not None and consumer.room is not None:
                consumer.room += 1
            if requeue:
                queue.put_back(message)
        for queue in sorted(queues, key=lambda q: q.name):
            queue.flush()

    def cancel(self, tag: str) -> Consumer | None:
        """Forgets a consumer; what is out stays out."""
        consumer = self.consumers.pop(tag, None)
        if consumer is not None:
            consumer.cancelled = True
            consumer.queue.consumers.remove(consumer)
        return consumer

    def cancel_by_server(self, tag: str) -> None:
        """Basic.Cancel, as when a queue is deleted."""
        consumer = self.cancel(tag)
        if consumer is not None:
            name = self.leaving[tag] = f"queue {consumer.queue.name}"
            fields: dict[str, Any] = {"consumer_tag": tag, "nowait": True}
            self.session.put(
                self.number, name, lambda: [self.session.method(self.number, "Basic.Cancel", **fields)]
            )

    # ---- publishing ----

    def on_content(self, frame: amqp.Frame) -> None:
        """A header or body frame."""
        if frame.type == amqp.FRAME_HEADER:
            self.size = struct.unpack_from(">Q", frame.payload, 4)[0]
            self.head = frame.payload[12:]
        else:
            self.body += frame.payload
        if self.publish is not None and len(self.body) >= self.size:
            message = self.publish, self.head, bytes(self.body)
            self.publish = None
            if self.transaction is not None:
                self.transaction.append(message)
            else:
                self.route(*message)

    def route(self, publish: Method, head: bytes, body: bytes) -> None:
        """A whole message."""
        number, mark, _ = body.partition(b"|")
        if mark and number in self.session.server.numbers:
            self.session.server.complain(self.session, "a message that came twice", f"{body[:40]!r}")
        self.session.server.numbers.add(number if mark else b"")
        if self.confirming:
            self.published += 1
            self.waiting.add(self.published)
        tag = self.published
        queues = self.session.server.topology.route(publish.exchange, publish.routing_key)
        refused = self.confirming and any(NACKED in queue.name for queue in queues)
        if not queues and publish.mandatory:
            self.give_back(publish, head, body, tag)
            return
        if not refused:
            for queue in queues:
                queue.put(Message(publish.exchange, publish.routing_key, head, body))
        if self.confirming:
            self.confirm(tag, refused)

    def give_back(self, publish: Method, head: bytes, body: bytes, number: int) -> None:
        """Basic.Return, and its confirm behind it."""
        message = Message(publish.exchange, publish.routing_key, head, body)
        fields: dict[str, Any] = {"exchange": publish.exchange, "routing_key": publish.routing_key}
        fields |= {"reply_code": 312, "reply_text": "NO_ROUTE"}

        def make() -> list[bytes]:
            if self.confirming:
                self.confirm(number, False)
            method = self.session.method(self.number, "Basic.Return", **fields)
            return self.session.content(self.number, method, message)

        self.session.put(self.number, "returns", make)

    def confirm(self, number: int, refused: bool) -> None:
        """A confirm may leave."""
        (self.refused if refused else self.confirmable).add(number)
        self.session.put(self.number, "confirms", self.make_confirm)

    def make_confirm(self) -> list[bytes]:
        """One Ack or Nack for one or many, of those that may leave now."""
        name, ready = "Basic.Ack", self.confirmable
        if self.refused and (not ready or self.session.rng.random() < 0.5):
            name, ready = "Basic.Nack", self.refused
        if not ready:
            return []
        tag = self.session.rng.choice(sorted(ready))
        before = {number for number in self.waiting if number <= tag}
        multiple = before <= ready and self.session.rng.random() < 0.7
        done = before if multiple else {tag}
        self.waiting -= done
        ready -= done
        return [self.session.method(self.number, name, delivery_tag=tag, multiple=multiple)]

    # ---- the end ----

    def release(self) -> None:
        """Consumers go, and what is out goes back to its queues."""
        self.open = False
        queues = {consumer.queue for consumer in self.consumers.values()}
        for tag in list(self.consumers):
            self.cancel(tag)
        for queue, message, _ in self.out.values():
            queue.put_back(message)
            queues.add(queue)
        self.out.clear()
        self.session.drop_lanes(self.number, keep="own")
        for queue in sorted(queues, key=lambda q: q.name):
            queue.flush()

    def end(self) -> None:
        """The channel's number is free."""
        self.release()
        self.session.drop_lanes(self.number)
        self.session.channels.pop(self.number, None)
        self.session.rules.ended(self.number)

    def close_by_server(self, code: int, text: str) -> None:
        """Channel.Close; what comes before its answer is not looked at."""
        if not self.open:
            return
        self.release()
        self.session.drop_lanes(self.number)

        def make() -> list[bytes]:
            self.session.rules.closed_by_server.add(self.number)
            return [self.session.method(self.number, "Channel.Close", reply_code=code, reply_text=text)]

        self.session.put(self.number, "own", make)

    def close_by_client(self) -> None:
        """Channel.Close came: Close-Ok is the last that leaves, or both sides answer each other's Close."""
        if not self.open:
            self.owes_ok = True
            self.session.put(self.number, "own", self.make_crossed_ok)
            return
        self.release()

        def make() -> list[bytes]:
            ok = self.session.method(self.number, "Channel.CloseOk")
            self.end()
            return [ok]

        self.session.put(self.number, "own", make)

    def make_crossed_ok(self) -> list[bytes]:
        """The answer to a Close that has crossed our own."""
        self.owes_ok = False
        ok = self.session.method(self.number, "Channel.CloseOk")
        if self.got_ok:
            self.end()
        return [ok]

    def on_ok(self) -> None:
        """Close-Ok came: the number is free, unless the client awaits ours as well."""
        self.got_ok = True
        if not self.owes_ok:
            self.end()


# ---- methods ----


def handle(session: Session, frame: amqp.Frame, method: Method | None) -> None:
    """Does what a frame asks for."""
    number = frame.channel
    if frame.type == amqp.FRAME_HEARTBEAT:
        return
    if method is not None and number == 0:
        on_connection(session, method)
        return
    if method is not None and method.name == "Channel.Open":
        session.channels[number] = Channel(session, number)
        session.answer(number, method.name)
        return
    channel = session.channels.get(number)
    if channel is None:
        return
    if method is not None and method.name == "Channel.CloseOk":
        channel.on_ok()
    elif method is not None and method.name == "Channel.Close":
        channel.close_by_client()
    elif not channel.open:
        return
    elif method is None:
        channel.on_content(frame)
    else:
        HANDLERS.get(method.name, answer_only)(session, channel, method)


def on_connection(session: Session, method: Method) -> None:
    if method.name == "Connection.StartOk":
        session.is_observer = OBSERVER in method.client_properties
        heartbeat = int(session.server.chaos.heartbeat)
        session.say(0, "Connection.Tune", channel_max=2047, frame_max=131072, heartbeat=heartbeat)
    elif method.name == "Connection.TuneOk":
        session.rules.frame_max = method.frame_max
        session.rules.heartbeat = method.heartbeat
    elif method.name == "Connection.Open":
        session.answer(0, method.name)
        session.spared = session.is_observer
    elif method.name == "Connection.Close":
        for channel in list(session.channels.values()):
            channel.end()
        session.answer(0, method.name)
    elif method.name == "Connection.CloseOk":
        session.abort()
    elif method.name == "Connection.UpdateSecret":
        session.answer(0, method.name)


def answer_only(session: Session, channel: Channel, method: Method) -> None:
    """Requests that change nothing here."""
    if not method.fields.get("nowait"):
        session.answer(channel.number, method.name)


def missing_queue(session: Session, channel: Channel, name: str) -> bool:
    """Closes the channel over a queue that is not there."""
    if name in session.server.topology.queues:
        return False
    channel.close_by_server(404, f"NOT_FOUND - no queue '{name}' in vhost '/'")
    return True


def on_queue_declare(session: Session, channel: Channel, method: Method) -> None:
    if method.passive and missing_queue(session, channel, method.queue):
        return
    queue = session.server.topology.declare(method.queue)
    counts: dict[str, Any] = {"message_count": len(queue.ready), "consumer_count": len(queue.consumers)}
    session.answer(channel.number, method.name, queue=queue.name, **counts)


def on_queue_delete(session: Session, channel: Channel, method: Method) -> None:
    queue = session.server.topology.queues.pop(method.queue, None)
    count = len(queue.ready) if queue is not None else 0
    for consumer in list(queue.consumers) if queue is not None else []:
        consumer.channel.cancel_by_server(consumer.tag)
    session.answer(channel.number, method.name, message_count=count)


def on_queue_purge(session: Session, channel: Channel, method: Method) -> None:
    if missing_queue(session, channel, method.queue):
        return
    ready = session.server.topology.queues[method.queue].ready
    count = len(ready)
    ready.clear()
    session.answer(channel.number, method.name, message_count=count)


def on_bind(session: Session, channel: Channel, method: Method) -> None:
    bindings = session.server.topology.bindings
    if method.name == "Queue.Bind":
        bindings.setdefault(method.exchange, set()).add((method.routing_key, method.queue))
    elif method.name == "Queue.Unbind":
        bindings.setdefault(method.exchange, set()).discard((method.routing_key, method.queue))
    answer_only(session, channel, method)


def on_qos(session: Session, channel: Channel, method: Method) -> None:
    channel.prefetch = method.prefetch_count
    session.answer(channel.number, method.name)


def on_consume(session: Session, channel: Channel, method: Method) -> None:
    if missing_queue(session, channel, method.queue):
        return
    queue = session.server.topology.queues[method.queue]
    tag = method.consumer_tag or f"amq.ctag-{session.rng.randrange(1 << 60)}"
    wish, session.server.farewell = session.server.farewell, None
    if wish is not None:
        session.say_farewell(channel, tag, wish)
        return
    if not method.nowait:
        session.answer(channel.number, method.name, lane=f"queue {queue.name}", consumer_tag=tag)
    consumer = Consumer(queue, channel, tag, method.no_ack, channel.prefetch)
    channel.consumers[tag] = consumer
    queue.consumers.append(consumer)
    queue.flush()


def on_cancel(session: Session, channel: Channel, method: Method) -> None:
    consumer = channel.cancel(method.consumer_tag)
    if not method.nowait:
        gone = channel.leaving.get(method.consumer_tag, "own")
        lane = gone if consumer is None else f"queue {consumer.queue.name}"
        session.answer(channel.number, method.name, lane=lane, consumer_tag=method.consumer_tag)


def on_get(session: Session, channel: Channel, method: Method) -> None:
    if missing_queue(session, channel, method.queue):
        return
    queue = session.server.topology.queues[method.queue]

    def make() -> list[bytes]:
        session.rules.answered(channel.number, "Basic.Get")
        if not queue.ready:
            return [session.method(channel.number, "Basic.GetEmpty")]
        message = queue.ready.pop(0)
        fields: dict[str, Any] = {
            "delivery_tag": channel.hand_out(queue, message, None, method.no_ack),
            "redelivered": message.redelivered,
            "exchange": message.exchange,
            "routing_key": message.routing_key,
            "message_count": len(queue.ready),
        }
        head = session.method(channel.number, "Basic.GetOk", **fields)
        return session.content(channel.number, head, message)

    session.put(channel.number, "gets", make)


def on_publish(session: Session, channel: Channel, method: Method) -> None:
    channel.publish, channel.head, channel.body, channel.size = method, b"", bytearray(), 0


def on_settle(session: Session, channel: Channel, method: Method) -> None:
    fields = method.fields
    requeue = method.name != "Basic.Ack" and fields["requeue"]
    channel.settle(method.delivery_tag, fields.get("multiple", False), requeue)


def on_recover(session: Session, channel: Channel, method: Method) -> None:
    channel.settle(0, True, True)
    session.answer(channel.number, method.name)


def on_confirm(session: Session, channel: Channel, method: Method) -> None:
    channel.confirming = True
    answer_only(session, channel, method)


def on_transaction(session: Session, channel: Channel, method: Method) -> None:
    messages, channel.transaction = channel.transaction or [], []
    if method.name == "Tx.Commit":
        for message in messages:
            channel.route(*message)
    session.answer(channel.number, method.name)


HANDLERS: dict[str, Callable[[Session, Channel, Method], None]] = {
    "Queue.Declare": on_queue_declare,
    "Queue.Delete": on_queue_delete,
    "Queue.Purge": on_queue_purge,
    "Queue.Bind": on_bind,
    "Queue.Unbind": on_bind,
    "Basic.Qos": on_qos,
    "Basic.Consume": on_consume,
    "Basic.Cancel": on_cancel,
    "Basic.Get": on_get,
    "Basic.Publish": on_publish,
    "Basic.Ack": on_settle,
    "Basic.Nack": on_settle,
    "Basic.Reject": on_settle,
    "Basic.Recover": on_recover,
    "Confirm.Select": on_confirm,
    "Tx.Select": on_transaction,
    "Tx.Commit": on_transaction,
    "Tx.Rollback": on_transaction,
    "Channel.FlowOk": lambda session, channel, method: None,
}
