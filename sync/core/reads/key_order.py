"""A table's key: which columns make the partition, and the order of the rows within one, as Cassandra keeps them.

Postgres's primary key says neither, so a comment on it does, from the migration on (`Cassandra key: …`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from sync.core.rows import SourceTable, TableMap, TableOptions

_PREFIX = "Cassandra key: "


@dataclass(frozen=True, slots=True)
class KeyColumn:
    """A key column: its name, the name of its CQL type (`text`, `timeuuid`), and whether its order is descending."""

    name: str
    type: str
    descending: bool = False


@dataclass(frozen=True, slots=True)
class KeyOrder:
    """The columns of a table's key: those of the partition, then those that order the rows within it."""

    partition: tuple[KeyColumn, ...]
    clustering: tuple[KeyColumn, ...]

    @property
    def columns(self) -> tuple[KeyColumn, ...]:
        """All of them, in key order."""
        return self.partition + self.clustering


def source_key_order(table: SourceTable, options: TableOptions | None = None) -> KeyOrder:
    """The key of a source table; with the target's names if its options are given."""
    columns = [KeyColumn(options.target_name(c) if options else c.name, c.type.name, c.descending) for c in table.primary_key]
    count = len(table.partition_key)
    return KeyOrder(tuple(columns[:count]), tuple(columns[count:]))


def target_key_order(table: TableMap) -> KeyOrder:
    """The same of a mapped table, with the target's names."""
    pairs = [KeyColumn(p.target.name, p.source.type.name, p.source.descending) for p in table.keys]
    count = len(table.source.partition_key)
    return KeyOrder(tuple(pairs[:count]), tuple(pairs[count:]))


def to_comment(order: KeyOrder) -> str:
    """The comment on the target's primary key."""
    shown = {
        "partition": [[c.name, c.type] for c in order.partition],
        "clustering": [[c.name, c.type, "desc" if c.descending else "asc"] for c in order.clustering],
    }
    return _PREFIX + json.dumps(shown, ensure_ascii=False)


def from_comment(text: str | None) -> KeyOrder | None:
    """The order that a comment records; None if it is not one of these comments."""
    if text is None or not text.startswith(_PREFIX):
        return None
    try:
        shown = json.loads(text[len(_PREFIX) :])
        return KeyOrder(
            tuple(KeyColumn(name, kind) for name, kind in shown["partition"]),
            tuple(KeyColumn(name, kind, direction == "desc") for name, kind, direction in shown["clustering"]),
        )
    except (ValueError, KeyError, TypeError):  # somebody has edited it
        return None
