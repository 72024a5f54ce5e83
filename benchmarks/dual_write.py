"""`make bench-dual-write`: what a write to both sides costs, interleaved in one run, on servers of the benchmark's own.

    python -m benchmarks.dual_write [--quick] [--threads 1,8,32] [--tasks 200,1000] [--seconds 4] [--rounds 5] [--json FILE]
    python -m benchmarks.dual_write --against DIR     the same for the `sync` in DIR too: before and after, as a ratio

Each round takes every way at every number of threads, a few seconds each, the order turned from round to round; then the
stores of both sides, threaded and asyncio, with as many callers at once as `--tasks` says. All run the same code of an
application, `benchmarks/dual_client.py` and `benchmarks/async_client.py`, in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.dual_client import PLAIN_TABLES
from benchmarks.dual_report import TASK_TITLES, TITLES, Drained, Found, Run, as_json, as_text
from benchmarks.meter import measure, wait_until_calm
from benchmarks.servers import FOLDER, Servers, make_folder, own_servers, say
from sync.adapters.cassandra.connection.connect import open_cassandra
from sync.adapters.postgres.schema import indexes
from sync.settings import Config
from sync.wiring.backfill.worker import map_tables
from sync.wiring.schema import apply_source, apply_target

TABLE = "songs"
_WARM_SECONDS = 0.4
_ROOT = FOLDER.parent


class Client:
    """A process that puts songs."""

    def __init__(self, servers: Servers, code: Path) -> None:
        self.env = {"PYTHONPATH": f"{code}:{_ROOT}", **servers.env}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.dual_client"],
            env={**os.environ, **self.env},
            cwd=FOLDER,  # where there is no .env and no sync.toml
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, way: str, threads: int, seconds: float, writes: int | None = None) -> dict[str, Any]:
        """Have it run one way."""
        assert self._process.stdin and self._process.stdout
        asked = {"way": way, "threads": threads, "seconds": seconds, "writes": writes}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{way}: the client ended; what it said is above")
        found: dict[str, Any] = json.loads(line)
        return found

    def end(self) -> None:
        """Close its stdin, which is how it ends."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(timeout=30)


class Bench:
    """One run of the benchmark."""

    def __init__(
        self, servers: Servers, clients: dict[str, Client], callers: tuple[list[int], list[int]], seconds: float
    ) -> None:
        """`callers` are the numbers of threads for all ways, and those of threads or tasks for the ways with many."""
        self._servers, self._clients, self._seconds = servers, clients, seconds
        self._threads, self._tasks = callers
        others = [code for code in clients if code != "this"]
        self._ways = [*TITLES, *(f"{way}@{code}" for code in others for way in ("inline", "async"))]
        self._many = [*TASK_TITLES, *(f"{way}@{code}" for code in others for way in ("inline", "tasks"))]
        self.found = Found()

    def round(self, number: int) -> None:
        """Every way at every number of threads, once."""
        many = [(self._ways, self._threads), (self._many, self._tasks)]
        for ways, callers in many:
            turn = number % len(ways)
            for threads in callers:
                for way in ways[turn:] + ways[:turn]:
                    self._cell(way, threads, number)
        order = list(dict.fromkeys([*self._ways, *self._many]))
        self.found.runs.sort(key=lambda run: (run.round, order.index(run.way)))

    def _cell(self, way: str, threads: int, number: int) -> None:
        self._clear()
        name, _, code = way.partition("@")
        client = self._clients[code or "this"]
        client.ask(name, threads, _WARM_SECONDS)
        before = self._servers.cpu()
        made = client.ask(name, threads, self._seconds)
        after = self._servers.cpu()
        spent = (after.cassandra - before.cassandra, after.postgres - before.postgres)
        figures = (made["writes"], made["seconds"], made["p50"], made["p99"], made["cpu"])
        run = Run(way, threads, number, *figures, *spent, made["steps"])
        self.found.runs.append(run)
        took = f"p50 {run.p50 * 1e3:7.2f} ms  p99 {run.p99 * 1e3:7.2f} ms"
        say(f"  {number + 1} {threads:>3} {way:<16} {took}  {run.rate:8,.0f}/s")

    def _clear(self) -> None:
        """No intents and no songs of the cell before."""
        with self._servers.postgres() as connection:
            connection.execute("SELECT set_config('sync.own', 'on', false)")  # or a trigger refuses it, as anybody's
            connection.execute("TRUNCATE sync.intent, sync.tombstone, public.songs, public.bench_plain, public.bench_commit")

    def drain(self, keys: int) -> None:
        """As many finished intents, drained as a worker does it."""
        for code, client in self._clients.items():
            self._clear()
            with open_cassandra(self._servers.settings) as source:
                source.session.execute(f"TRUNCATE {self._servers.keyspace}.{TABLE}", timeout=60)
            written = client.ask("async", 8, 0, keys)["writes"]
            wait_until_calm(self._servers, limit=20)
            command = [sys.executable, "-m", "benchmarks.dual_client", "drain"]
            cost = measure(command, self._servers, client.env, make_folder() / "drain.log", own_clock=True)
            equal = self._left() == (0, written)
            made = Drained(code, cost.answer["keys"], cost.seconds, cost.client_cpu, cost.rss_mb, equal)
            self.found.drains.append(made)
            say(f"  drain ({code}): {made.keys:,} keys, {made.keys / made.seconds:,.0f} keys/s, {made.rss_mb:.0f} MB")

    def _left(self) -> tuple[Any, ...] | None:
        with self._servers.postgres() as connection:
            return connection.execute("SELECT (SELECT count(*) FROM sync.intent), (SELECT count(*) FROM songs)").fetchone()


def prepare(servers: Servers) -> None:
    """The application's schema on both sides, and what a migration adds to it."""
    with open_cassandra(servers.settings, 60) as source:
        replication = "{'class': 'SimpleStrategy', 'replication_factor': 1}"
        source.session.execute(f"CREATE KEYSPACE IF NOT EXISTS {servers.keyspace} WITH replication = {replication}")
    servers.stack.postgres.create_database(servers.database)
    apply_source(servers.settings, None)
    apply_target(servers.settings, Config(), None, None, example=True)
    with open_cassandra(servers.settings, 60) as source, servers.postgres() as connection:
        mapped = list(map_tables(source, connection, servers.settings, Config(), [TABLE]).values())
        indexes.add_sync_columns(connection, mapped[0])
    indexes.build_missing(servers.settings, mapped, lambda build: None)
    with servers.postgres() as connection:
        for statement in PLAIN_TABLES:
            connection.execute(statement)


@contextmanager
def started(servers: Servers, against: Path | None) -> Iterator[dict[str, Client]]:
    """The clients: of this checkout, and of the other one where there is one."""
    with ExitStack() as stack:
        clients = {}
        for name, code in (("this", _ROOT), (against.name if against else "", against)):
            if code:
                clients[name] = Client(servers, code.resolve())
                stack.callback(clients[name].end)
        yield clients


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one second a cell, three rounds, 2,000 intents to drain")
    parser.add_argument("--threads", default="1,8,32", help="numbers of threads, separated by commas (1,8,32)")
    parser.add_argument("--tasks", default="200,1000", help="numbers of callers at once, for the asyncio store (200,1000)")
    parser.add_argument("--seconds", type=float, help="of each cell (4)")
    parser.add_argument("--rounds", type=int, help="(5)")
    parser.add_argument("--intents", type=int, help="to drain (10,000; 0: none)")
    parser.add_argument("--against", type=Path, metavar="DIR", help="a folder with another `sync` to measure beside this one")
    parser.add_argument("--json", type=Path, help="write all figures to this file too")
    parser.add_argument("--keep", action="store_true", help="keep the servers, and use those that were kept")
    return parser.parse_args()


def main() -> None:
    """Run and print the tables."""
    wanted = _arguments()
    threads, tasks = ([int(n) for n in given.split(",") if n] for given in (wanted.threads, wanted.tasks))
    seconds, rounds, intents = (1.0, 3, 2_000) if wanted.quick else (4.0, 5, 10_000)
    with own_servers("bench", "bench", keep=wanted.keep, name="dual") as servers:
        prepare(servers)
        with started(servers, wanted.against) as clients:
            bench = Bench(servers, clients, (threads, tasks), wanted.seconds or seconds)
            wait_until_calm(servers, limit=30)
            for number in range(wanted.rounds or rounds):
                bench.round(number)
            if wanted.intents or wanted.intents is None:
                bench.drain(wanted.intents or intents)
    if wanted.json:
        wanted.json.write_text(json.dumps(as_json(bench.found), indent=1) + "\n")
    sys.stdout.write(as_text(bench.found))


if __name__ == "__main__":
    main()
