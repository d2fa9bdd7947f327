"""The fixtures of dramatiq's tests of its RabbitMQ broker, which its sdist leaves out."""

import dramatiq
import pytest
from dramatiq.brokers.rabbitmq import RabbitmqBroker

from .common import RABBITMQ_CREDENTIALS

QUEUES = ("default", "some-queue", "flaky_queue", "prioritized")


@pytest.fixture
def rabbitmq_broker():
    """A broker whose queues are new, and which new actors belong to."""
    broker = RabbitmqBroker(
        host="127.0.0.1", max_priority=10, credentials=RABBITMQ_CREDENTIALS, confirm_delivery=True
    )
    for queue in QUEUES:
        for suffix in ("", ".DQ", ".XQ"):
            broker.channel.queue_delete(queue + suffix)
    dramatiq.set_broker(broker)
    yield broker
    broker.close()


@pytest.fixture
def rabbitmq_worker(rabbitmq_broker):
    """A worker that runs the broker's actors, as soon as the test has declared them."""
    worker = dramatiq.Worker(rabbitmq_broker, worker_threads=32)
    worker.start()
    yield worker
    worker.stop()
