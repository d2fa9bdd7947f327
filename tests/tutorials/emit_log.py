"""Tutorial 3, publish/subscribe: sends a log line to everybody who listens."""

import os
import sys

import pika

parameters = pika.ConnectionParameters(host="localhost")
if "TUTORIAL_URL" in os.environ:
    parameters = pika.URLParameters(os.environ["TUTORIAL_URL"])
exchange = os.environ.get("TUTORIAL_PREFIX", "") + "logs"

connection = pika.BlockingConnection(parameters)
channel = connection.channel()

channel.exchange_declare(exchange=exchange, exchange_type="fanout")

message = " ".join(sys.argv[1:]) or "info: Hello World!"
channel.basic_publish(exchange=exchange, routing_key="", body=message)
print(f" [x] Sent {message}")
connection.close()
