"""What the reader has to know of a table: a row in the log has no length, so its columns' types say where it ends."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

VARIABLE, COMPLEX, UNKNOWN = -1, -2, -3
"""Instead of a length: a value with its length before it; the cells of a collection or UDT; a value that cannot be read."""
_FIXED = {
    "boolean": 1, "int": 4, "bigint": 8, "float": 4, "double": 8, "timestamp": 8, "uuid": 16, "timeuuid": 16,
}  # fmt: skip
_VARIABLE = frozenset({
    "ascii", "text", "varchar", "blob", "varint", "decimal", "inet", "date", "time", "smallint", "tinyint", "duration",
    "counter", "frozen",
})  # fmt: skip
_COMPLEX = frozenset({"list", "set", "map", "tuple"})
"""Not frozen; a tuple is so only among dropped columns: it was a UDT."""
_VECTOR = re.compile(r"vector<\s*(.+?)\s*,\s*(\d+)\s*>")


@dataclass(slots=True)
class LogTable:
    """A table as the log has it. `id`: its 16 bytes. `partition`: the number of partition key columns. `clustering`: a length
    (or VARIABLE, UNKNOWN) for each clustering column. `columns`: the same, or COMPLEX, for each other column, by its name.
    `last`: the list of columns that was read last, in its bytes, and what they mean: mostly it is the next one, too."""

    id: bytes
    keyspace: str
    name: str
    partition: int
    clustering: tuple[int, ...]
    columns: dict[bytes, int]
    last: tuple[bytes, tuple[int, ...]] = (b"\xff", ())


@dataclass(frozen=True, slots=True)
class ColumnRow:
    """A row of `system_schema.columns`, or of `dropped_columns`. `kind`: partition_key, clustering, static, regular."""

    name: str
    kind: str
    position: int
    type: str


def length_of(cql: str, udts: frozenset[str]) -> int:
    """The length of a value of this type in a cell, or VARIABLE, COMPLEX, UNKNOWN. `udts`: names of the keyspace's own."""
    if cql in _FIXED:
        return _FIXED[cql]
    outer = cql.partition("<")[0]
    if outer == "vector":
        return _vector_length(cql, udts)
    if outer in _VARIABLE:
        return VARIABLE
    if outer in _COMPLEX or cql in udts or (cql.startswith('"') and cql[1:-1].replace('""', '"') in udts):
        return COMPLEX
    return UNKNOWN  # a class of Java's, or a type of a later Cassandra


def _vector_length(cql: str, udts: frozenset[str]) -> int:
    found = _VECTOR.fullmatch(cql)
    if not found:
        return UNKNOWN
    element = length_of(found[1], udts)
    return element * int(found[2]) if element > 0 else VARIABLE


def log_table(
    identity: bytes,
    keyspace: str,
    name: str,
    columns: Iterable[ColumnRow],
    dropped: Iterable[ColumnRow],
    udts: frozenset[str],
) -> LogTable:
    """A table from what `system_schema` holds of it. Of a name that was dropped and came back as something else, nobody can
    tell which of the two a mutation means: it counts as UNKNOWN."""
    by_kind: dict[str, list[ColumnRow]] = {}
    for column in sorted(columns, key=lambda c: c.position):
        by_kind.setdefault(column.kind, []).append(column)
    lengths = {c.name.encode(): length_of(c.type, udts) for kind in ("static", "regular") for c in by_kind.get(kind, ())}
    for column in dropped:
        was = length_of(column.type, udts)
        lengths[column.name.encode()] = was if lengths.get(column.name.encode(), was) == was else UNKNOWN
    clustering = tuple(length_of(c.type, udts) for c in by_kind.get("clustering", ()))
    return LogTable(identity, keyspace, name, len(by_kind.get("partition_key", ())), clustering, lengths)


def partition_cells(table: LogTable, key: bytes) -> tuple[bytes, ...] | None:
    """The raw bytes of each partition key column; None if the key is not one of this table's."""
    if table.partition == 1:
        return (key,)
    cells, at = [], 0
    for _ in range(table.partition):
        length = int.from_bytes(key[at : at + 2], "big")
        cells.append(key[at + 2 : at + 2 + length])
        at += 3 + length
    return tuple(cells) if at == len(key) else None


Tables = Mapping[bytes, LogTable]
"""By id."""
