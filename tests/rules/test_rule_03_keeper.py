"""Rule 3: one background thread sends heartbeats when due, whatever the user's code does."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.certs import Certificates
from support.nodes import LocalNode
from support.proxy import CLIENT, Proxy
from support.scripts import Script
from support.subject import exceptions
from support.urls import host_and_port

pytestmark = pytest.mark.rule(3)

CALLBACK_SECONDS = 10
HEARTBEAT = 2
SCENARIOS = [
    ("sleeping", "plain"),
    ("computing", "plain"),
    ("holding the GIL in C", "plain"),
    ("sleeping", "TLS"),
    ("computing", "TLS"),
]

CONSUMER = """
    import ctypes, ssl
    port, authority, queue, heartbeat, seconds, busy = sys.argv[1:]
    options = {}
    if authority:
        options['ssl_options'] = pika.SSLOptions(ssl.create_default_context(cafile=authority), 'localhost')
    connection = pika.BlockingConnection(
        pika.ConnectionParameters('127.0.0.1', int(port), heartbeat=int(heartbeat), **options))
    channel = connection.channel()
    channel.queue_declare(queue, exclusive=True)
    channel.basic_publish('', queue, b'work')

    def compute(seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            sum(i * i for i in range(1000))

    work = {'sleeping': time.sleep, 'computing': compute, 'holding the GIL in C': ctypes.PyDLL(None).sleep}

    def callback(channel, method, properties, body):
        print('begin')
        work[busy](int(seconds))
        print('end')
        channel.basic_ack(method.delivery_tag)
        channel.stop_consuming()

    channel.basic_consume(queue, callback)
    channel.start_consuming()
    print(channel.queue_declare(queue, passive=True).method.message_count)
    connection.close()
    print('closed')
"""


@pytest.fixture(scope="module")
def consumers(
    broker_url: str, tls_node: LocalNode, certificates: Certificates
) -> Iterator[dict[tuple[str, str], tuple[Script, Proxy]]]:
    """All scenarios side by side: each waits ten seconds, together they wait as long as one."""
    running: dict[tuple[str, str], tuple[Script, Proxy]] = {}
    with contextlib.ExitStack() as stack:
        for busy, transport in SCENARIOS:
            tls = transport == "TLS"
            target = ("127.0.0.1", tls_node.tls_port) if tls else host_and_port(broker_url)
            proxy = stack.enter_context(Proxy(*target))
            authority = certificates.authority if tls else ""
            queue = f"cpika-test-keeper-{proxy.port}"
            script = Script(CONSUMER, proxy.port, authority, queue, HEARTBEAT, CALLBACK_SECONDS, busy)
            running[busy, transport] = stack.enter_context(script), proxy
        yield running


@pytest.mark.rule(9)
@pytest.mark.parametrize("busy,transport", SCENARIOS)
@pytest.mark.timeout(240)
def test_heartbeats_leave_while_a_callback_takes_five_times_the_timeout(
    consumers: dict[tuple[str, str], tuple[Script, Proxy]], busy: str, transport: str
) -> None:
    script, proxy = consumers[busy, transport]
    script.expect("begin", timeout=60)
    script.expect("end", timeout=60)
    script.expect("0")
    script.expect("closed")
    assert script.finish() == 0
    if transport == "TLS":
        # What is in the records cannot be seen; that some left each second can.
        times = [event.time for event in proxy.events if event.kind == "bytes" and event.origin == CLIENT]
    else:
        times = [event.time for event in proxy.frames()]
        assert len(proxy.frames("HEARTBEAT")) >= CALLBACK_SECONDS / HEARTBEAT
    gaps = [later - earlier for earlier, later in zip(times, times[1:])]
    # One is due each second, the peer gives up after four; the rest is for a machine whose cores are busy.
    assert max(gaps) < 1.5 * HEARTBEAT, f"a gap of {max(gaps):.2f} s"


def test_heartbeats_leave_while_nobody_calls_the_connection(
    proxy: Proxy, connect: Callable[..., Any]
) -> None:
    connect(proxy, heartbeat=1)
    opened = proxy.wait_for_frame("Connection.Open")
    beats = proxy.wait_for_count(
        lambda event: event.name == "HEARTBEAT" and event.origin == CLIENT, 3, timeout=5
    )
    assert beats[-1].time - opened.time < 3, "a heartbeat leaves at least every second"


def test_many_connections_share_one_thread_that_blocks_all_signals(broker_url: str) -> None:
    code = """
        from pathlib import Path
        before = len(os.listdir('/proc/self/task'))
        connections = [pika.BlockingConnection(pika.URLParameters(sys.argv[1])) for _ in range(5)]
        tasks = sorted(map(int, os.listdir('/proc/self/task')))
        print(len(tasks) - before)
        for task in tasks:
            if task != os.getpid():
                status = Path(f'/proc/self/task/{task}/status').read_text()
                blocked = int(status.partition('SigBlk:')[2].split()[0], 16)
                wanted = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGCHLD, signal.SIGHUP)
                print(all(blocked >> (number - 1) & 1 for number in wanted))
        for connection in connections:
            connection.close()
    """
    with Script(code, broker_url) as script:
        script.expect("1")
        script.expect("True")
        assert script.finish() == 0


def test_a_dead_peer_is_declared_by_the_reader_when_pika_would_not_wait_longer(
    proxy: Proxy, connect: Callable[..., Any]
) -> None:
    """Two intervals; with short ones an interval and five seconds, the least that pika waits."""
    connection = connect(proxy, heartbeat=1)
    proxy.pause()
    begin = time.monotonic()
    with pytest.raises(exceptions.AMQPHeartbeatTimeout):
        connection.process_data_events(time_limit=20)
    assert 4.5 < time.monotonic() - begin < 10
    assert connection.is_closed
    with pytest.raises(exceptions.ConnectionWrongStateError):
        connection.process_data_events()


def test_the_keeper_alone_never_declares_a_peer_dead(proxy: Proxy, connect: Callable[..., Any]) -> None:
    """A callback that took longer than the peer may be silent finds the bytes that came meanwhile."""
    connection = connect(proxy, heartbeat=1)
    channel = connection.channel()
    proxy.wait_for_count(lambda event: event.name == "HEARTBEAT" and event.origin != CLIENT, 4, timeout=10)
    connection.process_data_events()
    assert channel.is_open
    assert connection.is_open
