"""How a channel forgets callbacks, on a loop and behind a blocking one: of pika's next release."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

from cpika import spec

CLOSE_KEY = "_on_channel_close"


class Forgetting:
    """The methods that take back what `add_callback` and `add_on_..._callback` have added."""

    def remove_callback(
        self, callback: Callable[..., Any], replies: Sequence[type[Any]] | None = None
    ) -> bool:
        """Forget a callback of `add_callback`.

        :param replies: the classes of methods that it is called for no more; None: all
        :returns: whether there was one
        """
        channel: Any = self
        keys = channel.callbacks.keys(channel.channel_number) if replies is None else replies
        return sum(_forget(self, key, callback) for key in keys) > 0

    def remove_on_cancel_callback(self, callback: Callable[[Any], Any]) -> bool:
        """Forget a callback of `add_on_cancel_callback`; return whether there was one."""
        return _forget(self, spec.Basic.Cancel, callback)

    def remove_on_close_callback(self, callback: Callable[[Any, BaseException], Any]) -> bool:
        """Forget a callback of `add_on_close_callback`; return whether there was one."""
        return _forget(self, CLOSE_KEY, callback)

    def remove_on_flow_callback(self, callback: Callable[[Any], Any]) -> bool:
        """Forget a callback of `add_on_flow_callback`; return whether there was one."""
        return _forget(self, spec.Channel.Flow, callback)

    def remove_on_return_callback(self, callback: Callable[..., Any]) -> bool:
        """Forget a callback of `add_on_return_callback`; return whether there was one."""
        return _forget(self, "_on_return", callback)


def _forget(channel: Any, key: Any, callback: Callable[..., Any]) -> bool:
    same = functools.partial(operator.eq, callback)
    removed: bool = channel.callbacks.remove_matching(channel.channel_number, key, same)
    return removed
