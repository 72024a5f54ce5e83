"""What a feed tells of a partition concerns the table of its static columns, too."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from sync.adapters.postgres.capture.announced import TableKeys, announcement
from sync.core.capture.changes import ChangedKey


def keys(name: str, width: int) -> TableKeys:
    """Keys of a table whose partition key has one column."""
    source = SimpleNamespace(partition_key=("p",), primary_key=("p", "c")[:width])
    encoder = SimpleNamespace(canonical_key=b"/".join)
    return TableKeys(cast(Any, SimpleNamespace(name=name, source=source)), cast(Any, encoder), lambda _: 7)


TABLES = {"albums": keys("albums", 2), "albums.static": keys("albums.static", 1), "songs": keys("songs", 2)}


def told(table: str, clustering: tuple[bytes, ...] | None, tables: dict[str, TableKeys] = TABLES) -> tuple[Any, Any, int]:
    made = announcement([ChangedKey(table, (b"a",), clustering, 5, 100.0)], tables, 100.0, 10.0)
    return list(made.keys.found), list(made.partitions.found), made.unmapped


def test_a_partition_s_change_rechecks_its_static_row() -> None:
    """Would break: a client changes a static column, or deletes a partition, and its row in Postgres stays as it was."""
    assert told("albums", None) == ([("albums.static", b"a")], [("albums", b"a")], 0)
    assert told("albums", (b"1",)) == ([("albums", b"a/1")], [], 0)
    assert told("songs", None) == ([], [("songs", b"a")], 0)


def test_a_table_may_be_migrated_for_its_static_columns_alone() -> None:
    """Would break: its events are counted as those of a table that nobody migrates."""
    alone = {"albums.static": TABLES["albums.static"]}
    assert told("albums", None, alone) == ([("albums.static", b"a")], [], 0)
    assert told("albums", (b"1",), alone) == ([], [], 1)
