"""The scenarios of the adapters on event loops, for pika and, unchanged, for cpika: the import differs.

Each scenario is a function of a `Session`: one connection with one channel, whose callbacks run on a loop. It
starts the clock, and ends by asking the server for a counter (`Session.finish`), which stops it.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

from common import DROP, CheckFailed, Job, resident_bytes, stats_queue

CONFIRM_WINDOW = 1000


class Session:
    """A connection on a loop while a scenario runs.

    :param soon: has the loop call a function in its next turn
    """

    def __init__(self, job: Job, channel: Any, soon: Callable[[Callable[[], None]], Any]) -> None:
        self.job = job
        self.channel = channel
        self.soon = soon
        self.counted = False

    def finish(self, counter: str, wanted: int | None = None, running: bool = True) -> None:
        """Have the server count what it got, which ends the time, and close.

        :param counter: the server's name for it
        :param wanted: what it must be; None: one for each of the job's messages
        :param running: the clock runs until the answer; else it has been stopped
        """

        def counted(frame: Any) -> None:
            if running:
                self.job.stop()
            self.job.expect(counter, frame.method.message_count, wanted)
            self.counted = True
            self.channel.connection.close()

        self.channel.queue_declare(stats_queue(counter), passive=True, callback=counted)

    def finish_stopped(self, counter: str, wanted: int | None = None) -> None:
        """The same where the last answer has come: the time ends here."""
        self.job.stop()
        self.finish(counter, wanted, running=False)


Scenario = Callable[[Session], None]
Runner = Callable[[ModuleType, Job, Scenario], None]


# ---- the scenarios ----


def publish(session: Session) -> None:
    """As many messages a turn of the loop as `--batch` says."""
    job = session.job
    send = session.channel.basic_publish
    body, soon = job.body, session.soon
    turns, rest = divmod(job.count, job.batch)
    batch = range(job.batch)

    def turn() -> None:
        nonlocal turns
        if turns:
            turns -= 1
            for _ in batch:
                send("", DROP, body)
            soon(turn)
        else:
            for _ in range(rest):
                send("", DROP, body)
            session.finish("publishes")

    job.start()
    turn()


def burst(session: Session) -> None:
    """All of them in one turn."""
    job = session.job
    send = session.channel.basic_publish
    body = job.body
    job.start()
    for _ in range(job.count):
        send("", DROP, body)
    session.finish("publishes")


def consume_auto(session: Session) -> None:
    job = session.job
    left = job.count

    def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        nonlocal left
        left -= 1
        if not left:
            session.finish_stopped("acks", 0)

    job.start()
    session.channel.basic_consume(job.queue(), on_message, auto_ack=True)


def consume_ack(session: Session) -> None:
    job = session.job
    left = job.count

    def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        nonlocal left
        channel.basic_ack(method.delivery_tag)
        left -= 1
        if not left:
            session.finish("acks")

    def begin(_frame: Any = None) -> None:
        job.start()
        session.channel.basic_consume(job.queue(), on_message)

    if job.prefetch:
        session.channel.basic_qos(prefetch_count=job.prefetch, callback=begin)
    else:
        begin()


def confirms(session: Session, window: int = CONFIRM_WINDOW) -> None:
    """`window` publishes under way: each confirm's callback publishes the next message."""
    job = session.job
    send = session.channel.basic_publish
    body = job.body
    unsent = unconfirmed = job.count

    def on_confirm(frame: Any) -> None:
        nonlocal unsent, unconfirmed
        unconfirmed -= 1
        if unsent:
            unsent -= 1
            send("", DROP, body)
        elif not unconfirmed:
            session.finish_stopped("confirms")

    def begin(_frame: Any) -> None:
        nonlocal unsent
        job.start()
        first = min(window, unsent)
        unsent -= first
        for _ in range(first):
            send("", DROP, body)

    session.channel.confirm_delivery(on_confirm, callback=begin)


def confirm(session: Session) -> None:
    """One by one."""
    confirms(session, window=1)


def get(session: Session) -> None:
    job = session.job
    queue = job.queue()
    ask = session.channel.basic_get
    left = job.count

    def on_get(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        nonlocal left
        left -= 1
        if left:
            ask(queue, on_get, auto_ack=True)
        else:
            session.finish_stopped("acks", 0)

    job.start()
    ask(queue, on_get, auto_ack=True)


def declare(session: Session) -> None:
    job = session.job
    ask = session.channel.queue_declare
    left = job.count

    def on_declared(frame: Any) -> None:
        nonlocal left
        left -= 1
        if left:
            ask("bench.declared", callback=on_declared)
        else:
            session.finish_stopped("acks", 0)

    job.start()
    ask("bench.declared", callback=on_declared)


def memory(session: Session) -> None:
    """Each message is taken and acked; resident bytes after 20 % and after all."""
    job = session.job
    done = 0
    marks = {job.count // 5: "rss_20", job.count: "rss_100"}

    def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        nonlocal done
        channel.basic_ack(method.delivery_tag)
        done += 1
        if done in marks:
            job.extra[marks[done]] = resident_bytes()
            if done == job.count:
                session.finish("acks")

    def begin(_frame: Any) -> None:
        job.start()
        session.channel.basic_consume(job.queue(), on_message)

    session.channel.basic_qos(prefetch_count=job.prefetch, callback=begin)


# ---- with a real broker ----


def with_queue(session: Session, begin: Callable[[str], None]) -> None:
    """Have the broker make a queue that goes with the connection."""
    session.channel.queue_declare("", exclusive=True, callback=lambda frame: begin(frame.method.queue))


def fill(session: Session, queue: str, filled: Callable[[], None]) -> None:
    """Publish the job's messages, `--batch` a turn; `filled` is called when the broker's channel has them.

    How many are in the queue is not asked: RabbitMQ answers before the queue has taken them.
    """
    job = session.job
    body, soon = job.body, session.soon
    left = job.count

    def turn() -> None:
        nonlocal left
        now = min(job.batch, left)
        for _ in range(now):
            session.channel.basic_publish("", queue, body)
        left -= now
        if left:
            soon(turn)
        else:
            session.channel.queue_declare(queue, passive=True, callback=lambda _frame: filled())

    turn()


def broker_publish(session: Session) -> None:
    def filled() -> None:
        session.job.stop()
        session.counted = True
        session.channel.connection.close()

    def begin(queue: str) -> None:
        session.job.start()
        fill(session, queue, filled)

    with_queue(session, begin)


def broker_consume_ack(session: Session) -> None:
    job = session.job
    left = job.count
    name = ""

    def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        nonlocal left
        channel.basic_ack(method.delivery_tag)
        left -= 1
        if not left:
            channel.queue_declare(name, passive=True, callback=emptied)

    def emptied(frame: Any) -> None:
        job.stop()
        job.expect("messages left", frame.method.message_count, 0)
        session.counted = True
        session.channel.connection.close()

    def consume(_frame: Any) -> None:
        job.start()
        session.channel.basic_consume(name, on_message)

    def begin(queue: str) -> None:
        nonlocal name
        name = queue
        fill(session, queue, lambda: session.channel.basic_qos(prefetch_count=job.prefetch, callback=consume))

    with_queue(session, begin)


# ---- the loops ----


class Outcome:
    """What becomes of one connection: `end` keeps why it ended, and stops the loop."""

    def __init__(self, job: Job, scenario: Scenario, stop: Callable[[], None]) -> None:
        self._job = job
        self._scenario = scenario
        self._stop = stop
        self._session: Session | None = None
        self._reason: BaseException | None = None

    def opened(self, soon: Callable[[Callable[[], None]], Any], connection: Any) -> None:
        """Open the channel, and begin."""

        def begin(channel: Any) -> None:
            self._session = Session(self._job, channel, soon)
            self._scenario(self._session)

        connection.channel(on_open_callback=begin)

    def end(self, _connection: Any, reason: BaseException) -> None:
        self._reason = reason
        self._stop()

    def check(self) -> None:
        """Raises `CheckFailed` unless the scenario came to its end."""
        if self._session is None or not self._session.counted:
            raise CheckFailed(f"the connection ended: {self._reason!r}")


def run_select(pika: ModuleType, job: Job, scenario: Scenario) -> None:
    outcome = Outcome(job, scenario, lambda: ioloop.stop())
    connection = pika.SelectConnection(
        pika.URLParameters(job.url),
        lambda opened: outcome.opened(partial(ioloop.call_later, 0), opened),
        outcome.end,
        outcome.end,
    )
    ioloop = connection.ioloop
    ioloop.start()
    outcome.check()


def run_asyncio(pika: ModuleType, job: Job, scenario: Scenario, loop: Any = None) -> None:
    adapter = importlib.import_module(f"{pika.__name__}.adapters.asyncio_connection")
    loop = loop or asyncio.new_event_loop()
    outcome = Outcome(job, scenario, loop.stop)
    connection = adapter.AsyncioConnection(
        pika.URLParameters(job.url),
        partial(outcome.opened, loop.call_soon),
        outcome.end,
        outcome.end,
        custom_ioloop=loop,
    )
    loop.run_forever()
    outcome.check()
    del connection
    loop.close()


def run_uvloop(pika: ModuleType, job: Job, scenario: Scenario) -> None:
    import uvloop

    run_asyncio(pika, job, scenario, uvloop.new_event_loop())


def run_tornado(pika: ModuleType, job: Job, scenario: Scenario) -> None:
    from tornado.ioloop import IOLoop

    adapter = importlib.import_module(f"{pika.__name__}.adapters.tornado_connection")
    loop = IOLoop(make_current=False)
    outcome = Outcome(job, scenario, loop.stop)
    adapter.TornadoConnection(
        pika.URLParameters(job.url),
        partial(outcome.opened, loop.add_callback),
        outcome.end,
        outcome.end,
        custom_ioloop=loop,
    )
    loop.start()
    outcome.check()


def run_gevent(pika: ModuleType, job: Job, scenario: Scenario) -> None:
    adapter = importlib.import_module(f"{pika.__name__}.adapters.gevent_connection")
    outcome = Outcome(job, scenario, lambda: ioloop.stop())
    connection = adapter.GeventConnection(
        pika.URLParameters(job.url),
        lambda opened: outcome.opened(ioloop.add_callback, opened),
        outcome.end,
        outcome.end,
    )
    ioloop = connection.ioloop
    ioloop.start()
    outcome.check()


RUNNERS: dict[str, Runner] = {
    "select": run_select,
    "asyncio": run_asyncio,
    "uvloop": run_uvloop,
    "tornado": run_tornado,
    "gevent": run_gevent,
}
SCENARIOS: tuple[Scenario, ...] = (
    publish,
    burst,
    consume_auto,
    consume_ack,
    confirms,
    confirm,
    get,
    declare,
    memory,
    broker_publish,
    broker_consume_ack,
)


def loop_scenarios(pika: ModuleType) -> dict[str, Callable[[Job], None]]:
    """Each scenario on each loop, by names like "asyncio_publish"."""

    def bound(runner: Runner, scenario: Scenario) -> Callable[[Job], None]:
        return lambda job: runner(pika, job, scenario)

    return {
        f"{loop}_{scenario.__name__}": bound(runner, scenario)
        for loop, runner in RUNNERS.items()
        for scenario in SCENARIOS
    }
