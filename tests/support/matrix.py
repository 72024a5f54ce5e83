"""Every CQL type and the Postgres types that it can be copied into, as SQL."""

from __future__ import annotations

import pytest

_TIMESTAMPS = ["timestamptz", "timestamp", *(f"timestamptz({p})" for p in range(7)), "timestamp(0)", "timestamp(3)"]
_EVERY_SCALAR = ["ascii", "text", "tinyint", "smallint", "int", "bigint", "varint", "decimal", "float", "double", "boolean"]
_EVERY_SCALAR += ["uuid", "timeuuid", "timestamp", "date", "time", "duration", "inet", "blob"]
_KEY_TYPES = [t for t in _EVERY_SCALAR if t != "duration"]
TYPES = (
    "CREATE TYPE {}.place (street text, number int)",
    'CREATE TYPE {}."My Type" ("Full ""Name" text, home frozen<place>, tags frozen<set<text>>, "ü" varint, '
    "marks frozen<map<text, text>>)",
)

MATRIX: dict[str, list[str]] = {
    "text": ["text", "varchar", "varchar(5)"],
    "ascii": ["text", "varchar(5)"],
    "tinyint": ["int2", "int4", "int8", "numeric", "numeric(2,0)"],
    "smallint": ["int2", "int4", "int8", "numeric"],
    "int": ["int4", "int8", "numeric", "numeric(12,3)"],
    "bigint": ["int8", "numeric"],
    "counter": ["int8", "numeric"],
    "varint": ["numeric", "numeric(20,0)", "numeric(1000,2)", "numeric(3,-2)"],
    "decimal": ["numeric", "numeric(12,3)", "numeric(3,-2)", "numeric(2,5)", "numeric(1000,20)"],
    "float": ["float4", "float8"],
    "double": ["float8"],
    "boolean": ["bool"],
    "uuid": ["uuid"],
    "timeuuid": ["uuid"],
    "timestamp": _TIMESTAMPS,
    "date": ["date"],
    "time": ["time", "time(0)", "time(3)", "time(6)"],
    "duration": ["interval"],
    "inet": ["inet"],
    "blob": ["bytea"],
    "list<text>": ["text[]", "varchar(5)[]", "jsonb"],
    "frozen<list<int>>": ["int4[]", "int8[]", "numeric[]", "jsonb"],
    "list<frozen<map<text, int>>>": ["jsonb", "jsonb[]"],
    "list<timestamp>": ["timestamptz[]", "timestamptz(0)[]", "jsonb"],
    "frozen<list<decimal>>": ["numeric[]", "numeric(12,3)[]", "jsonb"],
    "list<duration>": ["interval[]", "jsonb"],
    "list<time>": ["time[]", "time(3)[]", "jsonb"],
    "set<text>": ["text[]", "jsonb"],
    "frozen<set<double>>": ["float8[]", "jsonb"],
    "set<float>": ["float4[]", "float8[]", "jsonb"],
    "set<varint>": ["numeric[]", "jsonb"],
    "set<blob>": ["bytea[]", "jsonb"],
    "set<inet>": ["inet[]", "jsonb"],
    "set<date>": ["date[]", "jsonb"],
    "set<uuid>": ["uuid[]", "jsonb"],
    "set<boolean>": ["bool[]", "jsonb"],
    "set<frozen<list<int>>>": ["jsonb"],
    "map<text, text>": ["jsonb"],
    "frozen<map<text, text>>": ["jsonb"],
    "map<ascii, double>": ["jsonb"],
    "map<double, decimal>": ["jsonb"],
    "map<text, frozen<list<frozen<map<text, text>>>>>": ["jsonb"],
    "frozen<map<frozen<tuple<int, text>>, frozen<set<int>>>>": ["jsonb"],
    **{f"frozen<map<{t}, {v}>>": ["jsonb"] for t, v in zip(_KEY_TYPES, _EVERY_SCALAR[1:], strict=True)},
    f"tuple<{', '.join(_EVERY_SCALAR)}>": ["jsonb"],
    "tuple<int, frozen<map<text, text>>, frozen<list<int>>, frozen<vector<float, 2>>>": ["jsonb"],
    "list<frozen<tuple<int, varint>>>": ["jsonb", "jsonb[]"],
    "place": ["jsonb"],
    'frozen<"My Type">': ["jsonb"],
    'list<frozen<"My Type">>': ["jsonb"],
    "vector<float, 3>": ["vector(3)", "vector", "halfvec(3)", "halfvec", "float4[]", "float8[]", "jsonb"],
    "list<frozen<vector<float, 2>>>": ["jsonb", "vector(2)[]", "halfvec[]"],
    "vector<float, 4096>": ["vector(4096)", "halfvec(4096)"],
    "vector<float, 16000>": ["vector(16000)"],
}

TYPE_PAIRS = [
    pytest.param(cql, pg, marks=() if pg == targets[0] else pytest.mark.slow)
    for cql, targets in MATRIX.items()
    for pg in targets
]
"""All of it, for tests that make a table on both sides for each: every type into one other, and the slow ones into every other."""
