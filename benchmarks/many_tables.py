"""What a migration of many small tables costs: seconds of each command, the CPU of each side, and the machine's load.

    python -m benchmarks.many_tables [--tables 200] [--rows 10] [--keep] [--code FOLDER] [--only backfill,status]

Prints one table, with the goals, which are those of 200 tables of 10 rows on two cores with nothing else to do: the load
average before a command tells how far that was so. Starts servers of its own; `--keep` leaves them, and the source's tables,
for the next call. `--code` is another checkout's folder, whose commands are run in the place of this one's: before and after.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from cassandra.concurrent import execute_concurrent

from benchmarks.meter import Cost, machine, measure, wait_until_calm
from benchmarks.servers import Servers, own_servers, say
from sync.adapters.cassandra.connection.connect import open_cassandra
from sync.adapters.postgres.connection.connect import connect

KEYSPACE = "bench_many"
COMMANDS = {
    "schema": ["schema", "apply"],
    "preflight": ["preflight"],
    "backfill": ["backfill", "--workers", "2", "--json"],
    "drift-report": ["drift-report", "--workers", "2", "--json"],
    "drift-report again": ["drift-report", "--workers", "2", "--json"],
    "status": ["status", "--json"],
    "gates": ["cutover", "--dry-run", "--no-writers", "--json"],
}
GOALS = {"preflight": 5, "backfill": 60, "drift-report": 60, "drift-report again": 60, "status": 2, "gates": 2}
"""Seconds, at most."""
_HEADER = "s | goal | client CPU s | Cassandra CPU s | Postgres CPU s | client's largest process, MB | load average before"


@dataclass(frozen=True, slots=True)
class Line:
    """One command."""

    command: str
    cost: Cost
    load: float

    def __str__(self) -> str:
        cost, goal = self.cost, GOALS.get(self.command)
        wanted = f"≤ {goal}: {'reached' if cost.seconds <= goal else '**not reached**'}" if goal else ""
        spent = f"{cost.client_cpu:.1f} | {cost.cassandra_cpu:.1f} | {cost.postgres_cpu:.1f}"
        return f"| {self.command} | {cost.seconds:.1f} | {wanted} | {spent} | {cost.rss_mb:.0f} | {self.load:.1f} |"


def main(argv: list[str]) -> int:
    """Run the commands; a line for each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many_tables", description=__doc__)
    parser.add_argument("--tables", type=int, default=200)
    parser.add_argument("--rows", type=int, default=10)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--code", type=Path, default=Path(__file__).parent.parent)
    parser.add_argument("--only", default=",".join(COMMANDS))
    given = parser.parse_args(argv)
    with own_servers(f"{KEYSPACE}_{given.tables}", f"{KEYSPACE}_{given.tables}", given.keep, "many") as servers:
        fill(servers, given.tables, given.rows)
        if "schema" in given.only:
            empty(servers)
        found = [run(servers, given.code, name) for name in given.only.split(",")]
    sys.stdout.write(f"{machine()}, {given.tables} tables of {given.rows} rows\n\n| command | {_HEADER} |\n")
    sys.stdout.write("|" + " --- |" * 8 + "\n" + "".join(f"{line}\n" for line in found))
    return 0


def fill(servers: Servers, tables: int, rows: int) -> None:
    """The source's tables, each with its rows, where they are not there yet."""
    with open_cassandra(servers.settings.model_copy(update={"astra_db_keyspace": None})) as cassandra:
        session, keyspace = cassandra.session, servers.keyspace
        simple = "{'class': 'SimpleStrategy', 'replication_factor': 1}"
        session.execute(f"CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = {simple}")
        there = cassandra.session.cluster.metadata.keyspaces[keyspace].tables
        for n in range(tables):
            if f"t{n}" in there:
                continue
            session.execute(f"CREATE TABLE {keyspace}.t{n} (id int PRIMARY KEY, a text, b int)", timeout=60)
            insert = session.prepare(f"INSERT INTO {keyspace}.t{n} (id, a, b) VALUES (?, ?, ?)")
            execute_concurrent(session, [(insert, (row, f"row {row}", row)) for row in range(rows)])
            if n % 20 == 0:
                say(f"{n} of {tables} tables")


def empty(servers: Servers) -> None:
    """A new target."""
    settings = servers.settings.model_copy(update={"postgres_database": "postgres"})
    with closing(connect(settings, autocommit=True)) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {servers.database} WITH (FORCE)".encode())
        connection.execute(f"CREATE DATABASE {servers.database}".encode())


def run(servers: Servers, code: Path, name: str) -> Line:
    """One command, begun when the servers have finished what came before."""
    wait_until_calm(servers, limit=30)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "sync.toml"
        config.write_text("schema_files = []\n")
        env = {**servers.env, "SYNC_CONFIG": str(config), "PYTHONPATH": str(code.resolve())}
        env |= {"PYTHONDONTWRITEBYTECODE": ""}  # an installed program has its bytecode: without it each command compiles it
        line = Line(name, measure([sys.executable, "-m", "sync", *COMMANDS[name]], servers, env, Path(folder) / "log"), load)
    say(str(line))
    return line


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
