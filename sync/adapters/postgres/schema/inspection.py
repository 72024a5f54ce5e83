"""Whether the target's tables are fit for a migration: privileges, kinds, triggers, foreign keys; read for all together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sync.adapters.postgres.connection.connect import Connection
from sync.adapters.postgres.connection.queries import queries
from sync.adapters.postgres.schema.catalogue import HOME, read_targets, regclass
from sync.adapters.postgres.schema.visibility import hidden, no_tables
from sync.core.rows import TargetTable

_SQL = queries("schema/catalogue")


@dataclass(frozen=True, slots=True)
class TableFacts:
    """What preflight needs to know of one table.

    `blocker`: why it cannot be used although its columns may fit, or nothing; `lacking`: which of SELECT, INSERT, UPDATE and
    DELETE this role may not do; `triggers`: those in force; `foreign_keys`: their definitions.
    """

    blocker: str = ""
    lacking: tuple[str, ...] = ()
    triggers: tuple[str, ...] = ()
    foreign_keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TargetFacts:
    """What is there, by the name of a table as it is given (`table` or `schema.table`).

    `closed`: why this role may not even look; `tables` and `facts`: of existing tables; `no_tables`: what has such a name and
    is not a table; `in_front`: what a statement that names the table without its schema finds instead of public's.
    """

    tables: dict[str, TargetTable] = field(default_factory=dict)
    facts: dict[str, TableFacts] = field(default_factory=dict)
    no_tables: dict[str, str] = field(default_factory=dict)
    in_front: dict[str, str] = field(default_factory=dict)
    closed: dict[str, str] = field(default_factory=dict)


def inspect(connection: Connection, names: Sequence[str]) -> TargetFacts:
    """Inspect all these tables: the number of statements does not grow with the number of tables."""
    closed = _closed(connection, names)
    open_names = [name for name in names if name not in closed]
    tables = read_targets(connection, open_names)
    without_schema = {_along_the_path(name): name for name in open_names if "." not in name}
    asked = {"names": list(without_schema), "home": HOME}
    return TargetFacts(
        tables,
        _table_facts(connection, tables),
        no_tables(connection, [name for name in open_names if name not in tables]),
        {without_schema[name]: str(other) for name, other in connection.execute(_SQL["in_front"], asked).fetchall()},
        closed,
    )


def _along_the_path(name: str) -> str:
    """The name as `to_regclass` takes it and looks for it along the search path."""
    return '"' + name.replace('"', '""') + '"'


def _closed(connection: Connection, names: Sequence[str]) -> dict[str, str]:
    """By name, why this role may not look there, in Postgres's words: one such table would make the query for all fail."""
    schemas = {name: name.split(".", 1)[0] if "." in name else HOME for name in names}
    rows = connection.execute(_SQL["closed"], {"schemas": sorted(set(schemas.values()))}).fetchall()
    denied = {str(row[0]) for row in rows}
    return {name: f"permission denied for schema {schema}" for name, schema in schemas.items() if schema in denied}


def _table_facts(connection: Connection, tables: dict[str, TargetTable]) -> dict[str, TableFacts]:
    by_name = {name: regclass(name) for name in tables}
    rows = connection.execute(_SQL["table_facts"], {"tables": sorted(set(by_name.values()))}).fetchall()
    facts = {str(name): row for name, *row in rows}
    unseen = hidden(connection, sorted({f"{t.schema}.{t.name}" for t in tables.values()}))
    user = connection.info.user
    found = {}
    for name, table in tables.items():
        if by_name[name] not in facts:
            continue  # dropped a moment ago
        lacking, owns, creates, partitioned, triggers, foreign_keys = facts[by_name[name]]
        why = _blocker(name, lacking, owns, creates, partitioned, user) or unseen.get(f"{table.schema}.{table.name}", "")
        found[name] = TableFacts(why, tuple(lacking), tuple(triggers), tuple(foreign_keys))
    return found


def _blocker(name: str, lacking: list[str], owns: bool, creates: bool, partitioned: bool, user: str) -> str:
    if {"INSERT", "SELECT"} & set(lacking):
        return f"this role may not read and write {name}; make it the owner: ALTER TABLE {name} OWNER TO …"
    if not owns:
        what = "does not own (and so may not add columns and indexes to)"
        return f"this role {what} {name}; make it the owner: ALTER TABLE {name} OWNER TO …"
    if not creates:
        return f"this role may not create indexes in the schema of {name}; GRANT CREATE ON SCHEMA … TO {user}"
    if partitioned:
        return f"{name} is partitioned: its indexes cannot be built without blocking writes; partition it after the migration"
    return ""
