"""The fixtures of django-rmq's tests, which its sdist leaves out."""

from unittest.mock import create_autospec

import pytest
from django.apps import apps
from pika import BlockingConnection
from pika.adapters.blocking_connection import BlockingChannel

from tests.settings import RABBITMQ_CONNECTIONS

DEFAULT_ALIAS_PARAMS = RABBITMQ_CONNECTIONS["default"]
SECOND_ALIAS_PARAMS = {**DEFAULT_ALIAS_PARAMS, "VIRTUAL_HOST": "second"}


@pytest.fixture
def mock_channel():
    """A channel that takes the arguments that the library's own channel takes."""
    channel = create_autospec(BlockingChannel, instance=True)
    channel.is_open, channel.is_closed = True, False
    return channel


@pytest.fixture
def mock_connection(mock_channel):
    """A connection whose channels are `mock_channel`."""
    connection = create_autospec(BlockingConnection, instance=True)
    connection.is_open, connection.is_closed = True, False
    connection.channel.return_value = mock_channel
    return connection


@pytest.fixture
def configure_rmq(settings):
    """Makes the library's managers and registries anew, for the connections that are given."""

    def configure(connections):
        settings.RABBITMQ_CONNECTIONS = connections
        apps.get_app_config("django_rmq").ready()

    return configure


@pytest.fixture(autouse=True)
def anew(configure_rmq):
    """No test sees what another one has registered."""
    configure_rmq(RABBITMQ_CONNECTIONS)
