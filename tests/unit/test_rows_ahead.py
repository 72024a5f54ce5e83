"""Rows ahead of the clock, as a worker notes them while it copies."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from sync.core.cql import CqlType
from sync.core.rows import ColumnPair, PgType, SourceColumn, SourceTable, TableMap, TargetColumn, TargetTable
from sync.settings import Config
from sync.wiring import write_times
from sync.wiring.write_times import RowsAhead

SOURCE = SourceTable("ks", "songs", (SourceColumn("k", CqlType("uuid"), "partition_key"),))
TARGET = TargetTable("public", "songs", (TargetColumn("k", PgType("uuid")),), ("k",))
TABLE = TableMap(SOURCE, TARGET, tuple(map(ColumnPair, SOURCE.columns, TARGET.columns)))


def test_they_are_noted_some_thousands_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: where every row is ahead, a batch of narrow rows takes hundreds of megabytes, and the worker dies."""
    noted: list[int] = []
    monkeypatch.setattr(write_times.ahead, "note", lambda _connection, _table, keys: noted.append(len(keys)))
    nobody: Any = None
    found = [((UUID(int=number).bytes,), 1) for number in range(12_000)]
    RowsAhead(nobody, nobody, {"songs": TABLE}, Config()).note("songs", found)
    assert noted == [5000, 5000, 2000]
