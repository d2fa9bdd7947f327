"""Rule 7: after fork the child's copies are dead, and the parent's connection does not feel the child."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from typing import Any

import pytest
from support.certs import Certificates
from support.nodes import LocalNode
from support.proxy import CLIENT, Proxy
from support.scripts import Script
from support.subject import exceptions, pika

pytestmark = pytest.mark.rule(7)

CHILD_CALLS = """
    import gc
    host, port, queue = '127.0.0.1', int(sys.argv[1]), sys.argv[2]
    parameters = pika.ConnectionParameters(host, port, heartbeat=1)
    connection = pika.BlockingConnection(parameters)
    channel = connection.channel()
    channel.queue_declare(queue)
    channel.basic_publish('', queue, b'to be got')
    method, _, _ = channel.basic_get(queue)
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        calls = {
            'publish': lambda: channel.basic_publish('', queue, b'from the child'),
            'large publish': lambda: channel.basic_publish('', queue, bytes(1 << 20)),
            'ack': lambda: channel.basic_ack(method.delivery_tag),
            'nack': lambda: channel.basic_nack(method.delivery_tag),
            'get': lambda: channel.basic_get(queue),
            'declare': lambda: channel.queue_declare(queue),
            'consume': lambda: channel.basic_consume(queue, print),
            'channel': lambda: connection.channel(),
            'process': lambda: connection.process_data_events(),
            'sleep': lambda: connection.sleep(0.01),
            'threadsafe': lambda: connection.add_callback_threadsafe(print),
            'close channel': lambda: channel.close(),
            'close': lambda: connection.close(),
        }
        for name, call in calls.items():
            try:
                call()
                print(name, 'did not raise')
            except (exceptions.ConnectionWrongStateError, exceptions.ChannelWrongStateError):
                pass
            except BaseException as error:
                print(name, repr(error))
        # A connection of the child's own works, with a keeper of its own.
        with pika.BlockingConnection(parameters) as own:
            own.channel().queue_declare('', exclusive=True)
            own.sleep(2.5)
        del channel, connection, calls
        gc.collect()
        print('child done')
        sys.stdout.flush()
        sys.exit(0)
    _, status = os.waitpid(child, 0)
    print('child status', status)
    channel.basic_ack(method.delivery_tag)
    channel.basic_publish('', queue, b'from the parent')
    connection.process_data_events(time_limit=0.5)
    print(channel.queue_declare(queue, passive=True).method.message_count)
    connection.close()
    print('parent done')
"""


def test_a_child_can_neither_use_nor_disturb_its_parents_connection(proxy: Proxy, queue_name: str) -> None:
    with Script(CHILD_CALLS, proxy.port, queue_name) as script:
        for line in ("child done", "child status 0", "1", "parent done"):
            script.expect(line)
        assert script.finish() == 0
    parents = [event for event in proxy.frames() if event.link == 1]
    names = [event.name for event in parents if event.name != "HEARTBEAT"]
    after = names[names.index("Basic.Ack") :]
    assert after[:5] == ["Basic.Ack", "Basic.Publish", "HEADER", "BODY", "Queue.Declare"]
    assert after[5:] in (["Channel.Close", "Connection.Close"], ["Connection.Close"])
    # Both keepers sent: the parent's went on, the child's new one started.
    for link in (1, 2):
        beats = [e for e in proxy.frames("HEARTBEAT") if e.link == link]
        assert len(beats) >= 2, f"link {link}: {len(beats)} heartbeats"
    assert not [event for event in proxy.events if event.kind == "bytes"]


def test_the_parent_goes_on_after_a_child_that_ends_at_once(proxy: Proxy, queue_name: str) -> None:
    code = """
        connection = pika.BlockingConnection(pika.ConnectionParameters('127.0.0.1', int(sys.argv[1])))
        channel = connection.channel()
        for how in (os._exit, sys.exit):
            child = os.fork()
            if child == 0:
                how(0)
            os.waitpid(child, 0)
            channel.queue_declare(sys.argv[2])
        connection.close()
        print('parent done')
    """
    with Script(code, proxy.port, queue_name) as script:
        script.expect("parent done")
        assert script.finish() == 0
    assert len(proxy.frames("Queue.Declare")) == 2
    assert len(proxy.frames("Connection.Close")) == 1


def test_a_fork_inside_a_callback_leaves_the_parent_whole(proxy: Proxy, queue_name: str) -> None:
    code = """
        connection = pika.BlockingConnection(pika.ConnectionParameters('127.0.0.1', int(sys.argv[1])))
        channel = connection.channel()
        queue = sys.argv[2]
        channel.queue_declare(queue)
        for number in range(10):
            channel.basic_publish('', queue, b'%d' % number)
        seen = []

        def callback(channel, method, properties, body):
            seen.append(int(body))
            child = os.fork()
            if child == 0:
                try:
                    channel.basic_ack(method.delivery_tag)
                except (exceptions.ConnectionWrongStateError, exceptions.ChannelWrongStateError):
                    os._exit(0)
                os._exit(1)
            assert os.waitpid(child, 0)[1] == 0
            channel.basic_ack(method.delivery_tag)
            if len(seen) == 10:
                channel.stop_consuming()

        channel.basic_consume(queue, callback)
        channel.start_consuming()
        print(seen == list(range(10)), channel.queue_declare(queue, passive=True).method.message_count)
        connection.close()
    """
    with Script(code, proxy.port, queue_name) as script:
        script.expect("True 0")
        assert script.finish() == 0
    assert len([e for e in proxy.frames("Basic.Ack") if e.origin == CLIENT]) == 10


def test_fork_while_threads_publish_does_not_lock_the_child_up(broker_url: str) -> None:
    """The lock may be held by a thread that does not exist in the child."""
    code = """
        connection = pika.BlockingConnection(pika.URLParameters(sys.argv[1]))
        channel = connection.channel()
        stop = threading.Event()

        def publish():
            while not stop.is_set():
                channel.basic_publish('', 'cpika-test-nowhere', b'x' * 1000)

        threads = [threading.Thread(target=publish) for _ in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(20):
            child = os.fork()
            if child == 0:
                signal.alarm(10)
                try:
                    channel.basic_publish('', 'cpika-test-nowhere', b'x')
                except (exceptions.ConnectionWrongStateError, exceptions.ChannelWrongStateError):
                    os._exit(0)
                os._exit(1)
            assert os.waitpid(child, 0)[1] == 0
        stop.set()
        for thread in threads:
            thread.join()
        connection.close()
        print('done')
    """
    with Script(code, broker_url) as script:
        script.expect("done", timeout=40)
        assert script.finish() == 0


@pytest.mark.parametrize("secured", [False, True], ids=["plain", "tls"])
def test_a_child_that_lives_on_does_not_hide_its_parents_death(
    secured: bool, tls_node: LocalNode, certificates: Certificates, queue_name: str
) -> None:
    code = """
        import ssl
        port, queue, authority = int(sys.argv[1]), sys.argv[2], sys.argv[3]
        secure = None
        if authority:
            secure = pika.SSLOptions(ssl.create_default_context(cafile=authority), 'localhost')
        parameters = pika.ConnectionParameters('127.0.0.1', port, heartbeat=0, ssl_options=secure)
        connection = pika.BlockingConnection(parameters)
        connection.channel().queue_declare(queue, exclusive=True)
        if os.fork() == 0:
            os.close(1)
            os.read(0, 1)  # until the test has ended
            os._exit(0)
        print('forked')
        os._exit(0)
    """
    port = tls_node.tls_port if secured else tls_node.port
    with Script(code, port, queue_name, certificates.authority if secured else "") as script:
        script.expect("forked")
        with pika.BlockingConnection(pika.URLParameters(tls_node.url)) as watch:
            end = time.monotonic() + 10
            while (found := reason(watch, queue_name)) == 405:  # the parent seems to live
                assert time.monotonic() < end
                watch.sleep(0.05)
        assert found == 404


def reason(connection: Any, queue: str) -> int:
    """Why the broker does not let one look at a queue."""
    with pytest.raises(exceptions.ChannelClosedByBroker) as raised:
        connection.channel().queue_declare(queue, passive=True)
    return int(raised.value.reply_code)


WHILE_A_THREAD_LOADS = """
import faulthandler, importlib, os, sys, threading, time, traceback
import cpika
url, home, name = sys.argv[1:]

def connect():
    made = getattr(importlib.import_module(home), name)(cpika.URLParameters(url))
    made.close()

def initializing():
    spec = getattr(sys.modules.get(home), "__spec__", None)
    return getattr(spec, "_initializing", False)

def hook(event, arguments):
    if event == "import" and initializing() and threading.current_thread() is thread:
        reached.set()
        time.sleep(0.02)  # in the midst of it, for a while

reached = threading.Event()
thread = threading.Thread(target=connect)
sys.addaudithook(hook)
thread.start()
loading = reached.wait(20)
child = os.fork()
if child == 0:
    faulthandler.dump_traceback_later(10, exit=True)
    try:
        connect()
    except BaseException:
        traceback.print_exc()
        os._exit(2)
    os._exit(0)
status = os.waitpid(child, 0)[1]
thread.join()
print(loading, status)
"""
KINDS = {"blocking_connection": "BlockingConnection", "thread_safe_connection": "Connection"}


@pytest.mark.parametrize("module", KINDS)
def test_a_child_made_while_a_thread_loads_the_library_can_connect(module: str, broker_url: str) -> None:
    """The module's lock was a thread's that the child has not: it never got past the import."""
    arguments = (broker_url, f"cpika.adapters.{module}", KINDS[module])
    done = subprocess.run(
        [sys.executable, "-c", WHILE_A_THREAD_LOADS, *arguments], capture_output=True, text=True, timeout=50
    )
    assert done.stdout == "True 0\n", done.stderr


COUNTS_LATE = """
    import _thread, os, time
    os.register_at_fork(after_in_parent=lambda: _thread.start_new_thread(time.sleep, (1,)))
    if os.fork() == 0:
        os._exit(0)
    os.wait()
"""


def counts_threads_that_a_hook_starts() -> bool:
    """CPython 3.13.0 does: it counts behind the hooks of a fork, and the keeper goes on there."""
    program = [sys.executable, "-W", "always", "-c", textwrap.dedent(COUNTS_LATE)]
    told = subprocess.run(program, capture_output=True, text=True, timeout=30, check=True)
    return "multi-threaded" in told.stderr


def test_a_fork_beside_a_connection_warns_of_nothing(broker_url: str) -> None:
    """From 3.12 on CPython warns where a process has another thread, and the keeper was one.  It goes on."""
    code = """
        import warnings
        from support.forks import names_of_threads
        parameters = pika.URLParameters(sys.argv[1])
        parameters.heartbeat = 60
        connection = pika.BlockingConnection(parameters)
        channel = connection.channel()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always')
            for _ in range(3):
                child = os.fork()
                if child == 0:
                    os._exit(0)
                assert os.waitpid(child, 0)[1] == 0
        print([str(warning.message) for warning in caught])
        end = time.monotonic() + 10
        while 'cpika-keeper' not in names_of_threads() and time.monotonic() < end:
            time.sleep(0.01)
        print('cpika-keeper' in names_of_threads())
        print(channel.queue_declare('', exclusive=True).method.message_count)
        connection.close()
    """
    with Script(code, broker_url) as script:
        assert script.line() == "[]" or counts_threads_that_a_hook_starts()
        for line in ("True", "0"):
            script.expect(line)
        assert script.finish() == 0
