"""The scenarios of Twisted's protocol, for pika and, unchanged, for cpika: the import differs."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Generator
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from common import DROP, Job, stats_queue

Steps = Generator[Any, Any, None]


def counter(channel: Any, name: str) -> Any:
    """A Deferred of the frame whose message count is a counter of the server's."""
    return channel.queue_declare(stats_queue(name), passive=True)


def publish(job: Job, reactor: Any, channel: Any) -> Steps:
    """As many messages a turn of the reactor as `--batch` says."""
    from twisted.internet import defer

    body = job.body
    left = job.count
    all_sent: Any = defer.Deferred()

    def turn() -> None:
        nonlocal left
        now = min(job.batch, left)
        for _ in range(now):
            channel.basic_publish("", DROP, body)
        left -= now
        if left:
            reactor.callLater(0, turn)
        else:
            all_sent.callback(None)

    job.start()
    turn()
    yield all_sent
    frame = yield counter(channel, "publishes")
    job.stop()
    job.expect("publishes", frame.method.message_count)


def consume(job: Job, reactor: Any, channel: Any) -> Steps:
    """By the consumer's queue, acknowledged automatically."""
    from twisted.internet import defer

    left = job.count
    all_come: Any = defer.Deferred()

    def on_message(_message: Any) -> None:
        nonlocal left
        left -= 1
        if left:
            queue.get().addCallback(on_message)
        else:
            job.stop()
            all_come.callback(None)

    job.start()
    queue, _tag = yield channel.basic_consume(job.queue(), auto_ack=True)
    queue.get().addCallback(on_message)
    yield all_come
    frame = yield counter(channel, "deliveries")
    job.expect("deliveries", frame.method.message_count)


def run(pika: ModuleType, scenario: Callable[[Job, Any, Any], Steps], job: Job) -> None:
    from twisted.internet import defer, endpoints, reactor

    adapter = importlib.import_module(f"{pika.__name__}.adapters.twisted_connection")
    at = urlsplit(job.url)
    failures: list[Any] = []

    @defer.inlineCallbacks
    def main() -> Steps:
        endpoint = endpoints.TCP4ClientEndpoint(reactor, at.hostname, at.port)
        protocol = adapter.TwistedProtocolConnection(pika.URLParameters(job.url))
        connection = yield endpoints.connectProtocol(endpoint, protocol)
        yield connection.ready
        channel = yield connection.channel()
        yield from scenario(job, reactor, channel)
        yield connection.close()

    done = main()
    done.addErrback(failures.append)
    done.addBoth(lambda _: reactor.callLater(0, reactor.stop))  # type: ignore[attr-defined]
    reactor.run()  # type: ignore[attr-defined]
    if failures:
        failures[0].raiseException()


def twisted_scenarios(pika: ModuleType) -> dict[str, Callable[[Job], None]]:
    def bound(scenario: Callable[[Job, Any, Any], Steps]) -> Callable[[Job], None]:
        return lambda job: run(pika, scenario, job)

    return {f"twisted_{scenario.__name__}": bound(scenario) for scenario in (publish, consume)}
