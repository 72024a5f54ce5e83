"""A fenced writer is cleared by a full drift pass with repair that began after its last possible write (rule 31)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sync.adapters.postgres.connection.connect import Connection
from sync.adapters.postgres.cutover.epochs import Authority, audit
from sync.core.encode.rows import VERSION_COLUMN
from sync.core.rows import TableMap
from sync.settings import Config

log = logging.getLogger(__name__)
_DUAL = """
SELECT c.relname FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
WHERE a.attname = %s AND NOT a.attisdropped AND c.relkind IN ('r', 'p')
"""


def clear_writers(
    connection: Connection, config: Config, tables: Sequence[TableMap], report: Mapping[str, Any], begun: datetime
) -> list[str]:
    """Clear the writers that this pass allows, in the transaction that records it; their names."""
    checked = {table.target.name for table in tables}
    written = {str(row[0]) for row in connection.execute(_DUAL, (VERSION_COLUMN,)).fetchall()}
    unsure = any(t["rows"]["unknown"] or t["rows"]["in_flight"] or t["ranges"]["unknown"] for t in report["tables"])
    if unsure or not written <= checked:
        return []
    tuning = config.dual_write
    cleared = Authority(connection, 0).clear(
        begun, tuning.primary_timeout_seconds, int(tuning.max_clock_skew_seconds * 1_000_000)
    )
    if cleared:
        audit(connection, "writers cleared", {"writers": cleared})
    for name in cleared:
        log.warning("%s is cleared: a full pass has looked for what it had not recorded", name)
    return cleared
