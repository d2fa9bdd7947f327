"""Where cpika differs from pika on purpose, in what it sends and in what it makes of what a peer sends.

As in `parity.differences`.  The peer is a server of the scenario's own, which keeps what the client says.
"""

from __future__ import annotations

import functools
import socket
import time
from typing import Any

import pika as oracle_pika

from parity.differences import differs
from parity.harness import EVENT_SECONDS
from parity.scenarios.handshake import read_frame, shake_hands
from parity.scenarios.logs import BLOCKED, CLOSE, DECLARE_OK, FLOW

spec = oracle_pika.spec
Frame = oracle_pika.frame.Method


def _serve(client: socket.socket, said: list[str], at_declare: bytes) -> None:
    """Open the connection, answer what it knows, note all that the client says; hang up at an ack."""
    shake_hands(client)
    while (frame := read_frame(client)) is not None:
        method = getattr(frame, "method", None)
        if method is None:
            continue
        tag = getattr(method, "delivery_tag", "")
        said.append(f"{method.NAME} {tag}".rstrip())
        if isinstance(method, spec.Basic.Ack):
            return  # hangs up
        if isinstance(method, spec.Basic.Consume):
            answer = Frame(1, spec.Basic.ConsumeOk(method.consumer_tag)).marshal()
            answer += b"".join(_delivery(method.consumer_tag, number) for number in (1, 2, 3))
        else:
            answer = {
                "Channel.Open": Frame(1, spec.Channel.OpenOk()).marshal(),
                "Queue.Declare": at_declare,
                "Basic.Cancel": Frame(1, spec.Basic.CancelOk(getattr(method, "consumer_tag", ""))).marshal(),
                "Channel.Close": Frame(1, spec.Channel.CloseOk()).marshal(),
                "Connection.Close": Frame(0, spec.Connection.CloseOk()).marshal(),
            }.get(method.NAME, b"")
        client.sendall(answer)


def _delivery(tag: str, number: int) -> bytes:
    return bytes(
        Frame(1, spec.Basic.Deliver(tag, number, False, "", "q")).marshal()
        + oracle_pika.frame.Header(1, 1, spec.BasicProperties()).marshal()
        + oracle_pika.frame.Body(1, b"x").marshal()
    )


def _channel(pika: Any, env: Any, at_declare: bytes = DECLARE_OK, **changes: Any) -> tuple[Any, list[str]]:
    """A channel to such a server, and the list of what is said there."""
    said: list[str] = []
    port = env.serve(functools.partial(_serve, said=said, at_declare=at_declare))
    given = {"host": "127.0.0.1", "port": port, "heartbeat": 0, **changes}
    return env.keep(pika.BlockingConnection(pika.ConnectionParameters(**given))).channel(), said


def _await_server(env: Any) -> None:
    """Return when the server has hung up, or has read all that the client said before it hung up."""
    for thread in env._threads:
        thread.join(EVENT_SECONDS)


@differs("Channel.Flow of the broker", "no FlowOk is sent", "FlowOk is sent")
def channel_flow(pika: Any, env: Any) -> None:
    channel, said = _channel(pika, env, FLOW + DECLARE_OK)
    channel.queue_declare("q")
    channel.queue_declare("q")
    env.show("said", said)


@differs("Connection.Close of the broker", "no CloseOk is sent", "CloseOk is sent")
def connection_close(pika: Any, env: Any) -> None:
    channel, said = _channel(pika, env, CLOSE)
    env.call("declare", channel.queue_declare, "q")
    _await_server(env)
    env.show("said", said)


@differs(
    "Basic.Cancel of the broker for a consumer that is not there",
    "a `KeyError`, which ends the connection",
    "is ignored",
)
def unknown_cancel(pika: Any, env: Any) -> None:
    channel, _said = _channel(pika, env, Frame(1, spec.Basic.Cancel("nobody")).marshal() + DECLARE_OK)
    env.call("declare", channel.queue_declare, "q")


@differs(
    "When `basic_cancel` rejects what was not dispatched",
    "before Basic.Cancel is sent: the broker may deliver it to the same consumer again",
    "behind the broker's answer",
)
def rejects_of_a_cancelled_consumer(pika: Any, env: Any) -> None:
    channel, said = _channel(pika, env)
    channel.basic_consume("q", lambda channel, method, *_rest: channel.basic_cancel(method.consumer_tag))
    channel.start_consuming()
    channel.queue_declare("q")
    env.show("said", said)


@differs(
    "Publishing when `blocked_connection_timeout` has run out",
    "is taken: the next call that dispatches raises",
    "raises `ConnectionBlockedTimeout`",
)
def publishing_when_blocked_for_too_long(pika: Any, env: Any) -> None:
    channel, _said = _channel(pika, env, BLOCKED + DECLARE_OK, blocked_connection_timeout=0.05)
    channel.queue_declare("q")
    time.sleep(0.1)  # nothing to await: it is this program that is late
    env.call("publish", channel.basic_publish, "", "q", b"x")


@differs(
    "A timer that is due when the connection has gone",
    "is not run any more: the error comes first",
    "runs, then the error comes",
)
def timer_on_a_lost_connection(pika: Any, env: Any) -> None:
    channel, _said = _channel(pika, env)
    channel.basic_ack(1)
    _await_server(env)
    channel.connection.call_later(0, env.collector("timer"))
    env.call("process_data_events", channel.connection.process_data_events, 1)
    env.show_state("then", channel.connection)


@differs(
    "The connection that a heartbeat callable gets",
    "a `SelectConnection`",
    "what `connection._impl` is",
)
def heartbeat_callables_connection(pika: Any, env: Any) -> None:
    kinds = []

    def heartbeat(connection: Any, proposed: int) -> int:
        kinds.append(type(connection).__name__)
        return proposed

    _channel(pika, env, heartbeat=heartbeat)
    env.show("kinds", kinds)
