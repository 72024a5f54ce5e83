"""Which reads are made, by their shapes, and which indexes a side lacks for one."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from psycopg_pool import PoolTimeout

from sync.adapters.postgres.cutover import read_shapes as recorded
from sync.core.cutover.gates import reads_gate
from sync.core.reads.key_order import KeyColumn, KeyOrder
from sync.core.reads.query import Index, query
from sync.core.reads.shapes import Shape, Unanswerable, from_json, missing_indexes, shape_of
from sync.errors import QueryNotSupported
from sync.stores.both_sides import read_shapes
from sync.stores.both_sides.read_shapes import ReadShapes

KEY = KeyOrder((KeyColumn("id", "int"),), ())


def test_a_shape_has_no_values_and_one_form() -> None:
    """Would break: what the application asks for is written down, or each value makes another shape."""
    shape = shape_of("find", {"b": {"<": "secret", ">=": "x"}, "a": "secret"}, [("c", "desc")])
    assert shape == shape_of("find", {"a": 5, "b": {">=": 1, "<": 2}}, [("c", "desc")])
    assert str(shape) == "find a =, b <, b >= order by c desc"
    assert "secret" not in json.dumps(shape.to_json())
    assert from_json(json.loads(json.dumps(shape.to_json()))) == shape
    assert shape_of("search", None) == Shape("search") and str(Shape("scan")) == "scan"
    assert shape_of("find", {"a": {"k": 1}}).where == (("a", ("=",)),), "a map is a value"


def refusal(where: Mapping[str, Any]) -> Any:
    def refused(indexes: Mapping[str, Index]) -> str:
        try:
            query("t", KEY, indexes, where, None, None)
        except QueryNotSupported as error:
            return str(error)
        return ""

    return refused


@pytest.mark.parametrize(
    ("where", "there", "missing"),
    [
        ({"a": 1}, {}, ("a",)),
        ({"a": 1, "b": 2}, {"a": Index(True)}, ("b",)),
        ({"a": {"<": 1}}, {"a": Index(False)}, ("a",)),
        ({"a": 1}, {"a": Index(False)}, ()),
        ({"id": 1, "a": 2}, {}, ("a",)),
        ({"id": {"<": 1}}, {}, ()),  # of a partition key: no index helps
    ],
)
def test_missing_indexes_are_those_without_which_it_is_refused(where, there, missing) -> None:
    assert missing_indexes(refusal(where), there, list(where)) == missing


def test_the_gate_names_each_read_and_each_statement_once() -> None:
    found = [
        Unanswerable("t", shape_of("find", {"a": 1}), "t: a has no index", ("CREATE a;",)),
        Unanswerable("t", shape_of("search", {"a": 1}), "t: a has no index", ("CREATE a;",)),
    ]
    gate = reads_gate(7, found)
    assert (gate.green, gate.remedy) == (False, "CREATE a;")
    assert gate.figure == (
        "cannot be answered after the switch: t: find a = (t: a has no index); t: search a = (t: a has no index)"
    )
    assert reads_gate(0, []).green
    assert "forgotten after a week" in reads_gate(1, [Unanswerable("t", Shape("scan"), "why")]).remedy


class Side:
    """Postgres, which may be away."""

    def __init__(self) -> None:
        self.is_registered = False
        self.registration = SimpleNamespace(breaker=SimpleNamespace(is_open=False))
        self.store = SimpleNamespace(pool=self)
        self.fails = False
        self.recorded: list[Any] = []
        self.done = threading.Event()


@pytest.fixture
def side(monkeypatch: pytest.MonkeyPatch) -> Side:
    made = Side()

    class Connected:
        def __enter__(self) -> Side:
            if made.fails:
                raise PoolTimeout("away")
            return made

        def __exit__(self, *_: object) -> None:
            made.done.set()

    monkeypatch.setattr(read_shapes, "connection_of", lambda _: Connected())
    monkeypatch.setattr(recorded, "record", lambda _, made_reads: made.recorded.extend(made_reads))
    return made


def test_a_postgres_that_is_away_costs_the_caller_nothing_and_misses_nothing(side: Side) -> None:
    shapes = ReadShapes(side, 0.01)  # type: ignore[arg-type]
    for _ in range(1000):
        shapes.note("t", Shape("scan"))  # not registered yet
    assert not side.recorded
    side.fails, side.is_registered = True, True
    shapes.note("t", Shape("search"))
    side.fails = False
    assert side.done.wait(30)
    shapes.end()
    assert sorted(str(shape) for _, shape in side.recorded) == ["scan", "search"], "each once"


def test_what_is_noted_last_is_recorded_at_the_end(side: Side) -> None:
    side.is_registered = True
    shapes = ReadShapes(side, 60.0)  # type: ignore[arg-type]
    shapes.note("t", Shape("scan"))
    shapes.end()
    assert side.recorded == [("t", Shape("scan"))]


def test_names_that_are_made_up_at_run_time_have_a_limit(side: Side) -> None:
    side.is_registered = True
    shapes = ReadShapes(side, 60.0)  # type: ignore[arg-type]
    for n in range(3000):
        shapes.note(f"t{n}", Shape("scan"))
    shapes.end()
    assert len(side.recorded) <= recorded.MAX_SHAPES
