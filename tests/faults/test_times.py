"""Times that never come, and waiting with what monkey-patching leaves of `select`."""

from __future__ import annotations

import math
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cpika.adapters.utils import _waiting
from support import connects
from support.subject import SUBJECT, exceptions, pika

ENDLESS = [math.inf, math.nan, 1e10, 1e300, 3_000_000]


class Interrupted(Exception):
    """A signal came: until then it waited."""


@pytest.fixture
def interrupted_soon() -> Iterator[Callable[[], None]]:
    """Call it, and a signal handler raises half a second later."""

    def handler(number: int, frame: Any) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, handler)
    yield lambda: signal.setitimer(signal.ITIMER_REAL, 0.3) and None
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def full_port() -> Iterator[int]:
    with connects.full_port() as port:
        yield port


@pytest.fixture
def refusing_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def waits(interrupted_soon: Callable[[], None], **parameters: Any) -> None:
    """Fails unless connecting waits, without using up the processor."""
    used = time.process_time()
    interrupted_soon()
    with pytest.raises(Interrupted):
        pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", **parameters))
    assert SUBJECT == "pika" or time.process_time() - used < 0.15  # pika spins on nan


@pytest.mark.parametrize("seconds", ENDLESS)
@pytest.mark.parametrize("name", ["socket_timeout", "stack_timeout"])
def test_a_timeout_without_end_waits_for_a_late_tcp_connect(
    name: str, seconds: float, full_port: int, interrupted_soon: Callable[[], None]
) -> None:
    waits(interrupted_soon, port=full_port, **{"socket_timeout": None, "stack_timeout": None, name: seconds})


@pytest.mark.parametrize("seconds", ENDLESS)
def test_a_timeout_without_end_waits_for_a_late_handshake(
    seconds: float, interrupted_soon: Callable[[], None]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        waits(interrupted_soon, port=silent.getsockname()[1], stack_timeout=seconds)


@pytest.mark.parametrize("seconds", ENDLESS)
def test_a_pause_between_attempts_without_end_is_a_pause(
    seconds: float, refusing_port: int, interrupted_soon: Callable[[], None]
) -> None:
    waits(interrupted_soon, port=refusing_port, connection_attempts=2, retry_delay=seconds)


@pytest.mark.parametrize("seconds", [-1, -0.5, -math.inf])
def test_a_negative_pause_between_attempts_is_refused(seconds: float, refusing_port: int) -> None:
    parameters = pika.ConnectionParameters(
        "127.0.0.1", refusing_port, connection_attempts=2, retry_delay=seconds
    )
    with pytest.raises(ValueError, match=f"call_later: delay must be non-negative, but got {seconds!r}"):
        pika.BlockingConnection(parameters)


def test_a_pause_between_attempts_beyond_all_floats_is_refused(refusing_port: int) -> None:
    parameters = pika.ConnectionParameters(
        "127.0.0.1", refusing_port, connection_attempts=2, retry_delay=10**400
    )
    with pytest.raises(OverflowError, match="int too large to convert to float"):
        pika.BlockingConnection(parameters)


@pytest.mark.parametrize("seconds", [*ENDLESS, 30])
@pytest.mark.parametrize("name", ["socket_timeout", "stack_timeout", "blocked_connection_timeout"])
def test_a_long_timeout_does_not_hinder_a_connection(
    name: str, seconds: float, connect: Callable[..., Any]
) -> None:
    connection = connect(**{name: seconds})
    assert connection.is_open
    connection.close()


# ---- the helper ----


@pytest.fixture(params=["poll", "select"])
def what_there_is(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With select.poll, and without it, as under eventlet."""
    if request.param == "select":
        monkeypatch.delattr(select, "poll")
    return str(request.param)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    with one, other:
        yield one, other


@pytest.mark.usefixtures("what_there_is")
def test_a_wait_tells_what_is_ready(pair: tuple[socket.socket, socket.socket]) -> None:
    one, other = pair
    assert not _waiting.wait(one.fileno(), read=True, milliseconds=0)
    assert _waiting.wait(one.fileno(), write=True)
    assert _waiting.wait(one.fileno(), read=True, write=True)
    other.send(b"x")
    assert _waiting.wait(one.fileno(), read=True)


@pytest.mark.usefixtures("what_there_is")
def test_another_descriptor_wakes_a_wait(pair: tuple[socket.socket, socket.socket]) -> None:
    reader, writer = os.pipe()
    try:
        assert not _waiting.wait(pair[0].fileno(), read=True, wakes=[reader], milliseconds=0)
        os.write(writer, b"x")
        assert _waiting.wait(pair[0].fileno(), read=True, wakes=[reader])
    finally:
        os.close(reader)
        os.close(writer)


@pytest.mark.usefixtures("what_there_is")
def test_a_lost_connection_ends_a_wait(pair: tuple[socket.socket, socket.socket]) -> None:
    one, other = pair
    other.close()
    assert _waiting.wait(one.fileno(), read=True)


@pytest.mark.usefixtures("what_there_is")
def test_a_wait_ends_at_its_moment_and_not_before(pair: tuple[socket.socket, socket.socket]) -> None:
    moment = _waiting.moment_after(0.05)
    assert moment is not None
    assert not _waiting.wait_until(pair[0].fileno(), moment, read=True)
    assert time.monotonic() >= moment


@pytest.mark.usefixtures("what_there_is")
def test_a_connection_is_made_with_what_there_is(connect: Callable[..., Any], refusing_port: int) -> None:
    assert connect().is_open
    with pytest.raises(exceptions.AMQPConnectionError):
        pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", refusing_port))


@pytest.mark.parametrize(
    ("seconds", "milliseconds"),
    [
        (None, -1),
        (-1.0, 0),
        (0.0, 0),
        (0.0001, 1),
        (1.5, 1500),
        (2_147_483.0, 2_147_483_000),
        (2_147_484.0, _waiting.MOST_MS),
        (math.inf, _waiting.MOST_MS),
    ],
)
def test_seconds_become_milliseconds_that_poll_takes(seconds: float | None, milliseconds: int) -> None:
    assert _waiting.as_milliseconds(seconds) == milliseconds


@pytest.mark.parametrize("seconds", [None, math.inf, math.nan, 10**400])
def test_some_moments_never_come(seconds: float | None) -> None:
    assert _waiting.moment_after(seconds) is None
    assert _waiting.seconds_until(_waiting.moment_after(seconds)) is None


def test_a_long_sleep_is_made_of_shorter_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", sleep)
    _waiting.sleep(200_000)
    assert sum(slept) == 200_000
    assert max(slept) == 86400.0
    slept.clear()
    _waiting.sleep(0)
    assert slept == [0.0]
