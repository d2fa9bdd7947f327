"""The connection under a `BlockingConnection`: handshake and cold methods over the C engine."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from cpika import _handshake, exceptions, frame, spec
from cpika._loggable import loggable
from cpika._states import ConnectionStates
from cpika.adapters import _engine_names, _pykeeper
from cpika.adapters.utils import _forked, _green, _lost, _waiting
from cpika.adapters.utils.connection_workflow import (
    AMQPConnectorAMQPHandshakeError,
    AMQPConnectorStackTimeout,
)

if TYPE_CHECKING:
    from cpika.adapters.blocking_connection import BlockingChannel
    from cpika.connection import Parameters

T = TypeVar("T")

_LOG = logging.getLogger("pika.connection")
_CHANNEL_LOG = logging.getLogger("pika.channel")
_BLOCKING_LOG = logging.getLogger("pika.adapters.blocking_connection")
_BASE_LOG = logging.getLogger("pika.adapters.base_connection")


class Engine(_engine_names.EngineNames, ConnectionStates):
    """One connection: what `BlockingConnection._impl` is.

    :param sock: connected, non-blocking socket, TLS done; it belongs to the engine from now on
    :param params: parameters, changed to what is negotiated
    """

    def __init__(self, sock: socket.socket, params: Parameters) -> None:
        super().__init__(sock)
        self.params = params
        self.server_properties: dict[Any, Any] | None = None
        self.server_capabilities: dict[str, bool] = {}
        self.known_hosts: str | None = None
        self._opened = False
        self._closer: dict[str, object] = {}  # the call of close() that does it
        self._secured = not isinstance(sock, socket.socket) or sock.fileno() != -1
        self._begin_names(sock if self._secured else None)
        if self._secured:
            _forked.engines.add(self)
        self._blocked_callbacks: list[Callable[[Any], None]] = []
        self._unblocked_callbacks: list[Callable[[Any], None]] = []

    def __repr__(self) -> str:
        # pika's BlockingConnection stands on a SelectConnection, and programs' logs show it.
        state = self.connection_state
        transport = "None" if state == self.CONNECTION_CLOSED else f"<{'socket' if self._secured else 'fd'}>"
        return f"<SelectConnection {self._STATE_NAMES[state]} transport={transport} params={self.params}>"

    # ---- handshake ----

    @classmethod
    def open(cls, sock: socket.socket, params: Parameters, deadline: float | None) -> Engine:
        """Do the AMQP handshake on a connected socket.

        :param deadline: moment of `time.monotonic()`, or None
        :raises AMQPConnectorStackTimeout: it was not done by then
        :raises AMQPConnectorAMQPHandshakeError: the broker refused or hung up, or the parameters have no
            answer to what it says
        """
        engine = cls(sock, params)
        try:
            engine._shake_hands(deadline)
        except BaseException as error:
            engine._terminate(exceptions.ConnectionOpenAborted(f"Handshake failed: {type(error).__name__}"))
            raise
        engine._address = params.host, params.port
        return engine

    def _shake_hands(self, deadline: float | None) -> None:
        try:
            self._write(_handshake.PROTOCOL_HEADER)
            self._on_start(self._await(None, spec.Connection.Start, deadline), deadline)
        except exceptions._AnswerTimeout:
            raise AMQPConnectorStackTimeout from None
        except (exceptions.StreamLostError, exceptions.ConnectionClosedByBroker) as error:
            kind, meaning = _handshake.REFUSED_AT[self._handshake_state]
            _LOG.error(meaning)
            refusal = kind(repr(error))
            _LOG.info("Connection setup terminated due to %r", refusal)
            raise AMQPConnectorAMQPHandshakeError(refusal) from None
        except exceptions.AMQPError as error:
            raise AMQPConnectorAMQPHandshakeError(error) from None

    @staticmethod
    def _ask_parameters(question: Callable[..., T], *args: Any) -> T:
        """Return what the parameters say; whatever the program's code in them raises fails this attempt only.

        :raises AMQPConnectorAMQPHandshakeError: it raised
        """
        try:
            return question(*args)
        except Exception as error:
            raise AMQPConnectorAMQPHandshakeError(error) from None

    def _await(self, method: Any, reply: Any, deadline: float | None) -> Any:
        """Send a method of channel 0 (None: nothing) and return the answer.

        :raises pika.exceptions._AnswerTimeout: there was none by the deadline
        """
        if method is not None:
            self._ask_parameters(method.encode)  # what cannot be sent is theirs, and found before it is sent
        timeout = None if deadline is None else deadline - time.monotonic()
        return self._rpc(method, reply.INDEX, timeout)

    def _enter(self, state: int) -> None:
        self.connection_state = state
        self._handshake_state = state

    _handshake_state = ConnectionStates.CONNECTION_PROTOCOL

    def _on_start(self, start: Any, deadline: float | None) -> None:
        """Connection.Start came: authenticate."""
        self._enter(self.CONNECTION_START)
        self.server_properties = start.server_properties
        self.server_capabilities = _handshake.capabilities(start)
        try:
            start_ok = self._ask_parameters(_handshake.start_ok, self.params, start)
        except AMQPConnectorAMQPHandshakeError as error:
            _LOG.error("Error processing Connection.Start.", exc_info=error.exception)
            raise
        self._on_tune(self._await(start_ok, spec.Connection.Tune, deadline), deadline)

    @property
    def _client_properties(self) -> dict[str, Any]:
        """What the broker is told about this client."""
        return _handshake.client_properties(self.params)

    def _on_tune(self, tune: Any, deadline: float | None) -> None:
        """Connection.Tune came: settle the limits and open the virtual host."""
        self._enter(self.CONNECTION_TUNE)
        params = self.params
        frame_max = _handshake.negotiate(params.frame_max, tune.frame_max)
        if frame_max < spec.FRAME_MIN_SIZE:
            # As with pika the stream is lost; there, because of the ValueError of the parameters' setter.
            text = f"Connection.Tune with a frame_max of {frame_max}, below {spec.FRAME_MIN_SIZE}"
            nonsense = exceptions.InvalidFrameError(text)
            raise exceptions.StreamLostError(f"Stream connection lost: {nonsense!r}")
        frame_max, timeout = self._ask_parameters(_handshake.settle_limits, self, params, tune)
        blocked, virtual_host = self._ask_parameters(
            lambda: (params.blocked_connection_timeout, params.virtual_host)
        )
        self._tune(frame_max, timeout, blocked)
        self._send_method(spec.Connection.TuneOk(params.channel_max, frame_max, timeout))
        opening = spec.Connection.Open(virtual_host, insist=True)
        open_ok = self._await(opening, spec.Connection.OpenOk, deadline)
        self.known_hosts = open_ok.known_hosts
        self._opened = True
        self.connection_state = self.CONNECTION_OPEN
        if self._secured:
            _pykeeper.keep(self)

    # ---- state ----

    @property
    def is_open(self) -> bool:
        """True while the connection may be used."""
        return self.connection_state == self.CONNECTION_OPEN

    @property
    def is_closing(self) -> bool:
        """True until the broker has answered Connection.Close."""
        return self.connection_state == self.CONNECTION_CLOSING

    @property
    def is_closed(self) -> bool:
        """True when the connection cannot be used any more."""
        return self.connection_state == self.CONNECTION_CLOSED

    @property
    def basic_nack(self) -> bool:
        """Whether the broker takes Basic.Nack."""
        return self.server_capabilities.get("basic.nack", False)

    @property
    def consumer_cancel_notify(self) -> bool:
        """Whether the broker tells of consumers that it cancels."""
        return self.server_capabilities.get("consumer_cancel_notify", False)

    @property
    def exchange_exchange_bindings(self) -> bool:
        """Whether the broker binds exchanges to exchanges."""
        return self.server_capabilities.get("exchange_exchange_bindings", False)

    @property
    def publisher_confirms(self) -> bool:
        """Whether the broker confirms publishes."""
        return self.server_capabilities.get("publisher_confirms", False)

    # ---- closing ----

    def close(self, reply_code: int, reply_text: str, timeout: float | None) -> None:
        """Close the connection (AMQP Connection.Close); its channels are closed by then.

        However this ends, the connection is closed: what interrupts it saves only the broker's answer.

        :param timeout: seconds to wait for the broker's answer, None for no limit
        :raises ConnectionWrongStateError: another call closes it, and ends that
        """
        close = spec.Connection.Close(reply_code, reply_text, 0, 0)
        close.encode()  # an impossible argument is the caller's, and closes nothing
        closed = exceptions.ConnectionClosedByClient(reply_code, reply_text)
        me = object()
        try:
            if self._closer.setdefault("closer", me) is not me:
                raise exceptions.ConnectionWrongStateError("The connection is being closed already.")
            self.connection_state = self.CONNECTION_CLOSING
            _LOG.info("Closing connection (%s): %r", reply_code, reply_text)
            self._rpc(close, spec.Connection.CloseOk.INDEX, timeout)
        except exceptions._AnswerTimeout:
            _LOG.warning("The broker did not answer Connection.Close within %s s", timeout)
        finally:
            # Another call's end would keep the answer from who awaits it.  Behind each function
            # that is called a signal's handler may raise: there is none before the end.
            if "closer" in self._closer and self._closer["closer"] is me:
                self._terminate(closed)

    # ---- called by the core, by whatever call drives the connection: what these raise leaves that call ----

    def _on_method(self, channel: BlockingChannel | None, method: Any) -> None:
        """A method came that nobody waits for: for the log, and for callbacks, which are queued first."""
        number = 0 if channel is None else channel.channel_number
        method_frame = frame.Method(number, method)
        asked = self._callbacks is not None and self._callbacks.process(
            number, method, self if channel is None else channel._impl, method_frame
        )
        if isinstance(method, spec.Connection.Blocked):
            _call_all(self._blocked_callbacks, method_frame)
            if self.params.blocked_connection_timeout is not None:
                _LOG.warning("Received %s from broker", method_frame)
        elif isinstance(method, spec.Connection.Unblocked):
            _call_all(self._unblocked_callbacks, method_frame)
            if self.params.blocked_connection_timeout is not None:
                _LOG.info("Received %s from broker", method_frame)
        elif channel is not None and isinstance(method, spec.Basic.Cancel):
            channel._on_cancelled_by_broker(method)
        elif isinstance(method, (spec.Basic.Ack, spec.Basic.Nack)):
            pass  # the core keeps the books; the callbacks have been told
        elif channel is not None and isinstance(method, spec.Channel.Flow):
            if not asked:
                _CHANNEL_LOG.warning("Channel.Flow received from server")
        elif channel is not None and not asked:
            _CHANNEL_LOG.error("Unexpected frame: %r", loggable(method_frame))
        else:
            _LOG.debug("Discarding frame %r", loggable(method_frame))

    def _on_ended(self, error: BaseException | None) -> None:
        """The connection has ended."""
        self._blocked_callbacks.clear()
        self._unblocked_callbacks.clear()
        self._tell_ended(error)
        if isinstance(error, exceptions.StreamLostError):
            self._log_lost(error)
        if not self._opened:
            return
        _LOG.info("Stack terminated due to %r", error)
        if isinstance(error, exceptions.ConnectionClosedByClient):
            result = f"BlockingConnection__OnClosedArgs(connection={self!r}, error={error!r})"
            _BLOCKING_LOG.info("User-initiated close: result=%s", result)
        else:
            _BLOCKING_LOG.error("Unexpected connection close detected: %r", error)

    def _log_lost(self, error: exceptions.StreamLostError) -> None:
        """Say in pika's loggers of the stream how it was lost."""
        _lost.log_lost(error, self)
        if error.args == (_lost.END_OF_FILE,):
            _BASE_LOG.error("Transport indicated EOF.")
        _BASE_LOG.error("connection_lost: %r", error)

    def _on_held(self) -> None:
        """Output over a Python socket is held back: it has to leave in time."""
        _pykeeper.keep(self)

    @staticmethod
    def _wait_socket(
        sock: socket.socket | None, wake: int, read: bool, write: bool, signals: int, timeout_ms: int
    ) -> bool:
        """Wait until a Python socket can go on, or one of the descriptors `wake` and `signals` is readable.

        :param sock: None to wait for the descriptors only
        :param wake: -1 for none, as `signals`
        :returns: False if nothing was ready in time
        """
        descriptor = -1 if sock is None else sock.fileno()
        if sock is not None and descriptor < 0:
            return True  # closed by another thread: the engine's next look says so
        try:
            return _waiting.wait(
                descriptor,
                read=read,
                write=write,
                wakes=[number for number in (wake, signals) if number >= 0],
                milliseconds=timeout_ms,
            )
        except OSError:
            if sock is not None and sock.fileno() < 0:
                return True  # closed meanwhile
            raise

    @staticmethod
    def _let_run() -> None:
        """Let other greenlets run: there was something to do here all the time."""
        _green.let_others_run()

    def __copy__(self) -> Engine:
        return self  # pika's connection is copied to itself, too

    def _tick(self) -> None:
        """Run a little Python code: that is where exceptions are raised that other threads have set."""
        for _ in range(1):
            pass


def _call_all(callbacks: list[Callable[[Any], None]], method_frame: Any) -> None:
    for callback in list(callbacks):
        callback(method_frame)
