"""Connecting on event loops: given up at the wrong moment, and ended by the peer."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import importlib
import os
import resource
import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Any

import cpika
import pytest
from cpika import aio, exceptions
from cpika.adapters.asyncio_connection import AsyncioConnection, _AsyncioIOServicesAdapter
from cpika.adapters.base_connection import BaseConnection
from cpika.adapters.gevent_connection import GeventConnection
from cpika.adapters.select_connection import SelectConnection
from cpika.adapters.thread_safe_connection import Connection as ThreadSafeConnection
from cpika.adapters.tornado_connection import TornadoConnection
from cpika.adapters.utils.connection_workflow import (
    AMQPConnectionWorkflow,
    AMQPConnectionWorkflowAborted,
    AMQPConnectionWorkflowFailed,
    AMQPConnector,
)
from parity.harness import Broker
from support.apart import apart
from support.certs import Certificates

SECONDS = 10.0


class Watched:
    """An asyncio loop that notes what its exception handler gets."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.complaints: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda _loop, context: self.complaints.append(context))

    def run(self, seconds: float) -> None:
        """Until it is stopped, or for so long."""
        self.loop.call_later(seconds, self.loop.stop)
        self.loop.run_forever()


@pytest.fixture
def watched() -> Any:
    made = Watched()
    yield made
    made.loop.close()
    assert made.complaints == []


def test_a_look_up_that_is_cancelled_in_the_turn_of_its_answer_calls_nobody(watched: Watched) -> None:
    """A done future cannot be cancelled: its callback went on where all else was given up."""
    told: list[Any] = []
    cancelled: list[bool] = []

    async def answered_and_cancelled(*args: Any, **kwargs: Any) -> list[Any]:
        watched.loop.call_soon(lambda: cancelled.append(reference.cancel()))  # before the future's callback
        return []

    watched.loop.getaddrinfo = answered_and_cancelled  # type: ignore[method-assign,assignment]
    reference = _AsyncioIOServicesAdapter(watched.loop).getaddrinfo("localhost", 1, told.append)
    watched.run(0.05)
    assert (told, cancelled) == ([], [True])
    assert reference.cancel() is False


def test_giving_up_in_the_turn_of_the_look_up_s_answer_opens_nothing(watched: Watched) -> None:
    done: list[Any] = []

    async def answered_and_aborted(host: str, port: int, **kwargs: Any) -> list[Any]:
        watched.loop.call_soon(workflow.abort)
        return socket.getaddrinfo("127.0.0.1", port, **kwargs)

    watched.loop.getaddrinfo = answered_and_aborted  # type: ignore[method-assign,assignment]
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.0)
        parameters = cpika.ConnectionParameters("localhost", server.getsockname()[1])
        workflow = AsyncioConnection.create_connection([parameters], done.append, watched.loop)
        watched.run(0.3)
        assert [type(result).__name__ for result in done] == ["AMQPConnectionWorkflowAborted"]
        with pytest.raises(BlockingIOError):
            server.accept()


def test_giving_up_twice_is_told_once(watched: Watched) -> None:
    done: list[Any] = []
    parameters = cpika.ConnectionParameters("127.0.0.1", 1, retry_delay=60, connection_attempts=2)
    workflow = AsyncioConnection.create_connection([parameters], done.append, watched.loop)

    def abort_twice() -> None:
        workflow.abort()
        workflow.abort()

    watched.loop.call_later(0.2, abort_twice)  # while it waits for its second attempt
    watched.run(0.5)
    assert [type(result).__name__ for result in done] == ["AMQPConnectionWorkflowAborted"]


def end_of_tls(library: str, certificates: Certificates) -> str:
    """What a connection that is being opened says where the peer ends the TLS stream in good order."""
    pika = importlib.import_module(library)
    adapter = importlib.import_module(f"{library}.adapters.select_connection")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server_cert, certificates.server_key)
    said: list[str] = []

    def serve() -> None:
        raw, _ = server.accept()
        with context.wrap_socket(raw, server_side=True) as stream:
            stream.recv(8)
            with contextlib.suppress(OSError):  # the client need not answer
                stream.unwrap()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        options = pika.SSLOptions(ssl.create_default_context(cafile=certificates.authority), "localhost")
        parameters = pika.ConnectionParameters(
            "127.0.0.1", server.getsockname()[1], ssl_options=options, connection_attempts=1
        )

        def failed(connection: Any, error: Exception) -> None:
            said.append(f"{type(error).__name__}: {error}")
            connection.ioloop.stop()

        connection = adapter.SelectConnection(parameters, on_open_error_callback=failed)
        connection.ioloop.start()
        connection.ioloop.close()
        thread.join()
    (text,) = said
    return text


def test_the_end_of_a_tls_stream_is_told_in_pikas_words(certificates: Certificates) -> None:
    assert "RxEndOfFile" in end_of_tls("pika", certificates)
    assert end_of_tls("cpika", certificates) == end_of_tls("pika", certificates)


# ---- each step of an attempt ends in one report


def opened(adapter: type[BaseConnection], parameters: Any) -> Any:
    """What opening a connection on a loop of its own tells: the error, or None."""
    told: list[Any] = []

    def tell(connection: Any, error: Any = None) -> None:
        told.append(error)
        connection.ioloop.stop()

    loop = asyncio.new_event_loop() if adapter is AsyncioConnection else None
    connection: Any = adapter(parameters, tell, tell, custom_ioloop=loop)
    timer = connection._adapter_call_later(SECONDS, connection.ioloop.stop)
    nbio = connection._nbio
    nbio.run()
    connection._adapter_remove_timeout(timer)
    if connection.is_open:
        connection.add_on_close_callback(lambda *_ignored: nbio.stop())
        connection.close()
        nbio.run()
    if adapter in (AsyncioConnection, SelectConnection):
        nbio.close()
    (error,) = told
    return error


@pytest.mark.parametrize(
    "adapter", [SelectConnection, AsyncioConnection, TornadoConnection, GeventConnection]
)
def test_what_an_attempt_raises_before_its_socket_connects_is_told(
    adapter: type[BaseConnection], broker_url: str
) -> None:
    """It left the loop, or went to the loop's handler, and nobody was told."""
    error = opened(adapter, Broker.of_this_run().parameters(cpika, tcp_options={"TCP_KEEPIDLE": 0}))
    assert isinstance(error, exceptions.AMQPConnectionError)
    (failure,) = error.args[0].exceptions
    assert isinstance(failure.exception, OSError)
    assert opened(adapter, Broker.of_this_run().parameters(cpika)) is None


def in_turn(*several: Any) -> Any:
    """What a look-up is to say, once for each."""
    left = list(several)

    def look_up(*_args: Any, **_kwargs: Any) -> Any:
        return left.pop(0)

    return look_up


def addresses(port: int, *families: int) -> list[Any]:
    return [(family, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for family in families]


def failure(result: Any) -> Any:
    """The only one of a workflow that has failed."""
    assert isinstance(result, AMQPConnectionWorkflowFailed)
    (only,) = result.exceptions
    return only


def resolved(watched: Watched, *results: Any) -> None:
    """Have the loop's look-ups give these, one after the other."""
    look_up = in_turn(*results)

    async def getaddrinfo(*args: Any, **kwargs: Any) -> Any:
        return look_up()

    watched.loop.getaddrinfo = getaddrinfo  # type: ignore[method-assign]


def connected(watched: Watched, *configs: Any) -> Any:
    """What a workflow tells in the end: one result."""
    done: list[Any] = []

    def on_done(result: Any) -> None:
        done.append(result)
        watched.loop.call_soon(watched.loop.stop)

    AsyncioConnection.create_connection(list(configs), on_done, watched.loop)
    watched.run(SECONDS)
    (result,) = done
    return result


def test_an_address_family_that_the_system_has_not_is_one_failure(watched: Watched, broker_url: str) -> None:
    parameters = Broker.of_this_run().parameters(cpika)
    resolved(watched, addresses(parameters.port, 99, socket.AF_INET))
    connection = connected(watched, parameters)
    assert connection.is_open
    connection.add_on_close_callback(lambda *_ignored: watched.loop.stop())
    connection.close()
    watched.run(SECONDS)


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_stream_that_cannot_be_made_is_one_failure(watched: Watched, silent: int) -> None:
    options = cpika.SSLOptions(ssl.create_default_context(), "localhost")
    options.context = None  # type: ignore[assignment]
    parameters = cpika.ConnectionParameters("127.0.0.1", silent, ssl_options=options, connection_attempts=1)
    assert isinstance(failure(connected(watched, parameters)).exception, ValueError)


def refuse(*_ignored: Any) -> Any:
    raise OSError(errno.ENOSPC, "no room to watch")


def secure(port: int, **changes: Any) -> Any:
    options = cpika.SSLOptions(ssl.create_default_context(), "localhost")
    return cpika.ConnectionParameters(
        "127.0.0.1", port, ssl_options=options, connection_attempts=1, stack_timeout=0.3, **changes
    )


def test_a_loop_that_does_not_watch_a_tls_handshake_is_one_failure(watched: Watched, silent: int) -> None:
    watched.loop.add_reader = refuse  # type: ignore[method-assign]
    assert failure(connected(watched, secure(silent))).exception.errno == errno.ENOSPC


def test_a_loop_that_fails_to_forget_keeps_nobody_from_the_report(watched: Watched, silent: int) -> None:
    """The timeout's callback raised what the loop had said, and the attempt was still there."""
    watched.loop.remove_reader = refuse  # type: ignore[method-assign]
    said = failure(connected(watched, secure(silent))).exception
    assert "Timeout while setting up transport" in str(said)


def test_a_handshake_that_times_out_is_one_failure_whatever_the_host_is_called(
    watched: Watched, silent: int
) -> None:
    """A text that no Connection.Close can carry raised in the timeout's callback: nobody was told."""
    resolved(watched, addresses(silent, socket.AF_INET))
    name = ".".join(["x" * 60] * 4)
    parameters = cpika.ConnectionParameters(name, silent, connection_attempts=1, stack_timeout=0.3)
    assert "Timeout during AMQP handshake" in str(failure(connected(watched, parameters)).exception)


@pytest.mark.parametrize("found", [[], None])
def test_a_look_up_that_finds_nothing_is_one_failure(watched: Watched, found: Any, broker_url: str) -> None:
    resolved(watched, found, addresses(Broker.of_this_run().parameters(cpika).port, socket.AF_INET))
    nowhere = cpika.ConnectionParameters("nowhere", connection_attempts=1)
    connection = connected(watched, nowhere, Broker.of_this_run().parameters(cpika))
    assert connection.is_open
    connection.add_on_close_callback(lambda *_ignored: watched.loop.stop())
    connection.close()
    watched.run(SECONDS)


@pytest.mark.parametrize("kind", ["blocking", "select", "threads", "aio"])
def test_a_name_without_addresses_is_an_error_of_pika_s(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """IndexError; on the thread-safe connection also a traceback of its I/O thread."""
    parameters = cpika.ConnectionParameters("nowhere", connection_attempts=2, retry_delay=0)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kwargs: [])
    crashes: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", crashes.append)

    async def connect() -> None:
        await aio.connect(parameters)

    def on_a_loop() -> None:
        raise opened(SelectConnection, parameters)

    calls = {
        "blocking": lambda: cpika.BlockingConnection(parameters),
        "select": on_a_loop,
        "threads": lambda: ThreadSafeConnection(parameters),
        "aio": lambda: asyncio.run(connect()),
    }
    with pytest.raises(exceptions.AMQPConnectionError) as caught:
        calls[kind]()
    assert "no addresses were found" in repr(caught.value)
    assert crashes == []


@pytest.mark.parametrize("ended", ["failed", "aborted"])
def test_a_connector_of_the_program_s_own_that_does_not_begin_is_one_failure(
    watched: Watched, silent: int, ended: str
) -> None:
    class Connector(AMQPConnector):
        def start(self, *args: Any, **kwargs: Any) -> None:
            watched.loop.call_soon(then)
            raise ZeroDivisionError("mine")

    class Workflow(AMQPConnectionWorkflow):
        def start(self, *, connector_factory: Any, **rest: Any) -> None:  # type: ignore[override]
            super().start(connector_factory=lambda: Connector(connector_factory, self._nbio), **rest)

    workflow = Workflow()
    then = workflow.abort if ended == "aborted" else int
    done: list[Any] = []
    parameters = cpika.ConnectionParameters("127.0.0.1", silent, connection_attempts=1)
    AsyncioConnection.create_connection([parameters], done.append, watched.loop, workflow)
    watched.run(0.2)
    (result,) = done
    if ended == "aborted":
        assert isinstance(result, AMQPConnectionWorkflowAborted)
    else:
        assert isinstance(failure(result).exception, ZeroDivisionError)


def test_a_connection_that_nothing_connects_can_be_closed(watched: Watched) -> None:
    told: list[Any] = []
    connection = AsyncioConnection(
        on_open_error_callback=lambda _connection, error: told.append(error),
        custom_ioloop=watched.loop,
        internal_connection_workflow=False,
    )
    connection.close()
    watched.run(0.05)
    assert [type(error) for error in told] == [exceptions.ConnectionOpenAborted]
    assert connection.is_closed


# ---- the same, awaited


REFUSED_OPTIONS = [{"TCP_KEEPIDLE": 0}, {"TCP_KEEPIDLE": "nonsense"}]


@pytest.mark.parametrize("options", REFUSED_OPTIONS)
def test_an_option_that_the_system_refuses_fails_one_attempt(run: Any, params: Any, options: Any) -> None:
    """The await never ended, and nobody tried the next parameters."""
    refused = Broker.of_this_run().parameters(cpika, tcp_options=options)

    async def main() -> None:
        async with aio.connect([refused, params]) as connection:
            assert connection.is_open
        with pytest.raises(exceptions.AMQPConnectionError) as caught:
            await aio.connect(refused)
        assert isinstance(caught.value.args[0].exception, (OSError, TypeError))

    run(main())


@pytest.mark.parametrize("options", REFUSED_OPTIONS)
def test_an_attempt_that_is_given_up_between_its_failure_and_its_report_is_over(
    run: Any, params: Any, options: Any
) -> None:
    refused = Broker.of_this_run().parameters(cpika, tcp_options=options)

    async def main() -> None:
        for turns in range(8):
            task = asyncio.ensure_future(_connect([refused, params]))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            (result,) = await asyncio.gather(task, return_exceptions=True)
            assert isinstance(result, asyncio.CancelledError)

    run(main())


async def _connect(several: Any) -> Any:
    return await aio.connect(several)


def connect_without_descriptors(url: str, free: int) -> list[Any]:
    """What connecting says while so many are free, and how many it has kept; then it succeeds."""
    params = cpika.URLParameters(url)
    params.connection_attempts = 1

    async def main() -> list[Any]:
        async with aio.connect(params):  # all is loaded
            pass
        before = len(os.listdir("/proc/self/fd"))
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
        taken = []
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        for _ in range(free):
            os.close(taken.pop())
        try:
            await aio.connect(params)
            said = "open"
        except (OSError, exceptions.AMQPConnectionError) as error:
            said = type(error).__name__
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        kept = len(os.listdir("/proc/self/fd")) - before
        async with aio.connect(params):
            return [said, kept]

    return asyncio.run(main())


@pytest.mark.parametrize("free, error", [(0, "AMQPConnectionError"), (1, "OSError")])
def test_a_connection_for_which_there_are_no_descriptors(broker_url: str, free: int, error: str) -> None:
    """None for the socket: the await never ended. None for what wakes its waits: the socket stayed open."""
    numeric = broker_url.replace("localhost", "127.0.0.1")
    assert apart(connect_without_descriptors, numeric, free) == [error, 0]
