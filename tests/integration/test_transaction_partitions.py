"""`delete_many` and `increment` within a transaction, against real servers: committed with all the rest, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any
from uuid import UUID, uuid4

import pytest
from support.backfills import until
from support.dual import Table
from support.places import Place
from support.prepared_places import home_of
from support.reverse import be_primary

from sync.errors import QueryNotSupported, WriteRefused
from sync.settings import Config, DualWriteTuning
from sync.stores import DualWriteStore, PostgresStore

pytest_plugins = ("support.fixtures",)
pytestmark = pytest.mark.slow
CONFIG = Config(schema_files=(), dual_write=DualWriteTuning(heartbeat_seconds=0.2, max_wait_seconds=20))
Store = DualWriteStore | PostgresStore

home = home_of(
    CONFIG,
    notes="piece uuid, at int, words text, PRIMARY KEY (piece, at)",
    plays="song uuid PRIMARY KEY, times counter, skips counter",
)


@pytest.fixture
def tables(home: Place) -> Iterator[dict[str, Table]]:
    """Both tables; Postgres is primary, and nothing is open."""
    with (
        closing(Table(home.cassandra, home.settings, CONFIG, "notes")) as notes,
        closing(Table(home.cassandra, home.settings, CONFIG, "plays")) as plays,
    ):
        notes.sql("DELETE FROM sync.intent; DELETE FROM sync.sql_change")
        notes.sql("CREATE TABLE IF NOT EXISTS journal (id bigint GENERATED ALWAYS AS IDENTITY, line text)")
        for each in (notes, plays):
            be_primary(each, "postgres")
        yield {"notes": notes, "plays": plays}


@pytest.fixture
def dual(home: Place, tables: dict[str, Table]) -> Iterator[DualWriteStore]:
    settings = home.settings.model_copy(update={"storage_backend": "postgres"})
    with DualWriteStore(settings, CONFIG) as store:
        yield store


@pytest.fixture(params=["dual", "postgres"])
def store(request: pytest.FixtureRequest, home: Place, tables: dict[str, Table]) -> Iterator[Store]:
    if request.param == "postgres":
        with PostgresStore(home.settings) as one:
            yield one
    else:
        yield request.getfixturevalue("dual")


@pytest.fixture
def piece(store: Store) -> UUID:
    """A partition of four rows."""
    made = uuid4()
    store.put_many("notes", [{"piece": made, "at": at, "words": f"{at}"} for at in range(4)])
    return made


def lines(store: Store, piece: UUID) -> list[int]:
    return [row["at"] for row in store.find("notes", {"piece": piece})]


def in_cassandra(home: Place, piece: UUID) -> list[int]:
    return [row[0] for row in home.cassandra.session.execute(f'SELECT at FROM "{home.keyspace}".notes WHERE piece = {piece}')]


def settle(store: Store, tables: dict[str, Table]) -> bool:
    """Wait until nothing is open; whether the store sends anything to Cassandra at all."""
    if isinstance(store, PostgresStore):
        return False
    until(lambda: not any(t.drain() or t.intents() for t in tables.values()), what="nothing is open")
    return True


def test_a_partition_is_deleted_and_written_again(store: Store, home: Place, tables: dict[str, Table], piece: UUID) -> None:
    """Would break: the new rows of a playlist are below the delete of the old ones, and Cassandra hides them."""
    with store.transaction() as tx:
        assert tx.delete_many("notes", {"piece": piece}) is True
        assert list(tx.find("notes", {"piece": piece})) == []
        tx.put("notes", {"piece": piece, "at": 9, "words": "new"})
        tx.execute("INSERT INTO journal (line) VALUES ('again')")
        assert lines(store, piece) == [0, 1, 2, 3], "seen before the end"
    assert lines(store, piece) == [9]
    if settle(store, tables):
        assert in_cassandra(home, piece) == [9]


@pytest.mark.parametrize("page_rows", [1, 3, 1000])
def test_a_scan_sees_what_the_block_has_written(store: Store, tables: dict[str, Table], piece: UUID, page_rows: int) -> None:
    """Would break: it reads what was there before; rows of own SQL, which have no token yet, are missed; or it ends early."""

    def all_of(source: Any, after: str | None = None) -> set[int]:
        return {row["at"] for row in source.scan("notes", after, page_rows) if row["piece"] == piece}

    with store.transaction() as tx:
        assert all_of(tx) == {0, 1, 2, 3}
        tx.put("notes", {"piece": piece, "at": 7, "words": "put"})
        tx.delete("notes", {"piece": piece, "at": 0})
        tx.execute("INSERT INTO notes (piece, at, words) VALUES (%s, 9, 'SQL')", (piece,))
        assert all_of(tx) == {1, 2, 3, 7, 9}
        assert all_of(store) == {0, 1, 2, 3}, "seen before the end"
        begun = tx.scan("notes", page_rows=page_rows)
        first = next(begun)
        assert len([first, *tx.scan("notes", begun.cursor, page_rows)]) == tx.count("notes"), "a cursor is a place here, too"
    assert all_of(store) == {1, 2, 3, 7, 9}


def test_a_range_and_a_row_of_a_partition(store: Store, home: Place, tables: dict[str, Table], piece: UUID) -> None:
    """Would break: only whole partitions are deleted within it."""
    with store.transaction() as tx:
        tx.delete_many("notes", {"piece": piece, "at": {">=": 2}})
        tx.delete_many("notes", {"piece": piece, "at": 0})
        with pytest.raises(QueryNotSupported):
            tx.delete_many("notes", {"words": "3"})
    assert lines(store, piece) == [1]
    if settle(store, tables):
        assert in_cassandra(home, piece) == [1]


def test_what_is_rolled_back_is_not_sent(store: Store, home: Place, tables: dict[str, Table], piece: UUID) -> None:
    """Would break: Cassandra loses a partition that Postgres has, or counts what Postgres does not."""
    song = uuid4()
    with store.transaction() as tx:
        with pytest.raises(ZeroDivisionError), tx.connection.transaction():
            tx.delete_many("notes", {"piece": piece})
            tx.increment("plays", {"song": song}, {"times": 5})
            _ = 1 / 0
        tx.increment("plays", {"song": song}, {"times": 2})
    with pytest.raises(ZeroDivisionError), store.transaction() as tx:
        tx.delete_many("notes", {"piece": piece})
        tx.increment("plays", {"song": song}, {"times": 7})
        _ = 1 / 0
    assert lines(store, piece) == [0, 1, 2, 3]
    if settle(store, tables):
        assert in_cassandra(home, piece) == [0, 1, 2, 3]
        assert counted(home, song) == (2, None)


def test_increments_are_committed_with_own_sql(store: Store, home: Place, tables: dict[str, Table]) -> None:
    """Would break: a play is counted, and the application's own record of it is not there; or Cassandra counts it twice."""
    song = uuid4()
    store.increment("plays", {"song": song}, {"times": 1})
    with store.transaction() as tx:
        tx.increment("plays", {"song": song}, {"times": 2, "skips": -1})
        tx.increment("plays", {"song": song}, {"times": 3})
        tx.execute("INSERT INTO journal (line) VALUES (%s)", (str(song),))
        assert tx.get("plays", {"song": song}) == {"song": song, "times": 6, "skips": -1}
    assert store.get("plays", {"song": song}) == {"song": song, "times": 6, "skips": -1}
    if settle(store, tables):
        assert counted(home, song) == (6, -1)


def counted(home: Place, song: UUID) -> tuple[Any, ...] | None:
    row = home.cassandra.session.execute(f'SELECT times, skips FROM "{home.keyspace}".plays WHERE song = {song}').one()
    return None if row is None else tuple(row)


def test_partitions_count_as_locks(dual: DualWriteStore) -> None:
    """Would break: a transaction over very many partitions fills Postgres's table of locks."""
    with pytest.raises(WriteRefused, match="64 rows"), dual.transaction() as tx:
        for _ in range(65):
            tx.delete_many("notes", {"piece": uuid4()})
