"""Heartbeats: a name of pika's, whose work the C core does."""

from __future__ import annotations

import logging

from cpika._not_built import NotBuilt

LOGGER = logging.getLogger("pika.heartbeat")


class HeartbeatChecker(NotBuilt):
    """In pika, the timers of one connection's heartbeats."""

    _INSTEAD = "the core sends and checks heartbeats itself; set the connection parameter `heartbeat`"
