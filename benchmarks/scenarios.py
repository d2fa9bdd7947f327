"""What is measured: each scenario, and how many messages each client gets: a run lasts tenths of a second."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

PYTHON_PEERS = ("pika", "py-amqp", "amqpstorm", "aio-pika")
FAST = ("cpika", "rabbitmq-c", "floor")
PIKA_MAIN = "pika-main"
"""pika's main branch, which has a thread-safe Connection: measured where PIKA_MAIN names its folder."""
CLIENTS = ("floor", "rabbitmq-c", "cpika", *PYTHON_PEERS, PIKA_MAIN)
"""In the order of the tables."""

FULL_REPETITIONS = 5
QUICK_REPETITIONS = 3
QUICK_SHARE = 4
"""A quick run has a fourth of the messages."""

SIZES = (10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000)
SIZE_CLIENTS = ("floor", "rabbitmq-c", "cpika", "pika")


@dataclass(frozen=True)
class Scenario:
    """One column of the tables.

    `counts` are messages by client; a client that is not in it does not take part. `runs` is the clients'
    name for the scenario. `where` is 'server', 'tls' or 'broker'. `fixed` keeps the counts in a quick run.
    `group` is what `--only` takes too. The table has a column for the ratio to each of the `rivals`.
    """

    name: str
    title: str
    counts: Mapping[str, int]
    runs: str
    size: int = 100
    options: Mapping[str, int] = field(default_factory=dict)
    where: str = "server"
    quick: bool = True
    fixed: bool = False
    repetitions: int = FULL_REPETITIONS
    unit: str = "message"
    plotted: bool = True
    group: str = "blocking"
    rivals: tuple[str, ...] = ("pika", "rabbitmq-c", "floor")

    def quickened(self) -> Scenario:
        counts = self.counts
        if not self.fixed:
            counts = {client: max(1, count // QUICK_SHARE) for client, count in counts.items()}
        return replace(self, counts=counts, repetitions=min(self.repetitions, QUICK_REPETITIONS))

    def repeated(self, times: int) -> Scenario:
        return replace(self, repetitions=times)


def counts(fast: int, peers: int, **others: int) -> dict[str, int]:
    """`fast` for cpika, rabbitmq-c and the floor, `peers` for the Python peers, `others` for those named
    (- as _); 0 leaves a client out."""
    table = dict.fromkeys(FAST, fast) | dict.fromkeys(PYTHON_PEERS, peers)
    table |= {client.replace("_", "-"): count for client, count in others.items()}
    return {client: count for client, count in table.items() if count > 0}


def only(**chosen: int) -> dict[str, int]:
    return {client.replace("_", "-"): count for client, count in chosen.items()}


SERVER_SCENARIOS = (
    Scenario("publish", "publish", counts(100_000, 10_000, aio_pika=4_000), "publish"),
    Scenario("publish_buffered", "buffered publish", only(cpika=1_000_000), "publish_buffered"),
    Scenario("publish_many", "publish_many", only(cpika=1_000_000), "publish_many"),
    Scenario(
        "publish_props",
        "publish, properties",
        counts(50_000, 8_000, floor=0, aio_pika=3_000),
        "publish_props",
    ),
    Scenario(
        "confirm", "confirm, one by one", counts(10_000, 5_000, amqpstorm=200, aio_pika=2_000), "confirm"
    ),
    Scenario("confirm_many", "confirm, pipelined", only(cpika=500_000), "confirm_many"),
    Scenario("consume_auto", "consume, auto-ack", counts(1_000_000, 40_000, aio_pika=5_000), "consume_auto"),
    Scenario(
        "consume_ack",
        "consume + ack",
        counts(200_000, 15_000, floor=0, cpika=1_000_000, aio_pika=4_000),
        "consume_ack",
    ),
    Scenario(
        "consume_ack_100",
        "consume + ack, prefetch 100",
        counts(100_000, 15_000, floor=0, aio_pika=4_000),
        "consume_ack",
        options={"prefetch": 100},
        quick=False,
    ),
    Scenario("generator", "consume() generator", only(cpika=500_000, pika=40_000), "generator"),
    Scenario(
        "consume_read_props",
        "consume, read all properties",
        only(cpika=200_000, pika=15_000),
        "consume_read_props",
    ),
    Scenario("get", "basic_get", counts(10_000, 5_000, amqpstorm=100, aio_pika=1_000), "get"),
    Scenario(
        "publish_1mb",
        "publish 1 MB",
        counts(500, 500, py_amqp=200, amqpstorm=200, aio_pika=200),
        "publish",
        1_000_000,
    ),
    Scenario(
        "consume_1mb",
        "consume 1 MB",
        counts(1_000, 300, py_amqp=200, amqpstorm=100, aio_pika=200),
        "consume_auto",
        1_000_000,
    ),
    Scenario(
        "publish_beside_thread",
        "publish beside a busy thread",
        only(cpika=50_000, pika=40),
        "publish_beside_thread",
        fixed=True,
    ),
    Scenario("tls_publish", "TLS publish", only(cpika=50_000, pika=10_000), "publish", where="tls"),
    Scenario("tls_consume", "TLS consume", only(cpika=500_000, pika=40_000), "consume_auto", where="tls"),
    Scenario(
        "import",
        "import",
        dict.fromkeys(("cpika", *PYTHON_PEERS), 5),
        "import",
        unit="import",
        fixed=True,
        plotted=False,
    ),
    Scenario("fan_1", "1 consumer", only(cpika=1_000_000, pika=40_000), "fan", quick=False, plotted=False),
    Scenario(
        "fan_consumers",
        "500 consumers",
        only(cpika=1_000_000, pika=40_000),
        "fan",
        options={"consumers": 500},
        plotted=False,
        quick=False,
    ),
    Scenario(
        "fan_channels",
        "2,000 channels",
        only(cpika=1_000_000, pika=40_000),
        "fan",
        options={"channels": 2_000},
        plotted=False,
        quick=False,
    ),
    Scenario(
        "memory_many",
        "1,000,000 messages through",
        only(cpika=1_000_000, pika=1_000_000),
        "memory",
        options={"prefetch": 100},
        quick=False,
        repetitions=1,
        plotted=False,
    ),
    Scenario(
        "memory_large",
        "10 MB messages through",
        only(cpika=100, pika=100),
        "memory",
        10_000_000,
        {"prefetch": 2},
        quick=False,
        repetitions=1,
        plotted=False,
    ),
)

BROKER_SCENARIOS = (
    Scenario(
        "broker_publish",
        "publish",
        only(rabbitmq_c=40_000, cpika=40_000, pika=20_000),
        "broker_publish",
        where="broker",
    ),
    Scenario(
        "broker_consume",
        "consume + ack, prefetch 100",
        only(rabbitmq_c=20_000, cpika=20_000, pika=10_000),
        "broker_consume_ack",
        options={"prefetch": 100},
        where="broker",
    ),
    Scenario(
        "broker_confirm",
        "confirm, one by one",
        only(cpika=1_000, pika=1_000),
        "broker_confirm",
        where="broker",
    ),
    Scenario(
        "broker_confirm_many", "confirm, pipelined", only(cpika=20_000), "broker_confirm_many", where="broker"
    ),
    Scenario(
        "roundtrip",
        "round trip",
        only(rabbitmq_c=3_000, cpika=3_000, pika=3_000),
        "roundtrip",
        where="broker",
    ),
)


def beside(
    group: str,
    rival: str,
    runs: str,
    title: str,
    fast: int,
    slow: int,
    name: str | None = None,
    **others: Any,
) -> Scenario:
    """A scenario of cpika with `fast` messages against one rival with `slow`, in the tables alone."""
    loop = runs.partition("_")[0]
    many = {"cpika": fast, rival: slow}
    return Scenario(
        name or runs,
        f"{loop}: {title}",
        many,
        runs,
        group=group,
        rivals=(rival,),
        plotted=False,
        **{"quick": False, **others},
    )


on_loop = partial(beside, "loops", "pika")
with_threads = partial(beside, "threads", PIKA_MAIN)
with_aio = partial(beside, "aio", "aio-pika")


def loop_scenarios(loop: str) -> Iterable[Scenario]:
    """What is measured on select, asyncio and uvloop."""
    first = loop == "asyncio"  # stands for the others in a quick run
    yield on_loop(f"{loop}_publish", "publish, 100 a turn", 500_000, 20_000, quick=True)
    yield on_loop(
        f"{loop}_publish", "publish, 1 a turn", 50_000, 10_000, f"{loop}_publish_1", options={"batch": 1}
    )
    yield on_loop(f"{loop}_consume_auto", "consume, auto-ack", 1_000_000, 40_000, quick=first)
    yield on_loop(f"{loop}_consume_ack", "consume + ack", 1_000_000, 20_000, quick=first)
    yield on_loop(f"{loop}_confirms", "confirms, 1,000 in flight", 200_000, 10_000, quick=first)
    yield on_loop(f"{loop}_confirm", "confirm, one by one", 10_000, 5_000)
    yield on_loop(f"{loop}_get", "basic_get, one by one", 10_000, 5_000)
    yield on_loop(f"{loop}_declare", "declare, one by one", 10_000, 5_000)


BESIDE_SCENARIOS = (
    *(scenario for loop in ("select", "asyncio", "uvloop") for scenario in loop_scenarios(loop)),
    *(
        scenario
        for loop in ("tornado", "gevent")
        for scenario in (
            on_loop(f"{loop}_publish", "publish, 100 a turn", 500_000, 20_000),
            on_loop(f"{loop}_consume_ack", "consume + ack", 1_000_000, 20_000),
        )
    ),
    on_loop("twisted_publish", "publish, 100 a turn", 100_000, 10_000),
    on_loop("twisted_consume", "consume by its queue", 100_000, 20_000),
    on_loop("asyncio_burst", "200,000 publishes in one turn", 200_000, 200_000, repetitions=1),
    on_loop(
        "asyncio_memory",
        "1,000,000 messages consumed",
        1_000_000,
        1_000_000,
        options={"prefetch": 100},
        repetitions=1,
    ),
    with_threads("threads_publish", "publish, 1 thread", 200_000, 20_000, quick=True),
    with_threads(
        "threads_publish", "publish, 4 threads", 200_000, 20_000, "threads_publish_4", options={"threads": 4}
    ),
    with_threads("threads_publish_beside_thread", "publish beside a busy thread", 50_000, 5_000),
    with_threads("threads_consume_auto", "consume, auto-ack", 200_000, 30_000, quick=True),
    with_threads("threads_consume_ack", "consume + ack by the worker", 100_000, 15_000),
    with_threads("threads_confirms", "confirms, 1,000 in flight", 100_000, 10_000),
    with_threads("threads_confirm", "confirm, one by one", 5_000, 2_000),
    with_threads("threads_declare", "declare, one by one", 5_000, 2_000),
    with_aio("aio_confirms", "confirms, 1,000 in flight", 100_000, 5_000, quick=True),
    with_aio("aio_consume_ack", "consume + ack", 100_000, 5_000),
    with_aio("aio_confirm", "confirm, one by one", 5_000, 2_000),
    with_aio("aio_get", "get, one by one", 5_000, 1_000),
)

BESIDE_BROKER_SCENARIOS = (
    on_loop("asyncio_broker_publish", "publish, 100 a turn", 50_000, 20_000, where="broker"),
    on_loop(
        "asyncio_broker_consume_ack",
        "consume + ack, prefetch 100",
        20_000,
        10_000,
        options={"prefetch": 100},
        where="broker",
    ),
)

ON_BROKER = BROKER_SCENARIOS + BESIDE_BROKER_SCENARIOS
ON_SERVER = SERVER_SCENARIOS + BESIDE_SCENARIOS
SCENARIOS = SERVER_SCENARIOS + BROKER_SCENARIOS + BESIDE_SCENARIOS + BESIDE_BROKER_SCENARIOS
GROUPS = ("blocking", "loops", "threads", "aio")

SIZE_BYTES = 200_000_000
"""What a run of the size sweep moves at most ..."""
SIZE_MESSAGES = 20_000
"""... and how many messages."""


def size_scenarios() -> Iterable[Scenario]:
    """Publish and consume at each body size, for the second plot."""
    for runs in ("publish", "consume_auto"):
        for size in SIZES:
            count = max(10, min(SIZE_MESSAGES, SIZE_BYTES // size))
            name = f"{runs}@{size}"
            yield Scenario(
                name,
                name,
                dict.fromkeys(SIZE_CLIENTS, count),
                runs,
                size,
                quick=False,
                repetitions=QUICK_REPETITIONS,
            )
