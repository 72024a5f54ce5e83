"""What an error of Postgres is about: one row, one statement, somebody's lock, or the server as a whole.

Users' objects refuse rows with any SQLSTATE at all: a trigger's RAISE (P0001, or one of its own), a policy (42501), a view's
check (44000), a function in another language (38000). So what is no refusal is listed (Postgres, appendix A), not what is.
"""

from __future__ import annotations

import re

import psycopg

NO_REFUSAL = r"^(08(?!P01)|25|26|3D|3F|40|42(?!501)|53|55P03|57|58|XX)"
"""Errors that say nothing of the row; Postgres and Python read this alike. 08P01 is a cell too short for its type."""
_SERVER = re.compile(r"08(?!P01)|25|53|57|58")
_PASSING = re.compile(r"40|55P03")


def refuses_row(error: psycopg.Error) -> bool:
    """Whether the target cannot hold this row as it is."""
    if error.sqlstate is None:
        return isinstance(error, psycopg.DataError)  # psycopg itself
    if error.diag.source_function == "aclcheck_error":  # a right that the role lacks, and no policy: no row would fare better
        return False
    return not re.match(NO_REFUSAL, error.sqlstate)


def is_passing(error: psycopg.Error) -> bool:
    """Whether somebody else stands in the way: a row is held, or two wait for each other."""
    return error.sqlstate is not None and bool(_PASSING.match(error.sqlstate))


def is_of_server(error: psycopg.Error) -> bool:
    """Whether the server is away, takes no writes, has no room, or ends what it is asked: no other row would fare better."""
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return bool(_SERVER.match(error.sqlstate))


def words(error: BaseException) -> str:
    """The error in one line; of Postgres's own the main line alone: the others may quote values."""
    primary = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    return primary or " ".join(str(error).split()) or type(error).__name__
