"""The thread-safe connection and pika's loop: a signal's handler strikes the caller, at any moment.

A lock that a `with` takes stays held when the exception comes right after it is taken: CPython looks for
signals there in 3.9, and from 3.14 on.  A handler that asks for the lock which its own thread holds waits for
good in each version.  So callers take none.
"""

from __future__ import annotations

import ast
import queue
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cpika
import pytest
from cpika.adapters import select_connection, thread_safe_connection
from parity.harness import Broker
from support.apart import apart
from support.moments import at_moment, interrupted_at_moment

SECONDS = 10.0
PACKAGE = Path(cpika.__file__).parent

traced = pytest.mark.skipif(sys.version_info < (3, 11), reason="CPython breaks where a trace function raises")


class Publishing:
    """A confirming channel of a thread-safe connection, and what its callbacks were told."""

    def __init__(self) -> None:
        self.connection = thread_safe_connection.Connection(Broker.of_this_run().parameters(cpika))
        self.channel = self.connection.channel()
        self.queue = self.channel.queue_declare("", exclusive=True).method.queue
        self.empty = self.channel.queue_declare("", exclusive=True).method.queue
        self.told: list[int] = []
        self.verdicts: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.channel.confirm_delivery(lambda frame: self.verdicts.put(frame.method.delivery_tag))

    def calls(self) -> dict[str, Callable[[], Any]]:
        return {
            "channel": self.connection.channel,
            "channel and close": lambda: self.connection.channel().close(),
            "consume": lambda: self.channel.basic_consume(self.empty, bool),
            "declare": lambda: self.channel.queue_declare(self.queue, passive=True),
            "get": lambda: self.channel.basic_get(self.empty, auto_ack=True, timeout=SECONDS),
            "publish": lambda: self.channel.basic_publish("", self.queue, b"", on_publish=self.told.append),
            "callback": lambda: self.connection.add_callback_threadsafe(bool),
        }

    def check(self, what: str, moment: int) -> None:
        """The connection answers, and a publish's confirm comes."""
        if not self.channel.is_open:
            raise AssertionError(f"{what}, moment {moment}: the channel is closed")
        self.channel.queue_declare(self.queue, passive=True, timeout=SECONDS)
        self.channel.basic_publish("", self.queue, b"", on_publish=self.told.append)
        try:
            while self.verdicts.get(timeout=SECONDS) < self.told[-1]:
                pass
        except queue.Empty:
            raise AssertionError(f"{what}, moment {moment}: no confirm came") from None


def struck(what: str, again: bool) -> list[int]:
    """How many moments there were, and how many calls and publishes are still waited for.

    :param again: the handler makes the same call, instead of raising
    """
    scene = Publishing()
    call = scene.calls()[what]
    call()  # what is imported and made once, is
    moment = 0
    kept: list[BaseException] = []  # with their tracebacks, and all that those hold
    while True:
        if again:
            if not at_moment(call, moment, call):
                break
        else:
            error = interrupted_at_moment(call, moment)
            if error is None:
                break
            kept.append(error)
        moment += 1
        scene.check(what, moment)
    scene.channel.queue_declare(scene.queue, passive=True)  # what is taken back by then, is
    left = [len(scene.connection._calls), len(scene.channel._calls), len(scene.channel._telling)]
    left += [len(scene.channel._channel._consumers), len(scene.connection._channels)]
    scene.connection.close(SECONDS)
    return [moment, *left]


@traced
@pytest.mark.parametrize(
    "what, again",
    [
        *((what, False) for what in ("channel", "consume", "declare", "get", "publish", "callback")),
        *((what, True) for what in ("channel and close", "consume", "declare", "get", "publish", "callback")),
    ],
)
def test_a_handler_at_any_moment_of_a_call_leaves_the_connection_usable(
    broker_url: str, what: str, again: bool
) -> None:
    moments, *waiting, consumers, channels = apart(struck, what, again)
    assert moments > 20
    assert waiting == [0, 0, 0]
    if (
        not again
    ):  # nobody has got what there is more than one of: that of the last call, which was not struck
        assert (consumers, channels) == (2 * (what == "consume"), 1 + 2 * (what == "channel"))


def get_struck() -> int:
    """How many moments there were; after each the message that nobody has got is in its queue."""
    scene = Publishing()
    channel = scene.channel
    channel.basic_publish("", scene.empty, b"one")
    channel.queue_declare(scene.empty, passive=True)
    kept: list[BaseException] = []
    while (error := interrupted_at_moment(lambda: channel.basic_get(scene.empty), len(kept))) is not None:
        kept.append(error)
        end = time.monotonic() + SECONDS
        while (method := channel.basic_get(scene.empty)[0]) is None:
            if time.monotonic() > end:
                raise AssertionError(f"moment {len(kept)}: the message has not come back")
        channel.basic_reject(method.delivery_tag)
        channel.queue_declare(scene.empty, passive=True)
    scene.connection.close(SECONDS)
    return len(kept)


@traced
def test_a_message_that_a_handlers_exception_keeps_from_its_caller_goes_back(broker_url: str) -> None:
    assert apart(get_struck) > 20


def loop_struck(again: bool) -> int:
    loop = select_connection.IOLoop()
    called: list[int] = []

    def add() -> None:
        loop.add_callback_threadsafe(lambda: called.append(1))

    moment = 0
    while at_moment(add, moment, add) if again else interrupted_at_moment(add, moment):
        moment += 1
        loop.add_callback_threadsafe(loop.stop)
        loop.start()
    loop.close()
    add()  # as a thread may that does not know
    assert len(called) >= moment if again else called
    return moment


@traced
@pytest.mark.parametrize("again", [False, True], ids=["raises", "calls"])
def test_a_handler_at_any_moment_of_add_callback_threadsafe_leaves_the_loop_usable(again: bool) -> None:
    assert apart(loop_struck, again) > 20


# Who takes a lock there can be interrupted by nobody, or by nobody who could miss it.
WITH_LOCKS = {
    "adapters/_pykeeper.py": "its thread's sleep, which nobody else waits for",
    "adapters/_workers.py": "a worker's room, for threads of the library; a call's own, taken once",
    "adapters/utils/connection_workflow.py": "a look-up's own, taken once",
}
LOCKS = {"Lock", "RLock", "Condition", "Event", "Semaphore", "BoundedSemaphore", "Barrier", "allocate_lock"}


def test_no_lock_is_made_where_a_callers_thread_would_take_it() -> None:
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "attr", getattr(node.func, "id", None))
                owner = getattr(getattr(node.func, "value", None), "id", None)
                if name in LOCKS and owner != "asyncio":
                    found.add(str(path.relative_to(PACKAGE)))
    assert found == set(WITH_LOCKS)
