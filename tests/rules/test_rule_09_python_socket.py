"""Rule 9: a socket that is not exactly CPython's own is used through its Python methods."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from support.certs import Certificates
from support.nodes import LocalNode
from support.proxy import SERVER, Proxy
from support.scripts import Script
from support.subject import pika

pytestmark = pytest.mark.rule(9)


@pytest.fixture
def tls_options(certificates: Certificates) -> dict[str, Any]:
    return {"ssl_options": pika.SSLOptions(certificates.client_context(), "localhost")}


@pytest.fixture
def tls_proxy(tls_node: LocalNode, make_proxy: Callable[..., Proxy]) -> Proxy:
    return make_proxy(f"amqps://localhost:{tls_node.tls_port}")


def test_messages_that_came_in_one_read_of_the_ssl_layer_are_all_dispatched(
    tls_proxy: Proxy, tls_options: dict[str, Any], connect: Callable[..., Any]
) -> None:
    """Bytes that wait inside the SSL object make no descriptor readable: they must be empty before a wait."""
    connection = connect(tls_proxy, **tls_options)
    channel = connection.channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    count = 200
    received: list[bytes] = []
    tls_proxy.pause(SERVER)
    for number in range(count):
        channel.basic_publish("", queue, b"%d" % number)
    tls_proxy.resume()
    channel.basic_consume(queue, lambda *args: received.append(args[3]), auto_ack=True)
    begin = time.monotonic()
    while len(received) < count and time.monotonic() - begin < 10:
        connection.process_data_events(time_limit=5)
    assert received == [b"%d" % number for number in range(count)]
    assert time.monotonic() - begin < 5, "something waited although its bytes were there"


def test_an_ssl_send_that_met_a_full_socket_goes_on_where_it_stood(
    tls_proxy: Proxy, tls_options: dict[str, Any], connect: Callable[..., Any]
) -> None:
    connection = connect(tls_proxy, **tls_options)
    channel = connection.channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    body = bytes(range(256)) * (64 << 10)  # 16 MB
    tls_proxy.pause("client")
    threading.Timer(0.3, tls_proxy.resume).start()
    channel.basic_publish("", queue, body)
    method, _, got = channel.basic_get(queue, auto_ack=True)
    while method is None:
        method, _, got = channel.basic_get(queue, auto_ack=True)
    assert got == body


def test_threads_share_one_ssl_object(
    tls_proxy: Proxy, tls_options: dict[str, Any], connect: Callable[..., Any]
) -> None:
    connection = connect(tls_proxy, **tls_options)
    consuming = connection.channel()
    queue = consuming.queue_declare("", exclusive=True).method.queue
    received: list[bytes] = []
    consuming.basic_consume(queue, lambda *args: received.append(args[3]), auto_ack=True)
    channels = [connection.channel() for _ in range(4)]

    def publish(number: int) -> None:
        for index in range(100):
            channels[number].basic_publish("", queue, b"%d-%d" % (number, index))

    threads = [threading.Thread(target=publish, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    end = time.monotonic() + 20
    while len(received) < 400 and time.monotonic() < end:
        connection.process_data_events(time_limit=1)
    for thread in threads:
        thread.join(10)
    assert sorted(received) == sorted(b"%d-%d" % (n, i) for n in range(4) for i in range(100))
    for number in range(4):
        mine = [body for body in received if body.startswith(b"%d-" % number)]
        assert mine == [b"%d-%d" % (number, index) for index in range(100)], "each thread's order is kept"


def test_a_patched_socket_class_sees_every_byte(broker_url: str) -> None:
    """gevent and its like put a class of their own in the place of socket.socket."""
    code = """
        import socket
        counts = {'sent': 0, 'received': 0}
        original = socket.socket

        class Patched(original):
            def send(self, data, *flags):
                n = super().send(data, *flags)
                counts['sent'] += n
                return n

            def sendall(self, data, *flags):
                counts['sent'] += len(data)
                return super().sendall(data, *flags)

            def sendmsg(self, buffers, *rest):
                n = super().sendmsg(buffers, *rest)
                counts['sent'] += n
                return n

            def recv(self, *args):
                data = super().recv(*args)
                counts['received'] += len(data)
                return data

            def recv_into(self, *args):
                n = super().recv_into(*args)
                counts['received'] += n
                return n

            def recvmsg_into(self, *args):
                answer = super().recvmsg_into(*args)
                counts['received'] += answer[0]
                return answer

        socket.socket = Patched
        connection = pika.BlockingConnection(pika.URLParameters(sys.argv[1]))
        channel = connection.channel()
        queue = channel.queue_declare('', exclusive=True).method.queue
        before = dict(counts)
        for _ in range(10):
            channel.basic_publish('', queue, bytes(100_000))
        bodies = []

        def callback(channel, method, properties, body):
            bodies.append(len(body))
            channel.basic_ack(method.delivery_tag)
            if len(bodies) == 10:
                channel.stop_consuming()

        channel.basic_consume(queue, callback)
        channel.start_consuming()
        print(bodies == [100_000] * 10)
        print(*(counts[way] - before[way] > 1_000_000 for way in ('sent', 'received')))
        connection.close()
    """
    with Script(code, broker_url) as script:
        script.expect("True")
        script.expect("True True")
        assert script.finish() == 0


def test_no_thread_of_ours_stops_the_interpreter_from_ending(
    tls_node: LocalNode, certificates: Certificates
) -> None:
    """The thread that keeps TLS connections ends with the interpreter, also when nobody closed them."""
    code = """
        import ssl
        options = pika.SSLOptions(ssl.create_default_context(cafile=sys.argv[2]), 'localhost')
        connection = pika.BlockingConnection(
            pika.ConnectionParameters('127.0.0.1', int(sys.argv[1]), heartbeat=1, ssl_options=options))
        connection.sleep(1.5)
        print('end')
    """
    with Script(code, tls_node.tls_port, certificates.authority) as script:
        script.expect("end")
        assert script.finish(timeout=10) == 0
