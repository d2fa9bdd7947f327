"""The adapter for Twisted: a protocol, and channels whose methods return Deferreds."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from twisted.internet import defer, protocol
from twisted.internet import error as twisted_error
from twisted.python.failure import Failure

from cpika import _home, connection, exceptions
from cpika import spec as spec  # the hints of ReceivedMessage name it
from cpika.adapters._twisted_channel import ClosableDeferredQueue as ClosableDeferredQueue
from cpika.adapters._twisted_channel import ReceivedMessage as ReceivedMessage
from cpika.adapters._twisted_channel import TwistedChannel as TwistedChannel
from cpika.adapters.utils import nbio_interface
from cpika.adapters.utils.io_services_utils import check_callback_arg

LOGGER = logging.getLogger("pika.adapters.twisted_connection")

FAREWELL_S = 5.0  # how long a peer that was found dead may take to let the stream end in good order

_home.at_home(__name__, ClosableDeferredQueue, ReceivedMessage, TwistedChannel)


class _TwistedConnectionAdapter(connection.Connection):
    """The connection behind the protocol: Twisted's transport moves its bytes.

    :param parameters: how to connect; None for the defaults
    :param on_open_callback: called with this connection when it is open
    :param on_open_error_callback: called with it and an exception when it could not be opened
    :param on_close_callback: called with it and an exception when it has ended
    :param custom_reactor: None for the global one
    """

    def __init__(
        self,
        parameters: connection.Parameters | None,
        on_open_callback: Callable[[Any], Any] | None,
        on_open_error_callback: Callable[[Any, Exception], Any] | None,
        on_close_callback: Callable[[Any, Exception], Any] | None,
        custom_reactor: Any = None,
    ) -> None:
        super().__init__(
            parameters,
            on_open_callback,
            on_open_error_callback,
            on_close_callback,
            internal_connection_workflow=False,
        )
        if custom_reactor is None:
            from twisted.internet import reactor as custom_reactor
        self._reactor: Any = custom_reactor
        self._transport: Any = None
        self._abort_timer: Any = None  # of the reactor, while the stream ends

    def _adapter_call_later(self, delay: float, callback: Callable[[], Any]) -> Any:
        check_callback_arg(callback, "callback")
        return _TimerHandle(self._reactor.callLater(delay, callback))

    def _adapter_remove_timeout(self, timeout_id: Any) -> None:
        timeout_id.cancel()

    def _adapter_add_callback_threadsafe(self, callback: Callable[[], Any]) -> None:
        check_callback_arg(callback, "callback")
        self._reactor.callFromThread(callback)

    def _adapter_connect_stream(self) -> None:
        raise NotImplementedError("Twisted connects")

    def _adapter_disconnect_stream(self) -> None:
        self._emit()
        if self._transport is not None:
            self._transport.loseConnection()
        # Twisted waits for the peer to take what is unsent, and over TLS for its farewell. One that was found
        # dead gives neither, and nothing else would end the connection any more.
        found_dead = isinstance(
            self._error, (exceptions.AMQPHeartbeatTimeout, exceptions.ConnectionBlockedTimeout)
        )
        if found_dead and hasattr(self._transport, "abortConnection") and self._abort_timer is None:
            self._abort_timer = self._reactor.callLater(FAREWELL_S, self._abort)

    def _abort(self) -> None:
        self._abort_timer = None
        if self._transport is not None:
            LOGGER.warning("The peer did not let the stream end within %s s", FAREWELL_S)
            self._transport.abortConnection()

    def _adapter_emit_data(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def connection_made(self, transport: Any) -> None:
        """Twisted has connected."""
        self._transport = transport
        if self.is_closing:  # `close()` came before the transport: nothing is said to the broker
            transport.loseConnection()
            return
        self._on_stream_connected()
        self._emit()

    def connection_lost(self, error: Any) -> None:
        """Twisted's connection has ended.

        :param error: a Failure
        """
        self._transport = None
        timer, self._abort_timer = self._abort_timer, None
        if timer is not None:
            timer.cancel()
        reason: BaseException | None = error.value
        if reason is not None and self._error is not None and reason.__cause__ is None:
            # As in pika, Twisted's word is what programs get; ours is its cause. Over TLS that word is seldom
            # ConnectionDone: brokers close the socket without a word of TLS's.
            if isinstance(reason, twisted_error.ConnectionClosed):
                reason = copy.copy(reason)  # Twisted has one object of each for all connections
            reason.__cause__ = self._error
        if isinstance(reason, twisted_error.ConnectionDone):
            self._error = reason
            reason = None
        LOGGER.log(logging.DEBUG if reason is None else logging.ERROR, "connection_lost: %r", reason)
        self._on_stream_terminated(reason)

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        self._on_data_available(data)


class TwistedProtocolConnection(protocol.Protocol):
    """A connection as a Twisted protocol: the reactor connects it, with TLS or without.

    `ready` is a Deferred that fires with this object once the connection is open; then `closed` is one that
    fires with an exception when it has ended.

    :param parameters: credentials, virtual host and the like; host, port and TLS are Twisted's
    :param custom_reactor: None for the global one
    """

    def __init__(self, parameters: connection.Parameters | None = None, custom_reactor: Any = None) -> None:
        self.ready: defer.Deferred[Any] | None = defer.Deferred()
        self.ready.addCallback(lambda _: self.connectionReady())
        self.closed: defer.Deferred[Any] | None = None
        self._impl = _TwistedConnectionAdapter(
            parameters,
            self._on_connection_ready,
            self._on_connection_failed,
            self._on_connection_closed,
            custom_reactor,
        )
        self._calls: dict[defer.Deferred[Any], None] = {}  # channels that are being opened, in order

    def channel(self, channel_number: int | None = None) -> defer.Deferred[Any]:
        """Return a Deferred that fires with a new `TwistedChannel` (AMQP Channel.Open).

        :param channel_number: 1 to 65535; None for the lowest that is free
        :raises pika.exceptions.ConnectionWrongStateError: the connection is not open
        """
        opened: defer.Deferred[Any] = defer.Deferred()

        def on_open(channel: Any) -> None:
            self._calls.pop(opened, None)  # also where the caller has cancelled: it can fire no more
            opened.callback(channel)

        self._impl.channel(channel_number, on_open)
        self._calls[opened] = None
        return opened.addCallback(TwistedChannel)

    @property
    def is_open(self) -> bool:
        """True while the connection may be used."""
        return self._impl.is_open

    @property
    def is_closed(self) -> bool:
        """True when the connection has ended."""
        return self._impl.is_closed

    def close(self, reply_code: int = 200, reply_text: str = "Normal shutdown") -> defer.Deferred[Any] | None:
        """Close the connection (AMQP Connection.Close).

        :returns: `closed`
        :raises pika.exceptions.ConnectionWrongStateError: it is being closed
        """
        if not self._impl.is_closed:
            self._impl.close(reply_code, reply_text)
        return self.closed

    # ---- Twisted's names ----

    def dataReceived(self, data: bytes) -> None:
        """Bytes have come."""
        self._impl.data_received(data)

    def connectionLost(self, reason: Failure | BaseException = protocol.connectionDone) -> None:
        """The transport's connection has ended."""
        self._impl.connection_lost(reason)
        ready, self.ready = self.ready, None
        if ready is not None:
            ready.errback(reason)

    def makeConnection(self, transport: Any) -> None:
        """The transport is there."""
        self._impl.connection_made(transport)
        protocol.Protocol.makeConnection(self, transport)  # type: ignore[no-untyped-call]

    # ---- our own ----

    def connectionReady(
        self,
    ) -> TwistedProtocolConnection | defer.Deferred[TwistedProtocolConnection]:
        """The connection is open: what this returns, also by a Deferred, is what `ready` fires with."""
        return self

    def _on_connection_ready(self, _connection: Any) -> None:
        ready, self.ready = self.ready, None
        if ready is not None:
            self.closed = defer.Deferred()
            ready.callback(None)

    def _on_connection_failed(self, _connection: Any, error: BaseException | None = None) -> None:
        ready, self.ready = self.ready, None
        if ready is not None:
            refusal = exceptions.AMQPConnectionError(self._impl.params.connection_attempts)
            refusal.__cause__ = error
            ready.errback(refusal)

    def _on_connection_closed(self, _connection: Any, error: Any) -> None:
        reason = error.value if isinstance(error, Failure) else error
        calls, self._calls = self._calls, {}
        for call in calls:
            call.errback(reason)
        closed, self.closed = self.closed, None
        if closed is not None:
            closed.callback(reason)


class _TimerHandle(nbio_interface.AbstractTimerReference):
    """A timer of the reactor."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    def cancel(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            with suppress(twisted_error.AlreadyCalled, twisted_error.AlreadyCancelled):
                handle.cancel()
