"""The benchmark's client on pika."""

from __future__ import annotations

import sys

import pika
from common import main, time_import
from pika_scenarios import all_scenarios

if __name__ == "__main__":
    sys.exit(main("pika", f"pika {pika.__version__}", all_scenarios(pika) | {"import": time_import("pika")}))
