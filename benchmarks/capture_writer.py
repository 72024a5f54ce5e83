"""Writes one row a statement at a steady rate, and notes when each was acknowledged. Knows nothing of `sync`.

    python -m benchmarks.capture_writer SETTINGS

SETTINGS is JSON: host, port, user, password, keyspace, rate (writes a second; 0: as fast as it can), count, first (number
of the first row), file. The file gets the moments of acknowledgement, float64 seconds since 1970 in the order of the rows;
NaN: refused.
"""

from __future__ import annotations

import array
import json
import math
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import Cluster

TABLE = "captured"
CREATE = f"CREATE TABLE {TABLE} (id uuid PRIMARY KEY, title text, year int, tags map<text, text>) WITH cdc = true"
_TICK_SECONDS = 0.01
_IN_FLIGHT = 256


def key_of(number: int) -> UUID:
    """The key of a row; neighbours are far from each other in the ring."""
    return UUID(int=number)


class Writer:
    """One session's writes."""

    def __init__(self, asked: dict[str, Any]) -> None:
        auth = PlainTextAuthProvider(asked["user"], asked["password"])
        self._session = Cluster([asked["host"]], port=asked["port"], auth_provider=auth).connect(asked["keyspace"])
        self._insert = self._session.prepare(f"INSERT INTO {TABLE} (id, title, year, tags) VALUES (?, ?, ?, ?)")
        self._first, self.count = int(asked["first"]), int(asked["count"])
        self.moments = array.array("d", [math.nan]) * self.count
        self._room = threading.Semaphore(_IN_FLIGHT)
        self._done = threading.Semaphore(0)

    def send(self, number: int) -> None:
        """Send one; waits while too many are under way."""
        self._room.acquire()
        values = (key_of(self._first + number), f"title {number} of a usual length", 2000 + number % 30, {"n": str(number)})
        future = self._session.execute_async(self._insert, values)
        future.add_callbacks(partial(self._ended, number, True), partial(self._ended, number, False))

    def _ended(self, number: int, ok: bool, _: object) -> None:
        if ok:
            self.moments[number] = time.time()
        self._room.release()
        self._done.release()

    def wait(self) -> None:
        """Until all are answered."""
        for _ in range(self.count):
            self._done.acquire()


def main(asked: dict[str, Any]) -> None:
    """Write them all."""
    writer, rate = Writer(asked), float(asked["rate"])
    begun, sent = time.monotonic(), 0
    while sent < writer.count:
        due = writer.count if not rate else min(writer.count, int((time.monotonic() - begun) * rate) + 1)
        for number in range(sent, due):
            writer.send(number)
        sent = due
        time.sleep(_TICK_SECONDS)
    writer.wait()
    Path(asked["file"]).write_bytes(writer.moments.tobytes())


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
