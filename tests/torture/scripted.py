"""A server of one's own in a process of its own: a small broker that behaves as badly as RabbitMQ may.

    python -m torture.scripted [CERTIFICATE KEY]

It prints its port and that of its control connection (see `control.py`), and ends with its standard input.
Answers of one channel keep the order of the requests, but for what RabbitMQ's queues and confirms say by
themselves: these overtake and fall behind.  Each thing that could happen is decided by the seed of the round.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import ssl
import struct
import sys
from collections import deque
from typing import Any

from support import amqp

from .queues import Chaos, Consumer, Message, Topology
from .report import say
from .session import Session

SHOWN_OF_A_KIND = 3


class Server:
    """All connections and what they share."""

    def __init__(self) -> None:
        self.context: dict[str, Any] = {"mode": "", "seed": 0, "round": 0}
        self.chaos = Chaos({})
        self.topology = Topology(self.deliver)
        self.sessions: list[Session] = []
        self.ended: deque[Session] = deque(maxlen=4)  # for the record
        self.armed: list[dict[str, Any]] = []
        self.kinds: dict[str, int] = {}
        self.accepted = 0
        self.numbers: set[bytes] = set()  # of the messages that came: see `ledger.py`
        self.farewell: dict[str, Any] | None = None

    # ---- between sessions ----

    def deliver(self, consumer: Consumer, message: Message) -> None:
        """A queue gives a message to a consumer."""
        consumer.channel.session.deliver(consumer, message)

    def complain(self, session: Session, kind: str, text: str) -> None:
        """A client broke a rule."""
        self.kinds[kind] = self.kinds.get(kind, 0) + 1
        if self.kinds[kind] <= SHOWN_OF_A_KIND:
            log = {"frames": list(session.rules.record)}
            say(
                "VIOLATION",
                {
                    **self.context,
                    "kind": f"wire: {kind}",
                    "text": text,
                    "facts": None,
                    "log": log,
                    "stacks": "",
                },
            )

    # ---- control ----

    def command(self, wish: dict[str, Any]) -> dict[str, Any]:
        """Carries out one command of the control connection."""
        if wish["command"] == "round":
            for session in list(self.sessions):
                session.abort()
            kinds = self.kinds
            self.kinds = {}
            self.context = {name: wish[name] for name in ("mode", "seed", "round")}
            self.chaos = Chaos(wish["chaos"])
            self.topology = Topology(self.deliver)
            self.armed = []
            self.accepted = 0
            self.numbers.clear()
            self.ended.clear()
            return {"kinds": kinds}
        if wish["command"] == "arm":
            self.armed = [wish]
        elif wish["command"] == "farewell":
            self.farewell = wish
        elif wish["command"] == "disarm":
            self.armed = []
        elif wish["command"] == "calm":
            self.chaos = Chaos({"heartbeat": self.chaos.heartbeat})
        elif wish["command"] == "frames":
            sessions = [*self.ended, *self.sessions]
            return {"frames": {f"connection {s.number}": list(s.rules.record) for s in sessions}}
        elif wish["command"] == "holders":
            return {"holders": [text for session in self.sessions for text in session.holding()]}
        return {}

    async def control(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                writer.write(json.dumps(self.command(json.loads(line))).encode() + b"\n")
                await writer.drain()
        writer.close()

    # ---- connections ----

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        rng = random.Random(f"{self.context['seed']} {self.context['round']} {self.accepted}")
        session = Session(self, self.accepted, rng, reader, writer)
        self.sessions.append(session)
        try:
            await session.run()
        except (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
            pass
        except (ValueError, struct.error) as error:
            self.complain(session, "bytes that are no frames", repr(error))
        finally:
            session.end()
            self.sessions.remove(session)
            if not session.is_observer:
                self.ended.append(session)


async def serve(certificate: str, key: str) -> None:
    server = Server()
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
    amqp_side = await asyncio.start_server(server.accept, "127.0.0.1", 0, ssl=context, limit=1 << 20)
    control_side = await asyncio.start_server(server.control, "127.0.0.1", 0)
    ports = [side.sockets[0].getsockname()[1] for side in (amqp_side, control_side)]
    say("PORTS", ports)
    loop = asyncio.get_running_loop()
    over = asyncio.Event()

    def look_at_input() -> None:
        if not os.read(0, 4096):
            over.set()

    loop.add_reader(0, look_at_input)
    await over.wait()
    os._exit(0)


if __name__ == "__main__":
    assert amqp.FRAME_END == 0xCE
    asyncio.run(serve(*(sys.argv[1:] if len(sys.argv) > 2 else ("", ""))))
