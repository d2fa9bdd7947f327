"""`python -m cpika bench`: pika and cpika side by side on a broker of the user's.

Every measurement has a connection and an exclusive queue of its own: the broker deletes the queue with the
connection, whatever ends it.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import itertools
import logging
import os
import secrets
import socket
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, NamedTuple

import cpika

URL_VARIABLE = "CPIKA_BROKER_URL"
DEFAULT_URL = "amqp://guest:guest@127.0.0.1:5672/%2f"
PREFETCH = 100
BLOCKED_SECONDS = 30  # a broker in an alarm shall not hang us for ever
BATCH = 100  # publishes between two looks at the clock


class Sample(NamedTuple):
    """One measurement: messages a second, microseconds of CPU time a message, latencies in seconds."""

    rate: float
    cpu: float
    latencies: list[float]


class Failure(Exception):
    """What the user is told in one line."""


@dataclass
class Run:
    """One measurement under way: a channel and its queue, and the clock."""

    library: Any
    connection: Any
    channel: Any
    queue: str
    body: bytes
    messages: int
    seconds: float
    latencies: list[float] = field(default_factory=list)
    _wall: float = 0.0
    _cpu: float = 0.0

    def start(self) -> float:
        """Start the clock; return when to stop at the latest."""
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        return self._wall + self.seconds

    def stop(self, count: int) -> Sample:
        """Stop it after so many messages."""
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        return Sample(count / wall, cpu / count * 1e6, self.latencies)

    def arrived(self, count: int) -> None:
        """Return when the queue has so many messages: the broker may take them later than they were sent."""
        end = time.monotonic() + BLOCKED_SECONDS
        while self.channel.queue_declare(self.queue, passive=True).method.message_count < count:
            if time.monotonic() > end:
                raise Failure(f"of {count} messages not all were in the queue after {BLOCKED_SECONDS} s")
            time.sleep(0.001)


def _publish(run: Run) -> Sample:
    publish, queue, body = run.channel.basic_publish, run.queue, run.body
    count = 0
    end = run.start()
    while count < run.messages and time.perf_counter() < end:
        for _ in range(min(BATCH, run.messages - count)):
            publish("", queue, body)
            count += 1
    run.arrived(count)
    return run.stop(count)


def _confirm(run: Run) -> Sample:
    run.channel.confirm_delivery()
    count = 0
    end = run.start()
    while count < run.messages and time.perf_counter() < end:
        run.channel.basic_publish("", run.queue, run.body)
        count += 1
    return run.stop(count)


def _confirm_many(run: Run) -> Sample:
    run.channel.confirm_delivery()
    end = run.start()
    message = ("", run.queue, run.body)

    def messages() -> Iterator[tuple[str, str, bytes]]:
        for sent in range(run.messages):
            if sent % BATCH == 0 and time.perf_counter() > end:
                return
            yield message

    return run.stop(run.channel.publish_many(messages()))


def _consume(run: Run) -> Sample:
    for _ in range(run.messages):
        run.channel.basic_publish("", run.queue, run.body)
    run.arrived(run.messages)
    count = 0
    end = 0.0

    def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        nonlocal count
        channel.basic_ack(method.delivery_tag)
        count += 1
        if count == run.messages or (count % BATCH == 0 and time.perf_counter() > end):
            channel.stop_consuming()

    run.channel.basic_qos(prefetch_count=PREFETCH)
    end = run.start()
    run.channel.basic_consume(run.queue, on_message)
    run.channel.start_consuming()
    return run.stop(count)


def _round_trip(run: Run) -> Sample:
    arrived = 0.0

    def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        nonlocal arrived
        arrived = time.perf_counter()

    run.channel.basic_consume(run.queue, on_message, auto_ack=True)
    count = 0
    end = run.start()
    while count < run.messages and time.perf_counter() < end:
        arrived = 0.0
        began = time.perf_counter()
        run.channel.basic_publish("", run.queue, run.body)
        while not arrived:
            run.connection.process_data_events(time_limit=None)
        run.latencies.append(arrived - began)
        count += 1
    return run.stop(count)


class Scenario(NamedTuple):
    """A row of the table; `only` is the library that can do it, where the other cannot."""

    title: str
    measure: Callable[[Run], Sample]
    only: str = ""


SCENARIOS = (
    Scenario("publish", _publish),
    Scenario("publish, each confirmed", _confirm),
    Scenario("publish_many with confirms", _confirm_many, only="cpika"),
    Scenario(f"consume with acks, prefetch {PREFETCH}", _consume),
    Scenario("round trip", _round_trip),
)

_Results = dict[tuple[str, str], list[Sample]]


# ---- the broker ----


def _parameters(library: Any, url: str) -> Any:
    """The library's parameters of an URL.

    :raises Failure: it is none
    """
    try:
        if url.partition("://")[0] not in ("amqp", "amqps"):
            raise ValueError("it has to begin with amqp:// or amqps://")
        parameters = library.URLParameters(url)
        if parameters.blocked_connection_timeout is None:
            parameters.blocked_connection_timeout = BLOCKED_SECONDS
    except (ValueError, TypeError) as error:
        # Its text may quote a part of the URL: not the password, but what was taken for a port.
        reason = str(error) if "has to begin" in str(error) else "its host, port or a parameter is not valid"
        raise Failure(f"not a broker's URL: {reason}") from None
    return parameters


def _place(parameters: Any) -> str:
    return f"{parameters.host}:{parameters.port}, virtual host {parameters.virtual_host!r}"


def _explain(error: BaseException, parameters: Any) -> str:
    """One line about a connection that failed; never the password."""
    place = _place(parameters)
    names = {kind.__name__ for kind in type(error).__mro__}  # pika's classes are not cpika's
    cause: BaseException | None = error
    if "ProbableAuthenticationError" in names:
        return f"{place}: user or password refused"
    if "ProbableAccessDeniedError" in names:
        return f"{place}: no access to the virtual host"
    if isinstance(error, socket.gaierror):
        return f"{place}: the host's name is not known"
    while cause is not None:  # wrapped as often as the connection's phases are
        error = cause
        inner = getattr(error, "exception", error.args[0] if error.args else None)
        cause = inner if isinstance(inner, BaseException) else None
    if isinstance(error, OSError):
        return f"{place}: {error.strerror or error}"
    return f"{place}: {error!r}"


def _close(connection: Any) -> None:
    with contextlib.suppress(Exception):
        connection.close()


@contextlib.contextmanager
def _run(library: Any, parameters: Any, options: argparse.Namespace) -> Iterator[Run]:
    """A connection with a channel and a queue that goes with it."""
    connection = library.BlockingConnection(parameters)
    try:
        channel = connection.channel()
        queue = f"cpika-bench-{os.getpid()}-{secrets.token_hex(4)}"
        channel.queue_declare(queue, exclusive=True)
        yield Run(library, connection, channel, queue, b"x" * options.size, options.messages, options.seconds)
    except KeyboardInterrupt:
        # No close(): pika's waits for ever when the interrupt came between its queueing of a frame and its
        # asking to write it.  The queue goes with the socket, that is with this process.
        raise
    except BaseException:
        _close(connection)
        raise
    _close(connection)


# ---- what the user sees ----


def _progress(total: int) -> contextlib.AbstractContextManager[Callable[[str], None]]:
    """A bar by rich on a terminal, else a line for each step, on standard error."""

    @contextlib.contextmanager
    def plain() -> Iterator[Callable[[str], None]]:
        numbers = itertools.count(1)
        yield lambda step: print(f"{next(numbers)}/{total} {step}", file=sys.stderr, flush=True)

    @contextlib.contextmanager
    def bar() -> Iterator[Callable[[str], None]]:
        console = importlib.import_module("rich.console").Console(stderr=True)
        parts = importlib.import_module("rich.progress")
        columns = (parts.TextColumn("{task.description:45}"), parts.BarColumn(), parts.MofNCompleteColumn())
        with parts.Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task("", total=total)
            done = itertools.count()
            yield lambda step: progress.update(task, completed=next(done), description=step)

    return bar() if sys.stderr.isatty() and _has_rich() else plain()


def _has_rich() -> bool:
    try:
        importlib.import_module("rich")
    except ImportError:
        return False
    return True


def _show(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on standard output: the first column to the left, numbers to the right."""
    if _has_rich():
        table = importlib.import_module("rich.table").Table()
        for index, name in enumerate(header):
            table.add_column(name, justify="left" if index == 0 else "right", no_wrap=True)
        for row in rows:
            table.add_row(*row)
        console = importlib.import_module("rich.console").Console()
        if not console.is_terminal:
            console.width = 160  # a file has no width to fold at
        console.print(table)
        return
    widths = [max(map(len, column)) for column in zip(header, *rows)]
    for line in (header, *rows):
        cells = [cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths))]
        print("  ".join(cells).rstrip())


def _median(samples: Sequence[Sample] | None, get: Callable[[Sample], float]) -> float | None:
    return statistics.median(map(get, samples)) if samples else None


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _latency(samples: Sequence[Sample], share: float) -> str:
    """A percentile of all rounds' latencies, in microseconds."""
    ordered = sorted(itertools.chain.from_iterable(sample.latencies for sample in samples))
    return f"{ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1e6:,.0f}"


def _rows(results: _Results, names: Sequence[str]) -> Iterator[list[str]]:
    for scenario in SCENARIOS:
        rates = [_median(results.get((scenario.title, name)), lambda sample: sample.rate) for name in names]
        cpus = [_median(results.get((scenario.title, name)), lambda sample: sample.cpu) for name in names]
        row = [scenario.title, *(_number(rate, ",.0f") for rate in rates)]
        if len(names) > 1:
            row.append("-" if None in rates else f"{(rates[-1] or 0) / (rates[0] or 1):.1f}x")
        yield row + [_number(cpu, ",.1f") for cpu in cpus]


def _report(results: _Results, libraries: dict[str, ModuleType]) -> None:
    names = list(libraries)
    faster = ["cpika is faster"] if len(names) > 1 else []
    header = ["", *(f"{n}, messages/s" for n in names), *faster, *(f"{n}, CPU us/message" for n in names)]
    _show(header, list(_rows(results, names)))
    for name in names:
        samples = results[SCENARIOS[-1].title, name]
        print(f"{name}: round trip p50 {_latency(samples, 0.5)} us, p99 {_latency(samples, 0.99)} us")


# ---- the command ----


def _positive(kind: Callable[[str], float]) -> Callable[[str], float]:
    def convert(text: str) -> float:
        value = kind(text)
        if not 0 < value < float("inf"):
            raise ValueError(text)
        return value

    convert.__name__ = "number above 0"
    return convert


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m cpika bench",
        description="Compare pika and cpika on a broker. It makes queues of its own and deletes them.",
        epilog=f"The URL may stand in {URL_VARIABLE} too, where no `ps` shows the password.",
    )
    parser.add_argument(
        "--url", help="the broker, amqp://user:password@host:port/vhost (default: a local one)"
    )
    parser.add_argument(
        "--messages", type=_positive(int), default=10_000, help="a measurement, at most (%(default)s)"
    )
    parser.add_argument("--size", type=_positive(int), default=100, help="bytes of a body (%(default)s)")
    parser.add_argument("--rounds", type=_positive(int), default=3, help="the median counts (%(default)s)")
    parser.add_argument(
        "--seconds", type=_positive(float), default=2.0, help="a measurement, at most (%(default)s)"
    )
    return parser.parse_args(argv)


def _libraries() -> dict[str, ModuleType]:
    """pika, if it is installed, and cpika."""
    try:
        pika = importlib.import_module("pika")
    except ImportError:
        return {"cpika": cpika}
    return {"cpika": cpika} if pika is cpika else {"pika": pika, "cpika": cpika}


def _measure(options: argparse.Namespace, libraries: dict[str, ModuleType], url: str) -> _Results:
    """All rounds: in one the libraries take turns, in the next the other way round."""
    results: _Results = {}
    parameters = {name: _parameters(library, url) for name, library in libraries.items()}
    one_round = [(s, name) for s in SCENARIOS for name in libraries if not s.only or s.only == name]
    with _progress(options.rounds * len(one_round)) as step:
        for number in range(options.rounds):
            for scenario, name in one_round if number % 2 == 0 else one_round[::-1]:
                step(f"{scenario.title}, {name}")
                try:
                    with _run(libraries[name], parameters[name], options) as run:
                        results.setdefault((scenario.title, name), []).append(scenario.measure(run))
                except Failure:
                    raise
                except Exception as error:
                    raise Failure(_explain(error, parameters[name])) from error
    return results


def main(argv: Sequence[str]) -> int:
    """Run the command.

    :param argv: the command line after `python -m cpika bench`
    :returns: the exit status: 0, 1 when the broker cannot be used, 130 after Ctrl-C
    """
    try:
        options = _parse(argv)
        logging.getLogger("pika").addHandler(logging.NullHandler())  # what goes wrong is told once, by us
        url = options.url or os.environ.get(URL_VARIABLE) or DEFAULT_URL
        libraries = _libraries()
        place = _place(_parameters(cpika, url))
        versions = ", ".join(
            f"cpika {cpika.__cpika_version__}" if name == "cpika" else f"pika {library.__version__}"
            for name, library in libraries.items()
        )
        print(f"{versions}; {place}; bodies of {options.size} bytes", flush=True)
        if "pika" not in libraries:
            print("pika is not installed: cpika alone", file=sys.stderr)
        _report(_measure(options, libraries, url), libraries)
    except Failure as failure:
        print(f"python -m cpika bench: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the broker deletes the queues", file=sys.stderr)
        return 130
    return 0
