"""`Buffer`: any object with a contiguous buffer, as it is sent as a message's body."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Buffer as Buffer
else:
    Buffer = Any  # for those who evaluate hints: CPython names it from 3.12 on
