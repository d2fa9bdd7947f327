"""Brokers for the tests, started when the first test asks and ended with the session."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

import broker

from .certs import CLIENT_NAME, Certificates

LocalNode = broker.LocalNode
cluster = broker.cluster


def tls_broker(certificates: Certificates) -> LocalNode:
    """A node (not yet started) that speaks TLS and knows the client's certificate as a user (see
    `allow_client`).
    """
    return LocalNode(plugins=["rabbitmq_auth_mechanism_ssl"], config=certificates.broker_config())


def allow_client(node: LocalNode) -> None:
    """Makes the user that the client's certificate names, with all permissions."""
    user = f'<<"{CLIENT_NAME}">>'
    node.eval(
        f'ok = rabbit_auth_backend_internal:add_user({user}, <<"no-password">>, <<"tests">>), '
        f'ok = rabbit_auth_backend_internal:set_permissions({user}, <<"/">>, '
        f'<<".*">>, <<".*">>, <<".*">>, <<"tests">>).'
    )
