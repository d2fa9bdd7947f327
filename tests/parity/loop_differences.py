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
