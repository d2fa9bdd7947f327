"""Rows 5 and 7: a block of `buffered()` belongs to who entered it, and is over when its `with` is."""

from __future__ import annotations

import gc
import random
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest
from support import answers
from support.apart import (
    Interrupted,
    Together,
    apart,
    connect,
    interrupt_main,
    interruptible,
    on_signal,
    outcome,
)
from support.fakeserver import FakeServer, Peer
from support.subject import exceptions

NOWHERE = "cpika-test-nowhere"  # routing key of no queue


def confirming_channel(target: Any = None) -> Any:
    channel = connect(target).channel()
    channel.confirm_delivery()
    return channel


def mandatory(channel: Any) -> str:
    """What a publish raises that no queue takes, outside of any block."""
    return outcome(lambda: channel.basic_publish("", NOWHERE, b"unroutable", mandatory=True))


# ---- whose a block is ----


def a_block_of_an_ended_thread(count: int) -> list[Any]:
    """Threads enter a block each and end inside; the next thread often gets the same ident."""
    channel = confirming_channel()
    kept: list[Any] = []

    def enter() -> int:
        block = channel.buffered()
        block.__enter__()
        kept.append(block)
        return threading.get_ident()

    told = set()
    reused = 0
    for _ in range(count):
        left = Together(enter).join()[0]
        result, ident = Together(lambda: (mandatory(channel), threading.get_ident())).join()[0]
        told.add(result)
        reused += left == ident
    channel.connection.close()
    return [sorted(told), reused > 0]


def test_a_block_of_an_ended_thread_catches_nobodys_publishes(broker_url: str) -> None:
    """Row 5, whose a block is: a new thread with the old one's ident is in no block."""
    assert apart(a_block_of_an_ended_thread, 20) == [["UnroutableError"], True]


def an_unfinished_generator_of_a_thread() -> list[str]:
    """A generator that holds a block open is left by its thread, and closed by another."""
    channel = confirming_channel()
    held: list[Iterator[None]] = []

    def hold() -> None:
        def inside() -> Iterator[None]:
            with channel.buffered():
                channel.basic_publish("", NOWHERE, b"held", mandatory=True)
                yield

        generator = inside()
        next(generator)
        held.append(generator)

    Together(hold).join()
    told = [Together(lambda: mandatory(channel)).join()[0] for _ in range(5)]
    told.append(mandatory(channel))
    outcome(held.pop().close)  # type: ignore[attr-defined]
    told.append(mandatory(channel))
    channel.connection.close()
    return told


def test_a_block_that_a_generator_holds_is_not_the_next_threads(broker_url: str) -> None:
    """Row 5, whose a block is: also not of the thread that closes the generator."""
    assert apart(an_unfinished_generator_of_a_thread) == ["UnroutableError"] * 7


def blocks_of_two_threads() -> list[Any]:
    """Each thread's block tells of its own messages only."""
    channel = confirming_channel()
    queue = channel.queue_declare("", exclusive=True).method.queue

    def work(key: str) -> Callable[[], Any]:
        def run() -> Any:
            try:
                with channel.buffered():
                    for number in range(50):
                        channel.basic_publish(
                            "", key if number % 10 == 3 else queue, b"%d" % number, mandatory=True
                        )
            except exceptions.UnroutableError as error:
                return error.indexes
            return []

        return run

    results = Together(work(NOWHERE), work(queue), work(NOWHERE)).join()
    channel.connection.close()
    return results


def test_blocks_of_several_threads_on_one_channel_keep_apart(broker_url: str) -> None:
    """Row 5, whose a block is: returns and confirms come to the block that published."""
    assert apart(blocks_of_two_threads) == [[3, 13, 23, 33, 43], [], [3, 13, 23, 33, 43]]


# ---- a block in a signal handler ----


def a_block_in_a_handler(moment: str, back: bool) -> list[Any]:
    """A signal handler has a block of its own while the thread waits for its confirms, or fills its block."""
    rounds = 8
    bodies: list[bytes] = []
    done: list[str] = []

    def script(peer: Peer) -> None:
        peer.handshake()
        peer.serve_until("Confirm.Select")
        for number in range(rounds):
            peer.expect("Basic.Publish")
            if moment == "waiting":
                interrupt_main()
            while (frame := peer.receive()).name != "Basic.Publish":
                bodies.append(frame.payload)
            for _ in range(2):
                bodies.append(peer.receive().payload)
            if back:
                peer.send(answers.returned(1, "nowhere", b"inner"))
            peer.send(answers.confirm(1, 2 * number + 2, multiple=True))
        answers.serve_to_end(peer)

    with FakeServer(script) as server:
        channel = confirming_channel(server)

        def handler() -> None:
            with channel.buffered():
                channel.basic_publish("", "nowhere", b"inner", mandatory=True)
            done.append("inner")

        def outer() -> None:
            with channel.buffered():
                channel.basic_publish("", "q", b"outer", mandatory=True)
                if moment == "filling":
                    signal.raise_signal(signal.SIGUSR1)

        with on_signal(handler):
            raised = [outcome(outer) for _ in range(rounds)]
        channel.connection.close()
        inner = sum(body == b"inner" for body in bodies)
        return [raised.count("UnroutableError"), raised.count("ok"), inner, rounds]


@pytest.mark.parametrize("back", [False, True], ids=["confirmed", "returned"])
@pytest.mark.parametrize("moment", ["filling", "waiting"])
def test_a_block_in_a_signal_handler(moment: str, back: bool) -> None:
    """Row 5, whose a block is: both blocks' messages leave and are settled, the return is raised once."""
    unroutable, fine, inner, rounds = apart(a_block_in_a_handler, moment, back)
    assert (unroutable, fine) == ((rounds, 0) if back else (0, rounds))
    assert inner == rounds


def blocks_upon_blocks() -> list[Any]:
    """Against a broker: a timer's handler uses a block again and again while main does the same."""
    channel = confirming_channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    count = [0, 0]

    def handler(number: int, frame: object) -> None:
        with channel.buffered():
            for _ in range(5):
                channel.basic_publish("", queue, b"inner", mandatory=True)
        count[0] += 5

    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.0017)
    for _ in range(400):
        with channel.buffered():
            for _ in range(5):
                channel.basic_publish("", queue, b"outer", mandatory=True)
        count[1] += 5
    signal.setitimer(signal.ITIMER_REAL, 0)
    there = channel.queue_declare(queue, passive=True).method.message_count
    told = mandatory(channel)
    channel.connection.close()
    return [there == sum(count), count[0] > 0, told]


def test_many_blocks_in_signal_handlers(broker_url: str) -> None:
    """Row 5, whose a block is: no crash, every message is there, and no block is left."""
    assert apart(blocks_upon_blocks) == [True, True, "UnroutableError"]


# ---- the end of a block ----


def a_forgotten_block() -> list[str]:
    """A block that was entered by hand, and whose object is gone."""
    channel = confirming_channel()
    block = channel.buffered()
    block.__enter__()
    channel.basic_publish("", NOWHERE, b"inside", mandatory=True)
    del block
    gc.collect()
    told = [mandatory(channel), mandatory(channel)]
    with channel.buffered():
        channel.buffered().__enter__()
    told.append(mandatory(channel))
    channel.connection.close()
    return told


def test_a_block_whose_object_is_gone_is_over(broker_url: str) -> None:
    """Row 7, a state entered without a sure exit: nothing is left of a block that nobody can leave."""
    assert apart(a_forgotten_block) == ["UnroutableError"] * 3


def use_a_block(channel: Any, queue: str) -> None:
    with channel.buffered():
        channel.basic_publish("", queue, b"x")


class RaiseAt:
    """A trace function that raises Interrupted at the n-th step inside `use_a_block` and what it calls.

    A signal handler can raise at any of these places, and at the time of its choosing.
    """

    def __init__(self, number: int) -> None:
        self.left = number

    def __call__(self, frame: FrameType, event: str, argument: object) -> Any:
        code = frame.f_code
        if code is not use_a_block.__code__ and "cpika" not in code.co_filename:
            return None
        frame.f_trace = self  # newer 3.13s trace instructions only of a frame that has a tracer already
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        if event == "opcode":
            if self.left == 0:
                sys.settrace(None)
                raise Interrupted
            self.left -= 1
        return self


def raise_at_each_step() -> list[Any]:
    """An exception at every instruction of a `with channel.buffered()`, one after the other."""
    channel = confirming_channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    wrong = []
    number = 0
    sys._getframe().f_trace_opcodes = True  # 3.12 asks for instructions only if some frame wants them by then
    while True:
        sys.settrace(RaiseAt(number))
        try:
            use_a_block(channel, queue)
        except Interrupted:
            pass
        else:
            break
        finally:
            sys.settrace(None)
        told = mandatory(channel)
        if told != "UnroutableError":
            wrong.append([number, told])
            channel = confirming_channel()
            queue = channel.queue_declare("", exclusive=True).method.queue
        number += 1
    return [number > 5, wrong]


def test_an_exception_anywhere_in_a_with_leaves_no_block_open(broker_url: str) -> None:
    """Row 7, a state entered without a sure exit: an exception at every instruction in turn."""
    assert apart(raise_at_each_step, timeout=20) == [True, []]


def interrupts_by_timer() -> list[Any]:
    """A timer's handler raises somewhere in or around a loop of blocks."""
    channel = confirming_channel()
    chance = random.Random(7)
    told: dict[str, int] = {}
    armed = [False]

    def handler(number: int, frame: object) -> None:
        if armed[0]:
            raise Interrupted

    signal.signal(signal.SIGALRM, handler)
    for _ in range(1500):
        armed[0] = True
        try:
            signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.00003, 0.0003))
            while True:
                with channel.buffered():
                    pass
        except Interrupted:
            armed[0] = False
        result = mandatory(channel)
        told[result] = told.get(result, 0) + 1
    channel.connection.close()
    return sorted(told)


def test_signals_around_blocks_leave_none_open(broker_url: str) -> None:
    """Row 7, a state entered without a sure exit: the same with real signals."""
    assert apart(interrupts_by_timer, timeout=20) == ["UnroutableError"]


def interrupted_while_it_awaits() -> list[str]:
    """The end of a block is interrupted while it waits for confirms; then messages come back."""

    def script(peer: Peer) -> None:
        peer.handshake()
        peer.serve_until("Confirm.Select")
        tag = 0
        for _ in range(2):
            peer.expect("Basic.Publish")
            tag += 1
            interrupt_main()
            for _ in range(2):
                peer.receive()
            peer.expect("Basic.Publish")
            tag += 1
            for _ in range(2):
                peer.receive()
            peer.send(answers.confirm(1, tag - 1), answers.returned(1, NOWHERE, b"unroutable"))
            peer.send(answers.confirm(1, tag))
        answers.serve_to_end(peer)

    told = []
    with FakeServer(script) as server:
        channel = confirming_channel(server)
        for _ in range(2):
            with interruptible():
                told.append(outcome(lambda: use_a_block(channel, "q")))
            told.append(mandatory(channel))
        channel.connection.close()
    return told


def test_an_interrupted_end_of_a_block_ends_it() -> None:
    """Row 7, a state entered without a sure exit: the next publish waits for its own confirm again."""
    assert apart(interrupted_while_it_awaits) == ["Interrupted", "UnroutableError"] * 2
