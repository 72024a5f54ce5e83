"""The canary: rows of Postgres go to the source and come back, which proves the way that a cut-over will rely on."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence

from sync.adapters.cassandra.cells import cells_of
from sync.adapters.cassandra.connect import Cassandra
from sync.adapters.postgres.connect import Connection
from sync.adapters.postgres.keys import TargetKeys
from sync.core.cql import COLLECTIONS
from sync.core.decode.rows import RowDecoder
from sync.core.encode.rows import RowEncoder
from sync.core.gates import CanaryFact
from sync.core.mutations import Key, Mutation
from sync.core.rows import TableMap
from sync.errors import SyncError
from sync.settings import Config
from sync.wiring.copying import rows_by_key

_ROWS, _TRIES, _PAUSE_SECONDS = 5, 4, 0.05
_OLDEST = 1
"""A timestamp before every other: what is written with it is acknowledged, and changes nothing that is there."""


def fly(
    cassandra: Cassandra, connection: Connection, tables: Sequence[TableMap], config: Config, dry: bool
) -> list[CanaryFact]:
    """A canary for each table; a dry one only reads and compares."""
    return [_fly_one(cassandra, connection, table, config, dry) for table in tables]


def _fly_one(cassandra: Cassandra, connection: Connection, table: TableMap, config: Config, dry: bool) -> CanaryFact:
    try:
        way = _Way(cassandra, connection, table, config, dry)
        back = sum(way.check(key) for key in way.sample())
    except (SyncError, ValueError) as error:
        return CanaryFact(table.name, 0, " ".join(str(error).split()))
    return CanaryFact(table.name, back)


class _Way:
    """One table's way from Postgres to the source and back."""

    def __init__(self, cassandra: Cassandra, connection: Connection, table: TableMap, config: Config, dry: bool) -> None:
        self._connection, self._table, self._dry = connection, table, dry
        self._encoder = RowEncoder(table, 0)
        self._decoder = RowDecoder(table, self._encoder.pairs)
        self._cells = cells_of(table.source, self._encoder)
        self._rows = rows_by_key(cassandra, table.source, config)
        self._target = TargetKeys(connection, table, self._encoder)

    def sample(self) -> Iterator[Key]:
        """Some keys of the target, from a random place of the ring on."""
        for token in (random.randint(-(2**63), 2**63 - 1), -(2**63)):
            found = self._target.sample(token, _ROWS)
            if found:
                yield from (self._cells.key_of(self._decoder.key(canonical)) for canonical in found)
                return

    def check(self, key: Key) -> bool:
        """Whether the row came back as it went; False for one that is gone, or written all the while.

        Raises ValueError for one that stood still, and came back as another.
        """
        for attempt in range(_TRIES):
            held = self._target.look([key])[0]
            if held.row is None:
                return False
            problem = "" if held.intents else self._round_trip(key, held.row)
            if not problem and not held.intents:
                return True
            if problem and self._target.look([key])[0] == held:
                raise ValueError(problem)
            time.sleep(_PAUSE_SECONDS * 2**attempt)
        return False

    def _round_trip(self, key: Key, row: bytes) -> str:
        cells = self._decoder.others(row)
        if not self._dry:
            outcome, error = self._rows.write(self._mutation(key, cells), _OLDEST)
            if outcome != "written":
                return f"the source did not take a row: {error}"
        read = self._rows.read(key)
        if read.cells is None:
            return "a row of Postgres is not in the source"
        different = self._encoder.different_columns(self._encoder.canonical_row(read.cells) or b"", row)
        return f"a row came back with another {', '.join(different)}" if different else ""

    def _mutation(self, key: Key, cells: dict[str, bytes | None]) -> Mutation:
        # Elements of a list have no name of their own: written once more, even long ago, they may stand there twice.
        lists = {c.name for c in self._table.source.columns if c.type.name in COLLECTIONS and not c.type.frozen}
        return Mutation("put", key, {name: cell for name, cell in cells.items() if name not in lists})
