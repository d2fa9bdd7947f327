"""The demo tells same from different, and leaves nothing on the broker."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
from pathlib import Path

import pika
import pika.exceptions
import pytest
from demo import play_on_both
from demo_compare import Output, differences, mask
from demo_run import EXAMPLES
from demo_scenarios import ORDER_EVENTS, SCENARIOS, TASKS

# Many programs, and a broker that syncs each durable declaration to disk.
pytestmark = pytest.mark.timeout(180)

DEMO = Path(__file__).parents[1] / "tools" / "demo.py"
TASKS_SCENARIO = SCENARIOS[0]


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("consumer ctag1.0123456789abcdef0123456789abcdef waits", "consumer <tag> waits"),
        ("ctag12.0123456789abcdef0123456789abcdef", "<tag>"),
        ("failed at 2024-02-29 23:59:59, twice", "failed at <time>, twice"),
        ("2024-02-29T23:59:59.123", "<time>"),
        ("pid 4711 waits", "pid <pid> waits"),
    ],
)
def test_tags_times_and_process_ids_are_masked(text: str, masked: str) -> None:
    assert mask(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "payment 4711: made at try 1",
        "ctag1.short",
        "tag 0123456789abcdef0123456789abcdef",
        "2024-02-29",
        "23:59",
        "pid of nobody",
        "rapid 7",
        "amq.gen-0123456789abcdef",
        "delivery tag 12",
    ],
)
def test_nothing_else_is_masked(text: str) -> None:
    assert mask(text) == text


def output(stdout: str = "done\n", stderr: str = "", status: int = 0, role: str = "consumer") -> Output:
    return Output(role, stdout, stderr, status)


def test_outputs_that_differ_only_in_what_is_masked_are_the_same() -> None:
    ones = [output(f"pid {n} took it, ctag1.{secrets.token_hex(16)}\n") for n in (1, 22)]
    assert differences(ones[:1], ones[1:]) == []


@pytest.mark.parametrize(
    "other",
    [
        pytest.param([output("Done\n")], id="a letter"),
        pytest.param([output("done\ndone\n")], id="a line more"),
        pytest.param([output("")], id="a line less"),
        pytest.param([output(stderr="oops\n")], id="a line on stderr"),
        pytest.param([output("", stderr="done\n")], id="another stream"),
        pytest.param([output(status=1)], id="another exit status"),
        pytest.param([], id="a program less"),
        pytest.param([output(), output(role="producer")], id="a program more"),
    ],
)
def test_any_other_difference_is_reported(other: list[Output]) -> None:
    assert differences([output()], other)
    assert differences(other, [output()])


def test_lines_in_another_order_are_a_difference() -> None:
    assert differences([output("one\ntwo\n")], [output("two\none\n")])


@pytest.fixture
def prefix() -> str:
    return f"cpika-test.{secrets.token_hex(4)}."


@pytest.fixture
def altered(tmp_path: Path) -> Path:
    """A copy of the examples, to be altered."""
    return Path(shutil.copytree(EXAMPLES, tmp_path / "examples"))


def alter(script: Path, code: str) -> None:
    """Let the script run `code` when it is about to begin."""
    script.write_text(script.read_text().replace("def main() -> int:\n", f"def main() -> int:\n    {code}\n"))


def demo_command(*arguments: str | Path) -> list[str]:
    return [sys.executable, str(DEMO), *map(str, arguments)]


def run_demo(url: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "CPIKA_BROKER_URL": url}
    return subprocess.run(demo_command(*arguments), env=env, capture_output=True, text=True, timeout=160)


def exists(url: str, kind: str, name: str) -> bool:
    """Whether the broker has this queue or exchange."""
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        try:
            getattr(channel, f"{kind}_declare")(name, passive=True)
        except pika.exceptions.ChannelClosedByBroker as error:
            assert error.reply_code == 404
            return False
        return True


def assert_nothing_left(url: str, prefix: str, names: tuple[str, ...]) -> None:
    assert not [name for name in names for kind in ("queue", "exchange") if exists(url, kind, prefix + name)]


def test_the_demo_ends_well_when_all_is_the_same(broker_url: str, prefix: str) -> None:
    done = run_demo(broker_url, "order_events", "--prefix", prefix)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "verdict: same" in done.stdout
    assert "messages a second" in done.stdout
    assert "A demonstration" in done.stdout
    assert_nothing_left(broker_url, prefix, ORDER_EVENTS)


def test_a_deliberate_difference_is_caught(broker_url: str, prefix: str, altered: Path) -> None:
    alter(altered / "tasks" / "producer.py", 'print("only here") if "cpika" in sys.modules else None')
    done = run_demo(broker_url, "tasks", "--no-rates", "--examples", altered, "--prefix", prefix)
    assert done.returncode == 1
    assert "verdict: DIFFERENT" in done.stdout
    assert "+only here" in done.stdout
    assert_nothing_left(broker_url, prefix, TASKS)


def test_a_failure_on_both_sides_is_not_called_the_same(broker_url: str, prefix: str, altered: Path) -> None:
    alter(altered / "tasks" / "producer.py", "return 3")
    result = play_on_both(TASKS_SCENARIO, broker_url, prefix, altered)
    assert result.verdict() == "DIFFERENT"
    assert [problem.splitlines()[0] for problem in result.problems] == [
        "on pika: producer ended with status 3, not 0:",
        "on cpika: producer ended with status 3, not 0:",
    ]
    assert_nothing_left(broker_url, prefix, TASKS)


def test_a_program_that_ends_too_early_is_a_failure(broker_url: str, prefix: str, altered: Path) -> None:
    alter(altered / "tasks" / "consumer.py", 'sys.exit("no desire to work")')
    result = play_on_both(TASKS_SCENARIO, broker_url, prefix, altered)
    assert result.verdict() == "DIFFERENT"
    assert "no desire to work" in result.problems[0]
    assert_nothing_left(broker_url, prefix, TASKS)


def test_ctrl_c_ends_the_demo_in_order(broker_url: str, prefix: str, altered: Path, tmp_path: Path) -> None:
    reached = tmp_path / "reached"
    os.mkfifo(reached)
    alter(
        altered / "tasks" / "producer.py",
        f'open({str(reached)!r}, "w").close(); import time; any(time.sleep(0.1) for _ in iter(int, 1))',
    )
    process = subprocess.Popen(
        demo_command("tasks", "--examples", altered, "--prefix", prefix),
        env={**os.environ, "CPIKA_BROKER_URL": broker_url},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        reached.read_text()  # returns when the producer is there: the consumer runs, the queues exist
        assert exists(broker_url, "queue", f"{prefix}tasks")
        process.send_signal(2)
        _, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, stderr) == (
        130,
        "interrupted; what was made on the broker has been removed\n",
    )
    assert_nothing_left(broker_url, prefix, TASKS)


@pytest.mark.parametrize("arguments", [["nonsense"], ["--nonsense"], ["tasks", "nonsense"]])
def test_nonsense_arguments_are_refused(broker_url: str, arguments: list[str]) -> None:
    done = run_demo(broker_url, *arguments)
    assert done.returncode == 2
    assert "usage:" in done.stderr


def test_without_a_broker_the_demo_says_so_in_one_line() -> None:
    done = run_demo("amqp://guest:guest@127.0.0.1:1/%2F", "tasks")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "refused" in done.stderr
