"""Certificates of the tests' own: an authority, a server for localhost, a client; and a stranger's
authority.
"""

from __future__ import annotations

import ssl
from pathlib import Path

CLIENT_NAME = (
    "cpika-client"  # common name of the client's certificate; the broker's EXTERNAL takes it as the user
)


class Certificates:
    """PEM files in `folder`."""

    def __init__(self, folder: Path) -> None:
        import trustme  # with all of cryptography: most who import this module make none

        authority = trustme.CA(organization_name="cpika tests")
        server = authority.issue_cert("localhost", "127.0.0.1", "::1", common_name="localhost")
        client = authority.issue_cert("client@cpika.test", common_name=CLIENT_NAME)
        self.authority = self._write(folder / "ca.pem", authority.cert_pem.bytes())
        self.server_cert = self._write(folder / "server.pem", server.cert_chain_pems[0].bytes())
        self.server_key = self._write(folder / "server.key", server.private_key_pem.bytes())
        self.client_cert = self._write(folder / "client.pem", client.cert_chain_pems[0].bytes())
        self.client_key = self._write(folder / "client.key", client.private_key_pem.bytes())
        self.stranger = self._write(folder / "stranger.pem", trustme.CA().cert_pem.bytes())

    @staticmethod
    def _write(path: Path, data: bytes) -> str:
        path.write_bytes(data)
        return str(path)

    def client_context(
        self, *, authority: str | None = None, with_certificate: bool = False
    ) -> ssl.SSLContext:
        """A client's context that trusts `authority` (the tests' own where None)."""
        context = ssl.create_default_context(cafile=authority or self.authority)
        if with_certificate:
            context.load_cert_chain(self.client_cert, self.client_key)
        return context

    def broker_config(self) -> dict[str, str]:
        """Lines of rabbitmq.conf: TLS, client certificates welcome but not demanded, EXTERNAL by common
        name.
        """
        return {
            "ssl_options.cacertfile": self.authority,
            "ssl_options.certfile": self.server_cert,
            "ssl_options.keyfile": self.server_key,
            "ssl_options.verify": "verify_peer",
            "ssl_options.fail_if_no_peer_cert": "false",
            "ssl_cert_login_from": "common_name",
            "auth_mechanisms.1": "PLAIN",
            "auth_mechanisms.2": "EXTERNAL",
        }
