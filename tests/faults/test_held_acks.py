"""Row 32: acks that are held back in a burst leave before the program does, on every way that can be seen."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
from support.proxy import CLIENT, SERVER, Proxy
from support.scripts import Script

COUNT = 60

SCENE = """
connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", int(sys.argv[1])))
channel = connection.channel()
seen = 0

def on_message(channel, method, properties, body):
    global seen
    seen += 1
    channel.basic_ack(method.delivery_tag)
    if seen == COUNT - 1:
        leave()

channel.basic_consume(sys.argv[2], on_message)
""".replace("COUNT", str(COUNT))

# How the program goes once it has acked all but one of its messages.
WAYS = {
    "sys.exit": "leave = sys.exit\nchannel.start_consuming()",
    "an exception": """
def leave():
    raise RuntimeError('expected')

channel.start_consuming()
""",
    "an exception that is caught": """
def leave():
    raise RuntimeError('expected')

try:
    channel.start_consuming()
except RuntimeError:
    os._exit(0)
""",
    "return and os._exit": """
def leave():
    channel.stop_consuming()

channel.start_consuming()
os._exit(0)
""",
    "return and the end": """
def leave():
    channel.stop_consuming()

channel.start_consuming()
""",
    "KeyboardInterrupt": """
def leave():
    signal.raise_signal(signal.SIGINT)

channel.start_consuming()
""",
    "a fork whose parent goes": """
def leave():
    if os.fork():
        sys.exit()
    os._exit(0)

channel.start_consuming()
""",
    "a fork whose parent returns": """
def leave():
    if os.fork() == 0:
        os._exit(0)
    channel.stop_consuming()

channel.start_consuming()
os._exit(0)
""",
    "a generator that is left": """
channel.stop_consuming()
for number, (method, properties, body) in enumerate(channel.consume(sys.argv[2])):
    channel.basic_ack(method.delivery_tag)
    if number == 58:
        sys.exit()
""",
    "exec": """
def leave():
    os.execv(sys.executable, [sys.executable, "-c", "pass"])

channel.start_consuming()
""",
    "a thread's end": """
def leave():
    raise SystemExit

thread = threading.Thread(target=channel.start_consuming)
thread.start()
thread.join()
os._exit(0)
""",
}


if sys.version_info < (3, 11):
    del WAYS["exec"]  # nobody can listen to audit events there without a crash elsewhere: docs/differences.md


def kept_and_acked(proxy: Proxy) -> tuple[list[int], list[int]]:
    """Delivery tags that the program did not give back, and those that it has acknowledged, in its order."""
    kept = [number for number, _ in enumerate(proxy.frames("Basic.Deliver", SERVER), 1)]
    acked: list[int] = []
    for event in proxy.frames():
        if event.frame is None or event.name not in ("Basic.Ack", "Basic.Nack", "Basic.Reject"):
            continue
        tag = event.frame.delivery_tag
        multiple = event.name != "Basic.Reject" and event.frame.multiple
        settled = [one for one in kept if one == tag or (multiple and one < tag and one not in acked)]
        if event.name == "Basic.Ack":
            acked += settled
        else:
            kept = [one for one in kept if one not in settled]
    return kept, acked


@pytest.mark.parametrize("way", WAYS)
def test_no_ack_is_lost_when_a_program_goes(
    connect: Callable[..., Any], proxy: Proxy, queue_name: str, way: str
) -> None:
    """Row 32, acks that are held: all have left when the program's end of the stream comes.

    What RabbitMQ makes of them is another matter: where a connection ends without a close, its channels end
    at once, and a broker that is busy forgets what it has not come to yet, whichever library sent it.
    """
    channel = connect().channel()
    channel.queue_declare(queue_name)
    channel.confirm_delivery()
    for number in range(COUNT):
        channel.basic_publish("", queue_name, b"%d" % number)
    with Script(SCENE + WAYS[way], proxy.port, queue_name) as script:
        script.finish()
    proxy.wait_for(lambda event: event.kind == "eof" and event.origin == CLIENT)
    kept, acked = kept_and_acked(proxy)
    assert acked == kept[: COUNT - 1]
    assert len(acked) == COUNT - 1
