"""Collections without a server: ids and their forms, paths, fields taken out of documents."""

from __future__ import annotations

import json
import struct
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.core.cql import FIELD, CqlType
from sync.core.decode import decoder_for
from sync.core.documents.collections import (
    FieldExtractor,
    collection_table,
    document_cells,
    document_from_cells,
    segments,
    with_fields,
)
from sync.core.encode import UnsupportedPair, encoder_for
from sync.core.encode.base import Reject, join_cells
from sync.core.encode.document_ids import cell_of, id_cell, id_form, id_parts, number_text
from sync.core.rows import Page, PgType
from sync.core.schema.table_json import table_from_json, table_to_json
from sync.settings import Config


@given(st.integers(1, 1) | st.integers(2, 5), st.text(min_size=1))
def test_an_id_comes_back_from_its_form(kind: int, text: str) -> None:
    """Would break: a worker cannot get the key back from what the target holds; or two keys have one form."""
    form = id_form(id_cell(kind, text))
    assert id_parts(cell_of(form)) == (kind, text.encode())
    assert (form == text) == (kind == 1 and not text.startswith('{"$'))


def test_ids_of_other_columns() -> None:
    """Would break: an id becomes another one, or cannot be read back from its column."""
    uuid, small, text = (encoder_for(CqlType("document id"), PgType(n)).encode for n in ("uuid", "int2", "text"))
    assert uuid(id_cell(1, str(UUID(int=5)))) == UUID(int=5).bytes
    assert small(id_cell(2, "-5")) == b"\xff\xfb"
    assert text(id_cell(2, "-5")) == b'{"$number": -5}'
    assert id_parts(cell_of(UUID(int=5))) == (1, str(UUID(int=5)).encode())
    assert id_parts(cell_of(-5)) == (2, b"-5")
    bad = [(uuid, 1, "x"), (uuid, 1, str(UUID(int=10)).upper()), (uuid, 2, "1"), (small, 1, "5"), (small, 2, "40000"),
           (small, 2, "1E+2"), (small, 2, "05"), (text, 9, "x"), (text, 1, "a\0b")]  # fmt: skip
    for encode, kind, value in bad:
        with pytest.raises(Reject):
            encode(id_cell(kind, value))
    with pytest.raises(Reject):
        text(id_cell(1, "a")[:5])
    with pytest.raises(UnsupportedPair, match="uuid or bigint"):
        encoder_for(CqlType("document id"), PgType("bool"))
    with pytest.raises(ValueError, match="not a type of an _id"):
        cell_of('{"$other": 1}')


@pytest.mark.parametrize(
    ("value", "text"),
    [(1, "1"), (2**70, str(2**70)), (1.5, "1.5"), (100.0, "1E+2"), (-0.0, "0"), (1e300, "1E+300"), (1e-7, "1E-7"),
     (Decimal("1.50"), "1.5"), (0.000001, "0.000001")],
)  # fmt: skip
def test_numbers_in_keys_are_javas(value: Any, text: str) -> None:
    """Would break: the key that a store announces is not the one that the server writes."""
    assert number_text(value) == text


@pytest.mark.parametrize(
    ("path", "names"),
    [("a", ("a",)), ("a.b", ("a", "b")), ("a&.b", ("a.b",)), ("a&&.b", ("a&", "b")), ("", ("",)), ("a..b", ("a", "", "b")),
     (".a", ("", "a")), ("a.", ("a", "")), ("ü x.0", ("ü x", "0"))],
)  # fmt: skip
def test_paths(path: str, names: tuple[str, ...]) -> None:
    """Would break: a field is looked for where the API does not have it."""
    assert segments(path) == names


def extractor(doc: str | None) -> dict[str, bytes | None]:
    table = with_fields(collection_table("ks", "docs", 2), {"a.b": "text", "c": "jsonb"})
    return FieldExtractor(table, ("key", "doc_json", "a.b", "c")).cells(
        {"key": b"k", "doc_json": None if doc is None else doc.encode()}
    )


def test_fields_are_taken_out_of_the_document() -> None:
    """Would break: a field is kept twice, or is lost; or a null disappears."""
    found = extractor('{"_id":1,"a":{"b":"x","d":1.50},"c":[1],"$vector":[1]}')
    assert (found["a.b"], found["c"], found["doc_json"]) == (b'"x"', b"[1]", b'\x01{"a": {"d": 1.50}, "_id": 1}')
    found = extractor('{"a":{"b":null},"c":null}')
    assert (found["a.b"], found["c"], found["doc_json"]) == (None, None, b'\x01{"a": {"b": null}, "c": null}')
    assert extractor('{"a":5}')["a.b"] is None
    assert extractor(None) == {"key": b"k", "doc_json": None, "a.b": None, "c": None}
    assert extractor("nope")["c"] == b"nope"


def test_a_page_gets_a_cell_for_each_column() -> None:
    """Would break: columns shift."""
    table = with_fields(collection_table("ks", "docs", None), {"n": "integer"})
    rows = [join_cells([bytes(8), b"k%d" % n, b'{"n":%d}' % n]) for n in range(3)]
    assert FieldExtractor(table, ("key", "n")).selected == ("key", "doc_json")
    page = FieldExtractor(table, ("key", "doc_json", "n")).page(Page(b"xx" + b"".join(rows), 2, 3))
    assert page.data[page.offset :] == b"".join(join_cells([bytes(8), b"k%d" % n, b"\x01{}", b"%d" % n]) for n in range(3))
    page = FieldExtractor(table, ("key", "n")).page(Page(b"".join(rows), 0, 3))
    assert page.data == b"".join(join_cells([bytes(8), b"k%d" % n, b"%d" % n]) for n in range(3))


GOOD = [
    ("text", '"h\\u00e9"', "hé".encode()), ("int2", "-5", b"\xff\xfb"), ("int8", "5", b"\0\0\0\0\0\0\0\5"),
    ("bool", "true", b"\1"), ("float8", "1.5", b"\x3f\xf8\0\0\0\0\0\0"), ("float4", "0.1", bytes.fromhex("3dcccccd")),
    ("uuid", '{"$uuid": "00000000-0000-0000-0000-000000000005"}', UUID(int=5).bytes), ("jsonb", '{"a": 1}', b'\1{"a": 1}'),
    ("timestamptz", '{"$date": 946684800001}', b"\0\0\0\0\0\0\x03\xe8"), ("bytea", '{"$binary": "AAE="}', b"\0\1"),
    ("numeric", "-1.50", bytes.fromhex("0002000040000002") + b"\0\1\x13\x88"),
]  # fmt: skip
BAD = [
    ("text", "5"), ("text", '"a\\u0000"'), ("int2", "40000"), ("int4", "1.5"), ("int4", '"1"'), ("bool", "1"), ("float8", '"1"'),
    ("float8", "0.12345678901234567890123"), ("float8", "1" + "0" * 400), ("float4", "0.123456789"), ("uuid", '"x"'),
    ("uuid", '{"$uuid": "x"}'), ("timestamptz", '"2020-01-01"'), ("timestamptz", '{"$date": "x"}'), ("numeric", '"1"'),
    ("bytea", '{"$binary": "?"}'), ("timestamptz", '{"$date": 99999999999999999}'),
]  # fmt: skip


@pytest.mark.parametrize(("pg", "text", "cell"), GOOD)
def test_fields_of_the_right_form(pg: str, text: str, cell: bytes) -> None:
    """Would break: a column holds a different value from its field."""
    assert encoder_for(CqlType(FIELD, fields=(pg,)), PgType(pg)).encode(text.encode()) == cell


@pytest.mark.parametrize(("pg", "text", "cell"), GOOD)
def test_fields_go_back_as_they_were(pg: str, text: str, cell: bytes) -> None:
    """Would break: a rollback puts a different value into the document."""
    kinds = CqlType(FIELD, fields=(pg,)), PgType(pg)
    back = decoder_for(*kinds)(cell) or b""
    assert json.loads(back) == json.loads(text)
    assert encoder_for(*kinds).encode(back) == cell


@pytest.mark.parametrize(
    ("kind", "text"), [(1, "a"), (1, '{"$number": 1}'), (2, "1E+2"), (3, "true"), (4, "null"), (5, "-5")]
)
def test_ids_go_back_as_they_were(kind: int, text: str) -> None:
    """Would break: a document goes back under another key."""
    pair = CqlType("document id"), PgType("text")
    assert decoder_for(*pair)(encoder_for(*pair).encode(id_cell(kind, text))) == id_cell(kind, text)
    for pg, own in (("uuid", id_cell(1, str(UUID(int=5)))), ("int4", id_cell(2, "-5"))):
        pair = CqlType("document id"), PgType(pg)
        assert decoder_for(*pair)(encoder_for(*pair).encode(own)) == own


def test_a_document_comes_together_again() -> None:
    """Would break: a document that was taken apart goes back as a different one."""
    text = '{"_id":1,"a":{"b":"x","d":1.50},"c":[1,null],"e":null,"large":1E+300,"many":12345678901234567890}'
    table = with_fields(collection_table("ks", "docs", 2), {"a.b": "text", "c": "jsonb", "e": "text"})
    columns = tuple(c.name for c in table.columns)
    cells = FieldExtractor(table, columns).cells(
        {"key": b"", "doc_json": text.encode(), "query_vector_value": struct.pack(">2f", 1, 2)}
    )
    found = document_from_cells(table, cells)
    assert found == {**json.loads(text), "$vector": [1.0, 2.0]}
    with pytest.raises(ValueError, match="lost"):
        document_from_cells(table, {**cells, "doc_json": None})
    with pytest.raises(ValueError, match="more digits"):
        document_from_cells(table, {**cells, "doc_json": b'{"n": 0.12345678901234567890123}'})
    with pytest.raises(ValueError, match="not an object"):
        document_from_cells(table, {**cells, "doc_json": b'{"a": 5}'})


def test_an_applications_document_is_what_the_server_would_keep() -> None:
    """Would break: rows differ because of a trailing zero, or the form of a date."""
    table = collection_table("ks", "docs", 2)
    cells = document_cells(table, {"_id": 1, "n": 2.0, "m": [1.5, {"k": -0.0}], "u": UUID(int=1), "b": b"x", "$vector": [1, 2],
                                   "d": datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)})  # fmt: skip
    assert json.loads(cells["doc_json"] or b"") == {
        "_id": 1, "n": 2, "m": [1.5, {"k": 0}], "u": {"$uuid": str(UUID(int=1))}, "d": {"$date": 1000}, "b": {"$binary": "eA=="},
    }  # fmt: skip
    assert b"2.0" not in (cells["doc_json"] or b"")
    assert cells["query_vector_value"] == struct.pack(">2f", 1, 2)
    named = ({"": 1}, {"$odd": 1}, {"a": {"$vector": [1]}}, {"a": [{"$date": 1, "b": 2}]}, {"a": {"b": {"": 1}}})
    assert document_cells(table, {"a": [{"$date": 1}], "$vectorize": "x", "$lexical": "y"})["doc_json"]
    for bad in ({"a": float("nan")}, {"a": object()}, *named):
        with pytest.raises((TypeError, ValueError)):
            document_cells(table, bad)


@pytest.mark.parametrize(("pg", "text"), BAD)
def test_fields_of_another_form(pg: str, text: str) -> None:
    """Would break: a field is accepted that could not be put back as it was."""
    with pytest.raises(Reject):
        encoder_for(CqlType(FIELD, fields=(pg,)), PgType(pg)).encode(text.encode())


def test_fields_go_into_few_types() -> None:
    """Would break: an internal error for a column that takes no field."""
    with pytest.raises(UnsupportedPair, match="interval"):
        encoder_for(CqlType(FIELD), PgType("interval"))


def test_a_collection_in_sync_toml() -> None:
    """Would break: the mapping misreads what people write."""
    config = Config.model_validate({
        "collections": {"docs": {"id": "id", "document": False, "fields": {"a.b": "text", "c": {"type": "jsonb", "column": "cc"}},
                                 "on_reject": {"cc": "null", "a.b": "strip-nul"}}}
    })  # fmt: skip
    options = config.options("docs")
    assert options.rename == {"key": "id", "query_vector_value": "vector", "a.b": "a.b", "c": "cc"}
    assert (options.ignore, options.fields) == (frozenset({"doc_json"}), {"a.b": "text", "c": "jsonb"})
    assert options.on_reject == {"c": "null", "a.b": "strip-nul"}


def test_a_collection_is_remembered() -> None:
    """Would break: a process that starts while the source is unreachable takes a collection for a table of odd columns."""
    table = with_fields(collection_table("ks", "docs", 3), {"a.b": "text"})
    assert table_from_json(json.loads(json.dumps(table_to_json(table)))) == table
    assert with_fields(table, {"a.b": "text"}) == table, "asked for twice, there once"


@pytest.mark.parametrize("form", ['{"$binary": "P4AAAEAAAAA="}', "[1, 2]"])
def test_a_vector_without_a_column_stays_in_its_document(form: str) -> None:
    """Would break: a collection without vectors can still get one by a replacement; it was left out, and so lost."""
    table = collection_table("ks", "docs", None)
    lifted = with_fields(table, {"a": "text"})
    text = f'{{"a": "x", "_id": 1, "$vector": {form}}}'.encode()
    encode = encoder_for(table.columns[1].type, PgType("jsonb")).encode
    kept = json.loads(encode(text)[1:])
    assert kept == json.loads(text)
    assert document_from_cells(table, {"doc_json": text}) == {"a": "x", "_id": 1, "$vector": [1, 2]}
    cells = FieldExtractor(lifted, ("key", "doc_json", "a")).cells({"key": b"", "doc_json": text})
    assert document_from_cells(lifted, cells) == {"a": "x", "_id": 1, "$vector": [1, 2]}
    made = document_cells(table, {"a": "x", "_id": 1, "$vector": [1.0, 2.0]})
    assert json.loads(made["doc_json"] or b"") == {"a": "x", "_id": 1, "$vector": {"$binary": "P4AAAEAAAAA="}}
    assert made["query_vector_value"] is None
    assert json.loads(encoder_for(table.columns[1].type, PgType("jsonb"), strip_nul=True).encode(text)[1:]) == kept
    with_vectors = encoder_for(collection_table("ks", "docs", 2).columns[1].type, PgType("jsonb")).encode
    assert json.loads(with_vectors(text)[1:]) == {"a": "x", "_id": 1}
