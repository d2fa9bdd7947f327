"""The adapter for Twisted: the same programs on pika and on cpika print the same.

A reactor runs once in a process, so each program has one of its own.
"""

from __future__ import annotations

import re
import subprocess
import sys
import urllib.parse

import pytest

HEAD = """
import importlib, sys
pika = importlib.import_module(sys.argv[1])
adapter = importlib.import_module(sys.argv[1] + ".adapters.twisted_connection")
from twisted.internet import defer, endpoints, task

def show(label, value):
    print(label, value)

def kind(error):
    return f"{type(error).__name__} {error}"

@defer.inlineCallbacks
def connect(reactor, **changes):
    given = dict(credentials=pika.PlainCredentials(sys.argv[4], sys.argv[5]))
    given.update(changes)
    protocol = adapter.TwistedProtocolConnection(pika.ConnectionParameters(**given))
    endpoint = endpoints.HostnameEndpoint(reactor, sys.argv[2], int(sys.argv[3]))
    connection = yield endpoints.connectProtocol(endpoint, protocol)
    yield connection.ready
    return connection
"""

PROGRAMS = {
    "publish, consume, get and confirm": """
@defer.inlineCallbacks
def main(reactor):
    connection = yield connect(reactor)
    show("open", [connection.is_open, connection.is_closed])
    closed = connection.closed
    channel = yield connection.channel()
    declared = yield channel.queue_declare("", exclusive=True)
    queue = declared.method.queue
    show("publish", (yield channel.basic_publish("", queue, b"1")))
    show("confirms", (yield channel.confirm_delivery()).method)
    confirmed = yield channel.basic_publish("", queue, b"2")
    show("confirmed", type(confirmed).__name__)
    try:
        yield channel.basic_publish("", "nobody-has-this", b"3", mandatory=True)
    except Exception as error:
        show("unroutable", [type(error).__name__, [m.body for m in error.messages]])
    got = yield channel.basic_get(queue)
    show("got", [got.method, got.properties, got.body, got.channel is channel])
    yield channel.basic_ack(got.method.delivery_tag)
    messages, tag = yield channel.basic_consume(queue)
    message = yield messages.get()
    show("message", [message.method.delivery_tag, message.body])
    channel.basic_ack(message.method.delivery_tag)
    show("qos", (yield channel.basic_qos(prefetch_count=1)).method)
    waiting = messages.get()
    show("cancelled", type((yield channel.basic_cancel(tag)).method).__name__)
    try:
        yield waiting
    except Exception as error:
        show("queue's end", kind(error))
    show("empty", (yield channel.basic_get(queue)))
    show("ended", kind((yield connection.close())))
    show("closed", kind(closed.result) if closed.called and closed.result else "fired")
""",
    "the broker closes a channel": """
@defer.inlineCallbacks
def main(reactor):
    connection = yield connect(reactor)
    channel = yield connection.channel()
    declared = yield channel.queue_declare("", exclusive=True)
    messages, tag = yield channel.basic_consume(declared.method.queue)
    waiting = messages.get()
    channel.on_closed.addCallback(lambda reason: show("on_closed", kind(reason)))
    for name, call in (
        ("passive", lambda: channel.queue_declare("no-such-queue", passive=True)),
        ("afterwards", lambda: channel.queue_declare("", exclusive=True)),
        ("publish", lambda: channel.basic_publish("", "q", b"x")),
        ("queue", lambda: waiting),
    ):
        try:
            yield call()
        except Exception as error:
            show(name, kind(error))
    another = yield connection.channel()
    show("another", [another.channel_number, another.is_open])
    show("deleted", type((yield another.exchange_delete("no-such-exchange")).method).__name__)
    show("ended", kind((yield connection.close())))
""",
    "a wrong password": """
@defer.inlineCallbacks
def main(reactor):
    try:
        yield connect(reactor, credentials=pika.PlainCredentials("guest", "wrong"))
    except Exception as error:
        show("refused", kind(error))
""",
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_prints_the_same_on_both_libraries(name: str, broker_url: str) -> None:
    url = urllib.parse.urlsplit(broker_url)
    program = HEAD + PROGRAMS[name] + "\ntask.react(main)\n"
    printed = []
    for library in ("pika", "cpika"):
        arguments = [
            library,
            url.hostname or "",
            str(url.port or 5672),
            url.username or "",
            url.password or "",
        ]
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=50
        )
        assert done.returncode == 0, done.stderr
        printed.append(re.sub(r"ctag\d+\.\w+|amq\.gen-[\w-]+", "<name>", done.stdout))
    assert printed[0] != ""
    assert printed[1] == printed[0]
