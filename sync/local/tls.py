"""TLS for the embedded servers: keys in Java's form, and a front for Postgres, whose package is built without OpenSSL."""

from __future__ import annotations

import asyncio
import ssl
import struct
import threading
from collections.abc import Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any

from sync.errors import LocalServerError
from sync.local.ports import LOOPBACK

_SSL_REQUEST, _GSS_REQUEST = 80877103, 80877104
_CHUNK = 1 << 16


def pkcs8(key: Path) -> bytes:
    """The PEM key in `key` as PKCS #8; other forms are converted."""
    pem = key.read_bytes()
    if b"BEGIN PRIVATE KEY" in pem:
        return pem
    try:
        from cryptography.hazmat.primitives import serialization
    except ImportError as error:
        raise LocalServerError(f"the key {key} is not PKCS #8; convert it, or: pip install cryptography") from error
    loaded = serialization.load_pem_private_key(pem, password=None)
    return loaded.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


class TlsFront:
    """Speaks TLS for a Postgres server that cannot, as a hosted Postgres's proxy does; refuses clients without it.

    Lives in this process, as a context manager; `port` is where clients connect.
    """

    def __init__(self, server_port: int, certificate: Path, key: Path) -> None:
        self.port = 0
        self._server_port = server_port
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(certificate, key)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> TlsFront:
        self._thread.start()
        self._listener = self._run(asyncio.start_server(self._serve, LOOPBACK, 0))
        self.port = self._listener.sockets[0].getsockname()[1]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _close(self) -> None:
        self._listener.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server: asyncio.StreamWriter | None = None
        try:
            if not await self._greet(reader, writer):
                return
            answers, server = await asyncio.open_connection(LOOPBACK, self._server_port)
            await asyncio.gather(_pump(reader, server), _pump(answers, writer))
        except (OSError, EOFError):  # either side went away; the other one sees its connection end
            return
        finally:
            writer.close()
            if server is not None:
                server.close()

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer a client's first requests, until TLS is on; False if the client does not want TLS."""
        while True:
            _, code = struct.unpack(">ii", await reader.readexactly(8))
            if code == _SSL_REQUEST:
                writer.write(b"S")
                await writer.drain()
                await writer.start_tls(self._context)
                return True
            if code != _GSS_REQUEST:
                fields = b"SFATAL\0VFATAL\0C28000\0Mconnection is insecure (try using `sslmode=require`)\0\0"
                writer.write(b"E" + struct.pack(">i", len(fields) + 4) + fields)
                await writer.drain()
                return False
            writer.write(b"N")
            await writer.drain()


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """Forward bytes until the source ends, then end the target: neither side waits for the other."""
    while data := await source.read(_CHUNK):
        target.write(data)
        await target.drain()
    target.close()
