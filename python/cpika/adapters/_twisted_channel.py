"""Channels whose methods return Deferreds, and the queues that consumers read."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from twisted.internet import defer

from cpika import exceptions, spec
from cpika._async.mandatory import Mandatory, covered, frozen
from cpika._async.requests import Arguments
from cpika._buffer import Buffer
from cpika.connection import Connection
from cpika.exchange_type import ExchangeType

LOGGER = logging.getLogger("pika.adapters.twisted_connection")


class ReceivedMessage(NamedTuple):
    """A message."""

    channel: TwistedChannel
    method: Any  # Basic.Deliver, GetOk or Return
    properties: spec.BasicProperties
    body: bytes


_Deferred = defer.Deferred
_new_tuple = tuple.__new__  # makes a named tuple without its __new__, which is a Python function


class ClosableDeferredQueue(defer.DeferredQueue):  # type: ignore[type-arg]
    """A DeferredQueue that can be closed; then `get` and `put` return failed Deferreds."""

    def __init__(self, size: int | None = None, backlog: int | None = None) -> None:
        """
        :param size: most objects in it, None for no limit
        :param backlog: most waiting `get`s, None for no limit
        """
        self.closed: BaseException | None = None
        super().__init__(size, backlog)
        self._forget = self.waiting.remove  # a Deferred that is cancelled

    def put(self, obj: Any) -> defer.Deferred[Any] | None:  # type: ignore[override]
        """Add an object; returns a failed Deferred when the queue is closed."""
        if self.closed is not None:
            LOGGER.error("Impossible to put to the queue, it is closed.")
            return defer.fail(self.closed)
        return super().put(obj)

    def get(self) -> defer.Deferred[Any]:
        """Return a Deferred that fires with the next object."""
        if self.closed is not None:
            LOGGER.error("Impossible to get from the queue, it is closed.")
            return defer.fail(self.closed)
        if self.pending or self.backlog is not None:
            return super().get()
        # As the base does, for every message that is waited for.
        deferred: defer.Deferred[Any] = _Deferred(self._forget)
        self.waiting.append(deferred)
        return deferred

    def close(self, reason: BaseException | None) -> None:
        """Fail those who wait, for this reason; what is in the queue is dropped."""
        if self.closed is not None:
            LOGGER.warning("Queue was already closed with reason: %s.", self.closed)
        self.closed = reason
        while self.waiting:
            self.waiting.pop().errback(reason)
        self.pending = []


class TwistedChannel:
    """A channel: what takes a callback on `Channel` returns a Deferred, which fires with what that would get.

    When the channel ends, the Deferreds that wait fail with the reason.

    :param channel: the channel on the connection
    """

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self._closed: BaseException | None = None
        self._calls: dict[defer.Deferred[Any], None] = {}  # await answers, in the order of calls
        self._consumers: dict[str, ClosableDeferredQueue] = {}
        self._queue_name_to_consumer_tags: dict[str, set[str]] = {}
        self._basic_get_deferred: defer.Deferred[Any] | None = None
        self._channel.add_callback(self._on_getempty, [spec.Basic.GetEmpty], False)
        self._selecting = False  # from the call of `confirm_delivery` on
        self._delivery_confirmation = False  # from the broker's answer on
        self._delivery_message_id = 0
        self._deliveries: dict[int, defer.Deferred[Any]] = {}
        self._mandatory = Mandatory()
        self._puback_return: ReceivedMessage | None = None
        self.on_closed: defer.Deferred[Any] = defer.Deferred()
        self._channel.add_on_close_callback(self._on_channel_closed)
        self._channel.add_on_cancel_callback(self._on_consumer_cancelled_by_broker)

    def __repr__(self) -> str:
        return f"<{self.__class__.__name__} channel={self._channel!r}>"

    @property
    def channel_number(self) -> int:
        """1 to 65535."""
        number: int = self._channel.channel_number
        return number

    @property
    def connection(self) -> Connection:
        """The connection behind the protocol."""
        connection: Connection = self._channel.connection
        return connection

    @property
    def is_closed(self) -> bool:
        """True when the channel cannot be used any more."""
        return bool(self._channel.is_closed)

    @property
    def is_closing(self) -> bool:
        """True until the broker has answered Channel.Close."""
        return bool(self._channel.is_closing)

    @property
    def is_open(self) -> bool:
        """True while the channel may be used."""
        return bool(self._channel.is_open)

    @property
    def flow_active(self) -> bool:
        """What the broker said last to `flow`."""
        return bool(self._channel.flow_active)

    @property
    def consumer_tags(self) -> list[str]:
        """Tags of the consumers."""
        return list(self._channel.consumer_tags)

    # ---- Deferreds ----

    def _call(self, name: str, *args: Any, **kwargs: Any) -> defer.Deferred[Any]:
        if self._closed is not None:
            return defer.fail(self._closed)
        call: defer.Deferred[Any] = defer.Deferred()

        def answered(*answer: Any) -> None:
            if call in self._calls:
                del self._calls[call]
                call.callback(answer if len(answer) > 1 else answer[0])

        try:
            getattr(self._channel, name)(*args, callback=answered, **kwargs)
        except Exception:
            return defer.fail()
        self._calls[call] = None
        return call

    def callback_deferred(self, deferred: defer.Deferred[Any], replies: Iterable[type[Any]]) -> None:
        """Have a Deferred fire with the frame of the first method of these classes that comes."""
        self._channel.add_callback(deferred.callback, replies)

    def add_on_return_callback(self, callback: Callable[[ReceivedMessage], Any]) -> None:
        """Have `callback(message)` called for messages that come back."""
        self._channel.add_on_return_callback(
            lambda _channel, method, properties, body: callback(
                ReceivedMessage(self, method, properties, body)
            )
        )

    # ---- consuming ----

    def basic_consume(
        self,
        queue: str,
        auto_ack: bool = False,
        exclusive: bool = False,
        consumer_tag: str | None = None,
        arguments: Arguments = None,
    ) -> defer.Deferred[Any]:
        """Begin to consume (AMQP Basic.Consume).

        :param queue: its name
        :param auto_ack: the broker expects no acknowledgements
        :param exclusive: no other consumer on the queue
        :param consumer_tag: None for one that is made here
        :param arguments: for the broker
        :returns: fires with (`ClosableDeferredQueue` of `ReceivedMessage`, tag)
        """
        if self._closed is not None:
            return defer.fail(self._closed)
        messages = ClosableDeferredQueue()
        waiting = messages.waiting
        call: defer.Deferred[Any] = defer.Deferred()

        def on_consume_ok(frame: Any) -> None:
            tag = frame.method.consumer_tag
            self._queue_name_to_consumer_tags.setdefault(queue, set()).add(tag)
            self._consumers[tag] = messages
            self._calls.pop(call, None)
            call.callback((messages, tag))

        def on_message(_channel: Any, method: Any, properties: Any, body: bytes) -> None:
            message = _new_tuple(ReceivedMessage, (self, method, properties, body))
            if waiting:  # then it is open
                waiting.pop(0).callback(message)
            else:
                messages.put(message)

        try:
            self._channel.basic_consume(
                queue=queue,
                on_message_callback=on_message,
                auto_ack=auto_ack,
                exclusive=exclusive,
                consumer_tag=consumer_tag,
                arguments=arguments,
                callback=on_consume_ok,
            )
        except Exception:
            return defer.fail()
        self._calls[call] = None
        return call

    def basic_cancel(self, consumer_tag: str = "") -> defer.Deferred[Any]:
        """End a consumer (AMQP Basic.Cancel) and close its queue.

        :returns: fires with the frame of CancelOk
        """
        return self._call("basic_cancel", consumer_tag=consumer_tag).addCallback(self._on_consumer_cancelled)

    def _on_consumer_cancelled_by_broker(self, method_frame: Any) -> Any:
        return self._on_consumer_cancelled(method_frame)

    def _on_consumer_cancelled(self, frame: Any) -> Any:
        tag = frame.method.consumer_tag
        self._end_consumer(tag, exceptions.ConsumerCancelled())
        return frame

    def _end_consumer(self, tag: str, reason: BaseException) -> None:
        messages = self._consumers.pop(tag, None)
        if messages is None:
            LOGGER.warning("basic_cancel - consumer not found: %s", tag)
            return
        messages.close(reason)
        for tags in self._queue_name_to_consumer_tags.values():
            tags.discard(tag)

    def basic_get(self, queue: str, auto_ack: bool = False) -> defer.Deferred[Any]:
        """Get one message (AMQP Basic.Get).

        :returns: fires with a `ReceivedMessage`, or with None for an empty queue
        :raises pika.exceptions.DuplicateGetOkCallback: the one before has not been answered
        """
        if self._basic_get_deferred is not None:
            raise exceptions.DuplicateGetOkCallback()

        def as_message(answer: Any) -> Any:
            return None if answer is None else ReceivedMessage(self, *answer[1:])

        def done(result: Any) -> Any:
            self._basic_get_deferred = None
            return result

        call = self._basic_get_deferred = self._call("basic_get", queue=queue, auto_ack=auto_ack)
        return call.addCallback(as_message).addBoth(done)

    def _on_getempty(self, _method_frame: Any) -> None:
        call = self._basic_get_deferred
        if call is None:
            LOGGER.warning("Got Basic.GetEmpty but no Basic.Get calls were pending.")
        elif call in self._calls:
            del self._calls[call]
            call.callback(None)

    def queue_delete(
        self, queue: str, if_unused: bool = False, if_empty: bool = False
    ) -> defer.Deferred[Any]:
        """Delete a queue (AMQP Queue.Delete), and end the consumers that this channel has on it.

        :returns: fires with the frame of DeleteOk
        """

        def end_consumers(frame: Any) -> Any:
            for tag in list(self._queue_name_to_consumer_tags.get(queue, ())):
                self._end_consumer(tag, exceptions.ConsumerCancelled(f"Queue {queue} was deleted."))
            return frame

        call = self._call("queue_delete", queue=queue, if_unused=if_unused, if_empty=if_empty)
        return call.addCallback(end_consumers)

    # ---- publishing ----

    def basic_publish(
        self,
        exchange: str,
        routing_key: str,
        body: str | Buffer,
        properties: spec.BasicProperties | None = None,
        mandatory: bool = False,
    ) -> defer.Deferred[Any]:
        """Publish a message (AMQP Basic.Publish).

        :returns: has fired with None; after `confirm_delivery` it fires with Basic.Ack, or fails with
            NackError, or with UnroutableError for a message that came back
        """
        if self._closed is not None:
            return defer.fail(self._closed)
        if mandatory:
            body = frozen(body)
        self._channel.basic_publish(
            exchange=exchange,
            routing_key=routing_key,
            body=body,
            properties=properties,
            mandatory=mandatory,
        )
        if not self._delivery_confirmation:
            if self._selecting and self._channel._delivery_confirmation:  # Select has left: the broker counts
                self._note_publish(exchange, routing_key, body, mandatory)
            return defer.succeed(None)
        self._note_publish(exchange, routing_key, body, mandatory)
        confirmed = self._deliveries[self._delivery_message_id] = defer.Deferred()
        return confirmed

    def _note_publish(self, exchange: str, routing_key: str, body: str | Buffer, mandatory: bool) -> None:
        self._delivery_message_id += 1
        if mandatory:
            self._mandatory.add(self._delivery_message_id, exchange, routing_key, body)

    def confirm_delivery(self) -> defer.Deferred[Any]:
        """Have the broker confirm what is published (RabbitMQ's Confirm.Select).

        :returns: fires with the frame of SelectOk; None when it was done before
        """
        if self._delivery_confirmation:
            LOGGER.error("confirm_delivery: confirmation was already enabled.")
            return defer.succeed(None)

        def selected(frame: Any) -> Any:
            self._delivery_confirmation = True
            return frame

        self._selecting = True
        call = self._call("confirm_delivery", ack_nack_callback=self._on_delivery_confirmation)
        call.addCallback(selected)
        self._channel.add_on_return_callback(self._on_puback_message_returned)
        return call

    def _on_delivery_confirmation(self, method_frame: Any) -> None:
        verdict = method_frame.method
        unknown, self._puback_return = self._puback_return, None  # it came right before
        tags = covered(self._deliveries, verdict)
        if not tags:
            LOGGER.error("Delivery tag %s not found in the pending deliveries", verdict.delivery_tag)
        for tag in tags:
            returned = self._mandatory.settle(tag)
            if returned is None:
                returned, unknown = unknown, None
            self._settle(self._deliveries.pop(tag), verdict, [] if returned is None else [returned])
        self._mandatory.settle_all(verdict)  # what was published before Select was answered

    def _settle(self, confirmed: defer.Deferred[Any], verdict: Any, messages: Any) -> None:
        if isinstance(verdict, spec.Basic.Nack):
            LOGGER.warning(
                "Message was Nack'ed by broker: nack=%r; channel=%s;", verdict, self.channel_number
            )
            confirmed.errback(exceptions.NackError(messages))
        elif messages:
            confirmed.errback(exceptions.UnroutableError(messages))
        else:
            confirmed.callback(verdict)

    def _on_puback_message_returned(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        LOGGER.warning(
            "Published message was returned: _delivery_confirmation=%s; channel=%s; method=%r; "
            "properties=%r; body_size=%d; body_prefix=%.255r",
            self._delivery_confirmation,
            channel.channel_number,
            method,
            properties,
            len(body),
            body,
        )
        if not self._delivery_confirmation:  # no confirm will speak of it
            return
        message = ReceivedMessage(self, method, properties, body)
        if not self._mandatory.note(method, body, message):
            self._puback_return = message  # like none that is known: the next verdict's, as in pika

    # ---- what has no answer ----

    def basic_ack(self, delivery_tag: int = 0, multiple: bool = False) -> None:
        """Acknowledge a message (AMQP Basic.Ack), or all up to it."""
        self._channel.basic_ack(delivery_tag=delivery_tag, multiple=multiple)

    def basic_nack(self, delivery_tag: int = 0, multiple: bool = False, requeue: bool = True) -> None:
        """Refuse a message (RabbitMQ's Basic.Nack), or all up to it."""
        self._channel.basic_nack(delivery_tag=delivery_tag, multiple=multiple, requeue=requeue)

    def basic_reject(self, delivery_tag: int, requeue: bool = True) -> None:
        """Refuse one message (AMQP Basic.Reject)."""
        self._channel.basic_reject(delivery_tag=delivery_tag, requeue=requeue)

    def open(self) -> None:
        """Open the channel: `TwistedProtocolConnection.channel` has done so."""
        self._channel.open()

    def close(self, reply_code: int = 0, reply_text: str = "Normal shutdown") -> None:
        """Close the channel (AMQP Channel.Close); `on_closed` fires with the reason when that is done."""
        self._channel.close(reply_code=reply_code, reply_text=reply_text)

    # ---- requests ----

    def exchange_bind(
        self, destination: str, source: str, routing_key: str = "", arguments: Arguments = None
    ) -> defer.Deferred[Any]:
        """Bind an exchange to another (RabbitMQ's Exchange.Bind); fires with the frame of BindOk."""
        return self._call(
            "exchange_bind",
            destination=destination,
            source=source,
            routing_key=routing_key,
            arguments=arguments,
        )

    def exchange_declare(
        self,
        exchange: str,
        exchange_type: ExchangeType | str = ExchangeType.direct,
        passive: bool = False,
        durable: bool = False,
        auto_delete: bool = False,
        internal: bool = False,
        arguments: Arguments = None,
    ) -> defer.Deferred[Any]:
        """Declare an exchange (AMQP Exchange.Declare); fires with the frame of DeclareOk."""
        return self._call(
            "exchange_declare",
            exchange=exchange,
            exchange_type=exchange_type,
            passive=passive,
            durable=durable,
            auto_delete=auto_delete,
            internal=internal,
            arguments=arguments,
        )

    def exchange_delete(self, exchange: str | None = None, if_unused: bool = False) -> defer.Deferred[Any]:
        """Delete an exchange (AMQP Exchange.Delete); fires with the frame of DeleteOk."""
        return self._call("exchange_delete", exchange=exchange, if_unused=if_unused)

    def exchange_unbind(
        self, destination: str, source: str, routing_key: str = "", arguments: Arguments = None
    ) -> defer.Deferred[Any]:
        """Take a binding of exchanges away (RabbitMQ's Exchange.Unbind); fires with the frame of UnbindOk."""
        return self._call(
            "exchange_unbind",
            destination=destination,
            source=source,
            routing_key=routing_key,
            arguments=arguments,
        )

    def queue_declare(
        self,
        queue: str,
        passive: bool = False,
        durable: bool = False,
        exclusive: bool = False,
        auto_delete: bool = False,
        arguments: Arguments = None,
    ) -> defer.Deferred[Any]:
        """Declare a queue (AMQP Queue.Declare); fires with the frame of DeclareOk."""
        return self._call(
            "queue_declare",
            queue=queue,
            passive=passive,
            durable=durable,
            exclusive=exclusive,
            auto_delete=auto_delete,
            arguments=arguments,
        )

    def queue_bind(
        self,
        queue: str,
        exchange: str,
        routing_key: str | None = None,
        arguments: Arguments = None,
    ) -> defer.Deferred[Any]:
        """Bind a queue to an exchange (AMQP Queue.Bind); fires with the frame of BindOk."""
        return self._call(
            "queue_bind", queue=queue, exchange=exchange, routing_key=routing_key, arguments=arguments
        )

    def queue_unbind(
        self,
        queue: str,
        exchange: str | None,
        routing_key: str | None = None,
        arguments: Arguments = None,
    ) -> defer.Deferred[Any]:
        """Take a binding of a queue away (AMQP Queue.Unbind); fires with the frame of UnbindOk."""
        return self._call(
            "queue_unbind", queue=queue, exchange=exchange, routing_key=routing_key, arguments=arguments
        )

    def queue_purge(self, queue: str) -> defer.Deferred[Any]:
        """Drop the messages of a queue (AMQP Queue.Purge); fires with the frame of PurgeOk."""
        return self._call("queue_purge", queue=queue)

    def basic_qos(
        self, prefetch_size: int = 0, prefetch_count: int = 0, global_qos: bool = False
    ) -> defer.Deferred[Any]:
        """Limit the unacknowledged messages (AMQP Basic.Qos); fires with the frame of QosOk."""
        return self._call(
            "basic_qos", prefetch_size=prefetch_size, prefetch_count=prefetch_count, global_qos=global_qos
        )

    def basic_recover(self, requeue: bool = False) -> defer.Deferred[Any]:
        """Have unacknowledged messages delivered again (AMQP Basic.Recover); fires with RecoverOk's frame."""
        return self._call("basic_recover", requeue=requeue)

    def flow(self, active: bool = True) -> defer.Deferred[Any]:
        """Have deliveries stop and go on (AMQP Channel.Flow); fires with the bool that the broker answers."""
        return self._call("flow", active=active)

    def tx_select(self) -> defer.Deferred[Any]:
        """Begin to use transactions (AMQP Tx.Select); fires with the frame of SelectOk."""
        return self._call("tx_select")

    def tx_commit(self) -> defer.Deferred[Any]:
        """Commit the transaction (AMQP Tx.Commit); fires with the frame of CommitOk."""
        return self._call("tx_commit")

    def tx_rollback(self) -> defer.Deferred[Any]:
        """Roll the transaction back (AMQP Tx.Rollback); fires with the frame of RollbackOk."""
        return self._call("tx_rollback")

    # ---- the end ----

    def _on_channel_closed(self, _channel: Any, reason: BaseException) -> None:
        self._closed = reason
        calls, self._calls = self._calls, {}
        deliveries, self._deliveries = self._deliveries, {}
        self._mandatory.clear()
        consumers, self._consumers = self._consumers, {}
        for call in [*calls, *deliveries.values()]:
            call.errback(reason)
        for messages in consumers.values():
            messages.close(reason)
        self.on_closed.callback(reason)
