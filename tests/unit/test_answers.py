"""Two answers to one read: in which keys an application would see a difference."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from support.pg_types import pg_type

from sync.core.cql import CqlType
from sync.core.drift.answers import are_equal, on_both_sides, suspects
from sync.core.reads.names import Names, other_names
from sync.core.rows import ColumnPair, SourceColumn, SourceTable, TableMap, TableOptions, TargetColumn, TargetTable

NAN = float("nan")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (NAN, math.nan),
        ([1.5, NAN], [1.5, -NAN]),
        ({"a": [NAN], "b": None}, {"b": None, "a": (NAN,)}),
        ((1, "x"), [1, "x"]),
        (Decimal("1.50"), Decimal("1.5")),
        (2**70, Decimal(2**70)),
        (datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 1, 1, tzinfo=UTC)),
        (None, None),
    ],
)
def test_what_is_equal_to_an_application(one: Any, other: Any) -> None:
    """Would break: a finding for each row with a NaN, and a second look at each row with a tuple."""
    assert are_equal(one, other) and are_equal(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (NAN, 0.0), (NAN, None), ([1.0], [1.0, 2.0]), ([1, 2], [2, 1]), ({"a": 1}, {"a": 1, "b": None}), ({"a": 1}, {"b": 1}),
        ("", None), ("a", ["a"]), ([], None), ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}), (b"a", "a"),
    ],
)  # fmt: skip
def test_what_is_not(one: Any, other: Any) -> None:
    """Would break: a difference that the application would meet after the cut-over is not seen."""
    assert not are_equal(one, other) and not are_equal(other, one)


def test_rows_that_one_answer_lacks() -> None:
    """Would break: a search whose index finds another row is a difference; or a row that is missing is none."""
    ours, theirs = {1: {"v": 1}, 2: {"v": 2}, 3: {"v": 3}}, {2: {"v": 0}, 3: {"v": 3}, 4: {"v": 4}}
    assert suspects(ours, theirs, whole=False) == [2]
    assert suspects(ours, theirs, whole=True) == [2, 1, 4]
    assert suspects({}, {}, whole=True) == []


def mapped(schema: str = "public", name: str = "t", is_collection: bool = False, **names: str) -> TableMap:
    """A table `t` with a key `id`, a column `a`, and one on each side that the other has not; `names`: the target's."""
    source = [SourceColumn("id", CqlType("int"), "partition_key"), SourceColumn("a", CqlType("int"), "regular")]
    target = [TargetColumn(names.get(c.name, c.name), pg_type("int4")) for c in source]
    pairs = tuple(ColumnPair(c, t) for c, t in zip(source, target, strict=True))
    here = SourceTable("ks", "t", (*source, SourceColumn("secret", CqlType("text"), "regular")), is_collection=is_collection)
    there = TargetTable(schema, name, (*target, TargetColumn("own", pg_type("text"))), (target[0].name,))
    return TableMap(here, there, pairs)


def test_only_columns_of_both_sides_are_compared() -> None:
    """Would break: `ignore` and columns of one's own make each read one that is read again."""
    table = mapped(id="key", a="A b")
    assert on_both_sides(table, {"id": 1, "a": 2, "secret": "s", "own": "x"}) == {"id": 1, "a": 2}
    assert on_both_sides(mapped(is_collection=True), {"_id": "x", "n": 1}) == {"_id": "x", "n": 1}


@pytest.mark.parametrize(
    ("options", "there"),
    [
        (TableOptions(), None), (TableOptions(target="t"), None), (TableOptions(target="u"), Names("u", {})),
        (TableOptions(rename={"a": "b"}), Names("t", {"a": "b"})), (TableOptions(target="u", collection=True), None),
    ],
)  # fmt: skip
def test_which_tables_have_other_names_in_the_target(options: TableOptions, there: Names | None) -> None:
    """Would break: the target is asked for what it does not know."""
    assert other_names("t", options) == there


def test_names_that_trade_places() -> None:
    """Would break: a column that has the former name of another one."""
    names = Names("t", {"a": "b", "b": "c"})
    assert names.to_target({"a": 1, "b": 2, "d": 3}) == {"b": 1, "c": 2, "d": 3}
    assert names.from_target({"b": 1, "c": 2, "d": 3}) == {"a": 1, "b": 2, "d": 3}
