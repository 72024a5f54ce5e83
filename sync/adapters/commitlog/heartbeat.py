"""A write of our own, once a second. Whatever the node put into its log before it has been read when it is read.

A look at the file proves less: with `commitlog_sync: periodic` it lags, a node may be hung or down, and the folder may be
another node's. It deletes one partition that nobody has, the same one each time: its key is random from the ninth byte on.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from cassandra import ConsistencyLevel
from cassandra.cluster import Session
from cassandra.pool import Host
from cassandra.query import SimpleStatement

from sync.adapters.cassandra.connection.connect import WRITE_PROFILE
from sync.adapters.cassandra.connection.pages import quoted
from sync.core.capture.commitlog.mutations import Update
from sync.core.rows import SourceTable, has_counters
from sync.errors import PreflightError

MAGIC = b"sync\xb7\xa0\x40\x17"
"""With which the keys of all heartbeats begin, of every node."""
_TEXT_MAGIC = b"sync-heartbeat-"
_SECONDS = 1.0
_LOST_SECONDS = 30.0
_DRAWS = 20_000
_TYPES = ("uuid", "text", "ascii", "blob")


def heartbeat_table(tables: Iterable[SourceTable]) -> SourceTable:
    """A table in which a partition can be deleted that nobody has. Raises PreflightError, which says what to make."""
    listed = list(tables)
    for table in listed:
        keys = [column for column in table.columns if column.kind == "partition_key"]
        if len(keys) == 1 and keys[0].type.name in _TYPES and not has_counters(table) and not table.is_collection:
            return table
    keyspace = listed[0].keyspace if listed else "ks"
    raise PreflightError(
        "no table has a partition key of one column of the type uuid, text or blob, in which a heartbeat can be written; "
        f"make one: CREATE TABLE {quoted(keyspace)}.sync_heartbeat (id uuid PRIMARY KEY) WITH cdc = true"
    )


class Heartbeat:
    """Sends deletes through a node of which it is a replica, and knows them again in its log."""

    def __init__(self, session: Session, host: Host, table: SourceTable) -> None:
        self._session, self._host = session, host
        self._column = next(column for column in table.columns if column.kind == "partition_key")
        self.keyspace, self.name = table.keyspace, table.name
        self._key = b""
        self._sent: dict[int, float] = {}
        self._last_sent = self._seen = 0.0
        self.trouble = ""
        """Why the last one was refused; empty if it was not."""

    def beat(self) -> None:
        """Send one if it is time, and wait for nothing."""
        now = time.time()
        if 0 <= now - self._last_sent < _SECONDS:
            return
        if not self._key or now - self._seen > _LOST_SECONDS:  # nodes may have joined: the key may be others' now
            self._key, self._seen = self._draw(), now
        self._last_sent = now
        stamp = time.time_ns() // 1000
        self._sent = {at: when for at, when in self._sent.items() if now - when < 600}
        self._sent[stamp] = now
        delete = f"DELETE FROM {quoted(self.keyspace)}.{quoted(self.name)} USING TIMESTAMP {stamp} WHERE "
        statement = SimpleStatement(f"{delete}{quoted(self._column.name)} = {_literal(self._column.type.name, self._key)}")
        statement.consistency_level = ConsistencyLevel.ONE  # it is looked for in the log of this node
        future = self._session.execute_async(statement, host=self._host, execution_profile=WRITE_PROFILE)
        future.add_callbacks(self._answered, self._refused)

    def is_one(self, update: Update) -> bool:
        """Whether an update is a heartbeat, of whichever node."""
        return update.key.startswith((MAGIC, _TEXT_MAGIC)) and not update.rows

    def sent_at(self, update: Update) -> float | None:
        """When a heartbeat of ours was sent, in seconds since 1970; None if it is another's, or forgotten."""
        if update.key != self._key or update.whole is None:
            return None
        self._seen = time.time()
        return self._sent.get(update.whole)

    def _draw(self) -> bytes:
        for _ in range(_DRAWS):
            key = _random_key(self._column.type.name)
            if self._host in self._session.cluster.metadata.get_replicas(self.keyspace, key):
                return key
        raise PreflightError(f"the node {self._host.address} holds nothing of the keyspace {self.keyspace}: state its --node")

    def _answered(self, _: Any) -> None:
        self.trouble = ""

    def _refused(self, error: Exception) -> None:
        self.trouble = " ".join(str(error).split()) or type(error).__name__


def _random_key(cql: str) -> bytes:
    if cql in ("text", "ascii"):
        return _TEXT_MAGIC + secrets.token_hex(16).encode()
    return MAGIC + secrets.token_bytes(8)


def _literal(cql: str, key: bytes) -> str:
    if cql == "uuid":
        return str(UUID(bytes=key))
    return f"0x{key.hex()}" if cql == "blob" else f"'{key.decode()}'"
