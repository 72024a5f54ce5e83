"""`sync finish`: its gates, and the end of the bookkeeping. It does not ask the source, which may be gone by now."""

from __future__ import annotations

from typing import Any

from sync.adapters.postgres.backfill.rejects import count_rejects
from sync.adapters.postgres.cutover.epochs import Authority, audits
from sync.adapters.postgres.cutover.gates import GateFacts
from sync.adapters.postgres.schema.expiry_function import CRON, NAME, expiry_function
from sync.adapters.postgres.schema.finish import copied_tables, finish, migrated_tables, strangers
from sync.core.cutover import gates
from sync.core.cutover.gates import Gate
from sync.core.schema.ddl import pg_quoted
from sync.core.schema.static_rows import base_of
from sync.core.words import first_of
from sync.ports import Epoch
from sync.settings import Settings

_PLAIN = "set SYNC_DUAL_WRITE=false, STORAGE_BACKEND=postgres and SYNC_ALLOW_ONE_SIDED=true, and restart them"
_WRITERS_NAMED = 5


def judge_finish(authority: Authority, epoch: Epoch) -> list[Gate]:
    """The gates: nothing may be open, and nobody may still write to both sides."""
    connection = authority.connection
    facts = GateFacts(connection)
    since = epoch.since.isoformat(timespec="seconds")
    writers = facts.writers()
    active = [w.name for w in writers if w.state == "active"]
    other = authority.in_progress()
    switch = f"a {other.kind} by {other.who} is under way" if other else "none is under way"
    return [
        Gate("primary", epoch.primary == "postgres", f"{epoch.primary} since {since} (epoch {epoch.epoch})", "sync cutover"),
        Gate("switch", other is None, switch, "wait until it ends"),
        _writers_gate(active),
        gates.nothing_open_gate(
            "fenced",
            len(writers) - len(active),
            "writer is not cleared",
            "writers are not cleared",
            "sync drift-report --repair",
        ),
        gates.intents_gate(facts.intents(told=False), 0),
        gates.nothing_open_gate(
            "runs",
            facts.open_runs(),
            "copy or check is not finished",
            "copies or checks are not finished",
            "run them to their end",
        ),
        gates.rejects_gate(count_rejects(connection)),
        gates.indexes_gate(facts.bad_indexes(migrated_tables(connection))),
        _schema_gate(strangers(connection)),
    ]


def _schema_gate(others: list[str]) -> Gate:
    """A role named sync creates its tables in the schema of that name, which is dropped."""
    named = first_of([f"sync.{name}" for name in others], _WRITERS_NAMED)
    text = f"not of the migration, and would be dropped: {named}" if others else "the schema sync is the migration's alone"
    return Gate("schema", not others, text, "move each: ALTER TABLE sync.NAME SET SCHEMA public")


def _writers_gate(active: list[str]) -> Gate:
    names = f": {first_of(active, _WRITERS_NAMED)}" if active else ""
    one, several = f"process writes to both sides{names}", f"processes write to both sides{names}"
    return gates.nothing_open_gate("writers", len(active), one, several, _PLAIN)


def end(authority: Authority, settings: Settings, epoch: Epoch) -> dict[str, Any]:
    """Drop the bookkeeping; returns the tables, the dropped audit, and the statements that delete the source.

    Raises GateRefused or TargetBusy, with nothing changed.
    """
    trail = audits(authority.connection)
    # Only the user runs these.
    delete = [_drop(table, settings) for table in copied_tables(authority.connection) if not base_of(table[0])]
    tables, expiry = finish(authority.connection, epoch.epoch)
    done = {"tables": tables, "audit": trail, "delete_source": delete}
    if expiry is None:
        return done
    return {**done, "expiry": {"function": NAME, "made": expiry.is_made, "definition": expiry.definition, "cron": CRON}}


def _drop(table: tuple[str, str | None], settings: Settings) -> str:
    """CQL, with the keyspace noted at the cut-over, else the environment's; without a keyspace if neither is known."""
    name, noted = table
    keyspace = noted or settings.astra_db_keyspace
    return f"DROP TABLE {pg_quoted(keyspace) + '.' if keyspace else ''}{pg_quoted(name)};"  # CQL quotes the same way


def statements(authority: Authority) -> list[str]:
    """What `end` would run, for a dry run."""
    tables = migrated_tables(authority.connection)
    columns = [f"ALTER TABLE {table} DROP COLUMN _sync_token, DROP COLUMN _sync_version" for table in tables]
    function = expiry_function(authority.connection)
    return [*([function] if function else []), *columns, "DROP SCHEMA sync CASCADE"]
