"""A double of what is in front of an Astra database: the metadata service, and the proxy that routes by server name."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import TypeVar

from support.places import Certificates

HOST = "127.0.0.1"
Served = TypeVar("Served", ThreadingTCPServer, ThreadingHTTPServer)


@dataclass
class Astra:
    """The port of the metadata service, and what was asked of it and of the proxy."""

    port: int
    asked: list[str] = field(default_factory=list)
    routed: set[str] = field(default_factory=set)


@contextmanager
def astra(node_port: int, host_id: str, certificates: Certificates) -> Iterator[Astra]:
    """The metadata service and the proxy, in front of one Cassandra node that speaks TLS."""
    found = Astra(0)

    class Proxy(BaseRequestHandler):
        """Forwards TLS unchanged; the name that the client asks for is in its first message."""

        def handle(self) -> None:
            hello = self.request.recv(1 << 16)
            if host_id.encode() not in hello:
                return
            found.routed.add(host_id)
            with socket.create_connection((HOST, node_port)) as node:
                node.sendall(hello)
                back = threading.Thread(target=pump, args=(node, self.request), daemon=True)
                back.start()
                pump(self.request, node)

    class Metadata(BaseHTTPRequestHandler):
        """Says which nodes there are, and where the proxy is."""

        def do_GET(self) -> None:
            found.asked.append(self.path)
            contact = {
                "type": "sni_proxy",
                "local_dc": "datacenter1",
                "sni_proxy_address": f"{HOST}:{proxy.server_address[1]}",
                "contact_points": [host_id],
            }
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"version": 1, "region": "local", "contact_info": contact}).encode())

        def log_message(self, *_: object) -> None:
            pass

    with served(ThreadingTCPServer((HOST, 0), Proxy)) as proxy, served(ThreadingHTTPServer((HOST, 0), Metadata)) as metadata:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(certificates.root))
        context.verify_mode = ssl.CERT_REQUIRED  # as with Astra, only the bundle's own certificate lets a client in
        context.load_cert_chain(certificates.server, certificates.key)
        metadata.socket = context.wrap_socket(metadata.socket, server_side=True)
        found.port = metadata.server_address[1]
        yield found


@contextmanager
def served(server: Served) -> Iterator[Served]:
    """A server that answers during the block, in threads of its own."""
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def pump(source: socket.socket, target: socket.socket) -> None:
    """Forward bytes until either side closes."""
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return


def bundle(
    path: Path, certificates: Certificates, port: int, host: str = HOST, leave_out: str = "", config: str = ""
) -> Path:
    """A secure connect bundle, as Astra's console provides it."""
    right = {"username": "u", "password": "hunter2-in-bundle", "host": host, "port": port, "localDC": "datacenter1"}
    parts = {
        "config.json": config or json.dumps(right),
        "ca.crt": certificates.root.read_text(),
        "cert": certificates.server.read_text(),
        "key": certificates.key.read_text(),
    }
    with zipfile.ZipFile(path, "w") as file:
        for name, text in parts.items():
            if name != leave_out:
                file.writestr(name, text)
    return path
