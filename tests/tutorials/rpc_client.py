"""Tutorial 6, remote procedure call: asks for a Fibonacci number and waits for the answer."""

import os
import sys
import uuid

import pika


class FibonacciRpcClient:
    def __init__(self):
        parameters = pika.ConnectionParameters(host="localhost")
        if "TUTORIAL_URL" in os.environ:
            parameters = pika.URLParameters(os.environ["TUTORIAL_URL"])
        self.server_queue = os.environ.get("TUTORIAL_PREFIX", "") + "rpc_queue"

        self.connection = pika.BlockingConnection(parameters)

        self.channel = self.connection.channel()

        result = self.channel.queue_declare(queue="", exclusive=True)
        self.callback_queue = result.method.queue

        self.channel.basic_consume(
            queue=self.callback_queue, on_message_callback=self.on_response, auto_ack=True
        )

        self.response = None
        self.corr_id = None

    def on_response(self, ch, method, props, body):
        if self.corr_id == props.correlation_id:
            self.response = body

    def call(self, n):
        self.response = None
        self.corr_id = str(uuid.uuid4())
        self.channel.basic_publish(
            exchange="",
            routing_key=self.server_queue,
            properties=pika.BasicProperties(reply_to=self.callback_queue, correlation_id=self.corr_id),
            body=str(n),
        )
        while self.response is None:
            self.connection.process_data_events(time_limit=None)
        return int(self.response)


n = int(sys.argv[1]) if len(sys.argv) > 1 else 30
fibonacci_rpc = FibonacciRpcClient()

print(f" [x] Requesting fib({n})")
response = fibonacci_rpc.call(n)
print(f" [.] Got {response}")
