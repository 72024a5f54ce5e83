"""Whether this role sees a table's values as they are: Cassandra 5 shows masks of some columns to roles without UNMASK."""

from __future__ import annotations

from cassandra import DriverException, InvalidRequest, Unauthorized

from sync.adapters.cassandra.connect import Cassandra
from sync.adapters.cassandra.pages import quoted

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
    found: dict[str, set[str]] = {}
    for table, column in rows:
        found.setdefault(table, set()).add(column)
    if not found or _switched_off(cassandra):
        return {}
    user = cassandra.settings.cassandra_username
    if user is None or _is_superuser(cassandra, user):  # who does not log in is not told from others
        return {}
    return {
        table: columns
        for table, columns in found.items()
        if not _may_unmask(cassandra, user, keyspace, table) or _is_still_refused(cassandra, keyspace, table, columns)
    }


def _switched_off(cassandra: Cassandra) -> bool:
    """Whether the server shows no masks at all. A role that may not ask takes it that it does."""
    try:
        row = cassandra.session.execute(_SWITCH).one()
    except (InvalidRequest, Unauthorized):
        return False
    return row is not None and row[0] == "false"


def _is_superuser(cassandra: Cassandra, user: str) -> bool:
    return any(row.super for row in cassandra.session.execute(f"LIST ROLES OF {quoted(user)}"))


def _may_unmask(cassandra: Cassandra, user: str, keyspace: str, table: str) -> bool:
    """By a permission of its own or of a role that it has, on the table, its keyspace, or all."""
    listed = f"LIST UNMASK PERMISSION ON TABLE {quoted(keyspace)}.{quoted(table)} OF {quoted(user)}"
    try:
        return any(True for _ in cassandra.session.execute(listed))
    except DriverException as error:
        if "AllowAllAuthorizer" in str(error):  # every role has every permission
            return True
        raise


def _is_still_refused(cassandra: Cassandra, keyspace: str, table: str, columns: set[str]) -> bool:
    """Whether the permission is not in force yet: nodes remember permissions for a while (`permissions_validity`).

    Who sees masks may not ask for a masked column's value; that is refused before it is noticed that the value is null.
    """
    for column in sorted(columns):
        text = f"SELECT {quoted(column)} FROM {quoted(keyspace)}.{quoted(table)} WHERE {quoted(column)} = ? ALLOW FILTERING"
        try:
            cassandra.session.execute(cassandra.session.prepare(text), (None,))
        except Unauthorized:
            return True
        except InvalidRequest:  # the null; or a column or a server that cannot be asked so
            continue
    return False
