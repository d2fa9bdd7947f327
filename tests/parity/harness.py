"""The parity harness: scenarios, the environment they run in, and the comparison of two records.

A scenario is a function `scenario(pika, env)`, where `pika` is the library under test (pika itself or cpika;
the attribute paths are the same) and `env` records what a user sees.  It runs once on pika, the oracle, and
once on cpika, the subject, with fresh connections and names of its own; the two records must be equal.

    @covers('BlockingChannel.basic_get', broker=True)
    def get_from_an_empty_queue_gives_three_nones(pika, env):
        channel = env.channel()
        env.call('get', channel.basic_get, env.queue(channel))

`cases=` makes one scenario run once per value, which it takes as a third argument; it still counts once.
The environment variable CPIKA_PARITY_SUBJECT names the subject (default: cpika); with `pika` the harness
compares pika with itself, which shows that the scenarios are stable.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import importlib
import logging
import os
import pickle
import re
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType, ModuleType
from typing import Any
from urllib.parse import unquote, urlsplit

import pika as oracle_pika

from parity.render import mask, render, render_exception

SCENARIO_SECONDS = 30.0  # a scenario that takes longer has hung
EVENT_SECONDS = 10.0  # how long a scenario waits for an event of the broker before it counts as lost

MODULES = (
    "adapters",
    "adapters.base_connection",
    "adapters.blocking_connection",
    "adapters.select_connection",
    "adapters.utils.connection_workflow",
    "amqp_object",
    "callback",
    "channel",
    "compat",
    "connection",
    "credentials",
    "data",
    "delivery_mode",
    "diagnostic_utils",
    "exceptions",
    "exchange_type",
    "frame",
    "heartbeat",
    "spec",
    "tcp_socket_opts",
    "validators",
)


class ScenarioTimeout(BaseException):
    """The scenario took over SCENARIO_SECONDS; not an Exception, so that no scenario swallows it."""


class EventLost(AssertionError):
    """What the scenario waited for did not come within EVENT_SECONDS."""


@dataclasses.dataclass(frozen=True)
class Scenario:
    """One scenario: its function, the lines of the interface list it covers, whether it needs the broker."""

    function: Callable[..., None]
    covers: tuple[str, ...]
    broker: bool
    cases: tuple[Any, ...] | None

    @property
    def name(self) -> str:
        return self.function.__name__

    @property
    def topic(self) -> str:
        return self.function.__module__.rpartition(".")[2]

    def plays(self) -> list[Play]:
        """Return one Play, or one per case."""
        if self.cases is None:
            return [Play(self, None, "")]
        names = [_case_name(case) for case in self.cases]
        return [
            Play(self, case, f"[{name}]" if names.count(name) == 1 else f"[{name}-{index}]")
            for index, (case, name) in enumerate(zip(self.cases, names))
        ]


@dataclasses.dataclass(frozen=True)
class Play:
    """One scenario with one of its cases."""

    scenario: Scenario
    case: Any
    suffix: str

    @property
    def id(self) -> str:
        return f"{self.scenario.topic}.{self.scenario.name}{self.suffix}"


SCENARIOS: list[Scenario] = []


def covers(
    *lines: str, broker: bool = False, cases: Any = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a scenario that covers `lines` of the interface list; `broker`: it talks to RabbitMQ."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        SCENARIOS.append(Scenario(function, lines, broker, None if cases is None else tuple(cases)))
        return function

    return register


def _case_name(case: Any) -> str:
    first = case[0] if isinstance(case, tuple) and case else case
    return str(first if isinstance(first, (str, int, float)) else getattr(first, "__name__", repr(first)))[
        :60
    ]


def load(name: str) -> ModuleType:
    """Import the library `name` (pika or cpika) with all its public modules."""
    for module in MODULES:
        importlib.import_module(f"{name}.{module}")
    return importlib.import_module(name)


def subject_name() -> str:
    """Return the name of the library that is compared with pika."""
    return os.environ.get("CPIKA_PARITY_SUBJECT", "cpika")


@dataclasses.dataclass
class Broker:
    """Where the RabbitMQ of this run answers, and somebody else's connection to it, made with pika itself."""

    host: str
    port: int
    user: str
    password: str
    vhost: str
    _connection: Any = None
    _channel: Any = None

    @classmethod
    def of_this_run(cls) -> Broker:
        """Return the broker that CPIKA_BROKER_URL names, or the local one."""
        url = urlsplit(os.environ.get("CPIKA_BROKER_URL", "amqp://guest:guest@127.0.0.1:5672/"))
        return cls(
            url.hostname or "127.0.0.1",
            url.port or 5672,
            unquote(url.username or "guest"),
            unquote(url.password or "guest"),
            unquote(url.path[1:]) or "/",
        )

    def third_party(self) -> Any:
        """Return somebody else's channel: the same as last time unless it has been closed."""
        if self._connection is None or self._connection.is_closed:
            self._connection = oracle_pika.BlockingConnection(self.parameters(oracle_pika, heartbeat=0))
        if self._channel is None or self._channel.is_closed:
            self._channel = self._connection.channel()
        return self._channel

    def delete(self, name: str) -> None:
        """Delete the queue and the exchange of that name, if they are."""
        for delete in ("queue_delete", "exchange_delete"):
            # An exclusive queue goes with its connection; until then the broker refuses us (405).
            with contextlib.suppress(oracle_pika.exceptions.ChannelClosedByBroker):
                getattr(self.third_party(), delete)(name)

    def close(self) -> None:
        """Close somebody else's connection."""
        if self._connection is not None and self._connection.is_open:
            self._connection.close()

    def parameters(self, pika: Any, **changes: Any) -> Any:
        """Return the ConnectionParameters of library `pika` for this broker."""
        given: dict[str, Any] = {
            "host": self.host,
            "port": self.port,
            "virtual_host": self.vhost,
            "credentials": pika.PlainCredentials(self.user, self.password),
        }
        given.update(changes)
        return pika.ConnectionParameters(**given)


class Env:
    """What a scenario records into and gets its connections, names and helpers from."""

    def __init__(self, pika: Any, broker: Broker) -> None:
        self.pika = pika
        self.broker = broker
        self.lines: list[str] = []
        self._token = secrets.token_hex(4)
        self._connections: list[Any] = []
        self._names: list[str] = []
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._hidden: list[tuple[str, str]] = []

    # ---- recording ----

    def show(self, label: str, value: Any) -> None:
        """Record a value under a label."""
        self.lines.append(f"{label}: {render(value)}")

    def show_error(self, label: str, error: BaseException) -> None:
        """Record an exception: hierarchy, args, text, repr and attributes."""
        first, *rest = render_exception(error)
        self.lines.append(f"{label} raised {first}")
        self.lines.extend(rest)

    def call(self, label: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call and record what came of it: the value, which is returned too, or the exception (then None)."""
        try:
            value = function(*args, **kwargs)
        except Exception as error:
            self.show_error(label, error)
            return None
        self.show(label, value)
        return value

    def call_wrongly(self, label: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Call in a way that the interpreter refuses; record the type only: it words the text."""
        try:
            self.show(label, function(*args, **kwargs))
        except Exception as error:
            self.lines.append(f"{label} raised {type(error).__name__}")

    def show_text(self, label: str, text: str) -> None:
        """Record a text as it stands, not its repr."""
        self.lines.append(f"{label}: {mask(text)}")

    def show_state(self, label: str, thing: Any) -> None:
        """Record whether a connection or channel is open and closed."""
        self.lines.append(f"{label}: is_open={thing.is_open} is_closed={thing.is_closed}")

    def show_pickle(self, label: str, value: Any) -> None:
        """Record what pickling `value` and back gives, by the oldest and the newest protocol in use."""
        for protocol in (2, pickle.HIGHEST_PROTOCOL):
            try:
                copy = pickle.loads(pickle.dumps(value, protocol))
            except Exception as error:
                self.lines.append(
                    f"{label} by protocol {protocol}: cannot be pickled: {type(error).__name__}"
                )
                continue
            equal = copy == value
            self.lines.append(
                f"{label} by protocol {protocol}: equal={equal} {render(copy)} repr={mask(repr(copy))}"
            )

    def collector(self, label: str, into: list[Any] | None = None) -> Callable[..., None]:
        """Return a callback that records each call's arguments and appends them to `into`."""

        def callback(*args: Any) -> None:
            self.show(label, args)
            if into is not None:
                into.append(args)

        return callback

    @contextlib.contextmanager
    def log(self, label: str, level: int = logging.WARNING) -> Iterator[None]:
        """Record what the library's loggers say from `level` up while the block runs."""
        lines: list[str] = []

        class Keeper(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                lines.append(f"{record.name} {record.levelname} {record.getMessage()}")

        logger = logging.getLogger("pika")
        keeper = Keeper(level)
        logger.addHandler(keeper)
        try:
            yield
        finally:
            logger.removeHandler(keeper)
            self.lines.extend(f"{label} logged: {mask(line)}" for line in lines)

    # ---- the broker ----

    def parameters(self, **changes: Any) -> Any:
        """Return the library's ConnectionParameters for the broker of this run."""
        return self.broker.parameters(self.pika, **changes)

    def connect(self, **changes: Any) -> Any:
        """Return a new BlockingConnection of the library; it is closed when the scenario ends."""
        return self.keep(self.pika.BlockingConnection(self.parameters(**changes)))

    def keep(self, connection: Any) -> Any:
        """Have `connection` closed when the scenario ends."""
        self._connections.append(connection)
        return connection

    def channel(self) -> Any:
        """Return channel 1 of a new connection."""
        return self.connect().channel()

    def name(self, label: str = "q") -> str:
        """Return a name that is unique in this run; what is declared by it is deleted at the end."""
        name = f"cpika-parity-{self._token}-{label}"
        self._names.append(name)
        return name

    def queue(self, channel: Any, label: str = "q", bodies: tuple[bytes, ...] = (), **options: Any) -> str:
        """Declare a queue, exclusive unless `options` say otherwise, publish `bodies`, return its name."""
        name = self.name(label)
        options.setdefault("exclusive", True)
        channel.queue_declare(name, **options)
        for body in bodies:
            channel.basic_publish("", name, body)
        if bodies:
            self.until_ready(channel, name, len(bodies))
        return name

    def until_ready(self, channel: Any, queue: str, count: int) -> None:
        """Wait until `queue` holds `count` messages that are ready."""
        self.until(
            lambda: channel.queue_declare(queue, passive=True).method.message_count == count,
            lambda: channel.connection.sleep(0.002),
        )

    def until_delivered(self, channel: Any, queue: str) -> None:
        """Wait until what was ready in `queue` has come to `channel`; dispatch nothing."""
        self.until(
            lambda: channel.queue_declare(queue, passive=True).method.message_count == 0,
            lambda: None,
        )
        # A delivery is written behind the answer that counts it as gone: by the next answer it is here.
        channel.queue_declare(queue, passive=True)

    def until(self, condition: Callable[[], Any], work: Callable[[], Any]) -> None:
        """Do `work` until `condition` holds; raise EventLost when that takes over EVENT_SECONDS."""
        deadline = time.monotonic() + EVENT_SECONDS
        while not condition():
            if time.monotonic() > deadline:
                raise EventLost(f"not reached within {EVENT_SECONDS} s")
            work()

    def pump(self, connection: Any, condition: Callable[[], Any]) -> None:
        """Dispatch events of `connection` until `condition` holds."""
        self.until(condition, lambda: connection.process_data_events(time_limit=0.05))

    def timers(
        self,
        call_later: Callable[[float, Callable[[], Any]], Any],
        remove_timeout: Callable[[Any], Any],
        wanted: Sequence[tuple[float, Callable[[], Any]]],
    ) -> list[Any]:
        """Set the timers `(delay, callback)` such that their deadlines have the order of their delays.

        A machine that does something else between two of them would turn that round: then they are set anew.
        """
        delays = sorted(delay for delay, _callback in wanted)
        nearest = min(later - sooner for sooner, later in zip(delays, delays[1:]))
        while True:
            began = time.monotonic()
            idents = [call_later(delay, callback) for delay, callback in wanted]
            if time.monotonic() - began < nearest:
                return idents
            for ident in idents:
                remove_timeout(ident)

    def third_party(self) -> Any:
        """Return a channel of somebody else, always made with pika itself."""
        return self.broker.third_party()

    # ---- servers of our own ----

    def refusing_port(self) -> int:
        """Return a port of 127.0.0.1 that refuses connections until the scenario ends."""
        sock = self._socket()
        self._hidden.append((str(sock.getsockname()[1]), "<port>"))
        return int(sock.getsockname()[1])

    def serve(self, talk: Callable[[socket.socket], object], clients: int = 1) -> int:
        """Return a port of 127.0.0.1 that hands `clients` clients, one by one, to `talk` in a thread."""
        sock = self._socket()
        sock.listen(8)

        def run() -> None:
            with contextlib.suppress(OSError):
                for _ in range(clients):
                    client, _address = sock.accept()
                    self._sockets.append(client)
                    with client:
                        client.settimeout(EVENT_SECONDS)
                        talk(client)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        self._threads.append(thread)
        port = int(sock.getsockname()[1])
        self._hidden.append((str(port), "<port>"))
        return port

    def _socket(self) -> socket.socket:
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(EVENT_SECONDS)
        self._sockets.append(sock)
        return sock

    def finish(self) -> None:
        """Close what the scenario opened and delete what it named."""
        for connection in self._connections:
            with contextlib.suppress(Exception):
                if connection.is_open:
                    connection.close()
        for name in self._names:
            self.broker.delete(name)
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)  # ends a wait in its thread, which closing does not
            sock.close()
        for thread in self._threads:
            thread.join(EVENT_SECONDS)
        for port, placeholder in self._hidden:
            self.lines = [re.sub(rf"\b{port}\b", placeholder, line) for line in self.lines]


def play(pika: Any, part: Play, broker: Broker) -> tuple[list[str], BaseException | None]:
    """Run one scenario on one library; return its record and the exception that ended it, if one did."""
    env = Env(pika, broker)
    arguments = () if part.scenario.cases is None else (part.case,)
    ended_by: BaseException | None = None
    for step in (lambda: part.scenario.function(pika, env, *arguments), env.finish):
        with _alarm():
            try:
                step()
            except (Exception, ScenarioTimeout) as error:
                ended_by = error
                env.show_error("the scenario itself", error)
    return env.lines, ended_by


@contextlib.contextmanager
def _alarm() -> Iterator[None]:
    def ring(_number: int, _frame: FrameType | None) -> None:
        raise ScenarioTimeout(f"hung: over {SCENARIO_SECONDS} s")

    handler = signal.signal(signal.SIGALRM, ring)
    timer = signal.setitimer(signal.ITIMER_REAL, SCENARIO_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, *timer)  # the test runner may have one of its own


def difference(part: Play, oracle: Any, subject: Any, broker: Broker) -> str:
    """Play on both libraries; return '' if they show the same, else a diff.

    A scenario that fails or records nothing on the oracle is itself wrong: AssertionError.
    """
    expected, ended_by = play(oracle, part, broker)
    if ended_by is not None:
        raise AssertionError(f"the scenario is wrong: it ends on pika itself with {ended_by!r}") from ended_by
    if not expected:
        raise AssertionError("the scenario is wrong: it records nothing")
    seen, _ = play(subject, part, broker)
    return "\n".join(difflib.unified_diff(expected, seen, "pika", subject.__name__, n=3, lineterm=""))
