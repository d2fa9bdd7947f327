"""`pika.channel`: the channel that stands behind a `BlockingChannel`, as tracers and logs see it."""

from __future__ import annotations

import uuid
import weakref
from typing import TYPE_CHECKING, Any, ClassVar

from cpika import exceptions
from cpika._core import Channel as _CoreChannel

if TYPE_CHECKING:
    from cpika.adapters._engine import Engine
    from cpika.adapters.blocking_connection import BlockingChannel
    from cpika.spec import BasicProperties

MAX_CHANNELS: int = 65535  # AMQP 0-9-1: channel numbers have 16 bits, and 0 is the connection


class Channel:
    """What `BlockingChannel._impl` is: the number, the connection and the state of a channel.

    The work is done by the `BlockingChannel` itself, whose hot methods are C; the methods here pass calls on
    to it.

    :param connection: the engine of the connection
    :param channel_number: 1 to 65535
    :param on_open_callback: kept for pika's signature; must be None
    :raises pika.exceptions.InvalidChannelNumber: a number that is no int
    """

    CLOSED = 0
    OPENING = 1
    OPEN = 2
    CLOSING = 3  # client-initiated close in progress

    _STATE_NAMES: ClassVar[dict[int, str]] = {
        CLOSED: "CLOSED",
        OPENING: "OPENING",
        OPEN: "OPEN",
        CLOSING: "CLOSING",
    }

    def __init__(self, connection: Engine, channel_number: int, on_open_callback: None = None) -> None:
        if not isinstance(channel_number, int):
            raise exceptions.InvalidChannelNumber(channel_number)
        if on_open_callback is not None:
            raise TypeError("a channel of a BlockingConnection takes no on_open_callback")
        self.channel_number = channel_number
        self.connection = connection
        # Weak: the BlockingChannel holds this object; a circle would outlive both until the next collection.
        self._cookie_ref: weakref.ref[BlockingChannel] | None = None

    def __int__(self) -> int:
        return self.channel_number

    def __repr__(self) -> str:
        state = self._STATE_NAMES[self._state]
        return f"<{self.__class__.__name__} number={self.channel_number} {state} conn={self.connection!r}>"

    def _set_cookie(self, cookie: BlockingChannel) -> None:
        """Remember the `BlockingChannel` that this channel stands behind."""
        self._cookie_ref = weakref.ref(cookie)

    def _get_cookie(self) -> BlockingChannel | None:
        """Return the `BlockingChannel` that this channel stands behind."""
        return self._cookie

    @property
    def _cookie(self) -> BlockingChannel | None:
        return None if self._cookie_ref is None else self._cookie_ref()

    @property
    def _state(self) -> int:
        cookie = self._cookie
        return self.CLOSED if cookie is None else cookie._state

    @property
    def is_open(self) -> bool:
        """True while the channel may be used."""
        return self._state == self.OPEN

    @property
    def is_opening(self) -> bool:
        """True until the broker has answered Channel.Open."""
        return self._state == self.OPENING

    @property
    def is_closing(self) -> bool:
        """True until the broker has answered Channel.Close."""
        return self._state == self.CLOSING

    @property
    def is_closed(self) -> bool:
        """True when the channel cannot be used any more."""
        return self._state == self.CLOSED

    @property
    def consumer_tags(self) -> list[str]:
        """Tags of the active consumers."""
        cookie = self._cookie
        return [] if cookie is None else cookie.consumer_tags

    def _generate_consumer_tag(self) -> str:
        """Return a consumer tag that is used nowhere else."""
        return f"ctag{self.channel_number}.{uuid.uuid4().hex}"

    def _raise_if_not_open(self) -> None:
        """
        :raises pika.exceptions.ChannelWrongStateError: the channel is not open
        """
        cookie = self._cookie
        if cookie is None:
            raise exceptions.ChannelWrongStateError("Channel is closed.")
        cookie._check_open()

    def _open_cookie(self) -> BlockingChannel:
        """
        :raises pika.exceptions.ChannelWrongStateError: the channel is not open
        """
        self._raise_if_not_open()
        cookie = self._cookie
        assert cookie is not None
        return cookie

    def basic_publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes | str,
        properties: BasicProperties | None = None,
        mandatory: bool = False,
    ) -> None:
        """Publish a message, see `BlockingChannel.basic_publish`."""
        # The class's method: on the instance stands this one where a tracer has replaced it.
        type(self)._publish(self._open_cookie(), exchange, routing_key, body, properties, mandatory)

    _publish = _CoreChannel.basic_publish

    def __getattr__(self, name: str) -> Any:
        # Everything else a channel has lives on the BlockingChannel; a copy in the making has nothing yet.
        own = name.startswith("__") or name in ("_cookie", "_cookie_ref")
        cookie = None if own else self._cookie
        if cookie is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(cookie, name)


UNTRACED_PUBLISH = Channel.basic_publish


def _passed_on(name: str) -> Any:
    """Return a method that calls the one of this name on the `BlockingChannel`."""

    def method(self: Channel, *args: Any, **kwargs: Any) -> Any:
        return getattr(self._open_cookie(), name)(*args, **kwargs)

    method.__name__ = name
    method.__qualname__ = f"Channel.{name}"
    method.__doc__ = f"See `BlockingChannel.{name}`."
    return method


# On the class, because tracers wrap them there when they are installed.
for _name in (
    *("basic_ack", "basic_cancel", "basic_consume", "basic_get", "basic_nack", "basic_qos", "basic_recover"),
    *("basic_reject", "close", "confirm_delivery", "exchange_bind", "exchange_declare", "exchange_delete"),
    *("exchange_unbind", "flow", "queue_bind", "queue_declare", "queue_delete", "queue_purge"),
    *("queue_unbind", "tx_commit", "tx_rollback", "tx_select"),
    *("add_on_cancel_callback", "add_on_return_callback"),
):
    setattr(Channel, _name, _passed_on(_name))
