"""Hand-picked values for every CQL type, in the plain form of `cells`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from support.cells import Raw
from support.values import DAY_NS, PG_DATES, PG_TIMESTAMPS, YEAR_1, YEAR_10000, sample, strategy
from sync.core.cql import CqlType

NAN, INF = float("nan"), float("inf")
_EMPTY = Raw(b"")  # most types take a cell of length zero, which reads as null
_NINES = 10**131_072 - 1

_TEXTS = [
    "", " ", "abcde", "abcdef", "abcde   ", "x" * 100_000,
    "é" * 5, "e\u0301" * 3, "\U0001f600" * 5, "\U0001f600" * 6, "\U0001f600" * 25_000, "\u2028\ufeff\uffff\U0010ffff",
    "\x00", "a\x00b", "\x7f", "".join(map(chr, range(1, 32))), "\"\\/\b\f\n\r\t\\u0041 \\\"",
]  # fmt: skip
_VARINTS = [
    0, 1, -1, 9_999, 10_000, -10_000, 99_999_999, 10**16, 10**4000, -(10**4000), 10**4299, 10**4300, -(10**4300),
    10**5000 - 1, -(10**5000) + 1, Raw(b"\0\0\0\5"), Raw(b"\xff\xff\x80"), _EMPTY,
]  # fmt: skip
_DECIMALS = [  # unscaled, scale
    (0, 0), (0, 3), (0, -5), (0, 16_383), (0, 16_384), (0, -200_000), (0, 2**31 - 1), (0, 1 - 2**31),
    (1, 16_383), (-1, 16_383), (1, 16_384), (1, 2**31 - 1), (1, 1 - 2**31), (1, 4), (1, 5), (3, 5), (5, 1), (15, 1),
    (1500, 3), (-1500, 3), (12_345, 7), (99_900, 0), (99_999, -2), (12_345_678, 4), (123_456_789, -3), (100_000_000, 8),
    (10**20, 20), (10**4500, 4499), (10**5000 - 1, 2500), (-(10**5000) + 1, 0), Raw(b"\0\0\0\1"), _EMPTY,
]  # fmt: skip
_MILLISECONDS = [
    0, 1, -1, 999, 1000, -999, -(2**63), 2**63 - 1, YEAR_1, YEAR_1 - 1, YEAR_10000 - 1, YEAR_10000,
    PG_TIMESTAMPS[0], PG_TIMESTAMPS[0] - 1, PG_TIMESTAMPS[1] - 1, PG_TIMESTAMPS[1],
    -62_167_219_200_000, -62_167_219_200_001,  # the year 0 begins
    _EMPTY,
]  # fmt: skip
_DAYS = [
    0, -1, -(2**31), 2**31 - 1, PG_DATES[0], PG_DATES[0] - 1, PG_DATES[1] - 1, PG_DATES[1],
    -719_162, -719_163, 2_932_896, 2_932_897,  # the years 1 and 9999, from outside and inside
]  # fmt: skip
_NANOSECONDS = [
    0, 1, 999, 1000, 1_000_000, 500_000_000, 10**9, DAY_NS - 1, DAY_NS - 1000,
    Raw(b"\xff" * 8), Raw(DAY_NS.to_bytes(8, "big")),  # −1 and 24:00, which Cassandra stores
]  # fmt: skip
_DURATIONS = [  # months, days, ns
    (0, 0, 0), (1, 2, 3_000), (-1, -2, -3_000), (0, 0, 1), (0, 0, -999), (0, 0, 2**63 - 1), (0, 0, 2**63 - 808),
    (2**31 - 1, 2**31 - 1, 0), (-(2**31), -(2**31), -(2**63) + 808), (-(2**31), 0, -(2**63)),
]  # fmt: skip
_ADDRESSES = [
    bytes(4), b"\xff" * 4, b"\x7f\0\0\1", bytes(16), bytes(15) + b"\1", b"\xff" * 16, bytes(12) + b"\1\2\3\4",
    bytes(10) + b"\xff\xff\1\2\3\4", b" \1\r\xb8" + bytes(11) + b"\1", b"\xfe\x80" + bytes(7) + b"\1" + bytes(6), _EMPTY,
]  # fmt: skip
_FLOATS = [0.0, -0.0, 1.5, 1e-45, 3.4028234663852886e38, NAN, INF, -INF, Raw(b"\xff\x80\0\1"), Raw(b"\x7f\xc0\0\7"), _EMPTY]
_DOUBLES = [
    0.0, -0.0, 0.1, 1e300, 1e-300, 5e-324, 1.7976931348623157e308, 1e16, 1e22, 123456789012345680.0, NAN, INF, -INF,
    Raw(b"\x7f\xf0\0\0\0\0\0\1"), Raw(b"\xff\xf8\0\0\0\0\1\7"), _EMPTY,
]  # fmt: skip
_COMPONENTS = [
    0.0, -0.0, 1.0, 1 / 3, NAN, INF, -INF, 3.4028234663852886e38, 1e-45, 65_504.0, 65_519.0, 65_520.0, 6e-8, 2.9e-8,
]  # fmt: skip


def _integers(bits: int) -> list[Any]:
    return [0, -1, 2 ** (bits - 1) - 1, -(2 ** (bits - 1))]


_EDGES: dict[str, list[Any]] = {
    "text": [*_TEXTS, Raw(b"\xc0\x80")],
    "ascii": [t for t in _TEXTS if t.isascii()],
    "tinyint": [*_integers(8), _EMPTY],
    "smallint": [*_integers(16), _EMPTY],
    "int": [*_integers(32), _EMPTY],
    "bigint": [*_integers(64), _EMPTY],
    "counter": _integers(64),
    "varint": _VARINTS,
    "decimal": _DECIMALS,
    "float": _FLOATS,
    "double": _DOUBLES,
    "boolean": [True, False, Raw(b"\x02"), Raw(b"\xff"), _EMPTY],
    "uuid": [UUID(int=0), UUID(int=2**128 - 1), _EMPTY],
    "timeuuid": [UUID("58e0a7d7-eebc-11d8-9669-0800200c9a66"), _EMPTY],
    "timestamp": _MILLISECONDS,
    "date": _DAYS,
    "time": _NANOSECONDS,
    "duration": _DURATIONS,
    "inet": _ADDRESSES,
    "blob": [b"", b"\0", bytes(range(256)), b"\xff" * 100_000],
}
_HUGE: dict[str, list[Any]] = {
    "varint": [-_NINES, 10**131_072],
    "decimal": [(1, -131_071), (1, -131_072), (_NINES, 0), (10 ** (131_072 + 16_383) - 1, 16_383)],
}


def huge(cql: CqlType) -> list[Any]:
    """Numbers at the limits of numeric; separate, because they are slow."""
    return [[n] for n in _HUGE[cql.args[0].name]] if cql.args else _HUGE[cql.name]


def edges(cql: CqlType) -> list[Any]:
    """The hand-picked values of a type. Cassandra refuses some of them within some types."""
    if cql.name in _EDGES:
        return _EDGES[cql.name]
    if cql.name == "vector":
        return [[1.0] * ((cql.dimension or 0) - 1) + [value] for value in _COMPONENTS]
    if cql.name in ("list", "set"):
        return [[], *([e] for e in edges(cql.args[0]))]
    if cql.name == "map":
        return list(_map_edges(*cql.args))
    return list(_field_edges(cql))


def _map_edges(key: CqlType, value: CqlType) -> Iterator[list[tuple[Any, Any]]]:
    some_key, some_value = (sample(strategy(t), 1)[0] for t in (key, value))
    yield []
    yield from ([(e, some_value)] for e in edges(key))
    yield from ([(some_key, e)] for e in edges(value))
    if key.name in ("text", "ascii"):  # jsonb's order of keys: by length in bytes, then bytes
        yield [(k, some_value) for k in ("", "b", "a", "aa", "Z", "~~", "\n", '"', "\\", "a\tb")]
        yield [(k, some_value) for k in ("zz", "b", "aaa", "%s", "a", "Z", "", "100%", "{}")]
    if key.name == "text":
        yield [(k, some_value) for k in ("é", "zz", "aé", "\U0001f600", "bbb", "aaaa", "中")]
        yield [(k, some_value) for k in ("é", "aaa", "\U0001f600", "zz", "\uffff", "\né", '""', "\x1fé")]
    if key.name == "double":
        yield [(0.0, some_value), (-0.0, some_value)]


def _field_edges(cql: CqlType) -> Iterator[Any]:
    nulls = [None] * len(cql.args)
    yield nulls
    yield Raw(b"")
    yield Raw(b"\xff\xff\xff\xff")  # written before the other fields were added to the type
    for i, arg in enumerate(cql.args):
        yield from ([*nulls[:i], e, *nulls[i + 1 :]] for e in edges(arg) if not _is_long(e))


def _is_long(value: Any) -> bool:
    return isinstance(value, str | bytes) and len(value) > 10_000
