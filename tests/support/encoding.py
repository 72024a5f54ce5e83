"""Plain values through one encoder, for the tests of single cells."""

from __future__ import annotations

from typing import Any

from hypothesis import settings

from support.cells import cell
from support.pg_types import pg_type
from sync.core.cql import parse_type
from sync.core.encode import encoder_for
from sync.core.encode.rows import encode_cell

PROFILE = settings(max_examples=200, derandomize=True, database=None, deadline=None)
UDTS = {"place": (("street", "text"), ("number", "int")), "My Type": (("ü", "frozen<place>"), ("marks", "map<text, text>"))}
SCALARS = [
    "ascii", "text", "tinyint", "smallint", "int", "bigint", "varint", "decimal", "float", "double", "boolean", "uuid",
    "timeuuid", "timestamp", "date", "time", "duration", "inet", "blob", "counter",
]  # fmt: skip
STRUCTURED = [
    "list<text>", "frozen<set<double>>", "map<text, text>", "map<int, frozen<list<varint>>>", "tuple<int, text, timestamp>",
    "place", 'frozen<"My Type">', "map<frozen<tuple<int, inet>>, decimal>", "vector<float, 3>",
    "list<frozen<map<float, duration>>>",
]  # fmt: skip


def encode(cql: str, pg: str, value: Any) -> bytes:
    """The encoded cell of a plain value."""
    found = parse_type(cql, UDTS)
    data = cell(found, value)
    assert data is not None
    return encode_cell(encoder_for(found, pg_type(pg)), data)


def encode_json(cql: str, value: Any) -> str:
    """The text of the jsonb of a plain value."""
    encoded = encode(cql, "jsonb", value)
    assert encoded[:1] == b"\x01"
    return encoded[1:].decode()
