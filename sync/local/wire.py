"""Just enough of two wire protocols to ask one question.

The readiness probe runs many times against a server that is not up yet; a driver would start threads, load the schema and
log each refusal.
"""

from __future__ import annotations

import socket
import ssl
import struct
from types import TracebackType

from sync.local.ports import LOOPBACK

_VERSION, QUORUM, ALL = 4, 0x0004, 0x0005
_ERROR, _STARTUP, _READY, _AUTHENTICATE, _QUERY, _RESULT, _AUTH_RESPONSE, _AUTH_SUCCESS = 0, 1, 2, 3, 7, 8, 15, 16


class CqlRefused(Exception):
    """Cassandra answered with an error."""


class CqlLoginRefused(CqlRefused):
    """Cassandra does not know this user, or the password is wrong."""


class CqlConnection:
    """A connection with the CQL native protocol (v4) that can send statements; results are not decoded."""

    def __init__(
        self,
        port: int,
        *,
        host: str = LOOPBACK,
        user: str = "",
        password: str = "",
        tls: ssl.SSLContext | None = None,
        timeout: float = 5.0,
    ) -> None:
        plain = socket.create_connection((host, port), timeout=timeout)
        self._socket = plain if tls is None else tls.wrap_socket(plain, server_hostname="localhost")
        try:
            self._start(user, password)
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> CqlConnection:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._socket.close()

    def _start(self, user: str, password: str) -> None:
        opcode, _ = self._ask(_STARTUP, struct.pack(">H", 1) + _string("CQL_VERSION") + _string("3.0.0"))
        if opcode == _AUTHENTICATE:
            token = f"\0{user}\0{password}".encode()
            opcode, _ = self._ask(_AUTH_RESPONSE, struct.pack(">i", len(token)) + token)
        if opcode not in (_READY, _AUTH_SUCCESS):
            raise CqlRefused(f"unexpected answer {opcode} to the start of the connection")

    def execute(self, statement: str, consistency: int = QUORUM) -> bytes:
        """Run one statement; returns the raw body of the result."""
        text = statement.encode()
        opcode, body = self._ask(_QUERY, struct.pack(">i", len(text)) + text + struct.pack(">HB", consistency, 0))
        if opcode != _RESULT:
            raise CqlRefused(f"unexpected answer {opcode} to a query")
        return body

    def _ask(self, opcode: int, body: bytes) -> tuple[int, bytes]:
        self._socket.sendall(struct.pack(">BBhBi", _VERSION, 0, 0, opcode, len(body)) + body)
        _, _, _, answer, length = struct.unpack(">BBhBi", self._receive(9))
        content = self._receive(length)
        if answer == _ERROR:
            size = struct.unpack(">H", content[4:6])[0]
            said = content[6 : 6 + size].decode(errors="replace")
            raise (CqlLoginRefused if "are incorrect" in said else CqlRefused)(said)
        return answer, content

    def _receive(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = self._socket.recv(count - len(data))
            if not piece:
                raise ConnectionError("the connection was closed")
            data += piece
        return data


def ask_redis(port: int, command: str, password: str = "", timeout: float = 5.0) -> str:
    """The answer to one inline command of the Redis protocol (simple strings and one bulk string), or to a refused AUTH."""
    with socket.create_connection((LOOPBACK, port), timeout=timeout) as connection:
        stream = connection.makefile("rb")
        if password:
            connection.sendall(f"AUTH {password}\r\n".encode())
            if not (refused := stream.readline().decode().rstrip("\r\n")).startswith("+"):
                return refused
        connection.sendall(command.encode() + b"\r\n")
        head = stream.readline().decode().rstrip("\r\n")
        if head.startswith("$"):
            return stream.read(max(int(head[1:]), 0)).decode(errors="replace")
        return head


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack(">H", len(data)) + data
