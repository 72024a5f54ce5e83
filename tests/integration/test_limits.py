"""What a server cannot hold or do, found by preflight before anything is written."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import psycopg
import pytest
from support.places import NewPlace, Place

from sync import local
from sync.adapters.cassandra.schema.catalogue import read_tables
from sync.adapters.postgres.connection.connect import connect
from sync.adapters.postgres.connection.hashing import no_hash
from sync.core.cql import parse_type
from sync.core.rows import SourceColumn, SourceTable, TableOptions
from sync.core.schema import limits
from sync.core.schema.ddl import create_table
from sync.core.schema.mapping import map_table
from sync.settings import load_config
from sync.stores import DualWriteStore

pytest_plugins = ("support.fixtures",)


@pytest.fixture(scope="module")
def home(new_place: NewPlace) -> Iterator[Place]:
    with new_place() as place:
        place.configure("schema_files = []\n")
        yield place


def table(name: str, *columns: tuple[str, str, str]) -> SourceTable:
    return SourceTable("ks", name, tuple(SourceColumn(n, parse_type(t, {}), kind) for n, t, kind in columns))  # type: ignore[arg-type]


def makes(home: Place, source: SourceTable, options: TableOptions) -> bool:
    """Whether Postgres creates the table, with the columns that the migration adds."""
    try:
        home.sql(create_table(source, source.name, options))
        home.sql(f"ALTER TABLE {source.name} ADD COLUMN _sync_token bigint, ADD COLUMN _sync_version bigint")
    except psycopg.Error:
        return False
    finally:
        home.sql(f"DROP TABLE IF EXISTS {source.name}")
    return True


@pytest.mark.parametrize(
    ("kind", "fit", "too_many"), [("regular", 1597, 1598), ("clustering", 31, 32)], ids=["columns", "key columns"]
)
def test_the_limits_are_postgress_own(home: Place, kind: str, fit: int, too_many: int) -> None:
    """Would break: preflight accepts a table that Postgres refuses, or refuses one that Postgres accepts."""
    for count in (fit, too_many):
        columns = [("a", "int", "partition_key"), *((f"c{n}", "int", kind) for n in range(count))]
        source = table("many", *columns)
        assert makes(home, source, TableOptions()) is (count == fit)
        assert bool(list(limits.impossible(source, TableOptions()))) is (count == too_many)


def test_how_wide_a_row_may_be_is_postgress_own(home: Place) -> None:
    """Would break: rows are rejected without a warning from preflight."""
    for count in (503, 512):
        source = table("wide", ("a", "int", "partition_key"), *((f"c{n}", "uuid", "regular") for n in range(count)))
        home.sql(create_table(source, "wide", TableOptions()))
        value = "'00000000-0000-0000-0000-000000000000'"
        insert = f"INSERT INTO wide VALUES (1{f', {value}' * count})"
        try:
            if limits.too_wide(source, TableOptions()):
                assert count == 512
                with pytest.raises(psycopg.errors.ProgramLimitExceeded, match="row is too big"):
                    home.sql(insert)
            else:
                home.sql(insert)
        finally:
            home.sql("DROP TABLE wide")


def test_the_ddl_that_preflight_prints_is_one_that_postgres_takes(home: Place) -> None:
    """Would break: the printed DDL uses the names that preflight has just forbidden."""
    home.cql("CREATE TABLE KS.odd (id int PRIMARY KEY, ctid text, xmin bigint)")
    source = read_tables(home.cassandra.session, home.keyspace)["odd"]
    (*_, problem) = map_table(source, None, TableOptions())[1]
    home.sql(problem.text.split(": ", 1)[1])
    home.configure('schema_files = []\n[tables.odd]\nrename = { "ctid" = "ctid_1", "xmin" = "xmin_1" }\n')
    assert problem.text.startswith('Postgres has no table odd; with rename = { "ctid" = "ctid_1", "xmin" = "xmin_1" } under')
    done = home.commands.run("preflight")
    assert done.code == 0, done
    home.configure("schema_files = []\n")


@pytest.mark.slow
def test_large_values_arrive(new_place: NewPlace) -> None:
    """Would break: a cell of some megabytes, or a map of thousands of elements, ends a copy, or is never proved equal."""
    text, blob = "ü" * 2_500_000, bytes(range(256)) * 20_000
    elements = {f"key {n}": "v" * (n % 50) for n in range(10_000)}
    with new_place() as place:
        place.cql("CREATE TABLE KS.large (id int PRIMARY KEY, t text, b blob, m map<text, text>, l list<int>)")
        statement = f'INSERT INTO "{place.keyspace}".large (id, t, b, m, l) VALUES (?, ?, ?, ?, ?)'
        insert = place.cassandra.session.prepare(statement)
        for row in ((0, text, None, None, None), (1, None, blob, None, None), (2, None, None, elements, range(10_000))):
            place.cassandra.session.execute(insert, row)
        place.configure("schema_files = []\n")
        done = place.commands.run("migrate", "--workers", "1", timeout=120)
        assert done.code == 0, done
        with DualWriteStore(place.settings, load_config(place.commands.folder / "sync.toml")) as store:
            assert store.put("large", {"id": 3, "t": text, "b": blob, "m": elements, "l": [1]}) is True
            assert store.get("large", {"id": 0}) == {"id": 0, "t": text, "b": None, "m": None, "l": None}
        report = place.commands.run("drift-report", "--workers", "1", timeout=120)
        assert report.code == 0, report
        lengths = "length(t), length(b), (SELECT count(*) FROM jsonb_object_keys(m)), jsonb_array_length(l)"
        kept = place.sql(f"SELECT {lengths} FROM large WHERE m IS NOT NULL ORDER BY id")
    assert kept == [(None, None, 10_000, 10_000), (2_500_000, 5_120_000, 10_000, 1)]


def test_two_tables_do_not_share_one_target(home: Place) -> None:
    """Would break: the second table's rows overwrite the first's."""
    home.cql("CREATE TABLE KS.one (id int PRIMARY KEY)", "CREATE TABLE KS.two (id int PRIMARY KEY)")
    home.configure('schema_files = []\nonly = ["one", "two"]\n[tables.two]\ntarget = "public.one"\n')
    assert home.commands.run("schema", "apply").code == 0
    assert home.commands.rows() == ['two: one goes into "public"."one", too; give one of them another target']


def test_a_server_that_makes_no_md5_is_told(fresh: Place) -> None:
    """Would break: in FIPS mode every range of a drift report fails, after hours of copying."""
    fresh.cql("CREATE TABLE IF NOT EXISTS KS.alone (id int PRIMARY KEY)")
    fresh.configure('schema_files = []\nonly = ["alone"]\n')
    assert fresh.commands.run("schema", "apply").code == 0
    assert fresh.commands.run("preflight").code == 0
    fresh.sql(*(f"ALTER FUNCTION pg_catalog.md5({kind}) RENAME TO md5_of_old" for kind in ("text", "bytea")))
    (row,) = fresh.commands.rows()
    assert row.startswith("target: Postgres has no MD5 (function md5(unknown)") and "FIPS" in row


@pytest.mark.slow
def test_another_partitioner_is_refused(tmp_path_factory: pytest.TempPathFactory, home: Place) -> None:
    """Would break: the token of every row is wrong: ranges overlap, and the proof covers another part of the table."""
    options = local.CassandraOptions(
        heap_mb=384, fast_start=True, yaml={"partitioner": "org.apache.cassandra.dht.RandomPartitioner"}
    )
    server = local.CassandraServer(tmp_path_factory.mktemp("random"), options=options)
    server.start()
    try:
        commands = home.commands.but(CASSANDRA_PORT=str(server.port), CASSANDRA_PASSWORD=server.password)
        done = commands.run("preflight")
        assert done.code == 1 and "the cluster's partitioner is RandomPartitioner; only Murmur3Partitioner" in done.out, done
    finally:
        server.remove()


def test_python_without_md5(home: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fake: no Python here is in FIPS mode."""

    def forbidden(*_: object, **__: object) -> None:
        raise ValueError("disabled for FIPS")

    monkeypatch.setattr(hashlib, "md5", forbidden)
    with connect(home.settings, autocommit=True) as connection:
        assert no_hash(connection).startswith("Python has no MD5 here (disabled for FIPS)")
