"""What an HNSW index costs: seconds, CPU, memory and size, by rows, dimensions and the memory that its build may use.

    python -m benchmarks.hnsw [--rows 60000,300000] [--dimensions 512] [--memory-mb 64,8192] [--workers 1]

Starts a Postgres of its own. Vectors are of unit length, in a thousand clusters. A build that exceeds its memory says how
many rows had room, and so how much memory a row needs.
"""

from __future__ import annotations

import argparse
import re
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import psycopg
from psycopg.errors import Diagnostic

from benchmarks.meter import machine
from sync import local

_CLUSTERS, _NOISE = 1000, 0.5
_BLOCK = 5_000
_SAMPLE_SECONDS = 0.2
_SETTINGS = {"shared_buffers": "256MB", "max_wal_size": "16GB", "wal_level": "replica", "max_worker_processes": "8"}
_FULL = re.compile(r"no longer fits into maintenance_work_mem after (\d+) tuples")


@dataclass
class Build:
    """One index. `fitted`: rows after which the memory was used up; None if all had room."""

    rows: int
    dimensions: int
    memory_mb: int
    workers: int
    seconds: float = 0.0
    cpu: float = 0.0
    peak_mb: float = 0.0
    table_mb: float = 0.0
    index_mb: float = 0.0
    wal_mb: float = 0.0
    fitted: int | None = None
    notices: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        room = f"{self.fitted:,} rows: {self.memory_mb * 2**20 / self.fitted:,.0f} bytes a row" if self.fitted else "all"
        figures = f"{self.seconds:.1f} | {self.cpu:.1f} | {1e6 * self.cpu / self.rows:.0f} | {self.peak_mb:.0f}"
        sizes = f"{self.table_mb:.0f} | {self.index_mb:.0f} | {self.wal_mb:.0f} | {room}"
        return f"| {self.rows:,} | {self.dimensions} | {self.memory_mb} | {self.workers} | {figures} | {sizes} |"


_HEADER = (
    "rows | dimensions | maintenance_work_mem, MB | more workers | s | CPU s | CPU µs a row | "
    "memory at its highest, MB | table, MB | index, MB | WAL, MB | had room"
)


def main(argv: list[str]) -> int:
    """A line an index."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.hnsw", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=_numbers, default="60000,300000")
    parser.add_argument("--dimensions", type=_numbers, default="512")
    parser.add_argument("--memory-mb", type=_numbers, default="64,8192")
    parser.add_argument("--workers", type=int, default=1, help="parallel workers beside the command's own process")
    given = parser.parse_args(argv)
    _say(f"{machine()}, load average {psutil.getloadavg()[0]:.1f}\n\n| {_HEADER} |\n|{' --- |' * 12}")
    with tempfile.TemporaryDirectory() as folder:
        server = local.PostgresServer(Path(folder), options=local.PostgresOptions(settings=_SETTINGS))
        server.start()
        try:
            for dimensions in given.dimensions:
                for rows in given.rows:
                    _fill(server, rows, dimensions)
                    for memory in given.memory_mb:
                        _say(str(_built(server, Build(rows, dimensions, memory, given.workers))))
        finally:
            server.remove()
    return 0


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _fill(server: local.PostgresServer, rows: int, dimensions: int) -> None:
    """The table, new, with so many vectors."""
    with closing(psycopg.connect(server.conninfo("postgres"), autocommit=True)) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        connection.execute("DROP TABLE IF EXISTS v")
        connection.execute(f"CREATE TABLE v (id int PRIMARY KEY, embedding vector({dimensions}))".encode())
        with connection.cursor().copy("COPY v FROM STDIN (FORMAT BINARY)") as copy:
            copy.write(b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0))
            for piece in _pieces(rows, dimensions):
                copy.write(piece)
            copy.write(struct.pack(">h", -1))
        connection.execute("VACUUM (ANALYZE) v")


def _pieces(rows: int, dimensions: int) -> Iterator[bytes]:
    """Rows in the binary format of COPY, some thousands at a time."""
    dice = np.random.default_rng(1)
    centres = dice.standard_normal((_CLUSTERS, dimensions), dtype=np.float32)
    row = np.dtype(
        [
            ("n", ">i2"),
            ("id_size", ">i4"),
            ("id", ">i4"),
            ("size", ">i4"),
            ("dim", ">i2"),
            ("zero", ">i2"),
            ("v", ">f4", dimensions),
        ]
    )
    for begin in range(0, rows, _BLOCK):
        count = min(_BLOCK, rows - begin)
        found = centres[dice.integers(0, _CLUSTERS, count)] + _NOISE * dice.standard_normal(
            (count, dimensions), dtype=np.float32
        )
        made = np.zeros(count, row)
        made["n"], made["id_size"], made["id"] = 2, 4, np.arange(begin, begin + count)
        made["size"], made["dim"] = 4 + 4 * dimensions, dimensions
        made["v"] = found / np.linalg.norm(found, axis=1, keepdims=True)
        yield made.tobytes()


def _built(server: local.PostgresServer, build: Build) -> Build:
    """Build the index, and drop it."""
    with closing(psycopg.connect(server.conninfo("postgres"), autocommit=True)) as connection:
        connection.add_notice_handler(lambda notice: build.notices.append(_text(notice)))
        connection.execute("CHECKPOINT")
        connection.execute(f"SET maintenance_work_mem = '{build.memory_mb}MB'".encode())
        connection.execute(f"SET max_parallel_maintenance_workers = {build.workers}".encode())
        connection.execute("SET min_parallel_table_scan_size = 0")  # as `sync` does for its builds
        before, wal = server_cpu(server), _number(connection, "SELECT pg_current_wal_lsn() - '0/0'::pg_lsn")
        with _Highest(server) as highest:
            begun = time.monotonic()
            connection.execute("CREATE INDEX i ON v USING hnsw (embedding vector_cosine_ops)")
            build.seconds = time.monotonic() - begun
        build.cpu, build.peak_mb = server_cpu(server) - before, highest.bytes / 1e6
        build.wal_mb = (_number(connection, "SELECT pg_current_wal_lsn() - '0/0'::pg_lsn") - wal) / 1e6
        build.table_mb = _number(connection, "SELECT pg_table_size('v')") / 1e6
        build.index_mb = _number(connection, "SELECT pg_relation_size('i')") / 1e6
        connection.execute("DROP INDEX i")
        backend = connection.info.backend_pid
    while psutil.pid_exists(backend):  # its CPU is the server's own once it has ended, and not the next build's
        time.sleep(0.05)
    full = [int(found[1]) for text in build.notices if (found := _FULL.search(text))]
    build.fitted = min(full, default=None)
    return build


def _text(notice: Diagnostic) -> str:
    return notice.message_primary or ""


def _number(connection: psycopg.Connection, statement: str) -> float:
    row = connection.execute(statement.encode()).fetchone()
    assert row is not None
    return float(row[0])


def server_cpu(server: local.PostgresServer) -> float:
    """CPU seconds of the server's processes, those that have ended included."""
    assert server.pid is not None
    process = psutil.Process(server.pid)
    spent = sum(process.cpu_times()[:4])
    for child in process.children():
        try:
            spent += sum(child.cpu_times()[:4])
        except psutil.NoSuchProcess:
            continue
    return spent


class _Highest:
    """The highest memory of the server while this is open: what its processes have for themselves, and what they share."""

    def __init__(self, server: local.PostgresServer) -> None:
        assert server.pid is not None
        self._server, self._ended = psutil.Process(server.pid), threading.Event()
        self.bytes = 0
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> _Highest:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(_SAMPLE_SECONDS):
            own, shared = 0, 0
            for process in self._server.children():
                try:
                    memory = process.memory_info()
                except psutil.NoSuchProcess:
                    continue
                own, shared = own + memory.rss - memory.shared, max(shared, memory.shared)
            self.bytes = max(self.bytes, own + shared)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
