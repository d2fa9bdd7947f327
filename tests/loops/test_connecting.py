"""Connecting on event loops: given up at the wrong moment, and ended by the peer."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import socket
import ssl
import threading
from typing import Any

import cpika
import pytest
from cpika.adapters.asyncio_connection import AsyncioConnection, _AsyncioIOServicesAdapter
from support.certs import Certificates


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
