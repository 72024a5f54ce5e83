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
    """Count what this process sends during the block, the driver's own queries after a connect included, heartbeats not."""
    asked, send, execute = RequestCounts(), Connection.send_msg, psycopg.Cursor.execute
    others = set(threading.enumerate()) - {threading.current_thread()}  # a store's heartbeat, which may come at any time

    def sending(self: Any, message: Any, *rest: Any, **more: Any) -> Any:
        asked.cassandra += isinstance(message, QueryMessage | PrepareMessage | ExecuteMessage)
        return send(self, message, *rest, **more)

    def executing(self: Any, *given: Any, **more: Any) -> Any:
        asked.postgres += threading.current_thread() not in others
        return execute(self, *given, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Connection, "send_msg", sending)
        patch.setattr(psycopg.Cursor, "execute", executing)
        yield asked
