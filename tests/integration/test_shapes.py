"""Tables of unusual shapes go all the way, there and back: wide ones, large cells, reserved words, names Postgres cannot hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from cassandra.metadata import cql_keywords
from support.places import NewPlace, Place

from sync.adapters.postgres.connection.connect import connection_string
from sync.ports import Primary
from sync.settings import load_config
from sync.stores import CqlStore, DualWriteStore, PostgresStore

pytest_plugins = ("support.fixtures",)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
Row = dict[str, Any]
LONG = "ü" * 40
"""80 bytes: Postgres has 63 for a name."""
TOML = f"""
schema_files = []
[dual_write]
heartbeat_seconds = 0.2
[drift]
grace_seconds = 0.05
[tables.Long_Names]
target = "long.Names"
rename = {{ "{LONG}k" = "key", "{LONG}v" = "value" }}
"""
TABLES = ("Wide", "Large", "Select", "Long_Names")
TEXT, BLOB = "ü" * 2_500_000, bytes(range(256)) * 20_000  # 5 MB each


def words(place: Place) -> list[str]:
    """Every word that Postgres or Cassandra knows, reserved or not."""
    with psycopg.connect(connection_string(place.settings)) as connection:
        found = {word for (word,) in connection.execute("SELECT word FROM pg_get_keywords()")}
    return sorted(found | {word.lower() for word in cql_keywords})


def rows_of(table: str, n: int, named: list[str]) -> Row:
    """The n-th row."""
    match table:
        case "Wide":
            return {"id": n, **{f"c{i}": i * n for i in range(300)}}
        case "Large":
            elements = {f"key {i}": "v" * (i % 50) for i in range(10_000)}
            texts = {"t": TEXT, "b": BLOB} if n % 2 else {"t": None, "b": None}
            return {"id": n, **texts, "m": elements if n % 2 == 0 else None, "l": list(range(1 + n * 10))}
        case "Select":
            return {name: n + i for i, name in enumerate(named)}
        case _:
            return {f"{LONG}k": n, f"{LONG}v": f"value {n}"}


@pytest.fixture(scope="module")
def named(new_place: NewPlace) -> Iterator[tuple[Place, list[str]]]:
    """The tables, each with the rows 0 to 3 in the source; and the words that are columns."""
    with new_place() as place:
        known = words(place)
        columns = ", ".join(f'"{word}" int' for word in known)
        place.cql(
            f'CREATE TABLE KS."Wide" (id int PRIMARY KEY, {", ".join(f"c{i} int" for i in range(300))})',
            'CREATE TABLE KS."Large" (id int PRIMARY KEY, t text, b blob, m map<text, text>, l list<int>)',
            f'CREATE TABLE KS."Select" ({columns}, PRIMARY KEY (("select", "table"), "order"))',
            f'CREATE TABLE KS."Long_Names" ("{LONG}k" int PRIMARY KEY, "{LONG}v" text)',
        )
        with CqlStore(place.settings) as store:
            for table in TABLES:
                store.put_many(table, [rows_of(table, n, known) for n in range(4)])
        yield place, known


def key_of(table: str, row: Row) -> Row:
    names = {"Select": ("select", "table", "order"), "Long_Names": (f"{LONG}k",)}.get(table, ("id",))
    return {name: row[name] for name in names}


def run(place: Place, *argv: str, code: int = 0) -> Any:
    done = place.commands.run(*argv, timeout=600)
    assert done.code == code, done
    return done


def held(place: Place, known: list[str], count: int, primary: Primary = "astra") -> None:
    """The source, and a store of both sides, show the rows up to this one."""
    config, settings = load_config(place.commands.folder / "sync.toml"), place.settings
    with (
        CqlStore(settings) as source,
        DualWriteStore(settings.model_copy(update={"storage_backend": primary}), config) as dual,
    ):
        for table in TABLES:
            for n in range(count):
                row = rows_of(table, n, known)
                assert source.get(table, key_of(table, row)) == row, (table, n)
                assert dual.get(table, key_of(table, row)) == row, (table, n)
            assert source.count(table) == dual.count(table) == count


def write(store: DualWriteStore, table: str, row: Row) -> None:
    """Put a row, and take two of its columns away and back."""
    key = key_of(table, row)
    store.put(table, row)
    for name in sorted(row.keys() - key.keys())[:2]:
        store.update(table, key, {name: None})
        store.update(table, key, {name: row[name]})
    assert store.get(table, key) == row, table


def test_there_and_back(named: tuple[Place, list[str]]) -> None:
    """Would break: a statement with 500 words, or with 5 MB, is refused in one flow or in one direction alone."""
    place, known = named
    assert {"select", "user", "token", "authorize", "xmlserialize"} <= set(known) and len(known) > 450
    place.configure(TOML.replace(f'rename = {{ "{LONG}k" = "key", "{LONG}v" = "value" }}\n', ""))
    refused = place.commands.rows()
    assert [line for line in refused if line.startswith("Long_Names: ")], refused
    place.configure(TOML)
    run(place, "schema", "apply")
    run(place, "preflight")
    run(place, "backfill", "--workers", "1")
    assert place.sql("SELECT DISTINCT table_name, column_name, reason FROM sync.reject") == []
    config = load_config(place.commands.folder / "sync.toml")
    with DualWriteStore(place.settings, config) as store:
        for n, command in enumerate(("", "cutover", "rollback")):
            if command:
                place.prove()
                run(place, command, "--yes")
            for table in TABLES:
                write(store, table, rows_of(table, 4 + n, known))
    with CqlStore(place.settings) as source:
        for table in TABLES:
            source.delete(table, key_of(table, rows_of(table, 6, known)))
    report = run(place, "drift-report", "--workers", "1", "--repair", "--format", "json", code=2).json
    assert {t["table"]: [f["kind"] for f in t["findings"]] for t in report["tables"]} == {t: ["extra"] for t in TABLES}
    place.prove()
    held(place, known, 6)
    run(place, "cutover", "--yes", "--no-writers")
    held(place, known, 6, "postgres")
    run(place, "finish", "--yes")
    with PostgresStore(place.settings) as store:
        assert store.count("Wide") == store.count("Large") == store.count("Select") == 6
