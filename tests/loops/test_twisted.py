"""The adapter for Twisted: the same programs on pika and on cpika print the same.

A reactor runs once in a process, so each program has one of its own.
"""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import urllib.parse

import pytest
from support import amqp
from support.certs import Certificates
from support.fakeserver import FakeServer, Peer
from support.nodes import LocalNode

HEAD = """
import importlib, sys
pika = importlib.import_module(sys.argv[1])
adapter = importlib.import_module(sys.argv[1] + ".adapters.twisted_connection")
from twisted.internet import defer, endpoints, ssl, task

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
    if sys.argv[6]:  # TLS, and who vouches for the broker
        with open(sys.argv[6]) as file:
            authority = ssl.Certificate.loadPEM(file.read())
        options = ssl.optionsForClientTLS(sys.argv[2], ssl.trustRootFromCertificates([authority]))
        endpoint = endpoints.wrapClientTLS(options, endpoint)
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
    "bodies of all sizes, many under way": """
@defer.inlineCallbacks
def main(reactor):
    connection = yield connect(reactor, heartbeat=2)
    publishing, consuming = (yield connection.channel()), (yield connection.channel())
    declared = yield consuming.queue_declare("", exclusive=True)
    queue = declared.method.queue
    yield consuming.basic_qos(prefetch_count=10)
    messages, tag = yield consuming.basic_consume(queue)
    yield publishing.confirm_delivery()
    bodies = [bytes([65 + n % 26]) * size for n in range(15) for size in (0, 1, 17_000, 131_072, 400_000)]
    confirms = defer.gatherResults([publishing.basic_publish("", queue, body) for body in bodies])
    come = []
    for _ in bodies:
        message = yield messages.get()
        come.append(message.body)
        yield consuming.basic_ack(message.method.delivery_tag)
    show("confirmed", {type(confirm).__name__ for confirm in (yield confirms)})
    show("come in order", come == bodies)
    yield task.deferLater(reactor, 6, lambda: None)  # a peer without heartbeats would be gone
    show("left", (yield consuming.queue_declare(queue, passive=True)).method.message_count)
    closed = connection.closed
    show("ended", kind((yield connection.close())))
    show("closed", kind(closed.result) if closed.called and closed.result else "fired")
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
    assert_it_prints_the_same(name, broker_url)


@pytest.mark.parametrize("name", PROGRAMS)
def test_over_tls_it_prints_the_same_too(name: str, tls_node: LocalNode, certificates: Certificates) -> None:
    assert_it_prints_the_same(name, tls_node.tls_url, certificates.authority)


CAUSES = """
def chain(error):
    causes = []
    while error is not None:
        causes.append(repr(error))
        error = error.__cause__
    return " because ".join(causes[-2:])

@defer.inlineCallbacks
def main(reactor):
    connection = yield connect(reactor)
    show("by the client:", chain((yield connection.close())))
    connection = yield connect(reactor)
    channel = yield connection.channel()
    closed = connection.closed
    try:
        yield channel.basic_qos(prefetch_size=1)
    except Exception as error:
        show("the call:", chain(error))
    show("by the broker:", chain((yield closed)))
    try:
        yield connect(reactor, credentials=pika.PlainCredentials("guest", "wrong"))
    except Exception as error:
        show("refused:", chain(error))
"""

ORDER = """
@defer.inlineCallbacks
def main(reactor):
    connection = yield connect(reactor)
    channel = yield connection.channel()
    seen = []
    channel.queue_declare("no-such-queue", passive=True).addErrback(lambda _failure: seen.append(0))
    for n in range(1, 50):
        channel.basic_qos().addErrback(lambda _failure, n=n: seen.append(n))
    yield channel.on_closed
    show("in the order of the calls", seen == list(range(50)))
    closed, cancelled = connection.closed, connection.channel()
    cancelled.addErrback(lambda failure: show("cancelled", failure.type.__name__))
    cancelled.cancel()
    yield connection.channel()
    connection.close()
    show("closed", kind((yield closed)))
"""

REFUSED = """
@defer.inlineCallbacks
def main(reactor):
    try:
        yield connect(reactor)
    except Exception as error:
        show("refused", kind(error))
        if error.__cause__ is not None:
            show("because of", kind(error.__cause__))
"""


def test_what_waits_fails_in_order_and_what_was_cancelled_disturbs_no_end(broker_url: str) -> None:
    done = run(ORDER, "cpika", broker_url)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "in the order of the calls True",
        "cancelled CancelledError",
        "closed ConnectionDone Connection was closed cleanly.",
    ]


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
def test_twisted_s_reason_has_the_one_of_amqp_as_its_cause(
    tls: bool, tls_node: LocalNode, certificates: Certificates
) -> None:
    done = run(CAUSES, "cpika", *((tls_node.tls_url, certificates.authority) if tls else (tls_node.url,)))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    causes = ["ConnectionClosedByClient", *["NOT_IMPLEMENTED - prefetch_size"] * 2, "ACCESS_REFUSED"]
    for line, cause in zip(lines, causes):
        assert re.search(rf": Connection(Done|Lost)\(\) because .*{cause}", line), line
    assert len(lines) == len(causes)


def test_a_broker_that_nobody_vouches_for_is_not_spoken_to(
    tls_node: LocalNode, certificates: Certificates
) -> None:
    on_pika, on_cpika = (
        run(REFUSED, library, tls_node.tls_url, certificates.stranger).stdout.splitlines()
        for library in ("pika", "cpika")
    )
    assert on_cpika[0] == on_pika[0] == "refused AMQPConnectionError 1"
    assert "certificate verify failed" in on_cpika[1]


DEAF = """
adapter.FAREWELL_S = 0.3

@defer.inlineCallbacks
def main(reactor):
    connection = yield connect(reactor, blocked_connection_timeout=0.3)
    channel = yield connection.channel()
    closed = connection.closed
    for _ in range(20):
        channel.basic_publish("", "q", bytes(1_000_000))
    reason = yield closed
    show("closed", [type(reason).__name__, type(reason.__cause__).__name__])
"""


def test_a_peer_that_takes_nothing_any_more_does_not_keep_the_connection() -> None:
    """Twisted waited for it to take what was unsent: `closed` never fired."""
    deaf = threading.Event()

    def script(peer: Peer) -> None:
        peer.handshake()
        peer.serve_until("Channel.Open")
        peer.send(amqp.method(0, "Connection.Blocked", amqp.short("low on memory")))
        deaf.wait(30)

    with FakeServer(script) as server:
        done = run(DEAF, "cpika", f"amqp://guest:guest@127.0.0.1:{server.port}")
        deaf.set()
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["closed ['ConnectionAborted', 'ConnectionBlockedTimeout']"]


def run(program: str, library: str, broker_url: str, authority: str = "") -> subprocess.CompletedProcess[str]:
    """Run a program on a library; with the file of an authority over TLS."""
    url = urllib.parse.urlsplit(broker_url)
    given = (url.hostname or "", str(url.port or 5672), url.username or "", url.password or "", authority)
    return subprocess.run(
        [sys.executable, "-c", HEAD + program + "\ntask.react(main)\n", library, *given],
        capture_output=True,
        text=True,
        timeout=50,
    )


def assert_it_prints_the_same(name: str, broker_url: str, authority: str = "") -> None:
    printed = []
    for library in ("pika", "cpika"):
        done = run(PROGRAMS[name], library, broker_url, authority)
        assert done.returncode == 0, done.stderr
        text = re.sub(r"ctag\d+\.\w+|amq\.gen-[\w-]+", "<name>", done.stdout)
        if authority:  # a broker closes the socket behind its CloseOk: whose end of TLS was first is chance
            text = re.sub(r"ConnectionDone .* cleanly\.|ConnectionLost .* fashion\.", "<end>", text)
        printed.append(text)
    assert printed[0] != ""
    assert printed[1] == printed[0]
