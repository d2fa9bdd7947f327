"""The methods of `pika.channel.Channel` of one request and one answer."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Any, Union

from cpika import spec, validators
from cpika.exchange_type import ExchangeType

Answer = Union[Callable[[Any], Any], None]
Arguments = Any  # a mapping, or None


class Requests:
    """Exchanges, queues, bindings, transactions.

    Each takes a `callback`, which gets the frame of the answer. Where there is none, the broker is asked not
    to answer, except where a method says otherwise. Raises ChannelWrongStateError on a channel that is not
    open and TypeError for a callback that is not callable or a name that is no str.
    """

    if TYPE_CHECKING:

        def _raise_if_not_open(self) -> None: ...
        def _rpc(
            self, method: Any, callback: Answer = None, acceptable_replies: list[Any] | None = None
        ) -> None: ...

    def _request(self, method: Any, callback: Answer, reply: Any, nowait: bool = False) -> None:
        self._rpc(method, callback, [] if nowait else [reply])

    def exchange_declare(
        self,
        exchange: str,
        exchange_type: ExchangeType | str = ExchangeType.direct,
        passive: bool = False,
        durable: bool = False,
        auto_delete: bool = False,
        internal: bool = False,
        arguments: Arguments = None,
        callback: Answer = None,
    ) -> None:
        """Declare an exchange (AMQP Exchange.Declare).

        :param exchange: its name
        :param exchange_type: direct, fanout, topic, headers, or a plugin's
        :param passive: only look whether it is there
        :param durable: survives a restart of the broker
        :param auto_delete: goes with its last binding
        :param internal: for bindings only, not for publishing
        :param arguments: for the broker
        :param callback: gets the frame of DeclareOk
        """
        validators.require_string(exchange, "exchange")
        self._raise_if_not_open()
        nowait = validators.rpc_completion_callback(callback)
        kind = exchange_type.value if isinstance(exchange_type, Enum) else exchange_type
        method = spec.Exchange.Declare(
            0, exchange, kind, passive, durable, auto_delete, internal, nowait, arguments or {}
        )
        self._request(method, callback, spec.Exchange.DeclareOk, nowait)

    def exchange_delete(
        self, exchange: str | None = None, if_unused: bool = False, callback: Answer = None
    ) -> None:
        """Delete an exchange (AMQP Exchange.Delete).

        :param exchange: its name
        :param if_unused: only when nothing is bound to it
        :param callback: gets the frame of DeleteOk
        """
        self._raise_if_not_open()
        nowait = validators.rpc_completion_callback(callback)
        method = spec.Exchange.Delete(0, exchange, if_unused, nowait)
        self._request(method, callback, spec.Exchange.DeleteOk, nowait)

    def exchange_bind(
        self,
        destination: str,
        source: str,
        routing_key: str = "",
        arguments: Arguments = None,
        callback: Answer = None,
    ) -> None:
        """Bind an exchange to another (RabbitMQ's Exchange.Bind).

        :param destination: where messages go
        :param source: where they come from
        :param routing_key: which of them
        :param arguments: for the broker
        :param callback: gets the frame of BindOk
        """
        self._raise_if_not_open()
        validators.require_string(destination, "destination")
        validators.require_string(source, "source")
        nowait = validators.rpc_completion_callback(callback)
        method = spec.Exchange.Bind(0, destination, source, routing_key, nowait, arguments or {})
        self._request(method, callback, spec.Exchange.BindOk, nowait)

    def exchange_unbind(
        self,
        destination: str | None = None,
        source: str | None = None,
        routing_key: str = "",
        arguments: Arguments = None,
        callback: Answer = None,
    ) -> None:
        """Take a binding of exchanges away (RabbitMQ's Exchange.Unbind).

        :param destination: where messages went
        :param source: where they came from
        :param routing_key: as it was bound
        :param arguments: as it was bound
        :param callback: gets the frame of UnbindOk
        """
        self._raise_if_not_open()
        nowait = validators.rpc_completion_callback(callback)
        method = spec.Exchange.Unbind(0, destination, source, routing_key, nowait, arguments)
        self._request(method, callback, spec.Exchange.UnbindOk, nowait)

    def queue_declare(
        self,
        queue: str,
        passive: bool = False,
        durable: bool = False,
        exclusive: bool = False,
        auto_delete: bool = False,
        arguments: Arguments = None,
        callback: Answer = None,
    ) -> None:
        """Declare a queue (AMQP Queue.Declare).

        :param queue: its name; "" has the broker give it one
        :param passive: only look whether it is there
        :param durable: survives a restart of the broker
        :param exclusive: this connection's alone, and gone with it
        :param auto_delete: goes with its last consumer
        :param arguments: for the broker
        :param callback: gets the frame of DeclareOk
        """
        validators.require_string(queue, "queue")
        self._raise_if_not_open()
        nowait = validators.rpc_completion_callback(callback)
        reply = (spec.Queue.DeclareOk, {"queue": queue}) if queue else spec.Queue.DeclareOk
        method = spec.Queue.Declare(
            0, queue, passive, durable, exclusive, auto_delete, nowait, arguments or {}
        )
        self._request(method, callback, reply, nowait)

    def queue_delete(
        self, queue: str, if_unused: bool = False, if_empty: bool = False, callback: Answer = None
    ) -> None:
        """Delete a queue (AMQP Queue.Delete).

        :param queue: its name
        :param if_unused: only when it has no consumers
        :param if_empty: only when it has no messages
        :param callback: gets the frame of DeleteOk
        """
        self._raise_if_not_open()
        validators.require_string(queue, "queue")
        nowait = validators.rpc_completion_callback(callback)
        method = spec.Queue.Delete(0, queue, if_unused, if_empty, nowait)
        self._request(method, callback, spec.Queue.DeleteOk, nowait)

    def queue_purge(self, queue: str, callback: Answer = None) -> None:
        """Drop the messages of a queue (AMQP Queue.Purge).

        :param queue: its name
        :param callback: gets the frame of PurgeOk
        """
        self._raise_if_not_open()
        validators.require_string(queue, "queue")
        nowait = validators.rpc_completion_callback(callback)
        self._request(spec.Queue.Purge(0, queue, nowait), callback, spec.Queue.PurgeOk, nowait)

    def queue_bind(
        self,
        queue: str,
        exchange: str,
        routing_key: str | None = None,
        arguments: Arguments = None,
        callback: Answer = None,
    ) -> None:
        """Bind a queue to an exchange (AMQP Queue.Bind).

        :param queue: its name
        :param exchange: where its messages come from
        :param routing_key: which of them; None: those with the queue's name
        :param arguments: for the broker
        :param callback: gets the frame of BindOk
        """
        validators.require_string(queue, "queue")
        validators.require_string(exchange, "exchange")
        self._raise_if_not_open()
        nowait = validators.rpc_completion_callback(callback)
        key = queue if routing_key is None else routing_key
        method = spec.Queue.Bind(0, queue, exchange, key, nowait, arguments or {})
        self._request(method, callback, spec.Queue.BindOk, nowait)

    def queue_unbind(
        self,
        queue: str,
        exchange: str | None = None,
        routing_key: str | None = None,
        arguments: Arguments = None,
        callback: Answer = None,
    ) -> None:
        """Take a binding of a queue away (AMQP Queue.Unbind); the answer is awaited in any case.

        :param queue: its name
        :param exchange: where its messages came from
        :param routing_key: as it was bound; None: the queue's name
        :param arguments: as it was bound
        :param callback: gets the frame of UnbindOk
        """
        self._raise_if_not_open()
        validators.require_string(queue, "queue")
        validators.rpc_completion_callback(callback)
        key = queue if routing_key is None else routing_key
        method = spec.Queue.Unbind(0, queue, exchange, key, arguments or {})
        self._request(method, callback, spec.Queue.UnbindOk)

    def basic_qos(
        self,
        prefetch_size: int = 0,
        prefetch_count: int = 0,
        global_qos: bool = False,
        callback: Answer = None,
    ) -> None:
        """Limit the unacknowledged messages (AMQP Basic.Qos); the answer is awaited in any case.

        :param prefetch_size: bytes; RabbitMQ takes 0 only
        :param prefetch_count: messages, 0 for no limit
        :param global_qos: of the channel together, not of each consumer
        :param callback: gets the frame of QosOk
        :raises ValueError: a number below zero
        """
        self._raise_if_not_open()
        validators.rpc_completion_callback(callback)
        validators.zero_or_greater("prefetch_size", prefetch_size)
        validators.zero_or_greater("prefetch_count", prefetch_count)
        method = spec.Basic.Qos(prefetch_size, prefetch_count, global_qos)
        self._request(method, callback, spec.Basic.QosOk)

    def basic_recover(self, requeue: bool = False, callback: Answer = None) -> None:
        """Have unacknowledged messages delivered again (AMQP Basic.Recover); the answer is awaited.

        :param requeue: back to the queue, for any consumer; RabbitMQ takes True only
        :param callback: gets the frame of RecoverOk
        """
        self._raise_if_not_open()
        validators.rpc_completion_callback(callback)
        self._request(spec.Basic.Recover(requeue), callback, spec.Basic.RecoverOk)

    def tx_select(self, callback: Answer = None) -> None:
        """Begin to use transactions on the channel (AMQP Tx.Select); the answer is awaited in any case.

        :param callback: gets the frame of SelectOk
        """
        self._raise_if_not_open()
        validators.rpc_completion_callback(callback)
        self._request(spec.Tx.Select(), callback, spec.Tx.SelectOk)

    def tx_commit(self, callback: Answer = None) -> None:
        """Commit the transaction (AMQP Tx.Commit); the answer is awaited in any case.

        :param callback: gets the frame of CommitOk
        """
        self._raise_if_not_open()
        validators.rpc_completion_callback(callback)
        self._request(spec.Tx.Commit(), callback, spec.Tx.CommitOk)

    def tx_rollback(self, callback: Answer = None) -> None:
        """Roll the transaction back (AMQP Tx.Rollback); the answer is awaited in any case.

        :param callback: gets the frame of RollbackOk
        """
        self._raise_if_not_open()
        validators.rpc_completion_callback(callback)
        self._request(spec.Tx.Rollback(), callback, spec.Tx.RollbackOk)
