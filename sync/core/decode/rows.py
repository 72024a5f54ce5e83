"""From a row's canonical bytes, as Postgres sends them, to the raw CQL cells of its columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sync.core.decode import Decode, Reject, decoder_for
from sync.core.encode.base import read_cells
from sync.core.key_forms import key_decoder
from sync.core.rows import ColumnPair, TableMap

_LONGEST_KEY = 65_535


def _decoder(pair: ColumnPair) -> Decode:
    if pair.source.is_key:
        return key_decoder(pair.source, pair.target.type)
    return decoder_for(pair.source.type, pair.target.type)


class RowDecoder:
    """Decodes the rows of one table. `pairs` are `RowEncoder.pairs`: the order of the canonical bytes."""

    def __init__(self, table: TableMap, pairs: Sequence[ColumnPair]) -> None:
        self._columns = [(pair.source.name, _decoder(pair)) for pair in pairs]
        self._keys = tuple(column.name for column in table.source.primary_key)
        self._parts = len(table.source.partition_key)

    def cells(self, row: bytes) -> dict[str, bytes | None]:
        """The raw CQL cells of a row's canonical bytes, by source column, keys included.

        Raises Reject, naming the column, for what the source cannot hold.
        """
        cells = self._decoded(row, len(self._columns))
        self._check_key(cells)
        return cells

    def others(self, row: bytes) -> dict[str, bytes | None]:
        """The same without the key's cells: what an INSERT takes besides the key."""
        return {name: cell for name, cell in self.cells(row).items() if name not in self._keys}

    def key(self, canonical: bytes) -> tuple[bytes, ...]:
        """The raw CQL cells of a key's canonical bytes, in key order. Raises Reject, naming the column."""
        cells = self._decoded(canonical, len(self._keys))
        self._check_key(cells)
        return tuple(cells[name] or b"" for name in self._keys)

    def _decoded(self, data: bytes, count: int) -> dict[str, bytes | None]:
        found, end = read_cells(data, 0, count)
        if end != len(data):
            raise ValueError(f"a row of {len(data)} bytes, of which {end} are its {count} columns'")
        made: dict[str, bytes | None] = {}
        for (name, decode), cell in zip(self._columns, found, strict=False):
            try:
                made[name] = None if cell is None else decode(cell)
            except Reject as reject:
                raise Reject(f"{name}: {reject}") from None
        return made

    def _check_key(self, cells: Mapping[str, bytes | None]) -> None:
        """Raise Reject for a key that Cassandra refuses although its types take it."""
        for name in self._keys:
            if cells[name] is None:
                raise Reject(f"{name}: null, and it is part of the key")
        lengths = [len(cells[name] or b"") for name in self._keys]
        partition, clustering = lengths[: self._parts], lengths[self._parts :]
        if partition == [0]:
            raise Reject(f"{self._keys[0]}: empty, and it is the whole partition key")
        joined = partition[0] if self._parts == 1 else sum(partition) + 3 * self._parts
        if max(joined, sum(clustering)) > _LONGEST_KEY:
            raise Reject(f"{', '.join(self._keys)}: more than the {_LONGEST_KEY:,} bytes that a key takes")
