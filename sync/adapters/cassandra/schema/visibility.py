"""Whether this role sees a table's values as they are: Cassandra 5 shows masks of some columns to roles without UNMASK."""

from __future__ import annotations

from cassandra import DriverException, InvalidRequest, Unauthorized

from sync.adapters.cassandra.connection.connect import Cassandra
from sync.adapters.cassandra.connection.pages import quoted
from sync.adapters.cassandra.connection.roles import unknown_role

_MASKS = "SELECT table_name, column_name FROM system_schema.column_masks WHERE keyspace_name = %s"
_SWITCH = "SELECT value FROM system_views.settings WHERE name = 'dynamic_data_masking_enabled'"


def masked_columns(cassandra: Cassandra, keyspace: str) -> dict[str, set[str]]:
    """By table, the columns of which this role is shown masks instead of values.

    Raises the driver's errors if that cannot be found out.
    """
    try:
        rows = cassandra.session.execute(_MASKS, (keyspace,))
    except InvalidRequest:
        return {}  # before Cassandra 5 there are none
    there = cassandra.session.cluster.metadata.keyspaces[keyspace].tables
    known = [(table, column) for table, column in rows if table in there and column in there[table].columns]
    user = cassandra.settings.cassandra_username
    # Clients that do not log in cannot be told apart, and superusers see everything.
    if not known or user is None or _switched_off(cassandra) or _is_superuser(cassandra, user):
        return {}
    found: dict[str, set[str]] = {}
    for table, column in known:
        if _is_masked(cassandra, user, f"{quoted(keyspace)}.{quoted(table)}", column):
            found.setdefault(table, set()).add(column)
    return found


def _is_masked(cassandra: Cassandra, user: str, table: str, column: str) -> bool:
    """Whether this role is shown a mask: by what the server does, if that can be tried, else by its permissions.

    Nodes remember permissions for a while after they were changed (`permissions_validity`), and masks of a dropped table stay
    in the schema for one of the same name.
    """
    refused = _is_refused(cassandra, table, column)
    if refused or _may(cassandra, user, "UNMASK", table):
        return bool(refused)
    return refused is None or _may(cassandra, user, "SELECT_MASKED", table)


def _is_refused(cassandra: Cassandra, table: str, column: str) -> bool | None:
    """Whether this role may not filter by the column, as is the case if it sees a mask and has no SELECT_MASKED.

    None if nobody can filter by the column. The value filtered by is null, which is refused only after the permission check.
    """
    try:
        text = f"SELECT {quoted(column)} FROM {table} WHERE {quoted(column)} = ? ALLOW FILTERING"
        cassandra.session.execute(cassandra.session.prepare(text), (None,))
    except Unauthorized as error:
        if unknown_role(str(error)):  # an outage: the caller turns it into SourceUnavailable
            raise
        return True
    except InvalidRequest as error:
        return False if "null value" in str(error) else None
    return None


def _switched_off(cassandra: Cassandra) -> bool:
    """Whether the server shows no masks at all. False if this role may not ask."""
    try:
        row = cassandra.session.execute(_SWITCH).one()
    except (InvalidRequest, Unauthorized):
        return False
    return row is not None and row[0] == "false"


def _is_superuser(cassandra: Cassandra, user: str) -> bool:
    return any(row.super for row in cassandra.session.execute(f"LIST ROLES OF {quoted(user)}"))


def _may(cassandra: Cassandra, user: str, permission: str, table: str) -> bool:
    """Whether the role, or one granted to it, has the permission on the table, its keyspace, or all."""
    try:
        return any(
            True for _ in cassandra.session.execute(f"LIST {permission} PERMISSION ON TABLE {table} OF {quoted(user)}")
        )
    except DriverException as error:
        if "AllowAllAuthorizer" in str(error):  # every role has every permission
            return permission == "UNMASK"
        raise
