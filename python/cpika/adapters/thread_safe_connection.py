"""A connection whose calls wait, may come from any thread, and leave callbacks to threads of their own.

The interface of pika's next release, where it is `pika.Connection`. Publishing and acknowledging go straight
into the connection's output, from whatever thread; the I/O thread has only to send it. Everything else is
done by that thread while the caller waits.
"""

from __future__ import annotations

import itertools
import logging
import numbers
import os
import threading
import time
from collections.abc import Callable
from sys import is_finalizing
from types import TracebackType
from typing import Any, TypeVar

from cpika import connection, exceptions
from cpika._core import Within, raise_again
from cpika.adapters._thread_safe_channel import Channel as Channel
from cpika.adapters._workers import Call, Worker, become, held_up, here, lasting
from cpika.adapters.select_connection import IOLoop, SelectConnection

LOGGER = logging.getLogger("pika.adapters.thread_safe_connection")

DEFAULT_RPC_TIMEOUT = 10
DEFAULT_WORK_QUEUE_MAXSIZE = 1000
DEFAULT_WORK_QUEUE_PUT_TIMEOUT = 30.0

T = TypeVar("T")


def _check_thread_can_run() -> None:
    """
    :raises ConnectionWrongStateError: this is a finalizer at the end of the interpreter, when no other thread
        runs any more: who waited for the I/O thread would wait for good
    """
    if is_finalizing():
        raise exceptions.ConnectionWrongStateError(
            "the interpreter is ending, and the connection's I/O thread does not run any more"
        )


class _Loop(IOLoop):
    """The I/O thread's loop: other threads see whether it waits, and may send meanwhile.

    What they have left to it, it does before it reads: that may be the answer.
    """

    def __init__(self) -> None:
        super().__init__()
        self._poller.before_handlers = self._woken

    def _woken(self) -> None:
        self._waiting = False
        if self._callbacks:
            self._run_callbacks()


class Connection:
    """One connection for all threads of a program; a context manager, which closes it.

    :param parameters: how to connect; None for the defaults
    :param on_open_error_callback: called with the connection of the I/O thread and an exception
    :param on_close_callback: called in the I/O thread with its connection and an exception
    :param timeout: seconds for opening; None for no limit
    :param work_queue_maxsize: how many callbacks of a channel may wait for its thread; 0: no limit
    :param work_queue_put_timeout: seconds that a full queue holds up the I/O thread, before the connection
        ends with WorkQueueFullError
    :raises ValueError: a `work_queue_put_timeout` that is not above zero
    :raises TimeoutError: it was not open in time
    :raises Exception: what opening failed with
    """

    _instance_counter = itertools.count(1)

    def __init__(
        self,
        parameters: connection.Parameters | None,
        on_open_error_callback: Callable[[Any, BaseException], Any] | None = None,
        on_close_callback: Callable[[Any, BaseException], Any] | None = None,
        timeout: float | None = DEFAULT_RPC_TIMEOUT,
        work_queue_maxsize: int = DEFAULT_WORK_QUEUE_MAXSIZE,
        work_queue_put_timeout: float = DEFAULT_WORK_QUEUE_PUT_TIMEOUT,
    ) -> None:
        if work_queue_put_timeout is None or not work_queue_put_timeout > 0:
            raise ValueError(
                f"work_queue_put_timeout must be a positive number of seconds, got {work_queue_put_timeout!r}"
            )
        size: Any = work_queue_maxsize  # of any kind of number: mypy takes no int for one
        if not isinstance(size, numbers.Real):
            raise TypeError(f"work_queue_maxsize must be a number, got {work_queue_maxsize!r}")
        _check_thread_can_run()
        self._instance_id = next(self._instance_counter)
        self._pid = os.getpid()
        self._user_on_open_error = on_open_error_callback
        self._user_on_close = on_close_callback
        self._limits = work_queue_maxsize, work_queue_put_timeout
        self._calls: set[Call[Any]] = set()
        self._channels: list[Channel] = []
        self._closed_reason: BaseException | None = None
        self._worker = self._new_worker(f"pika-conn-{self._instance_id}")
        self._opening: Call[None] = Call()
        self._ioloop = _Loop()
        self._connection = SelectConnection(
            parameters, self._on_open, self._on_open_error, self._on_closed, custom_ioloop=self._ioloop
        )
        self._thread = threading.Thread(
            target=self._run, name=f"pika-ioloop-{self._instance_id}", daemon=True
        )
        try:
            self._thread.start()
            self._opening.wait(timeout, "connection attempt")
        except BaseException:
            self._ioloop.add_callback_threadsafe(self._ioloop.stop)
            if self._thread.ident is not None:  # else it has not begun, and ends as soon as it does
                self._thread.join(lasting(timeout))
            raise

    def _new_worker(self, name: str) -> Worker:
        return Worker(name, *self._limits, self._on_full, self._on_death)

    # ---- the I/O thread ----

    @property
    def _is_current(self) -> bool:
        """Whether this is the I/O thread."""
        return here() is self

    def _run(self) -> None:
        become(self)
        try:
            self._ioloop.start()
        except Exception as error:
            LOGGER.exception("IOLoop thread crashed")
            self._record_end(error)
        finally:
            self._record_end(exceptions.ConnectionWrongStateError("The connection's I/O thread has ended."))
            self._worker.end()
            for channel in list(self._channels):
                channel._worker.end()
            try:
                self._end_stream()
            finally:
                self._ioloop.close()

    def _end_stream(self) -> None:
        """End what a loop leaves that an exception has ended: nobody would read it, heartbeats went on."""
        raw, loop = self._connection, self._ioloop
        if raw.is_closed:
            return
        raw._terminate_stream(self._closed_reason)
        while loop._callbacks and not raw.is_closed:  # one of them tells the end
            try:
                loop.process_timeouts()
            except Exception:
                LOGGER.exception("Callback failed at the end of connection %s", self._instance_id)

    def _on_open(self, _connection: Any) -> None:
        self._opening.succeed(None)

    def _on_open_error(self, raw: Any, error: BaseException) -> None:
        raw.ioloop.stop()
        self._record_end(error)
        if self._user_on_open_error is not None:
            self._user_on_open_error(raw, error)

    def _on_closed(self, raw: Any, reason: BaseException) -> None:
        raw.ioloop.stop()
        self._record_end(reason)
        if self._user_on_close is not None:
            self._user_on_close(raw, reason)

    def _record_end(self, reason: BaseException) -> None:
        """All who wait are told, in the I/O thread; the first reason stays."""
        if self._closed_reason is None:
            self._closed_reason = reason
        self._opening.fail(self._closed_reason)
        # Their own threads add and discard meanwhile; one that adds now looks for the reason afterwards.
        for call in list(self._calls):
            call.fail(self._closed_reason)

    def _on_full(self, error: BaseException) -> None:
        """A queue of callbacks has stayed full, which ends the connection."""
        self._connection._terminate_stream(error)

    def _on_death(self, error: BaseException) -> None:
        """A thread of callbacks is no more: what is delivered would wait for good, and nobody would know."""
        reason = exceptions.ConnectionWrongStateError(f"a callback has ended its thread with {error!r}")
        self._ioloop.add_callback_threadsafe(lambda: self._connection._terminate_stream(reason))

    # ---- waiting for it ----

    def _check_usable(self) -> None:
        """Raise why the connection cannot be used: its end, a fork, or the interpreter's end."""
        if self._closed_reason is not None:
            raise_again(self._closed_reason)
        if self._pid != os.getpid():
            raise exceptions.ConnectionWrongStateError(
                "the connection belongs to the process that made it; this is a child of that one: "
                "make a new connection after fork"
            )
        _check_thread_can_run()

    def _wait_for(
        self,
        what: str,
        begin: Callable[[Call[T]], Any],
        timeout: float | None,
        calls: set[Any] | None = None,
        at_once: bool = False,
        undo: Callable[[T], Any] | None = None,
    ) -> T:
        """Have `begin(call)` run in the I/O thread, and wait until the call has succeeded or failed.

        :param calls: where the call stands while it is waited for
        :param at_once: run it in this thread, which it allows for
        :param undo: takes the result back, in the I/O thread, when its caller has given up
        """
        if self._is_current:
            raise exceptions.ReentrancyError(f"{what} waits for the I/O thread, and is called in it")
        call = Call(undo)
        workers = held_up()
        sets: list[set[Any]] = [self._calls, *(worker.waiting for worker in workers)]
        if calls is not None:
            sets.append(calls)
        try:
            # No lock: a signal's exception right after it is taken would leave it so, and callers waiting.
            with Within(call, *sets):
                self._check_usable()  # once the call stands there: _record_end looks the other way round
                for worker in workers:
                    worker.relax()
                if at_once:
                    begin(call)  # what a signal's handler raises meanwhile is nobody else's
                else:
                    self._ioloop.add_callback_threadsafe(lambda: call.begin(begin))
                return call.wait(timeout, what)
        except BaseException:
            if call.give_up():
                self._ioloop.add_callback_threadsafe(call.take_back)
            raise

    # ---- what users call ----

    def channel(self, timeout: float | None = DEFAULT_RPC_TIMEOUT) -> Channel:
        """Open a channel (AMQP Channel.Open).

        :param timeout: seconds; None for no limit
        :raises TimeoutError: it was not open in time
        :raises pika.exceptions.AMQPConnectionError: why the connection has ended
        """

        def begin(call: Call[Channel]) -> None:
            def opened(raw: Any) -> None:
                worker = self._new_worker("pika-consumer")
                channel = Channel(raw, self, worker)
                self._channels.append(channel)
                call.succeed(channel)

            raw = self._connection.channel(on_open_callback=opened)
            raw.add_on_close_callback(lambda _raw, reason: call.fail(reason))

        def undo(channel: Channel) -> None:
            if channel.is_open:
                channel._channel.close()

        return self._wait_for("channel open", begin, timeout, undo=undo)

    def close(self, timeout: float | None = 10) -> None:
        """Close the connection (AMQP Connection.Close) and wait for its end and that of its threads.

        In a callback, an `on_publish` too, it does not wait for threads of callbacks: they may wait for it.

        :param timeout: seconds; then the connection is dropped. None for no limit
        :raises pika.exceptions.ConnectionWrongStateError: in a child made by fork, and in a finalizer at the
            end of the interpreter
        """
        deadline = None if timeout is None else time.monotonic() + timeout

        def begin() -> None:
            if self._connection.is_open or not (self._connection.is_closing or self._connection.is_closed):
                self._connection.close()

        if self._is_current:
            begin()
            return
        if self._pid != os.getpid() or (is_finalizing() and self._closed_reason is None):
            self._check_usable()
        if is_finalizing():
            return
        workers = held_up()
        with Within(object(), *(worker.waiting for worker in workers)):
            for worker in workers:
                worker.relax()
            if self._thread.is_alive() and self._closed_reason is None:
                self._ioloop.add_callback_threadsafe(begin)
            self._thread.join(lasting(timeout))
            if self._thread.is_alive():
                LOGGER.warning("Connection %s did not close within %s s", self._instance_id, timeout)
                self._ioloop.add_callback_threadsafe(self._drop)
                self._thread.join(1.0)
        for other in [self._worker, *(channel._worker for channel in list(self._channels))]:
            if not other.join(deadline):
                LOGGER.warning(
                    "Callbacks of connection %s did not end within %s seconds", self._instance_id, timeout
                )

    def _drop(self) -> None:
        self._connection._terminate_stream(
            exceptions.StreamLostError("connection force-closed: broker did not respond to close")
        )

    def abort(self, timeout: float | None = 10) -> None:
        """Close the connection, whatever happens.

        :param timeout: seconds; None for no limit
        """
        try:
            self.close(timeout)
        except Exception:
            LOGGER.debug("abort() of connection %s", self._instance_id, exc_info=True)

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def add_callback_threadsafe(self, callback: Callable[[], Any]) -> None:
        """Call `callback()` in the I/O thread, soon.

        :raises pika.exceptions.AMQPConnectionError: why the connection has ended
        """
        if not self._is_current:
            self._check_usable()
        self._ioloop.add_callback_threadsafe(callback)

    def add_on_connection_blocked_callback(self, callback: Callable[[Connection, Any], Any]) -> None:
        """Have `callback(connection, frame)` called, in a thread for that, when it is blocked."""
        self._add_on("add_on_connection_blocked_callback", callback)

    def add_on_connection_unblocked_callback(self, callback: Callable[[Connection, Any], Any]) -> None:
        """Have `callback(connection, frame)` called, in a thread for that, when it takes them again."""
        self._add_on("add_on_connection_unblocked_callback", callback)

    def _add_on(self, name: str, callback: Callable[[Connection, Any], Any]) -> None:
        if not callable(callback):
            raise TypeError(f"callback must be callable, but got {callback!r}")
        self._check_usable()

        def told(_raw: Any, frame: Any) -> None:
            self._worker.put(callback, self, frame)

        self._ioloop.add_callback_threadsafe(lambda: getattr(self._connection, name)(told))

    @property
    def is_open(self) -> bool:
        """True while the connection may be used."""
        return self._pid == os.getpid() and self._connection.is_open and not is_finalizing()

    @property
    def is_closed(self) -> bool:
        """True when it has ended."""
        return self._connection.is_closed
