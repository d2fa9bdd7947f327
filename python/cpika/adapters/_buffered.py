"""The block of `BlockingChannel.buffered()`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

    from cpika.adapters._blocking_channel import BlockingChannel


class BufferedPublishing:
    """Context manager: publishes on a channel are held back and leave together.

    :param channel: the channel
    :param max_bytes: bytes that may stand together, at least 1
    :param max_delay: seconds that a message may stand, at least 0
    :raises ValueError: a limit that is none, when the block is entered
    """

    def __init__(self, channel: BlockingChannel, max_bytes: int, max_delay: float) -> None:
        self._channel = channel
        self._limits = (max_bytes, max_delay)
        self._outer: list[tuple[int, int, int]] = []

    def __enter__(self) -> BlockingChannel:
        self._outer.append(self._channel._begin_buffered(*self._limits))
        return self._channel

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._outer:
            raise RuntimeError("the block was not entered")
        self._channel._end_buffered(self._outer.pop(), value)
