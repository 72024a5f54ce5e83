"""The shapes of tables on both sides at the beginning and the end of a copy or a proof, and what changed in between."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sync.adapters.cassandra.connection.connect import Cassandra
from sync.adapters.cassandra.schema.catalogue import read_tables
from sync.adapters.cassandra.schema.identity import identities
from sync.adapters.postgres.connection.connect import Connection
from sync.adapters.postgres.schema import catalogue
from sync.core.cutover.gates import table_shape
from sync.core.rows import TableMap
from sync.core.schema.shapes import changes
from sync.errors import PreflightError
from sync.settings import Config
from sync.wiring.backfill.worker import map_sources
from sync.wiring.visibility import check_visibility


def shapes(source: Mapping[str, str], connection: Connection, tables: Iterable[TableMap]) -> dict[str, str]:
    """Each table's shape; `source` holds the identities of the source's tables."""
    given = list(tables)
    target = catalogue.identities(connection, [t.target for t in given])
    there = {t.name: target.get(f"{t.target.schema}.{t.target.name}", "") for t in given}
    return {t.name: table_shape(t, source.get(t.source.base or t.name, ""), there[t.name]) for t in given}


def shapes_now(cassandra: Cassandra, connection: Connection, tables: Iterable[TableMap]) -> dict[str, str]:
    """The same, with the source's identities read now. Raises Unreachable."""
    return shapes(identities(cassandra, cassandra.settings.astra_db_keyspace or ""), connection, tables)


def changed(
    cassandra: Cassandra,
    connection: Connection,
    config: Config,
    tables: Sequence[TableMap],
    begun: Mapping[str, str | None],
) -> dict[str, str]:
    """The tables that have changed since a run began, each with what has changed; `tables` as they were mapped then.

    A run without a recorded shape (null) is not judged. The connections must be new ones, made after the run's work.
    Raises Unreachable.
    """
    mapped, failed = _mapped_now(cassandra, connection, config, tables)
    now = shapes_now(cassandra, connection, mapped.values())
    found = {name: f"its schema changed meanwhile: {why}" for name, why in failed.items()}
    for table in tables:
        if table.name in mapped and begun.get(table.name) not in (None, now[table.name]):
            found[table.name] = f"its schema changed meanwhile: {changes(table, mapped[table.name])}"
    return found


def _mapped_now(
    cassandra: Cassandra, connection: Connection, config: Config, tables: Sequence[TableMap]
) -> tuple[dict[str, TableMap], dict[str, str]]:
    """The tables as they are mapped now, and what blocks the others: mapped all at once or, if that fails, one by one."""
    sources = read_tables(cassandra.session, cassandra.settings.astra_db_keyspace or "", config.kinds)

    def mapped(names: list[str]) -> dict[str, TableMap]:
        found = map_sources(sources, connection, config, names)
        check_visibility(cassandra, connection, found.values())
        return found

    try:
        return mapped([table.name for table in tables]), {}
    except PreflightError:
        made, failed = dict[str, TableMap](), dict[str, str]()
    for table in tables:
        try:
            made |= mapped([table.name])
        except PreflightError as error:
            failed[table.name] = str(error)
    return made, failed
