"""Whether this role sees and writes the rows of a target's tables themselves, and what it may do with them."""

from __future__ import annotations

from collections.abc import Sequence

from sync.adapters.postgres.connection.connect import Connection
from sync.adapters.postgres.connection.queries import queries
from sync.adapters.postgres.schema.catalogue import regclass

_SQL = queries("schema/catalogue")


def hidden(connection: Connection, tables: Sequence[str]) -> dict[str, str]:
    """By table (`schema.table`), why its rows are not seen or written as they are, and what to do about it."""
    rows = connection.execute(_SQL["visibility"], {"tables": [regclass(name) for name in tables]}).fetchall()
    return {name: text for name, *facts in rows if (text := _why(name, *facts))}


def _why(name: str, row_security: bool, children: list[str], rules: list[str]) -> str:
    if row_security:
        return (
            f"row-level security decides which rows of {name} this role sees; let it see all: ALTER ROLE … BYPASSRLS, or "
            f"ALTER TABLE {name} NO FORCE ROW LEVEL SECURITY where it is the owner"
        )
    if children:
        return (
            f"{name} has children ({', '.join(children)}), whose rows are shown as its own: ALTER TABLE … NO INHERIT {name}"
        )
    if rules:
        return f"{name} has rules ({', '.join(rules)}) that rewrite what is written; ALTER TABLE {name} DISABLE RULE …"
    return ""


def no_tables(connection: Connection, names: Sequence[str]) -> dict[str, str]:
    """Those of these names that belong to something other than a table, each with a message about it."""
    by_name = {name: regclass(name) for name in names}
    found: dict[str, str] = dict(connection.execute(_SQL["kinds"], {"tables": sorted(set(by_name.values()))}).fetchall())
    return {
        name: f"{name} is {found[table]} in Postgres, not a table; rename it, or give the table another target"
        for name, table in by_name.items()
        if table in found
    }


def state_lacking(connection: Connection) -> list[str]:
    """What this role may not do with the migration's state; empty if there is no state yet."""
    return [str(row[0]) for row in connection.execute(_SQL["state_lacking"]).fetchall()]


def unwritable(connection: Connection) -> str:
    """Why nothing can be written over this connection; empty if something can."""
    standby, read_only = connection.execute(_SQL["writable"]).fetchone() or (False, False)
    if standby:
        return "the server is a standby, which is read-only; give the primary's host"
    return "transactions are read-only (default_transaction_read_only); ALTER ROLE … RESET it" if read_only else ""
