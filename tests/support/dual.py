"""One table on both sides with actors that take the steps of the protocol one at a time; and what must be true at the end."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from threading import Lock
from typing import Any, Literal
from unittest.mock import patch
from uuid import uuid4

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from support.running_commands import until
from sync.adapters.cassandra.connection.connect import Cassandra
from sync.adapters.cassandra.connection.pages import quoted
from sync.adapters.cassandra.rows.cells import Cells
from sync.adapters.cassandra.rows.rows import SourceRows
from sync.adapters.postgres.connection.connect import Connection, connect
from sync.adapters.postgres.connection.pool import open_pool
from sync.adapters.postgres.cutover.epochs import read_epoch
from sync.adapters.postgres.cutover.gates import GateFacts
from sync.adapters.postgres.dual_write.breaker import Breaker
from sync.adapters.postgres.dual_write.journal import Journal, Writer
from sync.adapters.postgres.dual_write.partitions import PartitionJournal
from sync.adapters.postgres.dual_write.reconcile import ReconcileSteps
from sync.adapters.postgres.dual_write.sql_changes import expand
from sync.adapters.postgres.schema import indexes
from sync.adapters.postgres.schema.key_order import record_key_order
from sync.core.encode.rows import RowEncoder
from sync.core.mutations import Key, Kind, Mutation
from sync.core.rows import TableMap
from sync.core.versions import UNREPEATABLE_WINDOW_SECONDS
from sync.flows.drain import Drain
from sync.flows.partition_deletes import PartitionDeletes
from sync.flows.reconcile import Reconcile
from sync.ports import Epoch, Intent, Outcome, PendingKey, PrimaryRows, Read, Replay
from sync.settings import Config, Settings
from sync.wiring.backfill.worker import map_tables
from sync.wiring.dual_write.worker import partition_deletes, partition_rechecks, reconciler
from sync.wiring.schema import apply_target

LEASE = 30.0
WINDOW_PASSES = (
    f"UPDATE sync.intent SET created_at = created_at - interval '{UNREPEATABLE_WINDOW_SECONDS} s', "
    f"ended_at = ended_at - interval '{UNREPEATABLE_WINDOW_SECONDS} s'"
)
"""Afterwards, a write that cannot be sent again can no longer arrive."""
NEVER_OPEN = sys.maxsize
Row = dict[str, Any]


def prepare(settings: Settings, config: Config, *tables: str) -> None:
    """Make the target's tables and the state schema as an operator does before the first dual write."""
    apply_target(settings, config, None, None)
    with closing(connect(settings, autocommit=True)) as connection:
        for table in tables:
            target = _mapped(connection, settings, config, table)
            indexes.add_sync_columns(connection, target)
            record_key_order(connection, target)


def _mapped(connection: Connection, settings: Settings, config: Config, table: str) -> TableMap:
    from sync.adapters.cassandra.connection.connect import open_cassandra

    with open_cassandra(settings) as cassandra:
        return map_tables(cassandra, connection, settings, config, [table])[table]


@contextmanager
def unseen(connection: Connection) -> Iterator[None]:
    """What is executed here fires no triggers for SQL writers, as the program's own statements do."""
    connection.execute("SELECT set_config('sync.own', 'on', false)")
    try:
        yield
    finally:
        connection.execute("SELECT set_config('sync.own', 'off', false)")


class Table:
    """One table, seen from outside both sides."""

    def __init__(self, cassandra: Cassandra, settings: Settings, config: Config, name: str) -> None:
        self.cassandra, self.settings, self.name = cassandra, settings, name
        self.pool = open_pool(settings, 12, 20)
        with self.pool.connection() as connection:
            self.mapped = map_tables(cassandra, connection, settings, config, [name])[name]
        self.encoder = RowEncoder(self.mapped, 0)
        self.cells = Cells(self.mapped.source, self.encoder)
        self.rows = SourceRows(cassandra, self.mapped.source, 10)
        self._slots, self.epoch = 0, 1
        self._numbering = Lock()

    def close(self) -> None:
        self.pool.close()

    # the actors

    def writer(self, *, alive: bool = True, clock: int | None = None, skew: float = 60) -> Actor:
        """A writer with its own slot; if not `alive`, its last heartbeat is an hour old and its open intents may be taken."""
        with self._numbering:
            self._slots += 1
            slot = self._slots
        name = f"test:{slot}"
        self.sql(
            "INSERT INTO sync.writer (id, slot, host, pid, epoch, state, heartbeat_at, accepts, lease_seconds, protocol) "
            "VALUES (%s, %s, 'test', 0, 1, 'active', clock_timestamp() - make_interval(hours => %s), %s, %s, 2) ON CONFLICT (id) "
            "DO UPDATE SET state = 'active', slot = excluded.slot, heartbeat_at = excluded.heartbeat_at, accepts = excluded.accepts",
            (name, slot, int(not alive), alive, LEASE),
        )
        made = Writer(name, slot, int(skew * 1e6), LEASE)
        return Actor(self, name, Journal(self.pool, self.mapped, self.encoder, made, Breaker(NEVER_OPEN)), clock)

    def reconcile_steps(self, lease: float = LEASE) -> ReconcileSteps:
        return ReconcileSteps(self.pool, self.mapped, self.encoder, lease, self.epoch)

    def reconciler(self) -> Reconciler:
        """A reconcile that takes one step at a time."""
        return Reconciler(self, self.reconcile_steps())

    def reconcile(self, executor: ThreadPoolExecutor, primary: PrimaryRows | None = None, lease: float = LEASE) -> Reconcile:
        return Reconcile(self.reconcile_steps(lease), primary or self.rows, executor)

    def drain(self, primary: PrimaryRows | None = None, lease: float = LEASE) -> int:
        """Drain as a worker does, until nothing is due; how many keys."""
        journal = Journal(self.pool, self.mapped, self.encoder, Writer("drain", 0, 0, lease), Breaker(NEVER_OPEN))
        with ThreadPoolExecutor(4) as executor:
            reconcile = self.reconcile(executor, primary, lease) if self._forward else self._resend(executor, lease)
            epoch = Epoch(self.epoch, "astra" if self._forward else "postgres", "open", 0, datetime.now(UTC))
            rechecks = partition_rechecks(self.cassandra, self.pool, self.mapped, self.encoder, Config(), epoch)
            drain = Drain(
                journal, reconcile, self.cells.known_key, lease, self.epoch, self._deletes(primary, lease), rechecks
            )
            return drain.run("drain", lambda: False)

    def _deletes(self, primary: Any, lease: float) -> PartitionDeletes | None:
        with self.pool.connection() as connection:
            epoch = replace(read_epoch(connection), epoch=self.epoch)
        writer = Writer("drain", 0, 0, lease)
        journal = PartitionJournal(self.pool, self.mapped, self.encoder, writer, Breaker(NEVER_OPEN))
        return partition_deletes(journal, primary or self.rows, epoch, lease)

    @property
    def _forward(self) -> bool:
        return self.sql("SELECT \"primary\" = 'astra' FROM sync.epoch WHERE epoch = %s", (self.epoch,)) == [(True,)]

    def _resend(self, executor: ThreadPoolExecutor, lease: float) -> Any:
        with self.pool.connection() as connection:
            epoch = read_epoch(connection)
        return reconciler(self.pool, self.mapped, self.encoder, self.rows, executor, epoch, lease)

    def drained(self) -> None:
        """Drain as if every writer were gone; nothing may be left."""
        self.sql("UPDATE sync.writer SET heartbeat_at = clock_timestamp() - interval '1 hour' WHERE id LIKE 'test:%%'")
        self.sql("UPDATE sync.intent SET lease_until = NULL")
        self.drain()
        assert self.intents() == [], "intents are left after a drain"

    def at_rest(self) -> None:
        """Drain what is left, also of what a store that is open yet sends behind its callers' backs."""
        under_way = "SELECT 1 FROM sync.intent AS i JOIN sync.writer AS w ON w.id = i.owner WHERE i.state = 'open' AND w.state = 'active'"
        until(lambda: not self.sql(under_way), what="what is under way has ended")
        self.drained()  # what a store that was closed has left open, too

    # what is there

    def sql(self, statement: str, values: Any = None) -> list[tuple[Any, ...]]:
        """Run SQL behind everybody's back: no trigger tells of it."""
        with self.pool.connection() as connection, unseen(connection):
            cursor = connection.execute(statement.encode(), values)
            return cursor.fetchall() if cursor.description else []

    def key(self, **values: Any) -> Key:
        return self.cells.key(values)

    def source(self, key: Key) -> Row | None:
        """The source's row without its key."""
        read = self.rows.read(key)
        return None if read.cells is None else self._without_key(self.cells.values(read.cells))

    def target(self, key: Key) -> Row | None:
        """The target's row without its key and the migration's own columns."""
        found = self._target(key)
        return None if found is None else {n: v for n, v in self._without_key(found).items() if n[:6] != "_sync_"}

    def version(self, key: Key) -> int | None:
        """The version of the target's row."""
        found = self._target(key)
        return None if found is None else found["_sync_version"]

    def tombstone(self, key: Key) -> int | None:
        rows = self.sql("SELECT version FROM sync.tombstone WHERE table_name = %s AND key = %s", (self.name, key.canonical))
        return rows[0][0] if rows else None

    def intents(self, key: Key | None = None) -> list[tuple[str, str]]:
        """Kind and state of the intents, of a key or of the table, once what SQL has changed is among them."""
        self.expanded()
        rows = self.sql("SELECT kind, state, key FROM sync.intent WHERE table_name = %s ORDER BY id", (self.name,))
        return [(kind, state) for kind, state, k in rows if key is None or bytes(k) == key.canonical]

    def expanded(self) -> None:
        """Make rechecks of what SQL has changed, as a worker does."""
        with self.pool.connection() as connection:
            while expand(connection):
                pass

    def settled(self, key: Key) -> Row | None:
        """Drain everything, compare both sides; the row that they hold."""
        self.drained()
        source, target = self.source(key), self.target(key)
        assert target == source, f"the sides differ: source {source}, target {target}"
        return source

    def check_equal(self) -> int:
        """Check that both sides hold the same rows; how many."""
        source, target = self._all_source(), self._all_target()
        assert target.keys() - source.keys() == set(), "rows that only the target has"
        assert source.keys() - target.keys() == set(), "rows that the target lacks"
        for key, row in source.items():
            assert target[key] == row, f"{key} differs: source {row}, target {target[key]}"
        return len(source)

    def check_count(self) -> int:
        """Check that both sides hold as many rows; how many."""
        source, target = len(self._all_source()), len(self._all_target())
        assert source == target, f"{source} rows in the source, {target} in the target"
        return source

    def _all_source(self) -> dict[tuple[Any, ...], Row]:
        names = [c.name for c in self.mapped.source.columns]
        text = f"SELECT {', '.join(map(quoted, names))} FROM {quoted(self.mapped.source.keyspace)}.{quoted(self.name)}"
        rows = [dict(zip(names, row, strict=True)) for row in self.cassandra.session.execute(text, timeout=60)]
        return {tuple(str(row[k]) for k in self.cells.key_names): row for row in rows}

    def _all_target(self) -> dict[tuple[Any, ...], Row]:
        names = [c.name for c in self.mapped.source.columns]
        statement = sql.SQL("SELECT {} FROM {}").format(
            sql.SQL(", ").join(map(sql.Identifier, names)), sql.Identifier(self.mapped.target.name)
        )
        with self.pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
            return {tuple(str(row[k]) for k in self.cells.key_names): row for row in cursor.execute(statement).fetchall()}

    def _target(self, key: Key) -> Row | None:
        values = self.cells.values(dict(zip(self.cells.key_names, key.cells, strict=True)))
        where = sql.SQL(" AND ").join(sql.SQL("{} = %s").format(sql.Identifier(n)) for n in values)
        statement = sql.SQL("SELECT * FROM {} WHERE {}").format(sql.Identifier(self.mapped.target.name), where)
        with self.pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(statement, list(values.values())).fetchone()

    def _without_key(self, row: Mapping[str, Any]) -> Row:
        return {n: v for n, v in row.items() if n not in self.cells.key_names}


@dataclass
class Actor:
    """A writer that the test moves step by step; `clock` is the time on its host in µs, None the true time."""

    table: Table
    name: str
    journal: Journal
    clock: int | None = None

    def begin(self, kind: Kind, key: Key, **values: Any) -> Write:
        """The first step: the intent is committed."""
        mutation = self.mutation(kind, key, **values)
        with clock(self.clock):
            return Write(self, mutation, self.journal.open(mutation))

    def mutation(self, kind: Kind, key: Key, **values: Any) -> Mutation:
        cells = {"put": self.table.cells.row, "update": self.table.cells.some, "delete": lambda _: {}}[kind](values)
        return Mutation(kind, key, cells)

    def put(self, key: Key, **values: Any) -> Write:
        return self.begin("put", key, **values)

    def update(self, key: Key, **values: Any) -> Write:
        return self.begin("update", key, **values)

    def delete(self, key: Key) -> Write:
        return self.begin("delete", key)

    def dies(self) -> None:
        """Its heartbeat stops, and its lease is over."""
        self.table.sql(
            "UPDATE sync.writer SET heartbeat_at = clock_timestamp() - interval '1 hour' WHERE id = %s", (self.name,)
        )


@dataclass
class Write:
    """A write whose intent is committed; its further steps, one by one."""

    actor: Actor
    mutation: Mutation
    intent: Intent

    @property
    def version(self) -> int:
        return self.intent.version

    def primary(self) -> Write:
        """The primary acknowledges it."""
        assert self.actor.table.rows.write(self.mutation, self.version) == ("written", "")
        return self

    def target(self) -> bool:
        """The target's half and the end of the intent, in one transaction; whether it was accepted."""
        return self.actor.journal.write(self.mutation, self.intent)

    def mark(self, state: Literal["finished", "unsure"]) -> Write:
        self.actor.journal.mark([self.intent], state, "")
        return self

    def withdraw(self) -> bool:
        return self.actor.journal.withdraw(self.intent)

    def done(self) -> Write:
        """All steps."""
        self.primary()
        self.target()
        return self


@dataclass
class Reconciler:
    """A reconcile of one key that the test moves step by step."""

    table: Table
    reconcile_steps: ReconcileSteps
    picked: PendingKey | None = None
    found: Read = field(default_factory=lambda: Read(None, 0))

    def claim(self, key: Key) -> Reconciler:
        """Step a."""
        self.key = key
        self.picked = self.reconcile_steps.pick([key]).get(key)
        assert self.picked is not None, "there is nothing to reconcile"
        return self

    def replay(self) -> Reconciler:
        """Step b."""
        assert self.picked is not None
        for replay in self.picked.replay:
            assert self.table.rows.write_again(replay)[0] == "written"
        return self

    def read(self) -> Reconciler:
        """Step c."""
        self.found = self.table.rows.read(self.key)
        return self

    def settle(self) -> bool:
        """Step d; False where the key has changed."""
        assert self.picked is not None
        return self.reconcile_steps.apply([(self.key, self.picked, self.found)]) == []


@dataclass
class Primary:
    """The primary with faults in front of it: the outcome of each write is taken from `plan`; after that it is the real one.

    refused: nothing was written. lost: timed out, never applied. landed: timed out, applied. late: timed out, applied when
    `land` is called. dies: applied, then the process is gone.
    """

    rows: PrimaryRows
    plan: list[str] = field(default_factory=list)
    late: list[tuple[Mutation, int]] = field(default_factory=list)
    reads: Callable[[Key], None] | None = None

    def write(self, mutation: Mutation, version: int) -> tuple[Outcome, str]:
        step = self.plan.pop(0) if self.plan else ""
        if step == "refused":
            return "refused", "the primary says no"
        if step == "late":
            self.late.append((mutation, version))
        if step in ("lost", "late"):
            return "unsure", "timed out"
        outcome = self.rows.write(mutation, version)
        if step == "dies":
            raise Died
        return ("unsure", "timed out") if step == "landed" else outcome

    def write_many(self, writes: Sequence[tuple[Mutation, int]]) -> list[tuple[Outcome, str, float]]:
        return [(*self.write(*each), 0.0) for each in writes]

    def write_again(self, replay: Replay) -> tuple[Outcome, str]:
        """Send again, with the same faults in front of it."""
        if self.plan:
            return self.write(replay.mutation, replay.version)
        return self.rows.write_again(replay)

    def read(self, key: Key) -> Read:
        found = self.rows.read(key)
        if self.reads:
            self.reads(key)
        return found

    def read_many(self, keys: Sequence[Key]) -> list[Read]:
        return [self.read(key) for key in keys]

    def land(self) -> None:
        """Let what was in flight arrive."""
        while self.late:
            self.rows.write(*self.late.pop(0))


class Died(BaseException):
    """Stands for the end of the process."""


@dataclass
class WriteBehind:
    """Stands for a writer's registration: keeps what a flow hands to it."""

    accepts: bool = False
    accepting: int = 0
    notified: list[str] = field(default_factory=list)
    kept: list[tuple[Any, ...]] = field(default_factory=list)
    unrecorded_writes: list[tuple[Any, ...]] = field(default_factory=list)
    newest: int = 0

    def begin_accepting(self) -> bool:
        self.accepting += self.accepts
        return self.accepts

    def end_accepting(self) -> None:
        self.accepting -= 1

    def gaps(self) -> int:
        return 0

    def accepted(self, _: Key) -> int:
        return 0

    def accepted_in(self, _: str) -> int:
        return 0

    def stamp(self, _: Key) -> int:
        self.newest = max(time.time_ns() // 1000, self.newest + 1)
        return self.newest

    def forget(self, _: Key) -> None:
        pass

    def observe(self, version: int, _: object, __: bool = False) -> None:
        self.newest = max(self.newest, version)

    def add_unrecorded(self, *what: Any) -> None:
        self.unrecorded_writes.append(what)

    def needs_reconcile(self, table: str) -> None:
        self.notified.append(table)

    def mark_later(self, *what: Any) -> None:
        self.kept.append(what)

    def remove_later(self, journal: Any, intent: Intent) -> None:
        journal.remove([intent])


@contextmanager
def clock(us: int | None) -> Iterator[None]:
    """Set this host's clock; None leaves it alone."""
    if us is None:
        yield
        return
    with patch.object(time, "time_ns", lambda: us * 1000):
        yield


def now_us() -> int:
    return time.time_ns() // 1000


@contextmanager
def holding(table: Table, statement: str, values: Any = None) -> Iterator[Connection]:
    """A transaction of another session that has run this statement; it ends with the block."""
    with closing(psycopg.connect(str(table.pool.conninfo))) as connection:
        connection.execute(statement.encode(), values)
        yield connection
        connection.commit()


def forget_migration(table: Table) -> None:
    """As after `sync schema apply`: nobody has ever written to both sides, nothing was copied, and Astra is primary."""
    for what in ("intent", "writer", "run", "epoch WHERE epoch > 1"):
        table.sql(f"DELETE FROM sync.{what}")
    table.sql("UPDATE sync.epoch SET state = 'open'")


@contextmanager
def stamping(table: Table) -> Iterator[None]:
    """Within the block, whoever writes an intent holds the epoch and waits until the block ends."""
    table.sql(
        "CREATE OR REPLACE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN PERFORM pg_advisory_xact_lock(42); RETURN NEW; END $$; "
        "CREATE TRIGGER slow BEFORE INSERT ON sync.intent FOR EACH ROW EXECUTE FUNCTION slow()"
    )
    try:
        with holding(table, "SELECT pg_advisory_xact_lock(42)"):
            yield
    finally:
        table.sql("DROP TRIGGER slow ON sync.intent; DROP FUNCTION slow()")


def until_waiting(table: Table, count: int = 1, seconds: float = 60) -> None:
    """Wait until this many connections wait for a lock."""
    end = time.monotonic() + seconds
    statement = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    while table.sql(statement)[0][0] < count:
        assert time.monotonic() < end, f"fewer than {count} connections wait for a lock"
        time.sleep(0.02)


def name_of() -> str:
    return uuid4().hex[:8]


def disturbed(table: Table) -> tuple[Any, str] | None:
    """When something last invalidated the proof, and what it was."""
    with table.pool.connection() as connection:
        return max(GateFacts(connection).disturbed().values(), default=None)
