"""The end of a connection on a loop is told to everybody, whatever a callback raises when it is told."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import cpika
import pytest
from cpika import aio, exceptions
from cpika.adapters.asyncio_connection import AsyncioConnection
from cpika.adapters.select_connection import SelectConnection
from parity.harness import Broker
from support import amqp
from support.proxy import Proxy

SECONDS = 10.0


def mistake(*_ignored: Any) -> None:
    raise ZeroDivisionError("mine")


def parameters(port: int, **changes: Any) -> Any:
    return Broker.of_this_run().parameters(cpika, host="127.0.0.1", port=port, **changes)


class Ended:
    """Three channels of a connection whose stream is cut; the first callback of one end raises `error`.

    :param whose: 0 for the connection, or the number of a channel
    """

    def __init__(self, proxy: Proxy, loop: Any, whose: int, error: type[BaseException]) -> None:
        self.told: list[str] = []
        self.whose = whose
        self.error = error
        self.proxy = proxy
        kind = SelectConnection if loop is None else AsyncioConnection
        self.connection: Any = kind(parameters(proxy.port), self.opened, mistake, custom_ioloop=loop)

    def opened(self, connection: Any) -> None:
        self.watch(0, connection)
        for _ in range(3):
            connection.channel(on_open_callback=self.channel_opened)

    def channel_opened(self, channel: Any) -> None:
        self.watch(int(channel), channel)
        if int(channel) == 3:
            self.proxy.cut()

    def watch(self, number: int, what: Any) -> None:
        def first(_what: Any, _reason: Any) -> None:
            self.told.append(f"{number} first")
            if self.whose == number:
                raise self.error("mine")

        def second(_what: Any, _reason: Any) -> None:
            self.told.append(f"{number} second")
            if number == 0:
                self.connection.ioloop.stop()

        what.add_on_close_callback(first)
        what.add_on_close_callback(second)


ALL = [f"{number} {callback}" for number in (1, 2, 3, 0) for callback in ("first", "second")]


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
@pytest.mark.parametrize("whose", [0, 1, 2, 3])
def test_everybody_is_told_and_then_the_exception_leaves(
    proxy: Proxy, whose: int, error: type[BaseException]
) -> None:
    """As in pika, nobody behind the first exception was told."""
    ended = Ended(proxy, None, whose, error)
    loop = ended.connection.ioloop
    timer = loop.call_later(SECONDS, loop.stop)
    with pytest.raises(error, match="mine"):
        loop.start()
    loop.remove_timeout(timer)
    assert ended.told == ALL
    assert ended.connection.is_closed and not ended.connection._channels
    loop.close()


@pytest.mark.parametrize("whose", [0, 2])
def test_asyncio_s_handler_gets_the_exception_when_everybody_is_told(proxy: Proxy, whose: int) -> None:
    loop = asyncio.new_event_loop()
    complaints: list[Any] = []
    loop.set_exception_handler(lambda _loop, context: complaints.append(context["exception"]))
    ended = Ended(proxy, loop, whose, ZeroDivisionError)
    loop.call_later(SECONDS, loop.stop)
    loop.run_forever()
    assert ended.told == ALL
    assert [type(one) for one in complaints] == [ZeroDivisionError]
    loop.close()


def test_what_no_log_tells_of_leaves_where_several_callbacks_raise(proxy: Proxy) -> None:
    """The first exception stands in the log; the one that is to end the program does not."""
    ended = Ended(proxy, None, 1, ZeroDivisionError)
    loop = ended.connection.ioloop

    def interrupt(*_ignored: Any) -> None:
        raise KeyboardInterrupt

    ended.connection.add_on_close_callback(interrupt)
    with pytest.raises(KeyboardInterrupt):
        loop.start()
    assert ended.told == ALL
    loop.close()


def test_a_timer_of_a_connection_that_has_ended_so_is_gone(proxy: Proxy) -> None:
    """The one for a connection that stays blocked ran, and raised in the loop."""
    given = parameters(proxy.port, blocked_connection_timeout=0.2)

    def opened(connection: Any) -> None:
        connection.add_on_connection_blocked_callback(lambda raw, _frame: raw.close())
        connection.add_on_close_callback(mistake)
        proxy.inject(amqp.method(0, "Connection.Blocked", amqp.short("low on memory")))

    connection = SelectConnection(given, opened, mistake)
    with pytest.raises(ZeroDivisionError):
        connection.ioloop.start()
    connection.ioloop.call_later(0.3, connection.ioloop.stop)
    connection.ioloop.start()
    connection.ioloop.close()


@pytest.mark.parametrize("whose", ["channel", "connection"])
def test_what_a_program_s_callback_raises_at_the_end_keeps_nobody_from_it(
    run: Any, broker_url: str, make_proxy: Callable[..., Proxy], whose: str
) -> None:
    """Channels behind the one whose callback raised, and the connection, were never told."""
    proxy = make_proxy(broker_url)

    async def main() -> tuple[list[Any], list[Any]]:
        loop = asyncio.get_running_loop()
        complaints: list[Any] = []
        loop.set_exception_handler(lambda _loop, context: complaints.append(context["exception"]))
        connection = await aio.connect(parameters(proxy.port))
        first, second = await connection.channel(), await connection.channel()
        (connection if whose == "connection" else first).raw.add_on_close_callback(mistake)
        queue = (await second.queue_declare(exclusive=True)).queue

        async def read() -> None:
            async with second.consume(queue) as messages:
                reading.set()
                async for _message in messages:
                    pass

        reading = asyncio.Event()
        awaits = [read(), connection.wait_closed(), first.wait_closed(), second.wait_closed()]
        tasks = [asyncio.ensure_future(each) for each in awaits]
        await reading.wait()
        proxy.cut()
        told = await asyncio.gather(*tasks, return_exceptions=True)
        await connection.close()
        return told, complaints

    told, complaints = run(main())
    assert [type(one) for one in told] == [exceptions.StreamLostError] * 4
    assert [type(one) for one in complaints] == [ZeroDivisionError]


def test_all_are_told_that_a_connection_cannot_be_opened() -> None:
    """Where the first raised, the second, which stops the loop, was not."""
    told: list[str] = []
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]  # nobody listens there
        connection = SelectConnection(cpika.ConnectionParameters("127.0.0.1", port, connection_attempts=1))

        def raise_it(*_: Any) -> None:
            told.append("first")
            raise ValueError("of the first")

        connection.add_on_open_error_callback(raise_it, remove_default=True)
        connection.add_on_open_error_callback(lambda *_: told.append("second"), remove_default=False)
        with pytest.raises(ValueError, match="of the first"):
            connection.ioloop.start()
        connection.ioloop.close()
    assert told == ["first", "second"]
