"""`sync schema apply`: the SQL files of `migrations/`, each in a transaction, recorded, safe to run twice at once."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from pathlib import Path

import psycopg

from sync.adapters.postgres.connect import Connection
from sync.errors import PreflightError, SettingsError

APPLICATION, STATE = "002_postgres_schema.sql", "003_sync_state.sql"
_LOCK = 0x73796E63  # "sync": one schema change at a time
_RECORD = """
CREATE SCHEMA IF NOT EXISTS sync;
CREATE TABLE IF NOT EXISTS sync.migration (
    name text PRIMARY KEY, checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT clock_timestamp())
"""


def texts(application: tuple[Path, ...] | None = None) -> dict[str, str]:
    """The files to apply in turn, by name: the application's (sync.toml's `schema_files`, or 002), then the state's."""
    packaged = {n: (files("migrations") / n).read_text(encoding="utf-8") for n in (APPLICATION, STATE)}
    if application is None:
        return packaged
    try:
        own = {path.name: path.read_text(encoding="utf-8") for path in application}
    except OSError as error:
        raise SettingsError(f"sync.toml: schema_files: {error}") from None
    return {**own, STATE: packaged[STATE]}


def apply(connection: Connection, name: str, text: str, dimension: int | None = None) -> bool:
    """Apply one file unless it is recorded with this very text; whether anything was run.

    Every file is idempotent, so a changed file is run again. Raises PreflightError with Postgres's reason.
    """
    checksum = hashlib.sha256(f"{text}{dimension}".encode()).hexdigest()
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        _run(connection, _RECORD, name)
        known = connection.execute("SELECT checksum FROM sync.migration WHERE name = %s", (name,)).fetchone()
        if known == (checksum,):
            return False
        connection.execute("SELECT set_config('sync.dimension', %s, true)", (str(dimension or ""),))
        _run(connection, text, name)
        connection.execute(
            "INSERT INTO sync.migration (name, checksum) VALUES (%s, %s) ON CONFLICT (name) "
            "DO UPDATE SET checksum = excluded.checksum, applied_at = clock_timestamp()",
            (name, checksum),
        )
    return True


def _run(connection: Connection, text: str, name: str) -> None:
    try:
        connection.execute(text.encode())
    except psycopg.errors.InsufficientPrivilege as error:
        raise PreflightError(f"{name}: {error.diag.message_primary}; {_advice(error)}") from None
    except psycopg.DatabaseError as error:
        raise PreflightError(f"{name}: {error.diag.message_primary}") from None


def _advice(error: psycopg.errors.InsufficientPrivilege) -> str:
    if "extension" in (error.diag.message_primary or ""):
        return "have an administrator run CREATE EXTENSION vector in this database"
    return "grant the role CREATE on the database and on its schema public"


def state_exists(connection: Connection) -> bool:
    """Whether the state schema is there."""
    row = connection.execute("SELECT to_regclass('sync.range') IS NOT NULL").fetchone()
    return bool(row and row[0])
