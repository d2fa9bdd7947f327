"""What a hostile input is."""

from __future__ import annotations

from typing import NamedTuple

from . import say
from .peers import Script

REFUSED, ENDED, LIVES, EITHER = "refused", "ended", "lives", "either"


class Input(NamedTuple):
    """What a server does, and what has to come of it.

    :param group: the row of the table
    :param wanted: REFUSED (an AMQPConnectionError, and the peer is told the reason), ENDED (the same without
        the telling), LIVES (the last message arrives), EITHER of REFUSED and LIVES
    :param play: what the client does, a key of PLAYS
    :param codes: reply codes that are right for it
    :param told: REFUSED: is the peer told
    :param seconds: how long the client waits for the last message, or the error
    :param grown: bytes of memory allowed for each byte that the peer sends
    :param strict: does the limit on memory hold without the allowance for Python's own allocator
    :param raw: the server speaks no TLS even where the client does
    :param heartbeat: seconds
    :param bodies: so many messages at least are dispatched before the error
    :param family: what the exception has to be, where more is known
    """

    name: str
    group: str
    script: Script
    wanted: str
    play: str = "consume"
    codes: frozenset[int] = say.ANY_CODE
    told: bool = True
    seconds: float = 6.0
    grown: float = 1.0
    strict: bool = False
    raw: bool = False
    heartbeat: int = 0
    bodies: int = 0
    family: str = "AMQPConnectionError"
