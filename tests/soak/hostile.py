"""Part 6: servers that say what no broker says.

What comes out is an exception of pika's and a closed connection.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import re
import ssl
import time
from collections.abc import Callable
from typing import Any

from support.subject import StackTimeout, exceptions, pika

from . import inputs_floods, inputs_frames, inputs_handshake, memory, say
from .case import Case, Part, Room
from .hostile_input import EITHER, ENDED, LIVES, REFUSED, Input
from .ledger import Ledger
from .peers import CountingPeer, PeerProcess
from .stages import no_node

SECRET = "s0ak-secret"
BOUND = 10.0  # seconds for any call
HANDSHAKE = 2.0  # seconds until a handshake that goes nowhere is given up
AHEAD = 1 << 20  # bytes that may be allocated beyond what the peer has sent
READ_AT_ONCE = 64 << 10
PAGES = 128 << 10
NOISE = 3 << 19  # what Python's own allocator takes at a time, and a little more
WRONG_STATE = (exceptions.ConnectionWrongStateError, exceptions.ChannelWrongStateError)
BARE = re.compile(
    r"(Value|Key|Recursion|Memory|Attribute|Type|Index|Unicode\w+|Assertion|struct\.|System)[eE]rror\("
)


class Client:
    """One connection to a hostile server, and what came of it."""

    def __init__(self, ledger: Ledger, one: Input, ports: list[int], context: ssl.SSLContext | None) -> None:
        self.ledger, self.one = ledger, one
        self.bodies: list[bytes] = []
        self.channel_errors: list[BaseException] = []
        self.connection: Any = None
        self.channel: Any = None
        options = pika.SSLOptions(context, "localhost") if context is not None else None
        self.parameters = [
            pika.ConnectionParameters(
                "127.0.0.1",
                port,
                credentials=pika.PlainCredentials("guest", SECRET),
                heartbeat=one.heartbeat,
                stack_timeout=HANDSHAKE if one.play == "connect" else 2 * HANDSHAKE,
                socket_timeout=HANDSHAKE,
                blocked_connection_timeout=4,
                ssl_options=options,
            )
            for port in ports
        ]

    def timed(self, function: Callable[..., Any], *args: Any) -> Any:
        return self.ledger.call(function.__name__.strip("<>"), BOUND, function, *args)

    def connect(self) -> Any:
        self.connection = self.timed(pika.BlockingConnection, self.parameters)
        return self.connection

    def open_channel(self) -> Any:
        self.channel = self.timed(self.connect().channel)
        return self.channel

    def on_message(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        repr((method, properties))  # reads all that is decoded late
        self.bodies.append(body)
        if body == say.WORK:
            time.sleep(1)  # as a callback that works; meanwhile the peer fills what the kernel takes

    def await_last(self) -> None:
        """Dispatches until the last message, an error, or the end of patience."""
        end = time.monotonic() + self.one.seconds
        to_the_end = self.one.wanted in (REFUSED, ENDED)
        while b"last" not in self.bodies and (to_the_end or self.channel.is_open) and time.monotonic() < end:
            self.connection.process_data_events(end - time.monotonic())


# ---- what clients do ----


def consume(client: Client) -> None:
    channel = client.open_channel()
    channel.add_on_cancel_callback(lambda frame: None)
    channel.add_on_return_callback(lambda *message: None)
    channel.basic_consume("q", client.on_message, auto_ack=True, consumer_tag=say.TAG)
    client.await_last()


def get(client: Client) -> None:
    channel = client.open_channel()
    _, _, body = client.timed(channel.basic_get, "q")
    client.bodies += [body, b"last"]


def declare(client: Client) -> None:
    channel = client.open_channel()
    client.timed(channel.queue_declare, "q")
    client.timed(channel.basic_qos, 0, 1)
    client.bodies.append(b"last")


def publish(client: Client) -> None:
    channel = client.open_channel()
    channel.confirm_delivery()
    with contextlib.suppress(exceptions.UnroutableError, exceptions.NackError):
        client.timed(lambda: channel.basic_publish("", "q", b"body", mandatory=True))
    client.timed(channel.basic_qos, 0, 1)
    client.bodies.append(b"last")


def publish_much(client: Client) -> None:
    """Without confirms, while the peer sends."""
    channel = client.open_channel()
    channel.basic_consume("q", client.on_message, auto_ack=True, consumer_tag=say.TAG)
    for _ in range(200):
        client.timed(lambda: channel.basic_publish("", "q", b"x" * 10_000))
    client.await_last()


def answer(client: Client) -> None:
    """Publishes in the callback, for each message."""

    def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        client.bodies.append(body)
        channel.basic_publish("", "q", body)

    client.open_channel().basic_consume("q", on_message, auto_ack=True, consumer_tag=say.TAG)
    client.await_last()


def publish_late(client: Client) -> None:
    """Publishes when the end of the connection has been there for two heartbeats."""
    channel = client.open_channel()
    time.sleep(2.5)
    for _ in range(100):
        client.timed(lambda: channel.basic_publish("", "q", b"body"))


def close(client: Client) -> None:
    client.open_channel()
    client.timed(client.connection.close)


def connect_only(client: Client) -> None:
    client.connect()
    client.bodies.append(b"last")


PLAYS: dict[str, Callable[[Client], None]] = {
    "consume": consume,
    "get": get,
    "declare": declare,
    "publish": publish,
    "publish much": publish_much,
    "answer": answer,
    "publish late": publish_late,
    "close": close,
    "connect": connect_only,
}


def good_server(peer: CountingPeer) -> None:
    """The next host of a sequence."""
    say.after_consume()(peer)


class Watch(logging.Handler):
    """Looks for the password in every record, at every level."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = ""

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        if SECRET in text:
            self.seen = self.seen or text[:200]


# ---- the case ----


def play(room: Room, one: Input, tls: bool) -> None:
    """One input: the client alone with the hostile server, then with a good one behind it."""
    ledger = room.ledger
    ledger.unit = "inputs"
    watch = listen_to_logs()
    context = room.certificates.client_context() if tls else None
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if tls else None
    if server_context is not None:
        server_context.load_cert_chain(room.certificates.server_cert, room.certificates.server_key)
    with (
        PeerProcess(one.script, None if one.raw else server_context) as bad,
        PeerProcess(good_server, server_context) as good,
    ):
        warm_up(good.port, context)
        before = memory.status("VmSize")
        client = Client(ledger, one, [bad.port], context)
        error = run_play(client)
        grown = memory.status("VmPeak") - before
        judge(client, error)
        end(client)
        report = bad.report()
        judge_report(client, error, report, grown)
        if one.play == "connect" and error is not None:
            next_host(ledger, one, [bad.port, good.port], context)
    if watch.seen:
        ledger.fault("wrong", f"the password stands in the log: {watch.seen}")
    ledger.done += 1
    how = "lived" if error is None else type(error).__name__
    ledger.outcome(how)


def listen_to_logs() -> Watch:
    """A handler on the root logger, the only one."""
    watch = Watch()
    logging.disable(logging.NOTSET)
    logging.getLogger().handlers[:] = [watch]
    logging.getLogger().setLevel(logging.DEBUG)
    return watch


def warm_up(port: int, context: ssl.SSLContext | None) -> None:
    """A connection as it should be, so that threads, modules and buffers are there."""
    one = Input("good", "", good_server, LIVES)
    client = Client(Ledger(), one, [port], context)
    consume(client)
    if client.bodies != [b"good", b"last"]:
        raise AssertionError(f"a good server's messages: {client.bodies}")
    client.connection.close()


def run_play(client: Client) -> BaseException | None:
    """What the client's first failing call raised; the faults of a channel are followed by a new try."""
    try:
        PLAYS[client.one.play](client)
    except exceptions.AMQPChannelError as error:
        client.channel_errors.append(error)
        if isinstance(error, WRONG_STATE):
            return error
        try:
            if client.connection.is_open:
                client.await_last()
        except BaseException as later:
            return later
    except BaseException as error:
        return error
    return None


def dispatch_the_rest(client: Client) -> None:
    """A callback that was told of the end has left its call: what stood behind is for the next ones."""
    seen = -1
    while client.connection is not None and client.connection.is_closed and seen < len(client.bodies):
        seen = len(client.bodies)
        with contextlib.suppress(*WRONG_STATE):
            client.connection.process_data_events(0)


def judge(client: Client, error: BaseException | None) -> None:
    """The exception, and the state of the connection."""
    one, ledger = client.one, client.ledger
    if SECRET in repr(error):
        ledger.fault("wrong", f"the password stands in {type(error).__name__}")
    if error is None:
        lived = b"last" in client.bodies or bool(client.channel_errors)
        if one.wanted in (REFUSED, ENDED):
            ledger.fault("wrong", f"nothing was raised; received {[body[:20] for body in client.bodies[:5]]}")
        elif one.wanted == LIVES and not lived:
            ledger.fault(
                "wrong",
                f"the last message did not come; received {[body[:20] for body in client.bodies[:5]]}",
            )
        return
    family = getattr(exceptions, one.family)
    in_handshake = client.connection is None and isinstance(error, StackTimeout)
    if one.wanted == LIVES:
        ledger.fault("wrong", f"raised {error!r:.200}")
    elif isinstance(error, WRONG_STATE):
        ledger.fault("wrong", f"the reason did not come out: {error!r:.200}")
    elif isinstance(error, OSError) and one.raw:
        pass  # of the TLS handshake, as pika lets it out
    elif not isinstance(error, family) and not in_handshake:
        ledger.fault("wrong", f"raised {error!r:.200}, wanted {one.family}")
    if BARE.search(str(error)):
        ledger.fault("wrong", f"around an exception of Python's own: {error!r:.200}")
    if client.connection is not None and not client.connection.is_closed:
        ledger.fault("wrong", f"the connection is open after {error!r:.200}")
    dispatch_the_rest(client)
    if len(client.bodies) < one.bodies:
        ledger.fault("lost", f"{len(client.bodies)} of {one.bodies} messages were dispatched")
    if b"strange" in client.bodies:
        ledger.fault("wrong", "a message of another channel was delivered")


def end(client: Client) -> None:
    """Closes what is left; a closed connection says so."""
    if client.connection is None:
        return
    if client.connection.is_open:
        with contextlib.suppress(exceptions.AMQPError):
            client.timed(client.connection.close)
    try:
        client.connection.process_data_events(time_limit=None)
        client.ledger.fault("wrong", "a closed connection dispatches")
    except exceptions.ConnectionWrongStateError:
        pass


def judge_report(client: Client, error: BaseException | None, report: dict[str, Any], grown: int) -> None:
    """What the server saw: the reason, the end of the connection; and what its bytes have cost."""
    one, ledger = client.one, client.ledger
    if report["error"]:
        ledger.fault("wrong", f"the script broke off: {report['error']}")
        return
    if not report["ended"]:
        ledger.fault("wrong", "the client's socket is still open")
    # A peer that has more to say than was read meets a reset, and may not learn of the reason.
    violated = one.wanted == REFUSED or (one.wanted == EITHER and "FrameError" in str(error))
    told = violated and one.told and client.connection is not None
    told = told and report["sent"] < READ_AT_ONCE
    if told and isinstance(error, exceptions.StreamLostError):
        codes = report["closes"]
        if len(codes) != 1 or codes[0] not in one.codes:
            wanted = "/".join(map(str, sorted(one.codes)))
            ledger.fault("wrong", f"told the peer {codes} {report['texts']}, wanted {wanted}")
    allowed = one.grown * report["sent"] + AHEAD + (PAGES if one.strict else NOISE)
    if grown > allowed:
        ledger.fault("wrong", f"took {grown:,} bytes for {report['sent']:,} sent, allowed {allowed:,.0f}")


def next_host(ledger: Ledger, one: Input, ports: list[int], context: ssl.SSLContext | None) -> None:
    """A sequence of parameters whose first host is the hostile one."""
    client = Client(ledger, one, ports, context)
    try:
        client.connect().close()
    except Exception as error:
        ledger.fault("wrong", f"the next host was not tried: {error!r:.200}")


def all_inputs() -> list[Input]:
    """Those of all files."""
    return [*inputs_frames.inputs(), *inputs_floods.inputs(), *inputs_handshake.inputs()]


def cases(scale: float) -> list[Case]:
    """Each input, plain and over TLS; at a small scale, every so manieth."""
    step = max(1, round(1 / scale))
    listed = []
    for number, one in enumerate(all_inputs()):
        for tls in (False, True):
            if number % step or (one.raw and not tls):
                continue
            name = f"{one.name}{' over TLS' if tls else ''}"
            listed.append(Case(name, one.group, functools.partial(play, one=one, tls=tls), 60))
    return listed


PART = Part("hostile", "what no broker says", cases, no_node, together=6)
