"""What the servers allow at best: pages read and thrown away, rows already encoded and COPYed, and both at once.

    python -m benchmarks.limits read|copy|both|search TABLE [--streams N --page-kb N --file PATH]

One line of JSON to stdout: seconds, cpu (of the client), bytes, rows. Servers are those of the environment.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path
from queue import Empty, SimpleQueue

import psycopg
from psycopg import sql

from benchmarks.dataset import conninfo
from sync.adapters.cassandra.connection.connect import Cassandra, open_cassandra
from sync.adapters.cassandra.connection.pages import RangeReader
from sync.adapters.cassandra.schema.catalogue import read_tables
from sync.core.ring import WHOLE_RING, TokenRange
from sync.settings import Settings, load_settings

_RANGES = 32
_CHUNK = 128 << 10
ALL = tuple((streams, page_kb) for streams in (1, 2, 4, 8) for page_kb in (512, 1024, 2048, 4096))
FEW = ((2, 1024), (2, 2048), (2, 4096), (4, 1024))


@dataclass(frozen=True, slots=True)
class Rate:
    """What one limit took."""

    seconds: float
    cpu: float
    bytes: int
    rows: int = 0


class RawRead:
    """Reads a whole table as raw pages, `streams` of them under way, and throws them away."""

    def __init__(self, source: Cassandra, settings: Settings, table: str, streams: int, page_kb: int) -> None:
        known = read_tables(source.session, settings.astra_db_keyspace or "")[table]
        columns = tuple(c.name for c in known.columns)
        self._readers = [RangeReader(source.raw, known, columns, page_kb << 10) for _ in range(streams)]
        self._bytes = self._rows = 0
        self._errors: list[Exception] = []

    def run(self) -> Rate:
        """Once over the ring."""
        ranges: SimpleQueue[TokenRange] = SimpleQueue()
        for tokens in WHOLE_RING.split(_RANGES):
            ranges.put(tokens)
        self._bytes = self._rows = 0
        begin, used = time.monotonic(), time.process_time()
        threads = [threading.Thread(target=self._read, args=(reader, ranges)) for reader in self._readers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._errors:
            raise self._errors[0]
        return Rate(time.monotonic() - begin, time.process_time() - used, self._bytes, self._rows)

    def _read(self, reader: RangeReader, ranges: SimpleQueue[TokenRange]) -> None:
        size = rows = 0
        try:
            while True:
                for page in reader.pages(ranges.get_nowait()):
                    size, rows = size + page.size, rows + page.count
        except Empty:
            pass
        except Exception as error:  # noqa: BLE001 (raised again by the thread that waits)
            self._errors.append(error)
        self._bytes, self._rows = self._bytes + size, self._rows + rows  # threads add one after the other: the GIL


def copy_file(settings: Settings, table: str, path: Path) -> Rate:
    """COPY rows that are encoded already into the table."""
    with psycopg.connect(conninfo(settings)) as connection, path.open("rb") as file:
        begin, used = time.monotonic(), time.process_time()
        statement = sql.SQL("COPY {} FROM STDIN (FORMAT BINARY)").format(sql.Identifier(table))
        with connection.cursor() as cursor, cursor.copy(statement) as copy:
            while chunk := file.read(_CHUNK):
                copy.write(chunk)
        connection.commit()
        rows = max(cursor.rowcount, 0)
        return Rate(time.monotonic() - begin, time.process_time() - used, path.stat().st_size, rows)


def both(settings: Settings, table: str, path: Path, streams: int, page_kb: int) -> Rate:
    """The read in a process of its own while this one COPYs; from a common start to the end of the slower."""
    context = multiprocessing.get_context("spawn")
    start, (here, there) = context.Barrier(2), context.Pipe()
    reader = context.Process(target=_read_apart, args=(settings, table, streams, page_kb, start, there))
    reader.start()
    start.wait(60)
    begin = time.monotonic()
    copied = copy_file(settings, table, path)
    read: Rate = here.recv()
    seconds = time.monotonic() - begin
    reader.join()
    return Rate(seconds, copied.cpu + read.cpu, copied.bytes + read.bytes, copied.rows)


def _read_apart(settings: Settings, table: str, streams: int, page_kb: int, start: Barrier, answer: Connection) -> None:
    with raw_read(settings, table, streams, page_kb) as read:
        start.wait(60)
        answer.send(read.run())


@contextmanager
def raw_read(settings: Settings, table: str, streams: int, page_kb: int) -> Iterator[RawRead]:
    """A raw read, connected and ready to run."""
    with open_cassandra(settings, 60) as source:
        yield RawRead(source, settings, table, streams, page_kb)


def search(settings: Settings, table: str, pairs: Sequence[tuple[int, int]] = ALL) -> list[dict[str, float]]:
    """Pairs of (streams, KiB a page), the best first; a few runs for nothing come before, because Java has to warm up."""
    best: dict[tuple[int, int], Rate] = {}
    with open_cassandra(settings, 60) as source:
        for _ in range(3):
            RawRead(source, settings, table, 2, 1024).run()
        for pair in (*pairs, *pairs):
            rate = RawRead(source, settings, table, *pair).run()
            best[pair] = min(rate, best.get(pair, rate), key=lambda r: r.seconds)
    ordered = sorted(best.items(), key=lambda item: item[1].seconds)
    return [{"streams": s, "page_kb": p, "seconds": round(r.seconds, 3), "cpu": round(r.cpu, 3)} for (s, p), r in ordered]


def main() -> None:
    """Run one limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("read", "copy", "both", "search"))
    parser.add_argument("table")
    parser.add_argument("--streams", type=int, default=4)
    parser.add_argument("--page-kb", type=int, default=1024)
    parser.add_argument("--file", type=Path, help="rows in binary COPY format, for copy and both")
    wanted = parser.parse_args()
    settings = load_settings(None)
    if wanted.what == "search":
        sys.stdout.write(f"{json.dumps({'best': search(settings, wanted.table)})}\n")
        return
    if wanted.what == "read":
        with raw_read(settings, wanted.table, wanted.streams, wanted.page_kb) as read:
            rate = read.run()
    elif wanted.what == "copy":
        rate = copy_file(settings, wanted.table, wanted.file)
    else:
        rate = both(settings, wanted.table, wanted.file, wanted.streams, wanted.page_kb)
    sys.stdout.write(f"{json.dumps(asdict(rate))}\n")


if __name__ == "__main__":
    main()
