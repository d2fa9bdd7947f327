"""Where cpika differs from pika on purpose on event loops.

As in `parity.differences`.
"""

from __future__ import annotations

import socket
from typing import Any

import pytest

from parity.differences import differs
from parity.loops import Loop


@differs(
    "What an attempt to connect raises before its socket connects: no such address family, a value of "
    "`tcp_options` that the system refuses, no descriptor left",
    "leaves the loop, or goes to its exception handler: nobody is told, nothing else is tried",
    "is this attempt's failure: the next address is tried, and in the end `on_open_error_callback` gets an "
    "`AMQPConnectionError`",
)
def an_option_that_the_system_refuses(pika: Any, env: Any) -> None:
    loop = Loop(pika, env, "select")
    env.call("connect", loop.connect, tcp_options={"TCP_KEEPIDLE": 0})
    loop.finish()


@differs(
    "A look-up that succeeds and finds no address",
    "`IndexError`; on loops it leaves the loop, and nobody is told",
    "is a failure like a refused TCP connect: `AMQPConnectionError`",
)
def a_look_up_that_finds_nothing(pika: Any, env: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", lambda *_args, **_kwargs: [])
        env.call("connect", pika.BlockingConnection, env.parameters(host="nowhere"))


@differs(
    "What a callback raises that is told of the end",
    "leaves at once: channels and callbacks behind it are never told",
    "leaves when all have been told: the first exception, or the first that is no `Exception`",
)
def a_callback_that_raises_at_the_end(pika: Any, env: Any) -> None:
    loop = Loop(pika, env, "select")

    def ended(channel: Any, _reason: Any) -> None:
        env.show("told", int(channel))
        raise ZeroDivisionError(int(channel))

    def opened(channel: Any) -> None:
        channel.add_on_close_callback(ended)
        if int(channel) == 2:
            loop.connection._terminate_stream(pika.exceptions.AMQPHeartbeatTimeout("mine"))

    def on_open(connection: Any) -> None:
        for _ in range(2):
            connection.channel(on_open_callback=opened)

    env.call("connect", loop.connect, on_open)
    loop.finish()


@differs(
    "`close()` of a connection on a loop that nothing connects (`internal_connection_workflow=False`)",
    "`AttributeError`; it is being closed for good",
    "`on_open_error_callback` gets `ConnectionOpenAborted`",
)
def closing_what_nothing_connects(pika: Any, env: Any) -> None:
    loop = Loop(pika, env, "select")
    connection = loop.adapter(
        env.parameters(),
        on_open_error_callback=lambda _connection, error: env.show_error("told", error),
        custom_ioloop=loop.native,
        internal_connection_workflow=False,
    )
    env.call("close", connection.close)
    connection._adapter_add_callback_threadsafe(loop.stop)
    loop.run()
    env.show_state("then", connection)
    loop.finish()
