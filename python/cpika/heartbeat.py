"""Heartbeats of connections on event loops: the check for a silent peer; sending, where nobody else does."""

from __future__ import annotations

import logging
from typing import Any

from cpika import exceptions, frame

LOGGER = logging.getLogger("pika.heartbeat")


class HeartbeatChecker:
    """Checks every `timeout` + 5 seconds whether the peer has sent something.

    Where nobody else does, it sends a frame every half `timeout`. Where the core has the connection's socket,
    a thread of its own does so, whatever the program's callbacks do.

    :param connection: pika's `Connection`, on a loop
    :param timeout: seconds, as agreed with the broker
    :raises ValueError: a timeout below one second
    """

    _STALE_CONNECTION = "No activity or too many missed heartbeats in the last %i seconds"

    def __init__(self, connection: Any, timeout: int) -> None:
        if timeout < 1:
            raise ValueError(f"timeout must >= 0, but got {timeout!r}")
        self._connection = connection
        self._timeout = timeout
        self._send_interval = float(timeout) / 2
        self._check_interval = timeout + 5
        self._bytes_received = 0
        self._idle_byte_intervals = 0
        self._send_timer: Any = None
        self._check_timer: Any = None
        if not connection._sends_heartbeats:
            self._start_send_timer()
        self._start_check_timer()

    @property
    def bytes_received_on_connection(self) -> int:
        """Bytes that the connection has received."""
        return int(self._connection.bytes_received)

    @property
    def connection_is_idle(self) -> bool:
        """Whether nothing came between the last two checks."""
        return self._idle_byte_intervals > 0

    def received(self) -> None:
        """A heartbeat frame came: any byte counts as one, so there is nothing to note."""

    def stop(self) -> None:
        """Cancel the timers."""
        for timer in (self._send_timer, self._check_timer):
            if timer is not None:
                self._connection._adapter_remove_timeout(timer)
        self._send_timer = self._check_timer = None

    def _start_send_timer(self) -> None:
        self._send_timer = self._connection._adapter_call_later(self._send_interval, self._send_heartbeat)

    def _send_heartbeat(self) -> None:
        self._connection._send_frame(frame.Heartbeat())
        self._start_send_timer()

    def _start_check_timer(self) -> None:
        self._bytes_received = self.bytes_received_on_connection
        self._check_timer = self._connection._adapter_call_later(self._check_interval, self._check_heartbeat)

    def _check_heartbeat(self) -> None:
        self._check_timer = None
        # A callback may have held the loop up for so long: what has come meanwhile counts.
        self._connection._look()
        if self._connection._heartbeat_checker is not self:
            return  # that was the connection's end
        if self._bytes_received != self.bytes_received_on_connection:
            self._idle_byte_intervals = 0
            self._start_check_timer()
            return
        self._idle_byte_intervals += 1
        LOGGER.info("Connection is idle, %i stale byte intervals", self._idle_byte_intervals)
        text = self._STALE_CONNECTION % self._timeout
        self._connection._terminate_stream(exceptions.AMQPHeartbeatTimeout(text))
