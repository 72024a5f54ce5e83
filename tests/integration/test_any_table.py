"""Tables of any shape: `sync schema apply`, then `sync backfill`, and the target holds what the source holds.

One keyspace with all of them, one run: each test looks at the tables that concern it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from support.commands import Done
from support.places import NewPlace, Place

from sync.adapters.cassandra.schema.catalogue import read_tables
from sync.core.schema.ddl import pg_quoted

pytest_plugins = ("support.fixtures",)

A, B = UUID(int=0xA), UUID(int=0xB)
NOON = datetime(2024, 5, 17, 12, tzinfo=UTC)
LONG = "ü" * 32
"""64 bytes: one more than a name may have in Postgres."""
PRIMARY_KEY = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = '{}'::regclass AND contype = 'p'"
ODD_NAMES = ("SELECT", "per%cent", "bra{}ces", "semi;colon", "dot.ted", "what?", ":colon", "'single'", "back\\slash", "日本")
Rows = Callable[[str], list[tuple[Any, ...]]]

SOURCE = (
    "CREATE TYPE KS.place (street text, number int)",
    'CREATE TYPE KS."My Type" ("Full ""Name" text, home frozen<place>, tags frozen<set<text>>)',
    "CREATE TABLE KS.single (id int PRIMARY KEY, v text)",
    "INSERT INTO KS.single (id, v) VALUES (1, 'one')",
    "INSERT INTO KS.single (id) VALUES (2)",
    "CREATE TABLE KS.composite (a text, b int, c timestamp, d uuid, v double, PRIMARY KEY ((a, b), c, d)) "
    "WITH CLUSTERING ORDER BY (c DESC, d ASC)",
    *(
        f"INSERT INTO KS.composite (a, b, c, d, v) VALUES ('{a}', {b}, '2024-05-17 12:00:00+0000', {d}, {b}.5)"
        for a in ("x", "")
        for b in (1, 2)
        for d in (A, B)
    ),
    'CREATE TABLE KS."Order" ("Größe" int, "with blank" text, "quo""te" text, "SELECT" text, "per%cent" text, '
    '"bra{}ces" text, "semi;colon" text, "dot.ted" text, "what?" text, ":colon" text, '
    '"\'single\'" text, "back\\slash" text, "日本" text, '
    'PRIMARY KEY (("Größe", "with blank"), "quo""te"))',
    'INSERT INTO KS."Order" ("Größe", "with blank", "quo""te", "SELECT", "per%cent", "bra{}ces", "semi;colon", "dot.ted", '
    '"what?", ":colon", "\'single\'", "back\\slash", "日本") '
    "VALUES (1, 'b', 'q', 's', '%s', '{}', ';', '.', '?', ':', '''', '\\', '本')",
    'CREATE TABLE KS."select" ("user" text PRIMARY KEY, "table" text, "SYNC" text)',
    'INSERT INTO KS."select" ("user", "table", "SYNC") VALUES (\'u\', \'t\', \'s\')',
    "CREATE TABLE KS.renamed (id uuid PRIMARY KEY, old text, secret text, kept int)",
    f"INSERT INTO KS.renamed (id, old, secret, kept) VALUES ({A}, 'old', 'private', 7)",
    'CREATE TABLE KS.wider (id int PRIMARY KEY, here text, only_here text, "Only Here" map<text, int>)',
    "INSERT INTO KS.wider (id, here, only_here, \"Only Here\") VALUES (1, 'h', 'o', {'a': 1})",
    "CREATE TABLE KS.narrower (id int PRIMARY KEY, v int)",
    "INSERT INTO KS.narrower (id, v) VALUES (1, 10)",
    "INSERT INTO KS.narrower (id, v) VALUES (2, 20)",
    "CREATE TABLE KS.hits (page text, day date, seen counter, PRIMARY KEY (page, day))",
    "UPDATE KS.hits SET seen = seen + 41 WHERE page = 'p' AND day = '2024-05-17'",
    "UPDATE KS.hits SET seen = seen + 1 WHERE page = 'p' AND day = '2024-05-17'",
    "UPDATE KS.hits SET seen = seen - 5 WHERE page = 'q' AND day = '2024-05-17'",
    "CREATE TABLE KS.expiring (id int PRIMARY KEY, v text) WITH default_time_to_live = 86400",
    "INSERT INTO KS.expiring (id, v) VALUES (1, 'kept')",
    "CREATE TABLE KS.some_expire (id int PRIMARY KEY, v text, w frozen<list<int>>)",
    "INSERT INTO KS.some_expire (id, v) VALUES (1, 'stays')",
    "INSERT INTO KS.some_expire (id, v, w) VALUES (2, 'kept', [1, 2]) USING TTL 86400",
    'CREATE TABLE KS.nested (id int PRIMARY KEY, udt frozen<"My Type">, loose "My Type", pair tuple<int, text, boolean>, '
    "deep map<text, frozen<list<frozen<map<int, text>>>>>, several list<frozen<tuple<uuid, decimal>>>, empty set<text>)",
    "INSERT INTO KS.nested (id, udt, loose, pair, deep, several, empty) VALUES (1, "
    "{\"Full \"\"Name\": 'N', home: {street: 'S', number: 5}, tags: {'b', 'a'}}, {\"Full \"\"Name\": 'L'}, (1, 'é', null), "
    f"{{'k': [{{1: 'x', 2: 'y'}}, {{}}]}}, [({A}, 1.50)], {{}})",
    "INSERT INTO KS.nested (id) VALUES (2)",
    "CREATE TABLE KS.nothing (a int, b text, c map<text, text>, v vector<float, 3>, PRIMARY KEY (a, b))",
    "CREATE TABLE KS.keys_only (a int, b text, c timeuuid, PRIMARY KEY (a, b, c))",
    "INSERT INTO KS.keys_only (a, b, c) VALUES (1, '', 13814000-1dd2-11b2-8080-808080808080)",
    "CREATE TABLE KS.one_key (k blob PRIMARY KEY)",
    "INSERT INTO KS.one_key (k) VALUES (0x00ff)",
    "INSERT INTO KS.one_key (k) VALUES (0x0a)",
    "CREATE TABLE KS.odd_keys (d date, n decimal, i inet, t frozen<tuple<tinyint, text>>, l frozen<list<int>>, v int, "
    "PRIMARY KEY ((d, n), i, t, l))",
    "INSERT INTO KS.odd_keys (d, n, i, t, l, v) VALUES ('2024-05-17', 1.5, '10.0.0.1', (1, 'x'), [1, 2], 3)",
    "CREATE TABLE KS.vectors (id int PRIMARY KEY, v vector<float, 3>)",
    "INSERT INTO KS.vectors (id, v) VALUES (1, [1, 2.5, -0.25])",
    f"CREATE TABLE KS.wide (id int PRIMARY KEY, {', '.join(f'c{i} int' for i in range(300))})",
    f"INSERT INTO KS.wide (id, {', '.join(f'c{i}' for i in range(300))}) VALUES (1, {', '.join(map(str, range(300)))})",
)
TARGET = (
    "CREATE EXTENSION vector",
    "CREATE TABLE wider (id integer PRIMARY KEY, here text)",
    "CREATE TABLE narrower (id integer PRIMARY KEY, number bigint GENERATED ALWAYS AS IDENTITY, "
    "serial integer GENERATED BY DEFAULT AS IDENTITY, twice integer GENERATED ALWAYS AS (v * 2) STORED, "
    "made timestamptz NOT NULL DEFAULT '2024-05-17 12:00:00+00', note text, v integer NOT NULL CHECK (v < 100))",
    "CREATE TABLE vectors (v halfvec(3), \"_note\" text DEFAULT 'n', id bigint PRIMARY KEY)",
)
REFUSED = (
    "CREATE TABLE KS.stat (k int, c int, shared text static, also int static, v int, PRIMARY KEY (k, c))",
    "CREATE TABLE KS.expiring (k int PRIMARY KEY, v text) WITH default_time_to_live = 3600",
    'CREATE TABLE KS.written (k int PRIMARY KEY, v text, "Up" frozen<list<int>>, stays text)',
    "INSERT INTO KS.written (k, stays) VALUES (1, 'x')",
    "INSERT INTO KS.written (k, v, \"Up\") VALUES (2, 'x', [1]) USING TTL 3600",
    "CREATE TABLE KS.in_map (k int PRIMARY KEY, data map<text, text>)",
    "INSERT INTO KS.in_map (k, data) VALUES (1, {'a': 'b'}) USING TTL 3600",
    "CREATE TABLE KS.ints (k int PRIMARY KEY, v vector<int, 2>)",
    f'CREATE TABLE KS.named (k int PRIMARY KEY, xmin int, "_sync_token" int, "{LONG}" int)',
    "CREATE TABLE KS.mapped (k int PRIMARY KEY, a int, c int)",
)
CONFIG = """
schema_files = []
[tables.renamed]
target = "app.People"
rename = { old = "New Name", id = "Key" }
ignore = ["secret"]
[tables.expiring]
ttl = "keep"
[tables.some_expire]
ttl = "keep"
"""


@pytest.fixture(scope="module")
def migrated(new_place: NewPlace) -> Iterator[tuple[Place, Done]]:
    """Everything above, migrated by two commands; what the second one printed."""
    with new_place() as made:
        made.cql(*SOURCE)
        made.sql(*TARGET)
        made.configure(CONFIG)
        applied = made.commands.run("schema", "apply")
        assert applied.code == 0, applied
        done = made.commands.run("backfill", "--workers", "1", "--json", timeout=120)
        assert done.code == 0, done
        yield made, done


@pytest.fixture(scope="module")
def rows(migrated: tuple[Place, Done]) -> Rows:
    """A function that runs a query in the target."""
    return lambda query: migrated[0].sql(query)


@pytest.fixture(scope="module")
def figures(migrated: tuple[Place, Done]) -> dict[str, dict[str, Any]]:
    """The backfill's figures, by table."""
    return {t["table"]: t for t in migrated[1].json["tables"]}


def test_every_row_of_every_table_is_counted(migrated: tuple[Place, Done], figures: dict[str, dict[str, Any]]) -> None:
    """A table that is left out, or a row that is lost or comes twice, would show in the figures."""
    made, _ = migrated
    assert figures.keys() == {t.name for t in read_tables(made.cassandra.session, made.keyspace).values()}
    for name, figure in figures.items():
        (count,) = made.cql(f'SELECT count(*) FROM KS."{name}"')
        read, written = figure["rows_read"], figure["rows_written"]
        assert (name, read, written) == (name, count[0], count[0])
        assert (figure["rows_stale"], figure["rows_rejected"], figure["ranges_failed"]) == (0, 0, 0)


def test_the_json_has_what_the_contract_names(migrated: tuple[Place, Done], figures: dict[str, dict[str, Any]]) -> None:
    """Other programs read these names; progress and messages for people go to stderr only."""
    made, done = migrated
    fields = {"table", "rows_read", "rows_written", "rows_stale", "rows_rejected", "ranges_done", "ranges_failed", "seconds"}
    assert all(figure.keys() == fields for figure in figures.values())
    assert "single: 1/1 ranges, 2 rows" in done.err
    status = made.commands.run("status", "--json")
    assert (status.code, status.err) == (0, "")
    found = status.json
    names = {"epoch", "primary", "phase", "next_step", "tables", "intents", "writers", "workers", "last_drift"}
    assert found.keys() >= names
    assert (found["epoch"], found["primary"], found["phase"], found["writers"]) == (1, "astra", "backfilled", [])
    assert found["intents"].keys() >= {"open", "oldest_age_seconds", "spooled"}
    assert {t["table"] for t in found["tables"]} == figures.keys()
    for table in found["tables"]:
        assert table.keys() >= {"table", "ranges", "rows_written", "rows_per_second", "eta_seconds"}
        assert table["ranges"] == {"total": 1, "done": 1, "running": 0, "failed": 0}
        assert (table["rows_written"], table["eta_seconds"]) == (figures[table["table"]]["rows_written"], 0)
    shown = made.commands.run("status")
    assert (shown.code, shown.err) == (0, "")
    assert "epoch 1, primary astra, phase backfilled" in shown.out
    assert made.commands.run("rejects", "--json").json == {"rejects": []}


def test_simple_and_composite_keys_with_clustering(rows: Rows) -> None:
    """Composite partition keys, clustering in both directions and empty texts in keys neither lose nor merge rows."""
    assert rows("SELECT id, v FROM single ORDER BY id") == [(1, "one"), (2, None)]
    expected = [(a, b, NOON, d, b + 0.5) for a in ("", "x") for b in (1, 2) for d in (A, B)]
    assert rows("SELECT a, b, c, d, v FROM composite ORDER BY a, b, c, d") == expected
    assert rows(PRIMARY_KEY.format("composite")) == [("PRIMARY KEY (a, b, c, d)",)]


def test_names_that_need_quoting(rows: Rows) -> None:
    """Upper case, blanks, quotes, reserved words, umlauts, format characters: no statement breaks."""
    names = (*ODD_NAMES, "Größe", "with blank", 'quo"te')
    listed = ", ".join(pg_quoted(name) for name in names)
    assert rows(f'SELECT {listed} FROM "Order"') == [("s", "%s", "{}", ";", ".", "?", ":", "'", "\\", "本", 1, "b", "q")]
    assert rows('SELECT "user", "table", "SYNC" FROM "select"') == [("u", "t", "s")]


def test_renamed_ignored_and_into_another_schema(rows: Rows) -> None:
    """Columns that sync.toml ignores never arrive; renamed ones arrive under the new name only."""
    assert rows("SELECT to_jsonb(p) - '_sync_token' - '_sync_version' FROM app.\"People\" AS p") == [
        ({"Key": str(A), "New Name": "old", "kept": 7},)
    ]
    assert rows("SELECT to_regclass('renamed')") == [(None,)]


def test_columns_that_the_target_lacked_are_added(rows: Rows) -> None:
    """A source column that an existing target lacks is added, not silently dropped."""
    assert rows('SELECT id, here, only_here, "Only Here" FROM wider') == [(1, "h", "o", {"a": 1})]


def test_columns_that_only_the_target_has(rows: Rows, migrated: tuple[Place, Done]) -> None:
    """Defaults, identities and generated columns must fill themselves, as for any other INSERT; and preflight says so."""
    found = rows("SELECT id, v, twice, made, note, number, serial FROM narrower ORDER BY id")
    assert [row[:5] for row in found] == [(1, 10, 20, NOON, None), (2, 20, 40, NOON, None)]
    assert {row[5] for row in found} == {row[6] for row in found} == {1, 2}
    report = migrated[0].commands.run("preflight", "--json").json
    only_there = [p["text"] for p in report["problems"] if p["where"] == "narrower" and p["level"] == "warning"]
    assert "note is only in Postgres; it gets its default" in only_there
    assert "made is only in Postgres; it gets its default" in only_there


def test_counters_are_carried_as_their_sum(rows: Rows, migrated: tuple[Place, Done]) -> None:
    """A counter is copied as its sum; and preflight says how it is written."""
    assert rows("SELECT page, day::text, seen FROM hits ORDER BY page") == [("p", "2024-05-17", 42), ("q", "2024-05-17", -5)]
    shown = migrated[0].commands.run("preflight").out
    assert any("hits" in line and "are written by `increment` alone" in line for line in shown.splitlines())


def test_expiring_rows_are_kept_where_sync_toml_says_so(rows: Rows) -> None:
    """`ttl = "keep"` lets tables with expiring rows through, whole."""
    assert rows("SELECT id, v FROM expiring") == [(1, "kept")]
    assert rows("SELECT id, v, w FROM some_expire ORDER BY id") == [(1, "stays", None), (2, "kept", [1, 2])]


def test_nested_values_become_json(rows: Rows) -> None:
    """UDTs, tuples and collections within collections keep their fields, order and nulls."""
    assert rows("SELECT id, udt, loose, pair, deep, several, empty FROM nested ORDER BY id") == [
        (
            1,
            {'Full "Name': "N", "home": {"street": "S", "number": 5}, "tags": ["a", "b"]},
            {'Full "Name': "L", "home": None, "tags": None},
            [1, "é", None],
            {"k": [{"1": "x", "2": "y"}, {}]},
            [[str(A), 1.50]],
            None,
        ),
        (2, None, None, None, None, None, None),
    ]


def test_an_empty_table_arrives_with_its_columns(rows: Rows, figures: dict[str, dict[str, Any]]) -> None:
    """A table without rows is created and its copy ends; nothing waits for rows."""
    assert rows("SELECT a, b, c, v FROM nothing") == []
    kind = "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'nothing'::regclass AND attname = 'v'"
    assert rows(kind) == [("vector(3)",)]
    assert figures["nothing"]["ranges_done"] > 0


def test_tables_of_key_columns_only(rows: Rows) -> None:
    """No regular column: the row is its key."""
    assert rows("SELECT a, b, c FROM keys_only") == [(1, "", UUID("13814000-1dd2-11b2-8080-808080808080"))]
    assert rows("SELECT k FROM one_key ORDER BY k") == [(b"\x00\xff",), (b"\x0a",)]


def test_keys_of_unusual_types(rows: Rows) -> None:
    """Dates, decimals, addresses, tuples and lists as parts of a key."""
    assert rows("SELECT d::text, n, i::text, t, l, v FROM odd_keys") == [
        ("2024-05-17", "1.5", "10.0.0.1/32", [1, "x"], [1, 2], 3)
    ]


def test_a_target_with_columns_in_another_order_and_wider_types(rows: Rows) -> None:
    """Columns are found by name, not by place; an int fits a bigint, a vector a halfvec."""
    assert rows("SELECT id, v::text, _note FROM vectors") == [(1, "[1,2.5,-0.25]", "n")]


def test_three_hundred_columns(rows: Rows) -> None:
    """The generated encoder and every statement must cope with a wide table."""
    listed = ", ".join(f"c{i}" for i in range(300))
    assert rows(f"SELECT {listed} FROM wide") == [tuple(range(300))]


def test_again_changes_nothing(migrated: tuple[Place, Done], rows: Rows) -> None:
    """Running it all again is always safe: no row comes twice, no default is drawn again, no intent is left."""
    made, _ = migrated
    before = rows("SELECT id, number, serial FROM narrower ORDER BY id")
    applied = made.commands.run("schema", "apply")
    assert (applied.code, applied.out) == (0, "nothing to do: the schema is up to date\n")
    some = ("--table", "narrower", "--table", "Order", "--table", "nested", "--table", "hits")
    again = made.commands.run("backfill", "--workers", "1", "--json", *some, timeout=120)
    assert again.code == 0
    for table in again.json["tables"]:
        assert (table["table"], table["rows_written"], table["rows_rejected"]) == (table["table"], 0, 0)
        assert table["rows_stale"] == table["rows_read"]
    assert rows("SELECT id, number, serial FROM narrower ORDER BY id") == before
    assert rows("SELECT table_name FROM sync.intent") == []


@pytest.fixture(scope="module")
def refused(new_place: NewPlace) -> Iterator[dict[str, list[str]]]:
    """Preflight's objections to tables that cannot be migrated, by table."""
    with new_place() as made:
        made.cql(*REFUSED)
        made.configure("schema_files = []\n[tables.mapped]\nrename = { a = 'c', gone = 'x' }\nignore = ['k', 'nope']\n")
        found: dict[str, list[str]] = {}
        for line in made.commands.rows():
            where, text = line.split(": ", 1)
            found.setdefault(where, []).append(text)
        yield found


def test_static_columns_go_into_a_table_of_their_own(refused: dict[str, list[str]]) -> None:
    """Their one value per partition would be copied into every row, or dropped."""
    assert any(text.startswith("Postgres has no table stat_static") for text in refused["stat.static"])


def test_rows_that_expire_are_refused_by_name(refused: dict[str, list[str]]) -> None:
    """They would live for ever in Postgres, whether the TTL is the table's default or a single write's."""
    assert any("rows expire after 3600 s" in t and "[tables.expiring]" in t for t in refused["expiring"])
    assert any(t.startswith("values of Up, v were written with a TTL") for t in refused["written"])
    assert "keep" in refused["written"][-1] + refused["written"][0]


def test_collections_that_expire_are_refused_by_name(refused: dict[str, list[str]]) -> None:
    """The guide's own `metadata` is a key and a map."""
    assert any(text.startswith("values of data were written with a TTL") for text in refused["in_map"])


def test_types_and_names_without_a_place_are_refused_by_name(refused: dict[str, list[str]]) -> None:
    """Postgres would cut a long name or refuse its own; it has a vector type for floats only."""
    assert any("vector<int, 2>: only vectors of float are supported" in text for text in refused["ints"])
    for name in ("xmin", "_sync_token", LONG):
        assert any(name in text and "rename under [tables.named]" in text for text in refused["named"]), name


def test_what_sync_toml_gets_wrong_is_named(refused: dict[str, list[str]]) -> None:
    """A rule for a column that is not there, or that drops a key, does not do what its author thinks."""
    for text in (
        "sync.toml names a column 'gone' that the source does not have",
        "sync.toml names a column 'nope' that the source does not have",
        "sync.toml ignores 'k', which is part of the key",
    ):
        assert text in refused["mapped"]
