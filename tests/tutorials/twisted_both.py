"""Twisted: a protocol, a queue of messages, a publish with confirms, each message acknowledged."""

import os

import pika
from pika.adapters.twisted_connection import TwistedProtocolConnection
from twisted.internet import defer, endpoints, task


@defer.inlineCallbacks
def main(reactor):
    parameters = pika.ConnectionParameters(host="localhost")
    if "TUTORIAL_URL" in os.environ:
        parameters = pika.URLParameters(os.environ["TUTORIAL_URL"])
    endpoint = endpoints.HostnameEndpoint(reactor, parameters.host, parameters.port)
    connection = yield endpoints.connectProtocol(endpoint, TwistedProtocolConnection(parameters))
    yield connection.ready
    channel = yield connection.channel()
    declared = yield channel.queue_declare("", exclusive=True)
    yield channel.confirm_delivery()
    yield channel.basic_qos(prefetch_count=1)
    messages, _ = yield channel.basic_consume(declared.method.queue)
    for number in range(2):
        yield channel.basic_publish("", declared.method.queue, b"message %d" % number)
        message_channel, method, _, body = yield messages.get()
        print(f" [x] {method.delivery_tag}: {body}")
        yield message_channel.basic_ack(method.delivery_tag)
    yield connection.close()
    print(" [*] Closed")


task.react(main)
