"""A feed's changed keys as what the statements of `sql/feeds.sql` take: each key once, with what its events tell at most."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from sync.core.capture.changes import ChangedKey
from sync.core.encode.base import Reject
from sync.core.encode.rows import CheckedRow, Issue, RowEncoder
from sync.core.mutations import pack_key
from sync.core.rows import TableMap
from sync.core.schema.static_rows import static_name

TokenOf = Callable[[tuple[bytes, ...]], int]


class TableKeys:
    """How keys of one table are written in the state schema; `token_of` hashes a partition's raw cells."""

    def __init__(self, table: TableMap, encoder: RowEncoder, token_of: TokenOf) -> None:
        self.table, self.token_of = table, token_of
        self._encoder = encoder
        self.partition = len(table.source.partition_key)
        self.width = len(table.source.primary_key)

    def canonical(self, cells: tuple[bytes, ...]) -> bytes:
        """The canonical bytes of a key, or of its first columns. Raises Reject."""
        return self._encoder.canonical_key(cells)


@dataclass(slots=True)
class Announced:
    """Keys (or partitions) to announce, by table and canonical bytes: source key, token, timestamp, seconds to wait."""

    found: dict[tuple[str, bytes], tuple[bytes, int, int | None, float]] = field(default_factory=dict)

    def add(self, table: str, canonical: bytes, source_key: bytes, token: int, version: int | None, wait: float) -> None:
        """Add one: of the same key the greatest timestamp counts, unless one is unknown, and the longest wait."""
        before = self.found.get((table, canonical))
        if before is not None:
            version = None if version is None or before[2] is None else max(version, before[2])
            wait = max(wait, before[3])
        self.found[table, canonical] = source_key, token, version, wait

    def values(self, owner: str) -> dict[str, object]:
        """The parameters of the statement."""
        rows = self.found.values()
        return {
            "owner": owner,
            "tables": [table for table, _ in self.found],
            "keys": [key for _, key in self.found],
            "source_keys": [row[0] for row in rows],
            "tokens": [row[1] for row in rows],
            "versions": [row[2] for row in rows],
            "waits": [row[3] for row in rows],
        }


@dataclass(slots=True)
class Announcement:
    """What one batch announces: keys, partitions, rejects with their tables, changes of tables that are not migrated."""

    keys: Announced = field(default_factory=Announced)
    partitions: Announced = field(default_factory=Announced)
    rejects: list[tuple[TableMap, CheckedRow]] = field(default_factory=list)
    unmapped: int = 0


def announcement(
    changes: Sequence[ChangedKey], tables: Mapping[str, TableKeys], now: float, write_timeout: float
) -> Announcement:
    """What these changes announce; `now` is this host's clock, in seconds since 1970.

    A key is read when the write timeout has passed since its event, by the clock that has the event's time (rule 40).
    """
    made = Announcement()
    for change in changes:
        # Whatever is not about one row may be about the partition's static columns, which are a table of their own.
        names = [change.table, static_name(change.table)] if change.clustering is None else [change.table]
        found = [tables[name] for name in names if name in tables]
        made.unmapped += not found
        wait = min(write_timeout, change.happened_at + write_timeout - now)
        for known in found:
            _announce(made, known, change, wait)
    return made


def _announce(made: Announcement, known: TableKeys, change: ChangedKey, wait: float) -> None:
    is_whole = change.clustering is not None or known.width == known.partition
    cells = (*change.partition, *(change.clustering or ())) if is_whole else change.partition
    token = known.token_of(change.partition)
    try:
        canonical = known.canonical(cells)
    except Reject as reject:
        issue = Issue("", f"a changed key that Postgres cannot hold: {reject}", "reject")
        if is_whole:  # rows of such a partition are rejects of a drift pass, each by its own key
            made.rejects.append((known.table, CheckedRow(token, cells, None, (issue,))))
        return
    to = made.keys if is_whole else made.partitions
    to.add(known.table.name, canonical, pack_key(cells), token, change.timestamp, wait)
