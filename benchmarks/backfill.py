"""`make bench-backfill`: `sync backfill` against its peers and the limits, interleaved in one run, on servers of its own.

    python -m benchmarks.backfill [--quick] [--rounds 3] [--only sync,psycopg3] [--without spark] [--json FILE]
    python -m benchmarks.backfill --only sync --against DIR --rounds 5     the same of the `sync` in DIR: before and after
    python -m benchmarks.backfill --only sync,limits --songs 1000000 --embeddings 0 --rounds 1       (growth)

Every way copies the same rows into a new table with nothing but its primary key; after each, all rows are compared with
what they should be. The start of a command counts, save where a title says otherwise.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import dataset, limits
from benchmarks.dataset import TABLES, Table
from benchmarks.expected import Verdict, compare, make_expected
from benchmarks.meter import CommandFailed, Cost, measure, wait_until_calm
from benchmarks.peers import PEERS, Peer, other_sync
from benchmarks.peers.packages import NotHad
from benchmarks.report import Results, as_json, as_text
from benchmarks.servers import Servers, make_folder, own_servers, say

_QUICK = {"songs": 20_000, "embeddings": 6_000}
LIMIT_NAMES = ("read", "copy", "both")


@dataclass(slots=True)
class Bench:
    """One run of the benchmark: what it is to do and what it has found."""

    servers: Servers
    peers: list[Peer]
    rows: dict[str, int]
    rounds: int
    with_limits: bool
    fast_limits: bool
    limit: float
    results: Results = field(default_factory=Results)

    def run(self) -> Results:
        """Both tables, one after the other: DSBulk cannot start once a table with a vector exists."""
        dataset.make_targets(self.servers.stack.postgres.conninfo(), self.servers.database)
        for table in TABLES.values():  # of kept servers
            dataset.drop_source(self.servers.settings, table, self.servers.keyspace)
        for table in (t for t in TABLES.values() if self.rows[t.name]):
            self._prepare(table)
            ways = [*self._limits(table), *(p for p in self.peers if table.name in p.tables)]
            for number in range(self.rounds):
                for way in ways[number % len(ways) :] + ways[: number % len(ways)]:
                    self._once(way, table, number)
        return self.results

    def _prepare(self, table: Table) -> None:
        count, settings = self.rows[table.name], self.servers.settings
        seconds = dataset.load(settings, table, count, keyspace=self.servers.keyspace)
        say(f"{table.name}: {count:,} rows loaded in {seconds:.0f} s; writing down what is expected")
        with self.servers.postgres() as connection:
            make_expected(connection, table, count, _copy_file(table))
        self.servers.stack.cassandra.refresh_estimates(self.servers.keyspace, table.name)  # flushes it first
        wait_until_calm(self.servers)
        for peer in [p for p in self.peers if table.name in p.tables]:
            self._obtain(peer, table)

    def _obtain(self, peer: Peer, table: Table) -> None:
        """Fetch what the peer needs before the clock runs; leave it out, by name, where that cannot be had."""
        try:
            peer.command(table)
        except NotHad as why:
            self.peers.remove(peer)
            self.results.left_out[peer.title] = str(why)
            say(f"{peer.name}: left out: {why}")

    def _limits(self, table: Table) -> list[Peer]:
        if not self.with_limits:
            return []
        pairs = limits.FEW if self.fast_limits else limits.ALL
        best = limits.search(self.servers.settings, table.name, pairs)[0]
        self.results.best_read[table.name] = best
        return [_limit(name, int(best["streams"]), int(best["page_kb"])) for name in LIMIT_NAMES]

    def _once(self, way: Peer, table: Table, number: int) -> None:
        """One way, one table, once."""
        log = make_folder() / f"{way.name}-{table.name}.log"
        try:
            way.clear(self.servers, table)
            env = {**self.servers.env, **way.env()}
            cost = measure(way.command(table), self.servers, env, log, own_clock=way.own_clock, limit=self.limit)
        except CommandFailed as why:
            self.results.failed(way, table.name, str(why))
            say(f"  {number + 1} {table.name:<10} {way.name:<14} failed: {why} (see {log.name})")
            return
        verdict = self._verdict(way, table)
        self.results.add(way, table.name, cost, verdict)
        say(f"  {number + 1} {table.name:<10} {way.name:<14} {_line(cost, verdict)}")

    def _verdict(self, way: Peer, table: Table) -> Verdict | None:
        if not way.loads:
            return None
        with self.servers.postgres() as connection:
            return compare(connection, table)


def _limit(name: str, streams: int, page_kb: int) -> Peer:
    titles = {
        "read": "raw read limit",
        "copy": "COPY limit, into a table with its primary key",
        "both": "both at once, nothing in between",
    }

    def command(table: Table) -> list[str]:
        program = [sys.executable, "-m", "benchmarks.limits", name, table.name, "--file", str(_copy_file(table))]
        return [*program, "--streams", str(streams), "--page-kb", str(page_kb)]

    return Peer(name, titles[name], command, kind="limit", own_clock=True, loads=name != "read")


def _copy_file(table: Table) -> Path:
    return make_folder() / f"{table.name}.copy"


def _line(cost: Cost, verdict: Verdict | None) -> str:
    cpu = f"client {cost.client_cpu:.1f} Cassandra {cost.cassandra_cpu:.1f} Postgres {cost.postgres_cpu:.1f}"
    return f"{cost.seconds:6.2f} s  CPU {cpu}  {cost.rss_mb:.0f} MB  {verdict or ''}"


def choose(only: str, without: str, quick: bool) -> Iterator[Peer]:
    names = {p.name for p in PEERS}
    wanted = set(filter(None, only.split(",")))
    unwanted = set(filter(None, without.split(",")))
    if unknown := (wanted | unwanted) - names - {"limits"}:
        raise SystemExit(f"no such peer: {', '.join(sorted(unknown))}; there are: limits, {', '.join(sorted(names))}")
    for peer in PEERS:
        if peer.name in unwanted or (wanted and peer.name not in wanted) or (quick and peer.slow_start and not wanted):
            continue
        yield peer


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows, one round, no Spark and DSBulk")
    parser.add_argument("--rounds", type=int)
    for table in TABLES.values():
        parser.add_argument(f"--{table.name}", type=int, help=f"rows (default {table.default_rows:,}; 0: not at all)")
    parser.add_argument("--only", default="", help="peers, and `limits`, separated by commas")
    parser.add_argument("--without", default="", help="the same, to leave out")
    parser.add_argument("--against", type=Path, metavar="DIR", help="a folder with another `sync` to measure beside this one")
    parser.add_argument("--limit", type=float, default=900, help="seconds after which a run is ended (900)")
    parser.add_argument("--json", type=Path, help="write all figures to this file too")
    parser.add_argument("--keep", action="store_true", help="keep the servers, and use those that were kept")
    return parser.parse_args()


def main() -> None:
    """Run and print the table."""
    wanted = _arguments()
    rows = {name: t.default_rows if not wanted.quick else _QUICK[name] for name, t in TABLES.items()}
    rows |= {name: given for name in TABLES if (given := getattr(wanted, name)) is not None}
    only, without = set(wanted.only.split(",")) - {""}, wanted.without.split(",")
    with own_servers("bench", "bench", keep=wanted.keep) as servers:
        peers = list(choose(wanted.only, wanted.without, wanted.quick)) if only != {"limits"} else []
        bench = Bench(
            servers,
            peers + ([other_sync(wanted.against)] if wanted.against else []),
            rows,
            wanted.rounds or (1 if wanted.quick else 3),
            with_limits=(not only or "limits" in only) and "limits" not in without,
            fast_limits=wanted.quick,
            limit=wanted.limit,
        )
        results = bench.run()
    found: dict[str, Any] = as_json(results, rows)
    if wanted.json:
        wanted.json.write_text(json.dumps(found, indent=1) + "\n")
    sys.stdout.write(as_text(results, rows))


if __name__ == "__main__":
    main()
