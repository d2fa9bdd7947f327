"""The connection under pika's asynchronous adapters: handshake, channels, and how it ends, by callbacks."""

from __future__ import annotations

import abc
import functools
import logging
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, cast

from cpika import _handshake, _wrappers, exceptions, heartbeat, spec, validators
from cpika import callback as _callback
from cpika import channel as public
from cpika._async.channel import Channel
from cpika._async.engine import LoopEngine
from cpika._async.output import Output
from cpika._loggable import loggable
from cpika.compat import AbstractBase
from cpika.connection import ConnectionParameters, Parameters, copy_parameters

LOGGER = logging.getLogger("pika.connection")


class Connection(Output, AbstractBase):
    """One AMQP connection on an event loop; adapters derive from it and bring the loop.

    A subclass supplies the `_adapter_...` methods, and calls `_on_stream_connected`, `_on_data_available` and
    `_on_stream_terminated`.

    :param parameters: how to connect; None for the defaults. They are copied
    :param on_open_callback: called with the connection when it is open
    :param on_open_error_callback: called with the connection and an exception when it could not be opened;
        without it the exception is raised in the loop
    :param on_close_callback: called with the connection and an exception when an open one has ended
    :param internal_connection_workflow: connect by itself; False: a connector brings the stream
    """

    ON_CONNECTION_CLOSED = "_on_connection_closed"
    ON_CONNECTION_ERROR = "_on_connection_error"
    ON_CONNECTION_OPEN_OK = "_on_connection_open_ok"

    def __init__(
        self,
        parameters: Parameters | None = None,
        on_open_callback: Callable[[Connection], Any] | None = None,
        on_open_error_callback: Callable[[Connection, Exception], Any] | None = None,
        on_close_callback: Callable[[Connection, Exception], Any] | None = None,
        internal_connection_workflow: bool = True,
    ) -> None:
        self.connection_state = self.CONNECTION_CLOSED
        self._opened = False
        self._error: BaseException | None = None
        self._blocked_conn_timer: Any = None
        self._heartbeat_checker: heartbeat.HeartbeatChecker | None = None
        self._engine: LoopEngine | None = None
        self.params = ConnectionParameters() if parameters is None else copy_parameters(parameters)
        self._internal_connection_workflow = internal_connection_workflow
        self.callbacks = _callback.CallbackManager()
        self.server_capabilities: dict[str, Any] | None = None
        self.server_properties: dict[Any, Any] | None = None
        self.known_hosts: str | None = None
        self._channels: dict[int, Channel] = {}
        self._init_connection_state()
        self.callbacks.add(
            0, self.ON_CONNECTION_ERROR, on_open_error_callback or self._default_on_connection_error, False
        )
        if on_open_callback:
            self.add_on_open_callback(on_open_callback)
        if on_close_callback:
            self.add_on_close_callback(on_close_callback)
        self._set_connection_state(self.CONNECTION_INIT)
        if self._internal_connection_workflow:
            self._adapter_connect_stream()

    def _init_connection_state(self) -> None:
        self._set_connection_state(self.CONNECTION_CLOSED)
        self.server_properties = None
        self._channels = {}
        self._engine = None
        self._heartbeat_checker = None
        self._error = None
        self.callbacks.add(0, spec.Connection.Start, self._on_connection_start)
        self.callbacks.add(0, spec.Connection.Close, self._on_connection_close_from_broker)
        if self.params.blocked_connection_timeout is not None:
            if self._blocked_conn_timer is not None:
                self._adapter_remove_timeout(self._blocked_conn_timer)
                self._blocked_conn_timer = None
            self.add_on_connection_blocked_callback(self._on_connection_blocked)
            self.add_on_connection_unblocked_callback(self._on_connection_unblocked)

    # ---- callbacks ----

    def add_on_close_callback(self, callback: Callable[[Connection, Exception], Any]) -> None:
        """Have `callback(connection, exception)` called when the open connection has ended.

        :raises TypeError: `callback` is not callable
        """
        validators.require_callback(callback)
        self.callbacks.add(0, self.ON_CONNECTION_CLOSED, callback, False)

    def add_on_connection_blocked_callback(self, callback: Callable[[Connection, Any], Any]) -> None:
        """Have `callback(connection, frame)` called when the broker stops taking publishes.

        :raises TypeError: `callback` is not callable
        """
        validators.require_callback(callback)
        self.callbacks.add(0, spec.Connection.Blocked, functools.partial(callback, self), one_shot=False)

    def add_on_connection_unblocked_callback(self, callback: Callable[[Connection, Any], Any]) -> None:
        """Have `callback(connection, frame)` called when the broker takes publishes again.

        :raises TypeError: `callback` is not callable
        """
        validators.require_callback(callback)
        self.callbacks.add(0, spec.Connection.Unblocked, functools.partial(callback, self), one_shot=False)

    def add_on_open_callback(self, callback: Callable[[Connection], Any]) -> None:
        """Have `callback(connection)` called when the connection is open.

        :raises TypeError: `callback` is not callable
        """
        validators.require_callback(callback)
        self.callbacks.add(0, self.ON_CONNECTION_OPEN_OK, callback, False)

    def add_on_open_error_callback(
        self, callback: Callable[[Connection, Exception], Any], remove_default: bool = True
    ) -> None:
        """Have `callback(connection, exception)` called when the connection cannot be opened.

        :param remove_default: do not raise the exception in the loop
        :raises TypeError: `callback` is not callable
        """
        validators.require_callback(callback)
        if remove_default:
            self.callbacks.remove(0, self.ON_CONNECTION_ERROR, self._default_on_connection_error)
        self.callbacks.add(0, self.ON_CONNECTION_ERROR, callback, False)

    def remove_on_close_callback(self, callback: Callable[[Connection, BaseException], Any]) -> bool:
        """Forget a callback of `add_on_close_callback`; return whether there was one."""
        return self.callbacks.remove_matching(
            0, self.ON_CONNECTION_CLOSED, lambda kept: bool(kept == callback)
        )

    def remove_on_connection_blocked_callback(self, callback: Callable[[Connection, Any], Any]) -> bool:
        """Forget a callback of `add_on_connection_blocked_callback`; return whether there was one."""
        return self.callbacks.remove_matching(0, spec.Connection.Blocked, self._is_bound(callback))

    def remove_on_connection_unblocked_callback(self, callback: Callable[[Connection, Any], Any]) -> bool:
        """Forget a callback of `add_on_connection_unblocked_callback`; return whether there was one."""
        return self.callbacks.remove_matching(0, spec.Connection.Unblocked, self._is_bound(callback))

    def remove_on_open_callback(self, callback: Callable[[Connection], Any]) -> bool:
        """Forget a callback of `add_on_open_callback`; return whether there was one."""
        return self.callbacks.remove_matching(
            0, self.ON_CONNECTION_OPEN_OK, lambda kept: bool(kept == callback)
        )

    def remove_on_open_error_callback(self, callback: Callable[[Connection, BaseException], Any]) -> bool:
        """Forget a callback of `add_on_open_error_callback`; return whether there was one."""
        return self.callbacks.remove_matching(
            0, self.ON_CONNECTION_ERROR, lambda kept: bool(kept == callback)
        )

    def _is_bound(self, callback: Callable[..., Any]) -> Callable[[Any], bool]:
        """Return what knows a callback that was added with this connection as its first argument."""

        def matches(kept: Any) -> bool:
            return isinstance(kept, functools.partial) and (kept.func, kept.args) == (callback, (self,))

        return matches

    # ---- what users call ----

    def channel(
        self,
        channel_number: int | None = None,
        on_open_callback: Callable[[public.Channel], Any] | None = None,
    ) -> public.Channel:
        """Return a new channel, which is being opened (AMQP Channel.Open).

        :param channel_number: 1 to 65535; None for the lowest that is free
        :param on_open_callback: called with the channel when it is open
        :raises pika.exceptions.ConnectionWrongStateError: the connection is not open
        :raises pika.exceptions.NoFreeChannels: all numbers are taken
        :raises TypeError: `on_open_callback` is neither callable nor None
        """
        owner: Any = self
        if not isinstance(owner, Connection):  # what stands behind a BlockingConnection: tracers wrap it here
            made: public.Channel = owner._open_channel(channel_number, on_open_callback)
            return made
        if not self.is_open:
            raise exceptions.ConnectionWrongStateError(
                f"Channel allocation requires an open connection: {self}"
            )
        validators.rpc_completion_callback(on_open_callback)
        channel = self._add_channel(channel_number, on_open_callback)
        channel._add_on_cleanup_callback(self._on_channel_cleanup)
        channel.open()
        return cast("public.Channel", channel)

    def update_secret(
        self, new_secret: str | bytes, reason: str | bytes, callback: Callable[[Any], Any] | None = None
    ) -> None:
        """Give the broker a new secret (AMQP Connection.UpdateSecret).

        :param callback: called with the frame of UpdateSecretOk
        :raises pika.exceptions.ConnectionWrongStateError: the connection is not open
        :raises TypeError: `callback` is neither callable nor None
        """
        if not self.is_open:
            raise exceptions.ConnectionWrongStateError(f"Secret update requires an open connection: {self}")
        validators.rpc_completion_callback(callback)
        self._rpc(
            0, spec.Connection.UpdateSecret(new_secret, reason), callback, [spec.Connection.UpdateSecretOk]
        )

    def close(self, reply_code: int = 200, reply_text: str = "Normal shutdown") -> None:
        """Close the connection and its channels (AMQP Connection.Close); on_close tells when that is done.

        :raises pika.exceptions.ConnectionWrongStateError: it is closed or being closed
        """
        if self.is_closing or self.is_closed:
            message = (
                f"Illegal close({reply_code}, {reply_text!r}) request on {self} because it was called while "
                f"connection state={self._STATE_NAMES[self.connection_state]}."
            )
            LOGGER.error(message)
            raise exceptions.ConnectionWrongStateError(message)
        if self._opened:
            spec.Connection.Close(reply_code, reply_text, 0, 0).encode()  # a bad argument is the caller's
        for channel in list(self._channels.values()):
            if not (channel.is_closing or channel.is_closed):
                channel.close(reply_code, reply_text)
        before = self.connection_state
        self._set_connection_state(self.CONNECTION_CLOSING)
        LOGGER.info("Closing connection (%s): %r", reply_code, reply_text)
        if not self._opened:
            self._terminate_stream(
                exceptions.ConnectionOpenAborted(
                    "Connection.close() called before connection finished opening: "
                    f"prev_state={self._STATE_NAMES[before]} ({reply_code}): {reply_text!r}"
                )
            )
            return
        self._error = exceptions.ConnectionClosedByClient(reply_code, reply_text)
        if not self._channels:
            self._on_close_ready()
        else:
            LOGGER.info("Connection.close is waiting for %d channels to close: %s", len(self._channels), self)

    @property
    def is_closed(self) -> bool:
        """True before the start and when the connection has ended."""
        return self.connection_state == self.CONNECTION_CLOSED

    @property
    def is_closing(self) -> bool:
        """True from `close()` to the end."""
        return self.connection_state == self.CONNECTION_CLOSING

    @property
    def is_open(self) -> bool:
        """True while the connection may be used."""
        return self.connection_state == self.CONNECTION_OPEN

    @property
    def basic_nack(self) -> bool:
        """Whether the broker takes Basic.Nack."""
        return self._can("basic.nack")

    @property
    def consumer_cancel_notify(self) -> bool:
        """Whether the broker tells of consumers that it cancels."""
        return self._can("consumer_cancel_notify")

    @property
    def exchange_exchange_bindings(self) -> bool:
        """Whether the broker binds exchanges to exchanges."""
        return self._can("exchange_exchange_bindings")

    @property
    def publisher_confirms(self) -> bool:
        """Whether the broker confirms publishes."""
        return self._can("publisher_confirms")

    def _can(self, name: str) -> bool:
        capabilities: Any = (
            self.server_capabilities
        )  # None before the broker has told: AttributeError, as in pika
        return bool(capabilities.get(name, False))

    # ---- what an adapter supplies ----

    @abc.abstractmethod
    def _adapter_call_later(self, delay: float, callback: Callable[[], Any]) -> Any:
        """Call `callback()` after `delay` seconds; returns what `_adapter_remove_timeout` takes."""

    @abc.abstractmethod
    def _adapter_remove_timeout(self, timeout_id: Any) -> None:
        """Forget a timer."""

    @abc.abstractmethod
    def _adapter_add_callback_threadsafe(self, callback: Callable[[], Any]) -> None:
        """Call `callback()` in the loop's thread, soon."""

    @abc.abstractmethod
    def _adapter_connect_stream(self) -> None:
        """Begin to connect; at the end there is `_on_stream_connected` or `_on_stream_terminated`."""

    @abc.abstractmethod
    def _adapter_disconnect_stream(self) -> None:
        """Abort the stream; at the end there is `_on_stream_terminated`."""

    @abc.abstractmethod
    def _adapter_emit_data(self, data: bytes) -> None:
        """Send bytes behind those before."""

    # ---- channels ----

    def _add_channel(self, wanted: int | None, on_open_callback: Callable[[Any], Any] | None) -> Channel:
        if wanted:
            channel = self._channels[wanted] = self._create_channel(wanted, on_open_callback)
            return channel
        while True:
            number = self._next_channel_number()
            channel = self._create_channel(number, on_open_callback)
            # Another one is there if a signal's handler, or a finalizer, has opened it meanwhile.
            if self._channels.setdefault(number, channel) is channel:
                return channel

    def _create_channel(self, channel_number: int, on_open_callback: Callable[[Any], Any] | None) -> Channel:
        channel = Channel(self, channel_number, on_open_callback)
        if public.Channel._found:
            _wrappers.wrap_loop_channel(channel, public.Channel)
        return channel

    def _next_channel_number(self) -> int:
        limit = self.params.channel_max or 65535
        if len(self._channels) >= limit:
            raise exceptions.NoFreeChannels(host=self.params.host, port=self.params.port)
        engine = self._engine
        crossed = 0
        for number in range(1, limit + 1):
            if number not in self._channels:
                if engine is None or not engine._is_crossed(number):
                    return number
                crossed = crossed or number
        return crossed  # better than none: its last channel's Close-Ok leaves before

    def _on_channel_cleanup(self, channel: Channel) -> None:
        """A channel has ended."""
        if self._channels.get(channel.channel_number) is channel:
            del self._channels[channel.channel_number]
        if self.is_closing and not self._channels:
            self._on_close_ready()

    def _on_close_ready(self) -> None:
        """All channels are closed: the connection's own turn has come."""
        if self.is_closed:
            return
        error = self._error
        assert isinstance(error, exceptions.ConnectionClosed)
        self._rpc(
            0,
            spec.Connection.Close(error.reply_code, error.reply_text, 0, 0),
            self._on_connection_close_ok,
            [spec.Connection.CloseOk],
        )

    # ---- the handshake ----

    def _on_stream_connected(self) -> None:
        """The stream is there: say hello."""
        self._set_connection_state(self.CONNECTION_PROTOCOL)
        if self._engine is None:
            self._drive_by_hand()
        assert self._engine is not None
        self._engine._loop_write(_handshake.PROTOCOL_HEADER)

    def _on_connection_start(self, method_frame: Any) -> None:
        self._set_connection_state(self.CONNECTION_START)
        try:
            start = method_frame.method
            self.server_properties = start.server_properties
            self.server_capabilities = _handshake.capabilities(start)
            self.callbacks.add(0, spec.Connection.Tune, self._on_connection_tune)
            self._send_method(0, _handshake.start_ok(self.params, start))
        except Exception as error:
            LOGGER.exception("Error processing Connection.Start.")
            self._terminate_stream(error)

    def _on_connection_tune(self, method_frame: Any) -> None:
        self._set_connection_state(self.CONNECTION_TUNE)
        params = self.params
        frame_max, timeout = _handshake.settle_limits(self, params, method_frame.method)
        engine = self._engine
        assert engine is not None
        engine._tune(frame_max, timeout, None)
        if timeout:
            self._heartbeat_checker = heartbeat.HeartbeatChecker(self, timeout)
            engine.keep(self._wake)
        self._send_method(0, spec.Connection.TuneOk(params.channel_max, frame_max, timeout))
        self._rpc(
            0,
            spec.Connection.Open(params.virtual_host, insist=True),
            self._on_connection_open_ok,
            [spec.Connection.OpenOk],
        )

    def _on_connection_open_ok(self, method_frame: Any) -> None:
        self._opened = True
        self.known_hosts = method_frame.method.known_hosts
        self._set_connection_state(self.CONNECTION_OPEN)
        self.callbacks.process(0, self.ON_CONNECTION_OPEN_OK, self, self)

    @staticmethod
    def _default_on_connection_error(_connection: Connection, error: BaseException) -> NoReturn:
        raise error

    # ---- what comes ----

    def _on_method_frame(self, channel: Channel | None, method_frame: Any) -> None:
        """A method without content has come; called by the core."""
        key = method_frame.method.NAME
        if self.callbacks.process(str(method_frame.channel_number), key, self, method_frame):
            return
        if channel is not None:
            channel._on_unexpected_frame(method_frame)
        else:
            LOGGER.debug("Discarding frame %r", loggable(method_frame))

    def _on_connection_blocked(self, _connection: Connection, method_frame: Any) -> None:
        LOGGER.warning("Received %s from broker", method_frame)
        if self._blocked_conn_timer is None:
            timeout = self.params.blocked_connection_timeout
            assert timeout is not None
            self._blocked_conn_timer = self._adapter_call_later(timeout, self._on_blocked_connection_timeout)
        else:
            LOGGER.warning("The connection is blocked already, since %s", self._blocked_conn_timer)

    def _on_connection_unblocked(self, _connection: Connection, method_frame: Any) -> None:
        LOGGER.info("Received %s from broker", method_frame)
        if self._blocked_conn_timer is None:
            LOGGER.warning("The connection was not blocked")
        else:
            self._adapter_remove_timeout(self._blocked_conn_timer)
            self._blocked_conn_timer = None

    def _on_blocked_connection_timeout(self) -> None:
        self._blocked_conn_timer = None
        self._terminate_stream(exceptions.ConnectionBlockedTimeout("Blocked connection timeout expired."))

    # ---- the end ----

    def _on_connection_close_from_broker(self, method_frame: Any) -> None:
        close = method_frame.method
        self._send_method(0, spec.Connection.CloseOk())
        self._flush_now()
        self._terminate_stream(exceptions.ConnectionClosedByBroker(close.reply_code, close.reply_text))

    def _on_connection_close_ok(self, method_frame: Any) -> None:
        self._terminate_stream(None)

    def _terminate_stream(self, error: BaseException | None) -> None:
        """Abort the stream for this reason; None: it is known already."""
        if error is not None:
            self._error = error
        self._remove_heartbeat()
        self._adapter_disconnect_stream()

    def _remove_heartbeat(self) -> None:
        if self._heartbeat_checker is not None:
            self._heartbeat_checker.stop()
            self._heartbeat_checker = None

    def _on_stream_terminated(self, error: BaseException | None) -> None:
        """The stream is gone: channels are told, then the connection's own callbacks.

        :param error: why; None: it was aborted here, for the reason that is known
        """
        LOGGER.info(
            "AMQP stack terminated, failed to connect, or aborted: opened=%r, error-arg=%r; pending-error=%r",
            self._opened,
            error,
            self._error,
        )
        if error is not None:
            self._error = error
        assert self._error is not None, "the reason of the end is missing"
        self._remove_heartbeat()
        self.callbacks.remove("0", spec.Connection.Close)
        self.callbacks.remove("0", spec.Connection.Start)
        if self.params.blocked_connection_timeout is not None:
            self.callbacks.remove("0", spec.Connection.Blocked)
            self.callbacks.remove("0", spec.Connection.Unblocked)
        self._name_refusal()
        if isinstance(self._error, exceptions.AMQPConnectionError):
            self._error._name_peer(self.params.host, self.params.port)
        self._set_connection_state(self.CONNECTION_CLOSED)
        try:
            self._tell_all_of_the_end()
        finally:
            if self._engine is not None:
                self._engine._loop_stop()
            self._init_connection_state()

    def _tell_all_of_the_end(self) -> None:
        """Call everybody's callbacks; then what one of them has raised leaves."""
        raised: BaseException | None = None
        for channel in list(self._channels.values()):
            if self._channels.get(channel.channel_number) is channel:
                try:
                    channel._on_close_meta(self._error)
                except BaseException as error:
                    raised = _callback.to_leave(raised, error)
        LOGGER.info(
            "%s due to %r", "Stack terminated" if self._opened else "Connection setup terminated", self._error
        )
        key = self.ON_CONNECTION_CLOSED if self._opened else self.ON_CONNECTION_ERROR
        try:
            self.callbacks.process(0, key, self, self, self._error)
        except BaseException as error:
            raised = _callback.to_leave(raised, error)
        if raised is not None:
            try:
                raise raised
            finally:
                del raised  # its traceback has this frame

    def _name_refusal(self) -> None:
        """Before the connection was open: the step at which the broker hung up names the error."""
        lost = isinstance(self._error, (exceptions.StreamLostError, exceptions.ConnectionClosedByBroker))
        if self._opened or not lost or self.connection_state not in _handshake.REFUSED_AT:
            return
        kind, meaning = _handshake.REFUSED_AT[self.connection_state]
        LOGGER.error(meaning)
        refusal = kind(repr(self._error))
        refusal.__cause__ = self._error
        self._error = refusal

    # ---- requests ----

    def _rpc(
        self,
        channel_number: int,
        method: Any,
        callback: Callable[[Any], Any] | None = None,
        acceptable_replies: Sequence[type[Any]] | None = None,
    ) -> None:
        """Send a method; `callback` gets the frame of the answer."""
        if callback is not None:
            validators.require_callback(callback)
            for reply in acceptable_replies or ():
                self.callbacks.add(channel_number, reply, callback)
        self._send_method(channel_number, method)

    def _set_connection_state(self, connection_state: int) -> None:
        self.connection_state = connection_state
        engine = self._engine
        if engine is not None and connection_state > self.CONNECTION_INIT and engine.connection_state:
            engine.connection_state = connection_state


_wrappers.serve_loops(Connection, Channel, public.Channel)
