"""Tables made at random, with rows whose keys lie close together, for reads that must be the same on both sides."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from itertools import product
from typing import Any
from uuid import UUID

_VALUES: dict[str, list[Any]] = {
    "text": ["a", "B", "b", "Z", "é", "\U0001f3b5", "\uffff", "ab", "a b", "A"],
    "ascii": ["a", "B", "b", "_", "0", "~", "ab"],
    "int": [-(2**31), -1, 0, 1, 7, 2**31 - 1],
    "bigint": [-(2**63), -1, 0, 2**40, 2**63 - 1],
    "smallint": [-300, 0, 5, 300],
    "tinyint": [-128, 0, 127],
    "varint": [-(2**70), -1, 0, 2**70],
    "decimal": [Decimal("-1.5"), Decimal("0"), Decimal("1.25"), Decimal("10"), Decimal("9.99"), Decimal("-20")],
    "float": [float("-inf"), -1.5, 0.0, 2.5, float("inf")],
    "double": [-1e300, -1.5, 0.0, 1e-300, 2.5],
    "boolean": [False, True],
    "uuid": [
        UUID(int=0), UUID(int=2**128 - 1), UUID("00000000-0000-4000-8000-000000000001"), UUID("ffffffff-ffff-4fff-bfff-ffffffffffff"),
        UUID("7fffffff-0000-1000-8000-000000000000"), UUID("00000001-0000-1fff-8000-0000000000ff"), UUID("00000000-0000-7000-8000-000000000000"),
    ],
    "timeuuid": [
        UUID("00000000-0001-1000-8000-000000000000"), UUID("00000001-0000-1000-8000-000000000000"),
        UUID("00000000-0000-1001-8000-000000000000"), UUID("00000000-0000-1001-8080-80ff00000000"),
        UUID("00000000-0000-1001-807f-7f0000000000"), UUID("ffffffff-ffff-1fff-bfff-ffffffffffff"),
    ],
    "timestamp": [datetime(1969, 12, 31, 23, 59, 59, 999000, UTC), datetime(1970, 1, 1, tzinfo=UTC), datetime(2300, 1, 1, 0, 0, 0, 1000, UTC)],
    "date": [date(1, 1, 1), date(1969, 12, 31), date(1970, 1, 1), date(9999, 12, 31)],
    "time": [time(0), time(12, 0, 0, 1), time(23, 59, 59, 999999)],
    "blob": [b"\0", b"\x7f", b"\x80", b"\xff", b"\x80a", b"a"],
    "inet": ["0.0.0.0", "10.0.0.1", "255.255.255.255", "::1", "2001:db8::1", "a00:1::"],
}  # fmt: skip
TYPES = tuple(_VALUES)


@dataclass(frozen=True)
class RandomTable:
    """A table, its rows, and what a query of it may ask for."""

    name: str
    partition: tuple[tuple[str, str], ...]
    clustering: tuple[tuple[str, str, str], ...]
    rows: tuple[dict[str, Any], ...]

    @property
    def ddl(self) -> str:
        """The statement that makes it."""
        columns = [f"{n} {t}" for n, t in self.partition] + [f"{n} {t}" for n, t, _ in self.clustering]
        key = ", ".join(["(" + ", ".join(n for n, _ in self.partition) + ")", *(n for n, _, _ in self.clustering)])
        order = ", ".join(f"{n} {d}" for n, _, d in self.clustering)
        with_order = f" WITH CLUSTERING ORDER BY ({order})" if order else ""
        return f"CREATE TABLE KS.{self.name} ({', '.join(columns)}, words text, n int, PRIMARY KEY ({key})){with_order}"

    @property
    def keys(self) -> list[str]:
        """The names of the key's columns."""
        return [n for n, _ in self.partition] + [n for n, _, _ in self.clustering]


def random_table(seed: int) -> RandomTable:
    """A table of one or two partition columns and up to three clustering columns, the same for the same seed."""
    chosen = random.Random(seed)
    # A decimal of the partition key is text in Postgres (docs/types.md).
    partition = tuple((f"p{i}", chosen.choice([t for t in TYPES if t != "decimal"])) for i in range(chosen.randint(1, 2)))
    # Each type comes first in the order of some table.
    count = chosen.choice([1, 2, 3] if seed < len(TYPES) else [0, 1, 2, 3])
    kinds = [TYPES[seed % len(TYPES)], *chosen.choices(TYPES, k=2)][:count]
    clustering = tuple((f"c{i}", kind, chosen.choice(["ASC", "DESC"])) for i, kind in enumerate(kinds))
    return RandomTable(f"reads_{seed}", partition, clustering, tuple(_rows(chosen, partition, clustering)))


def _rows(chosen: random.Random, partition: Any, clustering: Any) -> list[dict[str, Any]]:
    partitions = list(product(*(chosen.sample(_VALUES[kind], 2) for _, kind in partition)))
    rows = []
    for values in partitions:
        within = list(product(*(_VALUES[kind] for _, kind, _ in clustering)))
        for others in chosen.sample(within, min(len(within), chosen.randint(1, 25))):
            key = dict(zip([n for n, *_ in (*partition, *clustering)], (*values, *others), strict=True))
            rows.append({**key, "words": chosen.choice([None, "x", "ü"]), "n": chosen.choice([None, 0, 5])})
    return rows


def random_query(chosen: random.Random, table: RandomTable) -> dict[str, Any]:
    """The arguments of a `find` in one partition: values and a range that rows have, an order, a limit."""
    row = chosen.choice(table.rows)
    where = {n: row[n] for n, _ in table.partition}
    fixed = chosen.randint(0, len(table.clustering))
    for name, _, _ in table.clustering[:fixed]:
        where[name] = row[name]
    free = table.clustering[fixed:]
    if free and chosen.random() < 0.6:
        name, kind, _ = free[0]
        low, high = (chosen.choice(_VALUES[kind]) for _ in range(2))
        ends = {chosen.choice([">", ">="]): low, chosen.choice(["<", "<="]): high}
        where[name] = dict(chosen.sample(list(ends.items()), chosen.randint(1, 2)))
    found: dict[str, Any] = {"where": where}
    if free and chosen.random() < 0.6:
        turned = chosen.random() < 0.5
        order = [(n, d.lower() if not turned else {"ASC": "desc", "DESC": "asc"}[d]) for n, _, d in free]
        found["order_by"] = order[: chosen.randint(1, len(order))]
    if chosen.random() < 0.5:
        found["limit"] = chosen.randint(1, 12)
    return found
