"""The process of one mode: round after round, until the time is over.

python -m torture.child MODE --seed N --round FIRST --seconds S --url URL [--control PORT] [--authority PEM]
"""

from __future__ import annotations

import argparse
import faulthandler
import logging
import sys
import time


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("mode")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--round", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--control", type=int, default=0)
    parser.add_argument("--authority", default="")
    parser.add_argument("--journal", action="store_true")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    faulthandler.enable()
    room_name, _, target_name = options.mode.partition("/")
    if room_name.startswith("greenlets"):
        from gevent import monkey

        monkey.patch_all()
    # Not before: what is patched has to be patched when it is imported.
    from .control import Control
    from .report import Report
    from .rooms import ROOMS
    from .world import Target, World

    logger = logging.getLogger("pika")
    logger.propagate = False
    logger.addHandler(logging.NullHandler())
    room = ROOMS[room_name]
    control = Control(options.control) if options.control else None
    target = Target(target_name, options.url, options.authority, control)
    report = Report(options.mode, options.seed)
    end = time.monotonic() + options.seconds
    number = options.round
    while time.monotonic() < end and number < options.round + options.rounds:
        report.begin_round(number, alone=room.threads == 1 and number % 2 == 0)
        world = World(report, room, target, number)
        if control is not None:
            chaos = room.chaos_of(world.rng) if room.chaos else {}
            control("round", mode=options.mode, seed=options.seed, round=number, chaos=chaos)
        room.run(world)
        report.counts["rounds"] += 1
        if options.journal:
            report.tell()
        number += 1
    report.stop()
    report.sum_up()
    sys.stdout.flush()


if __name__ == "__main__":
    main()
