"""A WSGI application whose workers publish and get; one connection is made where it is loaded."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

from support.subject import pika

parameters = pika.URLParameters(os.environ["CPIKA_BROKER_URL"])
parameters.heartbeat = 1
before = pika.BlockingConnection(parameters).channel()
own: list[Any] = []


def round_trip(text: str) -> str:
    """Publish with a confirm and get, over a connection of the worker's own."""
    if not own:
        own.append(pika.BlockingConnection(parameters))
    with own[0].channel() as channel:
        channel.confirm_delivery()
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.basic_publish("", queue, text.encode())
        return str(channel.basic_get(queue, auto_ack=True)[2].decode())


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    answer: list[Any] = [os.getpid()]
    try:
        if environ["PATH_INFO"] == "/before":
            answer.append(before.queue_declare("", exclusive=True).method.queue)
        else:
            answer.append(round_trip(environ["QUERY_STRING"]))
    except Exception as error:
        answer.append(repr(error))
    body = json.dumps(answer).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
