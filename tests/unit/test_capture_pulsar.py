"""Keys of DataStax's change data capture, made from its documented schema: fastavro writes them with its logical types, as the
agent's Avro library does."""

from __future__ import annotations

import base64
import ipaddress
import struct
from decimal import Decimal
from io import BytesIO
from typing import Any
from uuid import UUID

import pytest
from fastavro import parse_schema, schemaless_writer
from hypothesis import given
from hypothesis import strategies as st

from sync.adapters.pulsar.keys import KeyReader
from sync.adapters.pulsar.topics import tables_of_topics
from sync.core.capture.cdc_keys import NotAKey, refusal
from sync.core.capture.feed_places import Place, from_position, to_position
from sync.core.cql import parse_type
from sync.core.rows import SourceColumn, SourceTable
from sync.errors import PreflightError

# The agent's schemas by CQL type (CqlLogicalTypes and the table of types in its documentation).
AGENT = {
    "text": "string", "ascii": "string", "blob": "bytes", "boolean": "boolean", "tinyint": "int", "smallint": "int",
    "int": "int", "bigint": "long", "float": "float", "double": "double", "inet": "string",
    "timestamp": {"type": "long", "logicalType": "timestamp-millis"},
    "date": {"type": "int", "logicalType": "date"},
    "time": {"type": "long", "logicalType": "time-micros"},
    "uuid": {"type": "string", "logicalType": "uuid"},
    "timeuuid": {"type": "string", "logicalType": "uuid"},
    "varint": {"type": "bytes", "logicalType": "cql_varint"},
    "decimal": {
        "type": "record", "name": "cql_decimal", "logicalType": "cql_decimal",
        "fields": [{"name": "bigint", "type": "bytes"}, {"name": "scale", "type": "int"}],
    },
}  # fmt: skip


def table(*columns: tuple[str, str, Any], name: str = "t") -> SourceTable:
    return SourceTable("ks1", name, tuple(SourceColumn(n, parse_type(t), kind) for n, t, kind in columns))


def agent_key(of: SourceTable, *values: object) -> str:
    """The key of a message as the agent makes it: an Avro record, in Base64."""
    fields: list[dict] = []
    for at, column in enumerate(of.primary_key):
        kind = AGENT[column.type.name]
        if column.type.name == "decimal" and any(c.type.name == "decimal" for c in of.primary_key[:at]):
            kind = f"{of.name}.cql_decimal"  # a record's schema stands in full where it is named first
        fields.append({"name": column.name, "type": kind if column.kind == "partition_key" else ["null", kind]})
    schema = parse_schema({"type": "record", "name": f"ks1_{of.name}", "namespace": of.name, "fields": fields})
    out = BytesIO()
    schemaless_writer(out, schema, {c.name: v for c, v in zip(of.primary_key, values, strict=True)})
    return base64.b64encode(out.getvalue()).decode()


def read(of: SourceTable, *values: object, **properties: str):
    return KeyReader(of).changes(agent_key(of, *values), properties, 7.0)


def java(number: int) -> bytes:
    """BigInteger.toByteArray()."""
    return number.to_bytes((number + (number < 0)).bit_length() // 8 + 1, "big", signed=True)


U1, U4 = UUID("50554d6e-29bb-11e5-b345-feff819cdc9f"), UUID("50554d6e-29bb-41e5-b345-feff819cdc9f")
CELLS = [
    ("text", "Ünï", "Ünï".encode()),
    ("text", "", b""),
    ("ascii", "abc", b"abc"),
    ("blob", b"\x00\xff", b"\x00\xff"),
    ("boolean", True, b"\x01"),
    ("boolean", False, b"\x00"),
    ("tinyint", 255, b"\xff"),  # the agent shows -1 so
    ("tinyint", -1, b"\xff"),
    ("tinyint", 127, b"\x7f"),
    ("smallint", 65535, b"\xff\xff"),
    ("smallint", -32768, b"\x80\x00"),
    ("int", -5, struct.pack(">i", -5)),
    ("bigint", 1 << 62, struct.pack(">q", 1 << 62)),
    ("float", 0.1, struct.pack(">f", 0.1)),
    ("double", -0.0, struct.pack(">d", -0.0)),
    ("timestamp", -62135596800001, struct.pack(">q", -62135596800001)),  # before the year 1, which Python's datetime has not
    ("date", 0, b"\x80\x00\x00\x00"),
    ("date", -(1 << 31), b"\x00\x00\x00\x00"),
    ("date", (1 << 31) - 1, b"\xff\xff\xff\xff"),
    ("uuid", str(U4), U4.bytes),
    ("timeuuid", str(U1), U1.bytes),
    ("varint", java(-129), b"\xff\x7f"),
    ("varint", java(0), b"\x00"),
    ("decimal", {"bigint": java(-100), "scale": 2}, b"\x00\x00\x00\x02\x9c"),
    ("inet", "2001:db8:0:0:0:0:0:1", ipaddress.ip_address("2001:db8::1").packed),
]


@pytest.mark.parametrize(("kind", "value", "cell"), CELLS, ids=[f"{k} {v!r}"[:40] for k, v, _ in CELLS])
def test_each_type_of_key_is_the_cell_that_cassandra_has(kind, value, cell):
    of = table(("a", kind, "partition_key"), ("b", kind, "clustering"))
    (change,) = read(of, value, value, writetime="1700000000000001")
    assert (change.table, change.partition, change.clustering) == ("t", (cell,), (cell,))
    assert (change.timestamp, change.happened_at) == (1700000000000001, 7.0)


@given(st.decimals(allow_nan=False, allow_infinity=False), st.integers(), st.integers(-(1 << 63), (1 << 63) - 1))
def test_numbers_of_any_size(number: Decimal, varint: int, timestamp: int):
    sign, digits, exponent = number.as_tuple()
    assert isinstance(exponent, int)
    unscaled = int("".join(map(str, digits))) * (-1 if sign else 1)
    of = table(("d", "decimal", "partition_key"), ("v", "varint", "partition_key"), ("at", "timestamp", "clustering"))
    (change,) = read(of, {"bigint": java(unscaled), "scale": -exponent}, java(varint), timestamp)
    assert change.partition == (struct.pack(">i", -exponent) + java(unscaled), java(varint))
    assert change.clustering == (struct.pack(">q", timestamp),)


def test_an_ipv4_address_may_be_an_ipv6_one_that_maps_it():
    of = table(("a", "inet", "partition_key"), ("b", "int", "clustering"))
    changes = read(of, "10.0.0.1", 3)
    assert {c.partition for c in changes} == {(b"\x0a\x00\x00\x01",), (b"\0" * 10 + b"\xff\xff\x0a\x00\x00\x01",)}
    assert {c.clustering for c in changes} == {(struct.pack(">i", 3),)}


def test_a_partition_is_told_where_the_row_is_not():
    of = table(("a", "text", "partition_key"), ("b", "int", "clustering"), ("c", "int", "clustering"))
    for clustering in ((None, None), (1, None)):  # a static column or a delete of the partition; a part of the key
        (change,) = read(of, "x", *clustering)
        assert (change.partition, change.clustering) == ((b"x",), None)


def test_a_time_is_cut_to_microseconds_so_the_partition_is_told():
    of = table(("a", "text", "partition_key"), ("b", "time", "clustering"))
    (change,) = read(of, "x", 123456)
    assert change.clustering is None


@pytest.mark.parametrize("text", ["", "soon", "1e3", "--1"])
def test_a_write_time_that_is_none(text):
    (change,) = read(table(("a", "int", "partition_key")), 1, writetime=text)
    assert change.timestamp is None


@given(st.binary(max_size=60))
def test_any_other_bytes_are_a_key_or_named_as_none(raw: bytes):
    of = table(
        ("a", "text", "partition_key"),
        ("b", "decimal", "clustering"),
        ("c", "uuid", "clustering"),
        ("d", "inet", "clustering"),
    )
    try:
        changes = KeyReader(of).changes(base64.b64encode(raw).decode(), {}, 7.0)
    except NotAKey as error:
        assert str(error).startswith("t: ") or " does not hold a " in str(error)
    else:
        assert all(len(c.partition) == 1 for c in changes)


@pytest.mark.parametrize("key", ['{"a":"38878"}', "", "AA==AA", "é"])
def test_a_key_in_another_format_is_named(key):
    with pytest.raises(NotAKey, match=r"^t: a key is not an Avro record of the primary key$"):
        KeyReader(table(("a", "uuid", "partition_key"))).changes(key, {}, 7.0)


def test_a_key_of_more_columns_is_named():
    wide = table(("a", "int", "partition_key"), ("b", "int", "clustering"))
    with pytest.raises(NotAKey, match="holds more than the primary key"):
        KeyReader(table(("a", "int", "partition_key"))).changes(agent_key(wide, 1, 2), {}, 7.0)


def test_what_is_in_a_key_is_not_in_the_message():
    of = table(("a", "uuid", "partition_key"))
    with pytest.raises(NotAKey) as caught:
        KeyReader(of).changes(agent_key(table(("a", "text", "partition_key")), "secret"), {}, 7.0)
    assert str(caught.value) == "a does not hold a uuid"


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ([("a", "frozen<list<int>>", "partition_key")], r"t: a is a frozen<list<int>> in the key: the feed leaves out"),
        ([("a", "int", "partition_key"), ("b", "duration", "clustering")], "t: b is a duration in the key"),
        ([("a", "time", "partition_key")], "t: a is a time in the partition key: the feed cuts it to microseconds"),
        ([("a", "int", "partition_key"), ("n", "counter", "regular")], "t holds counters"),
        ([("a", "int", "partition_key"), ("b", "time", "clustering"), ("c", "frozen<list<int>>", "regular")], ""),
    ],
)
def test_tables_that_a_feed_cannot_tell_of(columns, why):
    found = refusal(table(*columns))
    assert found.startswith(why) and bool(found) == bool(why)


def test_topics_are_of_tables_by_their_names():
    tables = {name: table(("a", "int", "partition_key"), name=name) for name in ("songs", "more-songs", "old")}
    found = tables_of_topics(
        [
            "persistent://public/default/data-ks1.songs",
            "persistent://tenant/astracdc/data-64b406e3-28ec-4eaf-a802-69ade0415b58-ks1.more-songs",
            "old=persistent://public/default/history",
        ],
        "ks1",
        tables,
    )
    assert [t.name for t in found.values()] == ["songs", "more-songs", "old"]
    assert list(found)[2] == "persistent://public/default/history"


@pytest.mark.parametrize(
    ("given_topics", "text"),
    [
        (["data-ks1.nothing"], "its name does not end with ks1.TABLE; say TABLE=TOPIC, with one of: counts, songs"),
        (["nothing=data-x"], "there is no table 'nothing' in the migration"),
        (["data-ks1.counts"], "counts holds counters"),
        (["data-ks1.songs", "songs=other"], "several topics for songs"),
    ],
)
def test_topics_of_no_table_are_named(given_topics, text):
    tables = {
        "songs": table(("a", "int", "partition_key"), name="songs"),
        "counts": table(("a", "int", "partition_key"), ("n", "counter", "regular"), name="counts"),
    }
    with pytest.raises(PreflightError, match=text):
        tables_of_topics(given_topics, "ks1", tables)


def test_a_position_is_the_last_message_of_each_partition():
    places = {"t-partition-0": Place(5, 7), "t-partition-1": Place(6, 0, 3)}
    assert from_position(to_position(places)) == places
    assert from_position(None) == {}
    for text in ("", "[]", '{"t": 1}', '{"t": [1, 2]}', '{"t": ["a", 2, 3]}', "5"):
        with pytest.raises(ValueError, match="not a position of a Pulsar feed"):
            from_position(text)


def test_which_message_follows_which():
    assert Place(5, 7).is_followed_by(Place(5, 8)) is True
    assert Place(5, 7, 2).is_followed_by(Place(5, 7, 3)) is True
    assert Place(5, 7).is_followed_by(Place(5, 9)) is False
    assert Place(5, 7).is_followed_by(Place(6, 0)) is None  # whether 7 was the ledger's last entry, the server knows
    assert Place(5, 7).is_followed_by(Place(6, 1)) is False
