"""Tutorial 3, publish/subscribe: prints every log line, from a queue that lives as long as it does."""

import os

import pika

parameters = pika.ConnectionParameters(host="localhost")
if "TUTORIAL_URL" in os.environ:
    parameters = pika.URLParameters(os.environ["TUTORIAL_URL"])
exchange = os.environ.get("TUTORIAL_PREFIX", "") + "logs"

connection = pika.BlockingConnection(parameters)
channel = connection.channel()

channel.exchange_declare(exchange=exchange, exchange_type="fanout")

result = channel.queue_declare(queue="", exclusive=True)
queue_name = result.method.queue

channel.queue_bind(exchange=exchange, queue=queue_name)

print(" [*] Waiting for logs. To exit press CTRL+C")


def callback(ch, method, properties, body):
    print(f" [x] {body}")


channel.basic_consume(queue=queue_name, on_message_callback=callback, auto_ack=True)

channel.start_consuming()
