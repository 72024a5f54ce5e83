"""Loads the corpus into a Cassandra as an application would have written it, by prepared inserts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cassandra.cluster import Session
from cassandra.concurrent import execute_concurrent_with_args

from sync.adapters.cassandra.connection.pages import quoted

_CONCURRENCY = 64


def insert_rows(session: Session, keyspace: str, tables: Mapping[str, Sequence[Mapping[str, Any]]]) -> int:
    """Insert the rows of these tables; how many. Raises the driver's first error."""
    count = 0
    for table, rows in tables.items():
        if not rows:
            continue
        names = list(rows[0])
        columns, marks = ", ".join(map(quoted, names)), ", ".join("?" * len(names))
        insert = session.prepare(f"INSERT INTO {quoted(keyspace)}.{quoted(table)} ({columns}) VALUES ({marks})")
        execute_concurrent_with_args(session, insert, [[row[n] for n in names] for row in rows], _CONCURRENCY)
        count += len(rows)
    return count
