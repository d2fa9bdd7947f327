"""Asks celery's workers, and prints what they answered: `ask.py REQUESTS SILENCE`."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import celery

app = celery.Celery("asks", broker=os.environ["CPIKA_BROKER_URL"], backend="rpc://")
app.conf.task_default_queue = os.environ["TASK_QUEUE"]


def ask(name: str, texts: list[str]) -> list[Any]:
    """What the tasks returned, in the order in which they were sent."""
    sent = [app.send_task(f"tasks.{name}", [text] if text else []) for text in texts]
    return [result.get(timeout=60) for result in sent]


requests, silence = int(sys.argv[1]), float(sys.argv[2])
told = {"first": ask("round_trip", [f"m{number}" for number in range(requests)])}
told["before"] = ask("before", [""])
time.sleep(silence)
told["later"] = ask("round_trip", ["later"] * 4)
with app.connection_for_write() as connection:
    connection.default_channel.queue_delete(os.environ["TASK_QUEUE"])
print(json.dumps(told))
