"""`sync schema apply`: the application's tables, what the source has and the target lacks, and the state schema."""

from __future__ import annotations

import re
from contextlib import closing
from importlib.resources import files

import psycopg
from cassandra import DriverException
from cassandra.cluster import Session

from sync.adapters.cassandra.catalogue import keyspace_of, read_tables
from sync.adapters.cassandra.connect import explain, open_cassandra
from sync.adapters.postgres import migrations
from sync.adapters.postgres.catalogue import read_target
from sync.adapters.postgres.connect import Connection, connect
from sync.core.mapping import create_table, missing_columns, vector_dimension
from sync.core.rows import SourceTable
from sync.errors import PreflightError
from sync.settings import Config, Settings
from sync.wiring.preflight import chosen_tables

_DIMENSION = re.compile(r"vector<float, *\d+>")


def apply_source(settings: Settings, dimension: int | None) -> list[str]:
    """Make migrations/001's tables in the source keyspace; the names of the statements run."""
    text = (files("migrations") / "001_astra_schema.cql").read_text(encoding="utf-8")
    if dimension:
        text = _DIMENSION.sub(f"vector<float, {dimension}>", text)
    statements = [s.strip() for s in re.sub(r"--.*", "", text).split(";") if s.strip()]
    settings.require("astra_db_keyspace")
    with open_cassandra(settings) as cassandra:
        keyspace_of(cassandra.session, settings.astra_db_keyspace or "")
        _run_cql(cassandra.session, settings.astra_db_keyspace or "", statements)
    return [f"source: {s.split('(')[0].strip()}" for s in statements]


def _run_cql(session: Session, keyspace: str, statements: list[str]) -> None:
    try:
        session.set_keyspace(keyspace)
        for statement in statements:
            session.execute(statement, timeout=60)
    except DriverException as error:
        raise PreflightError(f"001_astra_schema.cql: {explain(error)}") from None


def apply_target(
    settings: Settings, config: Config, names: list[str] | None, dimension: int | None, dry_run: bool = False
) -> list[str]:
    """Make the target's schema; what was done, a line each. Raises PreflightError."""
    settings.require("astra_db_keyspace")
    with open_cassandra(settings) as cassandra:
        sources = chosen_tables(cassandra, settings, config, names)
        everything = list(read_tables(cassandra.session, settings.astra_db_keyspace or "").values())
    found = dimension or vector_dimension(everything)
    with closing(connect(settings, autocommit=True)) as connection:
        done = _apply_files(connection, config, found, dry_run)
        for source in sources:
            done += _complete(connection, source, config, dry_run)
    return done


def _apply_files(connection: Connection, config: Config, dimension: int | None, dry_run: bool) -> list[str]:
    texts = migrations.texts(config.schema_files)
    if dry_run:
        return [f"would apply {name}" for name in texts]
    applied = [name for name, text in texts.items() if migrations.apply(connection, name, text, dimension)]
    return [f"applied {name}" for name in applied]


def _complete(connection: Connection, source: SourceTable, config: Config, dry_run: bool) -> list[str]:
    """Make what the source has and the target lacks: a table, or columns."""
    options = config.options(source.name)
    name = options.target or source.name
    target = read_target(connection, name)
    statements = [create_table(source, name, options)] if target is None else missing_columns(source, target, options)
    for statement in statements if not dry_run else []:
        try:
            connection.execute(statement.encode())
        except (psycopg.errors.DuplicateTable, psycopg.errors.DuplicateColumn):
            continue  # another `schema apply` was a moment faster
        except psycopg.DatabaseError as error:
            raise PreflightError(f"{name}: {error.diag.message_primary}: {statement}") from None
    return statements
