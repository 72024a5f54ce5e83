"""Encoded cells as parameters: the bytes that COPY would send, sent as a binary parameter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from psycopg.abc import Buffer, PyFormat
from psycopg.adapt import Dumper
from psycopg.pq import Format

from sync.adapters.postgres.connection.connect import Connection


@dataclass(frozen=True, slots=True)
class Cell:
    """The bytes of one value in the binary format of the type with this OID; None is a null.

    A null has a type, too: a statement is prepared once per combination of its parameters' types.
    """

    data: bytes | None
    oid: int


class _CellDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: Cell) -> Buffer | None:
        return obj.data

    def get_key(self, obj: Cell, format: PyFormat) -> Any:
        return (self.cls, obj.oid)

    def upgrade(self, obj: Cell, format: PyFormat) -> Dumper:
        dumper = _CellDumper(self.cls)
        dumper.oid = obj.oid
        return dumper


def register(connection: Connection) -> None:
    """Let this connection take `Cell` as a parameter."""
    connection.adapters.register_dumper(Cell, _CellDumper)
