"""No key is mistaken for another: values with several forms, forms with one value, and keys that Python cannot represent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import date
from decimal import Decimal
from pathlib import Path
from struct import pack

import pytest
from support.backfills import NEVER, Site
from support.drift import drift, table_of
from support.dual import Table
from support.places import NewPlace
from support.raw_keys import array, decimal, insert
from support.reverse import be_primary, reverse_writer

from sync.adapters.cassandra.connection.connect import Cassandra
from sync.adapters.cassandra.rows.cells import token_of
from sync.adapters.postgres.schema import indexes
from sync.core.mutations import Mutation, pack_key
from sync.core.ring import WHOLE_RING
from sync.ports import Written
from sync.settings import Settings, load_config
from sync.stores import DualWriteStore
from sync.wiring.drift.command import DriftRequest
from sync.wiring.dual_write.worker import drain_job

pytest_plugins = ("support.fixtures",)
pytestmark = pytest.mark.slow

FEW = WHOLE_RING.split(2)
QUICK = "\n[drift]\ngrace_seconds = 0.02\ntries = 3"
ONE, NO = pack(">i", 1), b"\xff\xff\xff\xff"
_NANS = ("7ff8000000000000", "7ff8000000000001", "fff8000000000000")
FORMS: dict[str, tuple[tuple[bytes, ...], tuple[bytes, ...]]] = {
    # The cells that are carried as part of a partition key, and those that are rejects there.
    "varint": ((b"\x05", b"\x80", b"\x00"), (b"\x00\x05", b"\xff\x80", b"\x00\x00", b"")),
    "boolean": ((b"\x00", b"\x01"), (b"\x02", b"\xff", b"")),
    "double": (
        (pack(">d", 0.0), pack(">d", 1.5), bytes.fromhex(_NANS[0])),
        (pack(">d", -0.0), *map(bytes.fromhex, _NANS[1:])),
    ),
    "frozen<list<decimal>>": ((array(decimal(15, 1)), array(decimal(100, 0))), (array(decimal(150, 2)), array(decimal(1, -2)))),
    "frozen<set<double>>": ((array(pack(">d", 0.0)),), (array(pack(">d", -0.0)),)),
    "frozen<tuple<int, int>>": (
        (b"\0\0\0\4" + ONE + NO, b"\0\0\0\4" + ONE + b"\0\0\0\4" + ONE),
        (b"\0\0\0\4" + ONE, b"\0\0\0\4" + ONE + b"\0\0\0\0"),
    ),
    "vector<float, 2>": ((pack(">2f", 0, 1),), (pack(">2f", -0.0, 1),)),
    "date": (tuple(pack(">I", 2**31 + days) for days in (-719_163, 2_932_897, -2_440_000, 0)), ()),
    "timestamp": (tuple(pack(">q", ms) for ms in (-62_135_596_800_001, 253_402_300_800_000, -(2**47), 0)), ()),
}  # fmt: skip
CLUSTERING: dict[str, tuple[int, tuple[bytes, ...]]] = {
    # How many rows Cassandra makes of all forms in one partition, and which of them Postgres cannot tell from others.
    "varint": (4, (b"",)),
    "boolean": (3, (b"",)),
    "double": (4, (pack(">d", -0.0),)),
    "frozen<list<decimal>>": (2, ()),
    "frozen<set<double>>": (2, (array(pack(">d", -0.0)),)),
    "frozen<tuple<int, int>>": (3, (b"\0\0\0\4" + ONE + b"\0\0\0\0",)),
    "vector<float, 2>": (2, (pack(">2f", -0.0, 1),)),
    "date": (4, ()),
    "timestamp": (4, ()),
}


@pytest.fixture
def site(settings: Settings, cassandra: Cassandra, tmp_path: Path) -> Iterator[Site]:
    opened = Site(settings, cassandra, tmp_path)
    opened.configure(more=QUICK)
    yield opened
    opened.close()


def drained(site: Site, table: str) -> None:
    """Drain as a worker does; no intent is left."""
    drain_job(site.settings, site.config, table, NEVER)
    assert site.sql("SELECT key, error FROM sync.intent WHERE table_name = %s", (table,)) == []


def write(site: Site, cql: str, table: str, v: bytes) -> None:
    rows = [(ONE, cell, v) for cells in FORMS[cql] for cell in cells]
    insert(site, table, ("p", "k", "v"), rows)


@pytest.mark.parametrize("cql", FORMS)
def test_no_key_is_taken_for_another(site: Site, cql: str) -> None:
    """Would break: a worker deletes a row because it rebuilt the key from Postgres's value; or one row overwrites another."""
    carried, refused = FORMS[cql]
    rows, unequal = CLUSTERING[cql]
    wanted = {"apart": (len(carried), len(refused)), "within": (rows - len(unequal), len(unequal))}
    for table, key in (("apart", "(p, k)"), ("within", "p, k")):
        site.cql(f"CREATE TABLE {{ks}}.{table} (p int, k {cql}, v text, PRIMARY KEY ({key}))")
        write(site, cql, table, b"old")
    site.apply()
    site.backfill()
    for table in wanted:
        write(site, cql, table, b"new")  # by somebody who writes to one side
    site.backfill()
    for table, (there, rejects) in wanted.items():
        drained(site, table)
        assert site.sql(f"SELECT v, count(*)::int FROM {table} GROUP BY v") == [("new", there)]
        assert site.sql("SELECT count(*)::int FROM sync.reject WHERE table_name = %s", (table,)) == [(rejects,)]
    for _ in range(2):  # twice: a verdict that depends on an order would change
        report = drift(site, list(wanted), ranges=FEW, asked=DriftRequest(repair=True))
        for table, (there, rejects) in wanted.items():
            found = table_of(report, table)
            assert (found["clean"], found["findings"], found["repaired"]) == (True, [], 0)
            assert (found["rows"]["source"], found["rows"]["same"], found["rows"]["rejected"]) == (
                there + rejects,
                there,
                rejects,
            )


@pytest.mark.parametrize("cql", ["date", "timestamp"])
def test_rows_that_only_the_target_has_go_whatever_their_key(site: Site, cql: str) -> None:
    """Would break: a key that Python cannot represent is unknown forever: its extra row stays, and counts as a source row."""
    cells = FORMS[cql][0]
    site.cql(f"CREATE TABLE {{ks}}.far (k {cql} PRIMARY KEY, v text)")
    insert(site, "far", ("k", "v"), [(cell, b"x") for cell in cells])
    site.apply()
    site.backfill()
    site.cql("TRUNCATE {ks}.far")
    insert(site, "far", ("k", "v"), [(cells[-1], b"x")])
    found = table_of(drift(site, ["far"], ranges=FEW), "far")["rows"]
    assert (found["source"], found["extra"], found["unknown"]) == (1, 3, 0)
    found = table_of(drift(site, ["far"], ranges=FEW, asked=DriftRequest(repair=True, show_values=True)), "far")
    assert (found["repaired"], found["rows"]["unknown"]) == (3, 0)
    assert site.sql("SELECT count(*)::int FROM far") == [(1,)]
    assert drift(site, ["far"], ranges=FEW)["clean"]
    with closing(site.connect()) as connection:  # written by hand, and without a token
        connection.execute(
            f"INSERT INTO far (k, v) SELECT '{'0044-03-15 BC' if cql == 'date' else '0044-03-15 BC UTC'}', 'y'"
        )
    found = table_of(drift(site, ["far"], ranges=FEW, asked=DriftRequest(repair=True)), "far")
    assert (found["repaired"], found["rows"]["unknown"]) == (1, 0)


DECIMALS = ((1, -2), (100, 0), (0, -3), (0, 0), (10, 1), (100, 2), (-150, 2))


def test_decimals_in_the_partition_key_go_as_they_are_written(site: Site) -> None:
    """Would break: 1.0 and 1.00 become one row; a worker deletes 1E+2, since Postgres's 100 is another partition."""
    site.cql("CREATE TABLE {ks}.prices (k decimal PRIMARY KEY, v text)")
    cells = [decimal(*parts) for parts in DECIMALS]
    insert(site, "prices", ("k", "v"), [(cell, b"old") for cell in cells])
    site.apply()
    site.backfill()
    insert(site, "prices", ("k", "v"), [(cell, b"new") for cell in cells])
    site.backfill()
    drained(site, "prices")
    rows = site.sql("SELECT k::text, v FROM prices ORDER BY k")
    assert {v for _, v in rows} == {"new"}
    assert {k for k, _ in rows} == {"1E+2", "100", "0E+3", "0", "1.0", "1.00", "-1.50"}
    assert drift(site, ["prices"], ranges=FEW)["clean"]


def test_what_does_not_prove_its_key_is_left_and_said(site: Site) -> None:
    """Would break: an intent of an older state, with Postgres's value alone, is reconciled with another key's row."""
    site.cql("CREATE TABLE {ks}.flags (p int, k boolean, v text, PRIMARY KEY ((p, k)))")
    insert(site, "flags", ("p", "k", "v"), [(ONE, cell, b"x") for cell in (b"\x02", b"\x01", b"\x00")])
    site.apply()
    site.backfill()
    insert(site, "flags", ("p", "k", "v"), [(ONE, b"\x01", b"y")])
    one, two = (token_of((ONE, cell)) for cell in (b"\x01", b"\x02"))
    for token in (one, two):  # Postgres's true for both
        site.sql(
            "INSERT INTO sync.intent (table_name, key, token, kind, state, version, epoch, owner) VALUES "
            "('flags', decode('00000004000000010000000101', 'hex'), %s, 'recheck', 'finished', %s, 1, 'x')",
            (token, token % 1000),
        )
    drain_job(site.settings, site.config, "flags", NEVER)
    ((token, error),) = site.sql("SELECT token, error FROM sync.intent")
    assert (token, "not proved to be the source's" in (error or "")) == (two, True)
    assert site.sql("SELECT k, v FROM flags ORDER BY k") == [(False, "x"), (True, "y")]
    # As an earlier backfill left it: the source's 2 as Postgres's true.
    site.sql("DELETE FROM sync.intent; DELETE FROM sync.sql_change")
    site.sql("UPDATE flags SET _sync_token = %s WHERE k", (two,))
    site.cql("DELETE FROM {ks}.flags WHERE p = 1 AND k = true")
    found = table_of(drift(site, ["flags"], ranges=FEW, asked=DriftRequest(repair=True)), "flags")
    assert (found["clean"], found["repaired"], found["rows"]["unknown"]) == (False, 0, 1)
    assert [f["kind"] for f in found["findings"]] == ["unknown"]
    assert "_sync_token is that of another key" in found["findings"][0]["error"]
    assert site.sql("SELECT count(*)::int FROM flags") == [(2,)]


def test_every_intent_has_the_source_s_own_key(site: Site) -> None:
    """Would break: an intent is made without the source's key, which must then be rebuilt."""
    site.cql("CREATE TABLE {ks}.prices (k decimal PRIMARY KEY, v text)")
    site.apply()
    with closing(Table(site.cassandra, site.settings, site.config, "prices")) as table:
        with closing(site.connect()) as connection:
            indexes.add_sync_columns(connection, table.mapped)
        key = table.key(k=Decimal("1E+2"))
        writer = table.writer()
        writer.put(key, v="a")
        writer.journal.record([Written(writer.mutation("put", key, v="b"), 7, "unsure")])
        writer.journal.open(Mutation("recheck", key, {}))
        be_primary(table, "postgres")
        back = reverse_writer(table)
        back.begin("put", key, v="c")
        back.journal.announce(key)
        rows = site.sql("SELECT kind, source_key FROM sync.intent")
        assert sorted(kind for kind, _ in rows) == ["put", "put", "put", "recheck", "recheck"]
        assert {bytes(source_key) for _, source_key in rows} == {pack_key(key.cells)}


REFUSED = {
    "prices": ("price decimal PRIMARY KEY", "price numeric PRIMARY KEY", "Cassandra distinguishes 1.0 from 1.00 there"),
    "words": ("word text PRIMARY KEY", "word text COLLATE loose PRIMARY KEY", "its collation is nondeterministic"),
    "tags": (
        "word text, n int, PRIMARY KEY (n, word)",
        "n int, word text COLLATE loose, PRIMARY KEY (n, word)",
        "it treats as equal",
    ),
    "codes": ("code text PRIMARY KEY", "code char(5) PRIMARY KEY", "text does not go into character(5)"),
}


def test_preflight_refuses_what_takes_keys_for_one(new_place: NewPlace) -> None:
    """Would break: two keys of Cassandra that are one in Postgres are noticed only when a row is lost."""
    with new_place() as place:
        place.configure("schema_files = []\n")
        # Only ICU has such collations, and the tests' servers are built without it; what the catalogue says is enough.
        place.sql("CREATE COLLATION loose (locale = 'C')")
        for name, (source, target, _) in REFUSED.items():
            place.cql(f"CREATE TABLE KS.{name} ({source})")
            place.sql(f"CREATE TABLE {name} ({target})")
        place.sql("UPDATE pg_collation SET collisdeterministic = false WHERE collname = 'loose'")
        said = place.commands.rows()
        for name, (_, _, why) in REFUSED.items():
            assert sum(line.startswith(f"{name}: ") and why in line for line in said) == 1, said
        done = place.commands.run("backfill", "--workers", "1")
        assert done.code == 1
        assert REFUSED["prices"][2] in done.err


def test_decimal_keys_go_there_and_back(new_place: NewPlace) -> None:
    """Would break: a key sent to the source in another form is another partition, and the application's row becomes two."""
    with new_place() as place:
        place.configure("schema_files = []\n[dual_write]\nheartbeat_seconds = 0.3\n[drift]\ngrace_seconds = 0.05\n")
        place.cql(
            "CREATE TABLE KS.prices (price decimal PRIMARY KEY, item text)",
            "CREATE TABLE KS.lines (id int, amount decimal, at date, item text, PRIMARY KEY (id, amount, at))",
            *(f"INSERT INTO KS.prices (price, item) VALUES ({p}, 'old')" for p in ("1E+2", "100", "1.0", "1.00")),
            *(f"INSERT INTO KS.lines (id, amount, at, item) VALUES (1, {a}, '2024-05-17', 'old')" for a in ("1.50", "1E+2")),
        )
        run = place.commands.run
        assert run("schema", "apply").code == 0
        assert run("backfill", "--workers", "1").code == 0
        config = load_config(place.commands.folder / "sync.toml")
        with DualWriteStore(place.settings, config) as store:
            for command in ("cutover", "rollback"):
                for price in ("1E+2", "1.00"):
                    store.put("prices", {"price": Decimal(price), "item": f"before the {command}"})
                for amount in ("1.5", "100.00"):  # one clustering key with the source's 1.50 and 1E+2
                    key = {"id": 1, "amount": Decimal(amount), "at": date(2024, 5, 17)}
                    assert store.update("lines", key, {"item": f"before the {command}"})
                for _ in range(2):
                    done = run("drift-report", "--workers", "1")
                    assert done.code == 0, done
                done = run(command, "--yes")
                assert done.code == 0, done
                assert store.get("prices", {"price": Decimal("100")})["item"] == "old"  # type: ignore[index]
        rows = place.cql("SELECT price, item FROM KS.prices")
        assert {str(row.price): row.item for row in rows} == {
            "1E+2": "before the rollback", "1.00": "before the rollback", "100": "old", "1.0": "old",
        }  # fmt: skip
        assert place.sql("SELECT price, item FROM prices WHERE item <> 'old' ORDER BY price") == [
            ("1.00", "before the rollback"), ("1E+2", "before the rollback"),
        ]  # fmt: skip
        assert [row.item for row in place.cql("SELECT item FROM KS.lines")] == ["before the rollback"] * 2
        assert place.sql("SELECT amount::text, item FROM lines ORDER BY amount") == [
            ("1.5", "before the rollback"), ("100", "before the rollback"),
        ]  # fmt: skip
