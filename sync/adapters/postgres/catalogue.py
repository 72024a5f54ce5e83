"""What the target holds: tables, columns, types, rights."""

from __future__ import annotations

from psycopg import sql

from sync.adapters.postgres.connect import Connection
from sync.adapters.postgres.queries import queries
from sync.core.encode.rows import TOKEN_COLUMN, VERSION_COLUMN
from sync.core.rows import PgType, TargetColumn, TargetTable
from sync.ports import ServerFacts

_SQL = queries("catalogue")
HOME = "public"
"""The schema of the tables whose names are given without one."""


def identifier(table: TargetTable) -> sql.Identifier:
    """The table's name, schema-qualified and quoted."""
    return sql.Identifier(table.schema, table.name)


def regclass(name: str) -> str:
    """A table's name as `to_regclass` takes it: `schema.table`, or `table` in public, each part quoted as it stands.

    No search path has a say in it: those of roles, databases and poolers' other clients differ, and change.
    """
    name = name if "." in name else f"{HOME}.{name}"
    return ".".join('"' + part.replace('"', '""') + '"' for part in name.split(".", 1))


def read_target(connection: Connection, name: str) -> TargetTable | None:
    """The table of that name (`table` or `schema.table`), or None."""
    table = {"table": regclass(name)}
    found = connection.execute(_SQL["relation"], table).fetchone()
    if found is None:
        return None
    columns = tuple(_column(row) for row in connection.execute(_SQL["columns"], table).fetchall())
    own = tuple(c for c in columns if c.name not in (TOKEN_COLUMN, VERSION_COLUMN))
    key = tuple(row[0] for row in connection.execute(_SQL["primary_key"], table).fetchall())
    return TargetTable(found[0], found[1], own, key)


def identity(connection: Connection, table: TargetTable) -> str:
    """Which table this is: it changes where a table, or a column of it, was dropped and made again."""
    own = [TOKEN_COLUMN, VERSION_COLUMN]  # which come and go with the migration
    values = {"table": regclass(f"{table.schema}.{table.name}"), "not_of": own}
    row = connection.execute(_SQL["identity"], values).fetchone()
    return str(row[0]) if row else ""


def _column(row: tuple[object, ...]) -> TargetColumn:
    name, type_name, oid, typmod, text, element_name, element_oid, not_null, required, generated, exact = row
    element = PgType(str(element_name), int(str(element_oid))) if element_name else None
    pg = PgType(str(type_name), int(str(oid)), int(str(typmod)), element, str(text))
    return TargetColumn(str(name), pg, bool(not_null), bool(required), bool(generated), bool(exact))


def server_facts(connection: Connection) -> ServerFacts:
    """What preflight reports of the target's server."""
    row = connection.execute(_SQL["rights"]).fetchone()
    assert row is not None
    return ServerFacts(*row)


def obstacle(connection: Connection, name: str) -> str:
    """Why a migration cannot use a table although its columns may fit, and what to do about it; empty where it can."""
    row = connection.execute(_SQL["table_rights"], {"table": regclass(name)}).fetchone()
    if row is None:
        return ""
    inserts, selects, owns = row
    if not inserts or not selects or not owns:
        what = "does not own (and so may not add columns and indexes to)" if inserts and selects else "may not read and write"
        return f"this role {what} {name}; make it the owner: ALTER TABLE {name} OWNER TO …"
    query = "SELECT has_schema_privilege(relnamespace, 'CREATE'), relkind = 'p' FROM pg_class WHERE oid = to_regclass(%s)"
    creates, partitioned = connection.execute(query, (regclass(name),)).fetchone() or (True, False)
    if not creates:
        user = connection.info.user
        return f"this role may not create indexes in the schema of {name}; GRANT CREATE ON SCHEMA … TO {user}"
    if partitioned:
        return f"{name} is partitioned: its indexes cannot be built without blocking writes; partition it after the migration"
    return ""


def foreign_keys(connection: Connection, name: str) -> list[str]:
    """The table's foreign keys, as they are defined."""
    query = "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = to_regclass(%s) AND contype = 'f'"
    return [f"{key} ({text})" for key, text in connection.execute(query, (regclass(name),)).fetchall()]
