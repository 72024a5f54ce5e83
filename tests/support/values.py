"""Values to try: hypothesis strategies for every CQL type, in the plain form of `cells`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count as counter
from typing import Any, Literal
from uuid import UUID

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from support.cells import cell
from sync.core.cql import CqlType

DAY_NS = 86_400_000_000_000
YEAR_1, YEAR_10000 = -62_135_596_800_000, 253_402_300_800_000  # in ms
PG_TIMESTAMPS = -210_866_803_200_000, 9_224_318_016_000_000  # in ms: 4714-11-24 BC, and 294277-01-01, which is outside
PG_DATES = -2_440_588, 2_145_042_906  # in days: the same for date, and 5874898-01-01, which is outside


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


def _floats(width: Literal[32, 64]) -> st.SearchStrategy[float]:
    finite = st.floats(width=width, allow_nan=False, allow_infinity=False)
    return _mostly(finite, st.floats(width=width))


def _duration() -> st.SearchStrategy[tuple[int, int, int]]:
    months, nanoseconds = st.integers(0, 2**31 - 1), st.integers(0, 2**63 - 1)
    whole = st.builds(lambda n: n // 1000 * 1000, nanoseconds)
    parts = st.tuples(months, months, _mostly(whole, nanoseconds))
    return st.builds(lambda p, sign: tuple(sign * x for x in p), parts, st.sampled_from([1, -1]))


_PLAIN_TEXT = st.text(st.characters(codec="utf-8", min_codepoint=1), max_size=12)
_MILLISECONDS = st.one_of(
    _integers(64), st.integers(*PG_TIMESTAMPS), st.integers(YEAR_1, YEAR_10000 - 1),
    st.integers(YEAR_1 // 1000, YEAR_10000 // 1000 - 1).map(lambda s: s * 1000),
)  # fmt: skip
_NANOSECONDS = st.one_of(
    st.integers(0, DAY_NS - 1), *(st.integers(0, DAY_NS // unit - 1).map(unit.__mul__) for unit in (10**3, 10**6, 10**9))
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
    "timestamp": _MILLISECONDS, "date": st.one_of(_integers(32), st.integers(*PG_DATES), st.integers(-100_000, 100_000)),
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


def keys() -> Iterator[UUID]:
    """Distinct keys, the same ones in every run."""
    return (UUID(int=i * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128) for i in counter(1))
