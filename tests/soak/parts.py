"""All parts, in the order in which they run."""

from __future__ import annotations

from . import cuts, hostile

PARTS = [cuts.PART, hostile.PART]
