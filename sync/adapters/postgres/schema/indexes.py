"""Indexes during a load: dropped before it, built again after it, valid at the end (docs/decisions/0004-indexes.md).

A dropped index is recorded in `sync.index` in the transaction that drops it, and that record is removed only when the index
is valid again: the next run repeats an interrupted build.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from threading import Event, Thread

import psycopg
from psycopg import sql

from sync.adapters.postgres.connection.connect import Connection, connect
from sync.adapters.postgres.connection.pooled import Pooled, adjust
from sync.adapters.postgres.connection.queries import queries
from sync.adapters.postgres.connection.refusals import (
    error_text,
    is_out_of_resources,
    is_temporary,
    lacks_shared_memory,
    target_errors,
    unavailable,
)
from sync.adapters.postgres.connection.session import ends_builds
from sync.adapters.postgres.schema.catalogue import TABLES_AT_ONCE, identifier, regclass
from sync.adapters.postgres.schema.index_lease import alone
from sync.core.encode.rows import TOKEN_COLUMN, VERSION_COLUMN
from sync.core.rows import TableMap
from sync.errors import PreflightError, SyncError, TargetUnavailable
from sync.settings import Settings

_SQL = queries("schema/indexes")
_PARALLEL_HNSW_SINCE = (0, 8, 2)
_WORKERS = "max_parallel_maintenance_workers"


@dataclass(frozen=True, slots=True)
class Build:
    """How far the build of an index is; `total` is 0 if Postgres does not say."""

    index: str
    phase: str
    done: int
    total: int


def add_sync_columns(connection: Connection, *tables: TableMap) -> None:
    """Give the targets the token and version columns that a migration needs; `sync finish` drops them.

    If they are there, nothing is locked: a lock that waits, perhaps for an index build, holds up every write after it.
    """
    given = {"targets": [_target(table) for table in tables], "token": TOKEN_COLUMN, "version": VERSION_COLUMN}
    lacking = {str(row[0]) for row in connection.execute(_SQL["without_columns"], given)}
    statement = "ALTER TABLE {} ADD COLUMN IF NOT EXISTS {} bigint, ADD COLUMN IF NOT EXISTS {} bigint"
    for table in (t for t in tables if _target(t) in lacking):
        try:
            connection.execute(
                sql.SQL(statement).format(
                    identifier(table.target), sql.Identifier(TOKEN_COLUMN), sql.Identifier(VERSION_COLUMN)
                )
            )
        except psycopg.errors.InsufficientPrivilege as error:
            raise PreflightError(f"{table.name}: {error.diag.message_primary}; the role must own the target tables") from None


def remove_for_load(
    connection: Connection, tables: Sequence[TableMap], small: Collection[str]
) -> Iterator[tuple[str, list[str]]]:
    """Drop and record the secondary indexes of empty targets; each table's as they go. One with rows keeps its indexes.

    A target of a table in `small` gets its token index at once: filling it with a few rows costs less than building it later.
    """
    # Emptiness is asked before the lock, for which writers would wait.
    for table in _empty(connection, tables):
        if names := _remove(connection, table, table.name in small):
            yield table.name, names


def _remove(connection: Connection, table: TableMap, is_small: bool) -> list[str]:
    with connection.transaction():
        connection.execute(sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(identifier(table.target)))
        if not _empty(connection, [table]):
            return []
        # With an empty path a definition qualifies every name: the session that builds the index may have another path.
        connection.execute("SELECT pg_catalog.set_config('search_path', '', true)")
        kept = _token_index_name(connection, table) if is_small else ""
        values = {"table": table.name, "target": _target(table), "kept": kept}
        names = [str(row[0]) for row in connection.execute(_SQL["record"], values).fetchall()]
        for name in names:
            connection.execute(f"DROP INDEX {name}".encode())
        if is_small:
            connection.execute(_token_index(table, "INDEX IF NOT EXISTS"))
    return names


def _empty(connection: Connection, tables: Sequence[TableMap]) -> list[TableMap]:
    """Those of these tables whose targets have no rows."""
    found: list[TableMap] = []
    for at in range(0, len(tables), TABLES_AT_ONCE):
        part = tables[at : at + TABLES_AT_ONCE]
        exists = sql.SQL(", ").join(sql.SQL("EXISTS (SELECT FROM {})").format(identifier(t.target)) for t in part)
        filled = connection.execute(sql.SQL("SELECT {}").format(exists)).fetchone() or ()
        found += [table for table, has_rows in zip(part, filled, strict=True) if not has_rows]
    return found


def _target(table: TableMap) -> str:
    return regclass(f"{table.target.schema}.{table.target.name}")


def build_missing(settings: Settings, tables: list[TableMap], report: Callable[[Build], None]) -> list[str]:
    """Build what was dropped, and each table's token index, without blocking writes; returns the names of what was built.

    Raises PreflightError if an index cannot be built, or there is no room; TargetUnavailable if it may be built later.
    """
    with closing(connect(settings, autocommit=True)) as connection, target_errors():
        given = {"names": [t.name for t in tables], "indexes": [_token_index_name(connection, t) for t in tables]}
        unfinished = {str(row[0]) for row in connection.execute(_SQL["unfinished"], given)}
        _analyze(connection, [table for table in tables if table.name not in unfinished])
        to_build = (table for table in tables if table.name in unfinished)
        return [name for table in to_build for name in _build_alone(settings, connection, table, report)]


def _build_alone(settings: Settings, connection: Connection, table: TableMap, report: Callable[[Build], None]) -> list[str]:
    waiting = Build(f"of {table.name}", "waiting: another command is building it", 0, 0)
    with alone(settings, connection, table.name, lambda: report(waiting)):
        return _build_table(settings, connection, table, report)


def _build_table(settings: Settings, connection: Connection, table: TableMap, report: Callable[[Build], None]) -> list[str]:
    built = []
    _want_token_index(connection, table)
    for name, definition in connection.execute(_SQL["wanted"], {"table": table.name}).fetchall():
        if not _is_valid(connection, name):
            _build(settings, connection, name, definition, report)
            built.append(name)
        connection.execute("DELETE FROM sync.index WHERE index_name = %s", (name,))
    _analyze(connection, [table])
    return built


def _analyze(connection: Connection, tables: Sequence[TableMap]) -> None:
    for at in range(0, len(tables), TABLES_AT_ONCE):
        names = sql.SQL(", ").join(identifier(table.target) for table in tables[at : at + TABLES_AT_ONCE])
        connection.execute(sql.SQL("ANALYZE {}").format(names))


def _want_token_index(connection: Connection, table: TableMap) -> None:
    name = _token_index_name(connection, table)
    if not _is_valid(connection, name):
        connection.execute(_SQL["want"], (name, table.name, _token_index(table, "INDEX").as_string(connection)))


def _token_index(table: TableMap, kind: str) -> sql.Composed:
    """The statement that builds it, with `kind` in the place of INDEX."""
    return sql.SQL("CREATE {} {} ON {} USING btree ({})").format(
        sql.SQL(kind), _token_name(table), identifier(table.target), sql.Identifier(TOKEN_COLUMN)
    )


def _token_name(table: TableMap) -> sql.Identifier:
    return sql.Identifier(f"_sync_token_{table.target.name}"[:63])


def _token_index_name(connection: Connection, table: TableMap) -> str:
    """The same with its schema, as SQL."""
    return sql.Identifier(table.target.schema, f"_sync_token_{table.target.name}"[:63]).as_string(connection)


def _is_valid(connection: Connection, name: str) -> bool:
    return connection.execute(_SQL["valid"], {"index": name}).fetchone() == (True,)


def _build(settings: Settings, connection: Connection, name: str, definition: str, report: Callable[[Build], None]) -> None:
    with _ready(connection, name, _parallel(connection, definition)):
        try:
            try:
                _create(settings, connection, name, definition, report)
            except psycopg.Error as error:
                if isinstance(connection, Pooled) or not lacks_shared_memory(error):
                    raise
                # Alone it takes none, and that it is slower is better than no index: a container often has 64 MB.
                adjust(connection, {_WORKERS: "0"})
                _create(settings, connection, name, definition, report)
        except psycopg.Error as error:
            raise _unbuilt(connection, name, error) from None


def _create(settings: Settings, connection: Connection, name: str, definition: str, report: Callable[[Build], None]) -> None:
    # An interrupted concurrent build leaves an invalid index of that name.
    connection.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}".encode())
    done = Event()
    watcher = Thread(target=_watch, args=(settings, connection.info.backend_pid, name, report, done), daemon=True)
    watcher.start()
    try:
        connection.execute(definition.replace(" INDEX ", " INDEX CONCURRENTLY ", 1).encode())
    finally:
        done.set()
        watcher.join()


def _unbuilt(connection: Connection, name: str, error: psycopg.Error) -> SyncError:
    """The error of a failed build: TargetUnavailable if it may simply be retried, which it may not for lack of room."""
    if connection.closed:
        return TargetUnavailable(f"index {name}: {error_text(error)}")
    # Not left for the next run: it takes room, perhaps the last, from the application, and each write has to update it.
    connection.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}".encode())
    if is_out_of_resources(error):
        advice = "the unfinished index is removed, the copied rows stay; make room and run it again to build the indexes"
        return PreflightError(f"index {name} could not be built: {error_text(error)} (SQLSTATE {error.sqlstate}); {advice}")
    return (
        unavailable(error) if is_temporary(error) else PreflightError(f"index {name} could not be built: {error_text(error)}")
    )


@contextmanager
def _ready(connection: Connection, name: str, parallel: dict[str, str]) -> Iterator[None]:
    """Prepare the session for a build, which cannot run in a transaction. Raises PreflightError if a pooler would end it."""
    if isinstance(connection, Pooled):
        why = ends_builds(connection) or ("no parallel workers may be forbidden there" if parallel[_WORKERS] == "0" else "")
        if why:
            raise PreflightError(f"index {name} cannot be built through the pooler: {why}")
        with connection.bare():
            yield
        return
    adjust(connection, parallel)
    connection.execute(_SQL["more_memory"])
    connection.execute(_SQL["end_with_client"])
    yield


def _parallel(connection: Connection, definition: str) -> dict[str, str]:
    """How many processes may build an index, as settings of the session."""
    row = connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchone()
    version = tuple(int(part) for part in str(row[0]).split(".")) if row else ()
    if " hnsw " in definition and version < _PARALLEL_HNSW_SINCE:
        return {_WORKERS: "0"}
    asked = connection.execute("SELECT least(8, greatest(2, current_setting('max_parallel_workers')::int / 2))").fetchone()
    found = {_WORKERS: str(asked[0]) if asked else "2"}
    if " hnsw " in definition or " ivfflat " in definition:
        # Postgres goes by the pages of the table itself, and vectors of more than 2 kB lie beside it.
        found["min_parallel_table_scan_size"] = "0"
    return found


def _watch(settings: Settings, backend: int, name: str, report: Callable[[Build], None], done: Event) -> None:
    if done.wait(0.5):
        return
    with closing(connect(settings, autocommit=True)) as connection:
        while not done.wait(0.5):
            row = connection.execute(_SQL["progress"], {"backend": backend, "index": name}).fetchone()
            if row:
                report(Build(name, str(row[0]), int(row[1]), int(row[2])))
