"""Short strings and tables of AMQP 0-9-1, to and from bytes.

The encoders append to a list of `pieces` and return the number of bytes; the decoders return the value and
the offset behind it. Beside pika's types a float can be encoded (as a double); floats are decoded as floats.

The core looks up here what it makes times and decimals with, as pika's code does: what tools and tests put
in the place of `datetime`, `timezone`, `calendar` and `decimal` is used while it is there.
"""

from __future__ import annotations

import decimal as decimal
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from cpika._core import (
    decode_short_string,
    decode_table,
    decode_value,
    encode_short_string,
    encode_table,
    encode_value,
)

if TYPE_CHECKING:
    import calendar as calendar
    from datetime import datetime as datetime
    from datetime import timezone as timezone
    from typing import Any

    _ArgumentMapping = Mapping[str, Any]


def __getattr__(name: str) -> Any:
    """Load what an interpreter that is not the main one may not have yet."""
    if name not in ("calendar", "datetime", "timezone"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import calendar
    import datetime

    found = {"calendar": calendar, "datetime": datetime.datetime, "timezone": datetime.timezone}
    return globals().setdefault(name, found[name])


if "datetime" in sys.modules:  # in the main interpreter the core has imported it
    import calendar as calendar
    from datetime import datetime as datetime
    from datetime import timezone as timezone

__all__ = [
    "decode_short_string",
    "decode_table",
    "decode_value",
    "encode_short_string",
    "encode_table",
    "encode_value",
]
