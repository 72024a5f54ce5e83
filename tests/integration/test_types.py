"""Every CQL type into every Postgres type it may go to, through both real servers, against the driver's own decoding."""

from __future__ import annotations

import pytest
from support import oracle
from support.edges import huge
from support.lab import UNDECODABLE, VERSION, Lab, Outcome, Source, check_reasons
from support.matrix import MATRIX
from support.typed import values_of

from sync.core.encode.rows import RowEncoder
from sync.core.rows import PgType

pytest_plugins = ("support.typed",)


@pytest.mark.parametrize(("cql", "pg"), [(cql, pg) for cql, targets in MATRIX.items() for pg in targets])
def test_a_value_arrives_unchanged_or_is_rejected_for_a_true_reason(lab: Lab, cql: str, pg: str) -> None:
    """Would break: a value is altered on its way, refused within a COPY, or rejected though Postgres could hold it."""
    _check(lab, lab.source(cql, values_of), pg)


@pytest.mark.slow
@pytest.mark.parametrize(("cql", "pg"), [("varint", "numeric"), ("decimal", "numeric"), ("frozen<list<varint>>", "jsonb")])
def test_the_largest_numbers_arrive(lab: Lab, cql: str, pg: str) -> None:
    """Would break: a number of as many digits as numeric holds (131,072 before the point) is refused, or one more taken."""
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
