"""What the Python clients of the benchmark share: arguments, the clock, checks, the line of JSON.

A client is a program with one connection. It runs the scenario that ``--scenario`` names once and prints one
line of JSON. Scenarios named ``broker_*`` and ``roundtrip`` speak to a real broker, the others to
``benchmarks/server``.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

DROP = "bench.drop"
"""Routing key of what the server is to drop."""

AIO_WINDOW = 1000
"""Tasks that publish at once where `async` programs have many confirms under way."""

HEADERS: dict[str, Any] = {
    "x-source": "benchmark",
    "x-trace": "4bf92f3577b34da6a3ce929d0e0e4736",
    "x-sampled": True,
    "x-attempt": 3,
    "x-sequence": 0,
}
PROPERTIES: dict[str, Any] = {
    "content_type": "application/json",
    "content_encoding": "utf-8",
    "delivery_mode": 2,
    "priority": 5,
    "correlation_id": "correlation-0001",
    "reply_to": "reply-queue",
    "expiration": "60000",
    "message_id": "message-0001",
    "timestamp": 1700000000,
    "type": "order.created",
    "user_id": "guest",
    "app_id": "bench",
}
"""What the ``*_props`` scenarios set and read, `HEADERS` beside them; the server's ``.props`` queues send
the same."""


class CheckFailed(Exception):
    """A count at the server is not what the scenario must have made."""


@dataclass
class Job:
    """One run of one scenario: what was asked, and what was measured."""

    url: str
    scenario: str
    count: int
    size: int
    prefetch: int
    channels: int
    consumers: int
    batch: int
    threads: int
    cafile: str | None
    wall: float = 0.0
    cpu: float = 0.0
    extra: dict[str, Any] = field(default_factory=dict)
    _began: tuple[float, float] = (0.0, 0.0)

    @property
    def body(self) -> bytes:
        return b"x" * self.size

    def queue(self, *options: str) -> str:
        """The name of a server's queue with this job's messages."""
        return ".".join(("bench", str(self.count), str(self.size), *options))

    def start(self) -> None:
        self._began = (time.perf_counter(), time.process_time())

    def stop(self) -> None:
        """Wall and CPU seconds (user and system, all threads) since `start`."""
        wall, cpu = time.perf_counter(), time.process_time()
        self.wall, self.cpu = wall - self._began[0], cpu - self._began[1]

    def expect(self, what: str, got: int, wanted: int | None = None) -> None:
        wanted = self.count if wanted is None else wanted
        if got != wanted:
            raise CheckFailed(f"{what}: {got}, expected {wanted}")

    def percentiles(self, took: list[float]) -> None:
        """Keeps the median and the 99th percentile of `took` (seconds)."""
        took.sort()
        self.extra.update(p50=took[len(took) // 2], p99=took[len(took) * 99 // 100])


def stats_queue(counter: str) -> str:
    """The queue whose message count is a counter of the server's, for this connection."""
    return f"bench.stats.{counter}"


def resident_bytes() -> int:
    """Resident memory of this process now."""
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def peak_bytes() -> int:
    """The most memory this process ever had resident."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def time_import(module: str) -> Callable[[Job], None]:
    """A scenario that imports `module` in `count` new interpreters; its time is that of the imports alone."""
    program = (
        "import time\n"
        "wall, cpu = time.perf_counter(), time.process_time()\n"
        f"import {module}\n"
        "print(time.perf_counter() - wall, time.process_time() - cpu)\n"
    )

    def scenario(job: Job) -> None:
        for attempt in range(job.count + 1):
            out = subprocess.run(
                [sys.executable, "-c", program], check=True, capture_output=True, text=True
            ).stdout
            wall, cpu = (float(word) for word in out.split())
            if attempt > 0:  # the first may have compiled
                job.wall += wall
                job.cpu += cpu

    return scenario


def parse_arguments() -> Job:
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--scenario", required=True)
    parser.add_argument("--count", type=int, required=True, help="messages")
    parser.add_argument("--size", type=int, required=True, help="bytes of a body")
    parser.add_argument("--prefetch", type=int, default=0)
    parser.add_argument("--channels", type=int, default=1)
    parser.add_argument("--consumers", type=int, default=1, help="a channel")
    parser.add_argument("--batch", type=int, default=100, help="messages a turn of the loop")
    parser.add_argument("--threads", type=int, default=1, help="that publish")
    parser.add_argument("--cafile", help="certificate of a TLS server")
    return Job(**vars(parser.parse_args()))


def main(
    client: str,
    version: str,
    scenarios: dict[str, Callable[[Job], None]],
    more: Callable[[str], dict[str, Callable[[Job], None]]] | None = None,
) -> int:
    """Runs the scenario that the arguments name; returns the exit status.

    :param more: returns further scenarios, for a name that `scenarios` has not
    """
    job = parse_arguments()
    if more is not None and job.scenario not in scenarios:
        scenarios = more(job.scenario)
    if job.scenario not in scenarios:
        print(f"no such scenario: {job.scenario}", file=sys.stderr)
        return 2
    try:
        scenarios[job.scenario](job)
    except CheckFailed as failure:
        print(f"check failed: {failure}", file=sys.stderr)
        return 1
    line = {
        "client": client,
        "version": version,
        "scenario": job.scenario,
        "count": job.count,
        "size": job.size,
        "wall": job.wall,
        "cpu": job.cpu,
        "peak_rss": peak_bytes(),
        "extra": job.extra,
    }
    print(json.dumps(line))
    return 0
