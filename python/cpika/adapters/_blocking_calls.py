"""The half of `BlockingChannel` in which a method is one AMQP method and its answer."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeVar

from cpika import frame, spec, validators
from cpika.adapters import _blocking_hot
from cpika.adapters import _blocking_through as _through
from cpika.amqp_object import Method
from cpika.exchange_type import ExchangeType

if TYPE_CHECKING:
    from cpika.adapters.blocking_connection import BlockingConnection

_ReplyT = TypeVar("_ReplyT", bound=Method)


class BlockingChannel(_blocking_hot.BlockingChannel):
    """Flow, quality of service, exchanges, queues, transactions.

    It has the name of the class that users know: the errors about a call's arguments show it.
    """

    if TYPE_CHECKING:
        _connection: BlockingConnection

    def _call(self, method: Method, reply: type[_ReplyT]) -> frame.Method[_ReplyT]:
        """Send a method and return the answer's method frame.

        :raises pika.exceptions.ChannelClosedByBroker: the broker refused by closing the channel
        """
        answer = self._rpc(method, reply.INDEX, self._connection._time_left())
        return frame.Method(self.channel_number, answer)

    def flow(self, active: bool) -> bool:
        """Ask the broker to stop or go on delivering (AMQP Channel.Flow). RabbitMQ does not take False.

        :param active: True to go on
        :returns: what the broker does now
        """
        if "flow" in self._impl._wrapped:
            return _through.flow(self, active)
        self._check_open()
        return bool(self._call(spec.Channel.Flow(active), spec.Channel.FlowOk).method.active)

    # ---- quality of service ----

    def basic_qos(self, prefetch_size: int = 0, prefetch_count: int = 0, global_qos: bool = False) -> None:
        """Limit the messages that are delivered and not acknowledged (AMQP Basic.Qos).

        :param prefetch_size: in bytes; RabbitMQ takes 0 only, no limit
        :param prefetch_count: messages; 0 is no limit
        :param global_qos: with RabbitMQ: for the channel as a whole instead of for each new consumer
        """
        if "basic_qos" in self._impl._wrapped:
            return _through.signal(
                self,
                "basic_qos",
                prefetch_size=prefetch_size,
                prefetch_count=prefetch_count,
                global_qos=global_qos,
            )
        self._check_open()
        validators.zero_or_greater("prefetch_size", prefetch_size)
        validators.zero_or_greater("prefetch_count", prefetch_count)
        self._call(spec.Basic.Qos(prefetch_size, prefetch_count, global_qos), spec.Basic.QosOk)

    def basic_recover(self, requeue: bool = False) -> None:
        """Have all messages of this channel that are not acknowledged delivered again (AMQP Basic.Recover).

        :param requeue: to any consumer of the queue, not to the same; RabbitMQ takes True only
        """
        if "basic_recover" in self._impl._wrapped:
            return _through.signal(self, "basic_recover", requeue=requeue)
        self._check_open()
        self._call(spec.Basic.Recover(requeue), spec.Basic.RecoverOk)

    # ---- exchanges ----

    def exchange_declare(
        self,
        exchange: str,
        exchange_type: ExchangeType | str = ExchangeType.direct,
        passive: bool = False,
        durable: bool = False,
        auto_delete: bool = False,
        internal: bool = False,
        arguments: Mapping[str, Any] | None = None,
    ) -> frame.Method[spec.Exchange.DeclareOk]:
        """Make an exchange, or make sure that it is there and alike (AMQP Exchange.Declare).

        :param exchange: its name
        :param exchange_type: direct, fanout, headers, topic or a plugin's
        :param passive: only ask whether it is there
        :param durable: survives a restart of the broker
        :param auto_delete: goes with its last binding
        :param internal: takes messages from other exchanges only
        :param arguments: further arguments, e.g. alternate-exchange
        :returns: method frame with spec.Exchange.DeclareOk
        :raises pika.exceptions.ChannelClosedByBroker: 404 passive and not there, 406 not alike
        """
        validators.require_string(exchange, "exchange")
        if "exchange_declare" in self._impl._wrapped:
            return _through.method_frame(
                self,
                "exchange_declare",
                exchange=exchange,
                exchange_type=exchange_type,
                passive=passive,
                durable=durable,
                auto_delete=auto_delete,
                internal=internal,
                arguments=arguments,
            )
        self._check_open()
        if isinstance(exchange_type, Enum):
            exchange_type = exchange_type.value
        return self._call(
            spec.Exchange.Declare(
                0, exchange, exchange_type, passive, durable, auto_delete, internal, False, arguments or {}
            ),
            spec.Exchange.DeclareOk,
        )

    def exchange_delete(
        self, exchange: str | None = None, if_unused: bool = False
    ) -> frame.Method[spec.Exchange.DeleteOk]:
        """Delete an exchange (AMQP Exchange.Delete).

        :param exchange: its name
        :param if_unused: only if nothing is bound to it
        :returns: method frame with spec.Exchange.DeleteOk
        """
        if "exchange_delete" in self._impl._wrapped:
            return _through.method_frame(self, "exchange_delete", exchange=exchange, if_unused=if_unused)
        self._check_open()
        return self._call(spec.Exchange.Delete(0, exchange, if_unused, False), spec.Exchange.DeleteOk)

    def exchange_bind(
        self, destination: str, source: str, routing_key: str = "", arguments: Mapping[str, Any] | None = None
    ) -> frame.Method[spec.Exchange.BindOk]:
        """Bind an exchange to another (RabbitMQ's Exchange.Bind).

        :param destination: the exchange that gets the messages
        :param source: the exchange that they come from
        :param routing_key: which of them
        :param arguments: for a headers exchange
        :returns: method frame with spec.Exchange.BindOk
        """
        validators.require_string(destination, "destination")
        validators.require_string(source, "source")
        if "exchange_bind" in self._impl._wrapped:
            return _through.method_frame(
                self,
                "exchange_bind",
                destination=destination,
                source=source,
                routing_key=routing_key,
                arguments=arguments,
            )
        self._check_open()
        return self._call(
            spec.Exchange.Bind(0, destination, source, routing_key, False, arguments or {}),
            spec.Exchange.BindOk,
        )

    def exchange_unbind(
        self,
        destination: str | None = None,
        source: str | None = None,
        routing_key: str = "",
        arguments: Mapping[str, Any] | None = None,
    ) -> frame.Method[spec.Exchange.UnbindOk]:
        """Undo `exchange_bind` (RabbitMQ's Exchange.Unbind).

        :param destination: the exchange that gets the messages
        :param source: the exchange that they come from
        :param routing_key: as bound
        :param arguments: as bound
        :returns: method frame with spec.Exchange.UnbindOk
        """
        if "exchange_unbind" in self._impl._wrapped:
            return _through.method_frame(
                self,
                "exchange_unbind",
                destination=destination,
                source=source,
                routing_key=routing_key,
                arguments=arguments,
            )
        self._check_open()
        return self._call(
            spec.Exchange.Unbind(0, destination, source, routing_key, False, arguments),
            spec.Exchange.UnbindOk,
        )

    # ---- queues ----

    def queue_declare(
        self,
        queue: str,
        passive: bool = False,
        durable: bool = False,
        exclusive: bool = False,
        auto_delete: bool = False,
        arguments: Mapping[str, Any] | None = None,
    ) -> frame.Method[spec.Queue.DeclareOk]:
        """Make a queue, or make sure that it is there and alike (AMQP Queue.Declare).

        :param queue: its name; '' has the broker make one up, which the answer tells
        :param passive: only ask whether it is there
        :param durable: survives a restart of the broker
        :param exclusive: for this connection only, and gone with it
        :param auto_delete: goes with its last consumer
        :param arguments: further arguments, e.g. x-message-ttl
        :returns: method frame with spec.Queue.DeclareOk
        :raises pika.exceptions.ChannelClosedByBroker: 404 passive and not there, 405 another's, 406 not alike
        """
        validators.require_string(queue, "queue")
        if "queue_declare" in self._impl._wrapped:
            return _through.method_frame(
                self,
                "queue_declare",
                queue=queue,
                passive=passive,
                durable=durable,
                exclusive=exclusive,
                auto_delete=auto_delete,
                arguments=arguments,
            )
        self._check_open()
        return self._call(
            spec.Queue.Declare(0, queue, passive, durable, exclusive, auto_delete, False, arguments or {}),
            spec.Queue.DeclareOk,
        )

    def queue_delete(
        self, queue: str, if_unused: bool = False, if_empty: bool = False
    ) -> frame.Method[spec.Queue.DeleteOk]:
        """Delete a queue (AMQP Queue.Delete).

        :param queue: its name
        :param if_unused: only if it has no consumers
        :param if_empty: only if it has no messages
        :returns: method frame with spec.Queue.DeleteOk
        """
        if "queue_delete" in self._impl._wrapped:
            return _through.method_frame(
                self, "queue_delete", queue=queue, if_unused=if_unused, if_empty=if_empty
            )
        self._check_open()
        validators.require_string(queue, "queue")
        return self._call(spec.Queue.Delete(0, queue, if_unused, if_empty, False), spec.Queue.DeleteOk)

    def queue_purge(self, queue: str) -> frame.Method[spec.Queue.PurgeOk]:
        """Drop the messages of a queue that are not delivered yet (AMQP Queue.Purge).

        :param queue: its name
        :returns: method frame with spec.Queue.PurgeOk
        """
        if "queue_purge" in self._impl._wrapped:
            return _through.method_frame(self, "queue_purge", queue=queue)
        self._check_open()
        validators.require_string(queue, "queue")
        return self._call(spec.Queue.Purge(0, queue, False), spec.Queue.PurgeOk)

    def queue_bind(
        self,
        queue: str,
        exchange: str,
        routing_key: str | None = None,
        arguments: Mapping[str, Any] | None = None,
    ) -> frame.Method[spec.Queue.BindOk]:
        """Bind a queue to an exchange (AMQP Queue.Bind).

        :param queue: its name
        :param exchange: where the messages come from
        :param routing_key: which of them; None: the queue's name
        :param arguments: for a headers exchange
        :returns: method frame with spec.Queue.BindOk
        """
        validators.require_string(queue, "queue")
        validators.require_string(exchange, "exchange")
        if "queue_bind" in self._impl._wrapped:
            return _through.method_frame(
                self,
                "queue_bind",
                queue=queue,
                exchange=exchange,
                routing_key=routing_key,
                arguments=arguments,
            )
        self._check_open()
        if routing_key is None:
            routing_key = queue
        return self._call(
            spec.Queue.Bind(0, queue, exchange, routing_key, False, arguments or {}), spec.Queue.BindOk
        )

    def queue_unbind(
        self,
        queue: str,
        exchange: str,
        routing_key: str | None = None,
        arguments: Mapping[str, Any] | None = None,
    ) -> frame.Method[spec.Queue.UnbindOk]:
        """Undo `queue_bind` (AMQP Queue.Unbind).

        :param queue: its name
        :param exchange: where the messages come from
        :param routing_key: as bound; None: the queue's name
        :param arguments: as bound
        :returns: method frame with spec.Queue.UnbindOk
        """
        if "queue_unbind" in self._impl._wrapped:
            return _through.method_frame(
                self,
                "queue_unbind",
                queue=queue,
                exchange=exchange,
                routing_key=routing_key,
                arguments=arguments,
            )
        self._check_open()
        validators.require_string(queue, "queue")
        if routing_key is None:
            routing_key = queue
        return self._call(
            spec.Queue.Unbind(0, queue, exchange, routing_key, arguments or {}), spec.Queue.UnbindOk
        )

    # ---- transactions ----

    def tx_select(self) -> frame.Method[spec.Tx.SelectOk]:
        """Begin to use transactions on this channel (AMQP Tx.Select).

        :returns: method frame with spec.Tx.SelectOk
        """
        if "tx_select" in self._impl._wrapped:
            return _through.transaction(self, "tx_select")
        self._check_open()
        return self._call(spec.Tx.Select(), spec.Tx.SelectOk)

    def tx_commit(self) -> frame.Method[spec.Tx.CommitOk]:
        """Commit the publishes and acknowledgements since the last commit (AMQP Tx.Commit).

        :returns: method frame with spec.Tx.CommitOk
        """
        if "tx_commit" in self._impl._wrapped:
            return _through.transaction(self, "tx_commit")
        self._check_open()
        return self._call(spec.Tx.Commit(), spec.Tx.CommitOk)

    def tx_rollback(self) -> frame.Method[spec.Tx.RollbackOk]:
        """Undo the publishes and acknowledgements since the last commit (AMQP Tx.Rollback).

        :returns: method frame with spec.Tx.RollbackOk
        """
        if "tx_rollback" in self._impl._wrapped:
            return _through.transaction(self, "tx_rollback")
        self._check_open()
        return self._call(spec.Tx.Rollback(), spec.Tx.RollbackOk)
