"""Which flows are possible with these servers and roles, tried with the flows' own statements; nothing is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import cache, partial

from sync.adapters.cassandra.connection.connect import Cassandra, explain
from sync.adapters.cassandra.rows.rows import FAILURES, SourceRows
from sync.adapters.cassandra.rows.write_times import WriteTimes, terms_with_rows
from sync.adapters.cassandra.schema import probes
from sync.adapters.postgres.connection.connect import Connection, connect
from sync.adapters.postgres.schema import visibility
from sync.core.ring import MIN_TOKEN, TokenRange
from sync.core.rows import SourceTable, has_counters, one_sided
from sync.core.schema.limits import migrated_columns
from sync.core.words import first_of
from sync.errors import SyncError
from sync.flows.preflight import PreflightReport
from sync.settings import Config, Settings

_NEEDS = {
    "copy": ("ranges", "write times"),
    "proof": ("ranges", "keys"),
    "dual writes": ("rows", "writes"),
    "reconcile": ("rows", "writes"),
    "cut-over and rollback": ("rows", "writes", "old writes"),
}
"""What each flow does with the source."""
_RIGHTS_NAMED = 3
_SMALL = TokenRange(MIN_TOKEN, MIN_TOKEN + 1)


def try_source(cassandra: Cassandra, table: SourceTable, config: Config, report: PreflightReport) -> None:
    """Note which flows are not possible with a source's table, and why."""
    failed = {name: why for name, attempt in _attempts(cassandra, table, config).items() if (why := _failure(attempt))}
    if "writes" in failed:  # no write at all is possible, old or not
        failed.pop("old writes", None)
    for flow, needs in _NEEDS.items():
        for need in needs:
            if need in failed:
                report.impossible(flow, f"{table.name}: {failed[need]}")


def _attempts(cassandra: Cassandra, table: SourceTable, config: Config) -> Mapping[str, Callable[[], object]]:
    options = config.options(table.name)
    serial = table.is_collection or options.lightweight_transactions
    columns = tuple(c.name for c in migrated_columns(table, options))
    keys = cache(partial(probes.some_keys, cassandra, table))
    found: dict[str, Callable[[], object]] = {
        "ranges": partial(probes.try_ranges, cassandra, table, columns),
        "write times": partial(_try_write_times, cassandra, table),
        "keys": lambda: probes.try_keys(cassandra, table, columns, keys(), serial),
    }
    if table.is_collection:  # written through the Data API
        return found
    if why := one_sided(table):
        return {**found, "writes": partial(_refuse, f'{why}; exclude = ["{table.name}"] in sync.toml leaves the table out')}

    def rows() -> None:
        reader = SourceRows(cassandra, table, config.dual_write.primary_timeout_seconds, serial)
        probes.try_rows(reader, keys())

    if has_counters(table):  # they take no timestamps, and the canary adds 0
        return {**found, "rows": rows, "writes": partial(probes.try_increments, cassandra, table)}
    ahead = int(config.dual_write.max_clock_skew_seconds * 1e6)
    return {
        **found,
        "rows": rows,
        "writes": partial(probes.try_writes, cassandra, table, ahead),
        "old writes": partial(probes.try_old_writes, cassandra, table),
    }


def _try_write_times(cassandra: Cassandra, table: SourceTable) -> None:
    """Look for cells ahead of the clock in a range, as a copy does where it does not read write times with the rows."""
    if not terms_with_rows(cassandra, table):
        WriteTimes(cassandra, table).newest(_SMALL)


def _refuse(why: str) -> None:
    raise SyncError(why)


def _failure(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except SyncError as error:
        return str(error)
    except FAILURES as error:
        return explain(error)
    return ""


def try_target(connection: Connection, settings: Settings, report: PreflightReport) -> None:
    """Note which flows are not possible with the target's server and the migration's state."""
    if why := visibility.unwritable(connection):
        for flow in _NEEDS:
            report.impossible(flow, f"target: {why}")
    with closing(connect(settings, direct=False, autocommit=True)) as pooled:  # as applications connect
        if why := visibility.unwritable(pooled):
            report.impossible("dual writes", f"target: {why}")
    if lacking := visibility.state_lacking(connection):
        for flow in _NEEDS:
            report.impossible(flow, f"target: this role lacks {first_of(lacking, _RIGHTS_NAMED)}")


def try_privileges(missing: Sequence[str], name: str, target: str, report: PreflightReport) -> None:
    """Note which flows are not possible without these privileges on a table of the target; `name` is the source's."""
    for flow, needed in _PRIVILEGES.items():
        if found := [right for right in missing if right in needed]:
            report.impossible(flow, f"{name}: this role lacks {', '.join(found)} on {target}")


_ALL = ("SELECT", "INSERT", "UPDATE", "DELETE")
_PRIVILEGES = {
    "copy": ("SELECT", "INSERT", "UPDATE"),
    "proof": ("SELECT", "UPDATE"),
    "dual writes": _ALL,
    "reconcile": _ALL,
    "cut-over and rollback": _ALL,
}
