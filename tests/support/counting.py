"""How much a piece of code asks of the servers: requests to Cassandra, statements to Postgres."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from cassandra.connection import Connection
from cassandra.protocol import ExecuteMessage, PrepareMessage, QueryMessage


@dataclass
class RequestCounts:
    """How many were sent to each."""

    cassandra: int = 0
    postgres: int = 0


@contextmanager
def counted() -> Iterator[RequestCounts]:
    """Count what this process sends during the block, with the driver's own queries after a connect.

    Left out: heartbeats, and what the control connection of an older session sends, at times of the driver's choice.
    """
    asked, send, execute, begin = RequestCounts(), Connection.send_msg, psycopg.Cursor.execute, Connection.__init__
    begun: list[Connection] = []
    others = set(threading.enumerate()) - {threading.current_thread()}  # a store's heartbeat, which may come at any time

    def beginning(self: Any, *given: Any, **more: Any) -> None:
        begun.append(self)
        begin(self, *given, **more)

    def sending(self: Any, message: Any, *rest: Any, **more: Any) -> Any:
        if not self.is_control_connection or any(self is known for known in begun):
            asked.cassandra += isinstance(message, QueryMessage | PrepareMessage | ExecuteMessage)
        return send(self, message, *rest, **more)

    def executing(self: Any, *given: Any, **more: Any) -> Any:
        asked.postgres += threading.current_thread() not in others
        return execute(self, *given, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Connection, "__init__", beginning)
        patch.setattr(Connection, "send_msg", sending)
        patch.setattr(psycopg.Cursor, "execute", executing)
        yield asked
