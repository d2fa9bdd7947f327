"""What cpika must reach: one table, and the check against what was measured."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from measure import Results
from scenarios import PIKA_MAIN

MEGABYTE = 1_000_000

METRICS = {
    "wall": "time",
    "cpu": "CPU time",
    "peak_rss": "peak RSS",
    "growth": "RSS growth from 20 % to 100 %",
    "p50": "median latency",
    "p99": "99th percentile",
}
"""What can be compared, by the names that `Results.median` knows."""


@dataclass(frozen=True)
class Target:
    """A bound on one figure of cpika's, by default on a ratio.

    cpika's median of `metric` in `scenario`, over that of the client `against` in the scenario `base` (the
    same one unless said), must be at most `limit`. Without `against` the figure itself must be.
    """

    scenario: str
    against: str | None
    limit: float
    metric: str = "wall"
    base: str | None = None
    as_speedup: bool = False

    @property
    def base_scenario(self) -> str:
        return self.base or self.scenario

    def wanted(self) -> str:
        what = METRICS[self.metric]
        if self.against is None:
            return f"{what} <= {self.limit / MEGABYTE:g} MB"
        if self.as_speedup:
            return f"{what} {1 / self.limit:g}x less"
        return f"{what} <= {self.limit:.4g} of it"


@dataclass(frozen=True)
class Verdict:
    """How a target came out; `value` is None when it was not measured.

    `excused`: that is no miss, since the other client is not to be had from the registries.
    """

    target: Target
    value: float | None
    excused: bool = False

    @property
    def met(self) -> bool:
        return self.value is not None and self.value <= self.target.limit

    @property
    def missed(self) -> bool:
        return not self.met and not self.excused

    def found(self) -> str:
        if self.value is None:
            return "not measured"
        if self.target.against is None:
            return f"{self.value / MEGABYTE:.2f} MB"
        return f"{1 / self.value:.3g}x" if self.target.as_speedup and self.value > 0 else f"{self.value:.3g}"


def faster(scenario: str, times: float, base: str | None = None) -> Target:
    """At least so many times faster than pika."""
    return Target(scenario, "pika", 1 / times, base=base, as_speedup=True)


def cheaper(scenario: str, times: float) -> Target:
    """At least so many times less CPU time than pika."""
    return Target(scenario, "pika", 1 / times, "cpu", as_speedup=True)


def outdoes(client: str, scenario: str, times: float) -> Target:
    """At least so many times faster than this client."""
    return Target(scenario, client, 1 / times, as_speedup=True)


def of_c(scenario: str, limit: float, base: str | None = None) -> Target:
    return Target(scenario, "rabbitmq-c", limit, base=base)


def of_floor(scenario: str, limit: float) -> Target:
    return Target(scenario, "floor", limit)


TARGETS = (
    faster("publish", 7),
    of_c("publish", 0.70),
    of_floor("publish", 1.2),
    faster("publish_buffered", 100, base="publish"),
    of_c("publish_buffered", 0.05, base="publish"),
    faster("consume_auto", 40),
    of_c("consume_auto", 0.7),
    faster("consume_ack", 30),
    of_c("consume_ack", 0.2),
    faster("generator", 20),
    faster("get", 1.5),
    of_floor("get", 1.1),
    faster("confirm", 1.5),
    of_c("confirm", 1.0),
    of_floor("confirm", 1.1),
    faster("confirm_many", 100, base="confirm"),
    faster("publish_props", 7),
    faster("consume_read_props", 8),
    faster("publish_1mb", 1.2),
    of_c("publish_1mb", 0.7),
    of_floor("publish_1mb", 1.15),
    faster("consume_1mb", 3),
    of_c("consume_1mb", 1.2),
    of_floor("consume_1mb", 1.3),
    faster("publish_beside_thread", 1000),
    faster("tls_publish", 3),
    faster("tls_consume", 5),
    Target("import", "pika", 0.5),
    Target("memory_many", "pika", 1.0, "peak_rss"),
    Target("memory_many", None, MEGABYTE, "growth"),
    Target("memory_large", "pika", 1.0, "peak_rss"),
    Target("memory_large", None, MEGABYTE, "growth"),
    Target("fan_consumers", "cpika", 1.1, base="fan_1"),
    Target("fan_channels", "cpika", 1.1, base="fan_1"),
    Target("broker_publish", "pika", 0.2, "cpu"),
    of_c("broker_publish", 1 / 0.95),
    Target("broker_consume", "pika", 0.2, "cpu"),
    of_c("broker_consume", 1 / 0.95),
    faster("broker_confirm_many", 5, base="broker_confirm"),
    Target("roundtrip", "pika", 1.0, "p50"),
    Target("roundtrip", "pika", 1.0, "p99"),
    *(
        target
        for loop in ("select", "asyncio", "uvloop")
        for target in (
            cheaper(f"{loop}_publish", 40),
            cheaper(f"{loop}_publish_1", 4),
            faster(f"{loop}_consume_auto", 30),
            faster(f"{loop}_consume_ack", 30),
            faster(f"{loop}_confirms", 20),
            *(
                target
                for one_by_one in ("confirm", "get", "declare")
                for target in (
                    faster(f"{loop}_{one_by_one}", 1.3),
                    cheaper(f"{loop}_{one_by_one}", 2),
                )
            ),
        )
    ),
    cheaper("tornado_publish", 20),
    cheaper("tornado_consume_ack", 20),
    cheaper("gevent_publish", 20),
    cheaper("gevent_consume_ack", 20),
    cheaper("twisted_publish", 8),
    cheaper("twisted_consume", 8),
    Target("asyncio_burst", "pika", 1.0, "peak_rss"),
    Target("asyncio_memory", "pika", 1.0, "peak_rss"),
    outdoes(PIKA_MAIN, "threads_publish", 5),
    outdoes(PIKA_MAIN, "threads_publish_4", 5),
    outdoes(PIKA_MAIN, "threads_publish_beside_thread", 5),
    outdoes(PIKA_MAIN, "threads_consume_auto", 10),
    outdoes(PIKA_MAIN, "threads_consume_ack", 8),
    outdoes(PIKA_MAIN, "threads_confirms", 20),
    outdoes(PIKA_MAIN, "threads_confirm", 2.5),
    outdoes(PIKA_MAIN, "threads_declare", 2.5),
    outdoes("aio-pika", "aio_confirms", 30),
    outdoes("aio-pika", "aio_consume_ack", 30),
    outdoes("aio-pika", "aio_confirm", 1.8),
    outdoes("aio-pika", "aio_get", 2.5),
    cheaper("asyncio_broker_publish", 8),
    cheaper("asyncio_broker_consume_ack", 4),
)


def cpu_targets(targets: Collection[Target]) -> Iterator[Target]:
    """Waiting is not spinning: where the time is compared with pika's, the CPU time is not above pika's."""
    bounded = {target.scenario for target in targets if target.metric == "cpu"}
    for target in targets:
        if target.against == "pika" and target.metric == "wall" and target.scenario not in bounded:
            yield Target(target.scenario, "pika", 1.0, "cpu", target.base)


def judge(target: Target, results: Results) -> Verdict:
    value = results.median(target.scenario, "cpika", target.metric)
    if target.against is None or value is None:
        return Verdict(target, value)
    base = results.median(target.base_scenario, target.against, target.metric)
    failed = (target.base_scenario, target.against) in results.failures
    absent = base is None and target.against == PIKA_MAIN and not failed
    return Verdict(target, value / base if base else None, excused=absent)


def judge_all(results: Results, scenarios: Iterable[str]) -> list[Verdict]:
    """The verdicts on all targets of these scenarios."""
    chosen = set(scenarios)
    every = (*TARGETS, *cpu_targets(TARGETS))
    return [judge(target, results) for target in every if target.scenario in chosen]
