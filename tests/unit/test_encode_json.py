"""Collections, tuples and user types as jsonb: its exact text, and the detection of what it cannot hold."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cells import Raw, with_length
from support.encoding import PROFILE, STRUCTURED, UDTS, encode_json
from support.oracle import any_digits, comparable, from_json, iso_date
from support.pg_types import pg_type
from support.values import strategy

from sync.core.cql import CqlType, parse_type
from sync.core.encode import Reject
from sync.core.encode.base import fields
from sync.core.encode.times import format_clock, format_date, format_timestamp


@pytest.mark.parametrize("digits", [4000, 4300, 4301, 5000, 9001])
@pytest.mark.parametrize("sign", [1, -1])
def test_long_numbers_in_json(digits: int, sign: int) -> None:
    """Would break: beyond Python's limit of 4,300 digits a negative varint is rejected as "not a varint"."""
    number = sign * (10**digits - 1)
    with any_digits():
        wanted = f"[{number}]"
    assert encode_json("list<varint>", [number]) == wanted
    assert encode_json("list<decimal>", [(number, 0)]) == wanted


def test_a_json_number_beyond_numeric_is_a_reject() -> None:
    """Would break: Postgres refuses the COPY, and the checking path finds nothing wrong."""
    for value in (10**131_072, -(10**131_072)):
        with pytest.raises(Reject, match="beyond numeric"):
            encode_json("list<varint>", [value])
    assert len(encode_json("list<varint>", [-(10**131_071)])) == 131_075


@pytest.mark.parametrize("name", ["text", "ascii", "blob"])
def test_an_empty_text_or_blob_within_a_collection_is_itself(name: str) -> None:
    """Would break: empty texts in lists and as keys turn into nulls."""
    empty = '"0x"' if name == "blob" else '""'
    assert encode_json(f"list<{name}>", [Raw(b"")]) == f"[{empty}]"
    assert encode_json(f"map<{name}, {name}>", [(Raw(b""), Raw(b""))]) == f"{{{empty}: {empty}}}"


@pytest.mark.parametrize("name", ["int", "varint", "uuid", "double", "boolean", "inet"])
def test_a_null_key_is_a_reject(name: str) -> None:
    """Would break: a key of length zero, which the driver reads as null, becomes the key "0"."""
    with pytest.raises(Reject, match="null key"):
        encode_json(f"map<{name}, text>", [(Raw(b""), "x")])


def test_a_text_that_is_not_utf8_is_found_in_maps_too() -> None:
    """Would break: Cassandra stores C0 80 in a nested map, Postgres refuses it, and the checking path finds nothing."""
    for value in ([("k", Raw(b"\xc0\x80"))], [(Raw(b"\xc3"), Raw(b"\xa4"))], [(Raw(b"\xc0\x80"), "v")]):
        with pytest.raises(Reject, match="not UTF-8"):
            encode_json("map<text, text>", value)
    assert encode_json("map<text, text>", [("ü", "ö")]) == '{"ü": "ö"}'


def test_a_key_that_stands_twice_is_a_reject() -> None:
    """Would break: a map within a tuple may hold a key twice; Postgres keeps one of the values and says nothing."""
    for cql, values in (("map<text, text>", "xy"), ("map<ascii, text>", "xx"), ("map<text, int>", (1, 2))):
        with pytest.raises(Reject, match="two keys"):
            encode_json(cql, [("a", values[0]), ("b", values[0]), ("a", values[1])])


def test_both_zeros_are_keys() -> None:
    """Would break: the keys 0.0 and −0.0, which Cassandra distinguishes and the texts of JSON's keys can, become one."""
    assert json.loads(encode_json("map<double, int>", [(0.0, 1), (-0.0, 2)])) == {"0.0": 1, "-0.0": 2}
    assert json.loads(encode_json("map<float, int>", [(-0.0, 2)])) == {"-0.0": 2}


def test_a_field_that_is_not_known_is_a_reject() -> None:
    """Would break: a field that was added to the type during the migration is dropped in silence."""
    place = with_length(b"street") + with_length(b"\0\0\0\7")
    assert encode_json("place", Raw(place)) == '{"number": 7, "street": "street"}'
    assert encode_json("place", Raw(place[:10])) == '{"number": null, "street": "street"}'
    assert encode_json("place", Raw(place + b"\xff" * 4)) == '{"number": 7, "street": "street"}'
    with pytest.raises(Reject, match="more than the 2 fields"):
        encode_json("place", Raw(place + with_length(b"new")))
    assert fields(b"", 2) == [None, None]


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (bytes(10) + b"\xff\xff\1\2\3\4", "::ffff:1.2.3.4"), (bytes(15) + b"\1", "::1"), (b"\1\2\3\4", "1.2.3.4"),
        (bytes(12) + b"\1\2\3\4", "::102:304"), (b" \1\r\xb8" + bytes(12), "2001:db8::"), (bytes(16), "::"),
    ],
)  # fmt: skip
def test_an_address_has_one_text_on_every_python(address: bytes, text: str) -> None:
    """Would break: Python 3.13 writes mapped addresses differently from 3.11, and two workers disagree about a row's hash."""
    assert encode_json("list<inet>", [address]) == f'["{text}"]'


def test_json_escapes_what_postgres_escapes() -> None:
    """Would break: a control character or a quote is written differently from `jsonb_send`."""
    text = "".join(map(chr, range(1, 32))) + '"\\/\x7f\u2028\U0001f600'
    wanted = "".join(
        {8: "\\b", 9: "\\t", 10: "\\n", 12: "\\f", 13: "\\r", 34: '\\"', 92: "\\\\"}.get(
            ord(c), c if ord(c) > 31 else f"\\u{ord(c):04x}"
        )
        for c in text
    )
    assert encode_json("list<text>", [text]) == f'["{wanted}"]'
    assert encode_json("map<text, text>", [(text, text)]) == f'{{"{wanted}": "{wanted}"}}'


@pytest.mark.parametrize(
    ("keys", "wanted"),
    [
        (["b", "a", ""], ["", "a", "b"]), (["zz", "aaa", "b"], ["b", "zz", "aaa"]), (["zz", "é", "aaa", "b"], ["b", "zz",
        "é", "aaa"]),
        (["😀", "aaaaa", "中"], ["中", "😀", "aaaaa"]), (["\n\n", "b", '"'], ['"', "b", "\n\n"]), (["%s", "%", "100%%"], ["%",
        "%s", "100%%"]),
        (["\t", " ", "\\u0041", "A"], ["\t", " ", "A", "\\u0041"]), (["only"], ["only"]), (["x" * 300, "y" * 299],
        ["y" * 299, "x" * 300]),
    ],
)  # fmt: skip
def test_keys_go_by_length_then_bytes(keys: list[str], wanted: list[str]) -> None:
    """Would break: keys are not in jsonb's order (length, then bytes, of the unescaped key), or one has another's value."""
    for cql in ("map<text, text>", "map<text, int>", "frozen<map<text, frozen<list<text>>>>"):
        values = {"map<text, text>": str, "map<text, int>": int}.get(cql, lambda n: [str(n)])
        text = encode_json(cql, [(k, values(n)) for n, k in enumerate(keys)])
        assert list(json.loads(text).items()) == [(k, values(keys.index(k))) for k in wanted]


@pytest.mark.parametrize("length", [126, 127, 128, 255, 256, 257, 65_535, 65_536, 65_541, 70_000])
@pytest.mark.parametrize("content", ["x", "é", "\n", "\0"])
def test_texts_of_every_length_in_maps(length: int, content: str) -> None:
    """Would break: a length read by its last byte alone, where the text is longer than that byte can say."""
    long = (content * length)[:length]
    for pairs in ([("k", long), ("l", "b")], [(long, "v"), ("l", "b")], [("a", "b"), ("k", long)]):
        if content == "\0":
            with pytest.raises(Reject, match="NUL"):
                encode_json("map<text, text>", pairs)
        else:
            assert json.loads(encode_json("map<text, text>", pairs)) == dict(pairs)


@settings(PROFILE, max_examples=60)
@pytest.mark.parametrize("name", STRUCTURED)
@given(data=st.data())
def test_json_says_the_value_and_sorts_its_keys(data: st.DataObject, name: str) -> None:
    """Would break: a value that JSON gets wrong, or keys in an order that is not jsonb's, so that hashes never agree."""
    cql = parse_type(name, UDTS)
    value = data.draw(strategy(cql))
    try:
        text = encode_json(name, value)
    except Reject:
        return
    read = from_json(cql, json.loads(text, parse_int=Decimal, parse_float=Decimal, object_pairs_hook=_sorted_pairs))
    assert _normal(cql, read) == _normal(cql, value)


def _sorted_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [k.encode() for k, _ in pairs]
    assert keys == sorted(set(keys), key=lambda k: (len(k), k))
    return dict(pairs)


def _normal(cql: CqlType, value: Any) -> Any:
    """The plain forms that `cells` and `oracle` do not share."""
    if value is None:
        return None
    if cql.name == "decimal":
        return comparable(cql, pg_type("jsonb"), Decimal(f"{value[0]}E{-value[1]}") if isinstance(value, tuple) else value)
    if cql.name == "inet":
        return value if isinstance(value, bytes) else value.packed
    if cql.name in ("list", "set", "vector"):
        return [_normal(cql.args[0], v) for v in value]
    if cql.name == "map":
        return sorted(repr([_normal(a, v) for a, v in zip(cql.args, pair, strict=True)]) for pair in value)
    if cql.name in ("tuple", "udt"):
        return [_normal(a, v) for a, v in zip(cql.args, value, strict=True)]
    return comparable(cql, pg_type("jsonb"), value) if cql.name == "varint" or not isinstance(value, float) else value + 0.0


@PROFILE
@given(st.one_of(st.integers(-(2**31), 2**31 - 1), st.integers(-800_000, 800_000)))
def test_dates_of_any_year(days: int) -> None:
    """Would break: negative leap years, the year 0, or years of five digits are wrong."""
    assert format_date(days) == iso_date(days)


@PROFILE
@given(st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(-(10**14), 10**14)))
def test_timestamps_of_any_year(milliseconds: int) -> None:
    """Would break: the fraction of a moment before 1970 is wrong, or a day is lost in the division."""
    date, clock = format_timestamp(milliseconds).removesuffix("Z").split(" ")
    day = milliseconds // 86_400_000
    assert date == iso_date(day)
    moment = np.datetime64(0, "D") + np.timedelta64(milliseconds - day * 86_400_000, "ms")
    assert clock == str(moment)[11:]


@PROFILE
@given(st.integers(0, 86_399_999_999_999))
def test_times_to_the_nanosecond(nanoseconds: int) -> None:
    """Would break: leading zeros of the fraction are lost."""
    assert format_clock(nanoseconds, 9) == str(np.datetime64(nanoseconds, "ns"))[11:]
