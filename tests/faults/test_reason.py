"""Row 14: the first reason reaches the first caller, over TLS as well."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import locale
import platform
import select
import shutil
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import amqp, answers
from support.apart import Together, apart, connect
from support.certs import Certificates
from support.fakeserver import FakeServer, Peer
from support.subject import pika

CALLS: dict[str, Callable[[Any], Any]] = {
    "publish": lambda channel: channel.basic_publish("", "q", b"x"),
    "ack": lambda channel: channel.basic_ack(1),
    "request": lambda channel: channel.queue_declare("q"),
    "get": lambda channel: channel.basic_get("q"),
    "dispatch": lambda channel: channel.connection.process_data_events(0),
    "channel": lambda channel: channel.connection.channel(),
}


class GoingServer(FakeServer):
    """Says why, and goes, while the client does nothing; `noticed` is set when the client could know.

    :param ending: `Close`, `half end` or `reset`
    :param context: of a TLS server; None for none
    """

    def __init__(self, ending: str, context: ssl.SSLContext | None) -> None:
        self.ready, self.noticed = threading.Event(), threading.Event()
        self._ending = ending
        self._context = context
        super().__init__(self._go)

    def _go(self, peer: Peer) -> None:
        plain = peer.sock
        if self._context is not None:
            peer.sock = self._context.wrap_socket(plain, server_side=True)
        peer.handshake(heartbeat=1)
        channel = peer.serve_until("Channel.Open").channel
        assert self.ready.wait(5)
        if self._ending == "Close":
            peer.send(answers.connection_close())
        elif self._ending == "message and Close":
            peer.send(amqp.message(channel, "nobody", 1, b"x"), answers.connection_close())
        try:
            if self._ending == "reset":
                linger = struct.pack("ii", 1, 0)
                peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            peer.sock.close()
        finally:
            # The background thread meets the end when it sends a heartbeat: some of its rounds.
            self.noticed.wait(2.3)
            self.noticed.set()


def first_and_later_callers(
    call: str, ending: str, tls: list[str] | None, names: list[str]
) -> list[list[Any]]:
    """What the calls named raise, one after the other."""
    options: dict[str, Any] = {"heartbeat": 1}
    context = None
    if tls is not None:
        authority, certificate, key = tls
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        client = ssl.create_default_context(cafile=authority)
        options["ssl_options"] = pika.SSLOptions(client, "localhost")
    told = []
    with GoingServer(ending, context) as server:
        channel = connect(server, **options).channel()
        server.ready.set()
        assert server.noticed.wait(10)
        for name in (call, *names):
            try:
                CALLS[name](channel)
                told.append(["ok", None])
            except Exception as error:
                told.append([type(error).__name__, getattr(error, "reply_code", None)])
    return told


CASES = [
    *((call, "Close") for call in CALLS),
    ("publish", "message and Close"),
    ("request", "reset"),
]
LATER = ["publish", "request", "dispatch"]


def all_cases(tls: list[str] | None) -> list[list[list[Any]]]:
    """All cases at once, each with a server of its own."""
    cases = (functools.partial(first_and_later_callers, *case, tls, LATER) for case in CASES)
    return Together(*cases).join(12)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_the_first_caller_after_a_loss_gets_the_reason(certificates: Certificates, tls: bool) -> None:
    """Row 14, the first error: the broker's reason to the first caller, the state to the later ones."""
    files = [certificates.authority, certificates.server_cert, certificates.server_key] if tls else None
    states = ["ChannelWrongStateError", "ChannelWrongStateError", "ConnectionWrongStateError"]
    wrong = {}
    for (call, ending), told in zip(CASES, apart(all_cases, files)):
        lost = ["StreamLostError", None] if ending == "reset" else ["ConnectionClosedByBroker", 320]
        if told[0] != lost or [name for name, _ in told[1:]] != states:
            wrong[f"{call}, {ending}"] = told
    assert wrong == {}


def test_pika_gives_the_reason_first_as_well(certificates: Certificates) -> None:
    """Row 14, the first error: the same program on pika, over TLS."""
    files = [certificates.authority, certificates.server_cert, certificates.server_key]
    told = apart(first_and_later_callers, "dispatch", "Close", files, ["publish", "request"], subject="pika")
    assert told[0] == ["ConnectionClosedByBroker", 320]
    assert [name for name, _ in told[1:]] == ["ChannelWrongStateError"] * 2


# ---- a send that meets the peer's reset first


def met_by_a_send(port: int) -> str:
    """What a request says when the connection was reset before it was sent."""
    channel = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", port)).channel()
    sock = channel.connection._impl._transport._sock
    try:
        channel.basic_publish("", "q", b"x")  # upon that it is reset, which makes the socket readable
        if not select.select([sock], [], [], 10)[0]:
            return "not reset"
        channel.queue_declare("", exclusive=True)
    except pika.exceptions.AMQPConnectionError as error:
        return str(error)
    return "no error"


def reset_upon_a_publish(peer: Peer, heartbeat: int = 0) -> None:
    peer.handshake(heartbeat=heartbeat)
    peer.serve_until("Channel.Open")
    peer.expect("Basic.Publish")
    peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.sock.close()


@pytest.mark.parametrize("subject", ["", "pika"])
def test_a_request_that_meets_a_reset_says_so(subject: str) -> None:
    """What recv finds behind a send that has taken the socket's error is an end of file: that was told."""
    with FakeServer(reset_upon_a_publish) as server:
        assert "ConnectionResetError" in apart(met_by_a_send, server.port, subject=subject)


def met_by_a_heartbeat(port: int) -> str:
    """What a dispatching call says when a heartbeat has met the reset, while the program was busy."""
    connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", port, heartbeat=2))
    connection.channel().basic_publish("", "q", b"x")
    sock = connection._impl._transport._sock
    before = connection._impl.bytes_sent
    assert select.select([sock], [], [], 10)[0]
    time.sleep(1.5)  # a heartbeat is due after one second
    try:
        connection.process_data_events(1)
    except pika.exceptions.AMQPConnectionError as error:
        return str(error)
    return f"no error; {connection._impl.bytes_sent - before} bytes"


def test_a_reset_that_a_heartbeat_has_met_is_told() -> None:
    with FakeServer(functools.partial(reset_upon_a_publish, heartbeat=2)) as server:
        assert "ConnectionResetError" in apart(met_by_a_heartbeat, server.port)


# ---- the system's words for it


def catalogue(texts: dict[bytes, bytes]) -> bytes:
    """A file of translations as gettext reads it (.mo): header, two tables of lengths and places, texts."""
    texts = {b"": b"Content-Type: text/plain; charset=UTF-8\n", **texts}
    pairs = sorted(texts.items())
    place = 28 + 16 * len(pairs)
    tables = [b"", b""]
    held = b""
    for table in (0, 1):
        for pair in pairs:
            tables[table] += struct.pack("<II", len(pair[table]), place + len(held))
            held += pair[table] + b"\0"
    head = struct.pack("<7I", 0x950412DE, 0, len(pairs), 28, 28 + 8 * len(pairs), 0, 0)
    return head + tables[0] + tables[1] + held


def in_other_words(folder: str, port: int) -> list[str]:
    """What the C library says of a reset, and what a request that meets one does."""
    libc = ctypes.CDLL(None)
    libc.bindtextdomain.restype = libc.strerror.restype = ctypes.c_char_p
    locale.setlocale(locale.LC_ALL, "")
    libc.bindtextdomain(b"libc", folder.encode())
    return [libc.strerror(errno.ECONNRESET).hex(), met_by_a_send(port)]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="musl has the C locale's words alone")
def test_a_reset_is_told_whatever_the_locale_calls_it(tmp_path: Path) -> None:
    """Words that are no UTF-8 made it a UnicodeDecodeError, of every call, and nobody was told the reason."""
    words = tmp_path / "de" / "LC_MESSAGES" / "libc.mo"
    words.parent.mkdir(parents=True)
    words.write_bytes(catalogue({b"Connection reset by peer": "zurückgesetzt".encode()}))
    # A locale by another name: the C library of Debian 13 translates nothing in one that is called C.
    shutil.copytree("/usr/lib/locale/C.utf8", tmp_path / "locales" / "de_DE.utf8")
    environment = {
        "LOCPATH": str(tmp_path / "locales"),
        "LC_ALL": "de_DE.UTF-8",
        "LANGUAGE": "de",
        "OUTPUT_CHARSET": "ISO-8859-1",
    }

    with FakeServer(reset_upon_a_publish) as server:
        said, told = apart(in_other_words, str(tmp_path), server.port, environment=environment)
    assert bytes.fromhex(said) == "zurückgesetzt".encode("latin-1")
    assert told.startswith("Stream connection lost: ConnectionResetError(104, 'zur")


# ---- the end of a TLS stream in good order


def announced(port: int, authority: str) -> list[str]:
    """What dispatching says, and then a request, when the peer has ended the TLS stream in good order."""
    context = pika.SSLOptions(ssl.create_default_context(cafile=authority), "localhost")
    channel = pika.BlockingConnection(
        pika.ConnectionParameters("127.0.0.1", port, ssl_options=context)
    ).channel()
    channel.basic_publish("", "q", b"x")  # upon that it ends
    told = []
    for call in (lambda: channel.connection.process_data_events(10), lambda: channel.queue_declare("q")):
        try:
            call()
        except pika.exceptions.AMQPError as error:
            told.append(repr(error).partition(" (host=")[0].partition(", host=")[0])
    return told


def test_an_announced_end_of_tls_is_told_in_pikas_words(certificates: Certificates) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server_cert, certificates.server_key)

    def script(peer: Peer) -> None:
        peer.sock = context.wrap_socket(peer.sock, server_side=True)
        peer.handshake()
        peer.serve_until("Channel.Open")
        peer.expect("Basic.Publish")
        with contextlib.suppress(OSError):  # the client need not answer
            peer.sock.unwrap()

    def told(subject: str) -> list[str]:
        with FakeServer(script) as server:
            return apart(announced, server.port, certificates.authority, subject=subject)

    ours, pikas = told(""), told("pika")
    assert "RxEndOfFile" in pikas[0]
    assert ours == pikas
