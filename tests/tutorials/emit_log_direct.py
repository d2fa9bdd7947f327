"""Tutorial 4, routing: sends a log line of one severity."""

import os
import sys

import pika

parameters = pika.ConnectionParameters(host="localhost")
if "TUTORIAL_URL" in os.environ:
    parameters = pika.URLParameters(os.environ["TUTORIAL_URL"])
exchange = os.environ.get("TUTORIAL_PREFIX", "") + "direct_logs"

connection = pika.BlockingConnection(parameters)
channel = connection.channel()

channel.exchange_declare(exchange=exchange, exchange_type="direct")

severity = sys.argv[1] if len(sys.argv) > 1 else "info"
message = " ".join(sys.argv[2:]) or "Hello World!"
channel.basic_publish(exchange=exchange, routing_key=severity, body=message)
print(f" [x] Sent {severity}:{message}")
connection.close()
