"""A recorded drift pass as `sync drift-report --json` prints one."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from sync.adapters.postgres.connection.connect import connect
from sync.adapters.postgres.connection.pooled import read_only
from sync.adapters.postgres.drift.pass_ledger import findings_of
from sync.adapters.postgres.history.events import read_pass
from sync.adapters.postgres.schema.migrations import require_state
from sync.settings import Settings
from sync.wiring.drift.values import shown_finding


def recorded_pass(settings: Settings, number: int, show_keys: bool) -> dict[str, Any] | None:
    """The report of a pass; None if there is none of this number. Without `show_keys` its findings have no keys.

    What it does not have: the next step, which is today's, and search results and values, which are not recorded.
    """
    with closing(connect(settings, autocommit=True)) as connection:
        read_only(connection)
        require_state(connection)
        row = read_pass(connection, number)
        if row is None:
            return None
        report = row["report"]
        for table in report["tables"]:
            kept = [shown_finding(found) for found in findings_of(connection, table["run"])]
            table["findings"] = [found if show_keys else {**found, "key": {}} for found in kept]
        about = {"keyspace": settings.astra_db_keyspace, "database": connection.info.dbname, "epoch": row["epoch"]}
        times = {name: row[name].isoformat() for name in ("started_at", "finished_at")}
        return {"pass": row["id"], **report, **times, "about": {k: v for k, v in about.items() if v is not None}}
