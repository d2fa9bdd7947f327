"""An asynchronous consumer: an exchange, a queue bound to it, a prefetch, acknowledgements by hand."""

import functools
import os
import sys

import pika


class Consumer:
    """Receives two messages on the loop that is named, and ends in order."""

    def __init__(self, kind):
        self.kind = kind
        self.prefix = os.environ.get("TUTORIAL_PREFIX", "")
        self.exchange, self.queue = self.prefix + "async", self.prefix + "async"
        self.received = 0
        self.tag = None
        self.connection = self.connect()

    def connect(self):
        parameters = pika.ConnectionParameters(host="localhost")
        if "TUTORIAL_URL" in os.environ:
            parameters = pika.URLParameters(os.environ["TUTORIAL_URL"])
        return connection_class(self.kind)(
            parameters,
            on_open_callback=self.on_open,
            on_open_error_callback=self.on_open_error,
            on_close_callback=self.on_close,
        )

    def on_open_error(self, connection, error):
        print(f" [!] Connection open failed: {error!r}")
        stop(self.kind, connection)

    def on_close(self, connection, reason):
        print(f" [*] Connection closed: {reason.reply_code}")
        stop(self.kind, connection)

    def on_open(self, connection):
        connection.channel(on_open_callback=self.on_channel_open)

    def on_channel_open(self, channel):
        self.channel = channel
        channel.add_on_close_callback(self.on_channel_close)
        declared = functools.partial(self.on_exchange_declared, userdata=self.exchange)
        channel.exchange_declare(exchange=self.exchange, exchange_type="topic", callback=declared)

    def on_channel_close(self, channel, reason):
        print(f" [*] Channel {int(channel)} closed: {reason.reply_code}")
        if not (self.connection.is_closing or self.connection.is_closed):
            self.connection.close()

    def on_exchange_declared(self, frame, userdata):
        print(f" [*] {type(frame.method).__name__} {userdata[len(self.prefix) :]}")
        self.channel.queue_declare(queue=self.queue, callback=self.on_queue_declared)

    def on_queue_declared(self, frame):
        self.channel.queue_bind(self.queue, self.exchange, routing_key="example.#", callback=self.on_bound)

    def on_bound(self, frame):
        self.channel.basic_qos(prefetch_count=1, callback=self.on_qos)

    def on_qos(self, frame):
        self.channel.add_on_cancel_callback(lambda frame: print(" [!] Cancelled by the broker"))
        self.tag = self.channel.basic_consume(self.queue, self.on_message, callback=self.on_consuming)

    def on_consuming(self, frame):
        print(" [*] Waiting for messages. To exit press CTRL+C", flush=True)

    def on_message(self, channel, method, properties, body):
        print(f" [x] {method.delivery_tag} {method.routing_key} {properties.app_id}: {body}")
        channel.basic_ack(method.delivery_tag)
        self.received += 1
        if self.received == 2:
            channel.basic_cancel(self.tag, callback=self.on_cancelled)

    def on_cancelled(self, frame):
        self.channel.queue_delete(self.queue, callback=lambda frame: self.on_deleted())

    def on_deleted(self):
        self.channel.exchange_delete(self.exchange, callback=lambda frame: self.channel.close())


def connection_class(kind):
    """The adapter of a loop."""
    if kind == "select":
        return pika.SelectConnection
    if kind == "asyncio":
        from pika.adapters.asyncio_connection import AsyncioConnection

        return AsyncioConnection
    if kind == "tornado":
        from pika.adapters.tornado_connection import TornadoConnection

        return TornadoConnection
    from pika.adapters.gevent_connection import GeventConnection

    return GeventConnection


def run(kind, connection):
    """Runs the loop until `stop`."""
    if kind == "asyncio":
        connection.ioloop.run_forever()
    else:
        connection.ioloop.start()


def stop(kind, connection):
    """Ends the loop."""
    connection.ioloop.stop()


if __name__ == "__main__":
    consumer = Consumer(sys.argv[1])
    run(sys.argv[1], consumer.connection)
