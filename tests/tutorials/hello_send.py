"""Tutorial 1, "Hello World!": sends one message to a named queue."""

import os

import pika

parameters = pika.ConnectionParameters(host="localhost")
if "TUTORIAL_URL" in os.environ:
    parameters = pika.URLParameters(os.environ["TUTORIAL_URL"])
queue = os.environ.get("TUTORIAL_PREFIX", "") + "hello"

connection = pika.BlockingConnection(parameters)
channel = connection.channel()

channel.queue_declare(queue=queue)

channel.basic_publish(exchange="", routing_key=queue, body="Hello World!")
print(" [x] Sent 'Hello World!'")
connection.close()
