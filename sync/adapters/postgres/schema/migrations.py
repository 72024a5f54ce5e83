"""`sync schema apply`: the SQL files of `migrations/`, each in a transaction, recorded, safe to run twice at once."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

from sync.adapters.postgres.connection.connect import Connection
from sync.adapters.postgres.connection.refusals import error_text
from sync.adapters.postgres.schema.catalogue import HOME
from sync.errors import PreflightError, SettingsError
from sync.resources import migration

EXAMPLE, STATE = "002_postgres_schema.sql", "003_sync_state.sql"
_QUOTED = re.compile(r"\$(\w*)\$.*?\$\1\$|--[^\n]*", re.DOTALL)
_ENDS_TRANSACTION = re.compile(r"(^|;)\s*(BEGIN|START|COMMIT|END|ROLLBACK)(\s+(TRANSACTION|WORK))?\s*;", re.IGNORECASE)
_LOCK = 0x73796E63  # "sync": one schema change at a time
_RECORD = """\
CREATE SCHEMA IF NOT EXISTS sync;
CREATE TABLE IF NOT EXISTS sync.migration (
    name text PRIMARY KEY, checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT clock_timestamp());"""
_DIMENSION = "SELECT set_config('sync.dimension', '{}', true);"
_NOTE = """\
INSERT INTO sync.migration (name, checksum) VALUES ({}, {})
ON CONFLICT (name) DO UPDATE SET checksum = excluded.checksum, applied_at = clock_timestamp();"""


def texts(application: tuple[Path, ...] = (), example: bool = False) -> dict[str, str]:
    """The files to apply in turn, by name: the application's, then the state's.

    The application's are sync.toml's `schema_files`, or, with `example`, the example's.
    """
    if example and application:
        raise SettingsError("--example makes the example's tables, and sync.toml has schema_files: leave one of them out")
    if example:
        return {name: migration(name) for name in (EXAMPLE, STATE)}
    try:
        own = {str(path): path.read_text(encoding="utf-8") for path in application}
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"sync.toml: schema_files: {error}") from None
    for name, text in own.items():
        if _ENDS_TRANSACTION.search(_QUOTED.sub("", text)):
            raise SettingsError(
                f"sync.toml: schema_files: remove BEGIN, COMMIT and ROLLBACK from {name}: the whole file is one transaction"
            )
    return {**own, STATE: migration(STATE)}


def apply(connection: Connection, name: str, text: str, dimension: int | None = None) -> str:
    """Apply one file unless it is recorded with this very text; returns the statements that were run.

    Every file is idempotent, so a changed file is run again. Raises PreflightError with Postgres's reason.
    """
    checksum = hashlib.sha256(f"{text}{dimension}".encode()).hexdigest()
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        if _known(connection, name) == checksum:
            return ""
        note = _NOTE.format(*(sql.Literal(value).as_string(connection) for value in (name, checksum)))
        own = text.strip() if text.rstrip().endswith(";") else f"{text.strip()}\n;"
        script = "\n".join([_RECORD, *([_DIMENSION.format(dimension)] if dimension else []), own, note])
        run(connection, script, name)
    return script


def _known(connection: Connection, name: str) -> str:
    """The checksum of a file as it was last applied; empty if it never was."""
    if connection.execute("SELECT to_regclass('sync.migration') IS NULL").fetchone() == (True,):
        return ""
    row = connection.execute("SELECT checksum FROM sync.migration WHERE name = %s", (name,)).fetchone()
    return str(row[0]) if row else ""


def run(connection: Connection, text: str, name: str) -> None:
    """Run statements on behalf of `name`. Raises PreflightError with Postgres's reason and what to do."""
    try:
        connection.execute(text.encode())
    except psycopg.DatabaseError as error:
        message = error_text(error)
        advice = next((f"; {a}" for symptom, a in _ADVICE if symptom in message), "")
        raise PreflightError(f"{name}: {message}{advice}") from None


_ADVICE = (
    ("create extension", "have an administrator run CREATE EXTENSION vector in this database"),
    ("is not available", "install pgvector on the server"),
    ("extension control file", "install pgvector on the server"),
    ("must be owner", "make this role the owner: ALTER TABLE … OWNER TO …"),
    ("lock timeout", "another session holds the table: run it again"),
    ("permission denied for", "grant this role CREATE on the database and on its schema"),
)


def at_home(connection: Connection) -> None:
    """Until the transaction ends, let names without a schema mean public, whatever the search path is, and find pgvector."""
    connection.execute(_HOME, (HOME, HOME))


def search_path(connection: Connection) -> str:
    """The search path of this transaction, as SQL has it."""
    row = connection.execute("SELECT current_setting('search_path')").fetchone()
    return str(row[0]) if row else HOME


_HOME = """
SELECT set_config('search_path', concat_ws(', ', %s::text, (
    SELECT quote_ident(n.nspname) FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace
    WHERE e.extname = 'vector' AND n.nspname <> %s)), true)
"""


def needed_first(connection: Connection, table: str, vectors: bool) -> list[str]:
    """The statements that must run before a table can be created: for its schema, if that is missing, and for pgvector."""
    schema = sql.Identifier(table.split(".", 1)[0]).as_string(connection) if "." in table else HOME
    row = connection.execute(
        "SELECT to_regnamespace(%s) IS NULL, NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'vector')", (schema,)
    ).fetchone()
    no_schema, no_vector = row or (False, False)
    found = [f"CREATE SCHEMA {schema}"] if no_schema else []
    return [*found, "CREATE EXTENSION vector"] if vectors and no_vector else found


@contextmanager
def notes(connection: Connection) -> Iterator[list[str]]:
    """Collects what files say with RAISE NOTICE meanwhile; Postgres's own notices (`… exists, skipping`) have other codes."""
    found: list[str] = []

    def note(diagnostic: psycopg.errors.Diagnostic) -> None:
        if diagnostic.sqlstate == "00000":
            found.append(diagnostic.message_primary or "")

    connection.add_notice_handler(note)
    try:
        yield found
    finally:
        connection.remove_notice_handler(note)


def state_exists(connection: Connection) -> bool:
    """Whether the state schema is there."""
    row = connection.execute("SELECT to_regclass('sync.range') IS NOT NULL").fetchone()
    return bool(row and row[0])


def usable_state(connection: Connection) -> bool:
    """Whether the state schema is there. Raises PreflightError if it is of an older version."""
    check_version(connection)
    return state_exists(connection)


def require_state(connection: Connection) -> None:
    """Raise PreflightError if the state schema is missing, or of an older version."""
    if not usable_state(connection):
        raise PreflightError(
            "the target has no schema `sync`: no migration has begun, or it is finished; run `sync schema apply` first"
        )


def check_version(connection: Connection) -> None:
    """Raise PreflightError if the state schema is there, but lacks something that this version has."""
    row = connection.execute(_OLDER).fetchone()
    if row and row[0]:
        raise PreflightError("the target's schema `sync` is of an older version: run `sync schema apply`")


# A file is applied as a whole, so it is enough to look for the newest things in it.
_OLDER = """
SELECT to_regclass('sync.range') IS NOT NULL AND (to_regclass('sync.intent_of_key') IS NULL OR EXISTS (
    SELECT FROM (VALUES
        ('sync.ahead', 'source_key'),
        ('sync.run', 'settings'),
        ('sync.writer', 'protocol'),
        ('sync.range', 'position'),
        ('sync.index', 'dropped_at'),
        ('sync.read_shape', 'last_seen'),
        ('sync.intent', 'not_before'),
        ('sync.feed', 'position'),
        ('sync.sample', 'figures'),
        ('sync.sql_change', 'key')
    ) AS newest (relation, name)
    WHERE NOT EXISTS (
        SELECT FROM pg_attribute WHERE attrelid = to_regclass(relation) AND attname = name AND NOT attisdropped)))
"""
