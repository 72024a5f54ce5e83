"""What the target must hold: made from the generator by a way of its own, and compared with what a peer has loaded."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from pgvector import Vector
from pgvector.psycopg import register_vector
from psycopg import sql
from psycopg.types.json import Jsonb

from benchmarks.dataset import Table
from benchmarks.rows import BLOCK

_1970 = datetime(1970, 1, 1, tzinfo=UTC)
_TYPES = {
    "songs": "uuid text text text text text float8 int4 jsonb timestamptz timestamptz",
    "embeddings": "uuid text vector timestamptz",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a target holds, by key, against what it should."""

    rows: int
    missing: int
    extra: int
    different: int

    @property
    def clean(self) -> bool:
        """Whether the target equals the source."""
        return not (self.missing or self.extra or self.different)

    def __str__(self) -> str:
        if self.clean:
            return f"{self.rows:,} equal"
        return f"{self.rows:,}: {self.missing:,} missing, {self.extra:,} extra, {self.different:,} different"


def make_expected(connection: psycopg.Connection, table: Table, count: int, file: Path) -> None:
    """Fill `expected.<table>` from the generator and write it to a file as binary COPY."""
    register_vector(connection)
    name = sql.Identifier("expected", table.name)
    connection.execute("CREATE SCHEMA IF NOT EXISTS expected")
    connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(name))
    definition = sql.SQL("CREATE TABLE {} ({}) WITH (autovacuum_enabled = off)")
    connection.execute(definition.format(name, sql.SQL(table.ddl)))
    with connection.cursor() as cursor, cursor.copy(sql.SQL("COPY {} FROM STDIN (FORMAT BINARY)").format(name)) as copy:
        copy.set_types(_TYPES[table.name].split())
        for row in decoded_rows(table, count):
            copy.write_row(row)
    connection.execute(sql.SQL("VACUUM ANALYZE {}").format(name))
    dump = sql.SQL("COPY {} TO STDOUT (FORMAT BINARY)").format(name)
    with file.open("wb") as out, connection.cursor() as cursor, cursor.copy(dump) as copy:
        out.writelines(copy)


def compare(connection: psycopg.Connection, table: Table) -> Verdict:
    """The target against what is expected, every column of every row."""
    query = """
        SELECT count(t.{key}), count(*) FILTER (WHERE t.{key} IS NULL), count(*) FILTER (WHERE e.{key} IS NULL),
               count(*) FILTER (WHERE t.{key} = e.{key} AND ({left}) IS DISTINCT FROM ({right}))
        FROM {target} t FULL JOIN {expected} e USING ({key})
    """
    columns = [sql.Identifier(c) for c in table.columns]
    found = connection.execute(
        sql.SQL(query).format(
            key=sql.Identifier(table.key),
            left=sql.SQL(", ").join(sql.SQL("t.{}").format(c) for c in columns),
            right=sql.SQL(", ").join(sql.SQL("e.{}").format(c) for c in columns),
            target=sql.Identifier(table.name),
            expected=sql.Identifier("expected", table.name),
        )
    ).fetchone()
    return Verdict(*(found or (0, 0, 0, 0)))


def decoded_rows(table: Table, count: int) -> Iterator[list[Any]]:
    """The rows of the generator as psycopg takes them."""
    decode = _DECODERS[table.name]
    for block in range(-(-count // BLOCK)):
        for cells in table.make(block, min(BLOCK, count - block * BLOCK)):
            yield [one(cell) if cell is not None else None for one, cell in zip(decode, cells, strict=True)]


def _uuid(cell: bytes) -> uuid.UUID:
    return uuid.UUID(bytes=cell)


def _double(cell: bytes) -> float:
    return float(struct.unpack(">d", cell)[0])


def _int(cell: bytes) -> int:
    return int.from_bytes(cell, "big", signed=True)


def _moment(cell: bytes) -> datetime:
    return _1970 + timedelta(milliseconds=_int(cell))


def _vector(cell: bytes) -> Vector:
    return Vector(np.frombuffer(cell, ">f4"))


def _map(cell: bytes) -> Jsonb:
    texts, at = [], 4
    for _ in range(2 * _int(cell[:4])):
        size = _int(cell[at : at + 4])
        texts.append(cell[at + 4 : at + 4 + size].decode())
        at += 4 + size
    return Jsonb(dict(zip(texts[::2], texts[1::2], strict=True)))


_DECODERS: dict[str, list[Callable[[bytes], Any]]] = {
    "songs": [_uuid, *[bytes.decode] * 5, _double, _int, _map, _moment, _moment],
    "embeddings": [_uuid, bytes.decode, _vector, _moment],
}
