"""Values to try: hypothesis strategies and hand-picked edges for every CQL type, in the plain form of `cells`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count as counter
from typing import Any
from uuid import UUID

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from support.cells import Raw, cell
from sync.core.cql import CqlType

NAN, INF = float("nan"), float("inf")
_DAY_NS, _DAY_MS = 86_400_000_000_000, 86_400_000
_YEAR_1, _YEAR_10000 = -62_135_596_800_000, 253_402_300_800_000  # in ms
_PG_TIMESTAMPS = -210_866_803_200_000, 9_224_318_016_000_000  # in ms: 4714-11-24 BC, and 294277-01-01, which is outside
_PG_DATES = -2_440_588, 2_145_042_906  # in days: the same for date, and 5874898-01-01, which is outside
_V1 = UUID("58e0a7d7-eebc-11d8-9669-0800200c9a66")


def sample(strategy: st.SearchStrategy[Any], examples: int) -> list[Any]:
    """About that many values of a strategy, the same ones at every run."""
    found: list[Any] = []

    @settings(
        max_examples=examples, derandomize=True, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(strategy)
    def collect(value: Any) -> None:
        found.append(value)

    collect()
    return found


def _mostly(usual: st.SearchStrategy[Any], any_: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(usual, usual, usual, any_)


def _integers(bits: int) -> st.SearchStrategy[int]:
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def _floats(width: int) -> st.SearchStrategy[float]:
    finite = st.floats(width=width, allow_nan=False, allow_infinity=False)
    return _mostly(finite, st.floats(width=width))


def _duration() -> st.SearchStrategy[tuple[int, int, int]]:
    months, nanoseconds = st.integers(0, 2**31 - 1), st.integers(0, 2**63 - 1)
    whole = st.builds(lambda n: n // 1000 * 1000, nanoseconds)
    parts = st.tuples(months, months, _mostly(whole, nanoseconds))
    return st.builds(lambda p, sign: tuple(sign * x for x in p), parts, st.sampled_from([1, -1]))


_PLAIN_TEXT = st.text(st.characters(codec="utf-8", min_codepoint=1), max_size=12)
_MILLISECONDS = st.one_of(
    _integers(64), st.integers(*_PG_TIMESTAMPS), st.integers(_YEAR_1, _YEAR_10000 - 1),
    st.integers(_YEAR_1 // 1000, _YEAR_10000 // 1000 - 1).map(lambda s: s * 1000),
)  # fmt: skip
_NANOSECONDS = st.one_of(
    st.integers(0, _DAY_NS - 1), *(st.integers(0, _DAY_NS // unit - 1).map(unit.__mul__) for unit in (10**3, 10**6, 10**9))
)
_V4 = st.binary(min_size=4, max_size=4)
_SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "text": _mostly(_PLAIN_TEXT, st.text(st.characters(codec="utf-8", max_codepoint=40))),
    "ascii": _mostly(st.text(st.characters(min_codepoint=1, max_codepoint=127)), st.text(st.characters(codec="ascii"))),
    "tinyint": _integers(8), "smallint": _integers(16), "int": _integers(32), "bigint": _integers(64),
    "counter": _integers(63),
    "varint": st.one_of(_integers(16), _integers(64), _integers(4000)),
    "decimal": st.tuples(st.one_of(_integers(16), _integers(64), _integers(400)), st.integers(-40, 40)),
    "float": _floats(32), "double": _floats(64), "boolean": st.booleans(),
    "uuid": st.uuids(), "timeuuid": st.uuids(version=1),
    "timestamp": _MILLISECONDS, "date": st.one_of(_integers(32), st.integers(*_PG_DATES), st.integers(-100_000, 100_000)),
    "time": _NANOSECONDS, "duration": _duration(), "blob": st.binary(max_size=20),
    "inet": st.one_of(_V4, st.binary(min_size=16, max_size=16), _V4.map(lambda b: bytes(10) + b"\xff\xff" + b)),
}  # fmt: skip


def strategy(cql: CqlType) -> st.SearchStrategy[Any]:
    """Values of a type; sets hold no NaN and no −0.0, which the driver's own SortedSet mixes up."""
    if cql.name in _SCALARS:
        return _SCALARS[cql.name]
    if cql.name == "vector":
        if (cql.dimension or 0) > 50:
            return st.integers(0, 2**32).map(lambda seed: _many_floats(seed, cql.dimension or 0))
        finite = st.floats(-60_000, 60_000, width=32)
        return st.lists(_mostly(finite, finite), min_size=cql.dimension or 0, max_size=cql.dimension or 0)
    inner = [strategy(a) for a in cql.args]
    if cql.name == "list":
        return st.lists(inner[0], max_size=5)
    if cql.name == "set":
        return st.lists(inner[0].filter(_is_sortable), max_size=5, unique_by=lambda v: cell(cql.args[0], v))
    if cql.name == "map":
        return st.lists(st.tuples(*inner), max_size=5, unique_by=lambda pair: cell(cql.args[0], pair[0]))
    return st.tuples(*(st.one_of(st.none(), s) for s in inner)).map(list)


def _many_floats(seed: int, count: int) -> list[float]:
    return np.random.default_rng(seed).standard_normal(count).astype(np.float32).tolist()


def _is_sortable(value: Any) -> bool:
    return not isinstance(value, float) or (value == value and str(value) != "-0.0")


_BLANK = [Raw(b"")]
_TEXTS = [
    "", " ", "abcde", "abcdef", "abcde   ", "e\u0301" * 3, "é" * 5, "\U0001f600" * 5, "\U0001f600" * 6, "\x00", "a\x00b",
    "\x7f",
    "".join(map(chr, range(1, 32))), "\"\\/\b\f\n\r\t\\u0041 \\\"", "\u2028\ufeff\uffff\U0010ffff", "x" * 100_000,
    "\U0001f600" * 25_000, Raw(b"\xc0\x80"),
]  # fmt: skip
_NINES = 10**131_072 - 1
_VARINTS = [
    0, 1, -1, 9_999, 10_000, -10_000, 99_999_999, 10**16, 10**4000, -(10**4000), 10**4299, 10**4300, -(10**4300),
    10**5000 - 1,
    -(10**5000) + 1, Raw(b"\0\0\0\5"), Raw(b"\xff\xff\x80"), *_BLANK,
]  # fmt: skip
_DECIMALS = [
    (0, 0), (0, 3), (0, -5), (0, 16_383), (0, 16_384), (0, -200_000), (0, 2**31 - 1), (0, 1 - 2**31), (1, 16_383), (-1,
    16_383),
    (1, 16_384), (1, 2**31 - 1), (1, 1 - 2**31), (15, 1), (1500, 3), (-1500, 3), (5, 1), (12_345_678, 4), (123_456_789, -3),
    (100_000_000, 8), (10**20, 20), (1, 4), (1, 5), (99_999, -2), (99_900, 0), (12_345, 7), (3, 5), (10**4500, 4499),
    (10**5000 - 1, 2500), (-(10**5000) + 1, 0), Raw(b"\0\0\0\1"), *_BLANK,
]  # fmt: skip
_HUGE = {
    "varint": [-_NINES, 10**131_072],
    "decimal": [(1, -131_071), (1, -131_072), (_NINES, 0), (10 ** (131_072 + 16_383) - 1, 16_383)],
}
_MS = [
    0, 1, -1, 999, 1000, -999, _YEAR_1, _YEAR_1 - 1, _YEAR_10000 - 1, _YEAR_10000, -(2**63), 2**63 - 1, _PG_TIMESTAMPS[0],
    _PG_TIMESTAMPS[0] - 1, _PG_TIMESTAMPS[1] - 1, _PG_TIMESTAMPS[1], -62_167_219_200_000, -62_167_219_200_001,
]  # fmt: skip
_EDGES: dict[str, list[Any]] = {
    "text": _TEXTS, "ascii": [t for t in _TEXTS if isinstance(t, str) and t.isascii()], "varint": _VARINTS,
    "decimal": _DECIMALS,
    **{n: [0, -1, 2 ** (b - 1) - 1, -(2 ** (b - 1)), *_BLANK] for n, b in (("tinyint", 8), ("smallint", 16), ("int", 32),
    ("bigint", 64))},
    "counter": [0, -1, 2**63 - 1, -(2**63)],
    "float": [0.0, -0.0, 1.5, 1e-45, 3.4028234663852886e38, NAN, INF, -INF, Raw(b"\xff\x80\0\1"), *_BLANK],
    "double": [0.0, -0.0, 0.1, 1e300, 1e-300, 5e-324, 1.7976931348623157e308, 1e22, 1e16, 123456789012345680.0, NAN, INF,
    -INF,
               Raw(b"\x7f\xf0\0\0\0\0\0\1"), *_BLANK],
    "boolean": [True, False, Raw(b"\x02"), Raw(b"\xff"), *_BLANK],
    "uuid": [UUID(int=0), UUID(int=2**128 - 1), *_BLANK], "timeuuid": [_V1, *_BLANK],
    "timestamp": [*_MS, *_BLANK],
    "date": [0, -1, -(2**31), 2**31 - 1, _PG_DATES[0], _PG_DATES[0] - 1, _PG_DATES[1] - 1, _PG_DATES[1], -719_162, -719_163,
    2_932_896,
             2_932_897],
    "time": [0, 1, 999, 1000, 1_000_000, 10**9, _DAY_NS - 1, _DAY_NS - 1000, 500_000_000, Raw(b"\xff" * 8),
    Raw(_DAY_NS.to_bytes(8, "big"))],
    "duration": [(0, 0, 0), (1, 2, 3_000), (-1, -2, -3_000), (0, 0, 1), (0, 0, -999), (0, 0, 2**63 - 1), (0, 0, 2**63 - 808),
                 (2**31 - 1,) * 2 + (0,), (-(2**31), -(2**31), -(2**63) + 808), (-(2**31), 0, -(2**63))],
    "inet": [bytes(4), b"\xff" * 4, b"\x7f\0\0\1", bytes(16), bytes(15) + b"\1", b"\xff" * 16,
    bytes(10) + b"\xff\xff\1\2\3\4",
             bytes(12) + b"\1\2\3\4", b" \1\r\xb8" + bytes(11) + b"\1", b"\xfe\x80" + bytes(7) + b"\1" + bytes(6), *_BLANK],
    "blob": [b"", b"\0", bytes(range(256)), b"\xff" * 100_000],
}  # fmt: skip


def huge(cql: CqlType) -> list[Any]:
    """Numbers at the limits of numeric; apart, because they take long."""
    return [[n] for n in _HUGE[cql.args[0].name]] if cql.args else _HUGE[cql.name]


def edges(cql: CqlType) -> list[Any]:
    """The hand-picked values of a type. Cassandra refuses some of them within some types."""
    if cql.name in _EDGES:
        return _EDGES[cql.name]
    if cql.name == "vector":
        return list(_vector_edges(cql.dimension or 0))
    if cql.name in ("list", "set"):
        return [[], *([e] for e in edges(cql.args[0]))]
    if cql.name == "map":
        return list(_map_edges(*cql.args))
    return list(_field_edges(cql))


def _vector_edges(dimension: int) -> Iterator[list[float]]:
    for value in (
        0.0,
        -0.0,
        1.0,
        NAN,
        INF,
        -INF,
        3.4028234663852886e38,
        1e-45,
        65_504.0,
        65_519.0,
        65_520.0,
        6e-8,
        2.9e-8,
        1 / 3,
    ):
        yield [1.0] * (dimension - 1) + [value]


def _map_edges(key: CqlType, value: CqlType) -> Iterator[list[tuple[Any, Any]]]:
    some_key, some_value = (sample(strategy(t), 1)[0] for t in (key, value))
    yield []
    yield from ([(e, some_value)] for e in edges(key))
    yield from ([(some_key, e)] for e in edges(value))
    if key.name in ("text", "ascii"):  # jsonb's order of keys: by length in bytes, then bytes
        yield [(k, some_value) for k in ("", "b", "a", "aa", "Z", "~~", "\n", '"', "\\", "a\tb")]
        yield [(k, some_value) for k in ("zz", "b", "aaa", "%s", "a", "Z", "", "100%", "{}")]
    if key.name == "text":
        yield [(k, some_value) for k in ("\u00e9", "zz", "a\u00e9", "\U0001f600", "bbb", "aaaa", "\u4e2d")]
        yield [(k, some_value) for k in ("\u00e9", "aaa", "\U0001f600", "zz", "\uffff", "\n\u00e9", '""', "\x1f\u00e9")]
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


def keys() -> Iterator[UUID]:
    """Keys that differ, always the same ones."""
    return (UUID(int=i * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128) for i in counter(1))
