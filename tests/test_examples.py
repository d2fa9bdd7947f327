"""The examples: the same on pika and on cpika, and clear about what goes wrong."""

from __future__ import annotations

import ast
import functools
import runpy
import secrets
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pika
import pika.exceptions
import pytest
from broker import LocalNode
from demo_compare import Output, differences, mask
from demo_run import CPIKA, EXAMPLES, PIKA, Stage
from demo_scenarios import ORDER_EVENTS, PAYMENTS, SCENARIOS, TASKS, cleaned

# Many programs, and a broker that syncs each durable declaration to disk.
pytestmark = pytest.mark.timeout(180)

CLIENTS = (PIKA, CPIKA)
ALL_NAMES = (*TASKS, *ORDER_EVENTS, *PAYMENTS)
PRODUCERS = (
    "tasks/producer.py",
    "asyncio_tasks/producer.py",
    "order_events/order_service.py",
    "retry/producer.py",
)
CONSUMERS = (
    "tasks/consumer.py",
    "asyncio_tasks/consumer.py",
    "order_events/email_consumer.py",
    "order_events/sms_consumer.py",
    "retry/consumer.py",
)
SETUP = ("setup/make_user.py", "setup/check.py")
SCRIPTS = (*PRODUCERS, *CONSUMERS, "retry/dead_letters.py", *SETUP)
OnBoth = Callable[..., list[list[Output]]]
NEEDED = {"retry/dead_letters.py": ("list",)}  # arguments without which a script does not run


@pytest.fixture
def prefix() -> str:
    return f"cpika-test.{secrets.token_hex(4)}."


@pytest.fixture
def on_both(broker_url: str, prefix: str, tmp_path: Path) -> OnBoth:
    """Plays something on pika and then on cpika; returns the outputs of both.

    :param names: what it may leave on the broker
    """
    return player(broker_url, prefix, tmp_path)


@pytest.fixture
def on_both_of_node(node: LocalNode, prefix: str, tmp_path: Path) -> OnBoth:
    """The same, with the node of the tests' own."""
    return player(node.url, prefix, tmp_path)


def player(url: str, prefix: str, scratch: Path) -> OnBoth:
    def play(what: Callable[[Stage], object], names: tuple[str, ...] = ALL_NAMES) -> list[list[Output]]:
        outputs = []
        for client in CLIENTS:
            with cleaned(url, prefix, names), Stage(client, url, prefix, scratch) as stage:
                what(stage)
                outputs.append(stage.outputs)
        return outputs

    return play


def refused_on_both(on_both: OnBoth, script: str, *arguments: str, status: int = 1) -> str:
    """Run a script that can do nothing, on both clients; return its stderr, which must be the same."""
    on_pika, on_cpika = on_both(
        lambda stage: stage.run("script", script, *NEEDED.get(script, ()), *arguments, status=status),
        names=(),
    )
    assert differences(on_pika, on_cpika) == []
    assert on_pika[0].stdout == ""
    return on_pika[0].stderr


def one(outputs: list[Output], role: str) -> Output:
    """The output of the program in this role."""
    (output,) = [output for output in outputs if output.role == role]
    return output


# ---- what they are


@functools.cache
def trees() -> dict[str, ast.Module]:
    return {script: ast.parse((EXAMPLES / script).read_text()) for script in SCRIPTS}


def definitions(name: str, *scripts: str) -> set[str]:
    """The functions and classes of this name in these scripts, as text."""
    return {
        ast.unparse(node)
        for script in scripts
        for node in trees()[script].body
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and node.name == name
    }


def test_the_list_of_scripts_is_complete() -> None:
    assert sorted(SCRIPTS) == sorted(str(path.relative_to(EXAMPLES)) for path in EXAMPLES.rglob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_imports_only_pika_and_the_standard_library(script: str) -> None:
    imported = set()
    for node in ast.walk(trees()[script]):
        if isinstance(node, ast.Import):
            imported |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or ".").partition(".")[0])
    assert imported <= {"pika", *getattr(sys, "stdlib_module_names", imported)}  # from 3.10 on


def test_what_scripts_repeat_is_the_same_in_each() -> None:
    repeated = ("default_url", "broker", "natural", "declare", "declare_main", "declare_dead")
    repeated_on_asyncio = ("Session", "declare_on")
    for name in (*repeated, *repeated_on_asyncio):
        assert len(definitions(name, *SCRIPTS)) == 1, name


@pytest.mark.parametrize(
    ("script", "names"), [("producer.py", ["make_task"]), ("consumer.py", ["do_task", "Busy", "main"])]
)
def test_the_tasks_on_asyncio_are_the_same_tasks(script: str, names: list[str]) -> None:
    for name in names:
        texts = {
            text.replace("asyncio.run(run(args))", "run(args)")
            for text in definitions(name, f"tasks/{script}", f"asyncio_tasks/{script}")
        }
        assert len(texts) == 1, name


# ---- what they do


def play_scenario(name: str, on_both: OnBoth) -> list[Output]:
    """Play a scenario of the demo on both clients; return the outputs, which must be the same."""
    (scenario,) = [scenario for scenario in SCENARIOS if scenario.name == name]
    on_pika, on_cpika = on_both(scenario.play)
    assert differences(on_pika, on_cpika) == []
    return on_pika


def test_a_task_that_fails_comes_again_and_nonsense_is_rejected(
    on_both: OnBoth,
) -> None:
    consumer = one(play_scenario("tasks", on_both), "consumer")
    assert consumer.stdout.splitlines()[1:] == [
        "task 1: mail to c1@example.com sent",
        "task 2: report on week 2 made",
        "the mail server is busy: back to the queue",
        "task 3: mail to c3@example.com sent (redelivered)",
        "task 4: report on week 4 made",
        "task 5: mail to c5@example.com sent",
        "the report server is busy: back to the queue",
        "task 6: report on week 6 made (redelivered)",
        "not a task (JSONDecodeError): rejected",
        "6 tasks done, 1 rejected",
    ]


def test_tasks_on_asyncio_go_the_way_of_the_others_and_to_the_others(on_both: OnBoth) -> None:
    outputs = play_scenario("asyncio_tasks", on_both)
    for kind in ("consumer", "producer"):
        programs = [output for output in outputs if f"tasks {kind}" in output.role]
        assert len(programs) == 3
        assert len({mask(output.stdout) for output in programs}) == 1
        assert [output.stderr for output in programs] == ["", "", ""]
    assert "task 6: report on week 6 made (redelivered)\n" in outputs[0].stdout + outputs[1].stdout


def test_a_worker_on_asyncio_does_as_many_tasks_at_a_time_as_it_holds(on_both: OnBoth) -> None:
    def work_side_by_side(stage: Stage) -> None:
        stage.run("producer", "asyncio_tasks/producer.py", "--count", "5")
        begin = time.monotonic()
        arguments = ("--prefetch", "10", "--work-seconds", "3", "--limit", "5")
        stage.run("consumer", "asyncio_tasks/consumer.py", *arguments)
        took.append(time.monotonic() - begin)

    took: list[float] = []
    on_pika, on_cpika = on_both(work_side_by_side)
    assert differences(on_pika, on_cpika) == []
    assert one(on_pika, "consumer").stdout.endswith("\n5 tasks done, 0 rejected\n")
    assert max(took) < 6 * 3  # one after the other: the third is done at its second try


@pytest.mark.timeout(600)
def test_a_worker_on_asyncio_connects_again_and_gets_what_it_held(
    on_both_of_node: OnBoth, node: LocalNode
) -> None:
    def cut(stage: Stage) -> None:
        consumer = stage.start("consumer", "asyncio_tasks/consumer.py", "--limit", "3", "--work-seconds", "3")
        consumer.await_line(" waits for ")
        stage.run("producer", "asyncio_tasks/producer.py", "--count", "2")
        consumer.await_line("task 1: ")
        node.close_connections("taken away")
        consumer.await_line(" waits for ", count=2)
        stage.run("producer again", "asyncio_tasks/producer.py", "--count", "1")
        stage.finish(consumer)

    on_pika, on_cpika = on_both_of_node(cut)
    assert differences(on_pika, on_cpika) == []
    lines = one(on_pika, "consumer").stdout.splitlines()
    assert "CONNECTION_FORCED - taken away" in lines[2]
    assert lines[2].endswith("; the next try in 1 s")
    assert lines[4:] == [
        "task 2: report on week 2 made (redelivered)",
        "task 1: mail to c1@example.com sent",
        "3 tasks done, 0 rejected",
    ]


@pytest.mark.timeout(600)
def test_a_worker_on_asyncio_waits_for_a_broker_that_is_away_until_it_is_told_to_end(
    on_both_of_node: OnBoth, node: LocalNode
) -> None:
    def outlive(stage: Stage) -> None:
        node.start()
        consumers = [stage.start(role, "asyncio_tasks/consumer.py") for role in ("patient", "told to end")]
        for consumer in consumers:
            consumer.await_line(" waits for ")
        node.kill()
        for consumer in consumers:
            consumer.await_line("next try in 2 s")
        consumers[1].interrupt()
        stage.finish(consumers[1])
        node.start()
        consumers[0].await_line(" waits for ", count=2)
        consumers[0].interrupt()
        stage.finish(consumers[0])

    for outputs in on_both_of_node(outlive):
        for role in ("patient", "told to end"):
            output = one(outputs, role)
            assert output.stdout.endswith("stopped\n0 tasks done, 0 rejected\n")
            assert "StreamLostError" in output.stdout
            assert "Connection refused" in output.stdout
            assert output.stderr == ""


@pytest.mark.parametrize("script", ["tasks/producer.py", "asyncio_tasks/producer.py"])
def test_a_task_that_no_queue_takes_is_told_in_one_line(
    script: str, on_both: OnBoth, broker_url: str, prefix: str
) -> None:
    def unbind(stage: Stage) -> None:
        producer = stage.start("producer", script, "--count", "1000000")
        producer.await_line("handed out: ")
        with pika.BlockingConnection(pika.URLParameters(broker_url)) as connection:
            connection.channel().queue_unbind(f"{prefix}tasks", f"{prefix}tasks", f"{prefix}tasks")
        stage.finish(producer, status=1)

    for outputs in on_both(unbind):
        (line,) = outputs[0].stderr.splitlines()
        assert line.endswith("UnroutableError: 1 unroutable messages returned by broker")


@pytest.mark.parametrize("script", ["tasks/producer.py", "asyncio_tasks/producer.py"])
@pytest.mark.timeout(600)
def test_a_task_that_the_broker_refuses_is_told_in_one_line(
    script: str, on_both_of_node: OnBoth, node: LocalNode, prefix: str
) -> None:
    limit = '{"max-length": 2, "overflow": "reject-publish"}'
    node.ctl("set_policy", "full", f"^{prefix}tasks$", limit)
    try:
        on_pika, on_cpika = on_both_of_node(lambda stage: stage.run("producer", script, status=1))
    finally:
        node.ctl("clear_policy", "full")
    assert differences(on_pika, on_cpika) == []
    assert on_pika[0].stdout.count("handed out: ") == 2
    (line,) = on_pika[0].stderr.splitlines()
    assert "NackError" in line


def test_both_consumers_see_every_order_event(on_both: OnBoth) -> None:
    outputs = play_scenario("order_events", on_both)
    for role in ("e-mail consumer", "SMS consumer"):
        lines = one(outputs, role).stdout.splitlines()
        assert lines[0].startswith("pid ")
        assert ["100" in line for line in lines[1:]] == [True, True, True, True, False]


def test_a_payment_is_tried_again_then_given_up_then_re_driven(
    on_both: OnBoth,
) -> None:
    outputs = play_scenario("retry", on_both)
    consumer = one(outputs, "consumer").stdout
    assert "payment 3: made at try 3\n" in consumer
    assert "payment 6: the account is closed; try 3 of 3, given up\n" in consumer
    assert "the account is closed, 3 tries, given up at 20" in one(outputs, "dead letters").stdout
    assert one(outputs, "dead letters after").stdout == "0 dead letters\n"
    assert "payment 6: made at try 1\n" in one(outputs, "consumer after repair").stdout


def test_looking_at_dead_letters_leaves_them_in_their_order(
    on_both: OnBoth, broker_url: str, prefix: str
) -> None:
    def look_twice(stage: Stage) -> None:
        stage.run("nothing yet", "retry/dead_letters.py", "list")
        with pika.BlockingConnection(pika.URLParameters(broker_url)) as connection:
            channel = connection.channel()
            for number in range(3):
                channel.basic_publish(f"{prefix}payments.dead", "", str(number))
            channel.queue_declare(f"{prefix}payments.dead", passive=True)  # by now the broker has them
        for role in ("first look", "second look"):
            stage.run(role, "retry/dead_letters.py", "list")
        stage.run("the oldest two", "retry/dead_letters.py", "redrive", "--limit", "2")
        stage.run("what is left", "retry/dead_letters.py", "list")

    on_pika, on_cpika = on_both(look_twice)
    assert differences(on_pika, on_cpika) == []
    first, second = (one(on_pika, role).stdout for role in ("first look", "second look"))
    assert first == second
    assert [line[0] for line in first.splitlines()] == ["0", "1", "2", "3"]
    assert one(on_pika, "the oldest two").stdout.splitlines()[:2] == ["ordered anew: 0", "ordered anew: 1"]
    assert one(on_pika, "what is left").stdout.splitlines()[1:] == ["1 dead letters"]


@pytest.mark.parametrize(
    ("script", "exchange", "said"),
    [
        ("tasks/consumer.py", "tasks", "not a task"),
        ("asyncio_tasks/consumer.py", "tasks", "not a task"),
        ("order_events/email_consumer.py", "order_events", "not an order event"),
        ("order_events/sms_consumer.py", "order_events", "not an order event"),
        ("retry/consumer.py", "payments", "not a payment"),
    ],
)
def test_a_consumer_survives_messages_that_are_nonsense(
    script: str,
    exchange: str,
    said: str,
    on_both: OnBoth,
    broker_url: str,
    prefix: str,
) -> None:
    bodies = (b"\xff", b"no JSON", b"[]", b"{}", b"7")

    def publish_nonsense(stage: Stage) -> None:
        # An order consumer counts only events, so it is ended by hand; others count what they give up, too.
        limit = () if exchange == "order_events" else ("--limit", str(len(bodies)))
        consumer = stage.start("consumer", script, *limit)
        consumer.await_line(" waits for ")
        with pika.BlockingConnection(pika.URLParameters(broker_url)) as connection:
            channel = connection.channel()
            for body in bodies:
                channel.basic_publish(prefix + exchange, prefix + exchange, body)
        consumer.await_line(said, count=len(bodies))
        if not limit:
            consumer.interrupt()
        stage.finish(consumer)

    on_pika, on_cpika = on_both(publish_nonsense)
    assert differences(on_pika, on_cpika) == []
    assert on_pika[0].stdout.count(said) == len(bodies)


@pytest.mark.parametrize("script", CONSUMERS)
def test_ctrl_c_ends_a_consumer_in_order(script: str, on_both: OnBoth) -> None:
    def interrupt(stage: Stage) -> None:
        consumer = stage.start("consumer", script)
        consumer.await_line(" waits for ")
        consumer.interrupt()
        stage.finish(consumer)

    on_pika, on_cpika = on_both(interrupt)
    assert differences(on_pika, on_cpika) == []
    assert on_pika[0].stdout.splitlines()[1] == "stopped"
    assert on_pika[0].stderr == ""


@pytest.mark.parametrize("script", PRODUCERS)
@pytest.mark.parametrize(("size", "warned"), [(10_000_000, False), (10_000_001, True)])
def test_a_producer_warns_of_a_body_above_ten_million_bytes(
    script: str, size: int, warned: bool, on_both: OnBoth
) -> None:
    arguments = ("--count", "1", "--body-bytes", str(size))
    on_pika, on_cpika = on_both(lambda stage: stage.run("producer", script, *arguments))
    assert differences(on_pika, on_cpika) == []
    warning = f"warning: a body of {size} bytes is above 10000000\n"
    assert on_pika[0].stderr == (warning if warned else "")


# ---- what goes wrong


def changed(url: str, **parts: object) -> str:
    """The URL with another user, password, host, port or vhost."""
    given = pika.URLParameters(url)
    known = {
        "user": given.credentials.username,
        "password": given.credentials.password,
        "host": given.host,
        "port": given.port,
        "vhost": "%2F",
        **parts,
    }
    return "amqp://{user}:{password}@{host}:{port}/{vhost}".format_map(known)


@pytest.mark.parametrize("script", [script for script in SCRIPTS if script not in SETUP])
def test_without_a_broker_a_script_says_so_in_one_line(script: str, on_both: OnBoth) -> None:
    (line,) = refused_on_both(on_both, script, "--url", "amqp://guest:secret@127.0.0.1:1/%2F").splitlines()
    assert "broker 127.0.0.1:1: " in line
    assert "Connection refused" in line
    assert "secret" not in line


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"password": "wrong-secret"}, "ACCESS_REFUSED"),
        ({"vhost": "no-such-vhost"}, "no-such-vhost not found"),
        ({"host": "no-such-host.invalid"}, "gaierror"),
    ],
    ids=["password", "vhost", "host"],
)
@pytest.mark.parametrize("script", ["tasks/consumer.py", "asyncio_tasks/consumer.py"])
def test_a_wrong_address_is_told_in_one_line(
    script: str, parts: dict[str, object], said: str, on_both: OnBoth, broker_url: str
) -> None:
    url = changed(broker_url, **parts)
    (line,) = refused_on_both(on_both, script, "--url", url).splitlines()
    assert said in line
    assert "wrong-secret" not in line


def test_a_queue_declared_otherwise_is_told_in_one_line(on_both: OnBoth) -> None:
    def declare_twice(stage: Stage) -> None:
        first = stage.start("first", "retry/consumer.py", "--retry-delay", "250")
        first.await_line(" waits for ")
        stage.run("second", "retry/consumer.py", "--retry-delay", "251", status=1)
        first.interrupt()
        stage.finish(first)

    on_pika, on_cpika = on_both(declare_twice)
    assert differences(on_pika, on_cpika) == []
    (line,) = one(on_pika, "second").stderr.splitlines()
    assert "PRECONDITION_FAILED" in line


@pytest.mark.parametrize(
    "script",
    ["tasks/consumer.py", "tasks/producer.py", "asyncio_tasks/consumer.py", "asyncio_tasks/producer.py"],
)
def test_a_task_queue_of_somebody_elses_making_is_told_in_one_line(
    script: str, on_both: OnBoth, broker_url: str, prefix: str
) -> None:
    def declare_first(stage: Stage) -> None:
        with pika.BlockingConnection(pika.URLParameters(broker_url)) as connection:
            connection.channel().queue_declare(f"{prefix}tasks", durable=True)
        stage.run("script", script, status=1)

    on_pika, on_cpika = on_both(declare_first)
    assert differences(on_pika, on_cpika) == []
    (line,) = on_pika[0].stderr.splitlines()
    assert "PRECONDITION_FAILED" in line


@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        *((script, [*NEEDED.get(script, ()), "--nonsense-option"]) for script in SCRIPTS),
        *((script, ["--count", "-1"]) for script in PRODUCERS),
        *((script, ["--count", "many"]) for script in PRODUCERS),
        *((script, ["--prefetch", "0"]) for script in CONSUMERS),
        *((script, ["--prefetch", "11"]) for script in CONSUMERS),
        *((script, ["--limit", "-1"]) for script in CONSUMERS),
        ("retry/consumer.py", ["--tries", "0"]),
        ("retry/dead_letters.py", ["bury"]),
        ("setup/make_user.py", ["--name", "guest"]),
        ("setup/check.py", ["--seconds", "-1"]),
    ],
)
def test_nonsense_arguments_are_refused_by_argparse(
    script: str,
    arguments: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(EXAMPLES / script), run_name="__main__")
    assert ended.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("usage: ")
    assert arguments[-1] in printed.err


@pytest.mark.parametrize(
    "url", ["", "nonsense", "http://guest:se#cret@host/", "amqp://guest:se#cret@host/", "amqp://host:99999/"]
)
@pytest.mark.parametrize("script", ["tasks/producer.py", "asyncio_tasks/producer.py"])
def test_a_nonsense_url_is_refused_and_not_quoted(script: str, url: str, on_both: OnBoth) -> None:
    stderr = refused_on_both(on_both, script, f"--url={url}", status=2)
    assert stderr.splitlines()[-1] == (
        "producer.py: error: argument --url: expected amqp://USER:PASSWORD@HOST:PORT/VHOST"
    )
    assert "cret" not in stderr
