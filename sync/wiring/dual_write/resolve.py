"""`sync intents --resolve`: an operator ends an intent whose write can never be repeated.

Its write is forgotten, the current primary is read, and the other side is made equal. What the other side refuses stays a
difference, which drift reports name, so that nothing false is proved.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

from sync.adapters.cassandra.connection.connect import open_cassandra
from sync.adapters.cassandra.rows.cells import cells_of
from sync.adapters.cassandra.schema.catalogue import read_tables
from sync.adapters.postgres.connection.connect import Connection, connect
from sync.adapters.postgres.cutover.epochs import read_epoch
from sync.adapters.postgres.dual_write.resolution import StuckIntent, cancel_replay, drop, find, reserve
from sync.adapters.postgres.schema.catalogue import read_target
from sync.adapters.postgres.schema.migrations import require_state
from sync.core.keys.unused_key import unused_key
from sync.core.mutations import Key, KnownKey, Mutation
from sync.errors import SettingsError, SyncError
from sync.ports import Primary
from sync.settings import Config, Settings
from sync.wiring.backfill.worker import rows_by_key, worker_name
from sync.wiring.dual_write.worker import open_drains

_SPARE_SECONDS = 60.0
_TRIES = 2
"""How often a row is sent to Astra, which accepts another one, before it counts as a row that Astra never accepts."""


def resolve(
    settings: Settings, config: Config, intents: Sequence[int], table: str | None,
    confirm: Callable[[str], None], say: Callable[[str], None],
) -> list[dict[str, Any]]:  # fmt: skip
    """Give up these intents; what became of each: settled, dropped, or left to workers, with the error.

    Raises SettingsError if one of them is not there, is still being written, or was sent again while this waited (only then
    may others of them have been given up); Unreachable if a side is unreachable; and what `confirm` raises.
    """
    with closing(connect(settings, autocommit=True)) as connection:
        require_state(connection)
        _checked(find(connection, intents), intents, table)
        with open_cassandra(settings) as cassandra:  # one that is unreachable must not be taken for one that refuses
            there = read_tables(cassandra.session, settings.astra_db_keyspace or "")
        confirm(f"{_count(intents)}: what each was to write is not sent again, and the primary's row takes precedence")
        waits = max((_waits(stuck, config) for stuck in find(connection, intents)), default=0.0)
        reserve(connection, intents, worker_name(), waits + _SPARE_SECONDS)
        if waits > 0:
            say(f"what was last sent may still arrive: waiting for {waits:.0f} s")
            time.sleep(waits)
        primary = read_epoch(connection).primary
        found = _checked(find(connection, intents), intents, table)
        gone = {stuck.table: _gone(connection, config, stuck.table, set(there)) for stuck in found}
        for stuck in found:
            # All of them, before the first key is reconciled: that would send the key's other writes again.
            if not gone[stuck.table] and not cancel_replay(connection, stuck):
                raise SettingsError(f"intent {stuck.id}: it was sent again meanwhile, or is settled; see `sync intents`")
        return [_resolved(settings, config, connection, stuck, gone[stuck.table], primary) for stuck in found]


def _waits(stuck: StuckIntent, config: Config) -> float:
    """How long, in seconds, an earlier attempt of the writer or of a worker may still arrive."""
    return max(stuck.waits, config.dual_write.primary_timeout_seconds if stuck.leased else 0.0)


def _count(intents: Sequence[int]) -> str:
    return f"intents {', '.join(map(str, intents))}" if len(intents) > 1 else f"intent {intents[0]}"


def _checked(found: list[StuckIntent], intents: Sequence[int], table: str | None) -> list[StuckIntent]:
    known = {stuck.id: stuck for stuck in found if table in (None, stuck.table)}
    for number in intents:
        if number not in known:
            where = f" of {table}" if table else ""
            raise SettingsError(f"there is no intent {number}{where}: it has settled, or `sync intents` lists it otherwise")
        stuck = known[number]
        if stuck.kind == "delete_partition":  # it has no key whose row could be read instead
            raise SettingsError(f"intent {number}: the delete of a partition is sent again until the source takes it")
        if stuck.busy:  # no intent would record what it writes after this
            advice = f"wait, or end that process and `sync writers --fence {stuck.owner}`"
            raise SettingsError(f"intent {number}: its writer may still be working on it; {advice}")
        if stuck.others:  # a comparison may find both sides equal for a moment, and an older write of the key arrive after it
            others = ", ".join(map(str, stuck.others))
            raise SettingsError(f"intent {number}: its key has others ({others}); wait until they settle, or add them")
    return found


def _resolved(
    settings: Settings, config: Config, connection: Connection, stuck: StuckIntent, gone: str, primary: Primary
) -> dict[str, Any]:
    said: dict[str, Any] = {"id": stuck.id, "table": stuck.table, "outcome": "settled", "error": ""}
    if stuck.kind == "recheck_partition":  # it is no key's: what it would have found, a drift pass finds
        gone = gone or "a partition that is not rechecked: see the next drift pass"
    for _ in range(0 if gone else _TRIES):
        error, for_good = _reconciled(settings, config, stuck, primary)
        if not error:
            return said
        if not for_good:
            return {**said, "outcome": "left to workers", "error": error}
        gone = error
    drop(connection, stuck, gone)
    return {**said, "outcome": "dropped", "error": gone}


def _gone(connection: Connection, config: Config, table: str, there: set[str]) -> str:
    if table not in there:
        return "the source has no such table any more"
    if read_target(connection, config.options(table).target or table) is None:
        return "the target has no such table any more"
    return ""


def _reconciled(settings: Settings, config: Config, stuck: StuckIntent, primary: Primary) -> tuple[str, bool]:
    """Why the key could not be reconciled, or ""; and whether that is permanent.

    It is if the key cannot be determined, or if Astra, as the secondary, refuses this row and accepts another. A timeout of
    a source that accepts nothing says nothing about the row.
    """
    failed: list[str] = []
    try:
        with open_drains(settings, config, [stuck.table]) as drains:
            drain = drains[stuck.table]
            try:
                key = drain.key(KnownKey.on_record(stuck.key, stuck.source_key, stuck.mutation, stuck.token))
            except (SyncError, ValueError) as error:
                return f"its key cannot be determined: {error}", True
            drain.reconcile.keys([key], lambda _, error: failed.append(error))
        return "; ".join(failed), bool(failed) and primary == "postgres" and _takes(settings, config, key)
    except SyncError as error:
        return str(error), False


def _takes(settings: Settings, config: Config, key: Key) -> bool:
    """Whether the source accepts another row, sent as the canary's are. Raises Unreachable, SourceUnavailable."""
    with open_cassandra(settings, config.dual_write.primary_timeout_seconds) as cassandra:
        source = read_tables(cassandra.session, settings.astra_db_keyspace or "", config.kinds)[key.table]
        rows, cells = rows_by_key(cassandra, source, config), unused_key(source, key.cells)
        if cells:
            key = cells_of(source, None).key_without_target(cells)
            if rows.read(key).cells is not None:
                return False
        # If the key's types have no unused value, this very key will do: a trial is older than any row and removes nothing.
        return rows.try_write(Mutation("put", key, {}))[0] == "written"
