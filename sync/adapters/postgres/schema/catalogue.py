"""What the target holds: tables, columns, types, privileges."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from psycopg import sql

from sync.adapters.postgres.connection.connect import Connection
from sync.adapters.postgres.connection.queries import queries
from sync.core.encode.rows import TOKEN_COLUMN, VERSION_COLUMN
from sync.core.expiry import expiry_ttl
from sync.core.rows import PgType, TargetColumn, TargetTable
from sync.ports import ServerFacts

_SQL = queries("schema/catalogue")
HOME = "public"
"""The schema of the tables whose names are given without one."""
TABLES_AT_ONCE = 50
"""No statement asks more tables at once: it locks each of them and its indexes, and a server has room for so many locks."""
_OF_THE_MIGRATION = (TOKEN_COLUMN, VERSION_COLUMN)
"""Columns that a migration adds and `sync finish` drops."""


def identifier(table: TargetTable) -> sql.Identifier:
    """The table's name, schema-qualified and quoted."""
    return sql.Identifier(table.schema, table.name)


def regclass(name: str) -> str:
    """A table's name as `to_regclass` takes it: `schema.table`, or `table` in public, each part quoted as it is.

    It does not depend on a search path: those of roles, databases and poolers' other clients differ, and change.
    """
    name = name if "." in name else f"{HOME}.{name}"
    return ".".join('"' + part.replace('"', '""') + '"' for part in name.split(".", 1))


def read_target(connection: Connection, name: str) -> TargetTable | None:
    """The table of that name (`table` or `schema.table`), or None."""
    return read_targets(connection, [name]).get(name)


def read_targets(connection: Connection, names: Iterable[str]) -> dict[str, TargetTable]:
    """Those of these tables that exist, by name, read together, however many they are."""
    by_name = {name: regclass(name) for name in names}
    asked = {"tables": sorted(set(by_name.values()))}
    there = {row[0]: row[1:] for row in connection.execute(_SQL["relations"], asked).fetchall()} if by_name else {}
    if not there:
        return {}
    columns, keys = _grouped(connection, "columns", asked), _grouped(connection, "primary_keys", asked)
    made = {
        table: _made(schema, relation, columns.get(table, []), tuple(row[0] for row in keys.get(table, [])))
        for table, (schema, relation) in there.items()
    }
    return {name: made[table] for name, table in by_name.items() if table in made}


def _grouped(connection: Connection, query: str, values: dict[str, Any]) -> dict[str, list[tuple[Any, ...]]]:
    """A query's rows by their first column."""
    found: dict[str, list[tuple[Any, ...]]] = {}
    for name, *row in connection.execute(_SQL[query], values).fetchall():
        found.setdefault(name, []).append(tuple(row))
    return found


def _made(schema: str, name: str, rows: list[tuple[Any, ...]], key: tuple[str, ...]) -> TargetTable:
    expiry, default_ttl = next(((row[0], ttl) for row in rows if (ttl := expiry_ttl(row[-1])) is not None), ("", 0))
    return TargetTable(schema, name, _own(rows), key, expiry, default_ttl)


def _own(rows: list[tuple[Any, ...]]) -> tuple[TargetColumn, ...]:
    """The columns that are the application's."""
    return tuple(column for row in rows if (column := _column(row)).name not in _OF_THE_MIGRATION)


def identities(connection: Connection, tables: Iterable[TargetTable]) -> dict[str, str]:
    """By table (`schema.table`), its identity, which changes if it, or a column of it, is dropped and created again."""
    names = {regclass(name): name for name in (f"{table.schema}.{table.name}" for table in tables)}
    values = {"tables": list(names), "not_of": list(_OF_THE_MIGRATION)}
    return {names[table]: str(text) for table, text in connection.execute(_SQL["identities"], values).fetchall()}


def _column(row: tuple[object, ...]) -> TargetColumn:
    name, type_name, oid, typmod, text, element_name, element_oid, not_null, required, generated, exact, _ = row
    element = PgType(str(element_name), int(str(element_oid))) if element_name else None
    pg = PgType(str(type_name), int(str(oid)), int(str(typmod)), element, str(text))
    return TargetColumn(str(name), pg, bool(not_null), bool(required), bool(generated), bool(exact))


def server_facts(connection: Connection) -> ServerFacts:
    """What preflight reports of the target's server."""
    row = connection.execute(_SQL["privileges"]).fetchone()
    assert row is not None
    return ServerFacts(*row)
