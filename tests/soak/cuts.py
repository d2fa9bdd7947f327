"""Part 1: connections cut after every byte of a session, and anywhere in a longer one, in four ways."""

from __future__ import annotations

import functools
import itertools
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from support.subject import StackTimeout, exceptions, pika
from support.urls import host_and_port

from .case import Case, Part, Room
from .cutter import CLIENT, FIN, HALF, RST, SERVER, SILENCE, Cutter, Knife
from .judge import QUEUE_LIFE, Judge
from .stages import own_node

BOUND = 3.0  # seconds; a call on a connection that is cut ends long before
SILENT_BOUND = 15.0  # with a stack_timeout of 2 s and heartbeats of 1 s, which pika checks every 6 s
REQUEUED = 10.0  # seconds until the broker has put back what a lost connection held
TOGETHER = 100  # silent sessions at a time: they only wait
LONG_MESSAGES = 240
WRONG_STATE = (exceptions.ConnectionWrongStateError, exceptions.ChannelWrongStateError)
HANDSHAKE = [  # the last frame that had come whole, and what the lost handshake is called
    ("Connection.Tune", exceptions.ProbableAccessDeniedError),
    ("Connection.Start", exceptions.ProbableAuthenticationError),
    ("", exceptions.IncompatibleProtocolError),
]


class Session:
    """One client: what it did, and how far it got.

    `steps` are those that returned; `failed` the one that raised `error`.
    """

    def __init__(self, room: Room, cutter: Cutter, queue: str, knife: Knife) -> None:
        self.room, self.cutter, self.queue, self.knife = room, cutter, queue, knife
        self.steps: list[str] = []
        self.failed = ""
        self.error: BaseException | None = None
        self.confirmed: list[bytes] = []
        self.seen: list[bytes] = []
        self.tags: list[int] = []
        self.connection: Any = None
        self.channel: Any = None

    @property
    def bound(self) -> float:
        """Seconds that a call may take."""
        return SILENT_BOUND if self.knife.how == SILENCE else BOUND

    def run(self, play: Callable[[Session], Iterator[tuple[str, Callable[[], Any]]]]) -> None:
        """Goes through the steps up to the first that raises."""
        for name, step in play(self):
            try:
                self.room.ledger.call(name, self.bound, step)
            except Exception as error:
                self.failed, self.error = name, error
                return
            self.steps.append(name)

    def connect(self) -> None:
        silent = self.knife.how == SILENCE
        self.connection = pika.BlockingConnection(
            pika.ConnectionParameters(
                "127.0.0.1",
                self.cutter.port,
                heartbeat=1 if silent else 0,
                stack_timeout=2 if silent else 15,
                socket_timeout=2 if silent else 10,
                blocked_connection_timeout=None,
            )
        )

    def open_channel(self) -> None:
        self.channel = self.connection.channel()

    def publish(self, body: bytes) -> None:
        self.channel.basic_publish("", self.queue, body, mandatory=True)
        self.confirmed.append(body)

    def on_message(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        self.seen.append(body)
        self.tags.append(method.delivery_tag)
        channel.basic_ack(method.delivery_tag)

    def dispatch(self, count: int) -> None:
        """Until so many messages have been seen."""
        while len(self.seen) < count:
            self.connection.process_data_events(time_limit=self.bound + 1)


def short_play(session: Session) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Handshake, declare, publish, confirm, consume, ack, close."""
    yield "connect", session.connect
    yield "channel", session.open_channel
    channel = session.channel
    yield "declare", functools.partial(channel.queue_declare, session.queue, arguments=QUEUE_LIFE)
    yield "confirm", channel.confirm_delivery
    yield "publish 1", lambda: session.publish(b"first of " + session.queue.encode())
    yield "publish 2", lambda: session.publish(b"second of " + session.queue.encode())
    yield "consume", lambda: channel.basic_consume(session.queue, session.on_message)
    yield "dispatch", lambda: session.dispatch(2)
    yield "close channel", channel.close
    yield "close", session.connection.close


ANSWERS = {  # of the short play: how many frames of a name have come when a step must return
    "connect": ("Connection.OpenOk", 1),
    "channel": ("Channel.OpenOk", 1),
    "declare": ("Queue.DeclareOk", 1),
    "confirm": ("Confirm.SelectOk", 1),
    "publish 1": ("Basic.Ack", 1),
    "publish 2": ("Basic.Ack", 2),
    "consume": ("Basic.ConsumeOk", 1),
    "close channel": ("Channel.CloseOk", 1),
    "close": ("Connection.CloseOk", 1),
}


def long_play(session: Session) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Many publishes, one by one and in bulk, of several sizes; then as many deliveries."""
    rng = random.Random(session.queue)
    bodies = [b"%s %d " % (session.queue.encode(), n) for n in range(LONG_MESSAGES)]
    bodies = [body + b"x" * rng.choice((0, 10, 300, 300, 5000, 40_000)) for body in bodies]
    single, bulk = bodies[: LONG_MESSAGES // 4], bodies[LONG_MESSAGES // 4 :]
    yield "connect", session.connect
    yield "channel", session.open_channel
    channel = session.channel
    yield "declare", functools.partial(channel.queue_declare, session.queue, arguments=QUEUE_LIFE)
    yield "confirm", channel.confirm_delivery
    for body in single:
        yield "publish", functools.partial(session.publish, body)
    yield "publish_many", lambda: publish_bulk(session, bulk)
    yield "consume", lambda: channel.basic_consume(session.queue, session.on_message)
    yield "dispatch", lambda: session.dispatch(len(bodies))
    yield "close", session.connection.close


def publish_bulk(session: Session, bodies: list[bytes]) -> None:
    """By publish_many, where the library has it; what it says of an error counts as confirmed too."""
    if not hasattr(session.channel, "publish_many"):
        for body in bodies:
            session.publish(body)
        return
    try:
        session.channel.publish_many(("", session.queue, body) for body in bodies)
    except exceptions.AMQPError as error:
        unconfirmed = set(getattr(error, "unconfirmed", range(len(bodies))))
        known = getattr(error, "confirmed", 0)
        for number, body in enumerate(bodies[: known + len(unconfirmed)]):
            if number not in unconfirmed:
                session.confirmed.append(body)
        raise
    session.confirmed += bodies


# ---- what has to hold ----


def check_error(session: Session) -> None:
    """The family of the exception, and the state of what it leaves behind."""
    ledger, error = session.room.ledger, session.error
    place = f"{session.knife} in {session.failed}"
    if session.knife.how != SILENCE and session.failed == "connect":
        names = session.cutter.names
        wanted = next(family for name, family in HANDSHAKE if not name or name in names)
        if session.knife.how == RST:  # which may come before what went ahead was read
            wanted = exceptions.AMQPConnectionError
        if not isinstance(error, wanted):
            ledger.fault("wrong", f"{place}: {error!r}, wanted {wanted.__name__}")
        return
    families = [exceptions.StreamLostError]
    if session.knife.how == SILENCE:
        families += [exceptions.AMQPHeartbeatTimeout, StackTimeout, exceptions.AMQPConnectionError]
    if isinstance(error, WRONG_STATE) or not isinstance(error, tuple(families)):
        ledger.fault("wrong", f"{place}: {error!r}")
    if session.connection is None:
        return
    if not session.connection.is_closed or (session.channel is not None and not session.channel.is_closed):
        ledger.fault("wrong", f"{place}: something is still open after {error!r}")
        return
    dispatch_the_rest(session, place)


def dispatch_the_rest(session: Session, place: str) -> None:
    """A callback that was told of the end has left its call: what stood behind is for the next ones."""
    seen = -1
    while seen < len(session.seen):
        seen = len(session.seen)
        try:
            session.connection.process_data_events(time_limit=None)
        except WRONG_STATE:  # a callback's again; at last the connection's own
            continue
        session.room.ledger.fault("wrong", f"{place}: a closed connection dispatches")
        return


def check_answers(session: Session, answers: dict[str, tuple[str, int]]) -> None:
    """Whatever had come whole before an end in order was returned, and every message was dispatched."""
    if session.knife.how not in (FIN, HALF) or session.error is None:
        return
    ledger = session.room.ledger
    name, count = answers.get(session.failed, ("", 0))
    if name and session.cutter.count(name) >= count:
        ledger.fault(
            "wrong", f"{session.knife}: {session.failed} raised {session.error!r} with its answer there"
        )
    came = session.cutter.count("BODY")
    if session.failed == "dispatch" and len(session.seen) < came:
        missing = came - len(session.seen)
        ledger.fault("lost", f"{session.knife}: {missing} of {came} received were not dispatched", missing)


def check_queue(session: Session, judge: Judge) -> None:
    """What was confirmed was seen or is there; what is there again says so; no delivery tag is left out."""
    ledger = session.room.ledger
    if session.tags != list(range(1, len(session.tags) + 1)):
        ledger.fault("wrong", f"{session.knife}: delivery tags {session.tags[:20]}")
    if "declare" not in session.steps:
        return
    wanted = set(session.confirmed) - set(session.seen)
    if session.confirmed:
        taken = judge.take(session.queue, wanted, REQUEUED)
        bodies = [body for body, _ in taken]
        for body in wanted - set(bodies):
            ledger.fault("lost", f"{session.knife}: confirmed and gone: {body[:60]!r}")
        seen = set(session.seen)
        for body, redelivered in taken:
            if bodies.count(body) > 1 or (body in seen and not redelivered):
                ledger.fault("doubled", f"{session.knife}: {body[:60]!r}")
    if len(set(session.seen)) != len(session.seen):
        ledger.fault("doubled", f"{session.knife}: seen twice")
    judge.delete(session.queue)


Play = Callable[[Session], Iterator[tuple[str, Callable[[], Any]]]]


def one_session(
    room: Room, judge: Judge | None, knife: Knife, queue: str, play: Play = short_play
) -> Session:
    """Plays a session through a knife; judges it where a judge is given, else leaves that to the caller."""
    with Cutter(host_and_port(room.url), knife) as cutter:
        session = Session(room, cutter, queue, knife)
        session.run(play)
        if session.error is not None:
            check_error(session)
            check_answers(session, ANSWERS if play is short_play else {})
    room.ledger.done += 1
    room.ledger.outcome(session.failed or "no error")
    if judge is not None:
        check_queue(session, judge)
    return session


def lengths(room: Room, judge: Judge, play: Play) -> dict[str, int]:
    """Bytes of a session that nobody cuts, by origin."""
    session = one_session(room, judge, Knife(), "soak-cut-000000", play)
    if session.error is not None:
        raise session.error
    return session.cutter.sent


def every_byte(room: Room, origin: str, how: str) -> None:
    """A session for each offset (at a smaller scale, for every so manieth)."""
    room.ledger.unit = "sessions"
    judge = Judge(room.url)
    total = lengths(room, judge, short_play)[origin]
    step = max(1, round(1 / room.scale))
    for after in range(0, total + 1, step):
        one_session(room, judge, Knife(origin, after, how), f"soak-cut-{after:06}")
    judge.close()


def silent(room: Room, origin: str) -> None:
    """As above, but nothing is closed: many at a time, since each waits for its timeouts."""
    room.ledger.unit = "sessions"
    judge = Judge(room.url)
    total = lengths(room, judge, short_play)[origin]
    offsets = range(0, total, max(1, round(8 / room.scale)))
    with ThreadPoolExecutor(TOGETHER) as pool:
        knives = [Knife(origin, after, SILENCE) for after in offsets]
        names = [f"soak-cut-{after:06}" for after in offsets]
        sessions = list(pool.map(one_session, *zip(*((room, None, *both) for both in zip(knives, names)))))
    for session in sessions:
        check_queue(session, judge)
    judge.close()


def anywhere(room: Room, how: str) -> None:
    """Random offsets of the long session, in either direction."""
    room.ledger.unit = "sessions"
    judge = Judge(room.url)
    total = lengths(room, judge, long_play)
    rng = random.Random(f"anywhere {how}")
    end = time.monotonic() + 40 * max(1.0, room.scale)
    for number in itertools.count(1):
        if number > room.count(200) or time.monotonic() > end:
            break
        origin = rng.choice((CLIENT, SERVER))
        knife = Knife(origin, rng.randrange(total[origin]), how)
        one_session(room, judge, knife, f"soak-cut-{number:06}", long_play)
    judge.close()


def cases(scale: float) -> list[Case]:
    """One a direction and way, for the short session; one a way for the long one."""
    listed = [
        Case(
            f"{origin}-{how}",
            f"every byte that the {origin} sends, {how}",
            functools.partial(every_byte, origin=origin, how=how),
            120,
        )
        for origin in (CLIENT, SERVER)
        for how in (FIN, RST, HALF)
    ]
    listed += [
        Case(
            f"{origin}-{SILENCE}",
            "silence after every eighth byte",
            functools.partial(silent, origin=origin),
            120,
        )
        for origin in (CLIENT, SERVER)
    ]
    listed += [
        Case(
            f"long-{how}",
            f"anywhere in {LONG_MESSAGES} messages, {how}",
            functools.partial(anywhere, how=how),
            90,
        )
        for how in (FIN, RST, HALF)
    ]
    return listed


PART = Part("cuts", "connections cut at every kind of offset", cases, own_node)
