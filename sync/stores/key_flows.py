"""What a store of both sides needs of a table for which it has no CQL session: its keys, and the journal of their writes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass

from sync.adapters.cassandra.cells import Cells, cells_of
from sync.adapters.postgres import indexes
from sync.adapters.postgres.catalogue import read_target
from sync.adapters.postgres.journal import Journal
from sync.adapters.postgres.parameters import connection_of
from sync.adapters.postgres.pool import Pool
from sync.adapters.postgres.registration import Registration
from sync.adapters.postgres.reverse import ReverseJournal
from sync.core.documents import with_fields
from sync.core.encode.rows import RowEncoder
from sync.core.mapping import map_table
from sync.core.mutations import Key, Mutation
from sync.core.rows import TableMap
from sync.errors import PreflightError
from sync.flows.wrapped_write import WrappedWrite
from sync.ports import Intent, Primary
from sync.settings import Config, Settings
from sync.stores.astra import AstraStore


@dataclass(frozen=True, slots=True)
class KeyFlows:
    """One table's keys, and the announcement of their writes under either primary."""

    cells: Cells
    journal: Journal
    reverse: ReverseJournal


class ByWorkers:
    """Leaves the side that follows to workers."""

    def keys(self, keys: Iterable[Key], failed: Callable[[Key, str], None]) -> int:
        """None."""
        return 0


@dataclass(frozen=True, slots=True)
class KeyMaker:
    """Makes the flows of tables from what the Data API tells of them; `registration` is this process as a writer."""

    settings: Settings
    config: Config
    source: AstraStore
    pool: Pool
    registration: Registration

    def make(self, name: str) -> KeyFlows:
        """The flows of a table. Raises PreflightError, TargetUnavailable."""
        table, one = self._mapped(name), self.registration
        encoder = RowEncoder(table, 0)
        cells = cells_of(table.source, encoder)
        journal = Journal(self.pool, table, encoder, one.writer, one.breaker)
        return KeyFlows(cells, journal, ReverseJournal(self.pool, table, encoder, one.writer))

    def _mapped(self, name: str) -> TableMap:
        options = self.config.options(name)
        source = with_fields(self.source.source(name), options.fields)
        with connection_of(self.pool) as connection:
            table, problems = map_table(source, read_target(connection, options.target or name), options)
            if table is None:
                raise PreflightError(f"{name}: {next(p.text for p in problems if p.level == 'error')}")
            indexes.add_sync_columns(connection, table)  # writers come before the first backfill (rule 3)
        return table

    def wrapped(self, flows: KeyFlows, primary: Primary, _executor: Executor) -> WrappedWrite:
        """The flow of a write whose other half is left to workers."""

        def announce(key: Key) -> Intent:
            if primary == "postgres":
                return flows.reverse.announce(key)
            return flows.journal.open(Mutation("recheck", key, {}))

        return WrappedWrite(announce, flows.journal, ByWorkers(), self.registration.aside, "queued", primary == "astra")
