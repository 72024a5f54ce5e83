"""Whether this role sees and writes the rows of a target's tables themselves, and what it may do with them."""

from __future__ import annotations

from collections.abc import Sequence

from sync.adapters.postgres.catalogue import HOME, regclass
from sync.adapters.postgres.connect import Connection
from sync.adapters.postgres.queries import queries

_SQL = queries("catalogue")


def hidden(connection: Connection, tables: Sequence[str]) -> dict[str, str]:
    """By table (`schema.table`), why its rows would not be seen, or others in their place, and what to do about it."""
    rows = connection.execute(_SQL["sight"], {"tables": [regclass(name) for name in tables]}).fetchall()
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


def no_table(connection: Connection, name: str) -> str:
    """That something bears the name of a table and is none; empty where there is nothing of that name, or a table."""
    row = connection.execute(_SQL["kind"], {"table": regclass(name)}).fetchone()
    if row is None:
        return ""
    return f"{name} is {row[0]} in Postgres, and no table; rename it, or give the table another target"


def in_front(connection: Connection, name: str) -> str:
    """What a statement of the application's that names a table without its schema finds in the place of the one in public."""
    quoted = '"' + name.replace('"', '""') + '"'
    row = connection.execute(_SQL["in_front"], {"name": quoted, "home": HOME}).fetchone()
    return str(row[0]) if row else ""


def triggers(connection: Connection, name: str) -> list[str]:
    """The table's triggers that are in force."""
    return [str(row[0]) for row in connection.execute(_SQL["triggers"], {"table": regclass(name)}).fetchall()]


def lacking(connection: Connection, name: str) -> list[str]:
    """What of SELECT, INSERT, UPDATE and DELETE this role may not do with a table's rows."""
    return [str(row[0]) for row in connection.execute(_SQL["lacking"], {"table": regclass(name)}).fetchall()]


def state_lacking(connection: Connection) -> list[str]:
    """What this role may not do with the migration's state; empty where there is none yet."""
    return [str(row[0]) for row in connection.execute(_SQL["state_lacking"]).fetchall()]


def unwritable(connection: Connection) -> str:
    """Why nothing can be written over this connection; empty where it can."""
    standby, read_only = connection.execute(_SQL["writable"]).fetchone() or (False, False)
    if standby:
        return "the server is a standby, which is read-only; give the primary's host"
    return "transactions are read-only (default_transaction_read_only); ALTER ROLE … RESET it" if read_only else ""
