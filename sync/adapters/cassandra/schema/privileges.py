"""What the role of a session may do in the source, found out with statements that change nothing."""

from __future__ import annotations

from cassandra import InvalidRequest, Unauthorized
from cassandra.cluster import Session

from sync.adapters.cassandra.connection.connect import explain
from sync.adapters.cassandra.connection.pages import delete, quoted
from sync.adapters.cassandra.connection.roles import unknown_role
from sync.adapters.cassandra.rows.rows import FAILURES
from sync.core.rows import SourceTable
from sync.errors import SourceUnavailable


def may_write(session: Session, table: SourceTable) -> bool:
    """Whether this role may write the table's rows. Raises SourceUnavailable if the source does not say.

    It is asked to delete the row whose key is null: it checks privileges first, and refuses the null after that.
    """
    nulls = " AND ".join(f"{quoted(c.name)} = null" for c in table.primary_key)
    try:
        session.execute(f"{delete(table)} WHERE {nulls}")
    except Unauthorized as error:
        if unknown_role(str(error)):
            raise SourceUnavailable(explain(error)) from None
        return False
    except InvalidRequest:
        return True
    except FAILURES as error:
        raise SourceUnavailable(explain(error)) from None
    raise AssertionError("a key of nulls was deleted")
