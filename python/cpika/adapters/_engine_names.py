"""Names of the connection under a `BlockingConnection` that few programs use: `_impl.ioloop` and others.

In pika it is a `SelectConnection`.  Everything here is made when it is asked for.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast
from weakref import ref

from cpika import _core, exceptions, validators
from cpika.adapters.utils import _forked
from cpika.callback import CallbackManager
from cpika.channel import MAX_CHANNELS, Channel
from cpika.spec import Basic

if TYPE_CHECKING:
    from weakref import ref

    from cpika.adapters._engine import Engine
    from cpika.adapters.blocking_connection import BlockingConnection
    from cpika.connection import Parameters

_POLL_S = 5.0  # how long pika's loop waits at most


class _Callbacks(CallbackManager):
    """The callbacks of a connection and its channels; those for confirms make the core tell of confirms."""

    def __init__(self, engine: EngineNames) -> None:
        super().__init__()
        self._engine = engine

    def add(self, prefix: Any, key: Any, *args: Any, **kwargs: Any) -> tuple[str, str]:
        """Add a callback, see `CallbackManager.add`."""
        if key in (Basic.Ack, Basic.Nack) and isinstance(prefix, int):
            channel = self._engine._open_channels.get(prefix)
            if channel is not None:
                channel._tells_verdicts = True
        return super().add(prefix, key, *args, **kwargs)


class _Loop:
    """`_impl.ioloop`: timers and callbacks are those of the `BlockingConnection`, run when it dispatches."""

    def __init__(self, engine: EngineNames) -> None:
        self._engine = engine

    def call_later(self, delay: float, callback: Callable[[], Any]) -> object:
        """See `BlockingConnection.call_later`."""
        return self._engine._owner_now().call_later(delay, callback)

    def remove_timeout(self, timeout_handle: object) -> None:
        """See `BlockingConnection.remove_timeout`."""
        self._engine._owner_now().remove_timeout(timeout_handle)

    def add_callback_threadsafe(self, callback: Callable[[], Any]) -> None:
        """See `BlockingConnection.add_callback_threadsafe`."""
        self._engine._owner_now().add_callback_threadsafe(callback)

    add_callback = add_callback_threadsafe

    def poll(self) -> None:
        """Do input and output until something has come, for at most five seconds."""
        self._engine._await_frame(_POLL_S)

    def process_timeouts(self) -> None:
        """Run the timers that are due, unless further up in the stack somebody dispatches."""
        if not self._engine._is_dispatching():
            self._engine._owner_now()._run_due()


class _HeartbeatChecker:
    """`_impl._heartbeat_checker`: the numbers of the heartbeats, which the core sends and checks."""

    def __init__(self, engine: EngineNames, timeout: int) -> None:
        self._connection = engine
        self._timeout = timeout
        self._send_interval = timeout / 2
        self._check_interval = timeout + 5

    @property
    def bytes_received_on_connection(self) -> int:
        """Bytes read from the broker."""
        return self._connection.bytes_received

    @property
    def _heartbeat_frames_sent(self) -> int:
        return self._connection._heartbeats_sent

    def stop(self) -> None:
        """Send no heartbeats any more, and await none."""
        params = self._connection.params
        self._connection._tune(params.frame_max, 0, params.blocked_connection_timeout)


class _Transport:
    """`_impl._transport`: the way to the socket."""

    def __init__(self, engine: EngineNames, sock: socket.socket | None) -> None:
        self._engine = engine
        self._given = sock
        self._copy: socket.socket | None = None

    @property
    def _sock(self) -> socket.socket:
        """The socket; of a plain one, another descriptor of the same connection."""
        if self._given is not None:
            return self._given
        if self._copy is None:
            self._copy = _forked.copy_of(self._engine._descriptor())
        return self._copy

    def get_write_buffer_size(self) -> int:
        """Return 0: what cannot be sent at once is waited for."""
        return 0

    def forget(self) -> None:
        """The connection has ended."""
        if self._copy is not None:
            self._copy.close()


class _Reservation:
    """A channel number is taken as long as this lives: the channel that is being made holds it."""

    __slots__ = ("__weakref__", "on_open_callback")

    def __init__(self, on_open_callback: Callable[[Any], Any] | None) -> None:
        self.on_open_callback = on_open_callback


class EngineNames(_core.Connection):
    """The half of `Engine` that no call of a `BlockingConnection` needs, unless a program asks for it."""

    params: Parameters
    _owner: ref[BlockingConnection] | None = None
    _callbacks: _Callbacks | None = None
    _named_transport: _Transport | None = None
    _named_heartbeat_checker: _HeartbeatChecker | None = None
    _python_socket: socket.socket | None = None

    def _begin_names(self, sock: socket.socket | None) -> None:
        """Set up the attributes of this half.

        :param sock: the socket, if it is used as a Python object
        """
        self._python_socket = sock
        self._listeners: dict[int, Any] = {}
        self._close_callbacks: list[Callable[[Any, BaseException | None], Any]] = []
        # By channels whose BlockingChannel is still to come: one that an interrupt has lost frees its number.
        self._numbers_taken: dict[int, ref[_Reservation]] = {}

    def _owner_now(self) -> BlockingConnection:
        """Return the `BlockingConnection`.

        :raises pika.exceptions.ConnectionWrongStateError: there is none
        """
        owner = None if self._owner is None else self._owner()
        if owner is None:
            raise exceptions.ConnectionWrongStateError("the BlockingConnection of this connection is gone")
        return owner

    # ---- channels ----

    @property
    def channel(self) -> Callable[..., Channel]:
        """`pika.connection.Connection.channel`, which tracers wrap on the class, for this connection."""
        # Who wraps it has loaded it.  To load it here would be to import inside a call: a handler of a signal
        # that comes by then finds half a module, a child made by fork an import that never ends.
        home = sys.modules.get("cpika._async.connection")
        connection = None if home is None else vars(home).get("Connection")
        if connection is None:
            return self._open_channel
        method: Callable[..., Channel] = vars(connection)["channel"].__get__(self, type(self))
        return method

    def _open_channel(
        self, channel_number: int | None = None, on_open_callback: Callable[[Any], Any] | None = None
    ) -> Channel:
        """Do what `channel` does where nobody has wrapped it."""
        if not cast("Engine", self).is_open:
            raise exceptions.ConnectionWrongStateError(
                f"Channel allocation requires an open connection: {self}"
            )
        validators.rpc_completion_callback(on_open_callback)
        return self._new_channel(channel_number, on_open_callback)

    def _new_channel(
        self, channel_number: int | None, on_open_callback: Callable[[Any], Any] | None
    ) -> Channel:
        """Make a channel that its `BlockingChannel` will open.

        :raises pika.exceptions.NoFreeChannels: channel_max channels are open
        :raises pika.exceptions.InvalidChannelNumber: a number that is no int, out of range or in use
        """
        reservation = _Reservation(on_open_callback)
        try:
            number = self._choose_number(channel_number, ref(reservation))
            channel = Channel(cast("Engine", self), number, on_open_callback)
            channel._reservation = reservation
            return channel
        except BaseException:
            self._give_up_channel(self._numbers_taken, reservation, None)
            raise

    def _choose_number(self, wanted: int | None, reference: ref[_Reservation]) -> int:
        limit = self.params.channel_max or MAX_CHANNELS
        if not wanted:
            number = self._take_channel_number(self._numbers_taken, reference, 1, limit)
            if number is None:
                raise exceptions.NoFreeChannels(host=self.params.host, port=self.params.port)
            return number
        if (
            not isinstance(wanted, int)
            or not 1 <= wanted <= limit
            or self._take_channel_number(self._numbers_taken, reference, wanted, wanted) is None
        ):
            raise exceptions.InvalidChannelNumber(wanted)
        return wanted

    @property
    def _channels(self) -> dict[int, Any]:
        """pika's name for the open channels by number, oldest first: what stands behind each of them."""
        channels = sorted(self._open_channels.items(), key=lambda found: found[1]._opened_at)
        return {number: channel._impl for number, channel in channels}

    # ---- callbacks ----

    @property
    def callbacks(self) -> CallbackManager:
        """Callbacks for what the broker sends, by channel number and method."""
        if self._callbacks is None:
            self._callbacks = _Callbacks(self)
        return self._callbacks

    def add_on_close_callback(self, callback: Callable[[Any, BaseException | None], Any]) -> None:
        """Have a callback called when the connection has ended.

        :param callback: called with this object and an exception that says why
        """
        validators.require_callback(callback)
        self._close_callbacks.append(callback)

    def _tell_ended(self, error: BaseException | None) -> None:
        """Call the callbacks for the end of channels and connection, and let go of what they hold."""
        if self._named_transport is not None:
            self._named_transport.forget()
        listeners, self._listeners = self._listeners, {}
        for channel in listeners.values():
            channel._tell_closed(error)
        callbacks, self._close_callbacks = self._close_callbacks, []
        for callback in callbacks:
            callback(self, error)
        self._callbacks = None

    # ---- loop, transport, heartbeats ----

    @property
    def ioloop(self) -> _Loop:
        """Timers and callbacks, by pika's names."""
        return _Loop(self)

    def _adapter_call_later(self, delay: float, callback: Callable[[], Any]) -> object:
        return self.ioloop.call_later(delay, callback)

    def _adapter_remove_timeout(self, timeout_id: object) -> None:
        self.ioloop.remove_timeout(timeout_id)

    def _adapter_add_callback_threadsafe(self, callback: Callable[[], Any]) -> None:
        self.ioloop.add_callback_threadsafe(callback)

    @property
    def _transport(self) -> _Transport | None:
        if self.connection_state == 0:
            return None
        if self._named_transport is None:
            self._named_transport = _Transport(self, self._python_socket)
        return self._named_transport

    def _get_write_buffer_size(self) -> int:
        """Return 0: what cannot be sent at once is waited for."""
        return 0

    @property
    def _heartbeat_checker(self) -> _HeartbeatChecker | None:
        timeout = self.params.heartbeat
        if self._named_heartbeat_checker is None and isinstance(timeout, (int, float)) and timeout > 0:
            self._named_heartbeat_checker = _HeartbeatChecker(self, int(timeout))
        return self._named_heartbeat_checker
