"""How a source table maps onto its target, and what blocks it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sync.core.cql import parse_type
from sync.core.encode import UnsupportedPair
from sync.core.rows import PgType, SourceColumn, SourceTable, TableOptions, TargetColumn, TargetTable
from sync.core.schema.ddl import create_table, missing_columns, pg_quoted, vector_dimension
from sync.core.schema.mapping import map_table

KINDS = {"p": "partition_key", "c": "clustering", "s": "static", "r": "regular"}


def source(columns: str, **values: Any) -> SourceTable:
    """`name:type:kind` each, kind by its first letter (regular where left out)."""
    found = []
    for text in columns.split("; "):
        name, kind, *role = text.split(":")
        found.append(SourceColumn(name, parse_type(kind), KINDS[role[0] if role else "r"]))  # type: ignore[arg-type]
    return SourceTable("ks", "t", tuple(found), **values)


def target(columns: str, key: str, **changes: dict[str, Any]) -> TargetTable:
    """`name:type` each; `changes` to single columns."""
    found = []
    for text in columns.split("; "):
        name, kind = text.split(":")
        element = PgType("text", 25) if kind.endswith("[]") else None
        found.append(replace(TargetColumn(name, PgType(kind, element=element, sql=kind)), **changes.get(name, {})))
    return TargetTable("public", "t", tuple(found), tuple(key.split(",")) if key else ())


SOURCE = source("a:int:p; b:text:c; v:text; n:bigint")
TARGET = target("n:int8; v:text; b:text; a:int4", "b,a")


def problems(of: SourceTable, to: TargetTable | None, level: str = "error", **options: Any) -> list[str]:
    """The messages of this level; where there is an error there is no mapping."""
    mapped, found = map_table(of, to, TableOptions(**options))
    assert (mapped is None) == any(p.level == "error" for p in found)
    return [p.text for p in found if p.level == level]


def test_columns_are_found_by_name_and_keys_come_first() -> None:
    """The order of the target's columns, and of its key, is the application's business."""
    mapped, found = map_table(SOURCE, TARGET, TableOptions())
    assert found == []
    assert mapped
    assert [(p.source.name, p.target.name) for p in mapped.pairs] == [("a", "a"), ("b", "b"), ("v", "v"), ("n", "n")]
    assert [p.source.name for p in mapped.keys] == ["a", "b"]


def test_renamed_and_ignored_columns() -> None:
    """A rename may swap two names; an ignored column is reported, and needs no column in the target."""
    swapped = {"v": "w", "w": "v"}
    mapped, found = map_table(
        source("a:int:p; v:text; w:int; x:blob"),
        target("a:int4; v:int4; w:text", "a"),
        TableOptions(rename=swapped, ignore=frozenset("x")),
    )
    assert mapped
    assert {p.source.name: p.target.name for p in mapped.pairs} == {"a": "a", "v": "w", "w": "v"}
    assert [(p.level, p.text) for p in found] == [("warning", "not migrated, as sync.toml says: x")]


def test_a_renamed_key() -> None:
    """The target's key has the new name; a type that does not fit is reported once, and not as a wrong key."""
    assert problems(SOURCE, target("id:int4; b:text; v:text; n:int8", "id,b"), rename={"a": "id"}) == []
    found = problems(SOURCE, target("id:date; b:text; v:text; n:int8", "id,b"), rename={"a": "id"})
    assert found == ["a: int does not go into date; it goes into integer"]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ("a:int4; b:text; v:date; n:int8", "v: text does not go into date; it goes into text"),
        ("a:int4; b:text; v:text; n:int4", "n: bigint does not go into int4; it goes into bigint"),
    ],
)
def test_a_type_that_does_not_fit_is_one_error(columns: str, expected: str) -> None:
    """Not also "only in Postgres", which would be untrue."""
    assert problems(SOURCE, target(columns, "a,b")) == [expected]
    assert problems(SOURCE, target(columns, "a,b"), "warning") == []


@pytest.mark.parametrize("key", ["a", "", "a,b,v", "a,v"])
def test_the_key_must_be_the_sources(key: str) -> None:
    """Another key would merge rows, or let them in twice."""
    there = key.replace(",", ", ") or "none"
    found = problems(SOURCE, target("n:int8; v:text; b:text; a:int4", key))
    assert found == [f"the primary key must be the source's (a, b); Postgres has {there}"]


def test_two_columns_into_one() -> None:
    """The second would overwrite the first."""
    assert problems(SOURCE, target("a:int4; b:text; v:text", "a,b"), rename={"n": "v"})[0] == "two source columns go into v"


def test_columns_that_only_the_target_has() -> None:
    """Harmless with a default or null; impossible without."""
    wider = "a:int4; b:text; v:text; n:int8; x:int4"
    assert problems(SOURCE, target(wider, "a,b"), "warning") == ["x is only in Postgres; it gets its default"]
    generated = target(wider, "a,b", x={"generated": True, "not_null": True})
    assert problems(SOURCE, generated) + problems(SOURCE, generated, "warning") == []
    required = target(wider, "a,b", x={"not_null": True, "required": True})
    assert problems(SOURCE, required) == ["x does not accept null, has no default, and the source has no such column"]


def test_a_column_that_takes_no_null() -> None:
    """Keys are never null in the source; other columns may be."""
    strict = {name: {"not_null": True, "required": True} for name in ("a", "b", "v")}
    found = problems(SOURCE, target("a:int4; b:text; v:text; n:int8", "a,b", **strict), "warning")
    assert found == ["v does not accept null; rows whose v is null are rejected"]


def test_what_a_source_table_may_not_be() -> None:
    """Static columns and expiring rows are refused by name; counters are carried, with a warning."""
    static = source("a:int:p; b:int:c; shared:text:s; v:text")
    assert problems(static, target("a:int4; b:int4; v:text", "a,b")) == []
    assert "shared" not in create_table(static, "t", TableOptions())
    expiring = replace(SOURCE, default_ttl=5)
    assert problems(expiring, TARGET)[0].startswith("rows expire after 5 s (default_time_to_live)")
    ignoring = problems(expiring, TARGET, ignore=frozenset({"v"}), expiry="expires_at")
    assert any("do not go together" in text for text in ignoring)
    assert problems(expiring, TARGET, keep_ttl=True) == []
    counters = source("a:int:p; n:counter")
    assert len(problems(counters, target("a:int4; n:int8", "a"), "warning")) == 1


def test_rules_for_keys() -> None:
    """A key that is changed or left out makes one row of two."""
    assert problems(SOURCE, TARGET, ignore=frozenset("a"))[0] == "sync.toml ignores 'a', which is part of the key"
    (text,) = problems(SOURCE, TARGET, on_reject={"b": "strip-nul"})
    assert text.startswith("'b' is part of the key")
    assert problems(SOURCE, TARGET, on_reject={"b": "reject", "v": "null"}) == []


def test_rules_for_columns_that_are_not_there() -> None:
    """Each is named; a typing error in sync.toml must not let a value through."""
    found = problems(SOURCE, TARGET, rename={"x": "a"}, ignore=frozenset("y"), on_reject={"z": "null"})
    assert found == [f"sync.toml names a column {name!r} that the source does not have" for name in "xyz"]


@pytest.mark.parametrize(("name", "fits"), [("n" * 63, True), ("n" * 64, False), ("ü" * 31, True), ("ü" * 32, False)])
def test_names_are_measured_in_bytes(name: str, fits: bool) -> None:
    """Postgres cuts a longer name and says so in a notice only: the column would never be found."""
    named = source(f"a:int:p; {name}:int")
    found = problems(named, target(f"a:int4; {name}:int4", "a"))
    assert found == ([] if fits else [f"{name} is longer than Postgres's 63 bytes; give {name!r} another name with rename "
                                      "under [tables.t] in sync.toml"])  # fmt: skip
    assert problems(named, target("a:int4; x:int4", "a"), rename={name: "x"}) == []
    table = replace(SOURCE, name=name)
    assert bool(problems(table, TARGET)) is not fits
    assert problems(table, TARGET, target="s.short") == []


def test_the_states_schema_is_no_place_for_a_table() -> None:
    """`sync finish` drops it with all that is in it; and `sync.range` is not the application's."""
    (text,) = problems(SOURCE, TARGET, target="sync.songs")
    assert text.startswith("the schema sync belongs to the migration")
    assert problems(SOURCE, TARGET, target="Sync.songs") == []


@pytest.mark.parametrize("name", ["ctid", "xmin", "tableoid", "_sync_token", "_sync_version"])
def test_names_that_are_taken(name: str) -> None:
    """Every Postgres table has these, or has them while it is migrated; in upper case they are different names."""
    for into in (None, target(f"a:int4; {name}:int8", "a")):
        assert any(f"its own column {name}" in text for text in problems(source(f"a:int:p; {name}:bigint"), into))
    assert problems(source(f"a:int:p; {name}:bigint"), target("a:int4; x:int8", "a"), rename={name: "x"}) == []
    assert problems(source(f"a:int:p; {name.upper()}:bigint"), target(f"a:int4; {name.upper()}:int8", "a")) == []


def test_what_postgres_cannot_make_is_refused_with_the_limit() -> None:
    """Otherwise preflight says that `sync schema apply` makes it, and then Postgres refuses."""
    many = source("; ".join(["a:int:p", *(f"c{n}:int" for n in range(1598))]))
    found = problems(many, None)
    assert found[0].startswith(
        "1,599 columns: a Postgres table has 1,600 at most, 2 of which the migration needs; ignore some"
    )
    assert found[-1] == "Postgres has no table t, and cannot have one"
    (text,) = problems(many, None, ignore=frozenset({"c0"}))
    assert "`sync schema apply` makes it" in text
    keys = source("; ".join(["a:int:p", *(f"c{n}:int:c" for n in range(32))]))
    assert problems(keys, None)[0].startswith("33 key columns: a Postgres index has 32 at most")
    vectors = source("a:vector<float, 700>:p")
    assert problems(vectors, None)[0].startswith(
        "the vectors in its key take 2,808 bytes: an entry of a Postgres index has 2,704"
    )
    assert problems(source("a:text:p; v:text; w:text"), None, rename={"v": "w"})[0] == "two source columns go into w"


def test_rows_that_are_too_wide_are_said() -> None:
    """Postgres makes the table, and then takes only rows that do not fill all columns."""
    wide = source("; ".join(["a:int:p", *(f"c{n}:uuid" for n in range(520))]))
    (text,) = problems(wide, None, "warning")
    assert text.startswith("a row with all of its columns takes 8,413 bytes, Postgres's rows 8,160 at most")
    assert problems(wide, None, "warning", ignore=frozenset(f"c{n}" for n in range(20))) != [text]


def test_the_ddl_has_the_names_that_are_proposed() -> None:
    """The DDL that preflight prints must not contain the names that it has just refused."""
    long = "n" * 64
    found = problems(source(f"a:int:p; ctid:text; ctid_1:text; {long}:text"), None)
    assert [text.split(";")[0] for text in found] == [
        "Postgres or this migration has its own column ctid", f"{long} is longer than Postgres's 63 bytes",
        "Postgres has no table t",
    ]  # fmt: skip
    new = "n" * 61 + "_1"
    assert f'rename = {{ "ctid" = "ctid_2", "{long}" = "{new}" }} under [tables.t] in sync.toml' in found[2]
    assert found[2].endswith(f'CREATE TABLE "t" ("a" integer, "ctid_2" text, "ctid_1" text, "{new}" text, PRIMARY KEY ("a"))')
    (_, text) = problems(replace(SOURCE, name=long), None, target=f"s.{long}")
    assert f'with target = "s.{new}" under' in text and f'CREATE TABLE "s"."{new}" (' in text
    assert any(f"{long} is longer" in text for text in problems(SOURCE, TARGET, target=f"{long}.t"))


def test_what_to_do_about_a_missing_table_or_column() -> None:
    """The DDL is shown; where a type cannot be mapped, that is shown instead."""
    (text,) = problems(SOURCE, None)
    assert text.endswith('CREATE TABLE "t" ("a" integer, "b" text, "v" text, "n" bigint, PRIMARY KEY ("a", "b"))')
    (text,) = problems(source("a:int:p; v:vector<int, 2>"), None)
    assert text == "Postgres has no table t, and vector<int, 2>: only vectors of float are supported"
    (text,) = problems(source("a:int:p; v:vector<int, 2>"), target("a:int4", "a"))
    assert 'ignore = ["v"]' in text


def test_the_ddl_quotes_and_obeys_sync_toml() -> None:
    """Whatever the names are, it is one statement that Postgres takes."""
    odd = source('p;x:int:p; "q:text; C d:map<text, text>; gone:text'.replace("p;x", "p,x"))
    options = TableOptions(rename={"p,x": 'k"'}, ignore=frozenset({"gone"}))
    assert create_table(odd, "my.Ta.ble", options) == (
        'CREATE TABLE "my"."Ta.ble" ("k""" integer, """q" text, "C d" jsonb, PRIMARY KEY ("k"""))'
    )
    assert pg_quoted('a"b') == '"a""b"'
    with pytest.raises(UnsupportedPair):
        create_table(source("a:int:p; v:vector<int, 2>"), "t", TableOptions())


def test_missing_columns_are_those_of_the_source_that_are_carried() -> None:
    """Never a part of the key: that would be another table."""
    lacking = missing_columns(source("a:int:p; b:int:c; v:text; w:text; x:text"), target("v:text", ""), TableOptions(
        rename={"w": "W"}, ignore=frozenset("x")
    ))  # fmt: skip
    assert lacking == ['ALTER TABLE "public"."t" ADD COLUMN "W" text']


def test_the_dimension_is_that_of_the_embeddings() -> None:
    """Another table's vectors say nothing about the guide's."""
    vectors = source("a:int:p; v:vector<float, 7>")
    assert vector_dimension([SOURCE, vectors]) is None
    assert vector_dimension([replace(vectors, name="embeddings")]) == 7
    assert vector_dimension([replace(SOURCE, name="embeddings")]) is None
