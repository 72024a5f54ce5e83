"""`sync preflight`: what was found on all three servers, as one report."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TypeVar

import redis
from cassandra import DriverException, Unauthorized
from cassandra.cluster import NoHostAvailable

from sync.adapters.cassandra.connection.connect import Cassandra, explain, open_cassandra, source_name
from sync.adapters.cassandra.connection.nodes import unused_nodes
from sync.adapters.cassandra.connection.routing import replica_boundaries
from sync.adapters.cassandra.connection.statement_cache import with_statement_cache
from sync.adapters.cassandra.rows.rows import FAILURES
from sync.adapters.cassandra.schema.catalogue import (
    check_partitioner,
    has_few_rows,
    read_tables,
    release_version,
    table_sizes,
)
from sync.adapters.cassandra.schema.identity import identities
from sync.adapters.cassandra.schema.read_indexes import read_indexes
from sync.adapters.cassandra.schema.views_and_indexes import views_and_indexes
from sync.adapters.postgres.connection.connect import Connection, connect, target_name
from sync.adapters.postgres.connection.hashing import no_hash
from sync.adapters.postgres.connection.session import ends_builds
from sync.adapters.postgres.dual_write.data_centres import elsewhere
from sync.adapters.postgres.schema import migrations
from sync.adapters.postgres.schema.catalogue import HOME, regclass, server_facts
from sync.adapters.postgres.schema.inspection import TableFacts, TargetFacts, inspect
from sync.adapters.queue import QueueNotifier, redis_connection, redis_name, unanswered
from sync.core.expiry import migrated
from sync.core.rows import SourceTable
from sync.core.schema.limits import migrated_columns
from sync.core.schema.mapping import Problem, map_table
from sync.core.schema.static_rows import SUFFIX, has_rows, named
from sync.core.words import counted, first_of
from sync.errors import PreflightError, SettingsError, SyncError, TargetUnavailable, Unreachable
from sync.flows.preflight import PreflightReport, check_target
from sync.ports import ServerFacts
from sync.settings import Config, Settings
from sync.wiring.expiry import check_expiry
from sync.wiring.indexes import missing_indexes
from sync.wiring.privileges import missing_privileges
from sync.wiring.probes import try_privileges, try_source, try_target
from sync.wiring.visibility import masked_text, masks
from sync.wiring.write_times import check_write_times

T = TypeVar("T")
_TABLES_AT_ONCE = 8
_NODES_NAMED = 5


def preflight(
    settings: Settings, config: Config, names: list[str] | None = None, *, write_times: bool = False
) -> PreflightReport:
    """Connect to all three and check; nothing is written. A server that cannot be reached is an error of the report.

    `write_times`: look for cells that were written ahead of the clock in every row, instead of a sample.
    """
    report = PreflightReport()
    _guarded(report, "queue", lambda: _queue(settings, report))
    sources = _guarded(report, "source", lambda: _source(settings, config, names, report, write_times)) or []
    _guarded(report, "target", lambda: _target(settings, config, sources, report))
    report.weigh()
    return report


def _guarded(report: PreflightReport, where: str, look: Callable[[], T]) -> T | None:
    try:
        return look()
    except (SyncError, *FAILURES) as error:
        text = str(error) if isinstance(error, SyncError) else explain(error)
        report.error(where, text)
        if where != "queue":
            report.impossible_all(f"{where}: {text}")
        return None


def _queue(settings: Settings, report: PreflightReport) -> None:
    connection = redis_connection(settings)
    try:
        server = _queue_server(connection)
        workers = QueueNotifier(connection).workers()
    except redis.RedisError as error:
        raise unanswered(connection, error) from None
    report.servers.append(f"queue: {server}, {redis_name(connection)}, {counted(workers, 'RQ worker')}")


def _queue_server(connection: redis.Redis) -> str:
    """The server's name and version; a managed one may forbid the question."""
    try:
        info = connection.info("server")
    except redis.ResponseError:  # NOPERM, or a command that was renamed
        return "version unknown"
    name = "Valkey" if info.get("server_name") == "valkey" else "Redis"
    return f"{name} {info.get('valkey_version') or info.get('redis_version') or '(version unknown)'}"


def _source(
    settings: Settings, config: Config, names: list[str] | None, report: PreflightReport, write_times: bool
) -> list[SourceTable]:
    settings.require("source")
    with open_cassandra(settings) as cassandra:
        check_partitioner(cassandra.session)
        version, report.data_center = release_version(cassandra.session), cassandra.data_center
        report.servers.append(f"source: Cassandra {version}, {source_name(settings)}, keyspace {settings.astra_db_keyspace}")
        _check_nodes(cassandra, report)
        tables = chosen_tables(cassandra, settings, config, names)
        report.replica_boundaries = replica_boundaries(
            cassandra.session, settings.astra_db_keyspace or "", cassandra.data_center
        )
        report.identities = identities(cassandra, settings.astra_db_keyspace or "")
        masked = masks(cassandra, settings.astra_db_keyspace or "")
        report.sizes = table_sizes(cassandra.session, settings.astra_db_keyspace or "", tables)
        # Each table takes a dozen short queries; reading every row should not be done for many tables at once.
        with ThreadPoolExecutor(1 if write_times else _TABLES_AT_ONCE) as executor:
            for part in executor.map(
                lambda t: _inspect(with_statement_cache(cassandra), t, masked, config, write_times), tables
            ):
                report.add(part)
        _guarded(report, "source", lambda: _privileges(settings, cassandra, tables, report))
    return tables


def _check_nodes(cassandra: Cassandra, report: PreflightReport) -> None:
    """Warn of the source's nodes that cannot be used from here, by reason."""
    reasons: dict[str, list[str]] = {}
    for address, why in unused_nodes(cassandra.session):
        reasons.setdefault(explain(why), []).append(address)
    for reason, nodes in reasons.items():
        names = first_of(nodes, _NODES_NAMED)
        report.problems.append(Problem("warning", "source", f"not used from here: {names}: {reason}"))


def _inspect(
    cassandra: Cassandra, table: SourceTable, masked: dict[str, set[str]], config: Config, write_times: bool
) -> PreflightReport:
    """What there is to report about one of the source's tables."""
    found = PreflightReport()
    if _is_readable(cassandra, table, masked, config, found):
        found.problems += [Problem("warning", table.name, text) for text in views_and_indexes(cassandra.session, table)]
        found.indexed[table.name] = sorted(name for name, i in read_indexes(cassandra.session, table).items() if not i.unlike)
        if not config.options(table.name).keep_ttl:
            check_expiry(cassandra, table, config.options(table.name).expiry, found)
        check_write_times(cassandra, table, config, found, whole=write_times)
    return found


def _privileges(settings: Settings, cassandra: Cassandra, tables: list[SourceTable], report: PreflightReport) -> None:
    """Check whether what applications write meanwhile can be reconciled from here."""
    try:
        missing = missing_privileges(settings, cassandra, tables)
    except (SettingsError, Unreachable, TargetUnavailable):
        return  # the check of the target reports it
    if missing:
        report.error("source", missing)


def _is_readable(
    cassandra: Cassandra, table: SourceTable, masked: dict[str, set[str]], config: Config, report: PreflightReport
) -> bool:
    """Whether this role sees the table, and its values as they are; notes which flows are possible with it."""
    carried = [c.name for c in migrated_columns(table, config.options(table.name)) if c in table.stored]
    hidden = masked_text(cassandra, table, masked, carried)
    if hidden:
        where, text = hidden.split(": ", 1)
        report.error(where, text)
        report.impossible_all(hidden)
        return False
    try:
        if has_few_rows(cassandra.raw, table):
            report.small.add(table.name)
    except Unauthorized as error:
        report.impossible_all(f"{table.name}: {explain(error)}")
        return False
    except (DriverException, NoHostAvailable) as error:
        report.error(table.name, f"could not be read: {explain(error)}")
        return False
    try_source(cassandra, table, config, report)
    return not report.flows["copy"]  # if it cannot be read, every further check of its rows would say so again


def chosen_tables(cassandra: Cassandra, settings: Settings, config: Config, names: list[str] | None) -> list[SourceTable]:
    """The tables to migrate: those asked for, else sync.toml's `only` or all, less `exclude`. Raises PreflightError."""
    keyspace = settings.astra_db_keyspace or ""
    there = read_tables(cassandra.session, keyspace, config.kinds)
    unknown = [name for name in (*config.tables, *config.collections, *config.exclude) if name not in there]
    if unknown:
        raise SettingsError(f"sync.toml names {', '.join(unknown)}, which keyspace {keyspace} does not have")
    wanted = names or [name for name in (config.only or there) if not named(name, config.exclude)]
    for name in wanted:
        if name not in there:
            raise PreflightError(f"keyspace {keyspace} has no table {name!r}; it has: {', '.join(sorted(there))}")
    if not wanted:
        raise PreflightError(f"keyspace {keyspace} has no tables; `sync schema apply --source` makes the example's")
    static = [made for name in wanted if (made := f"{name}{SUFFIX}") in there and not named(made, config.exclude)]
    chosen = [name for name in there if name in static or name in wanted] if static else wanted
    return [table for name in chosen if has_rows(table := migrated(there[name], config.options(name)))]


def _target(settings: Settings, config: Config, sources: list[SourceTable], report: PreflightReport) -> None:
    with closing(connect(settings, autocommit=True)) as connection:
        facts = server_facts(connection)
        vector = facts.vector_version or (f"available ({facts.vector_available})" if facts.vector_available else "none")
        tls = _tls(connection)
        report.servers.append(
            f"target: Postgres {facts.version}, {target_name(settings)}, user {facts.user}, {tls}, pgvector {vector}"
        )
        vectors = any(c.type.name == "vector" for s in sources for c in s.columns)
        report.problems += check_target(facts, vectors)
        has_state = migrations.usable_state(connection)
        if has_state and (other := elsewhere(connection, report.data_center)):
            report.error("source", other)
        if text := ends_builds(connection):
            report.error("target", f"no index can be built through the pooler: {text}")
        try_target(connection, settings, report)
        if why := no_hash(connection):
            report.impossible("proof", f"target: {why}")
        _shared_targets(sources, config, report)
        targets = inspect(connection, [config.options(source.name).target or source.name for source in sources])
        report.to_make += [("file", f"{path}, as sync.toml says") for path in config.schema_files]
        if not has_state:
            report.to_make.append(("schema", "sync, the state of the migration"))
        if vectors and facts.vector_version is None:
            report.to_make.append(("extension", "vector"))
        for source in sources:
            _table(targets, source, config, facts, report)
        for table in report.tables:
            report.problems += missing_indexes(connection, table, report.indexed.get(table.name, ()))


def _shared_targets(sources: list[SourceTable], config: Config, report: PreflightReport) -> None:
    """Report tables with the same target: they would overwrite each other's rows."""
    into: dict[str, str] = {}
    for source in sources:
        target = regclass(config.options(source.name).target or source.name)
        other = into.setdefault(target, source.name)
        if other != source.name:
            report.error(source.name, f"{other} goes into {target}, too; give one of them another target")


def _table(targets: TargetFacts, source: SourceTable, config: Config, facts: ServerFacts, report: PreflightReport) -> None:
    options = config.options(source.name)
    name = options.target or source.name
    if name in targets.closed:
        report.error(source.name, f"{targets.closed[name]}; GRANT USAGE, CREATE ON SCHEMA … TO {facts.user}")
        return
    target = targets.tables.get(name)
    table, problems = map_table(source, target, options)
    report.problems += problems
    if shadow := targets.in_front.get(name):
        text = f"the search path finds {shadow} before {HOME}.{name}, which is the target; set target for another one"
        report.problems.append(Problem("warning", source.name, text))
    if target is None:
        if other := targets.no_tables.get(name):
            report.error(source.name, other)
        else:
            report.to_make.append(("table", name))
        if "." not in name and not facts.may_create_tables:
            advice = f"GRANT CREATE ON SCHEMA public TO {facts.user}"
            report.error(source.name, f"{facts.user} may not create tables in public: {advice}")
        return
    if table is not None:
        report.tables.append(table)
    _target_notes(targets.facts.get(name, TableFacts()), source.name, name, report)


def _target_notes(found: TableFacts, source: str, target: str, report: PreflightReport) -> None:
    """Report what was found about an existing table of the target."""
    if found.blocker:
        report.error(source, found.blocker)
        report.impossible_all(f"{source}: {found.blocker}")
    else:
        try_privileges(found.lacking, source, target, report)
    if found.triggers:
        text = (
            f"triggers {', '.join(found.triggers)} fire for every row that is copied, and may change it; "
            "disable them until the migration is over"
        )
        report.problems.append(Problem("warning", source, text))
    for key in found.foreign_keys:
        text = (
            f"{key}: rows arrive in any order, and one that arrives before the row it refers to is rejected; add it after "
            "the migration"
        )
        report.problems.append(Problem("warning", source, text))


def _tls(connection: Connection) -> str:
    """How the connection is protected: `require` does not verify the server."""
    if not connection.pgconn.ssl_in_use:
        return "no TLS"
    verified = str(connection.info.get_parameters().get("sslmode", "")).startswith("verify-")
    return "TLS" if verified else "TLS (encrypted, not verified)"
