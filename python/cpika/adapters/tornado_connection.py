"""The adapter for tornado's loop."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from tornado import ioloop

from cpika import connection
from cpika.adapters import base_connection
from cpika.adapters.utils import connection_workflow, nbio_interface, selector_ioloop_adapter

LOGGER = logging.getLogger("pika.adapters.tornado_connection")


def _services(loop: Any) -> nbio_interface.AbstractIOServices:
    native: Any = loop or ioloop.IOLoop.instance()
    return selector_ioloop_adapter.SelectorIOServicesAdapter(native)


class TornadoConnection(base_connection.BaseConnection):
    """A connection on tornado's loop.

    :param parameters: how to connect; None for the defaults
    :param on_open_callback: called with the connection when it is open
    :param on_open_error_callback: called with the connection and an exception when it could not be opened
    :param on_close_callback: called with the connection and an exception when an open one has ended
    :param custom_ioloop: the loop, or services of one; None: `tornado.ioloop.IOLoop.instance()`
    :param internal_connection_workflow: connect by itself; False: `create_connection` does
    """

    def __init__(
        self,
        parameters: connection.Parameters | None = None,
        on_open_callback: Callable[[Any], Any] | None = None,
        on_open_error_callback: Callable[[Any, Exception], Any] | None = None,
        on_close_callback: Callable[[Any, Exception], Any] | None = None,
        custom_ioloop: Any = None,
        internal_connection_workflow: bool = True,
    ) -> None:
        ready = isinstance(custom_ioloop, nbio_interface.AbstractIOServices)
        super().__init__(
            parameters,
            on_open_callback,
            on_open_error_callback,
            on_close_callback,
            custom_ioloop if ready else _services(custom_ioloop),
            internal_connection_workflow=internal_connection_workflow,
        )

    @classmethod
    def create_connection(
        cls,
        connection_configs: Sequence[connection.Parameters],
        on_done: Callable[[Any], Any],
        custom_ioloop: Any = None,
        workflow: Any = None,
    ) -> connection_workflow.AbstractAMQPConnectionWorkflow:
        """See `BaseConnection.create_connection`."""
        return cls._create_on(_services(custom_ioloop), connection_configs, on_done, workflow)
