"""All parts, in the order in which they run."""

from __future__ import annotations

from . import alarms, cuts, hostile, kills, leaks, load, loops, pipes

PARTS = [
    cuts.PART,
    kills.KILLS,
    kills.CLUSTER,
    loops.PART,
    alarms.PART,
    pipes.PART,
    hostile.PART,
    load.PART,
    leaks.PART,
]
