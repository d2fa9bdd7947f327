"""The benchmark's tools: its server speaks AMQP and counts right, its clients and targets hold.

Nothing is timed.
"""

from __future__ import annotations

import os
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import measure  # noqa: E402
import places  # noqa: E402
import programs  # noqa: E402
import run  # noqa: E402
import scenarios  # noqa: E402
import targets  # noqa: E402


@pytest.fixture(scope="module")
def servers() -> Iterator[measure.Servers]:
    programs.build_all()
    with measure.running_server(broker=None) as running:
        yield running


@pytest.fixture(scope="module")
def commands() -> dict[str, list[str]]:
    return measure.available_clients()


@pytest.fixture
def channel(servers: measure.Servers) -> Iterator[BlockingChannel]:
    """pika is the judge of what the server says."""
    with pika.BlockingConnection(pika.URLParameters(servers.plain)) as connection:
        yield connection.channel()


def counter(channel: BlockingChannel, name: str) -> int:
    return channel.queue_declare(f"bench.stats.{name}", passive=True).method.message_count


def take(channel: BlockingChannel, queue: str, count: int, **options: Any) -> list[tuple[Any, Any, bytes]]:
    taken = []
    for message in channel.consume(queue, **options):
        taken.append(message)
        if len(taken) == count:
            break
    return taken


# ---- the server ----


def test_every_method_of_the_protocol_is_answered(channel: BlockingChannel) -> None:
    channel.exchange_declare("e1", "fanout")
    channel.exchange_declare("e2", "topic")
    channel.exchange_bind("e1", "e2", "#")
    channel.exchange_unbind("e1", "e2", "#")
    queue = channel.queue_declare("").method.queue
    assert queue
    channel.queue_bind(queue, "e1", "key")
    channel.queue_unbind(queue, "e1", "key")
    assert channel.queue_purge("bench.7.10").method.message_count == 7
    assert channel.queue_delete("bench.8.10").method.message_count == 8
    assert channel.flow(True) is True
    channel.basic_qos(prefetch_count=10)
    channel.basic_recover(requeue=True)
    channel.tx_select()
    channel.tx_commit()
    channel.tx_rollback()
    channel.exchange_delete("e1")
    channel.close()


def test_a_queue_has_as_many_messages_as_its_name_says(channel: BlockingChannel) -> None:
    bodies = [channel.basic_get("bench.3.5", auto_ack=True)[2] for _ in range(4)]
    assert bodies == [b"xxxxx"] * 3 + [None]


def test_a_body_larger_than_a_frame_arrives_whole(channel: BlockingChannel) -> None:
    ((_method, _properties, body),) = take(channel, "bench.1.300000", 1, auto_ack=True)
    assert body == b"x" * 300_000


def test_a_large_body_is_published_and_counted(channel: BlockingChannel) -> None:
    channel.basic_publish("", "drop", b"y" * 300_000)
    channel.basic_publish("", "drop", b"")
    assert (counter(channel, "publishes"), counter(channel, "publish_bytes")) == (2, 300_000)


def test_messages_carry_all_properties_when_asked(channel: BlockingChannel) -> None:
    ((_method, properties, _body),) = take(channel, "bench.1.5.props", 1, auto_ack=True)
    assert None not in [value for name, value in vars(properties).items() if name != "cluster_id"]
    assert len(properties.headers) == 5


def test_every_confirmed_message_is_acked_by_itself(channel: BlockingChannel) -> None:
    channel.confirm_delivery()
    for _ in range(5):
        channel.basic_publish("", "drop", b"body")
    assert counter(channel, "confirms") == 5


def test_delivery_tags_count_up(channel: BlockingChannel) -> None:
    tags = [method.delivery_tag for method, _, _ in take(channel, "bench.5000.10", 5000, auto_ack=True)]
    assert tags == list(range(1, 5001))


def test_no_more_than_the_prefetch_is_on_its_way(channel: BlockingChannel) -> None:
    channel.basic_qos(prefetch_count=3)
    generator = channel.consume("bench.10.10", inactivity_timeout=1)
    first = [next(generator) for _ in range(3)]
    assert counter(channel, "deliveries") == 3
    channel.basic_ack(first[0][0].delivery_tag)
    next(generator)
    assert counter(channel, "deliveries") == 4


def test_acks_are_counted_a_frame_each_and_multiple_ones_apart(channel: BlockingChannel) -> None:
    messages = take(channel, "bench.6.10", 6)
    for method, _, _ in messages[:2]:
        channel.basic_ack(method.delivery_tag)
    channel.basic_nack(messages[2][0].delivery_tag, requeue=False)
    channel.basic_ack(messages[5][0].delivery_tag, multiple=True)
    counts = [counter(channel, name) for name in ("acks", "nacks", "acks_multiple", "settled")]
    assert counts == [2, 1, 1, 6]


def test_a_second_ack_of_a_message_closes_the_channel(channel: BlockingChannel) -> None:
    ((method, _, _),) = take(channel, "bench.1.10", 1)
    channel.basic_ack(method.delivery_tag)
    channel.basic_ack(method.delivery_tag)
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as caught:
        channel.queue_declare("any")
    assert caught.value.reply_code == 406


def test_consumers_on_several_channels_get_messages_in_turn(channel: BlockingChannel) -> None:
    connection = channel.connection
    channels = [connection.channel() for _ in range(3)]
    got: list[int] = []
    for one in channels:
        one.basic_consume("bench.9.10.after3", lambda ch, *_: got.append(ch.channel_number), auto_ack=True)
    while len(got) < 9:
        connection.process_data_events(time_limit=None)
    assert {number: got.count(number) for number in got} == {one.channel_number: 3 for one in channels}


def test_the_server_speaks_tls(servers: measure.Servers) -> None:
    parameters = pika.URLParameters(servers.tls)
    context = ssl.create_default_context(cafile=servers.cafile)
    parameters.ssl_options = pika.SSLOptions(context, "localhost")
    with pika.BlockingConnection(parameters) as connection:
        channel = connection.channel()
        assert len(take(channel, "bench.2000.100", 2000, auto_ack=True)) == 2000
        channel.basic_publish("", "drop", b"z" * 200_000)
        assert counter(channel, "publish_bytes") == 200_000


# ---- the clients ----


FEW = 5


def small(scenario: scenarios.Scenario) -> scenarios.Scenario:
    """The same with few messages."""
    names = dict.fromkeys(scenario.counts, FEW)
    options = {name: min(value, 5) for name, value in scenario.options.items()}
    return scenarios.Scenario(
        scenario.name, scenario.title, names, scenario.runs, 100, options, scenario.where
    )


def cases() -> list[Any]:
    """A scenario and a client each."""
    # The Python peers are installed for `make bench` alone, pika's main branch is nowhere to be had from;
    # rabbitmq-c, the floor, pika and cpika are there always.
    always = ("floor", "rabbitmq-c", "cpika", "pika")
    return [
        pytest.param(scenario, client, id=f"{scenario.name}-{client}")
        for scenario in scenarios.ON_SERVER
        for client in always
        if client in scenario.counts
    ]


@pytest.mark.parametrize(("scenario", "client"), cases())
def test_a_client_runs_the_scenario_and_its_counts_hold(
    servers: measure.Servers, commands: dict[str, list[str]], scenario: scenarios.Scenario, client: str
) -> None:
    line = measure.run_once(commands[client], small(scenario), FEW, servers)
    sample = measure.sample_of(line)
    assert line["client"] == client and sample.wall > 0 and sample.cpu >= 0


def test_server_and_clients_run_where_the_command_line_says() -> None:
    programs.build_all()
    usual = os.sched_getaffinity(0)
    one = max(usual)
    where = run.parse_arguments(["--cpus", f"{one},{one}"]).cpus
    report = [sys.executable, "-c", "import json, os; print(json.dumps(sorted(os.sched_getaffinity(0))))"]
    before = set(running_servers())
    with measure.running_server(None, where.server) as servers:
        (server,) = set(running_servers()) - before
        assert os.sched_getaffinity(server) == {one}
        assert measure.run_once(report, scenarios.SCENARIOS[0], 1, servers, where.client) == [one]
    assert os.sched_getaffinity(0) == usual
    assert run.parse_arguments([]).cpus == places.Places(None, None)


def running_servers() -> Iterator[int]:
    for child in Path("/proc/thread-self/children").read_text().split():
        if os.readlink(f"/proc/{child}/exe") == str(programs.SERVER.path):
            yield int(child)


@pytest.mark.parametrize("given", ["0", "0,x", "0,1,2", "0,4096", "-1,0"])
def test_cpus_that_are_not_there_are_refused_with_the_reason(
    given: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run.parse_arguments([f"--cpus={given}"])
    assert repr(given) in capsys.readouterr().err


def test_a_client_that_fails_has_no_figure_and_says_why(
    servers: measure.Servers, commands: dict[str, list[str]]
) -> None:
    results = measure.Results()
    scenario = scenarios.Scenario("none", "none", {"pika": 1}, "no_such_scenario")
    measure.measure_round(scenario, 0, commands, servers, results, lambda scenario, client: None)
    assert results.median("none", "pika") is None
    assert "no_such_scenario" in results.failures["none", "pika"]


# ---- the targets ----


def results_of(**medians: dict[str, float]) -> measure.Results:
    """Three samples around each median, in microseconds of wall time."""
    results = measure.Results()
    for scenario, clients in medians.items():
        for client, median in clients.items():
            spread = [median / 2, median, median * 3]
            results.samples[scenario, client.replace("_", "-")] = [
                measure.Sample(wall, wall / 2, 1_000_000, {}) for wall in spread
            ]
    return results


def test_a_target_is_met_by_the_ratio_of_medians() -> None:
    results = results_of(publish={"cpika": 4.0, "pika": 30.0, "rabbitmq_c": 5.0})
    seven_times = targets.judge(targets.faster("publish", 7), results)
    of_c = targets.judge(targets.of_c("publish", 0.7), results)
    assert (seven_times.met, seven_times.found()) == (True, "7.5x")
    assert (of_c.met, of_c.found()) == (False, "0.8")


def test_a_target_that_was_not_measured_is_not_met() -> None:
    verdict = targets.judge(targets.faster("publish", 7), results_of(publish={"cpika": 1.0}))
    assert (verdict.met, verdict.found()) == (False, "not measured")


def test_pika_s_main_branch_may_be_missing_but_not_fail() -> None:
    target = targets.outdoes(scenarios.PIKA_MAIN, "threads_confirm", 2.5)
    results = results_of(threads_confirm={"cpika": 1.0})
    absent = targets.judge(target, results)
    assert (absent.met, absent.missed, absent.found()) == (False, False, "not measured")
    results.failures["threads_confirm", scenarios.PIKA_MAIN] = "exit status 1"
    assert targets.judge(target, results).missed


def test_a_group_chooses_its_scenarios() -> None:
    arguments = run.parse_arguments(["--only", "threads", "aio_get"])
    chosen = run.choose_scenarios(arguments, broker=None)
    assert {scenario.group for scenario in chosen} == {"threads", "aio"}
    assert sum(scenario.group == "aio" for scenario in chosen) == 1


def test_a_target_may_compare_two_scenarios() -> None:
    results = results_of(confirm={"pika": 90.0}, confirm_many={"cpika": 0.5})
    assert targets.judge(targets.faster("confirm_many", 100, base="confirm"), results).met


def test_memory_that_grows_misses_its_target() -> None:
    results = measure.Results()
    grown = {"rss_20": 20_000_000, "rss_100": 21_500_000}
    results.samples["memory_many", "cpika"] = [measure.Sample(1, 1, 30_000_000, grown)]
    target = targets.Target("memory_many", None, targets.MEGABYTE, "growth")
    verdict = targets.judge(target, results)
    assert (verdict.met, verdict.found()) == (False, "1.50 MB")


def test_every_target_is_about_scenarios_that_both_clients_run() -> None:
    known = {scenario.name: scenario for scenario in scenarios.SCENARIOS}
    for target in targets.TARGETS:
        assert "cpika" in known[target.scenario].counts
        if target.against is not None:
            assert target.against in known[target.base_scenario].counts


def test_where_pika_is_beaten_its_cpu_time_is_compared_too() -> None:
    compared = {(t.scenario, t.base_scenario) for t in targets.cpu_targets(targets.TARGETS)}
    assert ("publish", "publish") in compared and ("confirm_many", "confirm") in compared
