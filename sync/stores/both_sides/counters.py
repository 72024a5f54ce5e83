"""Increments of counters on both sides (rule “counters”)."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from typing import Any

from sync.core.counters import checked_amounts, counter_cells
from sync.stores.both_sides.table_flows import TableFlows
from sync.stores.both_sides.table_writes import TableWrites


class CounterWrites(TableWrites):
    """What a store of both sides writes to tables of counters."""

    _executor: Executor

    def increment(self, table: str, key: Mapping[str, Any], amounts: Mapping[str, int]) -> bool:
        """Add to counters, also negative amounts; a row that does not exist begins at 0. True.

        After WriteUnsure the increment may or may not have been counted: repeating it may count it twice.
        """

        def write(flows: TableFlows) -> bool:
            added, which = checked_amounts(flows.mapped.source, amounts), flows.cells.only_key(key)
            return self._router.run(
                {
                    "astra": lambda: self._maker.forward_increment(flows, self._executor).write(which, added),
                    "postgres": lambda: flows.reverse.increment(which, counter_cells(added)),
                }
            )

        return self._traced("increment", table, write)
