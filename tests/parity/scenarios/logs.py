"""What the loggers say, from WARNING up, of ends, of methods that nobody awaits, and of a broker that blocks.

The peer is a server of the scenario's own, which answers a Queue.Declare and says something else around that
answer.  What a record shows of the stream is each library's own, and pika has a record more of what a
callback or a frame has done.
"""

from __future__ import annotations

import contextlib
import functools
import re
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pika as oracle_pika

from parity.harness import covers
from parity.loops import Loop, on_loops
from parity.scenarios.handshake import START, end, listen, read_frame, shake_hands

STREAM = "pika.adapters.utils.io_services_utils"
spec = oracle_pika.spec


def _method(channel: int, method: Any) -> bytes:
    return bytes(oracle_pika.frame.Method(channel, method).marshal())


DECLARE_OK = _method(1, spec.Queue.DeclareOk("q", 0, 0))
BLOCKED = _method(0, spec.Connection.Blocked("memory"))
UNBLOCKED = _method(0, spec.Connection.Unblocked())
CLOSE = _method(0, spec.Connection.Close(320, "bye", 0, 0))
FLOW = _method(1, spec.Channel.Flow(True))


@contextlib.contextmanager
def logged(env: Any) -> Iterator[None]:
    """Record what the loggers say while the block runs."""
    before = len(env.lines)
    with env.log("log"):
        yield
    said = env.lines[before:]
    del env.lines[before:]
    env.lines += [_alike(line) for line in said if "protocol.data_received() failed" not in line]


def _alike(line: str) -> str:
    """What stands before the stream."""
    return line.partition("; ")[0] if f" logged: {STREAM} " in line else line


def reset(client: socket.socket) -> None:
    """Hang up without a FIN."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def answers(client: socket.socket, then: Any) -> None:
    """Open the connection and a channel; `then(client)` when a queue is declared; then answer closes."""
    shake_hands(client)
    while (frame := read_frame(client)) is not None:
        method = getattr(frame, "method", None)
        if isinstance(method, spec.Channel.Open):
            client.sendall(_method(1, spec.Channel.OpenOk()))
        elif isinstance(method, spec.Queue.Declare):
            then(client)
        elif isinstance(method, spec.Channel.Close):
            client.sendall(_method(1, spec.Channel.CloseOk()))
        elif isinstance(method, spec.Connection.Close):
            client.sendall(_method(0, spec.Connection.CloseOk()))
            listen(client)
            return


ENDS = {
    "end of file": end,
    "reset": reset,
    "closed by the broker": lambda client: client.sendall(CLOSE),
    "unknown kind of frame": lambda client: client.sendall(b"\x63\x00\x01\x00\x00\x00\x01x\xce"),
    "no end of a frame": lambda client: client.sendall(DECLARE_OK[:-1] + b"\x07"),
}
SAID = {
    "flow": FLOW + DECLARE_OK,
    "unawaited": _method(1, spec.Queue.PurgeOk(1)) + DECLARE_OK,
    "an unawaited CancelOk": _method(1, spec.Basic.CancelOk("nobody")) + DECLARE_OK,
    "blocked": BLOCKED + UNBLOCKED + DECLARE_OK,
    "delivery to nobody": _method(1, spec.Basic.Deliver("nobody", 1, False, "", "q"))
    + oracle_pika.frame.Header(1, 0, spec.BasicProperties()).marshal()
    + DECLARE_OK,
}


def _server(env: Any, then: Any) -> dict[str, Any]:
    return {"host": "127.0.0.1", "port": env.serve(functools.partial(answers, then=then)), "heartbeat": 0}


@covers("semantics.logs", "semantics.lost-connection", cases=list(ENDS))
def the_end_of_a_connection_is_logged(pika: Any, env: Any, case: str) -> None:
    parameters = pika.ConnectionParameters(**_server(env, ENDS[case]))
    channel = env.keep(pika.BlockingConnection(parameters)).channel()
    with logged(env):
        env.call("declare", channel.queue_declare, "q")


@covers("semantics.logs", "semantics.blocked", cases=[(name, limit) for name in SAID for limit in (None, 30)])
def what_nobody_awaits_is_logged(pika: Any, env: Any, case: tuple[str, int | None]) -> None:
    said, limit = case
    parameters = pika.ConnectionParameters(
        **_server(env, lambda client: client.sendall(SAID[said])), blocked_connection_timeout=limit
    )
    channel = env.keep(pika.BlockingConnection(parameters)).channel()
    with logged(env):
        env.call("declare", channel.queue_declare, "q")


@covers("semantics.logs")
def flow_that_a_callback_takes_is_not_logged(pika: Any, env: Any) -> None:
    parameters = pika.ConnectionParameters(**_server(env, lambda client: client.sendall(FLOW + DECLARE_OK)))
    channel = env.keep(pika.BlockingConnection(parameters)).channel()
    channel._impl.add_on_flow_callback(lambda frame: env.show("flow", frame.method.active))
    with logged(env):
        env.call("declare", channel.queue_declare, "q")


def _hang_up_at_the_header(client: socket.socket) -> None:
    read_frame(client)
    end(client)


def _hang_up_at_start(client: socket.socket) -> None:
    read_frame(client)
    client.sendall(START)
    read_frame(client)
    end(client)


def _offer_what_nobody_knows(client: socket.socket) -> None:
    read_frame(client)
    client.sendall(
        _method(0, spec.Connection.Start(server_properties={}, mechanisms="CRAM", locales="en_US"))
    )
    listen(client)


@covers(
    "semantics.logs",
    "semantics.drop-during-the-handshake",
    cases=[_hang_up_at_the_header, _hang_up_at_start, _offer_what_nobody_knows],
)
def a_connection_that_does_not_come_about_is_logged(pika: Any, env: Any, case: Any) -> None:
    parameters = pika.ConnectionParameters("127.0.0.1", env.serve(case))
    with logged(env):
        env.call("connect", pika.BlockingConnection, parameters)
    env.lines = [re.sub(r"<socket\.socket [^>]*>", "<socket>", line) for line in env.lines]


@on_loops("semantics.logs", "loop.connection")
def on_a_loop_the_end_of_a_connection_is_logged(env: Any, loop: Loop) -> None:
    for how in ("end of file", "reset"):
        with logged(env):
            loop.channel(lambda channel: channel.queue_declare("q"), **_server(env, ENDS[how]))
