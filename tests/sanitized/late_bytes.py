"""A connection ends while one thread makes a message from its buffer and another comes back from recv().

What it brings has nowhere to go: put into the buffer, it moved the bytes from which the message is made.
"""

from __future__ import annotations

import logging
import socket
import threading
from typing import Any

import cpika as pika
from support import amqp
from support.fakeserver import FakeServer, Peer

FULL = 205_000
"""Unread bytes in the buffer from which on a read of 65,536 makes it grow beyond its 262,144."""
SIP = 8192
"""Bytes that a read before that one takes at most, so that none makes it grow."""

more, held, ending = threading.Event(), threading.Event(), threading.Event()


def serve(peer: Peer) -> None:
    peer.handshake()
    channel = peer.serve_until("Basic.Consume").channel
    messages = [amqp.message(channel, peer.consumer_tag, tag, bytes(4000)) for tag in range(1, 90)]
    peer.send(amqp.method(0, "Connection.Blocked", amqp.short("slow down")), *messages[:60])
    more.wait(30)
    peer.send(*messages[60:])
    peer.serve_to_end()


class Socket(socket.socket):
    """Not CPython's own class, so it is used through its methods."""

    received = 0

    def recv(self, size: int) -> bytes:  # type: ignore[override]
        thread = threading.current_thread()
        if thread not in (publisher, threading.main_thread()):
            return super().recv(size)  # the server's side
        last = thread is publisher and Socket.received >= FULL and not held.is_set()
        if last:
            more.set()
            self.setblocking(True)
            data = super().recv(size, socket.MSG_WAITALL)
            self.setblocking(False)
        else:
            data = super().recv(min(size, SIP))
        Socket.received += len(data)
        if last:
            held.set()
            ending.wait(30)
        return data


def publish() -> None:
    try:
        while not held.is_set():
            channel.basic_publish("", "q", b"reads too")
    except pika.exceptions.AMQPError:
        pass


class OnBlocked(logging.Handler):
    """Keeps the thread that reads inside one frame, while the publisher fills the buffer behind it."""

    def emit(self, record: logging.LogRecord) -> None:
        if "Blocked" in record.getMessage():
            publisher.start()
            held.wait(30)


def init(self: Any, *args: Any, **kwargs: Any) -> None:
    original(self, *args, **kwargs)
    if not ending.is_set():
        threading.Timer(0.3, ending.set).start()  # by then the call below waits for the publisher's recv
        connection._impl._terminate(pika.exceptions.StreamLostError("as when another thread's send fails"))
        publisher.join(30)


logging.getLogger("pika").addHandler(OnBlocked())
publisher = threading.Thread(target=publish)
original = pika.spec.Basic.Deliver.__init__
plain, socket.socket = socket.socket, Socket  # type: ignore[misc]
with FakeServer(serve) as server:
    parameters = pika.ConnectionParameters(server.host, server.port, blocked_connection_timeout=60)
    connection = pika.BlockingConnection(parameters)
    socket.socket = plain  # type: ignore[misc]
    channel = connection.channel()
    Socket.received = 0
    channel.basic_consume("q", print, auto_ack=True)
    pika.spec.Basic.Deliver.__init__ = init  # type: ignore[method-assign]
    try:
        while True:
            connection.process_data_events(1)
    except pika.exceptions.AMQPConnectionError as error:
        print(repr(error))
assert ending.is_set(), "the connection ended, but not as it should"
