"""Calls import nothing: a signal's handler would find half a module, a child made by fork a lock for good."""

from __future__ import annotations

import pytest
from support.scripts import Script

WORK = """
import datetime
connection = cpika.BlockingConnection(cpika.URLParameters(sys.argv[1]))
opened = set(sys.modules)
channel = connection.channel()
queue = channel.queue_declare("", exclusive=True).method.queue
properties = cpika.BasicProperties(
    headers={"at": datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc), "n": [1.5, None]}, priority=1
)
channel.basic_publish("", queue, b"1", properties)
channel.confirm_delivery()
channel.basic_publish("", queue, b"2", properties)
channel.publish_many(("", queue, b"%d" % n) for n in range(3))
with channel.buffered():
    channel.basic_publish("", queue, b"x")
try:
    channel.basic_publish("", "cpika-test-nowhere", b"", mandatory=True)
except cpika.exceptions.UnroutableError as error:
    repr(error)
channel.basic_qos(prefetch_count=10)
for method, _, _ in channel.consume(queue):
    channel.basic_ack(method.delivery_tag)
    if method.delivery_tag == 3:
        break
channel.cancel()
channel.basic_consume(queue, lambda ch, *_: ch.stop_consuming())
channel.start_consuming()
channel.basic_get(queue)
connection.call_later(0, lambda: connection.add_callback_threadsafe(int))
connection.sleep(0.05)
try:
    channel.queue_declare("cpika-test-nowhere", passive=True)
except cpika.exceptions.ChannelClosedByBroker as error:
    repr(error), str(channel), repr(connection)
connection.close()
"""
LOADED = """
print(*sorted(name for name in set(sys.modules) - opened if not name.startswith("encodings")))
"""


def test_nothing_is_loaded_by_a_call_of_an_open_connection(broker_url: str) -> None:
    with Script("import cpika\n" + WORK + LOADED, broker_url) as script:
        assert script.line() == ""


VALUES = """
from cpika import data
import cpika.adapters.blocking_connection
before = set(sys.modules)
import _decimal, datetime
fields = b"\\x01dD\\x02\\x00\\x00\\x00\\x07" b"\\x01tT" + (7).to_bytes(8, "big") + b"\\x01vV"
encoded = len(fields).to_bytes(4, "big") + fields
decoded = data.decode_table(encoded, 0)[0]
data.encode_table([], decoded)
print(decoded["d"], decoded["t"].year, *sorted(set(sys.modules) - before))
"""


def test_values_that_other_modules_make_need_no_import() -> None:
    with Script(VALUES) as script:
        assert script.line() == "0.07 1970"


ON_LOOPS = {
    "select": "cpika.SelectConnection",
    "asyncio": "importlib.import_module('cpika.adapters.asyncio_connection').AsyncioConnection",
    "tornado": "importlib.import_module('cpika.adapters.tornado_connection').TornadoConnection",
}
ON_A_LOOP = """
import importlib
import cpika
opened = set()

def on_open(connection):
    global opened
    opened = set(sys.modules)
    connection.channel(on_open_callback=on_channel)

def on_channel(channel):
    channel.confirm_delivery(lambda frame: None, lambda frame: None)
    channel.queue_declare("", exclusive=True, callback=lambda frame: on_queue(channel, frame.method.queue))

def on_queue(channel, queue):
    def got(ch, method, properties, body):
        ch.basic_ack(method.delivery_tag)
        ch.basic_cancel("one", lambda frame: ch.connection.close())
    channel.basic_consume(queue, got, consumer_tag="one")
    channel.add_on_return_callback(lambda *args: channel.basic_publish("", queue, b"x"))
    channel.basic_publish("", "cpika-test-nowhere", b"", cpika.BasicProperties(headers={"a": 1}), True)

def on_close(connection, error):
    print(*sorted(name for name in set(sys.modules) - opened if name.startswith("cpika")))
    connection.ioloop.stop()

connection = ADAPTER(cpika.URLParameters(sys.argv[1]), on_open, on_close_callback=on_close)
loop = connection.ioloop
(loop.run_forever if hasattr(loop, "run_forever") else loop.start)()
"""


@pytest.mark.parametrize("kind", ON_LOOPS)
def test_nothing_is_loaded_by_a_call_on_a_loop(kind: str, broker_url: str) -> None:
    with Script(ON_A_LOOP.replace("ADAPTER", ON_LOOPS[kind]), broker_url) as script:
        assert script.line() == ""
