"""`make bench-drift`: `sync drift-report`, the raw read of the same rows, a straightforward checker and reladiff, in one run.

    python -m benchmarks.drift [--rounds 3] [--songs 200000] [--embeddings 60000] [--json FILE]

Servers of its own; the sides are equal, then some rows are made to differ. The limit is the raw read: all rows of the source
must be read. The straightforward checker decodes rows by the driver and compares them with psycopg's by key, page by page.
reladiff, which knows no Cassandra, compares the target's table with its copy in the same Postgres: for scale.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from pgvector.psycopg import register_vector

from benchmarks import dataset, limits
from benchmarks.dataset import TABLES, Table
from benchmarks.meter import wait_until_calm
from benchmarks.peers import PEERS, packages
from benchmarks.peers.packages import NotHad
from benchmarks.servers import Servers, make_folder, own_servers, say
from sync.adapters.cassandra.connection.connect import open_cassandra
from sync.adapters.postgres.drift.target_digests import TargetDigests, within
from sync.adapters.postgres.schema.row_digest_sql import digest
from sync.core.encode.rows import RowEncoder
from sync.core.ring import WHOLE_RING
from sync.settings import Config
from sync.wiring.backfill.worker import map_tables

_DIFFERING = (0, 10, 100, 1000)
_PAGE = 2000
_RELADIFF = "reladiff==0.6.0"


class Bench:
    """One run."""

    def __init__(self, servers: Servers, rows: dict[str, int], rounds: int) -> None:
        self.servers, self.rows, self.rounds = servers, rows, rounds
        ours = next(peer for peer in PEERS if peer.name == "sync")
        self.env = {**os.environ, **servers.env, **ours.env(), "PYTHONPATH": str(Path(__file__).parents[1])}
        self.found: dict[str, Any] = {}
        assert ours.before
        self.fresh_state = ours.before
        dataset.make_targets(servers.stack.postgres.conninfo(), servers.database)

    def run(self) -> dict[str, Any]:
        """Both tables."""
        try:
            packages.python(_RELADIFF)
        except NotHad as why:
            say(f"left out: reladiff: {why}")
        for table in (t for t in TABLES.values() if self.rows[t.name]):
            dataset.load(self.servers.settings, table, self.rows[table.name], keyspace=self.servers.keyspace)
            self.servers.stack.cassandra.refresh_estimates(self.servers.keyspace, table.name)
        self.fresh_state(self.servers, TABLES["songs"])
        for table in (t for t in TABLES.values() if self.rows[t.name]):
            self._sync("backfill", "--table", table.name, "--json")
            with self.servers.postgres() as connection:
                connection.execute("VACUUM ANALYZE")
            wait_until_calm(self.servers)
            self.found[table.name] = self._table(table)
        return self.found

    def _table(self, table: Table) -> dict[str, Any]:
        best = limits.search(self.servers.settings, table.name, limits.FEW)[0]
        say(f"{table.name}: raw read with {best['streams']:.0f} streams of {best['page_kb']:.0f} kB pages is the fastest")
        seconds: dict[str, list[float]] = {}
        for _ in range(self.rounds):
            for name, value in self._round(table, best):
                seconds.setdefault(name, []).append(value)
                say(f"  {table.name:<10} {name:<32} {value:7.2f} s {self.rows[table.name] / value:9,.0f} rows/s")
        return {
            "rows": self.rows[table.name],
            "seconds": {name: median(values) for name, values in seconds.items()},
            "differing": self._differing(table),
            "plan": self._plan(table),
        }

    def _round(self, table: Table, best: dict[str, float]) -> Iterator[tuple[str, float]]:
        with limits.raw_read(self.servers.settings, table.name, int(best["streams"]), int(best["page_kb"])) as raw:
            yield "raw read", raw.run().seconds
        begin = time.monotonic()
        report = self._sync("drift-report", "--table", table.name, "--json")
        assert report["clean"], report["next_step"]
        yield "drift-report, command", time.monotonic() - begin
        yield "drift-report, pass", report["tables"][0]["seconds"]
        yield "drift-report, checking", report["tables"][0]["checking_seconds"]
        begin = time.monotonic()
        assert self._straightforward(table) == 0
        yield "straightforward", time.monotonic() - begin
        with suppress(NotHad):  # which was said at the beginning
            yield "reladiff, Postgres to Postgres", self._reladiff(table)

    def _sync(self, *arguments: str) -> dict[str, Any]:
        command = [sys.executable, "-m", "sync", *arguments]
        done = subprocess.run(command, env=self.env, cwd=make_folder(), capture_output=True, text=True, check=False)
        assert done.returncode in (0, 2), done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def _straightforward(self, table: Table) -> int:
        """Rows as the driver decodes them, a page at a time, against psycopg's by key; how many differ."""
        names = ", ".join(table.columns)
        differing = 0
        with open_cassandra(self.servers.settings) as cassandra, self.servers.postgres() as connection:
            statement = cassandra.session.prepare(f"SELECT {names} FROM {self.servers.keyspace}.{table.name}")
            statement.fetch_size = _PAGE
            register_vector(connection)
            page: list[Any] = []
            for row in cassandra.session.execute(statement):
                page.append(row)
                if len(page) == _PAGE:
                    differing += self._compare(connection, table, names, page)
                    page = []
            return differing + self._compare(connection, table, names, page)

    def _reladiff(self, table: Table) -> float:
        """Seconds, by its own clock, for the target's table and a copy of it."""
        copy = f"{table.name}_copy"
        program = [str(packages.python(_RELADIFF)), str(Path(packages.__file__).with_name("reladiff_copy.py"))]
        with self.servers.postgres() as connection:
            for statement in (
                # A role of that name finds the schema `sync` first.
                f"DROP TABLE IF EXISTS public.{copy}",
                f"CREATE TABLE public.{copy} (LIKE {table.name} INCLUDING ALL)",
                f"INSERT INTO {copy} SELECT * FROM {table.name}",
                f"ANALYZE {copy}",
            ):
                connection.execute(statement.encode())
            done = subprocess.run([*program, table.name, copy], env=self.env, capture_output=True, text=True, check=False)
            connection.execute(f"DROP TABLE {copy}".encode())
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert found["differing"] == 0
        return float(found["seconds"])

    @staticmethod
    def _compare(connection: Any, table: Table, names: str, page: list[Any]) -> int:
        asked = f"SELECT {names} FROM {table.name} WHERE {table.key} = ANY (%s)"
        held = {row[0]: row for row in connection.execute(asked, ([row[0] for row in page],)).fetchall()}
        return sum(row[0] not in held or any(map(_differ, row, held[row[0]])) for row in page)

    def _differing(self, table: Table) -> dict[int, float]:
        """Seconds of a pass with so many rows that differ."""
        found = {}
        column = "model" if table.name == "embeddings" else "album"
        key, name = table.key, table.name
        for count in _DIFFERING:
            first = f"(SELECT {key} FROM {name} ORDER BY {key} LIMIT {count})"
            with self.servers.postgres() as connection:
                for statement in (
                    "DROP TABLE IF EXISTS held",
                    f"CREATE TABLE held AS SELECT {key}, {column} FROM {name} WHERE {key} IN {first}",
                    f"UPDATE {name} SET {column} = 'other' WHERE {key} IN {first}",
                ):
                    connection.execute(statement.encode())
                report = self._sync("drift-report", "--table", name, "--json")["tables"][0]
                assert report["rows"]["different"] == count, report["rows"]
                connection.execute(
                    f"UPDATE {name} AS t SET {column} = h.{column} FROM held AS h WHERE t.{key} = h.{key}".encode()
                )
            found[count] = report["seconds"]
            say(f"  {table.name:<10} {count} rows differ: {report['seconds']:.2f} s")
        return found

    def _plan(self, table: Table) -> list[str]:
        """How Postgres computes the digest of one range."""
        with open_cassandra(self.servers.settings) as cassandra, self.servers.postgres() as connection:
            settings = self.servers.settings
            mapped = map_tables(cassandra, connection, settings, Config(), [table.name])[table.name]
            encoder = RowEncoder(mapped, 0)
            digests = TargetDigests(connection, mapped, encoder)
            asked = digest(encoder.pairs, digests.table, within(WHOLE_RING.split(64)[7]))
            rows = connection.execute(b"EXPLAIN (ANALYZE, COSTS OFF) " + asked.as_bytes()).fetchall()
        return [line for (line,) in rows if "Output" not in line]


def _differ(source: Any, target: Any) -> bool:
    """Whether two decoded values differ; a map comes as an ordered one from Cassandra."""
    if isinstance(source, list | tuple):
        held = target.to_numpy() if hasattr(target, "to_numpy") else target
        return bool(not np.array_equal(np.asarray(source, np.float32), held))
    if hasattr(source, "items"):
        return bool(dict(source) != target)
    if hasattr(target, "tzinfo") and source is not None:
        return bool(source != target.replace(tzinfo=None))
    return bool(source != target and (source or target))


def as_text(found: dict[str, Any]) -> str:
    """The figures as text."""
    lines = []
    for name, table in found.items():
        raw = table["seconds"]["raw read"]
        lines.append(f"\n{name}: {table['rows']:,} rows, median of the rounds")
        for way, seconds in table["seconds"].items():
            lines.append(
                f"  {way:<32}{seconds:8.2f} s {table['rows'] / seconds:10,.0f} rows/s  {raw / seconds:5.2f} × raw read"
            )
        lines.append("  rows that differ: " + ", ".join(f"{k}: {s:.2f} s" for k, s in table["differing"].items()))
        lines += [f"    {line}" for line in table["plan"]]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keep", action="store_true", help="keep the servers, and use those that were kept")
    for table in TABLES.values():
        parser.add_argument(f"--{table.name}", type=int, default=table.default_rows, help="rows; 0: not at all")
    parser.add_argument("--json", type=Path, help="write all figures to this file too")
    wanted = parser.parse_args()
    rows = {name: getattr(wanted, name) for name in TABLES}
    with own_servers("drift", "drift", keep=wanted.keep, name="drift") as servers:
        found = Bench(servers, rows, wanted.rounds).run()
    if wanted.json:
        wanted.json.write_text(json.dumps(found, indent=1) + "\n")
    sys.stdout.write(as_text(found))


if __name__ == "__main__":
    main()
