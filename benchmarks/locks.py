"""What a switch costs writers and they cost it: how long CLOSE waits for the epoch's lock while many connections write.

    python -m benchmarks.locks [--connections 80] [--seconds 15]

Starts a Postgres of its own. The statements are the product's: each client opens intents and writes rows behind them
(`Journal`); a command begins a switch, closes the epoch and opens it again, over and over (`Authority`).
Then the same with the epoch's row locked instead, FOR SHARE and FOR UPDATE, as an earlier version did.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any
from uuid import uuid4

from benchmarks.servers import say
from sync import local
from sync.adapters.cassandra.rows.cells import Cells
from sync.adapters.postgres.connection import epoch_lock
from sync.adapters.postgres.connection.connect import Connection, connect
from sync.adapters.postgres.connection.pool import Pool, open_pool
from sync.adapters.postgres.cutover.epochs import Authority
from sync.adapters.postgres.dual_write.breaker import Breaker
from sync.adapters.postgres.dual_write.journal import Journal, Writer
from sync.adapters.postgres.schema.migrations import STATE, texts
from sync.core.cql import CqlType
from sync.core.encode.rows import RowEncoder
from sync.core.mutations import Mutation
from sync.core.rows import ColumnPair, PgType, SourceColumn, SourceTable, TableMap, TargetColumn, TargetTable
from sync.errors import EpochChanged
from sync.ports import Intent
from sync.settings import Settings

_PROCESSES = 4
_BETWEEN_SECONDS = 0.05
_LOOK_SECONDS = 0.01
_ROW = (
    b"SELECT epoch FROM sync.epoch ORDER BY epoch DESC LIMIT 1 FOR SHARE",
    b"SELECT epoch FROM sync.epoch ORDER BY epoch DESC LIMIT 1 FOR UPDATE",
)
_LOCKS = {"advisory": (epoch_lock.SHARE, epoch_lock.ALONE), "the row's": _ROW}
_COLUMNS = (SourceColumn("id", CqlType("uuid"), "partition_key"), SourceColumn("name", CqlType("text"), "regular"))
_TARGET = TargetTable("public", "item", (TargetColumn("id", PgType("uuid")), TargetColumn("name", PgType("text"))), ("id",))
_TABLE = TableMap(SourceTable("bench", "item", _COLUMNS), _TARGET, tuple(map(ColumnPair, _COLUMNS, _TARGET.columns)))
_ITEM = "CREATE TABLE item (id uuid PRIMARY KEY, name text, _sync_token bigint, _sync_version bigint)"
_REGISTER = (
    "INSERT INTO sync.writer (id, slot, host, pid, epoch, state, lease_seconds) VALUES (%s, %s, 'bench', 0, 1, 'active', 600)"
)
_MEMBERS = "SELECT sum(blks_zeroed)::bigint FROM pg_stat_slru WHERE lower(replace(name, '_', '')) = 'multixactmember'"
_MULTIXACTS = f"SELECT next_multixact_id::text, next_multi_offset::text, ({_MEMBERS}) FROM pg_control_checkpoint()"


def main(argv: list[str]) -> int:
    """A line a lock."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.locks", description=__doc__)
    parser.add_argument("--connections", type=int, default=80)
    parser.add_argument("--seconds", type=float, default=15.0)
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        server = local.PostgresServer(Path(folder))
        server.start()
        try:
            found = {lock: _measure(server, lock, options.connections, options.seconds) for lock in _LOCKS}
        finally:
            server.remove()
    titles = "epoch's lock", *next(iter(found.values()))
    for line in (titles, ["---", *["---:"] * (len(titles) - 1)], *((lock, *row.values()) for lock, row in found.items())):
        sys.stdout.write(f"| {' | '.join(map(str, line))} |\n")
    return 0


def _measure(server: local.PostgresServer, lock: str, connections: int, seconds: float) -> dict[str, str]:
    say(f"{lock} lock: {connections} connections for {seconds:g} s")
    name = f"locks_{list(_LOCKS).index(lock)}"
    server.create_database(name)
    settings = Settings(
        _env_file=None, postgres_host="127.0.0.1", postgres_port=server.port, postgres_user=server.user,
        postgres_password=server.password, postgres_database=name, postgres_sslmode="disable",
    )  # fmt: skip
    with closing(connect(settings, autocommit=True)) as connection:
        connection.execute(texts()[STATE].encode())
        connection.execute(_ITEM.encode())
        before = _multixacts(connection)
        times = _load(settings, connection, lock, connections, seconds)
        grown = [after - then for then, after in zip(before, _multixacts(connection), strict=True)]
    return {**times, "new multixacts": f"{grown[0]:,}", "members": f"{grown[1]:,}", "pages of members": f"{grown[2]:,}"}


def _multixacts(connection: Connection) -> list[int]:
    connection.execute("CHECKPOINT")
    row = connection.execute(_MULTIXACTS.encode()).fetchone()
    assert row is not None
    return [int(value) for value in row]


def _load(settings: Settings, connection: Connection, lock: str, connections: int, seconds: float) -> dict[str, str]:
    context = multiprocessing.get_context("spawn")
    ready, ended = context.Barrier(_PROCESSES + 1), context.Value("b", 0)
    with context.Pool(_PROCESSES, _hand_over, (ready, ended)) as pool:
        written = [pool.apply_async(_write, (settings, lock, n, connections // _PROCESSES)) for n in range(_PROCESSES)]
        ready.wait()
        epoch_lock.SHARE, epoch_lock.ALONE = _LOCKS[lock]
        waits = _close(Authority(connection, 60), seconds)
        ended.value = 1
        writes = [took for each in written for took in each.get()]
    return {
        "writes": f"{len(writes):,}",
        "write, median": _ms(statistics.median(writes)),
        "longest write": _ms(max(writes)),
        "closed": f"{len(waits)} times",
        "CLOSE waited, median": _ms(statistics.median(waits)),
        "longest": _ms(max(waits)),
    }


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:,.0f} ms"


def _close(authority: Authority, seconds: float) -> list[float]:
    """Close the epoch and open it again for so long; how long each CLOSE took."""
    waits, until = [], time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(_BETWEEN_SECONDS)
        switch = authority.begin("cutover")
        begun = time.perf_counter()
        authority.close(switch, 60)
        waits.append(time.perf_counter() - begun)
        authority.abandon(switch, "a benchmark")
    return waits


# the clients, each process with its share of the connections

_shared: dict[str, Any] = {}


def _hand_over(ready: Any, ended: Synchronized[int]) -> None:
    _shared.update(ready=ready, ended=ended)


def _write(settings: Settings, lock: str, number: int, threads: int) -> list[float]:
    """Write rows until the end; how long each took, in seconds."""
    epoch_lock.SHARE, epoch_lock.ALONE = _LOCKS[lock]
    with closing(open_pool(settings, threads, 30)) as pool, ThreadPoolExecutor(threads) as executor:
        journal, cells = _journal(pool, number + 1)
        _shared["ready"].wait()
        written = [executor.submit(_one_after_the_other, journal, cells) for _ in range(threads)]
        return [took for each in written for took in each.result()]


def _journal(pool: Pool, slot: int) -> tuple[Journal, Cells]:
    encoder, name = RowEncoder(_TABLE, 0), f"bench:{slot}"
    with pool.connection() as connection:
        connection.execute(_REGISTER, (name, slot))
    writer = Writer(name, slot, 60_000_000, 600)
    return Journal(pool, _TABLE, encoder, writer, Breaker(sys.maxsize)), Cells(_TABLE.source, encoder)


def _one_after_the_other(journal: Journal, cells: Cells) -> list[float]:
    took = []
    while not _shared["ended"].value:
        row = {"id": uuid4(), "name": "x"}
        mutation, begun = Mutation("put", cells.key(row), cells.row(row)), time.perf_counter()
        journal.write(mutation, _opened(journal, mutation))
        took.append(time.perf_counter() - begun)
    return took


def _opened(journal: Journal, mutation: Mutation) -> Intent:
    """The write's intent. While the epoch is closed one looks again and again, as a writer does."""
    while True:
        try:
            return journal.open(mutation)
        except EpochChanged:
            time.sleep(_LOOK_SECONDS)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
