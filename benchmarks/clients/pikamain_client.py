"""The benchmark's client on pika's main branch, whose folder PIKA_MAIN names: its thread-safe Connection."""

from __future__ import annotations

import os
import sys

sys.path.insert(0, os.environ["PIKA_MAIN"])

import pika
from common import main
from thread_scenarios import thread_scenarios

if __name__ == "__main__":
    sys.exit(main("pika-main", f"pika {pika.__version__}, main branch", thread_scenarios(pika)))
