"""Rule 1: the GIL stays held around a socket call that cannot wait, and is dropped only to wait."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.scripts import Script

pytestmark = pytest.mark.rule(1)


@contextlib.contextmanager
def busy_thread() -> Iterator[list[int]]:
    """A thread that computes without a pause; yields its counter."""
    counter = [0]
    stop = threading.Event()

    def compute() -> None:
        while not stop.is_set():
            counter[0] += 1

    thread = threading.Thread(target=compute)
    thread.start()
    try:
        yield counter
    finally:
        stop.set()
        thread.join()


def test_a_publisher_beside_a_busy_thread_keeps_its_pace(connect: Callable[..., Any]) -> None:
    """Giving the GIL away for each send costs one switch interval (5 ms) a message: 200 messages a second."""
    channel = connect().channel()
    published = 0
    with busy_thread():
        end = time.monotonic() + 1
        while time.monotonic() < end:
            channel.basic_publish("", "cpika-test-nowhere", b"x" * 100)
            published += 1
    assert published > 2000, f"{published} messages in a second"


def test_a_thread_beside_a_publisher_still_runs(connect: Callable[..., Any]) -> None:
    channel = connect().channel()
    with busy_thread() as counter:
        before = counter[0]
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            channel.basic_publish("", "cpika-test-nowhere", b"x" * 100)
        after = counter[0]
    assert after - before > 10_000, f"the thread counted to {after - before} in half a second"


def test_a_wait_leaves_the_gil_to_others(connect: Callable[..., Any]) -> None:
    connection = connect()
    with busy_thread() as counter:
        connection.process_data_events()
        before = counter[0]
        connection.sleep(0.5)
        after = counter[0]
    assert after - before > 100_000, f"the thread counted to {after - before} in half a second"


@pytest.fixture
def endless_port() -> Iterator[int]:
    """Port of a server that answers Basic.Consume with deliveries faster than anybody can take them."""
    command = [sys.executable, "-m", "support.fakeserver"]
    server = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1], start_new_session=True
    )
    try:
        assert server.stdout is not None
        yield int(server.stdout.readline())
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


# itertools.chain takes what a callback gets, and is C: between two messages no bytecode runs.
ENDLESS_CONSUMER = """
        import itertools
        connection = pika.BlockingConnection(pika.ConnectionParameters('127.0.0.1', int(sys.argv[1])))
        channel = connection.channel()
        channel.basic_consume('q', itertools.chain, auto_ack=True)
"""


def test_a_thread_runs_beside_a_consumer_whose_callback_is_written_in_c(endless_port: int) -> None:
    code = """
        ticks = []

        def tick():
            while len(ticks) < 20:
                ticks.append(time.monotonic())
                time.sleep(0.01)
            print('ticked')
            os._exit(0)

        threading.Thread(target=tick).start()
        channel.start_consuming()
    """
    with Script(ENDLESS_CONSUMER + code, endless_port) as script:
        script.expect("ticked")
        assert script.finish() == 0


def test_a_signal_reaches_a_consumer_whose_callback_is_written_in_c(endless_port: int) -> None:
    code = """
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        begin = time.monotonic()
        try:
            channel.start_consuming()
        except KeyboardInterrupt:
            print('interrupted', flush=True)
        os._exit(0)
    """
    with Script(ENDLESS_CONSUMER + code, endless_port) as script:
        script.expect("interrupted")
        assert script.finish() == 0
