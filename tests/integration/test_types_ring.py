"""The ends of the ring in a real Cassandra: keys made for the tokens where ranges begin and end (invariant 4)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.cells import split
from support.lab import Lab, open_lab
from support.murmur import key_for

from sync.adapters.cassandra.connection.connect import Cassandra
from sync.adapters.cassandra.connection.pages import RangeReader
from sync.adapters.cassandra.schema.catalogue import read_tables
from sync.core.ring import MAX_TOKEN, MIN_TOKEN, WHOLE_RING, TokenRange, plan_ranges
from sync.core.rows import SourceTable
from sync.settings import Settings

_PLANNED = plan_ranges([], 1, at_least=7)
_CUTS = [r.end for r in _PLANNED[:-1]]
# Cassandra's partitioner never gives the least token: a hash of −2^63 becomes 2^63−1.
_HASHES = [
    MIN_TOKEN,
    MIN_TOKEN + 1,
    MIN_TOKEN + 2,
    -1,
    0,
    1,
    MAX_TOKEN - 1,
    MAX_TOKEN,
    *(c + d for c in _CUTS for d in (-1, 0, 1)),
]


@pytest.fixture(scope="module")
def lab(cassandra: Cassandra, base_settings: Settings) -> Iterator[Lab]:
    """A keyspace of this module's own."""
    with open_lab(cassandra, base_settings) as opened:
        yield opened


@pytest.fixture(scope="module")
def ring(lab: Lab) -> SourceTable:
    """A table with two keys for each hash: at the ends, around every cut, and around zero."""
    lab.session.execute(f"CREATE TABLE {lab.keyspace}.ring (k blob PRIMARY KEY)")
    insert = lab.session.prepare(f"INSERT INTO {lab.keyspace}.ring (k) VALUES (?)")
    for key in _keys():
        lab.session.execute(insert, (key,))
    return read_tables(lab.session, lab.keyspace)["ring"]


def _keys() -> dict[bytes, int]:
    """Each key and the token that Cassandra must give it."""
    return {key_for(h, salt): MAX_TOKEN if h == MIN_TOKEN else h for h in _HASHES for salt in (1, 2)}


def _read(lab: Lab, table: SourceTable, tokens: TokenRange, page_bytes: int = 1 << 20) -> list[tuple[bytes, int]]:
    found = []
    for page in RangeReader(lab.cassandra.raw, table, ("k",), page_bytes).pages(tokens):
        at = page.offset
        for _ in range(page.count):
            (token, key), at = split(page.data, at, 2)
            found.append((key or b"", int.from_bytes(token or b"", "big", signed=True)))
    return found


def test_the_planned_ranges_read_every_key_once(lab: Lab, ring: SourceTable) -> None:
    """Would break: the row at the least possible token, at 2^63−1 or at a cut is never copied, or copied twice."""
    found = [pair for tokens in _PLANNED for pair in _read(lab, ring, tokens)]
    assert len(found) == len(_keys())
    assert dict(found) == _keys()
    assert [token for _, token in found] == sorted(_keys().values())


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (MIN_TOKEN, MIN_TOKEN + 1), (MIN_TOKEN + 1, MIN_TOKEN + 2), (MIN_TOKEN, -1), (-1, 0), (MAX_TOKEN - 1, MAX_TOKEN),
        (MAX_TOKEN - 2, MAX_TOKEN - 1), (0, MAX_TOKEN), (MIN_TOKEN, MAX_TOKEN),
    ],
)  # fmt: skip
def test_a_range_reads_the_keys_whose_tokens_it_holds(lab: Lab, ring: SourceTable, start: int, end: int) -> None:
    """Would break: `(start, end]` in the plan is not what the query asks for."""
    tokens = TokenRange(start, end)
    assert dict(_read(lab, ring, tokens)) == {key: token for key, token in _keys().items() if token in tokens}


def test_the_narrowest_ranges_read_every_key_once(lab: Lab, ring: SourceTable) -> None:
    """Would break: a range split after timeouts, down to its last tokens, loses a row."""
    for whole in (TokenRange(MIN_TOKEN, MIN_TOKEN + 3), TokenRange(MAX_TOKEN - 3, MAX_TOKEN)):
        found = [pair for tokens in whole.split(10) for pair in _read(lab, ring, tokens)]
        assert sorted(found) == sorted((k, t) for k, t in _keys().items() if t in whole)


def test_paging_within_one_token_loses_nothing(lab: Lab, ring: SourceTable) -> None:
    """Would break: several partitions share the greatest token, and a page that ends between them skips the rest."""
    for whole in (WHOLE_RING, TokenRange(MAX_TOKEN - 1, MAX_TOKEN)):
        reader = RangeReader(lab.cassandra.raw, ring, ("k",), 1)
        assert sum(page.count for page in reader.pages(whole, page_rows=1)) == sum(
            token in whole for token in _keys().values()
        )
