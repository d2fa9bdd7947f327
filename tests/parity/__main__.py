"""For whoever works on parity, run in the folder tests.

python -m parity show LIBRARY [PART]   what the scenarios with PART in their name record on LIBRARY
python -m parity diff LIBRARY [PART]   where LIBRARY differs from pika in them
"""

from __future__ import annotations

import sys

from parity.harness import Broker, difference, load, play
from parity.scenarios import all_plays


def main(command: str, library: str, wanted: str = "") -> int:
    oracle, subject, broker = load("pika"), load(library), Broker.of_this_run()
    differing = 0
    for part in all_plays():
        if wanted not in part.id:
            continue
        if command == "show":
            print(part.id, *play(subject, part, broker)[0], sep="\n    ")
            continue
        diff = difference(part, oracle, subject, broker)
        if diff:
            differing += 1
            print(part.id, *diff.splitlines()[2:], sep="\n    ")
    broker.close()
    return min(differing, 1)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
