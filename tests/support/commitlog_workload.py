"""A random workload by somebody who knows nothing of `sync`, and the keys that it touched."""

from __future__ import annotations

import random
import struct

from cassandra.cluster import Session

from support.commitlog import MemoryLedger

Told = set[tuple[str, tuple[bytes, ...], tuple[bytes, ...] | None]]

TABLES = (
    "CREATE TABLE IF NOT EXISTS w_plain (k int PRIMARY KEY, v text) WITH cdc = true",
    "CREATE TABLE IF NOT EXISTS w_wide (p int, c int, s text static, v text, m map<int, int>, PRIMARY KEY (p, c)) WITH cdc = true",
    "CREATE TABLE IF NOT EXISTS w_count (p int, c int, n counter, PRIMARY KEY (p, c)) WITH cdc = true",
)


def i(number: int) -> bytes:
    return struct.pack(">i", number)


class Workload:
    """Writes at random; `touched`: table, partition, clustering of what was acknowledged, None for a whole partition.

    `span`: how many partitions, and rows of each, it chooses from. `expiring`: some rows have a TTL.
    """

    def __init__(self, session: Session, seed: int, value_bytes: int = 20, span: int = 50, expiring: bool = True) -> None:
        self._session, self._random, self._value, self._span = session, random.Random(seed), "v" * value_bytes, span
        self.touched: Told = set()
        self._expiring = expiring
        for table in TABLES:
            session.execute(table)

    def write(self, count: int) -> None:
        """So many statements."""
        for _ in range(count):
            self._one()

    def _one(self) -> None:
        p, c, kind = self._random.randrange(self._span), self._random.randrange(self._span), self._random.randrange(10)
        wide, row = ("w_wide", (i(p),)), (i(c),)
        run = self._session.execute
        if kind == 0:
            run(f"INSERT INTO w_plain (k, v) VALUES ({p}, '{self._value}')")
            self.touched.add(("w_plain", (i(p),), ()))
        elif kind == 1:
            run(f"DELETE FROM w_plain WHERE k = {p}")
            self.touched.add(("w_plain", (i(p),), ()))
        elif kind == 2:
            run(f"UPDATE w_count SET n = n + 1 WHERE p = {p} AND c = {c}")
            self.touched.add(("w_count", (i(p),), row))
        elif kind == 3:
            run(f"UPDATE w_wide SET m[{c}] = 5, v = null WHERE p = {p} AND c = {c}")
            self.touched.add((*wide, row))
        elif kind == 4:
            run(f"UPDATE w_wide SET s = 'x' WHERE p = {p}")
            self.touched.add((*wide, None))
        elif kind == 5:
            run(f"DELETE FROM w_wide WHERE p = {p} AND c > {c}")
            self.touched.add((*wide, None))
        elif kind == 6:
            run(
                f"BEGIN BATCH INSERT INTO w_plain (k, v) VALUES ({p}, 'b'); INSERT INTO w_wide (p, c, v) VALUES ({p}, {c}, 'b'); "
                f"DELETE FROM w_wide WHERE p = {p + 100_000} AND c = {c}; APPLY BATCH"
            )
            self.touched |= {("w_plain", (i(p),), ()), (*wide, row), ("w_wide", (i(p + 100_000),), row)}
        else:
            run(f"INSERT INTO w_wide (p, c, v) VALUES ({p}, {c}, '{self._value}')" + f" USING TTL {600 + c}" * self._expiring)
            self.touched.add((*wide, row))


def missing(touched: Told, told: Told) -> Told:
    """What was touched and not told, neither by its key nor by its partition."""
    return {one for one in touched if one not in told and (one[0], one[1], None) not in told}


def told_by(ledger: MemoryLedger) -> Told:
    return {(change.table, change.partition, change.clustering) for change in ledger.changes}
