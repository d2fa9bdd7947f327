"""All parts, in the order in which they run."""

from __future__ import annotations

from . import alarms, cuts, hostile, kills, leaks, load, pipes

PARTS = [cuts.PART, kills.KILLS, kills.CLUSTER, alarms.PART, pipes.PART, hostile.PART, load.PART, leaks.PART]
