"""Rules 33 to 38 against real servers: a partition is deleted with one call, and somebody else acts between any two steps."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest
from support.dual import Actor, Table
from support.partitions import begin, plays, rows, tombstone
from support.places import NewPlace
from support.reverse import be_primary

from sync.core.mutations import Key

pytest_plugins = ("support.fixtures",)
SECOND = 1_000_000
AB = {"a": "1", "b": "1"}


@pytest.fixture(scope="module")
def table(new_place: NewPlace) -> Iterator[Table]:
    with plays(new_place) as (_, opened):
        yield opened


@pytest.fixture
def room(table: Table) -> Iterator[str]:
    """A partition of the test's own, while Astra is primary."""
    be_primary(table, "astra")
    yield str(uuid4())
    table.drained()


@pytest.fixture
def writer(table: Table, room: str) -> Actor:
    return table.writer()


def key(table: Table, room: str, day: int = 1, song: str = "x") -> Key:
    return table.key(room=room, day=day, song=song)


def test_one_call_deletes_a_partition_on_both_sides(table: Table, room: str, writer: Actor) -> None:
    """Would break: rows are left on one side, or the rows of another partition go."""
    other = str(uuid4())
    for day in range(3):
        writer.put(key(table, room, day), **AB).done()
    writer.put(key(table, other), **AB).done()
    delete = begin(writer, room=room).done()
    assert rows(table, room) == ({}, {})
    assert len(rows(table, other)[1]) == 1
    assert tombstone(table, room) == delete.version
    assert table.intents() == []
