"""The same as tasks of celery, whose own broker is the same."""

from __future__ import annotations

import os
from typing import Any

import celery
import web

app = celery.Celery("tasks", broker=os.environ["CPIKA_BROKER_URL"], backend="rpc://")
app.conf.update(task_default_queue=os.environ["TASK_QUEUE"], broker_connection_retry_on_startup=True)


@app.task
def round_trip(text: str) -> list[Any]:
    return [os.getpid(), web.round_trip(text)]


@app.task
def before() -> list[Any]:
    try:
        return [os.getpid(), web.before.queue_declare("", exclusive=True).method.queue]
    except Exception as error:
        return [os.getpid(), repr(error)]
