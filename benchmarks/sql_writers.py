"""What the triggers for SQL writers cost: statements on a migrated table, beside the same ones on a table without.

    python -m benchmarks.sql_writers [--statements 3000] [--rows 100000] [--rounds 5]

Starts a Postgres of its own. Both tables are written in turn, round by round, so that a busy machine slows both down. What
counts is the CPU of a statement's backend; the store's own writes are timed by the clock.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from benchmarks.locks import _COLUMNS, _REGISTER
from benchmarks.servers import say
from sync import local
from sync.adapters.cassandra.rows.cells import Cells
from sync.adapters.postgres.connection.connect import Connection, connect
from sync.adapters.postgres.connection.pool import open_pool
from sync.adapters.postgres.dual_write.journal import Writer
from sync.adapters.postgres.dual_write.reverse import ReverseJournal
from sync.adapters.postgres.dual_write.sql_changes import expand
from sync.adapters.postgres.schema.migrations import STATE, texts
from sync.adapters.postgres.schema.sql_writers import SqlWriters, watched
from sync.core.encode.rows import RowEncoder
from sync.core.mutations import Mutation
from sync.core.reads.key_order import target_key_order
from sync.core.rows import ColumnPair, PgType, SourceTable, TableMap, TargetColumn, TargetTable
from sync.settings import Settings

TABLES = ("item", "plain")
"""With triggers, and without."""
_MADE = (
    "CREATE TABLE {0} (id uuid PRIMARY KEY, name text, _sync_token bigint, _sync_version bigint)",
    "CREATE INDEX ON {0} (_sync_token)",
)
_SINGLE = {
    "INSERT": "INSERT INTO {} (id, name) VALUES (%s, 'a name of usual length')",
    "UPDATE": "UPDATE {} SET name = 'another name of usual length' WHERE id = %s",
    "DELETE": "DELETE FROM {} WHERE id = %s",
}
_BULK = {
    "INSERT": "INSERT INTO {} (id, name) SELECT gen_random_uuid(), repeat('x', 100) FROM generate_series(1, %s)",
    "UPDATE": "UPDATE {} SET name = repeat('y', 100)",
    "DELETE": "DELETE FROM {}",
}


def main(argv: list[str]) -> int:
    """A line a statement."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sql_writers", description=__doc__)
    parser.add_argument("--statements", type=int, default=3000)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        server = local.PostgresServer(Path(folder))
        server.start()
        try:
            found = _measure(server, options.statements, options.rows, options.rounds)
        finally:
            server.remove()
    titles = ("statement", "with triggers", "without", "difference", "ratio")
    for line in (titles, ["---", *["---:"] * (len(titles) - 1)], *found):
        sys.stdout.write(f"| {' | '.join(map(str, line))} |\n")
    return 0


@dataclass
class Backend:
    """One connection, and the CPU that its backend takes."""

    connection: Connection

    def __post_init__(self) -> None:
        row = self.connection.execute("SELECT pg_backend_pid()").fetchone()
        assert row is not None
        # The process's clock of Linux, in nanoseconds (clock_getcpuclockid); /proc counts in steps of 10 ms.
        self._clock = (~int(row[0]) << 3) | 2

    def cpu(self, work: Callable[[], object]) -> float:
        """Seconds of CPU that this takes."""
        before = time.clock_gettime(self._clock)
        work()
        return time.clock_gettime(self._clock) - before


def _measure(server: local.PostgresServer, statements: int, rows: int, rounds: int) -> list[tuple[str, ...]]:
    settings = Settings(
        _env_file=None, postgres_host="127.0.0.1", postgres_port=server.port, postgres_user=server.user,
        postgres_password=server.password, postgres_database="postgres", postgres_sslmode="disable",
    )  # fmt: skip
    with closing(connect(settings, autocommit=True)) as connection:
        _set_up(connection)
        found = [_own_writes(settings, connection, statements, rounds)]
        found += _single(settings, connection, statements, rounds)
        for count in (rows // 10, rows):
            found += _bulk(settings, connection, count, rounds)
    return found


def _set_up(connection: Connection) -> None:
    connection.execute(texts()[STATE].encode())
    connection.execute("UPDATE sync.epoch SET state = 'closed'")
    connection.execute(
        "INSERT INTO sync.epoch (epoch, \"primary\", floor) SELECT epoch + 1, 'postgres', floor + 1 FROM sync.epoch"
    )
    connection.execute(_REGISTER, ("bench", 1))
    connection.execute("UPDATE sync.writer SET protocol = 2")
    for name in TABLES:
        for statement in _MADE:
            connection.execute(statement.format(name).encode())
    table = _mapped("item")
    writers = SqlWriters("item", table.target, target_key_order(table), "refuse")
    for statement in writers.statements(watched(connection, [writers])):
        connection.execute(statement.encode())


def _mapped(name: str) -> TableMap:
    columns = (TargetColumn("id", PgType("uuid")), TargetColumn("name", PgType("text")))
    target = TargetTable("public", name, columns, ("id",))
    return TableMap(SourceTable("bench", name, _COLUMNS), target, tuple(map(ColumnPair, _COLUMNS, columns)))


def _own_writes(settings: Settings, connection: Connection, statements: int, rounds: int) -> tuple[str, ...]:
    say("the store's own writes")
    took: dict[str, list[float]] = {name: [] for name in TABLES}
    with closing(open_pool(settings, 1)) as pool:
        made = {}
        for name in TABLES:
            mapped = _mapped(name)
            encoder = RowEncoder(mapped, 0)
            made[name] = (
                ReverseJournal(pool, mapped, encoder, Writer("bench", 1, 60_000_000, 600)),
                Cells(mapped.source, encoder),
            )
        for at in range(statements * rounds):
            for name in TABLES if at % 2 else TABLES[::-1]:
                journal, cells = made[name]
                put = Mutation("put", cells.key({"id": uuid4()}), cells.row({"name": "a name of usual length"}))
                begun = time.perf_counter()
                journal.write(put)
                took[name].append(time.perf_counter() - begun)
    _clear(connection)
    return _line("put of the store, µs by the clock (median)", *(1e6 * statistics.median(took[name]) for name in TABLES))


def _single(settings: Settings, connection: Connection, statements: int, rounds: int) -> list[tuple[str, ...]]:
    spent: dict[str, dict[str, list[float]]] = {kind: {name: [] for name in TABLES} for kind in _SINGLE}
    with closing(connect(settings, autocommit=True)) as one, closing(connect(settings, autocommit=True)) as two:
        backends = dict(zip(TABLES, (Backend(one), Backend(two)), strict=True))
        for _ in range(rounds):
            say("single statements")
            keys: list[UUID] = [uuid4() for _ in range(statements)]
            for kind, text in _SINGLE.items():
                for name, backend in backends.items():
                    spent[kind][name].append(backend.cpu(_each(backend.connection, text.format(name), keys)))
            _clear(connection)
    return [
        _line(f"{kind} of one row, µs of CPU", *(1e6 * statistics.median(by[name]) / statements for name in TABLES))
        for kind, by in spent.items()
    ]


def _each(connection: Connection, text: str, keys: list[UUID]) -> Callable[[], None]:
    def run() -> None:
        for key in keys:
            connection.execute(text.encode(), (key,))

    return run


def _bulk(settings: Settings, connection: Connection, rows: int, rounds: int) -> list[tuple[str, ...]]:
    spent: dict[str, dict[str, list[float]]] = {kind: {name: [] for name in TABLES} for kind in _BULK}
    moved = []
    with closing(connect(settings, autocommit=True)) as one, closing(connect(settings, autocommit=True)) as two:
        backends = dict(zip(TABLES, (Backend(one), Backend(two)), strict=True))
        for _ in range(rounds):
            say(f"statements of {rows:,} rows")
            for kind, text in _BULK.items():
                for name, backend in backends.items():
                    values: Any = (rows,) if kind == "INSERT" else ()
                    spent[kind][name].append(
                        backend.cpu(lambda b=backend, t=text, n=name, v=values: b.connection.execute(t.format(n).encode(), v))
                    )
            moved.append(Backend(connection).cpu(lambda: _expand(connection)))
            _clear(connection)
    took = f"{1e6 * statistics.median(moved) / rows / len(_BULK):.1f}"
    return [
        (f"a worker's rechecks of these {len(_BULK) * rows:,} changes, µs of CPU a change", took, "", "", ""),
        *(
            _line(f"{kind} of {rows:,} rows, µs of CPU a row", *(1e6 * statistics.median(by[name]) / rows for name in TABLES))
            for kind, by in spent.items()
        ),
    ]


def _expand(connection: Connection) -> None:
    while expand(connection):
        pass


def _clear(connection: Connection) -> None:
    connection.execute("SELECT set_config('sync.own', 'on', false)")
    for name in (*TABLES, "sync.intent", "sync.sql_change", "sync.tombstone"):
        connection.execute(f"TRUNCATE {name}".encode())
    connection.execute("CHECKPOINT")


def _line(what: str, with_triggers: float, without: float) -> tuple[str, ...]:
    return (
        what, f"{with_triggers:.1f}", f"{without:.1f}", f"{with_triggers - without:+.1f}", f"{with_triggers / without:.2f}",
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
