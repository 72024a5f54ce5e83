"""Somebody who writes the migrated tables by SQL, and a place for it on Postgres of a chosen version."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from support import postgres_jars
from support.backfills import until
from support.dual import Table
from support.places import Place
from sync import local
from sync.settings import Settings

REFUSED, TRUNCATED, STALE = "SY001", "SY002", "40001"
RECHECK = ("recheck", "finished")


def foreign(settings: Settings, **options: Any) -> psycopg.Connection[Any]:
    """A connection as anybody's, which knows nothing of the program."""
    password = settings.postgres_password
    return psycopg.connect(
        host=settings.postgres_host, port=settings.postgres_port, dbname=settings.postgres_database,
        user=settings.postgres_user, password=password.get_secret_value() if password else None, sslmode="disable",
        autocommit=True, **options,
    )  # fmt: skip


@contextmanager
def postgres_of(folder: Path, version: int, base: Settings) -> Iterator[Settings]:
    """A Postgres of this version, which allows prepared transactions; the other servers are those of `base`."""
    given = {"fsync": "off", "full_page_writes": "off", "max_prepared_transactions": "10"}
    kind = postgres_jars.JarPostgres if version in postgres_jars.VERSIONS else local.PostgresServer
    server = kind(folder, options=local.PostgresOptions(version, given))
    server.start()
    try:
        yield base.model_copy(
            update={
                "postgres_host": "127.0.0.1", "postgres_port": server.port, "postgres_user": server.user,
                "postgres_database": "postgres", "postgres_sslmode": "disable",
                "postgres_password": type(base.postgres_password)(server.password),  # type: ignore[misc,call-arg]
            }
        )  # fmt: skip
    finally:
        server.remove()


def without_triggers(place: Place) -> None:
    """Let a store of Postgres alone write, as it does after `sync finish`: before it, such writes are anybody's SQL."""
    found = place.sql("SELECT tgname, tgrelid::regclass::text FROM pg_trigger WHERE tgname LIKE '\\_sync\\_%'")
    place.sql(*(f"DROP TRIGGER {name} ON {relation}" for name, relation in found))


def refusal(statement: Callable[[], object]) -> str:
    """The SQLSTATE with which this is refused."""
    try:
        statement()
    except psycopg.Error as error:
        return str(error.sqlstate)
    return ""


@contextmanager
def beside(work: Callable[[], object]) -> Iterator[None]:
    """Run it in a thread meanwhile; what it raises is raised at the end."""
    with ThreadPoolExecutor(1) as executor:
        future = executor.submit(work)
        yield
        future.result(60)


def waits(table: Table, what: str) -> None:
    """Wait until a session that runs a statement like this waits, for a lock or asleep."""
    query = (
        "SELECT 1 FROM pg_stat_activity WHERE query LIKE %s AND pid <> pg_backend_pid() AND state = 'active' "
        "AND wait_event IN ('advisory', 'PgSleep', 'transactionid', 'tuple')"
    )
    until(lambda: bool(table.sql(query, (f"%{what}%",))), what=f"{what} waits")
