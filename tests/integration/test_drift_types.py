"""Blind spots: every kind of defect in every type of the matrix, planted in Postgres one at a time and together, is found.

Each type's table is first checked as it was copied: without a finding. So a defect that is found was not there before, and
one that the comparison cannot see fails the test.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from support.defects import Change, changes_of
from support.drift import Checker, around, state_schema
from support.edges import edges
from support.lab import REFUSED_BY_POSTGRES, Lab, Source, open_lab
from support.matrix import TYPE_PAIRS, TYPES
from support.murmur import hash_of
from support.values import sample, strategy

from sync.adapters.cassandra.connection.connect import Cassandra
from sync.adapters.postgres.backfill import rejects
from sync.core.cql import CqlType
from sync.core.encode.rows import RowEncoder
from sync.core.ring import plan_ranges
from sync.core.rows import PgType
from sync.settings import Settings

_RANGES = plan_ranges([], 1, at_least=4)
_CANDIDATES = 60
_FOUND: dict[str, list[int]] = {}
"""By defect: how many were planted, and how many of these were found."""


@pytest.fixture(scope="module")
def lab(cassandra: Cassandra, base_settings: Settings) -> Iterator[Lab]:
    """A keyspace and a database of this module's own, with the user types and the state schema."""
    with open_lab(cassandra, base_settings) as opened:
        for statement in TYPES:
            cassandra.session.execute(statement.format(opened.keyspace))
        state_schema(opened)
        yield opened
        print(f"\n{'defect':45} planted   found")
        for name, (planted, found) in sorted(_FOUND.items()):
            print(f"{name:45} {planted:7} {found:7}")


def _values(cql: CqlType) -> list[Any]:
    several = 6 if (cql.dimension or 0) > 50 else 25
    return [*([] if cql.name == "counter" else [None]), *edges(cql), *sample(strategy(cql), several)]


class Planting:
    """One table, copied and clean, in which defects are planted."""

    def __init__(self, lab: Lab, source: Source, pg: str) -> None:
        self.lab, self.name = lab, lab.target(pg)
        table = lab.table_map(source.table, self.name)
        self.checker, self.encoder = Checker(lab, table), RowEncoder(table, 5)
        self.type: PgType = next(p.target.type for p in table.pairs if p.target.name == "c")
        for outcome in lab.outcomes(self.encoder, source.table):
            if outcome.checked.encoded is None:
                rejects.record(lab.postgres, table, 1, outcome.checked)
            else:
                try:
                    with lab.postgres.transaction():
                        lab.copy(self.name, self.encoder, [outcome.checked.encoded])
                except REFUSED_BY_POSTGRES as error:
                    raise AssertionError(f"{outcome.key}: {error}") from None
        (send,) = self.sql("SELECT typsend::text FROM pg_type WHERE oid = %s", self.type.oid)[0]
        self.send, self.used = send, set[UUID]()
        self.rows = dict(self.sql(f"SELECT k, {send}(c) FROM {self.name}"))

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        cursor = self.lab.postgres.execute(statement.encode(), values, binary=True)
        return cursor.fetchall() if cursor.description else []

    def free(self, null: bool = False) -> list[UUID]:
        """Some of the keys in which nothing is planted."""
        return [k for k, sent in self.rows.items() if (sent is None) == null and k not in self.used][:_CANDIDATES]

    def change(self, change: Change, null: bool = False) -> UUID | None:
        """Plant a change in the first row that it changes; its key."""
        for key in self.free(null):
            with suppress(psycopg.DataError, ValueError, OverflowError, psycopg.errors.ProgramLimitExceeded,
                          psycopg.errors.UndefinedFunction), self.lab.postgres.transaction():  # fmt: skip
                self._set(change, key)
                ((sent,),) = self.sql(f"SELECT {self.send}(c) FROM {self.name} WHERE k = %s", key)
                if sent != self.rows[key]:
                    return key
        return None

    def _set(self, change: Change, key: UUID) -> None:
        if callable(change):
            ((text,),) = self.sql(f"SELECT c::text FROM {self.name} WHERE k = %s", key)
            self.sql(f"UPDATE {self.name} SET c = %s::text::{self.type} WHERE k = %s", change(text), key)
        else:
            self.sql(f"UPDATE {self.name} SET c = {change} WHERE k = %s", key)

    def remove(self) -> UUID:
        key = self.free()[0]
        self.sql(f"DELETE FROM {self.name} WHERE k = %s", key)
        return key

    def copy_to(self, new: UUID) -> UUID:
        """Copy a row to another key, with that key's token; the row's own key."""
        key = self.free()[0]
        self.sql(f"INSERT INTO {self.name} (_sync_token, k, c) SELECT %s, %s, c FROM {self.name} WHERE k = %s",
                 hash_of(new.bytes), new, key)  # fmt: skip
        return key

    def swap(self) -> list[UUID]:
        """Swap the values of two rows; their keys, or none where all are equal."""
        keys = self.free()
        others = [k for k in keys if self.rows[k] != self.rows[keys[0]]]
        if not others:
            return []
        a, b = keys[0], others[0]
        self.sql(
            f"UPDATE {self.name} AS t SET c = o.c FROM {self.name} AS o "
            "WHERE (t.k, o.k) = (%s, %s) OR (t.k, o.k) = (%s, %s)", a, b, b, a,
        )  # fmt: skip
        return [a, b]

    def plant(self, label: str, change: Change | None, null: bool) -> dict[UUID, str]:
        """Plant one defect: the kind of finding that each key must become."""
        if label == "row missing":
            return {self.remove(): "missing"}
        if label == "row extra":
            new = uuid4()
            self.copy_to(new)
            return {new: "extra"}
        if label == "row moved to another key":
            new = uuid4()
            old = self.copy_to(new)
            self.sql(f"DELETE FROM {self.name} WHERE k = %s", old)
            return {old: "missing", new: "extra"}
        if label == "two rows swapped":
            return dict.fromkeys(self.swap(), "different")
        assert change is not None
        key = self.change(change, null)
        return {key: "different"} if key else {}

    def expect(self, label: str, planted: dict[UUID, str], found: dict[UUID, Any]) -> None:
        """Each planted defect was found, as what it is, and nothing else."""
        assert {k: j.verdict for k, j in found.items()} == planted, label
        for judged in found.values():
            assert judged.columns == (("c",) if judged.verdict == "different" else ()), label


def _defects(pg: PgType) -> list[tuple[str, Change | None, bool]]:
    rows = ("row missing", "row extra", "row moved to another key", "two rows swapped")
    changes = changes_of(pg.name, pg.element is not None)
    constant = {n: c for n, c in changes.items() if isinstance(c, str) and c.startswith("'") and "c" not in c.split("'")[-1]}
    return [
        *((label, None, False) for label in rows),
        ("value to null", "NULL", False),
        *((f"{pg.name if not pg.element else 'array'}: {n}", c, False) for n, c in changes.items()),
        *((f"null to {n}", c, True) for n, c in constant.items()),
    ]


@pytest.mark.parametrize(("cql", "pg"), TYPE_PAIRS)
def test_every_defect_is_found(lab: Lab, cql: str, pg: str) -> None:
    """Would break: the hash, the comparison or the second read does not see a difference of this type."""
    planting = Planting(lab, lab.source(cql, _values), pg)
    assert planting.checker.findings(_RANGES) == {}
    defects, together, specific = _defects(planting.type), {}, 0
    for label, change, null in defects:
        count = _FOUND.setdefault(label, [0, 0])
        with lab.postgres.transaction(force_rollback=True):
            alone = planting.plant(label, change, null)
            found = planting.checker.findings([around(hash_of(k.bytes)) for k in alone])
            count[0] += len(alone)
            count[1] += len(alone.keys() & found.keys())
            planting.expect(label, alone, found)
        specific += bool(alone) and change is not None and change != "NULL"
        if len(planting.free()) > 12:  # a few huge vectors cannot all be changed at once
            planted = planting.plant(label, change, null)
            together |= planted
            planting.used |= planted.keys()
    assert specific, f"nothing of {pg} itself could be planted"
    planting.expect("all together", together, planting.checker.findings(_RANGES))


_PAIRS = {
    "columns swapped": ("UPDATE t SET a = b, b = a WHERE k = %(k)s", {"a", "b"}),
    "moved across a boundary": ("UPDATE t SET a = a || left(b, 1), b = substr(b, 2) WHERE k = %(k)s", {"a", "b"}),
    "null moved across a boundary": ("UPDATE t SET a = NULL, b = a WHERE k = %(k)s", {"a", "b"}),
    "empty for null beside a null": ("UPDATE t SET a = '', b = NULL WHERE k = %(k)s", {"a", "b"}),
    "one more here, one less there": ("UPDATE t SET x = x + 1, y = y - 1 WHERE k = %(k)s", {"x", "y"}),
    "the same bit in two columns": ("UPDATE t SET x = x # 1, y = y # 1 WHERE k = %(k)s", {"x", "y"}),
    "vector's components swapped": ("UPDATE t SET v = '[2,1,3]' WHERE k = %(k)s", {"v"}),
}
_TWO_ROWS = {
    "one more here, one less in the other": "UPDATE t SET x = x + CASE k WHEN %(k)s THEN 1 ELSE -1 END WHERE k IN (%(k)s, %(o)s)",
    "the same bit in both rows": "UPDATE t SET x = x # 1 WHERE k IN (%(k)s, %(o)s)",
    "the other's value in one column": "UPDATE t SET a = o.a FROM (SELECT k, a FROM t) AS o WHERE (t.k, o.k) IN ((%(k)s, %(o)s), (%(o)s, %(k)s))",
    "all columns but the key swapped": "UPDATE t SET a = o.a, b = o.b, x = o.x, y = o.y, v = o.v FROM (SELECT * FROM t) AS o WHERE (t.k, o.k) IN ((%(k)s, %(o)s), (%(o)s, %(k)s))",
    "both rows equal": "UPDATE t SET a = 'z', b = 'z', x = 0, y = 0, v = '[0,0,0]' WHERE k IN (%(k)s, %(o)s)",
}  # fmt: skip


@pytest.fixture(scope="module")
def wide(lab: Lab) -> Checker:
    """A table of several columns, copied: 40 rows, which all differ in all columns."""
    lab.session.execute(
        f"CREATE TABLE {lab.keyspace}.t (k uuid PRIMARY KEY, a text, b text, x int, y int, v vector<float, 3>)"
    )
    lab.postgres.execute(
        "CREATE TABLE t (_sync_token bigint, k uuid PRIMARY KEY, a text, b text, x int, y int, v vector(3), _sync_version bigint)"
    )
    from sync.adapters.cassandra.schema.catalogue import read_tables

    table = lab.table_map(read_tables(lab.session, lab.keyspace)["t"], "t")
    encoder = RowEncoder(table, 5)
    insert = lab.session.prepare(f"INSERT INTO {lab.keyspace}.t (k, a, b, x, y, v) VALUES (?, ?, ?, ?, ?, ?)")
    for i in range(40):
        lab.session.execute(insert, (UUID(int=i), f"a{i}", f"b{i}", i, 1000 + i, [1.0, 2.0, 3.0 + i]))
    for outcome in lab.outcomes(encoder, table.source):
        lab.copy("t", encoder, [outcome.checked.encoded or b""])
    return Checker(lab, table)


def _planted(checker: Checker, statement: str, *keys: UUID) -> dict[UUID, Any]:
    """What is found while this is planted: the same in these keys' ranges as in the whole ring."""
    postgres = checker.lab.postgres
    with postgres.transaction(force_rollback=True):
        done = postgres.execute(statement.encode(), dict(zip("ko", keys, strict=False)))
        assert done.rowcount in (0, len(keys))
        near = checker.findings({around(hash_of(k.bytes)) for k in keys})
        assert checker.findings(_RANGES).keys() == near.keys()
        return near


@pytest.mark.parametrize("name", _PAIRS)
def test_changes_that_cancel_within_a_row_are_found(wide: Checker, name: str) -> None:
    """Would break: a hash adds columns up, or does not know where one ends: two changes cancel each other."""
    statement, columns = _PAIRS[name]
    key = UUID(int=7)
    found = _planted(wide, statement, key)
    assert {k: (j.verdict, set(j.columns)) for k, j in found.items()} == {key: ("different", columns)}


@pytest.mark.parametrize("name", _TWO_ROWS)
def test_changes_that_cancel_between_rows_are_found(wide: Checker, name: str) -> None:
    """Would break: a digest XORs rows, or adds columns: one row's loss is another's gain."""
    keys = UUID(int=8), UUID(int=9)
    found = _planted(wide, _TWO_ROWS[name], *keys)
    assert {k: j.verdict for k, j in found.items()} == dict.fromkeys(keys, "different")


def test_the_same_rows_twice_are_found(wide: Checker) -> None:
    """Would break: a digest in which a pair of equal rows cancels out."""
    postgres = wide.lab.postgres
    new = [UUID(int=1000 + i) for i in range(4)]
    with postgres.transaction(force_rollback=True):
        for key in new:
            postgres.execute(
                "INSERT INTO t SELECT %s, %s, a, b, x, y, v FROM t WHERE k = %s", (hash_of(key.bytes), key, UUID(int=3))
            )
        found = wide.findings(_RANGES)
    assert {k: j.verdict for k, j in found.items()} == dict.fromkeys(new, "extra")


def test_a_float_is_what_its_bits_are() -> None:
    """Would break: what the defects take for the next float is the same float: a defect that is none."""
    from support.defects import ulp32, ulp64

    assert struct.pack(">f", float(ulp32("1.5"))) == b"\x3f\xc0\x00\x01"
    assert struct.pack(">d", float(ulp64("1.5"))) == b"\x3f\xf8\x00\x00\x00\x00\x00\x01"
