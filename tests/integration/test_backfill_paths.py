"""What Postgres refuses becomes a reject with key, column and reason; the rest of its batch is loaded, on every path."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from support.backfills import Site

from sync.adapters.cassandra.connection.connect import Cassandra
from sync.core.ring import WHOLE_RING
from sync.settings import Settings

SOURCE = """CREATE TABLE {ks}.things (id uuid PRIMARY KEY, words text, direction vector<float, 2>, must text, year int,
    short text, isbn text, indexed text, tags map<text, text>)"""
TARGET = """CREATE TABLE things (id uuid PRIMARY KEY, words text, direction vector(2), must text NOT NULL,
    year int CHECK (year > 0), short varchar(5), isbn text UNIQUE, indexed text, tags jsonb)"""
INSERT = "INSERT INTO {ks}.things (id, words, direction, must, year, short, isbn, indexed, tags) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
COLUMNS = ["id", "words", "direction", "must", "year", "short", "isbn", "indexed", "tags"]
TOO_LONG = random.Random(1).randbytes(9000).hex()  # hardly compressible
NUL, NAN = "nul \0 here", [1.0, float("nan")]

BAD: dict[str, tuple[dict[str, Any], str, str]] = {
    "a NUL in a text": ({"words": NUL}, "words", "NUL"),
    "a NUL in a map": ({"tags": {"a": NUL}}, "tags", "NUL"),
    "a NaN in a vector": ({"direction": NAN}, "direction", "NaN"),
    "null where none may be": ({"must": None}, "must", "null, which must does not accept"),
    "a check constraint": ({"year": -1}, "", "check constraint"),
    "a text too long": ({"short": "123456"}, "short", "varying(5)"),
    "a unique value twice": ({"isbn": "isbn 2"}, "", "unique constraint"),
    "an entry too large for its index": ({"indexed": TOO_LONG}, "", "index row"),
}


def _thing(i: int, **values: Any) -> tuple[Any, ...]:
    row = {"id": UUID(int=i), "words": f"thing {i}", "direction": [1.0, float(i)], "must": "x", "year": i + 1, "short": "abc",
           "isbn": f"isbn {i}", "indexed": f"i{i}", "tags": {"a": "b"}, **values}  # fmt: skip
    return tuple(row[c] for c in COLUMNS)


@pytest.fixture
def site(settings: Settings, cassandra: Cassandra, tmp_path: Path) -> Iterator[Site]:
    """An empty table of things on both sides."""
    opened = Site(settings, cassandra, tmp_path)
    opened.cql(SOURCE)
    opened.apply("CREATE EXTENSION vector", TARGET)
    yield opened
    opened.close()


def _rejects(site: Site) -> set[tuple[str, str, str]]:
    return set(site.sql("SELECT key->>'id', column_name, action FROM sync.reject"))


def _backfill(site: Site) -> Any:
    return site.backfill(["things"], WHOLE_RING.split(2))["things"]


@pytest.mark.parametrize("path", ["direct", "merged"])
def test_a_refused_row_is_a_reject_and_its_neighbours_are_all_there(site: Site, path: str) -> None:
    """Would break: a COPY that fails takes good rows with it, or a bad row is silently dropped."""
    site.sql("CREATE INDEX things_indexed ON things (indexed)")
    bad = {UUID(int=1000 + n): entry for n, entry in enumerate(BAD.values())}
    site.fill(INSERT, [_thing(i) for i in range(100)])
    if path == "merged":
        _backfill(site)
        site.fill(INSERT, [_thing(i) for i in range(100, 200)])
    site.fill(INSERT, [_thing(key.int, **values) for key, (values, _, _) in bad.items()])
    figures = _backfill(site)
    there, source = site.copied("things"), site.rows("things")
    # Of two rows with one ISBN either may come first; the other is the reject.
    twice = UUID(int=2) if (UUID(int=2),) not in there else UUID(int=1000 + list(BAD).index("a unique value twice"))
    keys = {
        twice if column == "" and "isbn" in values else key: (column, reason) for key, (values, column, reason) in bad.items()
    }
    assert source.keys() - there.keys() == {(key,) for key in keys}
    assert all(there[key] == source[key] for key in there)
    found = {
        UUID(key["id"]): (column, reason)
        for key, column, reason in site.sql("SELECT key, column_name, reason FROM sync.reject")
    }
    assert found.keys() == keys.keys()
    for key, (column, reason) in keys.items():
        assert found[key][0] == column
        assert reason in found[key][1]
    stale = 100 if path == "merged" else 0
    assert (figures.rows_read, figures.rows_rejected, figures.rows_stale) == (len(source), len(BAD), stale)
    assert figures.rows_written == len(there) - stale
    assert site.sql("SELECT count(*) FROM sync.intent") == [(0,)]


def test_a_reject_is_gone_when_its_source_is_clean_and_was_copied_again(site: Site) -> None:
    """Would break: yesterday's rejects block the cut-over for ever, or are forgotten though they still stand."""
    site.fill(
        INSERT,
        [_thing(i, **values) for i, (values, _, _) in enumerate(BAD.values()) if not {"indexed", "isbn"} & set(values)],
    )
    _backfill(site)
    before = _rejects(site)
    assert len(before) == 6
    site.fill(INSERT, [_thing(0), _thing(2)])
    assert _backfill(site).rows_written == 2
    assert _rejects(site) == {r for r in before if UUID(r[0]).int not in (0, 2)}
    site.fill(INSERT, [_thing(i) for i in range(len(BAD))])
    _backfill(site)
    assert _rejects(site) == set()
    site.check_equal("things")


def test_policies_of_sync_toml_change_the_value_and_say_so(site: Site) -> None:
    """Would break: a policy that is not followed, or that changes values without a record."""
    site.configure(more='[tables.things.on_reject]\nwords = "strip-nul"\ndirection = "null"\nyear = "null"')
    site.fill(
        INSERT, [_thing(0), _thing(1, words=NUL), _thing(2, direction=NAN), _thing(3, words="\0"), _thing(4, tags={"\0": ""})]
    )
    figures = _backfill(site)
    assert (figures.rows_written, figures.rows_rejected) == (4, 1)
    there = site.copied("things")
    assert there[(UUID(int=1),)]["words"] == "nul  here"
    assert there[(UUID(int=3),)]["words"] == ""
    assert there[(UUID(int=2),)]["direction"] is None
    wanted = {(1, "words", "strip-nul"), (2, "direction", "null"), (3, "words", "strip-nul"), (4, "tags", "reject")}
    assert {(UUID(k).int, c, a) for k, c, a in _rejects(site)} == wanted
    again = _backfill(site)
    assert (again.rows_stale, again.rows_rejected) == (4, 1)
    assert site.sql("SELECT count(*) FROM sync.intent") == [(0,)], "what a policy made of a value is no difference"


def test_two_source_tables_of_one_target_name_do_not_share_a_stage(site: Site) -> None:
    """Would break: tables a.things and b.things are merged through one stage with the columns of the first."""
    site.cql("CREATE TABLE {ks}.others (id uuid PRIMARY KEY, n int)")
    site.configure(more='[tables.others]\ntarget = "apart.things"')
    site.sql("CREATE SCHEMA apart")
    site.sql("CREATE TABLE apart.things (id uuid PRIMARY KEY, n int)")
    site.configure("streams = 1", more='[tables.others]\ntarget = "apart.things"')
    site.fill(INSERT, [_thing(i) for i in range(20)])
    site.fill("INSERT INTO {ks}.others (id, n) VALUES (?, ?)", [(UUID(int=i), i) for i in range(20)])
    for _ in range(2):  # the second time everything goes through the stage
        site.backfill()
    assert len(site.copied("others", "apart.things")) == 20
    site.check_equal("things")


@pytest.mark.slow
def test_many_rejects_take_reasonable_time(site: Site) -> None:
    """Would break: a savepoint, a stage and a round trip for each of many bad rows make a backfill crawl."""
    rows = [_thing(i, **({"words": NUL} if i % 20 == 0 else {"year": -1} if i % 20 == 1 else {})) for i in range(20_000)]
    site.fill(INSERT, rows)
    begun = time.monotonic()
    figures = _backfill(site)
    print(f"{time.monotonic() - begun:.1f} s")
    assert (figures.rows_written, figures.rows_rejected) == (18_000, 2_000)
    assert len(_rejects(site)) == 2_000
