"""What a migration of many small tables costs: seconds of each command.

    python -m benchmarks.many_tables [--tables 200] [--rows 10] [--keep] [--code FOLDER] [--only backfill,status]

Starts servers of its own; `--keep` leaves them, and the source's tables, for the next call. `--code` is another checkout's
folder, whose commands are run in the place of this one's: before and after.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from cassandra.concurrent import execute_concurrent

from benchmarks.servers import Servers, own_servers, say
from sync.adapters.cassandra.connect import open_cassandra
from sync.adapters.postgres.connect import connect

KEYSPACE = "bench_many"
COMMANDS = {
    "preflight": ["preflight"],
    "schema": ["schema", "apply"],
    "backfill": ["backfill", "--workers", "2", "--json"],
    "drift-report": ["drift-report", "--workers", "2", "--json"],
    "status": ["status", "--json"],
}


def main(argv: list[str]) -> int:
    """Run the commands; seconds by command as JSON."""
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
        found = {name: run(servers, given.code, COMMANDS[name]) for name in given.only.split(",")}
    sys.stdout.write(json.dumps({"tables": given.tables, "rows": given.rows, "seconds": found}) + "\n")
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


def run(servers: Servers, code: Path, command: list[str]) -> float:
    """Seconds of a command."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "sync.toml").write_text("schema_files = []\n")
        env = {**os.environ, **servers.env, "PYTHONPATH": str(code.resolve())}
        begun = time.monotonic()
        done = subprocess.run([sys.executable, "-m", "sync", *command], cwd=folder, env=env, capture_output=True, text=True)
        seconds = round(time.monotonic() - begun, 2)
    if done.returncode not in (0, 2):
        say(done.stderr[-2000:] + done.stdout[-2000:])
    say(f"{' '.join(command)}: {seconds} s, exit code {done.returncode}")
    return seconds


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
