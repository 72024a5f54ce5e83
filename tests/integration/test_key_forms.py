"""No key is taken for another: values with several forms, forms with one value, and keys that Python has no value of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from struct import pack

import pytest
from support.backfills import NEVER, Site
from support.drift import drift, table_of
from support.raw_keys import array, decimal, insert

from sync.adapters.cassandra.connect import Cassandra
from sync.core.ring import WHOLE_RING
from sync.settings import Settings
from sync.wiring.drift import Asked
from sync.wiring.reconciling import drain_job

FEW = WHOLE_RING.split(2)
QUICK = "\n[drift]\ngrace_seconds = 0.02\ntries = 3"
ONE, NO = pack(">i", 1), b"\xff\xff\xff\xff"
_NANS = ("7ff8000000000000", "7ff8000000000001", "fff8000000000000")
FORMS: dict[str, tuple[tuple[bytes, ...], tuple[bytes, ...]]] = {
    # What is carried as part of a partition key, and what is a reject there.
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
    # How many rows Cassandra makes of all forms in one partition, and which of these Postgres cannot tell from others.
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
    """What a worker does; it leaves no intent."""
    drain_job(site.settings, site.config, table, NEVER)
    assert site.sql("SELECT key, error FROM sync.intent WHERE table_name = %s", (table,)) == []


def write(site: Site, cql: str, table: str, v: bytes) -> None:
    rows = [(ONE, cell, v) for cells in FORMS[cql] for cell in cells]
    insert(site, table, ("p", "k", "v"), rows)


@pytest.mark.parametrize("cql", FORMS)
def test_no_key_is_taken_for_another(site: Site, cql: str) -> None:
    """Would break: a row that a worker deletes since its key was made anew of Postgres's value, or that overwrites another."""
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
        report = drift(site, list(wanted), ranges=FEW, asked=Asked(repair=True))
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
    """Would break: a key without a value in Python is unknown for ever, its row stays, and `source` counts it."""
    cells = FORMS[cql][0]
    site.cql(f"CREATE TABLE {{ks}}.far (k {cql} PRIMARY KEY, v text)")
    insert(site, "far", ("k", "v"), [(cell, b"x") for cell in cells])
    site.apply()
    site.backfill()
    site.cql("TRUNCATE {ks}.far")
    insert(site, "far", ("k", "v"), [(cells[-1], b"x")])
    found = table_of(drift(site, ["far"], ranges=FEW), "far")["rows"]
    assert (found["source"], found["extra"], found["unknown"]) == (1, 3, 0)
    found = table_of(drift(site, ["far"], ranges=FEW, asked=Asked(repair=True, show_values=True)), "far")
    assert (found["repaired"], found["rows"]["unknown"]) == (3, 0)
    assert site.sql("SELECT count(*)::int FROM far") == [(1,)]
    assert drift(site, ["far"], ranges=FEW)["clean"]
    with closing(site.connect()) as connection:  # written by hand, and without a token
        connection.execute(
            f"INSERT INTO far (k, v) SELECT '{'0044-03-15 BC' if cql == 'date' else '0044-03-15 BC UTC'}', 'y'"
        )
    found = table_of(drift(site, ["far"], ranges=FEW, asked=Asked(repair=True)), "far")
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
