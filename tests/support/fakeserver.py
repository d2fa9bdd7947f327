"""A scripted AMQP server: it does the handshake as it should, and then whatever a test wants.

Nothing of a broker stands behind it.  It is for what no broker would send, and for what comes faster than
one can.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
import threading
from collections.abc import Callable

from . import amqp
from .amqp import Frame, FrameSplitter

NULL_TABLE = amqp.long(b"")
REPLIES = {
    "Channel.Open": ("Channel.OpenOk", amqp.long(b"")),
    "Channel.Close": ("Channel.CloseOk", b""),
    "Basic.Qos": ("Basic.QosOk", b""),
    "Confirm.Select": ("Confirm.SelectOk", b""),
}


class Peer:
    """The server's side of one connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.frames: list[Frame] = []  # all that the client has sent
        self.consumer_tag = ""
        self._splitter = FrameSplitter()
        self._waiting: list[Frame] = []

    def send(self, *parts: bytes) -> None:
        """Sends bytes as they are."""
        self.sock.sendall(b"".join(parts))

    def receive(self) -> Frame:
        """The client's next frame; EOFError when it has closed the connection."""
        while not self._waiting:
            try:
                data = self.sock.recv(1 << 16)
            except ConnectionResetError:
                data = b""
            if not data:
                raise EOFError
            self._waiting += self._splitter.feed(data)
        frame = self._waiting.pop(0)
        self.frames.append(frame)
        return frame

    def expect(self, name: str) -> Frame:
        """The client's next frame that is not a heartbeat, which has to be `name`."""
        while True:
            frame = self.receive()
            if frame.name != "HEARTBEAT":
                assert frame.name == name, f"expected {name}, the client sent {frame.name}"
                return frame

    def handshake(self, frame_max: int = 131072, heartbeat: int = 0, channel_max: int = 2047) -> None:
        """From the protocol header to Connection.OpenOk."""
        capabilities = b"".join(
            amqp.short(name) + b"t\x01"
            for name in ("publisher_confirms", "basic.nack", "consumer_cancel_notify", "connection.blocked")
        )
        properties = amqp.short("capabilities") + b"F" + amqp.long(capabilities)
        start = b"\x00\x09" + amqp.long(properties) + amqp.long(b"PLAIN EXTERNAL") + amqp.long(b"en_US")
        self.send(amqp.method(0, "Connection.Start", start))
        self.expect("Connection.StartOk")
        self.send(amqp.method(0, "Connection.Tune", struct.pack(">HIH", channel_max, frame_max, heartbeat)))
        self.expect("Connection.TuneOk")
        self.expect("Connection.Open")
        self.send(amqp.method(0, "Connection.OpenOk", amqp.short("")))

    def answer(self, frame: Frame) -> None:
        """The usual answer to a request."""
        if frame.name == "Basic.Consume":
            # ticket, queue, consumer tag
            queue_end = 7 + frame.payload[6]
            tag_length = frame.payload[queue_end]
            self.consumer_tag = frame.payload[queue_end + 1 : queue_end + 1 + tag_length].decode()
            self.send(amqp.method(frame.channel, "Basic.ConsumeOk", amqp.short(self.consumer_tag)))
        elif frame.name == "Basic.Cancel":
            tag = frame.payload[5 : 5 + frame.payload[4]].decode()
            self.send(amqp.method(frame.channel, "Basic.CancelOk", amqp.short(tag)))
        elif frame.name in REPLIES:
            name, arguments = REPLIES[frame.name]
            self.send(amqp.method(frame.channel, name, arguments))

    def serve_until(self, name: str) -> Frame:
        """Answers requests up to and including the first `name`."""
        while True:
            frame = self.receive()
            self.answer(frame)
            if frame.name == name:
                return frame

    def serve_to_end(self) -> None:
        """Answers requests until the client has closed the connection."""
        with contextlib.suppress(EOFError, OSError):
            while True:
                frame = self.receive()
                if frame.name == "Connection.Close":
                    self.send(amqp.method(0, "Connection.CloseOk"))
                else:
                    self.answer(frame)


class FakeServer:
    """Serves one connection with `script(peer)` in a thread.

    `ended` is set when the script is over; `error` is what it raised, other than the client's going away.
    """

    def __init__(self, script: Callable[[Peer], None]) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.host, self.port = "127.0.0.1", self.listener.getsockname()[1]
        self.ended = threading.Event()
        self.error: BaseException | None = None
        self.peer: Peer | None = None
        self._script = script
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def __enter__(self) -> FakeServer:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _run(self) -> None:
        try:
            sock, _ = self.listener.accept()
        except OSError:
            self.ended.set()
            return
        with sock:
            sock.settimeout(30)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.peer = Peer(sock)
            try:
                self._script(self.peer)
            except (EOFError, ConnectionError):
                pass
            except BaseException as error:
                self.error = error
        self.ended.set()

    def close(self) -> None:
        """Ends it, and fails if the script did."""
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        if self.peer is not None:
            with contextlib.suppress(OSError):
                self.peer.sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(35)
        if self.error is not None:
            raise self.error


def stream_forever() -> None:
    """A process: prints its port, serves one client, answers Basic.Consume with endless deliveries."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        sock, _ = listener.accept()
    with sock, contextlib.suppress(EOFError, OSError):
        peer = Peer(sock)
        peer.handshake()
        channel = peer.serve_until("Basic.Consume").channel
        burst = b"".join(amqp.message(channel, peer.consumer_tag, tag, b"x" * 16) for tag in range(1, 2001))
        while True:
            peer.send(burst)


if __name__ == "__main__":
    sys.exit(stream_forever())
