"""Whom the examples run as: the user that is made for them, what it may do, and what check.py sees."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pika
import pika.exceptions
import pytest
from broker import LocalNode, rabbitmq_program
from demo_compare import Output, differences
from demo_node import management_node
from demo_run import CPIKA, EXAMPLES, PIKA, Client, Stage
from demo_scenarios import ORDER_EVENTS, PAYMENTS, SCENARIOS, TASKS, Node, Scenario, cleaned, delete_user

# A broker with a management interface has to start.
pytestmark = pytest.mark.timeout(180)

ALL_NAMES = (*TASKS, *ORDER_EVENTS, *PAYMENTS)
CLIENTS = (PIKA, CPIKA)
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def prefix() -> str:
    return f"cpika-test.{secrets.token_hex(4)}."


def saved_address(tmp_path: Path, **environment: str) -> str:
    """Which broker a copy of the examples with a saved URL turns to."""
    copy = shutil.copytree(EXAMPLES, tmp_path / "examples")
    (copy / "setup" / "dev_user.url").write_text("amqp://dev_user:secret@127.0.0.1:2/%2F\n")
    env = {name: value for name, value in os.environ.items() if name != "CPIKA_BROKER_URL"}
    done = subprocess.run(
        [sys.executable, copy / "tasks" / "producer.py"],
        env={**env, **environment},
        capture_output=True,
        text=True,
    )
    return done.stderr.split(": ")[1]


def test_after_setup_the_examples_use_the_saved_user(tmp_path: Path) -> None:
    assert saved_address(tmp_path) == "broker 127.0.0.1:2"


def test_the_environment_names_the_broker_before_the_saved_user_does(tmp_path: Path) -> None:
    url = "amqp://somebody:secret@127.0.0.1:3/%2F"
    assert saved_address(tmp_path, CPIKA_BROKER_URL=url) == "broker 127.0.0.1:3"


@pytest.fixture(scope="module")
def own_node() -> Iterator[Node]:
    """A broker with its management interface, for the tests of this file."""
    with management_node() as node:
        yield node


@pytest.fixture
def make_user(own_node: Node, tmp_path: Path) -> Iterator[Run]:
    """Runs make_user.py on the own node, saving to tmp_path/dev_user.url; the user goes at the end."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, EXAMPLES / "setup/make_user.py", "--port", str(own_node.port), *arguments]
        command += ["--save", tmp_path / "dev_user.url"]
        return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)

    yield run
    delete_user(own_node, "dev_user")


def via_management(node: Node) -> tuple[str, ...]:
    return ("--via", "management", "--management-url", node.management_url)


@pytest.mark.timeout(300)
def test_setup_and_check_are_the_same_on_both(own_node: Node, prefix: str, tmp_path: Path) -> None:
    (scenario,) = [scenario for scenario in SCENARIOS if scenario.own_node]

    def play(scenario: Scenario, client: Client) -> list[Output]:
        with (
            cleaned(own_node.url, prefix, scenario.names),
            Stage(client, own_node.url, prefix, tmp_path) as stage,
        ):
            scenario.play(stage, own_node)
            return stage.outputs

    on_pika, on_cpika = (play(scenario, client) for client in CLIENTS)
    assert differences(on_pika, on_cpika) == []
    printed = {output.role: output.stdout for output in on_pika}
    assert printed["make user"].startswith("dev_user made\n")
    assert printed["make user again"].startswith("dev_user was there\n")
    check = printed["check"].splitlines()
    assert [line[:6] for line in check] == ["pass  "] * 13


@pytest.mark.timeout(300)
def test_the_user_may_do_nothing_but_what_the_examples_do(
    own_node: Node, make_user: Run, tmp_path: Path
) -> None:
    assert make_user(*via_management(own_node)).returncode == 0
    url = (tmp_path / "dev_user.url").read_text().strip()
    forbidden: list[Callable[..., object]] = [
        lambda channel: channel.queue_declare("tasks2"),
        lambda channel: channel.queue_declare(""),
        lambda channel: channel.exchange_declare("order_events.email.audit"),
        lambda channel: (channel.confirm_delivery(), channel.basic_publish("", "tasks", b"")),
        lambda channel: (channel.confirm_delivery(), channel.basic_publish("amq.fanout", "", b"")),
    ]
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        for act in forbidden:
            with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="ACCESS_REFUSED"):
                act(connection.channel())
    secret = pika.URLParameters(url).credentials.password
    with pytest.raises(urllib.error.HTTPError, match="401"):
        open_as(own_node, "dev_user", secret)


def open_as(node: Node, user: str, password: str) -> None:
    """Ask the management interface for its overview."""
    manager = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    manager.add_password(None, node.management_url, user, password)
    opener = urllib.request.build_opener(urllib.request.HTTPBasicAuthHandler(manager))
    opener.open(f"{node.management_url}/api/overview", timeout=30).close()


@pytest.mark.timeout(300)
def test_the_password_is_kept_secret(own_node: Node, make_user: Run, tmp_path: Path) -> None:
    saved = tmp_path / "dev_user.url"
    first = make_user(*via_management(own_node))
    url = saved.read_text()
    secret = pika.URLParameters(url.strip()).credentials.password
    assert len(secret) >= 32
    assert secret not in first.stdout + first.stderr
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600
    again = make_user(*via_management(own_node), "--print-url")
    assert again.stdout.splitlines()[-1] == url.strip()
    assert saved.read_text() == url


@pytest.mark.timeout(300)
def test_a_password_of_ones_own_is_taken(own_node: Node, make_user: Run, tmp_path: Path) -> None:
    given = tmp_path / "password"
    given.write_text("p@ss/wörd :#\n")
    done = make_user(*via_management(own_node), "--password-file", str(given))
    assert done.returncode == 0, done.stderr
    parameters = pika.URLParameters((tmp_path / "dev_user.url").read_text().strip())
    assert parameters.credentials.password == "p@ss/wörd :#"
    pika.BlockingConnection(parameters).close()


@pytest.mark.timeout(300)
def test_a_local_node_gets_its_user_by_rabbitmqctl(node: LocalNode, tmp_path: Path) -> None:
    saved = tmp_path / "dev_user.url"
    password = tmp_path / "password"
    tool = rabbitmq_program("rabbitmqctl")
    env = {**os.environ, **node.env, "PATH": f"{Path(tool).parent}:{os.environ['PATH']}"}
    command = [sys.executable, EXAMPLES / "setup/make_user.py", "--via", "rabbitmqctl", "--node", node.name]
    command += ["--port", str(node.port), "--save", saved, "--password-file", password]
    try:
        for text, said in (("first one", "dev_user made"), ("another one", "dev_user was there")):
            password.write_text(f"{text}\n")
            done = subprocess.run(command, env=env, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            assert done.stdout.splitlines()[0] == said
            assert text not in done.stdout + done.stderr
            parameters = pika.URLParameters(saved.read_text().strip())
            assert parameters.credentials.password == text
            pika.BlockingConnection(parameters).close()
        assert "dev_user\t[]" in node.ctl("list_users")  # no tags: no management, no monitoring
    finally:
        node.ctl("delete_user", "dev_user")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--management-url", "http://127.0.0.1:1"], "Connection refused"),
        (["--admin", "nobody"], "401"),
        (["--vhost", "no-such-vhost"], "vhost"),
        (["--password-file", "/no/such/file"], "No such file"),
        (["--password-file", "/dev/null"], "empty"),
    ],
)
@pytest.mark.timeout(300)
def test_what_hinders_making_the_user_is_told_in_one_line(
    arguments: list[str],
    said: str,
    own_node: Node,
    make_user: Run,
) -> None:
    done = make_user(*via_management(own_node), *arguments)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("make user: ")
    assert said in line


@pytest.mark.timeout(300)
def test_the_check_fails_what_is_wrong(own_node: Node) -> None:
    where = ("--management-url", own_node.management_url)
    with (
        cleaned(own_node.url, "", ALL_NAMES),
        pika.BlockingConnection(pika.URLParameters(own_node.url)) as connection,
    ):
        channel = connection.channel()  # guest, and all the wrong way round
        for queue, persistent in (("tasks", False), ("payments", False), ("order_events.sms", True)):
            channel.queue_declare(queue, durable=True)
            for mode in (1, 1 + persistent):
                channel.basic_publish("", queue, b"x", pika.BasicProperties(delivery_mode=mode))
        channel.basic_consume("payments", print, auto_ack=True)
        channel.queue_declare("order_events.email", durable=True)
        done = subprocess.run(
            [sys.executable, EXAMPLES / "setup/check.py", *where, "--seconds", "6"],
            env={**os.environ, "EXAMPLES_PREFIX": ""},
            capture_output=True,
            text=True,
        )
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert all(line.startswith("fail  ") for line in lines), done.stdout
    assert "fail  payments: consumers acknowledge by hand (automatic)" in lines
    assert "fail  payments: consumers hold 1 to 10 messages (0)" in lines
    assert "fail  tasks: messages are persistent (0 of 2 bytes persistent)" in lines
    assert "fail  order_events.sms: messages are transient (1 of 2 bytes persistent)" in lines
    assert "fail  order_events.email: messages are transient (not seen)" in lines
    assert "fail  every connection has a user of its own, none is guest (guest)" in lines


def test_the_check_without_a_management_interface_says_so_in_one_line() -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLES / "setup/check.py", "--management-url", "http://127.0.0.1:1"],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
