"""Tutorial 1, "Hello World!": prints what comes to a named queue."""

import os
import sys

import pika


def main():
    parameters = pika.ConnectionParameters(host="localhost")
    if "TUTORIAL_URL" in os.environ:
        parameters = pika.URLParameters(os.environ["TUTORIAL_URL"])
    queue = os.environ.get("TUTORIAL_PREFIX", "") + "hello"

    connection = pika.BlockingConnection(parameters)
    channel = connection.channel()

    channel.queue_declare(queue=queue)

    def callback(ch, method, properties, body):
        print(f" [x] Received {body}")

    channel.basic_consume(queue=queue, on_message_callback=callback, auto_ack=True)

    print(" [*] Waiting for messages. To exit press CTRL+C")
    channel.start_consuming()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("Interrupted")
        try:
            sys.exit(0)
        except SystemExit:
            os._exit(0)
