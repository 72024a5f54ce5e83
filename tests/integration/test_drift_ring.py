"""Defects at the borders of ranges and at the ring's ends: a row that no range holds is never compared (invariant 4)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.drift import Checker, state_schema
from support.lab import Lab, open_lab
from support.murmur import key_for

from sync.adapters.cassandra.connection.connect import Cassandra
from sync.adapters.cassandra.schema.catalogue import read_tables
from sync.core.encode.rows import RowEncoder
from sync.core.ring import MAX_TOKEN, MIN_TOKEN, plan_ranges
from sync.settings import Settings

_PLANNED = plan_ranges([], 1, at_least=5)
_CUTS = [r.end for r in _PLANNED[:-1]]
_HASHES = [MIN_TOKEN, MIN_TOKEN + 1, -1, 0, 1, MAX_TOKEN - 1, MAX_TOKEN, *(c + d for c in _CUTS for d in (-1, 0, 1))]
_KEYS = {key_for(h, salt): MAX_TOKEN if h == MIN_TOKEN else h for h in _HASHES for salt in (1, 2)}
"""Two keys for each token: Cassandra turns a hash of −2^63 into 2^63−1."""


@pytest.fixture(scope="module")
def checker(cassandra: Cassandra, base_settings: Settings) -> Iterator[Checker]:
    """The keys on both sides, equal."""
    with open_lab(cassandra, base_settings) as lab:
        state_schema(lab)
        lab.session.execute(f"CREATE TABLE {lab.keyspace}.ring (k blob PRIMARY KEY, c text)")
        insert = lab.session.prepare(f"INSERT INTO {lab.keyspace}.ring (k, c) VALUES (?, ?)")
        for key in _KEYS:
            lab.session.execute(insert, (key, key.hex()))
        lab.postgres.execute("CREATE TABLE ring (_sync_token bigint, k bytea PRIMARY KEY, c text, _sync_version bigint)")
        table = lab.table_map(read_tables(lab.session, lab.keyspace)["ring"], "ring")
        _copy(lab, RowEncoder(table, 5), table)
        yield Checker(lab, table)


def _copy(lab: Lab, encoder: RowEncoder, table: object) -> None:
    checker = Checker(lab, table)  # type: ignore[arg-type]
    rows = []
    for tokens in _PLANNED:
        for page in checker.sides.source.pages(tokens):
            rows += [row.encoded or b"" for row in encoder.check_page(page.data, page.offset, page.count)]
    assert len(rows) == len(_KEYS)
    lab.copy("ring", encoder, rows)


def _found(checker: Checker, rows: int = 1000) -> dict[bytes, str]:
    done = checker.check(_PLANNED, rows)
    tokens = sorted(c.tokens for c in done)
    assert (tokens[0].start, tokens[-1].end) == (MIN_TOKEN, MAX_TOKEN)
    assert sum(c.rows.source for c in done) == len(_KEYS)
    return {judged.key.cells[0]: judged.verdict for c in done for judged in c.kept}


@pytest.mark.parametrize("rows", [1000, 1])
def test_equal_sides_are_clean_however_the_ring_is_cut(checker: Checker, rows: int) -> None:
    """Would break: a row at a border is compared twice, or a cut falls between rows of one token."""
    assert _found(checker, rows) == {}


@pytest.mark.parametrize("rows", [1000, 2])
@pytest.mark.parametrize(("sql", "kind"), [("UPDATE ring SET c = c || '!'", "different"), ("DELETE FROM ring", "missing")])
def test_each_row_at_a_border_is_compared(checker: Checker, sql: str, kind: str, rows: int) -> None:
    """Would break: the row at a range's end, or at an end of the ring, is in no range or hidden by its neighbour."""
    postgres = checker.lab.postgres
    for key in _KEYS:
        with postgres.transaction(force_rollback=True):
            postgres.execute(f"{sql} WHERE k = %s".encode(), (key,))
            assert _found(checker, rows) == {key: kind}


def test_all_of_them_at_once(checker: Checker) -> None:
    """Would break: a range in which every row differs."""
    postgres = checker.lab.postgres
    with postgres.transaction(force_rollback=True):
        postgres.execute("UPDATE ring SET c = 'all'")
        assert _found(checker) == dict.fromkeys(_KEYS, "different")


@pytest.mark.parametrize("token", [MIN_TOKEN, MIN_TOKEN + 1, *_CUTS, MAX_TOKEN])
def test_an_extra_row_at_a_border_is_found(checker: Checker, token: int) -> None:
    """Would break: a row that only Postgres has is at a token that the queries leave out."""
    postgres, key = checker.lab.postgres, key_for(token, 9)
    stands_at = MAX_TOKEN if token == MIN_TOKEN else token
    with postgres.transaction(force_rollback=True):
        postgres.execute("INSERT INTO ring (_sync_token, k, c) VALUES (%s, %s, 'extra')", (stands_at, key))
        assert _found(checker) == {key: "extra"}


def test_a_row_under_a_token_that_is_not_its_own_gets_its_own(checker: Checker) -> None:
    """Would break: a row whose token somebody changed counts twice or not at all; no key can have the least token."""
    postgres = checker.lab.postgres
    key, right = next((k, t) for k, t in _KEYS.items() if t == 0)
    for wrong in (MIN_TOKEN, MIN_TOKEN + 7, MAX_TOKEN):
        with postgres.transaction(force_rollback=True):
            postgres.execute("UPDATE ring SET _sync_token = %s, c = 'other' WHERE k = %s", (wrong, key))
            assert _found(checker) == {key: "different"}
            assert postgres.execute("SELECT _sync_token FROM ring WHERE k = %s", (key,)).fetchone() == (right,)
