"""What dramatiq's tests import and its sdist leaves out: where the broker is, and who may use it."""

import pika
import pytest

RABBITMQ_USERNAME = RABBITMQ_PASSWORD = "guest"
RABBITMQ_CREDENTIALS = pika.PlainCredentials(RABBITMQ_USERNAME, RABBITMQ_PASSWORD)

skip_unless_rabbit_mq = pytest.mark.filterwarnings("default")
"""Marks a test that wants a broker: there is one."""
