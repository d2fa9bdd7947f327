"""Short strings and tables of AMQP 0-9-1, to and from bytes.

The encoders append to a list of `pieces` and return the number of bytes; the decoders return the value and
the offset behind it. Beside pika's types a float can be encoded (as a double); floats are decoded as floats.
"""

from __future__ import annotations

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
    from typing import Any

    _ArgumentMapping = Mapping[str, Any]

__all__ = [
    "decode_short_string",
    "decode_table",
    "decode_value",
    "encode_short_string",
    "encode_table",
    "encode_value",
]
