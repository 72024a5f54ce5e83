"""Tables of any shape: `sync schema apply`, then `sync backfill`, and the target holds what the source holds.

One keyspace with all of them, one run: each test looks at the tables that concern it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from support.commands import Done
from support.places import NewPlace, Place

pytest_plugins = ("support.fixtures",)

A, B = UUID(int=0xA), UUID(int=0xB)
NOON = datetime(2024, 5, 17, 12, tzinfo=UTC)
LONG = "x" * 60

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
    'CREATE TABLE KS."Order" ("Größe" int, "with blank" text, "quo""te" text, "SELECT" text, "per%cent" text, "bra{}ces" text, '
    '"semi;colon" text, "dot.ted" text, "what?" text, ":colon" text, "\'single\'" text, "back\\slash" text, "日本" text, '
    'PRIMARY KEY (("Größe", "with blank"), "quo""te"))',
    'INSERT INTO KS."Order" ("Größe", "with blank", "quo""te", "SELECT", "per%cent", "bra{}ces", "semi;colon", "dot.ted", '
    '"what?", ":colon", "\'single\'", "back\\slash", "日本") '
    "VALUES (1, 'b', 'q', 's', '%s', '{}', ';', '.', '?', ':', '''', '\\', '本')",
    'CREATE TABLE KS."select" ("user" text PRIMARY KEY, "table" text, "SYNC" text)',
    "INSERT INTO KS.\"select\" (\"user\", \"table\", \"SYNC\") VALUES ('u', 't', 's')",
    "CREATE TABLE KS.renamed (id uuid PRIMARY KEY, old text, secret text, kept int)",
    f"INSERT INTO KS.renamed (id, old, secret, kept) VALUES ({A}, 'old', 'private', 7)",
    "CREATE TABLE KS.wider (id int PRIMARY KEY, here text, only_here text, \"Only Here\" map<text, int>)",
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
    'CREATE TABLE vectors (v halfvec(3), "_note" text DEFAULT \'n\', id bigint PRIMARY KEY)',
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


def rows(migrated: tuple[Place, Done], query: str) -> list[tuple[Any, ...]]:
    return migrated[0].sql(query)


def test_all(migrated):
    print(migrated[1])
