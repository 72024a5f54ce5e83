"""Keys in which the answers of both sides differed, looked at as a drift report does (docs/decisions/0012-drift.md).

The target, the source, the target again, twice, by the stored bytes: what differs while no intent is open and nothing changes
is real. A key that is being written is not, whatever its two answers were.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sync.adapters.cassandra.rows.key_rows import KeyRows
from sync.adapters.postgres.connection.pool import Pool
from sync.adapters.postgres.drift.keys import TargetKeys
from sync.adapters.postgres.dual_write.parameters import connection_of
from sync.core.drift.results import KeyVerdict
from sync.core.drift.verdicts import TargetRow
from sync.core.mutations import Key
from sync.errors import SourceUnavailable
from sync.flows.recheck import Recheck, RecheckPolicy
from sync.ports import Read
from sync.settings import Config
from sync.stores.both_sides.source import SourceSide
from sync.stores.both_sides.table_flows import TableFlows
from sync.wiring.drift.worker import key_rows

_LOOKS = 2
"""A key that is being written is not waited for: if it differs afterwards, another read finds it."""


class BothKeys:
    """Single keys of one table on both sides; each look takes a connection of the pool for as long as it lasts."""

    def __init__(self, flows: TableFlows, rows: KeyRows, pool: Pool) -> None:
        self._flows, self._rows, self._pool = flows, rows, pool

    def look(self, keys: Sequence[Key]) -> list[TargetRow]:
        """What the target holds of each key."""
        with connection_of(self._pool) as connection:
            return TargetKeys(connection, self._flows.mapped, self._flows.encoder).look(keys)

    def read(self, keys: Sequence[Key]) -> list[Read | str]:
        """What the source holds of each key, or why that could not be read. Raises SourceAway."""
        return self._rows.read_each(keys, raises_away=True)

    def repair(self, keys: Sequence[Key]) -> dict[Key, str]:
        """Leave a recheck intent for each key: workers reconcile it."""
        able = [key for key in keys if key.canonical]
        with connection_of(self._pool) as connection:
            TargetKeys(connection, self._flows.mapped, self._flows.encoder).request_recheck(able)
        return {}


class SecondLook:
    """Gives suspects their verdict; those that differ have a recheck intent then. `pause` sleeps, and may raise to abort."""

    def __init__(self, config: Config, source: SourceSide, pause: Callable[[float], None]) -> None:
        self._config, self._source, self._pause = config, source, pause
        self._rows: dict[str, tuple[TableFlows, KeyRows]] = {}

    def verdicts(self, flows: TableFlows, pool: Pool, keys: Sequence[Key]) -> list[KeyVerdict]:
        """The verdicts on these keys. Raises SourceUnavailable and TargetUnavailable."""
        policy = RecheckPolicy(_LOOKS, self._config.drift.grace_seconds)
        both = BothKeys(flows, self._rows_of(flows), pool)
        return list(Recheck(both, flows.encoder, policy, True, self._pause, flows.mapped.keeps).verdicts(keys))

    def _rows_of(self, flows: TableFlows) -> KeyRows:
        name = flows.mapped.name
        known, rows = self._rows.get(name, (None, None))
        if rows is None or known is not flows:
            cassandra = self._source.store.cassandra
            if cassandra is None:
                raise SourceUnavailable(f"{name}: shadow reads need CQL settings, to look at stored rows")
            rows = key_rows(cassandra, flows.mapped, flows.encoder, self._config)
            self._rows[name] = flows, rows
        return rows
