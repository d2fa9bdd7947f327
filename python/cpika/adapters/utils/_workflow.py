"""Connecting from an I/O loop: one attempt after another, until one succeeds."""

from __future__ import annotations

import abc
import contextlib
import functools
import logging
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from cpika import exceptions
from cpika.adapters.utils import _forked
from cpika.adapters.utils import connection_workflow as errors
from cpika.compat import SOL_TCP, AbstractBase
from cpika.connection import Parameters
from cpika.tcp_socket_opts import set_sock_opts

_LOG = logging.getLogger("pika.adapters.utils.connection_workflow")


class _Tasks:
    """Timers and operations that may have to be cancelled."""

    _task_ref: Any = None
    _nbio: Any = None

    def _run(self, step: Callable[[], Any], failed: Callable[[Exception], Any]) -> None:
        """Take a step whose outcome the loop tells; what it raises is told too, by `failed(error)`.

        In another turn of the loop: nothing is told while the caller of the step still runs.
        """
        try:
            step()
        except Exception as error:
            self._task_ref = self._nbio.call_later(0, functools.partial(failed, error))

    def _cancel(self, *names: str) -> None:
        for name in names:
            reference = getattr(self, name)
            setattr(self, name, None)
            if reference is not None:
                try:
                    reference.cancel()
                except Exception:  # what the loop says to that keeps nobody from going on
                    _LOG.exception("Cancelling %s failed", name)


class AMQPConnector(_Tasks):
    """One attempt: TCP, TLS where it is asked for, and the AMQP handshake.

    :param conn_factory: gets the parameters, returns a connection that waits for its stream
    :param nbio: services of the loop
    """

    _STATE_INIT = 0
    _STATE_TCP = 1
    _STATE_TRANSPORT = 2
    _STATE_AMQP = 3
    _STATE_TIMEOUT = 4
    _STATE_ABORTING = 5
    _STATE_DONE = 6

    def __init__(self, conn_factory: Callable[[Parameters], Any], nbio: Any) -> None:
        self._conn_factory: Any = conn_factory
        self._nbio = nbio
        self._addr_record: Any = None
        self._conn_params: Any = None
        self._on_done: Any = None
        self._tcp_timeout_ref: Any = None
        self._stack_timeout_ref: Any = None
        self._sock: socket.socket | None = None
        self._amqp_conn: Any = None
        self._state = self._STATE_INIT

    def start(self, addr_record: Any, conn_params: Parameters, on_done: Callable[[Any], Any]) -> None:
        """Begin.

        :param addr_record: one of what `socket.getaddrinfo` returns
        :param conn_params: parameters
        :param on_done: called with the connection, or with an `AMQPConnectorException`
        :raises AMQPConnectorWrongState: it was begun before
        """
        if self._state != self._STATE_INIT:
            raise errors.AMQPConnectorWrongState(f"Already in progress or finished; state={self._state}")
        self._addr_record = addr_record
        self._conn_params = conn_params
        self._on_done = on_done
        self._state = self._STATE_TCP
        self._run(self._connect_socket, self._on_tcp_connection_done)

    def _connect_socket(self) -> None:
        params, address = self._conn_params, self._addr_record
        if params.stack_timeout is not None:  # first: they end the attempt, whatever happens behind them
            self._stack_timeout_ref = self._nbio.call_later(params.stack_timeout, self._on_overall_timeout)
        if params.socket_timeout is not None:
            self._tcp_timeout_ref = self._nbio.call_later(
                params.socket_timeout, self._on_tcp_connection_timeout
            )
        self._sock = socket.socket(*address[:3])
        _forked.sockets.add(self._sock)
        self._sock.setsockopt(SOL_TCP, socket.TCP_NODELAY, 1)
        set_sock_opts(params.tcp_options, self._sock)
        self._sock.setblocking(False)
        _LOG.info("Pika version %s connecting to %r", errors._PIKA_VERSION, address[4])
        self._task_ref = self._nbio.connect_socket(
            self._sock, address[4], on_done=self._on_tcp_connection_done
        )

    def abort(self) -> None:
        """Give up; `on_done` gets an `AMQPConnectorAborted`, in another turn of the loop.

        :raises AMQPConnectorWrongState: it has not begun, or is done
        """
        if self._state == self._STATE_INIT:
            raise errors.AMQPConnectorWrongState("Cannot abort before starting.")
        if self._state == self._STATE_DONE:
            raise errors.AMQPConnectorWrongState("Cannot abort after completion was reported")
        self._state = self._STATE_ABORTING
        self._deactivate()
        _LOG.info(
            "AMQPConnector: beginning client-initiated asynchronous abort; %r/%s",
            self._conn_params.host,
            self._addr_record,
        )
        if self._amqp_conn is None:
            self._nbio.add_callback_threadsafe(
                functools.partial(self._report_completion_and_cleanup, errors.AMQPConnectorAborted())
            )
        elif not self._amqp_conn.is_closing:  # else the timeout has closed it, which is told soon
            self._amqp_conn.close(320, "Client-initiated abort of AMQP Connection Workflow.")

    def _deactivate(self) -> None:
        self._cancel("_tcp_timeout_ref", "_stack_timeout_ref", "_task_ref")

    def _report_completion_and_cleanup(self, result: Any) -> None:
        if self._state == self._STATE_DONE:
            return
        if isinstance(result, BaseException):
            if isinstance(result, errors.AMQPConnectorPhaseErrorBase):
                result._name_peer(self._conn_params.host, self._conn_params.port)
            _LOG.error("AMQPConnector - reporting failure: %r", result)
        else:
            _LOG.info("AMQPConnector - reporting success: %r", result)
        on_done = self._on_done
        self._deactivate()
        if self._sock is not None:
            with contextlib.suppress(OSError):  # somebody has closed the descriptor
                self._sock.close()
            self._sock = None
        self._conn_factory = self._nbio = self._on_done = None
        self._state = self._STATE_DONE
        on_done(result)

    def _on_tcp_connection_timeout(self) -> None:
        self._tcp_timeout_ref = None
        self._report_completion_and_cleanup(
            errors.AMQPConnectorSocketConnectError(
                socket.timeout(
                    f"TCP connection attempt timed out: {self._conn_params.host!r}/{self._addr_record}"
                )
            )
        )

    def _on_overall_timeout(self) -> None:
        """TCP, TLS and handshake together have taken `stack_timeout`."""
        self._stack_timeout_ref = None
        before, self._state = self._state, self._STATE_TIMEOUT
        where = f"{self._conn_params.host!r}/{self._addr_record}"
        secure = bool(self._conn_params.ssl_options)
        if before == self._STATE_AMQP:
            message = f"Timeout while setting up AMQP to {where}; ssl={secure}"
            _LOG.error(message)
            if not self._amqp_conn.is_closing:
                self._amqp_conn.close(320, message)  # which tells _on_amqp_handshake_done
            return
        error: Exception
        if before == self._STATE_TCP:
            error = errors.AMQPConnectorSocketConnectError(
                errors.AMQPConnectorStackTimeout(f"Timeout while connecting socket to {where}")
            )
        else:
            error = errors.AMQPConnectorTransportSetupError(
                errors.AMQPConnectorStackTimeout(
                    f"Timeout while setting up transport to {where}; ssl={secure}"
                )
            )
        self._report_completion_and_cleanup(error)

    def _on_tcp_connection_done(self, error: BaseException | None) -> None:
        self._task_ref = None
        self._cancel("_tcp_timeout_ref")
        if error is not None:
            _LOG.error("TCP Connection attempt failed: %r; dest=%r", error, self._addr_record)
            self._report_completion_and_cleanup(errors.AMQPConnectorSocketConnectError(error))
            return
        self._state = self._STATE_TRANSPORT
        self._run(self._create_stream, self._on_transport_establishment_done)

    def _create_stream(self) -> None:
        options = self._conn_params.ssl_options
        context = name = None
        if options is not None:
            context = options.context
            name = self._conn_params.host if options.server_hostname is None else options.server_hostname
        sock, self._sock = self._sock, None
        self._task_ref = self._nbio.create_streaming_connection(
            protocol_factory=functools.partial(self._conn_factory, self._conn_params),
            sock=sock,
            ssl_context=context,
            server_hostname=name,
            on_done=self._on_transport_establishment_done,
        )

    def _on_transport_establishment_done(self, result: Any) -> None:
        self._task_ref = None
        if isinstance(result, BaseException):
            _LOG.error(
                "Attempt to create the streaming transport failed: %r; %r/%s; ssl=%s",
                result,
                self._conn_params.host,
                self._addr_record,
                bool(self._conn_params.ssl_options),
            )
            self._report_completion_and_cleanup(errors.AMQPConnectorTransportSetupError(result))
            return
        _LOG.info("Streaming transport linked up: %r.", result)
        _transport, self._amqp_conn = result
        self._state = self._STATE_AMQP
        self._amqp_conn.add_on_open_error_callback(self._on_amqp_handshake_done, remove_default=True)
        self._amqp_conn.add_on_open_callback(self._on_amqp_handshake_done)

    def _on_amqp_handshake_done(self, connection: Any, error: BaseException | None = None) -> None:
        self._amqp_conn = None
        result: Any
        if self._state == self._STATE_ABORTING:
            result = errors.AMQPConnectorAborted()
        elif self._state == self._STATE_TIMEOUT:
            result = errors.AMQPConnectorAMQPHandshakeError(
                errors.AMQPConnectorStackTimeout(
                    f"Timeout during AMQP handshake{self._conn_params.host!r}/{self._addr_record}; "
                    f"ssl={bool(self._conn_params.ssl_options)}"
                )
            )
        elif self._state == self._STATE_AMQP:
            result = connection if error is None else errors.AMQPConnectorAMQPHandshakeError(error)
        else:
            return  # it has been told
        self._report_completion_and_cleanup(result)


class AbstractAMQPConnectionWorkflow(AbstractBase):
    """How `create_connection` gets its connection; a program may bring its own."""

    @abc.abstractmethod
    def start(
        self,
        connection_configs: Sequence[Parameters],
        connector_factory: Callable[[], Any],
        native_loop: Any,
        on_done: Callable[[Any], Any],
    ) -> None:
        """Begin.

        :param connection_configs: parameters, to be tried in order
        :param connector_factory: makes an `AMQPConnector` for each attempt
        :param native_loop: the loop
        :param on_done: called with the connection, or with an `AMQPConnectionWorkflowFailed` or
            `AMQPConnectionWorkflowAborted`
        """

    @abc.abstractmethod
    def abort(self) -> None:
        """Give up; `on_done` gets an `AMQPConnectionWorkflowAborted`, in another turn of the loop."""


class AMQPConnectionWorkflow(_Tasks, AbstractAMQPConnectionWorkflow):
    """Goes through all addresses of all parameters, as often as the last of them says.

    :param _until_first_amqp_attempt: give up at the first failure behind TCP and TLS
    """

    _SOCK_TYPE = socket.SOCK_STREAM
    _IPPROTO = socket.IPPROTO_TCP
    _STATE_INIT = 0
    _STATE_ACTIVE = 1
    _STATE_ABORTING = 2
    _STATE_DONE = 3

    def __init__(self, _until_first_amqp_attempt: bool = False) -> None:
        self._until_first_amqp_attempt = _until_first_amqp_attempt
        self._attempts_remaining = 0
        self._retry_pause = 0.0
        self._nbio: Any = None
        self._connection_configs: Sequence[Parameters] = ()
        self._current_config_index: int | None = None
        self._connector_factory: Any = None
        self._on_done: Any = None
        self._connector: Any = None
        self._addrinfo_iter: Iterator[Any] = iter(())
        self._connection_errors: list[BaseException] = []
        self._state = self._STATE_INIT

    def set_io_services(self, nbio: Any) -> None:
        """Say which services it is to use; before `start`."""
        self._nbio = nbio

    def start(
        self,
        connection_configs: Sequence[Parameters],
        connector_factory: Callable[[], Any],
        native_loop: Any,
        on_done: Callable[[Any], Any],
    ) -> None:
        """See `AbstractAMQPConnectionWorkflow.start`.

        :raises AMQPConnectorWrongState: it was begun before
        :raises TypeError: `connection_configs` is no sequence
        :raises ValueError: it is empty
        """
        if self._state != self._STATE_INIT:
            raise errors.AMQPConnectorWrongState(f"Already in progress or finished; state={self._state}")
        try:
            iter(connection_configs)
        except Exception as error:
            raise TypeError(f"connection_configs does not support iteration: {error!r}") from error
        if not connection_configs:
            raise ValueError(f"connection_configs is empty: {connection_configs!r}.")
        self._connection_configs = connection_configs
        self._connector_factory = connector_factory
        self._on_done = on_done
        self._attempts_remaining = connection_configs[-1].connection_attempts
        self._retry_pause = connection_configs[-1].retry_delay
        self._state = self._STATE_ACTIVE
        self._task_ref = self._nbio.call_later(0, functools.partial(self._start_new_cycle_async, first=True))

    def abort(self) -> None:
        """Give up; `on_done` gets an `AMQPConnectionWorkflowAborted`, in another turn of the loop.

        :raises AMQPConnectorWrongState: it has not begun, or is done
        """
        if self._state == self._STATE_INIT:
            raise errors.AMQPConnectorWrongState("Cannot abort before starting.")
        if self._state == self._STATE_DONE:
            raise errors.AMQPConnectorWrongState("Cannot abort after completion was reported")
        self._state = self._STATE_ABORTING
        self._cancel("_task_ref")
        _LOG.info("AMQPConnectionWorkflow: beginning client-initiated asynchronous abort.")
        if self._connector is None:
            self._nbio.add_callback_threadsafe(
                functools.partial(self._report_completion_and_cleanup, errors.AMQPConnectionWorkflowAborted())
            )
        else:
            self._connector.abort()

    def _report_completion_and_cleanup(self, result: Any) -> None:
        if self._state == self._STATE_DONE:  # aborted twice
            return
        if isinstance(result, BaseException):
            _LOG.error("AMQPConnectionWorkflow - reporting failure: %r", result)
        else:
            _LOG.info("AMQPConnectionWorkflow - reporting success: %r", result)
        on_done = self._on_done
        self._cancel("_task_ref")
        self._nbio = self._on_done = self._connector_factory = self._connector = None
        self._connection_errors = []
        self._state = self._STATE_DONE
        on_done(result)

    def _start_new_cycle_async(self, first: bool) -> None:
        self._task_ref = None
        if self._attempts_remaining <= 0:
            self._fail()
            return
        self._attempts_remaining -= 1
        self._current_config_index = None
        self._run(lambda: self._pause(0 if first else self._retry_pause), self._fail)

    def _pause(self, seconds: float) -> None:
        self._task_ref = self._nbio.call_later(seconds, self._try_next_config_async)

    def _fail(self, last: Exception | None = None) -> None:
        """All attempts have failed, or there can be no more of them."""
        if last is not None:
            self._connection_errors.append(last)
        error = errors.AMQPConnectionWorkflowFailed(self._connection_errors)
        _LOG.error("AMQP connection workflow failed: %r.", error)
        self._report_completion_and_cleanup(error)

    def _try_next_config_async(self) -> None:
        self._task_ref = None
        index = 0 if self._current_config_index is None else self._current_config_index + 1
        self._current_config_index = index
        if index >= len(self._connection_configs):
            self._start_new_cycle_async(first=False)
            return
        self._run(self._look_up, self._on_getaddrinfo_async_done)

    @property
    def _config(self) -> Parameters:
        """The parameters whose turn it is."""
        assert self._current_config_index is not None
        return self._connection_configs[self._current_config_index]

    def _look_up(self) -> None:
        self._task_ref = self._nbio.getaddrinfo(
            host=self._config.host,
            port=self._config.port,
            socktype=self._SOCK_TYPE,
            proto=self._IPPROTO,
            on_done=self._on_getaddrinfo_async_done,
        )

    def _on_getaddrinfo_async_done(self, addresses: Any) -> None:
        self._task_ref = None
        if not addresses:
            addresses = errors.without_addresses(self._config)
        if isinstance(addresses, BaseException):
            _LOG.error("getaddrinfo failed: %r.", addresses)
            self._connection_errors.append(addresses)
            self._try_next_config_async()
            return
        self._addrinfo_iter = iter(addresses)
        self._try_next_resolved_address()

    def _try_next_resolved_address(self) -> None:
        address = next(self._addrinfo_iter, None)
        if address is None:
            self._try_next_config_async()
            return
        self._run(lambda: self._attempt(address), self._on_no_connector)

    def _attempt(self, address: Any) -> None:
        self._connector = connector = self._connector_factory()
        try:
            connector.start(addr_record=address, conn_params=self._config, on_done=self._on_connector_done)
        except Exception:
            self._connector = None  # there is nothing to abort
            raise

    def _on_no_connector(self, error: Exception) -> None:
        """A connector of the program's own could not be made, or did not begin."""
        self._task_ref = None
        self._on_connector_done(errors.AMQPConnectorSocketConnectError(error))

    def _on_connector_done(self, result: Any) -> None:
        self._connector = None
        if not isinstance(result, BaseException):
            self._report_completion_and_cleanup(result)
            return
        self._connection_errors.append(result)
        if isinstance(result, errors.AMQPConnectorAborted):
            self._report_completion_and_cleanup(errors.AMQPConnectionWorkflowAborted())
        elif self._until_first_amqp_attempt and isinstance(result, errors.AMQPConnectorAMQPHandshakeError):
            if isinstance(result.exception, exceptions.ConnectionOpenAborted):
                self._report_completion_and_cleanup(errors.AMQPConnectionWorkflowAborted())
            else:
                self._report_completion_and_cleanup(
                    errors.AMQPConnectionWorkflowFailed(self._connection_errors)
                )
        else:
            self._try_next_resolved_address()
