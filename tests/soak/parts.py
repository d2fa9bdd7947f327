"""All parts, in the order in which they run."""

from __future__ import annotations

from . import cuts, hostile, leaks

PARTS = [cuts.PART, hostile.PART, leaks.PART]
