"""RabbitMQ's own Python tutorials, and programs for each loop, print the same on pika and on cpika."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from demo_compare import Output, differences
from demo_run import CPIKA, PIKA, Client, Program, Stage
from demo_scenarios import cleaned

# Many programs, and a broker that syncs each durable declaration to disk.
pytestmark = pytest.mark.timeout(180)

TUTORIALS = Path(__file__).with_name("tutorials")
NAMES = ("hello", "task_queue", "logs", "direct_logs", "topic_logs", "rpc_queue", "async")
LONG_TASK = "A task without end" + 600 * "."  # each dot is a second's work
WAITING = "To exit press CTRL+C"
LOOPS = ("select", "asyncio", "tornado", "gevent")
ASYNCHRONOUS = " [x] 2 example.text example: b'\"2\"'\n"


class Class:
    """A tutorial at work on one client: receivers are started, awaited and ended in order."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def receiver(
        self, script: str, *arguments: str, ready: str = WAITING, role: str | None = None
    ) -> Program:
        program = self._stage.start(role or script, f"{script}.py", *arguments)
        program.await_line(ready)
        return program

    def sender(self, script: str, *arguments: str) -> None:
        self._stage.run(f"{script} {arguments}", f"{script}.py", *arguments)

    def refused(self, script: str) -> None:
        self._stage.run(script, f"{script}.py", status=1)

    def wait(self, receiver: Program) -> None:
        """Await the end of a receiver that ends by itself."""
        self._stage.finish(receiver, status=0)

    def end(self, *receivers: Program, by_ctrl_c: bool = False) -> None:
        """End receivers that run for ever; only the first tutorial answers Ctrl-C with a word."""
        for receiver in receivers:
            if by_ctrl_c:
                receiver.interrupt()
            else:
                receiver.terminate()
            self._stage.finish(receiver, status=0 if by_ctrl_c else -15)


def hello(tutorial: Class) -> None:
    receiver = tutorial.receiver("hello_receive")
    tutorial.sender("hello_send")
    receiver.await_line("Hello World!")
    tutorial.end(receiver, by_ctrl_c=True)


def work_queues(tutorial: Class) -> None:
    tutorial.sender("new_task", "First message")
    tutorial.sender("new_task", "Second message.")
    tutorial.sender("new_task")
    tutorial.sender("new_task", LONG_TASK)
    worker = tutorial.receiver("worker")
    worker.await_line(LONG_TASK)
    tutorial.end(worker)


def publish_subscribe(tutorial: Class) -> None:
    receivers = [tutorial.receiver("receive_logs", role=f"receiver {number}") for number in (1, 2)]
    tutorial.sender("emit_log")
    tutorial.sender("emit_log", "warning:", "a", "second", "line")
    for receiver in receivers:
        receiver.await_line("second")
    tutorial.end(*receivers)


def routing(tutorial: Class) -> None:
    tutorial.refused("receive_logs_direct")
    errors = tutorial.receiver("receive_logs_direct", "error", role="errors")
    everything = tutorial.receiver("receive_logs_direct", "info", "warning", "error", role="everything")
    tutorial.sender("emit_log_direct")
    tutorial.sender("emit_log_direct", "warning", "Beware.")
    tutorial.sender("emit_log_direct", "error", "Run. Run. Or it will explode.")
    errors.await_line("explode")
    everything.await_line("explode")
    tutorial.end(errors, everything)


def topics(tutorial: Class) -> None:
    tutorial.refused("receive_logs_topic")
    patterns = {"everything": ["#"], "kernel": ["kern.*"], "critical or cron": ["*.critical", "cron.#"]}
    receivers = [tutorial.receiver("receive_logs_topic", *keys, role=role) for role, keys in patterns.items()]
    tutorial.sender("emit_log_topic")
    tutorial.sender("emit_log_topic", "cron.daily.info", "Backup done")
    tutorial.sender("emit_log_topic", "kern.critical", "A critical kernel error")
    for receiver in receivers:
        receiver.await_line("A critical kernel error")
    tutorial.end(*receivers)


def remote_procedure_call(tutorial: Class) -> None:
    server = tutorial.receiver("rpc_server", ready="Awaiting RPC requests")
    tutorial.sender("rpc_client", "0")
    tutorial.sender("rpc_client", "12")
    tutorial.sender("rpc_client", "20")
    tutorial.end(server)


def asynchronous(tutorial: Class, kind: str) -> None:
    receiver = tutorial.receiver("async_receive", kind)
    tutorial.sender("async_send", kind)
    receiver.await_line("Connection closed")
    tutorial.wait(receiver)


def on_twisted(tutorial: Class) -> None:
    tutorial.sender("twisted_both")


def run_tutorial(
    tutorial: Callable[[Class], None], client: Client, url: str, prefix: str, scratch: Path
) -> list[Output]:
    """Run one tutorial on one client; return what its programs printed."""
    with cleaned(url, prefix, NAMES), Stage(client, url, prefix, scratch, TUTORIALS) as stage:
        stage.env.update(TUTORIAL_URL=url, TUTORIAL_PREFIX=prefix, PYTHONUNBUFFERED="1")
        if (
            url == "amqp://guest:guest@127.0.0.1:5672/%2F"
        ):  # then as the pages have it, with no more than a host
            del stage.env["TUTORIAL_URL"]
        tutorial(Class(stage))
        return stage.outputs


@pytest.mark.parametrize(
    ("tutorial", "printed"),
    [
        (hello, " [x] Received b'Hello World!'\n"),
        (work_queues, " [x] Received Second message.\n [x] Done\n"),
        (publish_subscribe, " [x] b'warning: a second line'\n"),
        (routing, " [x] error:b'Run. Run. Or it will explode.'\n"),
        (topics, " [x] kern.critical:b'A critical kernel error'\n"),
        (remote_procedure_call, " [.] Got 6765\n"),
        *[(partial(asynchronous, kind=kind), ASYNCHRONOUS) for kind in LOOPS],
        (on_twisted, " [x] 2: b'message 1'\n [*] Closed\n"),
    ],
    ids=["hello", "work queues", "publish/subscribe", "routing", "topics", "rpc", *LOOPS, "twisted"],
)
def test_a_tutorial_prints_the_same_on_pika_and_on_cpika(
    tutorial: Callable[[Class], None], printed: str, broker_url: str, tmp_path: Path
) -> None:
    prefix = f"cpika-test.{secrets.token_hex(4)}."
    on_pika, on_cpika = (
        run_tutorial(tutorial, client, broker_url, prefix, tmp_path) for client in (PIKA, CPIKA)
    )
    assert any(printed in output.stdout for output in on_pika)
    assert differences(on_pika, on_cpika) == []
