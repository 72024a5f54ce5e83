"""Whether an address is that of a transaction pooler: by its name or a setting, else by a test.

A pooler gives its clients its own cancel keys: the process that it names at the start is not the one that answers. One
that gives each client its own server session (session mode) is as good as the server. In transaction mode the same server
process answers two clients that are connected at the same time, or several processes answer one client.
"""

from __future__ import annotations

from contextlib import closing
from typing import Any

import psycopg
from psycopg import conninfo

_NEON = "-pooler."
_PROCESS = "SELECT pg_catalog.pg_backend_pid()"
_LOOKS = 8
_looked: dict[tuple[str, ...], bool] = {}


def known(dsn: str, said: str = "auto") -> bool | None:
    """Whether a transaction pooler is there, by a setting (POSTGRES_POOLER), its name or an earlier test; else None."""
    given = conninfo.conninfo_to_dict(dsn)
    if said != "auto":
        return said == "transaction"
    return True if _NEON in str(given.get("host", "")) else _looked.get(_address(given))


def detect(dsn: str, connection: psycopg.Connection[Any]) -> bool:
    """Test an address over an idle connection to it, once per process and address. Raises psycopg's errors."""
    found = _process(connection) != connection.info.backend_pid and _is_shared(dsn, connection)
    _looked[_address(conninfo.conninfo_to_dict(dsn))] = found
    return found


def _address(given: dict[str, Any]) -> tuple[str, ...]:
    return tuple(str(given.get(part, "")) for part in ("host", "hostaddr", "port", "dbname", "user"))


def _is_shared(dsn: str, one: psycopg.Connection[Any]) -> bool:
    with closing(psycopg.connect(dsn, autocommit=True, application_name="sync")) as other:
        return _share(one, other)


def _share(one: psycopg.Connection[Any], other: psycopg.Connection[Any]) -> bool:
    """Whether two clients have server processes in common, or one has several."""
    ones, others = set[int](), set[int]()
    for _ in range(_LOOKS):
        ones.add(_process(one))
        others.add(_process(other))
        if len(ones) > 1 or len(others) > 1 or ones & others:
            return True
    return False


def _process(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute(_PROCESS, prepare=False).fetchone()
    return int(row[0]) if row else 0
