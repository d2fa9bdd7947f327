"""An asynchronous publisher: confirms, counted in a callback each; a message every few milliseconds."""

import os
import sys

import pika
from async_receive import connection_class, run, stop


class Publisher:
    """Publishes two messages on the loop that is named, and ends when both are confirmed."""

    def __init__(self, kind):
        self.kind = kind
        self.exchange = os.environ.get("TUTORIAL_PREFIX", "") + "async"
        self.acked = self.nacked = self.number = 0
        self.waiting = set()
        parameters = pika.ConnectionParameters(host="localhost")
        if "TUTORIAL_URL" in os.environ:
            parameters = pika.URLParameters(os.environ["TUTORIAL_URL"])
        self.connection = connection_class(kind)(
            parameters, on_open_callback=self.on_open, on_close_callback=self.on_close
        )

    def on_open(self, connection):
        connection.channel(on_open_callback=self.on_channel_open)

    def on_close(self, connection, reason):
        print(f" [*] {self.number} published, {self.acked} acked, {self.nacked} nacked, {reason.reply_code}")
        stop(self.kind, connection)

    def on_channel_open(self, channel):
        self.channel = channel
        channel.exchange_declare(
            exchange=self.exchange, exchange_type="topic", callback=lambda frame: self.begin()
        )

    def begin(self):
        self.channel.confirm_delivery(self.on_confirm)
        self.publish()

    def publish(self):
        self.number += 1
        self.waiting.add(self.number)
        properties = pika.BasicProperties(app_id="example", content_type="application/json")
        self.channel.basic_publish(self.exchange, "example.text", f'"{self.number}"', properties)
        if self.number < 2:
            self.connection._adapter_call_later(0.01, self.publish)

    def on_confirm(self, frame):
        kind, tag = frame.method.NAME.split(".")[1].lower(), frame.method.delivery_tag
        settled = {number for number in self.waiting if number <= tag} if frame.method.multiple else {tag}
        self.waiting -= settled
        self.acked += len(settled) if kind == "ack" else 0
        self.nacked += len(settled) if kind == "nack" else 0
        if self.acked + self.nacked == 2:
            self.connection.close()


if __name__ == "__main__":
    publisher = Publisher(sys.argv[1])
    run(sys.argv[1], publisher.connection)
