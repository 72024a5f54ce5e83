"""`sync schema apply`: the application's tables, what the source has and the target lacks, and the state schema."""

from __future__ import annotations

import re
from contextlib import closing

from cassandra import DriverException
from cassandra.cluster import NoHostAvailable, Session
from cassandra.protocol import SyntaxException

from sync.adapters.cassandra.connection.connect import explain, open_cassandra
from sync.adapters.cassandra.schema.catalogue import keyspace_of, read_tables
from sync.adapters.postgres.connection.connect import Connection, connect
from sync.adapters.postgres.schema import expiry, migrations
from sync.adapters.postgres.schema.catalogue import read_target
from sync.adapters.postgres.schema.key_order import comment_statement
from sync.adapters.postgres.schema.sql_writers import SqlWriters, left_behind, unwatch, watched
from sync.adapters.postgres.schema.visibility import no_tables
from sync.core.encode import UnsupportedPair
from sync.core.reads.key_order import source_key_order
from sync.core.rows import SourceTable, one_sided
from sync.core.schema.ddl import create_table, missing_columns, vector_dimension
from sync.core.schema.limits import migrated_columns
from sync.core.schema.mapping import name_problems
from sync.errors import PreflightError
from sync.resources import migration
from sync.settings import Config, Settings
from sync.wiring.preflight import chosen_tables

# A statement that waits for a table holds up every write after it.
_PATIENCE = "SELECT set_config('lock_timeout', '5s', true)"
_NO_PATIENCE = "SELECT set_config('lock_timeout', '0', true)"
_DIMENSION = re.compile(r"vector<float, *\d+>")


def apply_source(settings: Settings, dimension: int | None, dry_run: bool = False) -> list[str]:
    """Make those of migrations/001's tables that the source lacks; a line each, or for a dry run every statement."""
    text = migration("001_astra_schema.cql")
    if dimension:
        text = _DIMENSION.sub(f"vector<float, {dimension}>", text)
    statements = [s.strip() for s in re.sub(r"--.*", "", text).split(";") if s.strip()]
    settings.require("source")
    name = settings.astra_db_keyspace or ""
    with open_cassandra(settings) as cassandra:
        keyspace = keyspace_of(cassandra.session, name)
        there = keyspace.tables.keys() | keyspace.indexes.keys()
        lacking = [s for s in statements if s.split("IF NOT EXISTS")[1].split()[0] not in there]
        if not dry_run:
            _run_cql(cassandra.session, name, lacking)
    if dry_run:
        return [f"-- source\n{statement};" for statement in lacking]
    return [f"source: {s.split('(')[0].strip()}" for s in lacking]


def _run_cql(session: Session, keyspace: str, statements: list[str]) -> None:
    try:
        session.set_keyspace(keyspace)
        for statement in statements:
            session.execute(statement, timeout=60)
    except SyntaxException:
        raise PreflightError(
            "001_astra_schema.cql: this server does not know vectors, which came with Cassandra 5.0; `--source` makes the "
            "example's tables alone, and your own need none"
        ) from None
    except (DriverException, NoHostAvailable) as error:
        raise PreflightError(f"001_astra_schema.cql: {explain(error)}") from None


def apply_target(
    settings: Settings,
    config: Config,
    names: list[str] | None,
    dimension: int | None,
    dry_run: bool = False,
    example: bool = False,
) -> list[str]:
    """Make the target's schema; what was done, a line each, or for a dry run every statement. Raises PreflightError.

    It is one transaction: if a statement fails nothing stays, and a dry run is the same run, rolled back. `example`: with
    the example's tables and indexes.
    """
    settings.require("source")
    with open_cassandra(settings) as cassandra:
        sources = chosen_tables(cassandra, settings, config, names)
        everything = list(read_tables(cassandra.session, settings.astra_db_keyspace or "", config.kinds).values())
    with (
        closing(connect(settings, autocommit=True)) as connection,
        connection.transaction(force_rollback=dry_run),
        migrations.notes(connection) as notes,
    ):
        migrations.at_home(connection)
        _check_names(connection, sources, config)
        texts = migrations.texts(config.schema_files, example)
        done = _apply_files(connection, texts, _dimension(everything, dimension), dry_run)
        for source in sources:
            done += [f"{text};" if dry_run else text for text in _complete(connection, source, config, dry_run)]
            done += _watch(connection, source, config, dry_run)
        done += _unwatch(connection, sources, config, dry_run)
        if dry_run and done:
            done = [f"SET search_path TO {migrations.search_path(connection)};", *done]
        return done + [f"-- note: {text}" if dry_run else f"note: {text}" for text in notes]


def _check_names(connection: Connection, sources: list[SourceTable], config: Config) -> None:
    names = {source.name: config.options(source.name).target or source.name for source in sources}
    others = no_tables(connection, list(names.values()))
    for source, name in names.items():
        if name in others:
            raise PreflightError(f"{source}: {others[name]}")


def _dimension(sources: list[SourceTable], asked: int | None) -> int | None:
    found = vector_dimension(sources)
    if asked and found and asked != found:
        raise PreflightError(f"--dimension {asked}, but the source's embeddings have {found}: leave it out")
    return asked or found


def _apply_files(connection: Connection, texts: dict[str, str], dimension: int | None, dry_run: bool) -> list[str]:
    ran = {name: migrations.apply(connection, name, text, dimension) for name, text in texts.items()}
    return [f"-- {name}\n{script}" if dry_run else f"applied {name}" for name, script in ran.items() if script]


def _complete(connection: Connection, source: SourceTable, config: Config, dry_run: bool) -> list[str]:
    """Make what the source has and the target lacks: a table with its schema, or columns. Another run waits for this one.

    Its primary key says how Cassandra orders its rows; only a dry run lists that statement.
    """
    options = config.options(source.name)
    name = options.target or source.name
    for problem in name_problems(source, options):
        raise PreflightError(f"{source.name}: {problem.text}")
    target = read_target(connection, name)
    try:
        found = [create_table(source, name, options)] if target is None else missing_columns(source, target, options)
    except UnsupportedPair as error:
        raise PreflightError(f"{source.name}: {error}; name it under ignore, or leave the table out of only") from None
    vectors = any(c.type.name == "vector" for c in migrated_columns(source, options))
    statements = [*migrations.needed_first(connection, name, vectors), *found] if found else []
    for statement in statements:
        migrations.run(connection, statement, name)
    made = read_target(connection, name)
    if made is None:
        return statements
    if options.expiry and made.column(options.expiry):
        for statement in (text.as_string(connection) for text in expiry.statements(connection, source, made, options.expiry)):
            connection.execute(statement.encode())
            statements.append(statement)
    order = comment_statement(connection, made, source_key_order(source, options))
    if order is None:
        return statements
    connection.execute(order)
    return [*statements, order.as_string(connection)] if dry_run else statements


def _writers(connection: Connection, source: SourceTable, config: Config) -> SqlWriters | None:
    options = config.options(source.name)
    target = read_target(connection, options.target or source.name)
    if target is None or one_sided(source):
        return None
    try:
        return SqlWriters(source.name, target, source_key_order(source, options), config.cutover.sql_writers)
    except ValueError:
        return None  # preflight and the gates name the key column that the target lacks


def _watch(connection: Connection, source: SourceTable, config: Config, dry_run: bool) -> list[str]:
    """Make the triggers that tell of what SQL writes, or make them whole again."""
    writers = _writers(connection, source, config)
    name = config.options(source.name).target or source.name
    return (
        []
        if writers is None
        else _run_patiently(connection, name, writers.statements(watched(connection, [writers])), "triggers", dry_run)
    )


def _unwatch(connection: Connection, sources: list[SourceTable], config: Config, dry_run: bool) -> list[str]:
    """Drop the triggers of tables that are excluded, or have another target now."""
    made = [writers for source in sources if (writers := _writers(connection, source, config))]
    done = []
    for relation in left_behind(connection, made, watched(connection, made), config.exclude):
        done += _run_patiently(connection, relation, unwatch(relation), "no triggers", dry_run)
    return done


def _run_patiently(connection: Connection, name: str, statements: list[str], what: str, dry_run: bool) -> list[str]:
    connection.execute(_PATIENCE)
    for statement in statements:
        migrations.run(connection, statement, f"{name}: its triggers for SQL writers")
    connection.execute(_NO_PATIENCE)
    if dry_run:
        return [f"{statement};" for statement in statements]
    return [f"{name}: {what} for SQL writers"] if statements else []
