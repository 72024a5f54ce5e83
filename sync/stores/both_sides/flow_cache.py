"""The flows of tables, made at a table's first write, and again where the table is not what it was."""

from __future__ import annotations

import logging
from collections.abc import Callable

from sync.core.rows import SourceTable
from sync.errors import PreflightError, SourceUnavailable, SyncError, TargetUnavailable, WriteRefused, WriteRefusedNow
from sync.stores.both_sides.source import SourceSide
from sync.stores.both_sides.table_flows import FlowMaker, TableFlows
from sync.stores.schema_refresh import SchemaRefresh

log = logging.getLogger(__name__)


class FlowCache:
    """By table. Safe to use from many threads: what two make at once is alike."""

    def __init__(self, source: SourceSide, maker: Callable[[], FlowMaker]) -> None:
        self._source, self._maker = source, maker
        self._flows: dict[str, tuple[SourceTable, TableFlows]] = {}
        self._schema: dict[str, SchemaRefresh] = {}

    def forget(self) -> None:
        """Make them all again."""
        self._flows.clear()

    def of(self, table: str) -> TableFlows:
        """A table's flows. Raises WriteRefused where they cannot be made for now, and PreflightError."""
        source = self._source.table(table)
        known = self._flows.get(table)
        if known is not None and known[0] is source:
            return known[1]
        try:
            made = self._maker().make(table)
        except (SourceUnavailable, TargetUnavailable) as away:
            raise WriteRefusedNow(f"{table}: {away}; nothing was written") from None
        except PreflightError as error:
            if known is None:
                raise
            # A column more in the source: what was known can still be written.
            log.warning("%s; it is written as it was known before", error)
            made = known[1]
        self._flows[table] = source, made
        return made

    def have_changed(self, flows: TableFlows, refusal: SyncError) -> bool:
        """After a refusal: whether a table has other flows now; both sides are asked.

        Raises WriteRefused, with the refusal's words first, where none can be made any more.
        """
        table = flows.mapped.name
        looked = self._schema.setdefault(table, SchemaRefresh())
        since = looked.version
        return self._are_others(table, flows) or looked.refresh(since, lambda: self._look(table, flows, refusal))

    def _are_others(self, table: str, flows: TableFlows) -> bool:
        known = self._flows.get(table)
        return known is not None and known[1] is not flows

    def _look(self, table: str, flows: TableFlows, refusal: SyncError) -> bool:
        if self._are_others(table, flows):
            return True  # made again at a write meanwhile
        self._source.refresh(table)
        try:
            source = self._source.table(table)
            made = self._maker().make(table)
        except (PreflightError, WriteRefused) as error:
            raise WriteRefused(f"{refusal}; the table has changed: {error}") from None
        except (SourceUnavailable, TargetUnavailable):
            return False
        if made.mapped == flows.mapped:
            return False
        self._flows[table] = source, made
        return True
