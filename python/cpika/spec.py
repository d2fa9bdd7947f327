"""Constants, classes and methods of AMQP 0-9-1 as RabbitMQ speaks it.

`Basic.Deliver` and all the others are types of the C core, made from one table of the specification; their
objects behave like those of plain Python classes: any attribute can be set, `vars()` is the fields.
"""

from __future__ import annotations

from cpika import _home
from cpika import data as data  # the core looks into it, in calls that load nothing
from cpika._core import BasicProperties, Method, Properties, spec_classes, spec_methods
from cpika.compat import str_or_bytes as str_or_bytes
from cpika.delivery_mode import DeliveryMode as DeliveryMode
from cpika.exchange_type import ExchangeType as ExchangeType

PROTOCOL_VERSION = (0, 9, 1)
PORT = 5672

ACCESS_REFUSED = 403
CHANNEL_ERROR = 504
COMMAND_INVALID = 503
CONNECTION_FORCED = 320
CONTENT_TOO_LARGE = 311
FRAME_BODY = 3
FRAME_END = 206
FRAME_END_SIZE = 1
FRAME_ERROR = 501
FRAME_HEADER = 2
FRAME_HEADER_SIZE = 7
FRAME_HEARTBEAT = 8
FRAME_MAX_SIZE = 131072
FRAME_METHOD = 1
FRAME_MIN_SIZE = 4096
INTERNAL_ERROR = 541
INVALID_PATH = 402
NOT_ALLOWED = 530
NOT_FOUND = 404
NOT_IMPLEMENTED = 540
NO_CONSUMERS = 313
NO_ROUTE = 312
PERSISTENT_DELIVERY_MODE = 2
PRECONDITION_FAILED = 406
REPLY_SUCCESS = 200
RESOURCE_ERROR = 506
RESOURCE_LOCKED = 405
SYNTAX_ERROR = 502
TRANSIENT_DELIVERY_MODE = 1
UNEXPECTED_FRAME = 505

Connection = spec_classes["Connection"]
Channel = spec_classes["Channel"]
Access = spec_classes["Access"]
Exchange = spec_classes["Exchange"]
Queue = spec_classes["Queue"]
Basic = spec_classes["Basic"]
Tx = spec_classes["Tx"]
Confirm = spec_classes["Confirm"]

_home.at_home(__name__, *spec_classes.values(), BasicProperties)

methods: dict[int, type[Method]] = spec_methods
"""The types of the methods by id."""

props: dict[int, type[Properties]] = {0x003C: BasicProperties}
"""The types of the properties by class id."""


def has_content(methodNumber: int) -> bool:
    """Return whether header and body frames follow the method of that id."""
    return methodNumber in (Basic.Publish.INDEX, Basic.Return.INDEX, Basic.Deliver.INDEX, Basic.GetOk.INDEX)


__all__ = [name for name in dir() if name[0].isupper()] + ["has_content", "methods", "props"]
