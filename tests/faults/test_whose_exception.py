"""What a signal handler raises leaves the call, also where the library catches errors of that kind itself.

The usual handler of an alarm raises TimeoutError or an OSError, as sockets, TLS and the library's limits do.
"""

from __future__ import annotations

import signal
import socket
import ssl
import time
from typing import Any

import pytest
from support import amqp
from support.apart import apart
from support.fakeserver import FakeServer, Peer
from support.scripts import Script
from support.subject import pika

KINDS = {"TimeoutError": TimeoutError, "OSError": OSError, "ValueError": ValueError}
LIMIT = 5.0  # seconds that the library would have waited, or more


class Alarm:
    """Raises an exception of a kind, once, a moment from now."""

    def __init__(self, kind: str) -> None:
        self._kind = KINDS[kind]
        self._begin = time.monotonic()
        signal.signal(signal.SIGALRM, self._strike)
        signal.setitimer(signal.ITIMER_REAL, 0.3)

    def _strike(self, *_: Any) -> None:
        raise self._kind("the program's")

    def outcome(self, error: BaseException | None) -> list[Any]:
        """What left the call, and whether it did so before the library's own limit."""
        return [type(error).__name__, str(error), time.monotonic() - self._begin < LIMIT]


def parameters(port: int, **options: Any) -> Any:
    return pika.ConnectionParameters("127.0.0.1", port, stack_timeout=LIMIT + 3, **options)


def while_connecting(kind: str, port: int, tls: bool) -> list[Any]:
    options = pika.SSLOptions(ssl.create_default_context(), "localhost") if tls else None
    alarm = Alarm(kind)
    try:
        pika.BlockingConnection(parameters(port, ssl_options=options, connection_attempts=2))
    except Exception as error:
        return alarm.outcome(error)
    return alarm.outcome(None)


@pytest.mark.parametrize("tls", [False, True], ids=["AMQP", "TLS"])
@pytest.mark.parametrize("kind", KINDS)
def test_it_ends_connecting(kind: str, tls: bool) -> None:
    """It was taken for a failure of the attempt: the next one followed, and the exception was lost."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        told = apart(while_connecting, kind, silent.getsockname()[1], tls)
    assert told == [kind, "the program's", True]


def while_closing(kind: str, port: int, channels: int) -> list[Any]:
    connection = pika.BlockingConnection(parameters(port))
    for _ in range(channels):
        connection.channel()
    alarm = Alarm(kind)
    try:
        connection.close()
    except Exception as error:
        return alarm.outcome(error)
    return alarm.outcome(None)


def answers_no_close(peer: Peer) -> None:
    peer.handshake()
    while True:
        frame = peer.receive()
        if not frame.name.endswith(".Close"):
            peer.answer(frame)


@pytest.mark.parametrize("channels", [0, 1])
@pytest.mark.parametrize("kind", KINDS)
def test_it_ends_closing(kind: str, channels: int) -> None:
    """A TimeoutError was taken for the broker's silence, which close() only logs."""
    with FakeServer(answers_no_close) as server:
        assert apart(while_closing, kind, server.port, channels) == [kind, "the program's", True]


def test_the_broker_s_silence_still_ends_closing() -> None:
    with FakeServer(answers_no_close) as server:
        connection = pika.BlockingConnection(
            pika.ConnectionParameters("127.0.0.1", server.port, stack_timeout=1)
        )
        connection.channel()
        connection.close()
        assert connection.is_closed


# ---- what the program's code in parameters raises is this attempt's failure


class Slow(pika.PlainCredentials):  # type: ignore[misc]
    """Credentials whose server is not there at first."""

    asked = 0

    def response_for(self, start: Any) -> Any:
        Slow.asked += 1
        if Slow.asked == 1:
            raise RuntimeError("token server")
        return super().response_for(start)


def of_this_broker(url: str, **options: Any) -> Any:
    made = pika.URLParameters(url)
    for name, value in options.items():
        setattr(made, name, value)
    return made


def test_credentials_that_raise_fail_one_attempt(broker_url: str) -> None:
    """It left the constructor, whatever `connection_attempts` was."""
    Slow.asked = 0
    given = pika.URLParameters(broker_url).credentials
    slow = Slow(given.username, given.password)
    many = of_this_broker(broker_url, credentials=slow, connection_attempts=2, retry_delay=0)
    with pika.BlockingConnection(many) as connection:
        assert connection.is_open and Slow.asked == 2


@pytest.mark.parametrize(
    "options, raised",
    [
        ({"heartbeat": lambda _connection, _offered: 1 / 0}, ZeroDivisionError),
        ({"heartbeat": lambda _connection, _offered: 70_000}, ValueError),
        ({"virtual_host": "x" * 300}, pika.exceptions.ShortStringTooLong),
        ({"client_properties": {"key": object()}}, pika.exceptions.UnsupportedAMQPFieldException),
    ],
    ids=["a heartbeat that raises", "a long heartbeat", "a long virtual host", "odd client properties"],
)
def test_what_has_no_answer_to_the_broker_fails_one_attempt(
    options: dict[str, Any], raised: type[Exception], broker_url: str
) -> None:
    wrong = of_this_broker(broker_url, **options)
    with pika.BlockingConnection([wrong, pika.URLParameters(broker_url)]) as connection:
        assert connection.is_open
    with pytest.raises(raised):
        pika.BlockingConnection([pika.URLParameters("amqp://127.0.0.1:1"), wrong])


def test_no_parameters_at_all_are_a_value_error() -> None:
    """A generator cannot be asked whether there is anything in it."""
    with pytest.raises(ValueError, match="non-empty"):
        pika.BlockingConnection(one for one in ())


# ---- a name is looked up where no thread can be started any more


FINALIZED = """
import builtins
"localhost".encode("idna")  # as an earlier connection does: no codec is found any more in the end

class Last:
    def __del__(self, connect=pika.BlockingConnection, to=pika.ConnectionParameters("localhost", 1)):
        print("begun", flush=True)
        try:
            connect(to)
        except Exception:
            print("ended", flush=True)

builtins.last = Last()
"""


def test_the_end_of_the_interpreter_waits_for_no_look_up() -> None:
    with Script(FINALIZED) as script:
        script.expect("begun")
        script.expect("ended")
        assert script.process.wait(20) == 0


# ---- a callback of a cancellation that raises


def cancels(peer: Peer) -> None:
    peer.handshake()
    peer.serve_until("Basic.Consume")
    peer.send(amqp.method(1, "Basic.Cancel", amqp.short(peer.consumer_tag) + b"\x01"))
    peer.serve_to_end()


def test_a_cancellation_s_callback_that_raises_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with FakeServer(cancels) as server:
        connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", server.port))
        channel = connection.channel()
        channel.add_on_cancel_callback(lambda _frame: 1 / 0)
        channel.basic_consume("q", lambda *_: None)
        with pytest.raises(ZeroDivisionError):
            connection.process_data_events(5)
        connection.close()
    told = [record.getMessage() for record in caplog.records if record.name == "pika.callback"]
    assert len(told) == 1 and told[0].endswith('for "1:blocking_channel_consumer_cancelled" failed')
