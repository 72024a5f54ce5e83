"""jsonb back into collections, tuples and user types: JSON that somebody else wrote is refused, or read for what it means."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.cells import Raw, cell
from support.encoding import PROFILE, STRUCTURED, UDTS
from support.pg_types import pg_type
from support.stored_forms import held
from support.values import strategy

from sync.core.cql import CqlType, parse_type
from sync.core.decode import decoder_for
from sync.core.encode import Reject, encoder_for
from sync.core.encode.rows import encode_cell

JSONB = pg_type("jsonb")


def decode(cql: str, text: str) -> bytes | None:
    """The cell of the JSON."""
    return decoder_for(parse_type(cql, UDTS), JSONB)(b"\x01" + text.encode())


def _cell(cql: str, value: Any) -> bytes | None:
    return cell(parse_type(cql, UDTS), value)


@pytest.mark.parametrize(
    ("cql", "text", "value"),
    [
        ("list<double>", "[1]", [1.0]), ("list<float>", "[1.50]", [1.5]), ("list<int>", "[1.0, 2]", [1, 2]),
        ("list<decimal>", "[1.50, 100]", [(150, 2), (100, 0)]), ("list<varint>", "[-5.00]", [-5]),
        ("set<int>", "[3, 1, 2]", [1, 2, 3]), ("set<text>", '["b", "a", "ab"]', ["a", "ab", "b"]),
        ("map<int, text>", '{"2": "b", "10": "j", "-1": "m"}', [(-1, "m"), (2, "b"), (10, "j")]),
        ("map<int, text>", '{"1.0": "a"}', [(1, "a")]), ("map<double, int>", '{"0": 1, "-0.0": 2}', [(-0.0, 2), (0.0, 1)]),
        ("frozen<list<int>>", "[null, 1]", [None, 1]), ("set<int>", "[null, 1]", [Raw(b""), 1]),
        ("frozen<map<int, int>>", '{"1": null}', [(1, Raw(b""))]),
    ],
)  # fmt: skip
def test_json_is_read_for_what_it_says(cql: str, text: str, value: Any) -> None:
    """Would break: 1 for 1.0, as most programs write it, is refused; or elements come in an order that is not Cassandra's."""
    assert decode(cql, text) == _cell(cql, value)


@pytest.mark.parametrize(
    ("cql", "text", "reason"),
    [
        ("list<int>", "{}", "form of a list"), ("list<int>", "null", "form of a list"), ("map<int, int>", "[]", "form of a map"),
        ("place", "[]", "form of a udt"), ("tuple<int, int>", "{}", "form of a tuple"), ("list<int>", '["1"]', "form of a int"),
        ("list<text>", "[1]", "form of a text"), ("list<boolean>", "[1]", "form of a boolean"), ("list<int>", "[true]", "of a int"),
        ("vector<float, 2>", "[1.0]", "2 numbers"), ("vector<float, 2>", "[1.0, 2.0, 3.0]", "2 numbers"),
        ("vector<float, 2>", "[1.0, null]", "form of a float"), ("tuple<int, int>", "[1]", "2 fields"),
        ("tuple<int, int>", "[1, 2, 3]", "2 fields"), ("place", '{"street": "a"}', "does not have the fields"),
        ("place", '{"street": "a", "number": 1, "more": 2}', "does not have the fields"),
        ("list<int>", "[1.5]", "decimals"), ("list<int>", "[2147483648]", "range of int"), ("list<tinyint>", "[-129]", "tinyint"),
        ("list<float>", "[1.1]", "finer"), ("list<float>", f"[1{'0' * 39}]", "range"), ("list<double>", f"[1{'0' * 400}]", "range"),
        ("list<double>", "[0.10000000000000000001]", "finer"), ("list<ascii>", '["é"]', "ASCII"),
        ("list<uuid>", '["550E8400-E29B-41D4-A716-446655440000"]', "not written as a uuid"),
        ("list<uuid>", '["{550e8400-e29b-41d4-a716-446655440000}"]', "not written"), ("list<uuid>", '["é"]', "not written"),
        ("list<timeuuid>", '["550e8400-e29b-41d4-a716-446655440000"]', "version 1"),
        ("list<timestamp>", '["2011-02-03T04:05:06Z"]', "not written as a timestamp"),
        ("list<timestamp>", '["2011-02-30 04:05:06.000Z"]', "not written"),
        ("list<timestamp>", '["2011-02-03 04:05:06.0001Z"]', "not written"),
        ("list<timestamp>", '["+999999999-02-03 04:05:06.000Z"]', "not written"),
        ("list<date>", '["2011-13-01"]', "not written as a date"), ("list<date>", '["+9999999-01-01"]', "not written"),
        ("list<date>", '["２０11-02-03"]', "not written"), ("list<time>", '["24:00:00.000000000"]', "24:00"),
        ("list<time>", '["04:05:06"]', "not written as a time"), ("list<duration>", '["1h"]', "not written as a duration"),
        ("list<duration>", '["-0mo0d0ns"]', "not written"), ("list<duration>", '["2147483648mo0d0ns"]', "range of duration"),
        ("list<blob>", '["cafe"]', "not written as a blob"), ("list<blob>", '["0xCAFE"]', "not written"),
        ("list<inet>", '["10.0.0.0/8"]', "not written as a inet"), ("list<inet>", '["::FFFF"]', "not written"),
        ("list<int>", "[null]", "a null within"), ("frozen<set<text>>", "[null]", "a null within"),
        ("map<int, text>", '{"1": null}', "a null within"), ("map<int, tinyint>", '{"1": null}', "a null within"),
        ("set<int>", "[1, 1.0]", "duplicate"), ("set<frozen<list<double>>>", "[[0.0], [0.0]]", "duplicate"),
        ("set<double>", "[1.0, 1]", "duplicate"), ("map<int, int>", '{"1": 1, "1.0": 2}', "one key"),
        ("map<int, int>", '{"one": 1}', "key in JSON that is not written as a int"), ("map<int, int>", '{"": 1}', "not written"),
        ("map<int, int>", '{"null": 1}', "form of a int"), ("map<double, int>", '{"NaN": 1}', "NaN"),
        ("map<decimal, int>", '{"1e999999999": 1}', "exponent"), ("map<double, int>", '{"1e5": 1}', "exponent"),
        ("map<frozen<tuple<text>>, int>", '{"[\\"a\\\\u0000\\"]": 1}', "NUL"),
        ("map<frozen<tuple<text>>, int>", '{"[\\"\\\\ud800\\"]": 1}', "no jsonb"),
        ("map<frozen<map<int, int>>, int>", '{"{\\"1\\": 1, \\"1\\": 2}": 1}', "duplicate key"),
        ("map<frozen<list<int>>, int>", '{"' + "[" * 100_000 + '": 1}', "no jsonb"),
    ],
)  # fmt: skip
def test_json_of_another_form_is_refused(cql: str, text: str, reason: str) -> None:
    """Would break: JSON that is no value of the source's type stops the reconciler, or arrives as another value."""
    with pytest.raises(Reject, match=reason) as caught:
        decode(cql, text)
    assert "é" not in str(caught.value) and "\n" not in str(caught.value)


@st.composite
def _altered(draw: st.DrawFn) -> tuple[CqlType, bytes]:
    """The jsonb of a value with one part of it replaced, as an application might write it."""
    cql = parse_type(draw(st.sampled_from(STRUCTURED)), UDTS)
    data = cell(cql, held(cql, draw(strategy(cql))))
    try:
        text = encode_cell(encoder_for(cql, JSONB), data or b"")[1:]
    except Reject:
        text = b"[]"
    other = draw(st.sampled_from([0, 1, -1, 1.5, "", "1", "x", True, None, [], {}, [1], {"a": 1}]))
    altered = _replace(json.loads(text), draw(st.lists(st.integers(0, 4), max_size=4)), other)
    return cql, b"\x01" + json.dumps(altered, ensure_ascii=False).encode()


def _replace(value: Any, path: list[int], other: Any) -> Any:
    if not path or not isinstance(value, list | dict) or not value:
        return other
    where = list(value)[path[0] % len(value)] if isinstance(value, dict) else path[0] % len(value)
    value[where] = _replace(value[where], path[1:], other)
    return value


@PROFILE
@given(_altered())
def test_what_is_read_is_what_would_be_written(altered: tuple[CqlType, bytes]) -> None:
    """Would break: some JSON is read as a value that is written to Postgres as a different one, and never settles."""
    cql, sent = altered
    decoder = decoder_for(cql, JSONB)
    try:
        found = decoder(sent)
    except Reject:
        return
    if found is None:
        return
    again = encode_cell(encoder_for(cql, JSONB), found)
    assert decoder(again) == found
    assert _plain(again) == _plain(sent)


def _plain(sent: bytes) -> Any:
    """What the JSON says: numbers by value, sets in any order."""

    def sorted_lists(value: Any) -> Any:
        if isinstance(value, list):
            return sorted((sorted_lists(v) for v in value), key=repr)
        return {k: sorted_lists(v) for k, v in value.items()} if isinstance(value, dict) else value

    return sorted_lists(json.loads(sent[1:], parse_int=float, parse_float=float))
