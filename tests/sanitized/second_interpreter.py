"""Waits of all kinds beside a second interpreter, in a build in which a wait that holds the GIL aborts."""

from __future__ import annotations

import sys
import threading

try:
    import _interpreters as interpreters  # 3.13

    other = interpreters.create("legacy")
except ImportError:
    import _xxsubinterpreters as interpreters

    other = interpreters.create(isolated=False)

USE = f"""
import sys
sys.path[:] = {sys.path!r}
import cpika as pika
with pika.BlockingConnection(pika.URLParameters({sys.argv[1]!r})) as connection:
    channel = connection.channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.confirm_delivery()
    channel.basic_publish("", queue, b"x", mandatory=True)
    assert next(channel.consume(queue, auto_ack=True))[2] == b"x"
    connection.sleep(0.1)
"""

exec(USE)
interpreters.run_string(other, USE)
thread = threading.Thread(target=interpreters.run_string, args=(other, USE))
thread.start()
exec(USE)
thread.join()
interpreters.destroy(other)
exec(USE)
