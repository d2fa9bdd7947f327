"""One connection of the scripted server: what leaves it, and when.

Each channel has lanes: one for the answers of the channel itself, one for each queue (Consume-Ok,
deliveries, Cancel-Ok in their order), one for Get answers and one for confirms.  Within a lane the order
holds; which lane goes next is chance, where the round's chaos says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import struct
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from support import amqp

from . import wire
from .protocol import ClientRules
from .queues import Consumer, Message
from .serving import Channel, handle

if TYPE_CHECKING:
    from .scripted import Server

BLOCKED_FOR = 0.03  # seconds


class Entry:
    """Something that will leave.

    :param make: called when it does; returns the frames, none if it has become pointless
    :param undo: called instead, when the channel or the connection ends first
    """

    _numbers = itertools.count()

    def __init__(self, make: Callable[[], list[bytes]], undo: Callable[[], None] | None, wait: float) -> None:
        self.make, self.undo = make, undo
        self.number = next(self._numbers)
        self.not_before = time.monotonic() + wait


class Session:
    """One client."""

    def __init__(
        self,
        server: Server,
        number: int,
        rng: random.Random,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.server, self.number, self.rng = server, number, rng
        self.reader, self.writer = reader, writer
        self.rules = ClientRules(lambda kind, text: server.complain(self, kind, text))
        self.channels: dict[int, Channel] = {}
        self.lanes: dict[tuple[int, str], deque[Entry]] = {}
        self.wake = asyncio.Event()
        self.not_before = 0.0
        self.leaving = False  # it hangs up, or has said so: nothing that comes is looked at
        self.spared = True  # by chaos: while hands are shaken, and for good if it is an observer of the test
        self.is_observer = False
        self.over = False
        self.interrupting: dict[str, Any] | None = None
        self.rest = b""  # of what is being written in pieces
        self.readable = asyncio.Event()
        self.readable.set()

    # ---- coming in ----

    async def run(self) -> None:
        """From the protocol header to the end."""
        assert await self.reader.readexactly(8) == amqp.PROTOCOL_HEADER
        properties = b"".join(
            amqp.short(name) + b"t\x01"
            for name in ("publisher_confirms", "basic.nack", "consumer_cancel_notify", "connection.blocked")
        )
        table = amqp.short("capabilities") + b"F" + amqp.long(properties)
        fields: dict[str, Any] = {
            "minor": 9,
            "properties": table,
            "mechanisms": b"PLAIN",
            "locales": b"en_US",
        }
        self.say(0, "Connection.Start", **fields)
        tasks = [asyncio.create_task(self.pump()), asyncio.create_task(self.beat())]
        splitter = amqp.FrameSplitter()
        try:
            while not self.over:
                await self.readable.wait()
                data = await self.reader.read(1 << 16)
                if not data:
                    return
                for frame in splitter.feed(data):
                    self.on_frame(frame)
        finally:
            for task in tasks:
                task.cancel()

    def on_frame(self, frame: amqp.Frame) -> None:
        method = self.rules.look(frame)
        if self.leaving and not (method is not None and method.name.endswith("CloseOk")):
            return  # what comes behind a frame that was not taken would be counted wrongly
        if method is not None and not self.spared:
            self.look_at_interrupts(method)
            if self.misbehave(frame.channel, method):
                return
        handle(self, frame, method)

    def look_at_interrupts(self, method: wire.Method) -> None:
        """Sends the signal that the test has asked for: before the answer, or in the middle of it."""
        for wish in list(self.server.armed):
            if wish["method"] in (method.name, "any"):
                self.server.armed.remove(wish)
                if wish["where"] == "before":
                    self.not_before = time.monotonic() + wish["hold"]
                    os.kill(wish["pid"], wish["signal"])
                else:
                    self.interrupting = wish

    def misbehave(self, channel: int, method: wire.Method) -> bool:
        """What the round's chaos does on the occasion of a frame; True when the frame is not answered."""
        if method.name.endswith("CloseOk"):
            return False
        chaos, rng = self.server.chaos, self.rng
        state = self.channels.get(channel)
        if rng.random() < chaos.hang_up:
            self.leaving = True
            self.hang_up()
            return True
        if rng.random() < chaos.close_connection and not self.rules.closing:
            fields: dict[str, Any] = {"reply_code": 320, "reply_text": "CONNECTION_FORCED - torture"}
            self.leaving = True
            self.say(0, "Connection.Close", **fields)
            return True
        if rng.random() < chaos.block:
            self.block()
        if state is None or not state.open or method.name in ("Channel.Open", "Channel.Close"):
            return False
        if rng.random() < chaos.flow:
            for _ in range(rng.choice((1, 1, 1, 200))):
                self.say(channel, "Channel.Flow", active=True)
        if rng.random() < chaos.cancel and state.consumers:
            state.cancel_by_server(rng.choice(sorted(state.consumers)))
        if rng.random() < chaos.close_channel:
            state.close_by_server(541, "INTERNAL_ERROR - torture")
            return True
        return False

    # ---- going out ----

    def say(self, channel: int, name: str, **fields: Any) -> None:
        """Queues a method in the lane of the channel itself."""
        self.put(channel, "own", lambda: [self.method(channel, name, **fields)])

    def answer(self, channel: int, request: str, lane: str = "own", **fields: Any) -> None:
        """Queues the answer to a request."""

        def make() -> list[bytes]:
            self.rules.answered(channel, request)
            return [self.method(channel, wire.ANSWERS[request], **fields)]

        self.put(channel, lane, make)

    def method(self, channel: int, name: str, **fields: Any) -> bytes:
        """The bytes of a method that leaves now."""
        self.rules.sent(f"{channel}: {name} { {k: v for k, v in fields.items() if v} }"[:200])
        return wire.encode(channel, name, **fields)

    def put(
        self,
        channel: int,
        lane: str,
        make: Callable[[], list[bytes]],
        undo: Callable[[], None] | None = None,
    ) -> None:
        """Queues something."""
        wait = 0.0 if self.spared else self.server.chaos.delay(self.rng)
        self.lanes.setdefault((channel, lane), deque()).append(Entry(make, undo, wait))
        self.wake.set()

    def drop_lanes(self, channel: int, keep: str = "") -> None:
        """What waits to leave on the channel will not."""
        for key in [key for key in self.lanes if key[0] == channel and key[1] != keep]:
            for entry in self.lanes.pop(key):
                if entry.undo is not None:
                    entry.undo()

    def pick(self) -> tuple[tuple[int, str] | None, float]:
        """The lane whose turn it is, or None and how long to wait for one."""
        now = time.monotonic()
        heads = {key: lane[0] for key, lane in self.lanes.items() if lane}
        if not heads:
            return None, 60.0
        ready = [key for key, entry in heads.items() if max(entry.not_before, self.not_before) <= now]
        if not ready:
            first = min(entry.not_before for entry in heads.values())
            return None, max(first, self.not_before) - now
        if not self.spared and self.rng.random() < self.server.chaos.reorder:
            return self.rng.choice(sorted(ready)), 0.0
        oldest = min(heads, key=lambda key: heads[key].number)
        if self.server.chaos.reorder:
            oldest = min(ready, key=lambda key: heads[key].number)
        elif oldest not in ready:
            return None, max(heads[oldest].not_before, self.not_before) - now
        return oldest, 0.0

    def take(self, key: tuple[int, str]) -> list[bytes]:
        lane = self.lanes[key]
        entry = lane.popleft()
        if not lane:
            del self.lanes[key]
        return entry.make()

    async def pump(self) -> None:
        """Writes what waits, for as long as the connection lives."""
        with contextlib.suppress(ConnectionError):
            while True:
                key, wait = self.pick()
                if key is None:
                    self.wake.clear()
                    with contextlib.suppress(asyncio.TimeoutError):
                        await asyncio.wait_for(self.wake.wait(), wait)
                    continue
                frames = self.take(key)
                if not self.spared and self.rng.random() < self.server.chaos.weave:
                    frames = self.weave(key[0], frames)
                await self.write(b"".join(frames))

    def weave(self, channel: int, frames: list[bytes]) -> list[bytes]:
        """The frames with those of another channel's next between them."""
        others = [key for key, lane in self.lanes.items() if key[0] not in (0, channel) and lane]
        if not others or not channel:
            return frames
        guests = self.take(self.rng.choice(sorted(others)))
        woven = []
        while frames or guests:
            source = frames if frames and (not guests or self.rng.random() < 0.5) else guests
            woven.append(source.pop(0))
        return woven

    async def write(self, data: bytes) -> None:
        """Writes, in pieces where chaos or an ordered interrupt wants it."""
        self.rest = data
        wish, self.interrupting = self.interrupting, None
        if wish is not None and data:
            self.write_piece(self.rng.randrange(len(data)))
            await self.writer.drain()
            os.kill(wish["pid"], wish["signal"])
            await asyncio.sleep(wish["hold"])
        if not self.spared and self.rng.random() < self.server.chaos.split:
            while len(self.rest) > 1:
                self.write_piece(self.rng.choice((1, 3, 7, 8, 11, len(self.rest) // 2 + 1)))
                await self.writer.drain()
                await asyncio.sleep(0)
        self.write_piece(len(self.rest))
        await self.writer.drain()

    def write_piece(self, size: int, behind: bytes = b"") -> None:
        """Writes the next bytes of what is under way.

        :param behind: what follows, once all of it is written
        """
        piece, self.rest = self.rest[:size], self.rest[size:]
        if self.writer.is_closing():  # over TLS asyncio's transport has no protocol left to write to
            raise ConnectionResetError
        self.writer.write(piece + behind)

    async def beat(self) -> None:
        """Heartbeats, as often as was agreed."""
        while True:
            await asyncio.sleep(self.rules.heartbeat / 2 or 0.25)
            if self.rules.heartbeat:
                self.put(0, "beat", lambda: [amqp.HEARTBEAT])
                silence = time.monotonic() - self.rules.last_frame
                if silence > 2 * self.rules.heartbeat and self.readable.is_set():
                    self.server.complain(self, "no heartbeat", f"silent for {silence:.2f} s")
                    self.rules.heartbeat = 0

    # ---- deliveries ----

    def deliver(self, consumer: Consumer, message: Message) -> None:
        """A queue gives a message to a consumer of this connection."""
        channel: Channel = consumer.channel

        def make() -> list[bytes]:
            tag = channel.hand_out(consumer.queue, message, consumer)
            return self.content(
                channel.number,
                self.method(
                    channel.number,
                    "Basic.Deliver",
                    consumer_tag=consumer.tag,
                    delivery_tag=tag,
                    redelivered=message.redelivered,
                    exchange=message.exchange,
                    routing_key=message.routing_key,
                ),
                message,
            )

        def undo() -> None:
            if consumer.room is not None:
                consumer.room += 1
            consumer.queue.put_back(message)
            consumer.queue.flush()

        self.put(channel.number, f"queue {consumer.queue.name}", make, undo)

    def content(self, channel: int, method: bytes, message: Message) -> list[bytes]:
        """A method with its content, frame by frame."""
        head = struct.pack(">HHQ", 60, 0, len(message.body)) + message.properties
        frames = [method, amqp.frame(amqp.FRAME_HEADER, channel, head)]
        room = self.rules.frame_max - 8
        for at in range(0, len(message.body), room):
            frames.append(amqp.body(channel, message.body[at : at + room]))
        return frames

    # ---- the end ----

    def block(self) -> None:
        """Connection.Blocked, and for a moment nothing is read."""
        self.say(0, "Connection.Blocked", reason="low on torture")
        self.readable.clear()

        def unblock() -> None:
            self.readable.set()
            self.say(0, "Connection.Unblocked")

        asyncio.get_running_loop().call_later(BLOCKED_FOR * self.rng.random(), unblock)

    def say_farewell(self, channel: Channel, tag: str, wish: dict[str, Any]) -> None:
        """Messages, and the end of the connection, in one go."""
        frames = []
        self.lanes.clear()
        self.rules.answered(channel.number, "Basic.Consume")
        frames.append(self.method(channel.number, "Basic.ConsumeOk", consumer_tag=tag))
        for number in range(wish["messages"]):
            fields: dict[str, Any] = {"consumer_tag": tag, "delivery_tag": number + 1}
            method = self.method(channel.number, "Basic.Deliver", **fields)
            frames += self.content(channel.number, method, Message("", "", b"\x00\x00", b"%d" % number))
        if "close" in wish["how"]:
            text = "CONNECTION_FORCED - farewell"
            frames.append(self.method(0, "Connection.Close", reply_code=320, reply_text=text))
        self.write_piece(len(self.rest), b"".join(frames))
        channel.open = False
        if "end" in wish["how"]:
            self.over = True
            self.writer.close()

    def hang_up(self) -> None:
        """Ends the stream somewhere in what was about to leave."""
        data = b"".join(b"".join(self.take(key)) for key in list(self.lanes) if self.lanes.get(key))
        self.rest += data
        self.write_piece(self.rng.randrange(len(self.rest) + 1))
        self.rest = b""
        self.over = True
        if self.rng.random() < 0.5:
            self.writer.close()
        else:
            self.writer.transport.abort()

    def holding(self) -> list[str]:
        """What is out on each channel, or waits to leave."""
        held = []
        for channel in self.channels.values():
            out = {tag: queue.name for tag, (queue, _, _) in channel.out.items()}
            lanes = {
                lane: len(entries)
                for (number, lane), entries in self.lanes.items()
                if number == channel.number
            }
            if out or lanes:
                held.append(f"connection {self.number} channel {channel.number}: out {out}, to leave {lanes}")
        return held

    def abort(self) -> None:
        """Ends the connection at once; whoever is there is left over from an earlier round."""
        self.over = True
        self.writer.transport.abort()

    def end(self) -> None:
        """The connection is gone: all that its channels had goes back."""
        self.over = True
        for channel in list(self.channels.values()):
            channel.end()
        self.lanes.clear()
        self.writer.close()
