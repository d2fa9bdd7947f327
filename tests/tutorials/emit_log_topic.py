"""Tutorial 5, topics: sends a log line with a facility and a severity."""

import os
import sys

import pika

parameters = pika.ConnectionParameters(host="localhost")
if "TUTORIAL_URL" in os.environ:
    parameters = pika.URLParameters(os.environ["TUTORIAL_URL"])
exchange = os.environ.get("TUTORIAL_PREFIX", "") + "topic_logs"

connection = pika.BlockingConnection(parameters)
channel = connection.channel()

channel.exchange_declare(exchange=exchange, exchange_type="topic")

routing_key = sys.argv[1] if len(sys.argv) > 2 else "anonymous.info"
message = " ".join(sys.argv[2:]) or "Hello World!"
channel.basic_publish(exchange=exchange, routing_key=routing_key, body=message)
print(f" [x] Sent {routing_key}:{message}")
connection.close()
