"""Runs a function of a test module in an interpreter of its own: for what may hang, crash or end the process.

The function is ordinary code of the test module; its arguments and its result go as JSON.  Below are the
things that such functions share: connections, threads, interrupts.
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from . import late_pytest
from .urls import host_and_port

TESTS = Path(__file__).parents[1]
# How many times as long as usual everything may take: tools/free_threading.py says so to its interpreter.
PATIENCE = float(os.environ.get("CPIKA_TEST_PATIENCE", "1"))
TIMEOUT = 15.0  # seconds that a scene may take
SPARE = 5.0  # seconds on top for the interpreter's start
COMMAND = "from support import apart; apart.serve()"


class Hung(AssertionError):
    """Something did not end in time."""


class Interrupted(Exception):
    """What the signal handler of `interruptible` raises."""


def apart(
    function: Callable[..., Any],
    *arguments: Any,
    subject: str = "",
    timeout: float = TIMEOUT,
    environment: dict[str, str] | None = None,
) -> Any:
    """What `function(*arguments)` returns in an interpreter of its own.

    :param subject: the library under test, `pika` for a comparison; empty for the one of this run
    :param timeout: seconds that the function may take; then the stacks of all threads are in the error
    :raises AssertionError: it raised, hung, crashed or ended the process; the text says which
    """
    timeout *= PATIENCE
    given = {**os.environ, "PYTHONPATH": str(TESTS), **(environment or {})}
    if subject:
        given["CPIKA_TEST_SUBJECT"] = subject
    path = function.__code__.co_filename
    result_end, childs_end = os.pipe()
    request = json.dumps([path, function.__name__, arguments, timeout, childs_end])
    with open(result_end, encoding="utf-8") as results:
        process = subprocess.Popen(
            [sys.executable, "-c", COMMAND, request],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[childs_end],
            text=True,
            errors="replace",
            env=given,
        )
        os.close(childs_end)
        with process:
            try:
                output, _ = process.communicate(timeout=timeout + SPARE * PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                output, _ = process.communicate()
                raise Hung(f"{function.__name__} hung with the interpreter's lock held:\n{output}") from None
        text = results.read()
    if text and process.returncode == 0:
        return json.loads(text)
    if "Timeout (" in output:
        raise Hung(f"{function.__name__} hung:\n{output[-6000:]}")
    last = output.strip().rpartition("\n")[2] if process.returncode == 1 else f"status {process.returncode}"
    raise AssertionError(f"{function.__name__}: {last}\n{output[-6000:]}")


def serve() -> None:
    """The other interpreter: sys.argv[1] as `apart` passes it."""
    path, name, arguments, timeout, result = json.loads(sys.argv[1])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    faulthandler.enable()
    faulthandler.dump_traceback_later(timeout, exit=True)
    late_pytest.install()
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    status = 0
    try:
        answer = json.dumps(getattr(module, name)(*arguments))
        os.write(result, answer.encode())
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # threads that hang must not keep it


def connect(target: Any = None, **options: Any) -> Any:
    """A connection of the library under test: to `target.port`, or to the shared broker."""
    from .subject import pika

    host, port = host_and_port(os.environ.get("CPIKA_BROKER_URL", "amqp://127.0.0.1"))
    if target is not None:
        host, port = "127.0.0.1", getattr(target, "port", target)
    options.setdefault("heartbeat", 0)
    options.setdefault("connection_attempts", 1)
    return pika.BlockingConnection(pika.ConnectionParameters(host, port, **options))


def outcome(call: Callable[[], Any]) -> str:
    """`ok`, or the name of the exception that `call()` raises."""
    try:
        call()
    except BaseException as error:
        return type(error).__name__
    return "ok"


class Together:
    """Each function in a daemon thread of its own.

    :param functions: called without arguments
    """

    def __init__(self, *functions: Callable[[], Any]) -> None:
        self.results: list[Any] = [None] * len(functions)
        self.errors: list[BaseException | None] = [None] * len(functions)
        self.threads = [
            threading.Thread(target=self._run, args=item, daemon=True) for item in enumerate(functions)
        ]
        for thread in self.threads:
            thread.start()

    def _run(self, number: int, function: Callable[[], Any]) -> None:
        try:
            self.results[number] = function()
        except BaseException as error:
            self.errors[number] = error

    def hung(self, timeout: float) -> list[int]:
        """The numbers of those that do not end within `timeout` seconds."""
        end = time.monotonic() + timeout * PATIENCE
        for thread in self.threads:
            thread.join(max(0.0, end - time.monotonic()))
        return [number for number, thread in enumerate(self.threads) if thread.is_alive()]

    def join(self, timeout: float = 8.0) -> list[Any]:
        """Their results; raises what the first of them raised, and Hung when one does not end."""
        hung = self.hung(timeout)
        if hung:
            faulthandler.dump_traceback(all_threads=True)
            raise Hung(f"threads {hung} of {len(self.threads)} did not end within {timeout} s: {self.errors}")
        for error in self.errors:
            if error is not None:
                raise error
        return self.results


def await_sleep(thread: threading.Thread, timeout: float = 5.0) -> None:
    """Returns when a thread sleeps in the kernel, as it does in any wait.

    There is no event for that: its state is read until it has been the same four times in a row.
    """
    stat = Path(f"/proc/self/task/{thread.native_id}/stat")
    end = time.monotonic() + timeout * PATIENCE
    asleep = 0
    while asleep < 4:
        try:
            state = stat.read_text().rpartition(")")[2].split()[0]
        except OSError:
            raise AssertionError(f"{thread.name} has ended instead of waiting") from None
        asleep = asleep + 1 if state == "S" else 0
        if time.monotonic() > end:
            raise Hung(f"{thread.name} did not come to rest within {timeout} s")
        time.sleep(0.01)


def interrupt_main() -> None:
    """Sends the main thread the signal of `interruptible`."""
    ident = threading.main_thread().ident
    assert ident is not None
    signal.pthread_kill(ident, signal.SIGUSR1)


@contextlib.contextmanager
def interruptible() -> Iterator[list[int]]:
    """While it lasts, SIGUSR1 raises Interrupted in the main thread; gives a list that grows with each."""
    raised: list[int] = []

    def handler(number: int, frame: object) -> None:
        raised.append(number)
        raise Interrupted

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        yield raised
    finally:
        signal.signal(signal.SIGUSR1, before)


@contextlib.contextmanager
def on_signal(action: Callable[[], Any]) -> Iterator[None]:
    """While it lasts, SIGUSR1 has the main thread call `action()`."""
    before = signal.signal(signal.SIGUSR1, lambda number, frame: action())
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


def give_way(condition: Callable[[], bool], step: Callable[[], Any], timeout: float = 5.0) -> bool:
    """Calls `step()`, which waits a little, until `condition()` holds; returns whether it came to that."""
    end = time.monotonic() + timeout * PATIENCE
    while not condition():
        if time.monotonic() > end:
            return False
        step()
    return True
