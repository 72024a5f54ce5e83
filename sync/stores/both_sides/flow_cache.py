"""The flows of tables, made at a table's first write, and again after the table has changed."""

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
    """Flows by table. Safe to use from many threads: if two make the same flows at once, these are equal."""

    def __init__(self, source: SourceSide, maker: Callable[[], FlowMaker]) -> None:
        self._source, self._maker = source, maker
        self._flows: dict[str, tuple[SourceTable, TableFlows]] = {}
        self._schema: dict[str, SchemaRefresh] = {}

    def forget(self) -> None:
        """Make them all again."""
        self._flows.clear()

    def known(self, table: str) -> TableFlows | None:
        """A table's flows as they were made last. Asks nobody."""
        known = self._flows.get(table)
        return known[1] if known else None

    def of(self, table: str) -> TableFlows:
        """A table's flows. Raises WriteRefused if there is no such table or a side is unreachable, and PreflightError."""
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
            # The source has a new column, say: the columns known before can still be written.
            log.warning("%s; it is written as it was known before", error)
            made = known[1]
        self._flows[table] = source, made
        return made

    def have_changed(self, flows: TableFlows, refusal: SyncError) -> bool:
        """After a refusal: whether the table's flows have changed; asks both sides.

        Raises WriteRefused, starting with the refusal's text, if no flows can be made any more.
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
            return True  # another write has made them again meanwhile
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
