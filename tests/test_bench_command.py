"""`python -m cpika bench`: pika and cpika side by side on a broker of the user's."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from support.proxy import CLIENT, Proxy
from support.subject import exceptions

Connect = Callable[..., Any]
SMALL = ["--messages", "200", "--rounds", "1", "--seconds", "5"]
WITHOUT = (
    "import sys\nfor name in {names!r}: sys.modules[name] = None\n"
    "from cpika import bench\nsys.exit(bench.main(sys.argv[1:]))"
)
ROWS = [
    "publish ",
    "publish, each confirmed",
    "publish_many with confirms",
    "consume with acks, prefetch 100",
    "round trip",
]


def run(
    *arguments: str, command: list[str] | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *(command or ["-m", "cpika", "bench"]), *arguments],
        capture_output=True,
        text=True,
        timeout=50,
        env={**os.environ, **environment},
        check=False,
    )


def through(proxy: Proxy, url: str) -> str:
    """The URL with the proxy's port."""
    parts = urlsplit(url)
    return parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{proxy.port}").geturl()


def queues_made(proxy: Proxy) -> set[str]:
    names = set()
    for event in proxy.frames("Queue.Declare"):
        assert event.frame is not None
        length = event.frame.payload[6]
        names.add(event.frame.payload[7 : 7 + length].decode())
    return names


def assert_gone(connect: Connect, queues: set[str]) -> None:
    """404: the broker knows none of them.  Until it has noticed the end of their connection, it is a 405."""
    connection = connect()
    deadline = time.monotonic() + 10
    for queue in queues:
        reply_code = 405
        while reply_code == 405 and time.monotonic() < deadline:
            with pytest.raises(exceptions.ChannelClosedByBroker) as caught:
                connection.channel().queue_declare(queue, passive=True)
            reply_code = caught.value.reply_code
        assert reply_code == 404


def test_it_compares_both_and_leaves_no_queue(proxy: Proxy, connect: Connect, broker_url: str) -> None:
    done = run("--url", through(proxy, broker_url), *SMALL)
    assert (done.returncode, [line for line in done.stderr.splitlines() if "Traceback" in line]) == (0, [])
    for row in ROWS:
        assert row in done.stdout
    assert "pika, messages/s" in done.stdout and "cpika, CPU us/message" in done.stdout
    assert "pika: round trip p50" in done.stdout and "cpika: round trip p50" in done.stdout
    assert done.stderr.splitlines()[-1] == "9/9 round trip, cpika"
    queues = queues_made(proxy)
    assert len(queues) == 9, "each measurement has a queue of its own"
    assert_gone(connect, queues)


def test_the_url_may_stand_in_the_environment(broker_url: str) -> None:
    done = run(*SMALL, CPIKA_BROKER_URL=broker_url)
    assert done.returncode == 0
    assert f":{urlsplit(broker_url).port or 5672}, virtual host '/'" in done.stdout


def test_without_rich_the_table_is_plain(broker_url: str) -> None:
    done = run("--url", broker_url, *SMALL, command=["-c", WITHOUT.format(names=["rich"])])
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert done.stdout.isascii()
    assert [line for line in lines if line.startswith("publish_many with confirms")]
    table = lines[1:7]
    assert len({len(line) for line in table}) == 1, "the last column is flush right"


def test_without_pika_cpika_is_measured_alone(broker_url: str) -> None:
    done = run("--url", broker_url, *SMALL, command=["-c", WITHOUT.format(names=["pika", "rich"])])
    assert done.returncode == 0
    assert "pika is not installed" in done.stderr
    assert "cpika, messages/s" in done.stdout and "faster" not in done.stdout


def test_ctrl_c_deletes_the_queues(proxy: Proxy, connect: Connect, broker_url: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "cpika", "bench", "--url", through(proxy, broker_url), "--rounds", "50"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        proxy.wait_for_count(lambda event: event.name == "Basic.Publish" and event.origin == CLIENT, 500, 30)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors.splitlines()[-1] == "interrupted; the broker deletes the queues"
    assert "Traceback" not in errors
    assert_gone(connect, queues_made(proxy))


def test_a_lost_connection_is_told_in_one_line(proxy: Proxy, broker_url: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "cpika", "bench", "--url", through(proxy, broker_url), "--rounds", "50"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        proxy.wait_for_count(lambda event: event.name == "Basic.Publish" and event.origin == CLIENT, 500, 30)
        proxy.refuse()
        proxy.cut()
        _, errors = process.communicate(timeout=40)
    assert process.returncode == 1
    assert errors.splitlines()[-1].startswith("python -m cpika bench: 127.0.0.1:")
    assert "Traceback" not in errors


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.mark.parametrize(
    ("url", "told"),
    [
        (
            "amqp://guest:S3cret@127.0.0.1:{closed}/",
            "127.0.0.1:{closed}, virtual host '/': Connection refused",
        ),
        (
            "amqp://guest:S3cret@no-such-host.invalid/",
            "no-such-host.invalid:5672, virtual host '/': the host's name",
        ),
        ("amqp://guest:S3cret@{broker}/", "{broker}, virtual host '/': user or password refused"),
        ("amqp://{user}@{broker}/S3cret-none", "no access to the virtual host"),
        ("amqp://guest:S3cret@127.0.0.1:port/", "not a broker's URL"),
        ("http://guest:S3cret@127.0.0.1/", "not a broker's URL: it has to begin with amqp://"),
        ("S3cret", "not a broker's URL"),
        ("amqp://guest:S3cret@127.0.0.1/?heartbeat=S3cret", "not a broker's URL"),
        ("amqp://guest:S3cret@127.0.0.1:70000/", "not a broker's URL"),
    ],
)
def test_a_broker_that_cannot_be_used_is_told_in_one_line(broker_url: str, url: str, told: str) -> None:
    parts = urlsplit(broker_url)
    names = {
        "closed": closed_port(),
        "broker": f"{parts.hostname}:{parts.port or 5672}",
        "user": f"{parts.username}:{parts.password}",
    }
    done = run("--url", url.format(**names), *SMALL, "--seconds", "1")
    assert done.returncode == 1
    *progress, line = done.stderr.splitlines()
    assert line.startswith("python -m cpika bench: ")
    assert told.format(**names) in line
    assert all("/9 " in step for step in progress), done.stderr
    assert "S3cret" not in done.stderr.replace("S3cret-none", "")


@pytest.mark.parametrize(
    "arguments", [["--messages", "0"], ["--seconds", "nan"], ["--rounds", "x"], ["script.py"]], ids=" ".join
)
def test_wrong_use_is_status_2_with_the_usage(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert "usage: python -m cpika bench" in done.stderr
    assert "Traceback" not in done.stderr


def test_help_says_what_it_does() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert "--url" in done.stdout and "CPIKA_BROKER_URL" in done.stdout


def test_a_script_named_bench_is_run_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "bench").write_text("import pika, sys\nprint(pika.__file__.split('/')[-2], sys.argv)\n")
    done = subprocess.run(
        [sys.executable, "-m", "cpika", "./bench", "--url", "mine"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    assert done.stdout == "cpika ['./bench', '--url', 'mine']\n"
