"""Agents in the session of a real tracer: what they record of a program is the same on pika and cpika."""

from __future__ import annotations

from support.sides import same_on_both

OPENTELEMETRY = """
from opentelemetry import propagate, trace
from opentelemetry.instrumentation.pika import PikaInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
PikaInstrumentor().instrument(tracer_provider=provider)
tracer = trace.get_tracer("program")

def show():
    "The spans, each with its place in the tree of its trace."
    spans = exporter.get_finished_spans()
    names = {span.context.span_id: span.name for span in spans}
    traces = {}
    for span in spans:
        number = traces.setdefault(span.context.trace_id, len(traces))
        parent = None if span.parent is None else names.get(span.parent.span_id, "elsewhere")
        attributes = {key: value for key, value in sorted(span.attributes.items()) if "port" not in key}
        events = [event.attributes.get("exception.type").rpartition(".")[2] for event in span.events]
        status = span.status.status_code.name
        print(number, span.name, span.kind.name, "in", parent, attributes, status, events)
    exporter.clear()
"""


def test_opentelemetry_sees_publishes_callbacks_generators_and_errors(broker_url: str) -> None:
    lines = same_on_both(
        OPENTELEMETRY
        + """
connection = connect()
channel = connection.channel()
queue = channel.queue_declare("{name}", exclusive=True).method.queue
with tracer.start_as_current_span("request"):
    channel.basic_publish("", queue, b"1")
    channel.basic_publish("", queue, b"2", pika.BasicProperties(headers={"mine": 1}))
show()
def on_message(ch, method, properties, body):
    print("callback", sorted(properties.headers), body)
    with tracer.start_as_current_span("work"):
        pass
    ch.basic_ack(method.delivery_tag)
    if body == b"2":
        ch.stop_consuming()
channel.basic_consume(queue, on_message)
channel.start_consuming()
show()
for body in (b"3", b"4"):
    channel.basic_publish(exchange="", routing_key=queue, body=body)
for method, properties, body in channel.consume(queue, auto_ack=True):
    print("generator", sorted(properties.headers), body)
    with tracer.start_as_current_span("work"):
        pass
    if body == b"4":
        break
channel.cancel()
show()
channel.basic_publish("", queue, b"5")
print(sorted(channel.basic_get(queue, auto_ack=True)[1].headers))
show()
confirmed = connection.channel()
confirmed.confirm_delivery()
tell("unroutable", confirmed.basic_publish, "", "{name}-nobody", b"6", mandatory=True)
tell("short string", confirmed.basic_publish, "", "x" * 256, b"7")
show()
def failing(ch, method, properties, body):
    raise KeyError("callback")
channel.basic_publish("", queue, b"8")
channel.basic_consume(queue, failing, auto_ack=True)
tell("failing", channel.start_consuming)
show()
PikaInstrumentor().uninstrument()
plain = connect().channel()
plain.basic_publish("", "{name}-nobody", b"9")
show()
connection.close()
""",
        broker_url,
    )
    spans = [line for line in lines if " CONSUMER " in line or " PRODUCER " in line]
    assert len(spans) > 10 and any("KeyError" in line for line in lines)


# What other agents do, in words of our own: each has a habit that needs a name or an order of pika's.

HABITS = """
noted = []
def note(*what):
    noted.append(what)
def show():
    for what in noted:
        print(*what)
    del noted[:]
"""


def test_an_agent_puts_back_the_methods_of_the_channel_below(broker_url: str) -> None:
    """It traces consumers at `BlockingChannel`, and so takes its wrapper off the channel below."""
    same_on_both(
        HABITS
        + """
import wrapt
def around(label):
    def wrapper(wrapped, instance, args, kwargs):
        note(label, type(instance).__name__, len(args), sorted(kwargs))
        return wrapped(*args, **kwargs)
    return wrapper
BLOCKING = "pika.adapters.blocking_connection"
wrapt.wrap_function_wrapper("pika.channel", "Channel.basic_consume", around("below"))
wrapt.wrap_function_wrapper("pika.channel", "Channel.basic_get", around("below"))
wrapt.wrap_function_wrapper(BLOCKING, "BlockingChannel.basic_consume", around("above"))
def init(wrapped, instance, args, kwargs):
    wrapped(*args, **kwargs)
    impl = instance._impl
    if hasattr(impl.basic_consume, "__wrapped__"):
        impl.basic_consume = impl.basic_consume.__wrapped__
wrapt.wrap_function_wrapper(BLOCKING, "BlockingChannel.__init__", init)
connection = connect()
channel = connection.channel()
queue = channel.queue_declare("", exclusive=True).method.queue
channel.basic_publish("", queue, b"x")
channel.basic_consume(queue, lambda *message: note("callback", message[3]), auto_ack=True)
while not any(what[0] == "callback" for what in noted):
    connection.process_data_events(1)
channel.basic_get(queue)
for message in channel.consume(queue, inactivity_timeout=0.01):
    note("generator", message)
    break
show()
connection.close()
""",
        broker_url,
    )


def test_an_agent_that_swallows_errors_inside_hides_no_message_that_was_not_sent(broker_url: str) -> None:
    same_on_both(
        HABITS
        + """
publish = Channel.basic_publish
def traced(self, *args, **kwargs):
    try:
        return publish(self, *args, **kwargs)
    except Exception as error:
        note("swallowed", type(error).__name__)
Channel.basic_publish = traced
connection = connect()
channel = connection.channel()
channel.confirm_delivery()
tell("unroutable", channel.basic_publish, "", "{name}-nobody", b"m", mandatory=True)
full = {"x-max-length": 0, "x-overflow": "reject-publish"}
queue = channel.queue_declare("{name}", arguments=full).method.queue
tell("refused", channel.basic_publish, "", queue, b"m")
channel.queue_delete(queue)
channel.close()
tell("closed channel", channel.basic_publish, "", queue, b"m")
show()
connection.close()
""",
        broker_url,
    )


def test_an_agent_finds_host_and_port_from_a_channel(broker_url: str) -> None:
    same_on_both(
        HABITS
        + """
def where(channel):
    connection = channel.connection
    if not hasattr(connection, "params") and hasattr(connection, "_impl"):
        connection = connection._impl
    return connection.params.host, connection.params.virtual_host
publish = Channel.basic_publish
def traced(self, *args, **kwargs):
    note(where(self), isinstance(self, Channel), self.channel_number)
    return publish(self, *args, **kwargs)
Channel.basic_publish = traced
connection = connect()
channel = connection.channel()
channel.basic_publish("", "{name}", b"m")
note(where(channel), isinstance(channel._impl, Channel), channel._impl.connection is connection._impl)
show()
connection.close()
""",
        broker_url,
    )
