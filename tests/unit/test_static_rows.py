"""Static columns as a table of their own: which columns it has, when a row is there, what is refused."""

from __future__ import annotations

import pytest

from sync.adapters.cassandra.connection.pages import delete, select
from sync.adapters.cassandra.rows.cell_types import PROTOCOL, cell_type
from sync.core.cql import CqlType, parse_type
from sync.core.encode.base import join_cells
from sync.core.expiry import migrated
from sync.core.keys.any_value import any_value
from sync.core.rows import Page, PgType, SourceColumn, SourceTable, TableOptions, TargetColumn, TargetTable
from sync.core.schema.ddl import create_table, missing_columns
from sync.core.schema.limits import migrated_columns
from sync.core.schema.static_rows import (
    RowFilter,
    base_of,
    check_insert,
    check_put,
    check_update,
    deciding,
    has_rows,
    named,
    with_static_tables,
)
from sync.core.schema.table_json import table_from_json, table_to_json
from sync.errors import WriteRefused
from sync.settings import Config

COLUMNS = (
    SourceColumn("artist", CqlType("text"), "partition_key"),
    SourceColumn("year", CqlType("int"), "clustering"),
    SourceColumn("shelf", CqlType("text"), "static"),
    SourceColumn("stars", CqlType("int"), "static"),
    SourceColumn("price", CqlType("int"), "regular"),
)
ALBUMS = SourceTable("ks", "albums", COLUMNS)
PLAIN = SourceTable("ks", "plain", tuple(c for c in COLUMNS if c.kind != "static"))
TABLES = with_static_tables([PLAIN, ALBUMS])
STATIC = TABLES["albums.static"]


def test_the_table_of_static_columns() -> None:
    assert list(TABLES) == ["plain", "albums", "albums.static"]
    assert [(c.name, c.kind) for c in STATIC.columns] == [
        ("artist", "partition_key"), ("shelf", "regular"), ("stars", "regular"),
    ]  # fmt: skip
    assert (STATIC.base, STATIC.section, ALBUMS.section) == ("albums", '[tables."albums.static"]', "[tables.albums]")
    assert [c.name for c in migrated_columns(ALBUMS, TableOptions())] == ["artist", "year", "price"]
    assert table_from_json(table_to_json(STATIC)) == STATIC
    assert "base" not in table_to_json(ALBUMS), "an older version reads it, too"
    assert table_from_json(table_to_json(ALBUMS)) == ALBUMS


def test_how_cql_reads_and_deletes_it() -> None:
    """Would break: a row of each of a partition's rows; or the partition's rows go with its static columns."""
    assert select(STATIC, ['"artist"']) == 'SELECT DISTINCT "artist" FROM "ks"."albums"'
    assert select(ALBUMS, ['"artist"']) == 'SELECT "artist" FROM "ks"."albums"'
    assert delete(STATIC) == 'DELETE "shelf", "stars" FROM "ks"."albums"'
    assert delete(ALBUMS) == 'DELETE FROM "ks"."albums"'


def test_what_sync_toml_says() -> None:
    tables = {"albums": {"ignore": ["shelf"]}, "albums.static": {"rename": {"stars": "n"}}}
    config = Config.model_validate({"tables": tables, "exclude": ["other"]})
    options = config.options("albums.static")
    assert (options.target, options.base_ignore) == ("albums_static", {"shelf"})
    table = migrated(STATIC, options)
    assert [c.name for c in migrated_columns(table, options)] == ["artist", "stars"]
    assert delete(table) == 'DELETE "stars" FROM "ks"."albums"', "what is ignored is left as it is"
    assert deciding(table) == ("stars",) and has_rows(table)
    assert not has_rows(migrated(STATIC, TableOptions(ignore=frozenset({"shelf", "stars"}))))
    assert (config.left_out_by("other.static"), config.left_out_by("albums.static")) == ("exclude", "")
    alone = Config.model_validate({"only": ["albums"], "exclude": ["plain"]})
    assert [alone.left_out_by(name) for name in ("albums.static", "plain.static", "x.static")] == ["", "exclude", "only"]


def test_names() -> None:
    assert base_of("albums.static") == "albums" and not base_of("albums") and not base_of("static")
    assert named("albums.static", ("albums",)) and not named("albums", ("albums.static",)) and not named("albums", ("",))


def test_the_target_and_its_check() -> None:
    """Would break: a row without any value, which Cassandra cannot have; or one with a value in a new column alone is refused."""
    check = 'CONSTRAINT "some_static" CHECK ("shelf" IS NOT NULL OR "n" IS NOT NULL)'
    options = TableOptions(rename={"stars": "n"})
    made = create_table(STATIC, "albums_static", options)
    assert made == (
        'CREATE TABLE "albums_static" ("artist" text, "shelf" text, "n" integer, PRIMARY KEY ("artist"), ' + check + ")"
    )
    there = TargetTable("public", "t", tuple(TargetColumn(n, PgType("text")) for n in ("artist", "shelf")), ("artist",))
    added = missing_columns(STATIC, there, options)
    assert added[0].endswith('ADD COLUMN "n" integer') and "DROP CONSTRAINT IF EXISTS" in added[1]
    assert added[2] == f'ALTER TABLE "public"."t" ADD {check}'
    assert len(missing_columns(ALBUMS, there, options)) == 1, "price, and no static column"
    assert "CHECK" not in create_table(ALBUMS, "albums", TableOptions())


def test_what_is_no_row_is_left_out() -> None:
    """Would break: a partition without static columns is a row of nulls, or one of them alone a row without its key."""
    rows = [[b"1", b"a", None, None], [b"2", b"b", None, b"x"], [b"3", b"c", b"y", None]]
    page = Page(b"".join(map(join_cells, rows)), 0, 3)
    kept = RowFilter(STATIC, ("artist", "shelf", "stars")).page(page)
    assert (kept.count, kept.data) == (2, b"".join(map(join_cells, rows[1:])))
    kept = RowFilter(ALBUMS, ("artist", "year", "price")).page(page)
    assert (kept.count, kept.data) == (1, join_cells(rows[2]))
    assert RowFilter(PLAIN, ("artist", "year", "price")).page(page) is page


def test_what_is_refused() -> None:
    check_put("albums", {"artist": "x"}, ("artist",))
    check_put("albums.static", {"artist": "x", "shelf": None, "stars": 0}, ("artist",))
    with pytest.raises(WriteRefused, match="a row needs a value"):
        check_put("albums.static", {"artist": "x", "shelf": None}, ("artist",))
    check_update("albums", {"price": None})
    check_update("albums.static", {"shelf": ""})
    with pytest.raises(WriteRefused, match="stars cannot be updated to null"):
        check_update("albums.static", {"shelf": "s", "stars": None})
    check_insert("albums")
    with pytest.raises(WriteRefused, match="use put"):
        check_insert("albums.static")


@pytest.mark.parametrize(
    "kind",
    [
        *("ascii", "bigint", "blob", "boolean", "date", "decimal", "double", "float", "inet", "int", "smallint", "text"),
        *("time", "timestamp", "timeuuid", "tinyint", "uuid", "varint", "frozen<list<int>>", "frozen<map<int, text>>"),
        *("frozen<set<text>>", "tuple<int, text>", "vector<float, 3>", "vector<text, 2>", "vector<smallint, 2>"),
    ],
)
def test_some_value_of_every_type_of_a_key(kind: str) -> None:
    """Would break: the two ranges that are all rows of a partition cannot be told the server."""
    cql = parse_type(kind, {})
    value = cell_type(cql).from_binary(any_value(cql), PROTOCOL)
    assert value is not None
    assert cell_type(cql).serialize(value, PROTOCOL) == any_value(cql)
