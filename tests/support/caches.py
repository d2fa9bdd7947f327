"""What CPython keeps by itself, and a count of memory is to leave out."""

from __future__ import annotations

import sys


def clear_caches() -> None:
    """Empties the cache of attributes: it keeps a name for each look-up that is not in a program's text."""
    # The first is new in CPython 3.13, the second warns from 3.14 on.
    (getattr(sys, "_clear_internal_caches", None) or sys._clear_type_cache)()
