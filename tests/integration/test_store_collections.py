"""The inline half of a dual write gives a collection the form that Cassandra gives it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid1, uuid4

import pytest
from support.dual import Table, prepare
from support.places import NewPlace, Place

from sync.adapters.postgres.drift.keys import TargetKeys
from sync.core.encode.rows import RowEncoder
from sync.errors import WriteRefused
from sync.settings import Config, DualWriteTuning
from sync.stores import DualWriteStore

pytest_plugins = ("support.fixtures",)
CONFIG = Config(schema_files=(), dual_write=DualWriteTuning(connections=4))
ADDRESSES = ["10.0.0.9", "9.0.0.1", "200.1.1.1", "2001:db8::1", "::1", "2001:DB8::1", "127.0.0.1"]
# Versions 1, 4 and 7, with last bytes at which a signed comparison differs from an unsigned one.
UUIDS = [
    UUID(f"{first}-0000-{version}000-8000-0000000000{last}")
    for version in "147"
    for first in ("00000000", "ffffffff", "00000001")
    for last in ("80", "00", "7f")
]
TYPES = {
    "ips": "set<inet>",
    "uuids": "set<uuid>",
    "times": "set<timeuuid>",
    "numbers": "set<decimal>",
    "doubles": "set<double>",
    "lists": "set<frozen<list<int>>>",
    "sets": "frozen<set<frozen<set<text>>>>",
    "maps": "set<frozen<map<int, int>>>",
    "pairs": "set<frozen<tuple<int, text>>>",
    "spots": "set<frozen<spot>>",
    "by_set": "map<text, frozen<set<inet>>>",
    "by_key": "map<inet, int>",
    "in_list": "list<frozen<set<uuid>>>",
    "in_tuple": "tuple<int, frozen<set<int>>>",
    "at": "spot",
    "fixed": "frozen<spot>",
}
VALUES: list[tuple[str, Any]] = [
    ("ips", ADDRESSES),
    ("uuids", UUIDS[::-1]),
    ("times", [u for u in reversed(UUIDS) if u.version == 1] + [uuid1()]),
    ("numbers", [Decimal(n) for n in ("1.0", "-3", "1.00", "20", "3", "1")]),
    ("doubles", [2.0, -1.0, 0.5, 10.0, -0.5, 2.0]),
    ("lists", [[2], [1, 9], [-1], [], [1, 9]]),
    ("sets", [["b", "a"], ["a"], ["c", "a", "b"], ["a", "b"]]),
    ("maps", [{2: 0, 1: 5}, {-1: 1}, {1: 4}, {1: 5, 2: 0}]),
    ("pairs", [(2, "a"), (1, "b"), (None, "z"), (1, "a"), (-1, None), (1, "a")]),
    ("spots", [{"x": 2, "tags": {"b"}}, {"x": -1, "tags": None}, {"x": None, "tags": {"a"}}]),
    ("by_set", {"k": ADDRESSES, "a": ["::2", "::1"]}),
    ("by_key", {"2001:db8::1": 1, "9.0.0.1": 2, "10.0.0.1": 3, "2001:DB8::1": 4}),
    ("in_list", [UUIDS[::-1], UUIDS[:3]]),
    ("in_tuple", (1, [3, -1, 2])),
    ("at", {"x": None, "tags": None}),
    ("at", {"x": None, "tags": {"b", "a"}}),
    ("fixed", {"x": None, "tags": None}),
]


@dataclass(frozen=True)
class Both:
    """A store that writes to both sides, and what each of them then holds, as the target's bytes."""

    store: DualWriteStore
    table: Table
    target: TargetKeys
    encoder: RowEncoder

    def source_row(self, key: UUID) -> bytes:
        read = self.table.rows.read(self.table.key(k=key))
        assert read.cells is not None
        row = self.encoder.canonical_row(read.cells)
        assert row is not None
        return row

    def target_row(self, key: UUID) -> bytes | None:
        return self.target.look([self.table.key(k=key)])[0].row


@pytest.fixture(scope="module")
def home(new_place: NewPlace) -> Iterator[Place]:
    with new_place() as place:
        columns = ", ".join(f"{name} {kind}" for name, kind in TYPES.items())
        place.cql(
            "CREATE TYPE KS.spot (x int, tags frozen<set<text>>)", f"CREATE TABLE KS.kinds (k uuid PRIMARY KEY, {columns})"
        )
        prepare(place.settings, CONFIG, "kinds")
        yield place


@pytest.fixture(scope="module")
def both(home: Place) -> Iterator[Both]:
    with closing(Table(home.cassandra, home.settings, CONFIG, "kinds")) as table, table.pool.connection() as connection:
        connection.autocommit = True
        with DualWriteStore(home.settings, CONFIG) as store:
            yield Both(store, table, TargetKeys(connection, table.mapped, table.encoder), table.encoder)


@pytest.mark.parametrize(("name", "value"), VALUES, ids=[f"{n}{i}" for i, (n, _) in enumerate(VALUES)])
@pytest.mark.parametrize("how", ["put", "update"])
def test_the_inline_half_is_what_cassandra_makes_of_it(both: Both, name: str, value: Any, how: str) -> None:
    """Would break: the target holds Python's order, duplicates or empty values until a drift pass finds them."""
    key = uuid4()
    if how == "put":
        both.store.put("kinds", {"k": key, name: value})
    else:
        both.store.put("kinds", {"k": key})
        both.store.update("kinds", {"k": key}, {name: value})
    assert both.table.intents(both.table.key(k=key)) == [], "the inline half was left to a reconcile"
    found, wanted = both.target_row(key), both.source_row(key)
    assert found is not None
    assert both.encoder.different_columns(wanted, found) == [], (found, wanted)


def test_a_row_that_was_read_may_be_put_again(both: Both) -> None:
    """Would break: a user type is read as a dict, but cannot be written as one."""
    first, second = uuid4(), uuid4()
    spot = {"x": 1, "tags": ["a", "b"]}
    both.store.put("kinds", {"k": first, "at": spot, "fixed": {"tags": {"b", "a"}}, "spots": [spot, (0, None)]})
    row = both.store.get("kinds", {"k": first})
    assert row is not None
    assert (row["at"], row["fixed"]) == (spot, {"x": None, "tags": ["a", "b"]})
    both.store.put("kinds", {**row, "k": second})
    assert both.store.get("kinds", {"k": second}) == {**row, "k": second}
    assert both.target_row(second) == both.source_row(second)


def test_an_unknown_field_is_refused_by_name(both: Both) -> None:
    """Would break: a misspelt field of a user type is dropped without a word."""
    with pytest.raises(WriteRefused, match=r"at takes .*no field wrong"):
        both.store.put("kinds", {"k": uuid4(), "at": {"x": 1, "wrong": 2}})
