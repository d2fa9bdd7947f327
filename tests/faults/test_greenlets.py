"""Row 24: state on the stack across a wait, and identity by thread: greenlets share both.

Greenlets run in one thread, and a switch moves the stack of the one away.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable
from typing import Any

import pytest
from support.apart import apart, connect
from support.subject import exceptions

NOWHERE = "cpika-test-nowhere"  # routing key of no queue
COUNT = 20  # greenlets
EACH = 15  # rounds of each


class Greenlets:
    """What the tests need of gevent or eventlet, after patching; the same for both."""

    def __init__(self, library: str) -> None:
        self.library = library
        module = importlib.import_module(library)
        if library == "gevent":
            importlib.import_module("gevent.monkey").patch_all()
        else:
            module.monkey_patch()
        self._module = module
        self.pause: Callable[[float], Any] = module.sleep

    def run(self, work: Callable[[int], Any]) -> list[Any]:
        """What work(0) ... work(19) return, each in a greenlet; `hung` or a repr of what they raise."""
        results: list[Any] = ["hung"] * COUNT

        def run(number: int) -> None:
            try:
                results[number] = work(number)
            except BaseException as error:
                results[number] = repr(error)[:200]

        if self.library == "gevent":
            self._module.joinall([self._module.spawn(run, number) for number in range(COUNT)], timeout=8)
        else:
            threads = [self._module.spawn(run, number) for number in range(COUNT)]
            with self._module.Timeout(8, False):
                for thread in threads:
                    thread.wait()
        return results


def confirm(channel: Any, queue: str, number: int, pause: Callable[[float], Any]) -> int:
    """Every third message has no queue, and says so; the others are there when they are confirmed."""
    right = 0
    for index in range(EACH):
        body = b"%d-%d" % (number, index)
        try:
            channel.basic_publish("", NOWHERE if index % 3 == 2 else queue, body, mandatory=True)
            right += index % 3 != 2
        except exceptions.UnroutableError as error:
            right += index % 3 == 2 and [message.body for message in error.messages] == [body]
        pause(0)
    return right


def own_queue(queue: str, number: str) -> str:
    """A queue name made of one that the broker made up, whose beginning is the broker's own."""
    return f"{queue.replace('amq.gen', 'cpika-test')}-{number}"


def declare(channel: Any, queue: str, number: int, pause: Callable[[float], Any]) -> int:
    right = 0
    for index in range(EACH):
        name = own_queue(queue, f"{number}-{index}")
        right += channel.queue_declare(name, exclusive=True).method.queue == name
        pause(0)
    return right


def get(channel: Any, queue: str, number: int, pause: Callable[[float], Any]) -> int:
    own = channel.queue_declare(own_queue(queue, str(number)), exclusive=True).method.queue
    right = 0
    for index in range(EACH):
        channel.basic_publish("", own, b"%d-%d" % (number, index))
        body = None
        while body is None:
            body = channel.basic_get(own, auto_ack=True)[2]
        right += body == b"%d-%d" % (number, index)
        pause(0)
    return right


def buffered(channel: Any, queue: str, number: int, pause: Callable[[float], Any]) -> int:
    """Blocks of four, the last of which has no queue; the greenlet pauses inside."""
    right = 0
    for _ in range(EACH):
        try:
            with channel.buffered():
                for index in range(4):
                    channel.basic_publish(
                        "", NOWHERE if index == 3 else queue, b"%d" % number, mandatory=True
                    )
                    pause(0)
        except exceptions.UnroutableError as error:
            right += error.indexes == [3] and error.messages[0].body == b"%d" % number
    return right


def consume(channel: Any, queue: str, number: int, pause: Callable[[float], Any]) -> int:
    own = channel.queue_declare(own_queue(queue, str(number)), exclusive=True).method.queue
    for index in range(EACH):
        channel.basic_publish("", own, b"%d-%d" % (number, index))
    right = 0
    for method, _, body in channel.consume(own):
        channel.basic_ack(method.delivery_tag)
        right += body == b"%d-%d" % (number, right)
        pause(0)
        if right == EACH:
            break
    channel.cancel()
    return right


def consume_inside(channel: Any, queue: str, number: int, pause: Callable[[float], Any]) -> int:
    """A callback awaits what comes to a second channel."""
    own, second = (
        channel.queue_declare(own_queue(queue, f"{number}-{which}"), exclusive=True).method.queue
        for which in ("first", "second")
    )
    inner = channel.connection.channel()
    right = 0

    def publish_later(body: bytes) -> None:
        pause(0.002)
        channel.basic_publish("", second, body)

    def on_message(_channel: Any, _method: Any, _properties: Any, body: bytes) -> None:
        nonlocal right
        threading.Thread(target=publish_later, args=(body,)).start()
        right += next(inner.consume(second, auto_ack=True))[2] == body
        inner.cancel()
        if right == EACH:
            channel.stop_consuming()

    for index in range(EACH):
        channel.basic_publish("", own, b"%d-%d" % (number, index))
    channel.basic_consume(own, on_message, auto_ack=True)
    channel.start_consuming()
    return right


WORK = {
    "confirm": confirm,
    "declare": declare,
    "get": get,
    "buffered": buffered,
    "consume": consume,
    "consume inside": consume_inside,
}


def greenlets(library: str, what: str, shared: bool) -> list[Any]:
    """Twenty greenlets on one connection, with a channel each or all on one."""
    crowd = Greenlets(library)
    connection = connect()
    first = connection.channel()
    queue = first.queue_declare("", exclusive=True).method.queue
    if what in ("confirm", "buffered"):
        first.confirm_delivery()

    def work(number: int) -> int:
        channel = first if shared else connection.channel()
        if not shared and what in ("confirm", "buffered"):
            channel.confirm_delivery()
        return WORK[what](channel, queue, number, crowd.pause)

    results = crowd.run(work)
    if what in ("confirm", "buffered"):
        there = first.queue_declare(queue, passive=True).method.message_count
        each = EACH - EACH // 3 if what == "confirm" else 3 * EACH
        results.append("all there" if there == COUNT * each else f"{there} messages")
    return results


def crowds() -> list[Any]:
    """gevent and eventlet with all that the greenlets do."""
    cases = []
    for library in ("gevent", "eventlet"):
        for what in WORK:
            for shared in (False, True):
                if not what.startswith("consume") or not shared:  # a channel has one generator
                    cases.append((library, what, shared))
    return cases


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("library", "what", "shared"), crowds())
def test_twenty_greenlets_share_a_connection(broker_url: str, library: str, what: str, shared: bool) -> None:
    """Row 24, state on the stack: no hang, no crash, and every confirm and answer is its caller's own."""
    results = apart(greenlets, library, what, shared, timeout=12)
    assert results[:COUNT] == [EACH] * COUNT
    assert results[COUNT:] in ([], ["all there"])


# ---- a greenlet that is forgotten


def forgotten(where: str) -> list[Any]:
    """What is left of a greenlet that waits inside a call, or a block, and of its connection."""
    import gc
    import weakref

    import greenlet

    main = greenlet.getcurrent()
    ends: list[str] = []

    def begin() -> tuple[Any, Any]:
        connection = connect()
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.basic_publish("", queue, b"x")

        def pause(*_: Any) -> None:
            try:
                main.switch()
            except greenlet.GreenletExit:
                channel.queue_declare(queue, passive=True)  # it may still use what is its
                ends.append("ended")
                raise

        def run() -> None:
            if where == "callback":
                channel.basic_consume(queue, pause, auto_ack=True)
                channel.start_consuming()
            elif where == "generator":
                for _ in channel.consume(queue, auto_ack=True):
                    pause()
            else:
                with channel.buffered():
                    pause()

        started = greenlet.greenlet(run)
        started.switch()
        return weakref.ref(started), weakref.ref(connection)

    left = begin()
    gc.collect()
    return [*ends, *(one() is not None for one in left)]


@pytest.mark.parametrize("where", ["callback", "generator", "block"])
def test_a_greenlet_that_nobody_has_any_more_ends(broker_url: str, where: str) -> None:
    """The call in its own stack held it, so it was never told to: it stayed, and its connection with it."""
    assert apart(forgotten, where) == ["ended", False, False]


def while_greenlet_is_imported() -> str:
    """Calls while another thread is in the midst of `import greenlet`."""
    import importlib.machinery
    import sys
    import types

    begun, finish = threading.Event(), threading.Event()

    class Slow:
        """Finds greenlet, and takes its time with it."""

        def find_spec(self, name: str, *_: Any) -> Any:
            return importlib.machinery.ModuleSpec(name, self) if name == "greenlet" else None

        def create_module(self, spec: Any) -> Any:
            return types.ModuleType(spec.name)

        def exec_module(self, module: Any) -> None:
            begun.set()
            finish.wait()
            module.getcurrent = lambda: module

    connection = connect()
    channel = connection.channel()
    sys.meta_path.insert(0, Slow())
    thread = threading.Thread(target=importlib.import_module, args=["greenlet"])
    thread.start()
    begun.wait()
    channel.queue_declare("", exclusive=True)  # who waits for the import waits for good
    finish.set()
    thread.join()
    channel.queue_declare("", exclusive=True)
    connection.close()
    return "done"


def test_a_call_does_not_wait_for_another_threads_import_of_greenlet(broker_url: str) -> None:
    assert apart(while_greenlet_is_imported) == "done"
