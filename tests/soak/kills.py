"""Parts 2 and 3: nodes that are killed and return under traffic, one alone and three in a cluster."""

from __future__ import annotations

import time
from typing import Any

from support.nodes import LocalNode, cluster

from .case import Case, Part, Room
from .judge import Judge
from .stages import no_node
from .traffic import Traffic, parameters

BETWEEN = 1500  # messages confirmed between two kills
QUEUE = "soak-kills"


def make_queue(url: str, **arguments: Any) -> None:
    """The durable queue, made by the judge."""
    judge = Judge(url)
    judge.channel.queue_declare(QUEUE, durable=True, arguments=arguments)
    judge.close()


def account(room: Room, traffic: Traffic, url: str) -> None:
    """Ends the traffic and checks every message."""
    traffic.end()
    judge = Judge(url)
    traffic.check(judge)
    judge.close()


def one_node(room: Room, orderly: bool) -> None:
    """A node is killed, or stopped in order, and started again, several times."""
    with LocalNode() as node:
        make_queue(node.url)
        traffic = Traffic(room.ledger, QUEUE, [parameters(node.port)])
        traffic.start(publishers=3, consumers=2)
        times = room.count(8)
        for _ in range(times):
            traffic.await_confirmed(room.count(BETWEEN, 200))
            node.stop() if orderly else node.kill()
            node.start()
        traffic.await_confirmed(room.count(BETWEEN, 200))
        account(room, traffic, node.url)
        room.ledger.note(f"{times} times {'stopped' if orderly else 'killed'} and started")


def leader(node: LocalNode) -> str:
    """The name of the node that leads the queue."""
    name = f'rabbit_misc:r(<<"/">>, queue, <<"{QUEUE}">>)'
    return node.eval(f"{{ok, Q}} = rabbit_amqqueue:lookup({name}), {{_, N}} = amqqueue:get_pid(Q), N.").strip(
        "' \n"
    )


def three_nodes(room: Room) -> None:
    """The node that leads a quorum queue is killed and returns, then another one, in turn."""
    with cluster(3) as nodes:
        make_queue(nodes[0].url, **{"x-queue-type": "quorum"})
        hosts = [parameters(node.port) for node in nodes]
        traffic = Traffic(room.ledger, QUEUE, hosts)
        traffic.start(publishers=3, consumers=3)
        times = room.count(4)
        for number in range(times):
            traffic.await_confirmed(room.count(BETWEEN, 200))
            alive = nodes[number % 3]
            with_queue = leader(alive)
            victim = next((node for node in nodes if node.name == with_queue), nodes[number % 3])
            if number % 2:
                victim = next(node for node in nodes if node is not victim)
            victim.kill()
            begin = time.monotonic()
            traffic.await_confirmed(room.count(BETWEEN, 200))  # with two of three
            room.ledger.timed("going on with two nodes", time.monotonic() - begin, 60)
            victim.start()
            what = "follower" if number % 2 else "leader"
            room.ledger.outcome(f"{what} killed")
        traffic.await_confirmed(room.count(BETWEEN, 200))
        account(room, traffic, nodes[0].url)


def rolling(room: Room) -> None:
    """One node of the three after the other is stopped in order and started."""
    with cluster(3) as nodes:
        make_queue(nodes[0].url, **{"x-queue-type": "quorum"})
        traffic = Traffic(room.ledger, QUEUE, [parameters(node.port) for node in nodes])
        traffic.start(publishers=3, consumers=3)
        for node in nodes:
            traffic.await_confirmed(room.count(BETWEEN, 200))
            node.restart()
        traffic.await_confirmed(room.count(BETWEEN, 200))
        account(room, traffic, nodes[0].url)
        room.ledger.note("each of three nodes stopped and started once")


def kill_cases(scale: float) -> list[Case]:
    """One node."""
    return [
        Case("killed", "a node that is killed", lambda room: one_node(room, orderly=False), 170),
        Case("stopped", "a node that stops in order", lambda room: one_node(room, orderly=True), 170),
    ]


def cluster_cases(scale: float) -> list[Case]:
    """Three nodes."""
    return [Case("quorum", "a quorum queue, nodes killed", three_nodes, 240)] + (
        [Case("rolling", "a quorum queue, nodes restarted in turn", rolling, 240)] if scale > 1 else []
    )


KILLS = Part("kills", "nodes that are killed and return under traffic", kill_cases, no_node)
CLUSTER = Part("cluster", "three nodes, of which one is killed and returns", cluster_cases, no_node)
