"""Methods in log records and error texts: without what they carry of passwords and tokens."""

from __future__ import annotations

import copy
from typing import Any

from cpika import frame, spec

MASK = "***"

_SECRETS: dict[type, str] = {
    spec.Connection.StartOk: "response",
    spec.Connection.SecureOk: "response",
    spec.Connection.UpdateSecret: "new_secret",
}


def loggable(value: Any) -> Any:
    """Return a method or its frame as it may be logged: itself, or a copy whose secret is masked.

    A peer may send anything, also what only a client sends: what came goes through here like what is sent.

    :param value: a method, a `frame.Method`, or anything else, which is returned as it is
    """
    if isinstance(value, frame.Method):
        shown = loggable(value.method)
        return value if shown is value.method else frame.Method(value.channel_number, shown)
    for kind, field in _SECRETS.items():
        if isinstance(value, kind):
            shown = copy.copy(value)
            setattr(shown, field, MASK)
            return shown
    return value
