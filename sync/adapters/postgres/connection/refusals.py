"""What an error of Postgres is about: one row, one statement, somebody's lock, or the server as a whole.

Users' objects refuse rows with any SQLSTATE at all: a trigger's RAISE (P0001, or one of its own), a policy (42501), a view's
check (44000), a function in another language (38000). So the list holds what is not a refusal (Postgres, appendix A).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg.errors import QueryCanceled

from sync.errors import BatchTimedOut, TargetNotNow, TargetUnavailable

NO_REFUSAL = r"^(08(?!P01)|25|26|3D|3F|40|42(?!501)|53|55P03|57|58|XX)"
"""Errors that are not about the row; the same regex in Postgres and Python. 08P01 is a cell too short for its type."""
_SERVER = re.compile(r"08(?!P01)|25|53|57|58")
_NOT_NOW = re.compile(r"53|57P0[1-4]|25006|58030")
_NO_ROOM = re.compile(r"53[124]00|58030")
_PASSING = re.compile(r"40|55P03")


def refuses_row(error: psycopg.Error) -> bool:
    """Whether the target cannot hold this row as it is."""
    if error.sqlstate is None:
        return isinstance(error, psycopg.DataError)  # psycopg itself
    if error.diag.source_function == "aclcheck_error":  # a privilege is lacking, it is no policy: no row would fare better
        return False
    return not re.match(NO_REFUSAL, error.sqlstate)


def is_lock_conflict(error: psycopg.Error) -> bool:
    """Whether another transaction is in the way: a row is locked, or two wait for each other."""
    return error.sqlstate is not None and bool(_PASSING.match(error.sqlstate))


def is_server_wide(error: psycopg.Error) -> bool:
    """Whether the server is unreachable, read-only, full, or cancels requests: no other row would fare better."""
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return bool(_SERVER.match(error.sqlstate))


def is_temporary(error: psycopg.Error) -> bool:
    """Whether the server says that it has no room, takes no writes, or shuts down: a later retry may succeed."""
    return error.sqlstate is not None and bool(_NOT_NOW.match(error.sqlstate))


def is_out_of_resources(error: psycopg.Error) -> bool:
    """Whether disk, memory or a configured limit is exhausted: a retry would take the rest of it from others."""
    return error.sqlstate is not None and bool(_NO_ROOM.match(error.sqlstate))


def lacks_shared_memory(error: psycopg.Error) -> bool:
    """Whether there is no room for what parallel processes share (/dev/shm), rather than on the disk: both are 53100."""
    return error.diag.source_file == "dsm_impl.c"


@contextmanager
def target_errors() -> Iterator[None]:
    """Raise TargetUnavailable for a broken connection, and TargetNotNow, in its own words, for a server that cannot now."""
    try:
        yield
    except psycopg.Error as error:
        if is_temporary(error) or isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
            raise unavailable(error) from None
        raise


@contextmanager
def timing_out(count: int) -> Iterator[None]:
    """Raise BatchTimedOut if a statement for so many keys is cancelled: only that of a single one tells of a sick server."""
    try:
        yield
    except QueryCanceled as error:
        if count > 1:
            raise BatchTimedOut(error_text(error)) from None
        raise


def unavailable(error: Exception) -> TargetUnavailable:
    """TargetUnavailable in the server's words; TargetNotNow if the server says that it is temporary."""
    if isinstance(error, psycopg.Error) and is_temporary(error):
        return TargetNotNow(f"{error_text(error)} (SQLSTATE {error.sqlstate})")
    return TargetUnavailable(error_text(error))


def error_text(error: BaseException) -> str:
    """The error in one line; of Postgres's own errors only the primary message: other parts may quote values."""
    primary = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    return primary or " ".join(str(error).split()) or type(error).__name__
