"""Every CQL type into every Postgres type it may go to, through both real servers, against the driver's own decoding."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support import oracle
from support.edges import edges, huge
from support.lab import UNDECODABLE, VERSION, Lab, Outcome, Source, check_reasons, open_lab
from support.values import sample, strategy

from sync.adapters.cassandra.connect import Cassandra
from sync.core.cql import CqlType
from sync.core.encode.rows import RowEncoder
from sync.core.rows import PgType
from sync.settings import Settings

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


@pytest.fixture(scope="module")
def lab(cassandra: Cassandra, base_settings: Settings) -> Iterator[Lab]:
    """A keyspace and a database of this module's own, with the user types."""
    with open_lab(cassandra, base_settings) as opened:
        for statement in TYPES:
            cassandra.session.execute(statement.format(opened.keyspace))
        yield opened


def _values(cql: CqlType) -> list[Any]:
    several = 8 if (cql.dimension or 0) > 50 else 60
    return [*([] if cql.name == "counter" else [None]), *edges(cql), *sample(strategy(cql), several)]


@pytest.mark.parametrize(("cql", "pg"), [(cql, pg) for cql, targets in MATRIX.items() for pg in targets])
def test_a_value_arrives_unchanged_or_is_rejected_for_a_true_reason(lab: Lab, cql: str, pg: str) -> None:
    """Would break: a value altered on its way, refused in the middle of a COPY, or rejected though Postgres could hold it."""
    _check(lab, lab.source(cql, _values), pg)


@pytest.mark.parametrize(("cql", "pg"), [("varint", "numeric"), ("decimal", "numeric"), ("frozen<list<varint>>", "jsonb")])
def test_the_largest_numbers_arrive(lab: Lab, cql: str, pg: str) -> None:
    """Would break: a number of as many digits as numeric holds (131,072 before the point) refused, or one more accepted."""
    _check(lab, lab.source(cql, huge), pg)


def _check(lab: Lab, source: Source, pg: str) -> None:
    target = lab.target(pg)
    encoder = RowEncoder(lab.table_map(source.table, target), VERSION)
    outcomes = list(lab.outcomes(encoder, source.table))
    assert sorted(o.key for o in outcomes) == sorted(source.raw)
    into = encoder.pairs[-1].target.type
    accepted = [o for o in outcomes if o.checked.encoded is not None]
    for outcome in outcomes:
        if outcome.checked.encoded is None:
            check_reasons(outcome, lab, target, source.type, into, source.values[outcome.key])
        _check_fast_path(outcome, lab, target, encoder, source)
    lab.copy(target, encoder, [o.checked.encoded or b"" for o in accepted])
    _check_what_postgres_holds(lab, target, source, into, accepted)


def _check_fast_path(outcome: Outcome, lab: Lab, target: str, encoder: RowEncoder, source: Source) -> None:
    """The fast path gives the slow path's bytes, or raises, or gives bytes that Postgres refuses; never other bytes."""
    if outcome.fast is None:
        unusual = source.raw[outcome.key] == b"" or source.type.name == "boolean"
        assert unusual or outcome.checked.issues, "the fast path raises for an ordinary value"
    elif outcome.fast != outcome.checked.encoded:
        assert lab.refuses(target, encoder, outcome.fast), f"the fast path alters {source.values[outcome.key]!r:.300}"


def _check_what_postgres_holds(lab: Lab, target: str, source: Source, pg: PgType, accepted: list[Outcome]) -> None:
    shown = lab.shown(target, pg)
    assert shown.keys() == {o.key for o in accepted}
    for outcome in accepted:
        value, (found, sent) = source.values[outcome.key], shown[outcome.key]
        assert value is not UNDECODABLE, f"accepted what the driver cannot decode: {source.raw[outcome.key]!r:.300}"
        assert not outcome.checked.issues
        assert sent == outcome.cell, f"canonical bytes differ for {value!r:.300}"
        with oracle.any_digits():
            seen = oracle.seen(source.type, pg, found)
            wanted = oracle.held(pg, value)
            same = oracle.comparable(source.type, pg, seen) == oracle.comparable(source.type, pg, wanted)
            assert same, f"{value!r:.300} became {seen!r:.300}"
