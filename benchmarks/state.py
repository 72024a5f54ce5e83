"""What looking for work costs in a large state: milliseconds of each statement, at several sizes.

    python -m benchmarks.state [--sizes 1000,1000000]

Starts a Postgres of its own. So many intents, up to 200 tables, and 500 ranges of each table's backfill and drift report.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import psycopg

from sync import local

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from support.state import STATEMENTS, fill, set_up, values_of

_TIMES = 15


def main(argv: list[str]) -> int:
    """A line a statement, a column a size."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.state", description=__doc__)
    parser.add_argument("--sizes", default="1000,1000000")
    sizes = [int(size) for size in parser.parse_args(argv).sizes.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        server = local.PostgresServer(Path(folder))
        server.start()
        try:
            found = [_measure(server, size) for size in sizes]
        finally:
            server.remove()
    _say("| statement | " + " | ".join(f"{size:,} intents, ms" for size in sizes) + " |")
    _say("| --- |" + " --- |" * len(sizes))
    for name in found[0]:
        _say(f"| {name} | " + " | ".join(f"{times[name]:.2f}" for times in found) + " |")
    return 0


def _measure(server: local.PostgresServer, size: int) -> dict[str, float]:
    with closing(psycopg.connect(server.conninfo("postgres"), autocommit=True)) as admin:
        admin.execute(f"CREATE DATABASE state_{size}".encode())
    with closing(psycopg.connect(server.conninfo(f"state_{size}"), autocommit=True)) as connection:
        fill(connection, size)
        return {name: statistics.median(_time(connection, name) for _ in range(_TIMES)) for name in STATEMENTS}


def _time(connection: psycopg.Connection, name: str) -> float:
    statement, values = values_of(connection, name)
    with connection.transaction(force_rollback=True):
        set_up(connection, name)
        begun = time.perf_counter()
        connection.execute(statement.encode() if isinstance(statement, str) else statement, values)
        return 1000 * (time.perf_counter() - begun)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
