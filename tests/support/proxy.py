"""A TCP proxy that causes faults and keeps a record, in a process of its own.

Its own process, so that neither a test's long callback nor C code that holds the interpreter's lock delays
what it forwards or falsifies its times.  Times are `time.monotonic()`, which processes of one machine share.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from .amqp import FRAME_METHOD, Frame, FrameSplitter

CLIENT, SERVER = "client", "server"  # where bytes come from
CHUNK = 64 * 1024
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER that makes close() send RST


class Event(NamedTuple):
    """Something seen at the proxy.

    kind `open`, `eof` (one side ended its stream), `close` (the link is gone), `frame`, or `bytes` (of a
    stream that is not AMQP, TLS for example); `origin` is CLIENT or SERVER where bytes came from there.
    """

    time: float
    link: int
    kind: str
    origin: str = ""
    frame: Frame | None = None
    size: int = 0

    @property
    def name(self) -> str:
        """The frame's name, or the kind where it is none."""
        return self.frame.name if self.frame is not None else self.kind


class Proxy:
    """The test's handle on a proxy in front of `host`:`port`.

    :param lockstep: read from the client only while nothing waits to be written to it, as a broker does whose
        writer is stuck
    :param record: keep events of frames; without, many pass quickly
    :param receive_buffer: SO_RCVBUF towards the client, bytes; 0 for the system's choice
    """

    def __init__(
        self, host: str, port: int, *, lockstep: bool = False, receive_buffer: int = 0, record: bool = True
    ) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            # Not `-m`: the events' class must have the same name in both processes.
            code = "from support import proxy; proxy.serve()"
            command = [sys.executable, "-c", code, str(theirs.fileno()), host, str(port)]
            command += [str(int(lockstep)), str(receive_buffer), str(int(record))]
            self._process = subprocess.Popen(
                command,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
            )
        self._control = Connection(ours.detach())
        self._changed = threading.Condition()
        self._events: list[Event] = []
        self._replies = 0
        self._asked = 0
        self._ended = False
        self.host = "127.0.0.1"
        self.port: int = self._control.recv()
        self._reader = threading.Thread(target=self._read, daemon=True, name="proxy-events")
        self._reader.start()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _read(self) -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                news = self._control.recv()
                with self._changed:
                    if news is None:
                        self._replies += 1
                    else:
                        self._events.extend(news)
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _command(self, *parts: Any) -> None:
        """Sends a command and waits until the proxy has carried it out."""
        with self._changed:
            self._asked += 1
            mine = self._asked
            self._control.send(parts)
            if not self._changed.wait_for(lambda: self._replies >= mine or self._ended, timeout=30):
                raise TimeoutError(f"the proxy did not answer {parts}")

    def _catch_up(self) -> None:
        """Returns when all that the proxy has reported by now has been read here."""
        if not self._ended:
            self._command("catch_up")

    # ---- faults ----

    def pause(self, origin: str = "") -> None:
        """Stops forwarding what comes from `origin` (both where empty); the senders meet full buffers, then
        wait.
        """
        self._command("pause", origin)

    def resume(self, origin: str = "") -> None:
        """Ends `pause`."""
        self._command("resume", origin)

    def drop(self, origin: str = "", active: bool = True) -> None:
        """Reads and throws away what comes from `origin` (both where empty)."""
        self._command("drop", origin, active)

    def delay(self, seconds: float, origin: str = "") -> None:
        """Forwards each read `seconds` late."""
        self._command("delay", origin, seconds)

    def split(self, active: bool = True, origin: str = "") -> None:
        """Forwards byte by byte, each in a segment of its own."""
        self._command("split", origin, active)

    def cut(self, reset: bool = True) -> None:
        """Ends all links, by RST or by FIN, on both sides."""
        self._command("cut", reset)

    def inject(self, data: bytes) -> None:
        """Sends `data` to the client of the newest link."""
        self._command("inject", data)

    def refuse(self) -> None:
        """Stops listening: new connections are refused, old links live on."""
        self._command("refuse")

    # ---- the record ----

    @property
    def events(self) -> list[Event]:
        """All events so far, oldest first."""
        self._catch_up()
        with self._changed:
            return list(self._events)

    def mark(self) -> int:
        """The number of events so far: a `start` for the methods below."""
        self._catch_up()
        with self._changed:
            return len(self._events)

    def frames(self, name: str = "", origin: str = CLIENT, start: int = 0) -> list[Event]:
        """Frames so far, of one name where given."""
        return [
            event
            for event in self.events[start:]
            if event.frame is not None and event.origin == origin and name in ("", event.name)
        ]

    def wait_for(self, predicate: Callable[[Event], bool], timeout: float = 10.0, start: int = 0) -> Event:
        """The first event from `start` on for which `predicate` is true; TimeoutError after `timeout`
        seconds.
        """
        return self.wait_for_count(predicate, 1, timeout, start)[0]

    def wait_for_count(
        self, predicate: Callable[[Event], bool], count: int, timeout: float = 10.0, start: int = 0
    ) -> list[Event]:
        """The first `count` events for which `predicate` is true."""
        found: list[Event] = []
        seen = start
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                found += [event for event in self._events[seen:] if predicate(event)]
                seen = len(self._events)
                if len(found) >= count:
                    return found[:count]
                if self._ended or not self._changed.wait(deadline - time.monotonic()):
                    recent = [f"{event.origin}:{event.name}" for event in self._events[-20:]]
                    raise TimeoutError(
                        f"{len(found)} of {count} events within {timeout} s; the last: {recent}"
                    )

    def wait_for_frame(self, name: str, timeout: float = 10.0, start: int = 0, origin: str = CLIENT) -> Event:
        """The first frame with this name."""
        return self.wait_for(lambda event: event.name == name and event.origin == origin, timeout, start)

    def close(self) -> None:
        """Ends the proxy and its links.  Safe to repeat."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        self._control.close()


# ---- the proxy's own process ----


class _Flow:
    """What happens to the bytes of one origin, on every link."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.dropping = False
        self.splitting = False
        self.delay = 0.0


class _Link:
    """A client's connection and the one made for it to the server."""

    def __init__(self, number: int, client: socket.socket, server: socket.socket) -> None:
        self.number = number
        self.sockets = {CLIENT: client, SERVER: server}
        self.client_idle = asyncio.Event()  # nothing waits to be written to the client
        self.client_idle.set()
        self.tasks: list[asyncio.Task[None]] = []


class _ProxyProcess:
    def __init__(self, control: Connection, target: tuple[str, int]) -> None:
        self.control = control
        self.target = target
        self.lockstep = False
        self.record = True
        self.links: list[_Link] = []
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.listener.setblocking(False)

    async def run(self) -> None:
        self.loop = asyncio.get_running_loop()
        # Not before: up to Python 3.9 an event belongs to a loop from its birth.
        self.flows = {CLIENT: _Flow(), SERVER: _Flow()}
        self.finished = asyncio.Event()
        self.accepting = self.loop.create_task(self.accept())
        self.loop.add_reader(self.control.fileno(), self.obey)
        self.control.send(self.listener.getsockname()[1])
        await self.finished.wait()

    def report(self, *events: Event) -> None:
        if events:
            self.control.send(events)

    async def accept(self) -> None:
        number = 0
        while True:
            client, _ = await self.loop.sock_accept(self.listener)
            number += 1
            client.setblocking(False)
            server = socket.socket(socket.AF_INET6 if ":" in self.target[0] else socket.AF_INET)
            server.setblocking(False)
            try:
                await self.loop.sock_connect(server, self.target)
            except OSError:
                server.close()
                client.close()
                continue
            for sock in (client, server):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link = _Link(number, client, server)
            self.links.append(link)
            self.report(Event(time.monotonic(), number, "open"))
            link.tasks = [self.loop.create_task(self.pump(link, origin)) for origin in (CLIENT, SERVER)]

    async def pump(self, link: _Link, origin: str) -> None:
        source = link.sockets[origin]
        splitter: FrameSplitter | None = FrameSplitter()
        try:
            while True:
                await self.flows[origin].open.wait()
                if self.lockstep and origin == CLIENT:
                    await link.client_idle.wait()
                data = await self.loop.sock_recv(source, CHUNK)
                if not data:
                    break
                if self.record:
                    splitter = self.report_data(link, origin, splitter, data)
                await self.forward(link, origin, data)
            self.report(Event(time.monotonic(), link.number, "eof", origin))
            await self.flows[origin].open.wait()
            other = SERVER if origin == CLIENT else CLIENT
            with contextlib.suppress(OSError):
                link.sockets[other].shutdown(socket.SHUT_WR)
            link.tasks = [task for task in link.tasks if task is not asyncio.current_task()]
            if not link.tasks:
                self.close_link(link)
        except OSError:
            self.report(Event(time.monotonic(), link.number, "eof", origin))
            self.close_link(link, reset=True)

    def report_data(
        self, link: _Link, origin: str, splitter: FrameSplitter | None, data: bytes
    ) -> FrameSplitter | None:
        """Reports the frames that `data` completes, or its size once the stream turned out not to be AMQP.

        Returns the splitter for what comes next.
        """
        now = time.monotonic()
        if splitter is not None:
            try:
                frames = [
                    f if f.type == FRAME_METHOD else f._replace(payload=b"") for f in splitter.feed(data)
                ]
            except ValueError:
                splitter = None
            else:
                self.report(*(Event(now, link.number, "frame", origin, frame) for frame in frames))
        if splitter is None:
            self.report(Event(now, link.number, "bytes", origin, None, len(data)))
        return splitter

    async def forward(self, link: _Link, origin: str, data: bytes) -> None:
        flow = self.flows[origin]
        sink = link.sockets[SERVER if origin == CLIENT else CLIENT]
        if flow.delay:
            await asyncio.sleep(flow.delay)
        await flow.open.wait()
        if flow.dropping:
            return
        if origin == SERVER:
            link.client_idle.clear()
        pieces = (data[i : i + 1] for i in range(len(data))) if flow.splitting else (data,)
        for piece in pieces:
            await self.loop.sock_sendall(sink, piece)
        if origin == SERVER:
            link.client_idle.set()

    def close_link(self, link: _Link, reset: bool = False) -> None:
        if link not in self.links:
            return
        self.links.remove(link)
        for task in link.tasks:
            if task is not asyncio.current_task():
                task.cancel()
        for sock in link.sockets.values():
            self.loop.remove_reader(sock)
            self.loop.remove_writer(sock)
            if reset:
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            sock.close()
        self.report(Event(time.monotonic(), link.number, "close"))

    def obey(self) -> None:
        try:
            name, *arguments = self.control.recv()
        except (EOFError, OSError):
            self.finished.set()
            return
        getattr(self, f"do_{name}")(*arguments)
        self.control.send(None)

    def chosen(self, origin: str) -> list[_Flow]:
        return [self.flows[origin]] if origin else list(self.flows.values())

    def do_pause(self, origin: str) -> None:
        for flow in self.chosen(origin):
            flow.open.clear()

    def do_resume(self, origin: str) -> None:
        for flow in self.chosen(origin):
            flow.open.set()

    def do_drop(self, origin: str, active: bool) -> None:
        for flow in self.chosen(origin):
            flow.dropping = active

    def do_delay(self, origin: str, seconds: float) -> None:
        for flow in self.chosen(origin):
            flow.delay = seconds

    def do_split(self, origin: str, active: bool) -> None:
        for flow in self.chosen(origin):
            flow.splitting = active

    def do_cut(self, reset: bool) -> None:
        for link in list(self.links):
            self.close_link(link, reset)

    def do_inject(self, data: bytes) -> None:
        client = self.links[-1].sockets[CLIENT]
        client.setblocking(True)
        client.sendall(data)
        client.setblocking(False)

    def do_catch_up(self) -> None:
        """The answer comes behind the events."""

    def do_refuse(self) -> None:
        self.accepting.cancel()
        self.loop.remove_reader(self.listener)
        self.listener.close()


def serve() -> None:
    """The proxy's process: arguments as `Proxy` passes them; ends with its control connection."""
    control_fd, host, port, lockstep, receive_buffer, record = sys.argv[1:]
    process = _ProxyProcess(Connection(int(control_fd)), (host, int(port)))
    process.lockstep = lockstep == "1"
    process.record = record == "1"
    if receive_buffer != "0":
        process.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, int(receive_buffer))
    with contextlib.suppress(BrokenPipeError):
        asyncio.run(process.run())
    os._exit(0)
