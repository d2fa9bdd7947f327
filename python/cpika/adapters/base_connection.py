"""What the adapters share: a connection whose stream comes from the services of an I/O loop."""

from __future__ import annotations

import abc
import functools
import logging
from collections.abc import Callable, Sequence
from typing import Any

from cpika import connection, exceptions
from cpika.adapters.utils import _workflow as _workflow  # else the first connection would load it
from cpika.adapters.utils import connection_workflow, nbio_interface

LOGGER = logging.getLogger("pika.adapters.base_connection")


class BaseConnection(connection.Connection):
    """A connection on an I/O loop.

    :param parameters: how to connect; None for the defaults
    :param on_open_callback: called with the connection when it is open
    :param on_open_error_callback: called with the connection and an exception when it could not be opened
    :param on_close_callback: called with the connection and an exception when an open one has ended
    :param nbio: services of the loop
    :param internal_connection_workflow: connect by itself; False: `create_connection` does
    :raises ValueError: `parameters` are something else
    """

    def __init__(
        self,
        parameters: connection.Parameters | None,
        on_open_callback: Callable[[Any], Any] | None,
        on_open_error_callback: Callable[[Any, Exception], Any] | None,
        on_close_callback: Callable[[Any, Exception], Any] | None,
        nbio: nbio_interface.AbstractIOServices,
        internal_connection_workflow: bool = True,
    ) -> None:
        if parameters and not isinstance(parameters, connection.Parameters):
            raise ValueError(f"Expected instance of Parameters, not {parameters!r}")
        self._nbio = nbio
        self._connection_workflow: Any = None
        self._transport: Any = None
        self._got_eof = False
        super().__init__(
            parameters,
            on_open_callback,
            on_open_error_callback,
            on_close_callback,
            internal_connection_workflow=internal_connection_workflow,
        )

    def _init_connection_state(self) -> None:
        super()._init_connection_state()
        self._connection_workflow = None
        self._transport = None
        self._got_eof = False

    def __repr__(self) -> str:
        state = self._STATE_NAMES[self.connection_state]
        return f"<{self.__class__.__name__} {state} transport={self._transport} params={self.params}>"

    @property
    def ioloop(self) -> Any:
        """The loop itself: asyncio's, tornado's, `select_connection.IOLoop` ..."""
        return self._nbio.get_native_ioloop()

    # ---- making connections ----

    @classmethod
    @abc.abstractmethod
    def create_connection(
        cls,
        connection_configs: Sequence[connection.Parameters],
        on_done: Callable[[Any], Any],
        custom_ioloop: Any = None,
        workflow: Any = None,
    ) -> connection_workflow.AbstractAMQPConnectionWorkflow:
        """Connect to the first broker of several that lets us.

        :param connection_configs: parameters, to be tried in order
        :param on_done: called with the open connection, which has no callbacks yet, or with an
            `AMQPConnectionWorkflowFailed` or `AMQPConnectionWorkflowAborted`
        :param custom_ioloop: the loop; None for the one that the constructor takes
        :param workflow: an `AbstractAMQPConnectionWorkflow` of the program's own
        :returns: the workflow, which has an `abort()`
        """

    @classmethod
    def _create_on(
        cls,
        nbio: nbio_interface.AbstractIOServices,
        connection_configs: Sequence[connection.Parameters],
        on_done: Callable[[Any], Any],
        workflow: Any,
    ) -> connection_workflow.AbstractAMQPConnectionWorkflow:
        """What `create_connection` of each adapter does."""

        def connection_factory(params: connection.Parameters | None) -> BaseConnection:
            if params is None:
                raise ValueError("Expected pika.connection.Parameters instance, but got None in params arg.")
            make: Any = cls
            made: BaseConnection = make(
                parameters=params, custom_ioloop=nbio, internal_connection_workflow=False
            )
            return made

        return cls._start_connection_workflow(
            connection_configs=connection_configs,
            connection_factory=connection_factory,
            nbio=nbio,
            workflow=workflow,
            on_done=on_done,
        )

    @classmethod
    def _start_connection_workflow(
        cls,
        connection_configs: Sequence[connection.Parameters],
        connection_factory: Callable[[connection.Parameters], Any],
        nbio: nbio_interface.AbstractIOServices,
        workflow: Any,
        on_done: Callable[[Any], Any],
    ) -> connection_workflow.AbstractAMQPConnectionWorkflow:
        """Start a workflow, for adapters with a `create_connection` of their own."""
        if workflow is None:
            workflow = connection_workflow.AMQPConnectionWorkflow()
        if isinstance(workflow, connection_workflow.AMQPConnectionWorkflow):
            workflow.set_io_services(nbio)
        chosen: connection_workflow.AbstractAMQPConnectionWorkflow = workflow

        def create_connector() -> Any:
            return connection_workflow.AMQPConnector(
                lambda params: _StreamingProtocolShim(connection_factory(params)), nbio
            )

        chosen.start(
            connection_configs=connection_configs,
            connector_factory=create_connector,
            native_loop=nbio.get_native_ioloop(),
            on_done=functools.partial(cls._unshim_connection_workflow_callback, on_done),
        )
        return chosen

    @staticmethod
    def _unshim_connection_workflow_callback(user_on_done: Callable[[Any], Any], result: Any) -> None:
        user_on_done(result.conn if isinstance(result, _StreamingProtocolShim) else result)

    def _adapter_connect_stream(self) -> None:
        workflow = connection_workflow.AMQPConnectionWorkflow(_until_first_amqp_attempt=True)
        self._connection_workflow = workflow
        workflow.set_io_services(self._nbio)

        def create_connector() -> Any:
            return connection_workflow.AMQPConnector(lambda _params: _StreamingProtocolShim(self), self._nbio)

        workflow.start(
            [self.params],
            connector_factory=create_connector,
            native_loop=self._nbio.get_native_ioloop(),
            on_done=functools.partial(
                self._unshim_connection_workflow_callback, self._on_connection_workflow_done
            ),
        )

    def _on_connection_workflow_done(self, result: Any) -> None:
        self._connection_workflow = None
        if not isinstance(result, BaseException):
            return  # this connection, whose callbacks have been told
        self._transport = None
        error: BaseException | None = result
        if isinstance(result, connection_workflow.AMQPConnectionWorkflowAborted):
            LOGGER.info("Full-stack connection workflow aborted: %r", result)
            error = None
        else:
            LOGGER.error("Full-stack connection workflow failed: %r", result)
            if isinstance(result, connection_workflow.AMQPConnectionWorkflowFailed) and isinstance(
                result.exceptions[-1], connection_workflow.AMQPConnectorSocketConnectError
            ):
                last = result.exceptions[-1]
                error = exceptions.AMQPConnectionError(result, host=last.host, port=last.port)
        self._handle_connection_workflow_failure(error)

    def _handle_connection_workflow_failure(self, error: BaseException | None) -> None:
        if error is None:
            LOGGER.info("Self-initiated stack bring-up aborted.")
        else:
            LOGGER.error("Self-initiated stack bring-up failed: %r", error)
        if not self.is_closed:  # else the end of the stream has been told
            self._on_stream_terminated(error)

    def _abort_connection_workflow(self) -> None:
        """Stop opening; `_on_stream_terminated` follows in another turn of the loop."""
        if self._transport is not None:
            self._transport.abort()
        elif self._connection_workflow is not None:
            self._connection_workflow.abort()
        else:  # nothing is under way that would tell the end
            self._nbio.add_callback_threadsafe(self._on_nothing_aborted)

    def _on_nothing_aborted(self) -> None:
        if not self.is_closed:
            self._on_stream_terminated(None)

    # ---- the loop ----

    def _adapter_call_later(self, delay: float, callback: Callable[[], Any]) -> Any:
        return self._nbio.call_later(delay, callback)

    def _adapter_remove_timeout(self, timeout_id: Any) -> None:
        timeout_id.cancel()

    def _adapter_add_callback_threadsafe(self, callback: Callable[[], Any]) -> None:
        if not callable(callback):
            raise TypeError(f"callback must be a callable, but got {callback!r}")
        self._nbio.add_callback_threadsafe(callback)

    def _adapter_disconnect_stream(self) -> None:
        if not self._opened:
            self._abort_connection_workflow()
        else:
            self._transport.abort()

    def _adapter_emit_data(self, data: bytes) -> None:
        self._transport.write(data)

    def _look(self) -> None:
        look = getattr(self._transport, "_on_readable", None)
        if look is not None:
            look()

    # ---- what the stream tells ----

    def _proto_connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._engine = getattr(transport, "engine", None)  # else it is a stream of somebody else's services
        self._on_stream_connected()

    def _proto_connection_lost(self, error: BaseException | None) -> None:
        self._transport = None
        if error is None:
            if self._got_eof:
                error = exceptions.StreamLostError("Transport indicated EOF")
        elif not isinstance(error, exceptions.StreamLostError):
            lost = exceptions.StreamLostError(f"Stream connection lost: {error!r}")
            lost.__cause__ = error
            error = lost
        LOGGER.log(logging.DEBUG if error is None else logging.ERROR, "connection_lost: %r", error)
        self._on_stream_terminated(error)

    def _proto_eof_received(self) -> bool:
        LOGGER.error("Transport indicated EOF.")
        self._got_eof = True
        return False

    def _proto_data_received(self, data: bytes) -> None:
        self._on_data_available(data)


class _StreamingProtocolShim(nbio_interface.AbstractStreamProtocol):
    """Stands between a stream and a connection: programs' subclasses may use the protocol's names."""

    def __init__(self, conn: BaseConnection) -> None:
        self.conn = conn
        self.engine_owner = conn

    def connection_made(self, transport: Any) -> None:
        """See `AbstractStreamProtocol`."""
        self.conn._proto_connection_made(transport)

    def connection_lost(self, error: BaseException | None) -> None:
        """See `AbstractStreamProtocol`."""
        self.conn._proto_connection_lost(error)

    def eof_received(self) -> bool:
        """See `AbstractStreamProtocol`."""
        return self.conn._proto_eof_received()

    def data_received(self, data: bytes) -> None:
        """See `AbstractStreamProtocol`."""
        self.conn._proto_data_received(data)

    def __getattr__(self, attr: str) -> Any:
        return getattr(self.conn, attr)

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}: {self.conn!r}"
