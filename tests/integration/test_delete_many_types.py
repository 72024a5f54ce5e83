"""`delete_many` on tables made at random: the same rows go from every store, of every type that orders rows."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing

import pytest
from support.dual import Table, prepare
from support.places import NewPlace, Place
from support.read_tables import TYPES, random_query, random_table
from support.reverse import be_primary
from support.running_commands import until

from sync.settings import Config, DualWriteTuning
from sync.stores import CqlStore, DualWriteStore, PostgresStore

pytest_plugins = ("support.fixtures",)
pytestmark = pytest.mark.slow
CONFIG = Config(schema_files=(), dual_write=DualWriteTuning(connections=8, heartbeat_seconds=0.2))
TABLES = {seed: random_table(seed) for seed in range(len(TYPES))}


@pytest.fixture(scope="module")
def home(new_place: NewPlace) -> Iterator[Place]:
    with new_place() as place:
        place.cql(*(table.ddl for table in TABLES.values()))
        prepare(place.settings, CONFIG, *(table.name for table in TABLES.values()))
        yield place


@pytest.fixture(scope="module")
def table(home: Place) -> Iterator[Table]:
    with closing(Table(home.cassandra, home.settings, CONFIG, TABLES[0].name)) as opened:
        yield opened


@pytest.fixture(scope="module", params=["astra", "postgres"])
def dual(request: pytest.FixtureRequest, home: Place, table: Table) -> Iterator[DualWriteStore]:
    table.drained()
    be_primary(table, request.param)
    with DualWriteStore(home.settings.model_copy(update={"storage_backend": request.param}), CONFIG) as store:
        yield store


@pytest.fixture(scope="module")
def cql(home: Place) -> Iterator[CqlStore]:
    with CqlStore(home.settings) as store:
        yield store


@pytest.fixture(scope="module")
def postgres(home: Place) -> Iterator[PostgresStore]:
    with PostgresStore(home.settings) as store:
        yield store


def ended(table: Table) -> None:
    """Wait until what the store sends in the background has ended."""
    until(lambda: table.sql("SELECT count(*) FROM sync.intent") == [(0,)])


@pytest.mark.parametrize("seed", TABLES)
def test_the_same_rows_go_from_both_sides(
    dual: DualWriteStore, cql: CqlStore, postgres: PostgresStore, table: Table, seed: int
) -> None:
    """Would break: an order of a type, a bound that is included or not, ASC and DESC: one side deletes more than the other."""
    made, chosen = TABLES[seed], random.Random(seed)
    for _ in range(4):
        dual.put_many(made.name, made.rows)
        ended(table)
        where = random_query(chosen, made)["where"]
        before, goes = list(cql.scan(made.name)), list(postgres.find(made.name, where))
        assert dual.delete_many(made.name, where) is True
        ended(table)
        left = [row for row in before if row not in goes]
        assert list(postgres.scan(made.name)) == left, (made.ddl, where)
        assert list(cql.scan(made.name)) == left, (made.ddl, where)


@pytest.mark.parametrize("side", ["astra", "postgres"])
@pytest.mark.parametrize("seed", list(TABLES)[:6])
def test_the_same_rows_go_from_one_side(home: Place, cql: CqlStore, postgres: PostgresStore, seed: int, side: str) -> None:
    """Would break: an application that has left the migration behind deletes other rows than before it."""
    made, chosen = TABLES[seed], random.Random(seed)
    store: CqlStore | PostgresStore = cql if side == "astra" else postgres
    for _ in range(4):
        store.put_many(made.name, made.rows)
        where = random_query(chosen, made)["where"]
        before, goes = list(store.scan(made.name)), list(store.find(made.name, where))
        assert store.delete_many(made.name, where) is True
        assert list(store.scan(made.name)) == [row for row in before if row not in goes], (made.ddl, where)
    home.sql(f"DELETE FROM {made.name}")
    home.cql(f"TRUNCATE KS.{made.name}")
