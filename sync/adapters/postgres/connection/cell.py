"""Encoded cells as parameters: the bytes that COPY would send, sent as a binary parameter, alone or as an array."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.abc import Buffer, PyFormat
from psycopg.adapt import Dumper
from psycopg.pq import Format

from sync.adapters.postgres.connection.connect import Connection
from sync.core.encode.base import join_cells

_ARRAY = struct.Struct(">iiIii")


@dataclass(frozen=True, slots=True)
class Cell:
    """The bytes of one value in the binary format of the type with this OID; None is a null.

    A null has a type, too: a statement is prepared once per combination of its parameters' types.
    """

    data: bytes | None
    oid: int


@dataclass(frozen=True, slots=True)
class CellArray:
    """Values of one type, that with this OID, as a one-dimensional array in the binary format of `array_send`.

    The statement casts it to the array's type, whose own OID is not known here.
    """

    cells: Sequence[bytes | None]
    oid: int


class _CellArrayDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: CellArray) -> Buffer | None:
        if not obj.cells:
            return _ARRAY.pack(0, 0, obj.oid, 0, 0)[:12]
        return _ARRAY.pack(1, None in obj.cells, obj.oid, len(obj.cells), 1) + join_cells(obj.cells)


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
    """Let this connection take `Cell` and `CellArray` as parameters."""
    connection.adapters.register_dumper(Cell, _CellDumper)
    connection.adapters.register_dumper(CellArray, _CellArrayDumper)
