"""Scenarios on event loops: the same program on pika and on cpika, on each loop that pika has an adapter for.

    @on_loops("loop.rpc")
    def declaring_calls_back(env, loop):
        def opened(channel):
            channel.queue_declare(env.name(), exclusive=True, callback=env.then("declared", loop.close))

        loop.channel(opened)

`env` records what callbacks get, in the order in which they are called; `loop` is a `Loop`.
"""

from __future__ import annotations

import asyncio
import importlib
import time
from collections.abc import Callable
from typing import Any

from parity.harness import EVENT_SECONDS, covers

KINDS = ("select", "poll", "epoll", "asyncio", "uvloop", "tornado", "gevent")


class Loop:
    """A loop of one kind, and the connection on it."""

    def __init__(self, pika: Any, env: Any, kind: str) -> None:
        self.pika = pika
        self.env = env
        self.kind = kind
        self.connection: Any = None
        self.native = self._make()
        self.then = _Then(self)

    def _module(self, name: str) -> Any:
        return importlib.import_module(f"{self.pika.__name__}.adapters.{name}")

    def _make(self) -> Any:
        if self.kind in ("select", "poll", "epoll"):
            module = self._module("select_connection")
            module.SELECT_TYPE = self.kind
            try:
                return module.IOLoop()
            finally:
                module.SELECT_TYPE = None
        if self.kind == "asyncio":
            return asyncio.new_event_loop()
        if self.kind == "uvloop":
            return importlib.import_module("uvloop").new_event_loop()
        if self.kind == "tornado":
            return importlib.import_module("tornado.ioloop").IOLoop(make_current=False)
        return self._module("gevent_connection")._GeventSelectorIOLoop()

    @property
    def adapter(self) -> Any:
        """The adapter's class."""
        module, name = {
            "asyncio": ("asyncio_connection", "AsyncioConnection"),
            "uvloop": ("asyncio_connection", "AsyncioConnection"),
            "tornado": ("tornado_connection", "TornadoConnection"),
            "gevent": ("gevent_connection", "GeventConnection"),
        }.get(self.kind, ("select_connection", "SelectConnection"))
        return getattr(self._module(module), name)

    # ---- running ----

    def run(self) -> None:
        """Run the loop until it is stopped."""
        if self.kind in ("asyncio", "uvloop"):
            self.native.run_forever()
        else:
            self.native.start()

    def stop(self, *_ignored: Any) -> None:
        """Stop it."""
        self.native.stop()

    def later(self, seconds: float, callback: Callable[[], Any]) -> None:
        """Have `callback()` called by the connection's timer."""
        self.connection._adapter_call_later(seconds, callback)

    def soon(self, callback: Callable[[], Any]) -> None:
        """Have `callback()` called in another turn."""
        self.connection._adapter_add_callback_threadsafe(callback)

    def close(self, *_ignored: Any) -> None:
        """Close the connection, whose end stops the loop."""
        self.connection.close()

    def ready(self, channel: Any, queue: str, count: int, *steps: Callable[[], Any]) -> None:
        """Ask until `queue` holds `count` messages that are ready, record what was said last, take the steps.

        A queue answers before it has taken what came to it earlier (what is published, what goes back to it).
        """
        deadline = time.monotonic() + EVENT_SECONDS

        def asked(frame: Any) -> None:
            there = frame.method.message_count
            if there != count and time.monotonic() < deadline:
                channel.queue_declare(queue, passive=True, callback=asked)
                return
            self.env.show("ready", there)
            for step in steps:
                step()

        channel.queue_declare(queue, passive=True, callback=asked)

    # ---- connecting ----

    def connect(self, opened: Callable[[Any], Any] | None = None, **changes: Any) -> Any:
        """Make a connection, run the loop until it has ended, return it."""
        params = self.env.parameters(**changes)

        def on_open(connection: Any) -> None:
            self.env.show_state("open", connection)
            if opened is not None:
                opened(connection)

        self.connection = self.adapter(
            params, on_open, self._ended("on_open_error"), self._ended("on_close"), self.native
        )
        self.run()
        return self.connection

    def _ended(self, label: str) -> Callable[[Any, BaseException], None]:
        def callback(connection: Any, error: BaseException) -> None:
            same = connection is self.connection
            self.env.show(f"{label} gets its connection", same)
            self.env.show_error(label, error)
            self.stop()

        return callback

    def channel(self, opened: Callable[[Any], Any], **changes: Any) -> None:
        """The same, with a channel whose end is recorded."""

        def on_open(connection: Any) -> None:
            def on_channel(channel: Any) -> None:
                self.env.show("channel", int(channel))
                channel.add_on_close_callback(
                    lambda _channel, error: self.env.show_error("channel's end", error)
                )
                opened(channel)

            connection.channel(on_open_callback=on_channel)

        self.connect(on_open, **changes)

    def finish(self) -> None:
        """Release the loop."""
        if self.kind in ("select", "poll", "epoll"):
            self.native.close()
        elif self.kind in ("asyncio", "uvloop"):
            self.native.close()
        elif self.kind == "tornado":
            self.native.close(all_fds=True)


class _Then:
    """Callbacks that record what they get, and go on."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop

    def __call__(self, label: str, *steps: Callable[[], Any]) -> Callable[..., None]:
        def callback(*args: Any) -> None:
            self._loop.env.show(label, [frame_text(arg) for arg in args])
            for step in steps:
                step()

        return callback


def frame_text(value: Any) -> str:
    """Return what a callback's argument is: of a frame its channel and method, of a channel its number."""
    if hasattr(value, "method") and hasattr(value, "channel_number"):
        return f"frame {value.channel_number} {value.method!r}"
    if hasattr(value, "channel_number"):
        return f"channel {value.channel_number}"
    if hasattr(value, "ioloop"):
        return "connection"
    return repr(value)


def on_loops(
    *lines: str, kinds: tuple[str, ...] = KINDS
) -> Callable[[Callable[[Any, Loop], None]], Callable[..., None]]:
    """Register a scenario that is played on each kind of loop."""

    def register(function: Callable[[Any, Loop], None]) -> Callable[..., None]:
        def scenario(pika: Any, env: Any, kind: str) -> None:
            loop = Loop(pika, env, kind)
            try:
                function(env, loop)
            finally:
                loop.finish()

        scenario.__name__ = function.__name__
        scenario.__module__ = function.__module__
        return covers(*lines, broker=True, cases=kinds)(scenario)

    return register
