"""The sending side of a connection on a loop, and the engine of one whose bytes somebody else moves."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cpika import exceptions, frame, spec
from cpika._async.engine import LoopEngine
from cpika._states import ConnectionStates
from cpika.callback import CallbackManager
from cpika.connection import Parameters

LOGGER = logging.getLogger("pika.connection")

_OUTPUT_HIGH = "_on_write_buffer_high"
_OUTPUT_LOW = "_on_write_buffer_low"


class Output(ConnectionStates):
    """What of `Connection` sends, and counts what was sent."""

    _engine: LoopEngine | None
    connection_state: int
    callbacks: CallbackManager
    params: Parameters

    if TYPE_CHECKING:

        @property
        def is_closed(self) -> bool: ...
        def _adapter_emit_data(self, data: bytes) -> None: ...
        def _adapter_add_callback_threadsafe(self, callback: Callable[[], Any]) -> None: ...

    # ---- sending ----

    def _send_method(
        self, channel_number: int, method: Any, content: tuple[spec.BasicProperties, bytes] | None = None
    ) -> None:
        """Queue a method, with its content if it has one; it leaves at the end of the loop's turn.

        :raises pika.exceptions.ConnectionWrongStateError: the connection is closed
        """
        engine = self._engine
        if self.connection_state == self.CONNECTION_CLOSED or engine is None:
            LOGGER.error("Attempted to send frame when closed")
            raise exceptions.ConnectionWrongStateError("Attempted to send a frame on closed connection.")
        if content:
            self._send_message(channel_number, method, content)
        else:
            engine._loop_send(channel_number, method)

    def _send_message(
        self, channel_number: int, method: Any, content: tuple[spec.BasicProperties, bytes]
    ) -> None:
        properties, body = content
        most = self.params.frame_max - spec.FRAME_HEADER_SIZE - spec.FRAME_END_SIZE
        frames: list[frame.Frame] = [
            frame.Method(channel_number, method),
            frame.Header(channel_number, len(body), properties),
        ]
        frames += [
            frame.Body(channel_number, body[i * most : (i + 1) * most])
            for i in range(math.ceil(len(body) / most))
        ]
        assert self._engine is not None
        self._engine._loop_write(b"".join(one.marshal() for one in frames))

    def _send_frame(self, frame_value: Any) -> None:
        """Queue a frame.

        :raises pika.exceptions.ConnectionWrongStateError: the connection is closed
        """
        if self.is_closed or self._engine is None:
            LOGGER.error("Attempted to send frame when closed")
            raise exceptions.ConnectionWrongStateError("Attempted to send a frame on closed connection.")
        self._engine._loop_write(frame_value.marshal())

    # ---- an engine by hand: a subclass moves the bytes ----

    def _drive_by_hand(self) -> None:
        """Make an engine whose output goes to `_adapter_emit_data`."""
        engine = LoopEngine(None)
        engine._loop_begin(self, self._ask_adapter, self._emit)
        self._engine = engine

    def _ask_adapter(self, callback: Callable[[], Any]) -> None:
        self._adapter_add_callback_threadsafe(callback)

    def _emit(self) -> None:
        """Give what is queued to the adapter."""
        engine = self._engine
        if engine is None or self.is_closed:
            return
        data = engine._take_output()
        engine._loop_taken()
        if data:
            self._adapter_emit_data(data)

    def _on_data_available(self, data_in: bytes) -> None:
        """Handle bytes of the peer, and run the callbacks of what they complete.

        :raises Exception: what a callback raised, or what is wrong with the bytes
        """
        engine = self._engine
        if engine is None:
            return
        try:
            engine._loop_feed(data_in)
        finally:
            self._emit()
        error = engine._error
        if error is not None and engine is self._engine:
            raise error.__cause__ or error

    def _flush_now(self) -> None:
        """Send what is queued, as far as the peer takes it."""
        engine = self._engine
        if engine is None:
            return
        if engine._loop_fileno() < 0:
            self._emit()
        else:
            engine._loop_writable()

    def _look(self) -> None:
        """Read what has come, and handle it: what a loop does when the descriptor is readable."""

    def _wake(self) -> None:
        """Have the loop look, from any thread."""
        self._adapter_add_callback_threadsafe(self._look)

    @property
    def _sends_heartbeats(self) -> bool:
        """Whether the core or its thread for Python sockets sends them: it has the socket."""
        return self._engine is not None and self._engine._loop_fileno() >= 0

    # ---- counts ----

    @property
    def bytes_sent(self) -> int:
        """Bytes sent to the peer."""
        engine = self._engine
        return 0 if engine is None else engine.bytes_sent

    @property
    def bytes_received(self) -> int:
        """Bytes received from the peer."""
        return 0 if self._engine is None else self._engine.bytes_received

    @property
    def frames_sent(self) -> int:
        """Frames queued for the peer."""
        return 0 if self._engine is None else self._engine.frames_sent

    @property
    def frames_received(self) -> int:
        """Frames received from the peer."""
        return 0 if self._engine is None else self._engine.frames_received

    # ---- back-pressure ----

    @property
    def write_buffer_size(self) -> int:
        """Bytes that are queued and have not been handed to the system; not in pika."""
        return 0 if self._engine is None else self._engine._loop_queued()

    def set_write_buffer_limits(self, high: int | None = 65536, low: int | None = None) -> None:
        """Say when the callbacks of `add_on_write_buffer_...` are called; not in pika.

        :param high: when more bytes than these are queued; None: never
        :param low: when after that no more than these are left; a quarter of `high` by default
        :raises ValueError: unless high >= low >= 0
        :raises pika.exceptions.ConnectionWrongStateError: the connection is closed
        """
        if self._engine is None:
            raise exceptions.ConnectionWrongStateError("Limits require an open connection.")
        self._engine._loop_limits(high, (high or 0) // 4 if low is None else low)

    def add_on_write_buffer_high_callback(self, callback: Callable[[Any], Any]) -> None:
        """Have `callback(connection)` called by the publish that makes the queue too long; not in pika."""
        self.callbacks.add(0, _OUTPUT_HIGH, callback, False)

    def add_on_write_buffer_low_callback(self, callback: Callable[[Any], Any]) -> None:
        """Have `callback(connection)` called when the queue is short again; not in pika."""
        self.callbacks.add(0, _OUTPUT_LOW, callback, False)

    def _on_output_high(self) -> None:
        """Called by the core."""
        self.callbacks.process(0, _OUTPUT_HIGH, self, self)

    def _on_output_low(self) -> None:
        """Called by the core."""
        self.callbacks.process(0, _OUTPUT_LOW, self, self)
