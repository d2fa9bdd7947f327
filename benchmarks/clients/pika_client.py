"""The benchmark's client on pika."""

from __future__ import annotations

import sys
from functools import partial

import pika
from common import main, time_import
from groups import scenarios_beside
from pika_scenarios import all_scenarios

if __name__ == "__main__":
    scenarios = all_scenarios(pika) | {"import": time_import("pika")}
    sys.exit(main("pika", f"pika {pika.__version__}", scenarios, partial(scenarios_beside, pika)))
