"""REDIS_URL and TLS: each mistake gets one line that names it and holds no secret."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer
from threading import Thread

import pytest
from support.places import Certificates

from sync.adapters.queue import redis_connection
from sync.errors import SettingsError, Unreachable
from sync.local import ValkeyServer
from sync.settings import Settings

pytest_plugins = ("support.fixtures",)


def said(url: str) -> str:
    with pytest.raises((SettingsError, Unreachable)) as caught:
        redis_connection(Settings(_env_file=None, redis_url=url))
    text = str(caught.value)
    assert "\n" not in text and "ter2" not in text
    return text


class TlsRedis:
    """A real server behind TLS, like a managed one that accepts nothing else."""

    def __init__(self, port: int, certificate: Path, key: Path) -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)

        class Answer(BaseRequestHandler):
            def handle(self) -> None:
                try:
                    with (
                        context.wrap_socket(self.request, server_side=True) as client,
                        socket.create_connection(("127.0.0.1", port)) as server,
                    ):
                        while asked := client.recv(1 << 16):  # one command at a time is on its way
                            server.sendall(asked)
                            client.sendall(server.recv(1 << 16))
                except (ssl.SSLError, ConnectionError):
                    return  # the client speaks no TLS, or does not trust us

        self._server = ThreadingTCPServer(("127.0.0.1", 0), Answer)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])

    def __enter__(self) -> TlsRedis:
        Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def secure(certificates: Certificates, valkey: ValkeyServer) -> Iterator[int]:
    with TlsRedis(valkey.port, certificates.server, certificates.key) as server:
        yield server.port


@pytest.mark.parametrize(
    "url",
    [
        "redis://:/hunter2@h:6379/0", "redis://user:hun/ter2@h:6379", "redis://:12/ter2@h:6379", "redis://:1#ter2@h:6379",
        "redis://:?ter2@h:6379", "http://:hunter2@h", "redis://:hunter2@h:port",
    ],
)  # fmt: skip
def test_a_password_that_is_not_written_for_a_url(url: str) -> None:
    """Would break: the error is about localhost:6379, where nobody meant to connect."""
    assert said(url).startswith("REDIS_URL: it is not a Redis URL; it must look like redis://user:password@host:port/0")


def test_tls_that_does_not_fit_says_tls(secure: int, valkey: ValkeyServer, certificates: Certificates) -> None:
    """Would break: the error is "Connection closed by server", or OpenSSL's own."""
    assert said(f"redis://127.0.0.1:{secure}/0").endswith(
        "it closed the connection; if it requires TLS, write rediss:// in REDIS_URL"
    )
    assert said(f"rediss://127.0.0.1:{valkey.port}/0").endswith(
        "if it does not speak TLS, write redis://, not rediss://, in REDIS_URL"
    )
    private = "its TLS certificate is not trusted; add ?ssl_ca_certs=/path/ca.pem to REDIS_URL"
    assert private in said(f"rediss://127.0.0.1:{secure}/0")
    assert private in said(f"rediss://127.0.0.1:{secure}/0?ssl_ca_certs={certificates.stranger}")
    assert "ssl_ca_certs in REDIS_URL does not exist" in said(f"rediss://127.0.0.1:{secure}/0?ssl_ca_certs=/nowhere/ca.pem")


def test_a_private_authority(secure: int, valkey: ValkeyServer, certificates: Certificates) -> None:
    """As docs/operations.md describes it."""
    url = f"rediss://:{valkey.password}@127.0.0.1:{secure}/0?ssl_ca_certs={certificates.root}"
    assert redis_connection(Settings(_env_file=None, redis_url=url)).ping() is True


def test_a_certificate_of_another_host(certificates: Certificates, valkey: ValkeyServer) -> None:
    with TlsRedis(valkey.port, certificates.elsewhere, certificates.elsewhere_key) as server:
        url = f"rediss://127.0.0.1:{server.port}/0?ssl_ca_certs={certificates.root}"
        assert said(url).endswith("its TLS certificate is for another host name; connect by the name in the certificate")
