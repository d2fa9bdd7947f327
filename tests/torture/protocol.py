"""What a client may send, judged frame by frame on the server's side of a connection."""

from __future__ import annotations

import collections
import os
import struct
import time
from collections.abc import Callable
from typing import Any

from support import amqp

from . import wire

KEPT = int(os.environ.get("TORTURE_KEPT", "60"))  # frames of a connection, for the record
WITHOUT_ANSWER = {"nowait"}  # the flag of requests that nobody answers


class ClientRules:
    """One connection's client: each of its frames is looked at here first.

    :param complain: called with (kind, text) when a rule is broken
    """

    def __init__(self, complain: Callable[[str, str], None]) -> None:
        self._complain = complain
        self.frame_max = 131072
        self.heartbeat = 0
        self.last_frame = time.monotonic()
        self.record: collections.deque[str] = collections.deque(maxlen=KEPT)
        self.closing = False  # Connection.Close came
        self.open: set[int] = set()
        self.closed_by_client: set[int] = set()  # Channel.Close came, Close-Ok is not sent yet
        self.closed_by_server: set[int] = set()  # Channel.Close is sent, Close-Ok did not come yet
        self.asked: dict[int, list[str]] = {}  # requests in flight, by channel
        self._content: dict[int, list[int]] = {}  # by channel: body bytes missing, or none before the header

    def sent(self, text: str) -> None:
        """Something left the server."""
        self.record.append(f"{time.monotonic() % 1000:9.4f} <- {text}")

    def answered(self, channel: int, request: str) -> None:
        """The answer to a request left the server."""
        if request in self.asked.get(channel, ()):
            self.asked[channel].remove(request)

    def ended(self, channel: int) -> None:
        """The channel's number is free again."""
        self.open.discard(channel)
        self.closed_by_client.discard(channel)
        self.closed_by_server.discard(channel)
        self.asked.pop(channel, None)
        self._content.pop(channel, None)

    def look(self, frame: amqp.Frame) -> wire.Method | None:
        """Judges a frame; returns the method of a method frame that makes sense."""
        self._look_at_silence()
        method = None
        if frame.type == amqp.FRAME_METHOD:
            try:
                method = wire.decode(frame.payload)
            except (ValueError, struct.error, IndexError, UnicodeDecodeError) as error:
                self._complain("malformed method", repr(error))
        name = method.name if method is not None else frame.name
        detail = {k: v for k, v in method.fields.items() if v} if method is not None else frame.size
        self.record.append(f"{self.last_frame % 1000:9.4f} -> {frame.channel}: {name} {detail}"[:200])
        if frame.size + 8 > self.frame_max:
            self._complain("frame larger than negotiated", f"{name} has {frame.size + 8} bytes")
        if frame.type == amqp.FRAME_HEARTBEAT:
            return None
        if self.closing and name not in ("Connection.CloseOk", "Connection.Close"):
            self._complain("frame after Connection.Close", f"{name} on channel {frame.channel}")
        if frame.channel:
            self._look_at_channel(frame, name, method)
        elif frame.type == amqp.FRAME_METHOD:
            self.closing = self.closing or name == "Connection.Close"
        else:
            self._complain("content on channel 0", name)
        return method

    def _look_at_silence(self) -> None:
        now = time.monotonic()
        silence = now - self.last_frame
        if self.heartbeat and silence > 2 * self.heartbeat:
            self._complain("heartbeat too late", f"silent for {silence:.2f} s, heartbeat {self.heartbeat} s")
        self.last_frame = now

    def _look_at_channel(self, frame: amqp.Frame, name: str, method: wire.Method | None) -> None:
        channel = frame.channel
        if channel in self.closed_by_client and name != "Channel.CloseOk":
            self._complain("frame after Channel.Close", f"{name} on channel {channel}")
        elif channel not in self.open and name != "Channel.Open":
            self._complain("frame on a channel that is not open", f"{name} on channel {channel}")
        self._look_at_content(frame, name)
        if method is None:
            return
        if name == "Channel.Open":
            if channel in self.open:
                self._complain("Channel.Open of an open channel", f"channel {channel}")
            self.open.add(channel)
        elif name == "Channel.Close":
            self.closed_by_client.add(channel)
        if name in wire.ANSWERS or name == "Basic.Get":
            self._look_at_request(channel, name, method)

    def _look_at_request(self, channel: int, name: str, method: wire.Method) -> None:
        if any(method.fields.get(flag) for flag in WITHOUT_ANSWER):
            return
        in_flight = self.asked.setdefault(channel, [])
        # Channel.Close may come while an answer is awaited that an interrupted call has asked for.
        if in_flight and name != "Channel.Close" and channel not in self.closed_by_server:
            self._complain("two requests in flight", f"{name} behind {in_flight} on channel {channel}")
        in_flight.append(name)

    def _look_at_content(self, frame: amqp.Frame, name: str) -> None:
        missing: Any = self._content.get(frame.channel)
        if frame.type == amqp.FRAME_METHOD:
            if missing is not None and name not in ("Channel.CloseOk",):
                self._complain("method inside content", f"{name} on channel {frame.channel}")
            self._content.pop(frame.channel, None)
            if name == "Basic.Publish":
                self._content[frame.channel] = []
        elif missing is None:
            self._complain("content without a method", f"{name} on channel {frame.channel}")
        elif frame.type == amqp.FRAME_HEADER:
            size = struct.unpack_from(">Q", frame.payload, 4)[0]
            if missing:
                self._complain("two content headers", f"channel {frame.channel}")
            self._set_missing(frame.channel, size)
        elif not missing:
            self._complain("body before its header", f"channel {frame.channel}")
        elif frame.size > missing[0]:
            self._complain("body too long", f"{frame.size} bytes, {missing[0]} missing")
        else:
            self._set_missing(frame.channel, missing[0] - frame.size)

    def _set_missing(self, channel: int, size: int) -> None:
        if size:
            self._content[channel] = [size]
        else:
            del self._content[channel]
