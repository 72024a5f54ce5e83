"""What shadow reads have found: counts by writer and epoch, and the last keys that differ; keys only, never values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.rows import dict_row
from psycopg.types.json import Json

from sync.adapters.postgres.backfill.rejects import packed
from sync.adapters.postgres.connection.connect import Connection
from sync.adapters.postgres.connection.queries import queries
from sync.adapters.postgres.connection.refusals import target_errors
from sync.core.keys.json_form import show_key
from sync.core.mutations import Key
from sync.core.rows import TableMap

_SQL = queries("drift/shadow")
MAX_KEYS = 1000
"""So many keys are kept, the last ones; all are counted."""
COUNTS = ("compared", "skipped", "differing")


@dataclass(frozen=True, slots=True)
class Difference:
    """A key whose sides differ, and how: missing, extra or different; or a value that only one side lets Python read."""

    table: TableMap
    key: Key
    kind: str
    columns: tuple[str, ...] = ()


def is_copied(connection: Connection, table: str) -> bool:
    """Whether the target ever had all rows of the table: before that, a missing row is no difference."""
    return connection.execute(_SQL["is_copied"], {"table": table}).fetchone() == (True,)


def is_unrecorded(connection: Connection, heartbeat_seconds: float, lease_seconds: float) -> bool:
    """Whether a writer may have written the source without an intent: then a difference is no finding."""
    values = {"late": 2 * heartbeat_seconds, "lease": lease_seconds}
    return connection.execute(_SQL["is_unrecorded"], values).fetchone() == (True,)


def record(
    connection: Connection, writer: str, epoch: int, counts: Mapping[str, int], differences: Sequence[Difference]
) -> None:
    """Add counts and keys in one transaction. Raises TargetUnavailable."""
    own = {"writer": writer, "epoch": epoch}
    with target_errors(), connection.transaction():
        connection.execute(_SQL["fold"], own)
        connection.execute(_SQL["count"], {**own, **{name: counts.get(name, 0) for name in COUNTS}})
        if differences:
            with connection.cursor() as cursor:
                cursor.executemany(_SQL["keep"], [{**own, **_values(d)} for d in differences])
            connection.execute(_SQL["prune"], {"most": MAX_KEYS})


def _values(found: Difference) -> dict[str, Any]:
    key = found.key
    return {
        "table": found.table.name,
        "key": key.canonical,
        "source_key": packed(key.cells),
        "token": key.token,
        "kind": found.kind,
        "shown": Json(show_key(found.table.keys, key.cells)),
        "columns": list(found.columns),
    }


def shadow_status(connection: Connection) -> dict[str, Any]:
    """The counts of this epoch, the number of keys found since the last repair, and the keys, the newest first."""
    with target_errors(), connection.cursor(row_factory=dict_row) as cursor:
        *counts, since = connection.execute(_SQL["totals"]).fetchone() or (0, 0, 0, 0)
        keys = cursor.execute(_SQL["keys"].encode()).fetchall()
    shown = [{**row, "key": row.pop("shown"), "found_at": row["found_at"].isoformat()} for row in keys]
    return {**dict(zip(COUNTS, counts, strict=True)), "since_repair": since, "keys": shown}
