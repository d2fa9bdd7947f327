"""All parts, in the order in which they run."""

from __future__ import annotations

from . import alarms, cuts, hostile, kills, leaks, load

PARTS = [cuts.PART, kills.KILLS, kills.CLUSTER, alarms.PART, hostile.PART, load.PART, leaks.PART]
