"""The flows of tables, made at a table's first write, and anew where the table is not what it was."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from threading import Lock

from sync.core.rows import SourceTable
from sync.errors import PreflightError, SourceUnavailable, TargetUnavailable, WriteRefused, WriteRefusedNow
from sync.stores.looked import NOT_AGAIN_SECONDS
from sync.stores.source import SourceSide
from sync.stores.table_flows import FlowMaker, TableFlows

log = logging.getLogger(__name__)


class KnownFlows:
    """By table. Safe to use from many threads: what two make at once is alike."""

    def __init__(self, source: SourceSide, maker: Callable[[], FlowMaker]) -> None:
        self._source, self._maker = source, maker
        self._flows: dict[str, tuple[SourceTable, TableFlows]] = {}
        self._lock, self._looked = Lock(), dict[str, float]()

    def forget(self) -> None:
        """Make them all anew."""
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

    def changed(self, flows: TableFlows) -> TableFlows | str | None:
        """After a refusal: the flows of the table as it is now; None if it has not changed; or why none can be made.

        Both sides are asked, not more than once a second, and once for many who were refused at the same time.
        """
        table = flows.mapped.name
        with self._lock:
            known = self._flows.get(table)
            if known is not None and known[1] is not flows:
                return known[1]
            if time.monotonic() < self._looked.get(table, 0.0) + NOT_AGAIN_SECONDS:
                return None
            self._looked[table] = time.monotonic()
            return self._look(table, flows)

    def _look(self, table: str, flows: TableFlows) -> TableFlows | str | None:
        self._source.look_again(table)
        try:
            source = self._source.table(table)
            made = self._maker().make(table)
        except (PreflightError, WriteRefused) as error:
            return f"the table has changed: {error}"
        except (SourceUnavailable, TargetUnavailable):
            return None
        if made.mapped == flows.mapped:
            return None
        self._flows[table] = source, made
        return made
