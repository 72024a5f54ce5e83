"""`announce()`: the application says that somebody else has changed a row, and both sides are made equal (rule 32)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sync.adapters.postgres.capture.feed_ledger import announce_key
from sync.errors import TargetUnavailable, WriteRefusedNow
from sync.settings import Config
from sync.stores.both_sides.table_flows import TableFlows
from sync.stores.both_sides.table_writes import TableWrites


class Announces(TableWrites):
    """What a store of both sides does for changes that did not go through it."""

    _config: Config

    def announce(self, table: str, key: Mapping[str, Any]) -> None:
        """Say that this row was changed past the store, or may have been: workers make the other side equal to the primary.

        To be called after the change. It is recorded in Postgres when this returns. Raises WriteRefusedNow if Postgres did
        not answer: announce it again.
        """

        def announced(flows: TableFlows) -> None:
            which, wait = flows.cells.only_key(key), self._config.capture.write_timeout_seconds

            def record() -> None:
                announce_key(self._maker.pool, which, wait)

            self._router.run({"astra": record, "postgres": record})

        try:
            self._traced("announce", table, announced)
        except TargetUnavailable as away:
            raise WriteRefusedNow(f"{table}: Postgres: {away}; the row may not be announced: do it again") from None
