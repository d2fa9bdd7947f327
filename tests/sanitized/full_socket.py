"""Publishers that wait for the socket, beside threads that dispatch and acknowledge, on one connection.

python full_socket.py BROKER_URL SECONDS
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

import cpika
from cpika.exceptions import AMQPError

BODY = bytes(50_000)


def main(url: str, seconds: float) -> None:
    connection = cpika.BlockingConnection(cpika.URLParameters(url))
    queue = connection.channel().queue_declare("", exclusive=True).method.queue
    consumed: list[int] = []

    def publishes() -> None:
        channel = connection.channel()
        while True:
            channel.basic_publish("", queue, BODY)

    def consumes() -> None:
        channel = connection.channel()
        for method, _, _ in channel.consume(queue):
            assert method is not None
            channel.basic_ack(method.delivery_tag)
            consumed.append(1)

    def dispatches() -> None:
        channel = connection.channel()

        def on_message(on: Any, method: Any, _properties: Any, _body: bytes) -> None:
            on.basic_ack(method.delivery_tag)
            consumed.append(1)

        channel.basic_consume(queue, on_message)
        channel.start_consuming()

    def until_the_end(call: Callable[[], None]) -> None:
        try:
            call()
        except AMQPError:
            assert closing.is_set()

    closing = threading.Event()
    calls = [publishes] * 2 + [consumes, dispatches] * 2
    threads = [threading.Thread(target=until_the_end, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    closing.wait(seconds)
    closing.set()
    connection.close()
    for thread in threads:
        thread.join()
    assert consumed


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
