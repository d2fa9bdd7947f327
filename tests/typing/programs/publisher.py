"""A publisher: confirms, what comes back, properties from another message, an RPC client, a transaction."""

from __future__ import annotations

import json
import ssl
import time
import uuid
from types import TracebackType
from typing import Any, Iterator, Optional, Type

import pika
from pika.adapters.blocking_connection import BlockingChannel, ReturnedMessage
from pika.delivery_mode import DeliveryMode
from pika.exceptions import AMQPConnectionError, ChannelClosedByBroker, NackError, UnroutableError
from pika.spec import PERSISTENT_DELIVERY_MODE, Basic, BasicProperties, Queue


class Publisher:
    def __init__(self, host: str, context: Optional[ssl.SSLContext] = None) -> None:
        options = pika.SSLOptions(context, host) if context is not None else None
        self._connection = pika.BlockingConnection(
            pika.ConnectionParameters(host=host, ssl_options=options, heartbeat=30)
        )
        self._channel: BlockingChannel = self._connection.channel()
        self._channel.confirm_delivery()
        self._channel.add_on_return_callback(self._on_return)
        self.returned: list[bytes] = []

    def __enter__(self) -> Publisher:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        value: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self._connection.close()

    def _on_return(
        self, channel: BlockingChannel, method: Basic.Return, properties: BasicProperties, body: bytes
    ) -> None:
        self.returned.append(body)

    def publish(self, routing_key: str, payload: object) -> bool:
        properties = BasicProperties(
            content_type="application/json",
            content_encoding="utf-8",
            headers={"attempt": 1, "tags": ["a", "b"], "nested": {"x": None}},
            delivery_mode=DeliveryMode.Persistent,
            message_id=str(uuid.uuid4()),
            timestamp=int(time.time()),
        )
        properties.expiration = "60000"
        properties.delivery_mode = PERSISTENT_DELIVERY_MODE
        try:
            self._channel.basic_publish(
                exchange="",
                routing_key=routing_key,
                body=json.dumps(payload).encode(),
                properties=properties,
                mandatory=True,
            )
        except UnroutableError as error:
            self.returned.extend(self.bodies(error.messages))
            return False
        except (NackError, ChannelClosedByBroker, AMQPConnectionError):
            return False
        return True

    @staticmethod
    def bodies(messages: Any) -> Iterator[bytes]:
        message: ReturnedMessage
        for message in messages:
            yield message.body

    def call(self, queue: str, request: bytes) -> Optional[bytes]:
        answer: Optional[bytes] = None
        token = str(uuid.uuid4())
        declared: Queue.DeclareOk = self._channel.queue_declare(queue="", exclusive=True).method

        def on_answer(
            channel: BlockingChannel, method: Basic.Deliver, properties: BasicProperties, body: bytes
        ) -> None:
            nonlocal answer
            if properties.correlation_id == token:
                answer = body

        self._channel.basic_consume(declared.queue, on_answer, auto_ack=True)
        self._channel.basic_publish(
            "", queue, request, BasicProperties(reply_to=declared.queue, correlation_id=token)
        )
        while answer is None:
            self._connection.process_data_events(time_limit=1)
        return answer

    def get_all(self, queue: str) -> Iterator[bytes]:
        while True:
            method, _properties, body = self._channel.basic_get(queue=queue, auto_ack=False)
            if method is None or body is None:
                return
            yield body
            self._channel.basic_ack(method.delivery_tag or 0)
