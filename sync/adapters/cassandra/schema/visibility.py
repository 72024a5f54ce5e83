"""Whether this role sees a table's values as they are: Cassandra 5 shows masks of some columns to roles without UNMASK."""

from __future__ import annotations

from cassandra import DriverException, InvalidRequest, Unauthorized

from sync.adapters.cassandra.connection.connect import Cassandra
from sync.adapters.cassandra.connection.pages import quoted

_MASKS = "SELECT table_name, column_name FROM system_schema.column_masks WHERE keyspace_name = %s"
_SWITCH = "SELECT value FROM system_views.settings WHERE name = 'dynamic_data_masking_enabled'"


def masked_columns(cassandra: Cassandra, keyspace: str) -> dict[str, set[str]]:
    """By table, the columns of which this role is shown masks in the place of values.

    Raises the driver's errors where that cannot be asked.
    """
    try:
        rows = cassandra.session.execute(_MASKS, (keyspace,))
    except InvalidRequest:
        return {}  # before Cassandra 5 there are none
    there = cassandra.session.cluster.metadata.keyspaces[keyspace].tables
    known = [(table, column) for table, column in rows if table in there and column in there[table].columns]
    user = cassandra.settings.cassandra_username
    # Who does not log in is not told from others, and who is above permissions sees everything.
    if not known or user is None or _switched_off(cassandra) or _is_superuser(cassandra, user):
        return {}
    found: dict[str, set[str]] = {}
    for table, column in known:
        if _is_masked(cassandra, user, f"{quoted(keyspace)}.{quoted(table)}", column):
            found.setdefault(table, set()).add(column)
    return found


def _is_masked(cassandra: Cassandra, user: str, table: str, column: str) -> bool:
    """What the server does counts, where it can be asked: nodes remember permissions for a while after they were changed
    (`permissions_validity`), and masks of a table that was dropped stay in the schema for one of the same name.
    """
    refused = _is_refused(cassandra, table, column)
    if refused or _may(cassandra, user, "UNMASK", table):
        return bool(refused)
    return refused is None or _may(cassandra, user, "SELECT_MASKED", table)


def _is_refused(cassandra: Cassandra, table: str, column: str) -> bool | None:
    """Whether this role may not ask for the column's value, as none may who sees its mask and has no SELECT_MASKED.

    None where the column cannot be asked for. The value that is asked for is null, which is noticed behind the permission.
    """
    try:
        text = f"SELECT {quoted(column)} FROM {table} WHERE {quoted(column)} = ? ALLOW FILTERING"
        cassandra.session.execute(cassandra.session.prepare(text), (None,))
    except Unauthorized:
        return True
    except InvalidRequest as error:
        return False if "null value" in str(error) else None
    return None


def _switched_off(cassandra: Cassandra) -> bool:
    """Whether the server shows no masks at all. A role that may not ask takes it that it does."""
    try:
        row = cassandra.session.execute(_SWITCH).one()
    except (InvalidRequest, Unauthorized):
        return False
    return row is not None and row[0] == "false"


def _is_superuser(cassandra: Cassandra, user: str) -> bool:
    return any(row.super for row in cassandra.session.execute(f"LIST ROLES OF {quoted(user)}"))


def _may(cassandra: Cassandra, user: str, permission: str, table: str) -> bool:
    """By a permission of its own or of a role that it has, on the table, its keyspace, or all."""
    try:
        return any(
            True for _ in cassandra.session.execute(f"LIST {permission} PERMISSION ON TABLE {table} OF {quoted(user)}")
        )
    except DriverException as error:
        if "AllowAllAuthorizer" in str(error):  # every role has every permission
            return permission == "UNMASK"
        raise
