"""What a row and a write cost: bytes on the wire, in Postgres and in its log, and CPU of each side.

    python -m benchmarks.capacity [--songs 200000] [--embeddings 60000] [--writes 2000]

Starts servers of its own. Copies each table once with `sync backfill`; then one thread puts songs into both sides, and into a
table of Postgres alone for comparison. For planning: "Capacity" in docs/performance.md.
"""

from __future__ import annotations

import argparse
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from benchmarks import dataset
from benchmarks.dataset import TABLES, Table
from benchmarks.dual_client import PLAIN, PLAIN_TABLES
from benchmarks.limits import raw_read
from benchmarks.meter import machine, measure, wait_until_calm
from benchmarks.peers import PEERS
from benchmarks.servers import Cpu, Servers, make_folder, own_servers, say
from sync.settings import Config, DualWriteTuning
from sync.stores import DualWriteStore, PostgresStore
from sync.wiring.dual_write.worker import drain_job

_SYNC = PEERS[0]
_WAL = "SELECT pg_current_wal_lsn() - '0/0'::pg_lsn"
_DRAINED_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Copied:
    """A table's figures, bytes and µs of CPU a row."""

    rows: int
    seconds: float
    wire: float
    table: float
    key: float
    tokens: float
    wal: float
    client: float
    cassandra: float
    postgres: float


@dataclass(frozen=True, slots=True)
class Written:
    """A way to write: bytes of the log and µs of CPU a write."""

    wal: float
    client: float
    cassandra: float
    postgres: float


def main(argv: list[str]) -> int:
    """Two tables: rows that are copied, and writes."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.capacity", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for table in TABLES.values():
        parser.add_argument(f"--{table.name}", type=int, default=table.default_rows, help="rows (%(default)s)")
    parser.add_argument("--writes", type=int, default=2000, help="of each way (%(default)s)")
    given = parser.parse_args(argv)
    with own_servers("bench", "bench") as servers:
        dataset.make_targets(servers.stack.postgres.conninfo(), servers.database)
        copied = {table.name: _copied(servers, table, getattr(given, table.name)) for table in TABLES.values()}
        written = _written(servers, given.writes)
    sys.stdout.write(f"{machine()}\n\n{_copies(copied)}\n{_writes(written)}")
    return 0


def _copied(servers: Servers, table: Table, count: int) -> Copied:
    """Copy a table of so many rows, once."""
    dataset.load(servers.settings, table, count, keyspace=servers.keyspace)
    servers.stack.cassandra.refresh_estimates(servers.keyspace, table.name)
    with raw_read(servers.settings, table.name, 2, 1024) as read:
        page_bytes = read.run().bytes
    _SYNC.clear(servers, table)
    wal = _number(servers, _WAL)
    log = make_folder() / f"capacity-{table.name}.log"
    cost = measure(_SYNC.command(table), servers, {**servers.env, **_SYNC.env()}, log)
    found = Copied(
        count,
        cost.seconds,
        page_bytes / count,
        _number(servers, f"SELECT pg_table_size('{table.name}')") / count,
        _number(servers, f"SELECT pg_relation_size('{table.name}_pkey')") / count,
        _number(servers, _TOKENS.format(table.name)) / count,
        (_number(servers, _WAL) - wal) / count,
        *(1e6 * cpu / count for cpu in (cost.client_cpu, cost.cassandra_cpu, cost.postgres_cpu)),
    )
    say(f"{table.name}: {found}")
    return found


_TOKENS = "SELECT sum(pg_relation_size(indexrelid)) FROM pg_index WHERE indrelid = '{}'::regclass AND NOT indisprimary"
"""All indexes but the primary key: of these tables, that on the tokens."""


def _written(servers: Servers, count: int) -> dict[str, Written]:
    """One thread's writes to both sides, inline and queued, and to Postgres alone."""
    with servers.postgres() as connection:
        for statement in PLAIN_TABLES:
            connection.execute(statement)
    found = {}
    for mode, queued in (("inline", ()), ("queued", ("songs",))):
        config = Config(dual_write=DualWriteTuning(async_secondary=frozenset(queued)))
        with closing(DualWriteStore(servers.settings, config)) as store:
            found[f"both sides, {mode}"] = _writing(servers, count, lambda row, to=store: to.put("songs", row))
    with closing(PostgresStore(servers.settings)) as plain:
        found["Postgres alone"] = _writing(servers, count, lambda row: plain.put(PLAIN, row))
    return found


def _writing(servers: Servers, count: int, put: Callable[[dict[str, Any]], object]) -> Written:
    """So many puts of new rows, to the end of what they leave."""
    for _ in range(100):
        put(_song())
    _drained(servers)
    wait_until_calm(servers, limit=20)
    wal, before, own = _number(servers, _WAL), servers.cpu(), time.process_time()
    for _ in range(count):
        put(_song())
    spent = time.process_time() - own
    _drained(servers)
    after: Cpu = servers.cpu()
    return Written(
        (_number(servers, _WAL) - wal) / count,
        1e6 * spent / count,
        1e6 * (after.cassandra - before.cassandra) / count,
        1e6 * (after.postgres - before.postgres) / count,
    )


def _song() -> dict[str, Any]:
    """A song of about 700 bytes, with a key of its own."""
    text = {"title": "x" * 30, "artist": "y" * 30, "album": "z" * 30, "genre": "reel", "description": "d" * 400}
    return {"id": uuid.uuid4(), **text, "duration": 123.4, "year": 1999, "attributes": {"key": "G", "mode": "major"}}


def _drained(servers: Servers) -> None:
    """Have everything sent, and wait until no intent is left."""
    deadline = time.monotonic() + _DRAINED_SECONDS
    while _number(servers, "SELECT count(*) FROM sync.intent"):
        drain_job(servers.settings, Config(), "songs", lambda: False)
        if time.monotonic() > deadline:
            raise SystemExit("intents are left after a minute")
        time.sleep(0.1)


def _number(servers: Servers, statement: str) -> float:
    with servers.postgres() as connection:
        row = connection.execute(statement.encode()).fetchone()
    return float(row[0] or 0) if row else 0.0


def _copies(found: dict[str, Copied]) -> str:
    lines = {
        "rows": lambda c: f"{c.rows:,}",
        "seconds": lambda c: f"{c.seconds:.1f}",
        "bytes from Cassandra, on the wire": lambda c: f"{c.wire:,.0f}",
        "bytes of the table": lambda c: f"{c.table:,.0f}",
        "bytes of the primary key": lambda c: f"{c.key:,.0f}",
        "bytes of the index on the tokens": lambda c: f"{c.tokens:,.0f}",
        "bytes of the log (WAL)": lambda c: f"{c.wal:,.0f}",
        "µs of CPU: client, Cassandra, Postgres": lambda c: f"{c.client:.1f}, {c.cassandra:.1f}, {c.postgres:.1f}",
    }
    head = f"| a row that is copied | {' | '.join(found)} |\n|{' --- |' * (1 + len(found))}\n"
    return head + "".join(f"| {name} | {' | '.join(map(text, found.values()))} |\n" for name, text in lines.items())


def _writes(found: dict[str, Written]) -> str:
    head = "| a write of one row | bytes of the log (WAL) | µs of CPU: client, Cassandra, Postgres |\n| --- | --- | --- |\n"
    return head + "".join(
        f"| {name} | {way.wal:,.0f} | {way.client:.0f}, {way.cassandra:.0f}, {way.postgres:.0f} |\n"
        for name, way in found.items()
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
