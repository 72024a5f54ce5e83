"""A read that either side can answer, and the keys in which the two answers differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sync.core.drift.answers import Row, on_both_sides, suspects
from sync.core.mutations import Key
from sync.ports import Primary
from sync.stores.both_sides.table_flows import TableFlows

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ShadowRead(Generic[T]):
    """A read that a store of either side answers.

    `rows`: the rows of an answer, each with its key; `keys`: the keys that were asked for, if it is a read by key; `whole`:
    a row that is in only one of the answers is a difference.
    """

    table: str
    read: Callable[[Any], T]
    rows: Callable[[T], Sequence[Row]]
    keys: Sequence[Row] = ()
    whole: bool = True


def if_there(row: dict[str, Any] | None) -> list[Row]:
    """The rows of an answer of `get`."""
    return [] if row is None else [row]


def those_there(rows: list[dict[str, Any] | None]) -> list[Row]:
    """The rows of an answer of `get_many`."""
    return [row for row in rows if row is not None]


def rows_found(found: list[tuple[dict[str, Any], float]]) -> list[Row]:
    """The rows of an answer of `search`."""
    return [row for row, _ in found]


def different_keys(flows: TableFlows, answers: Mapping[Primary, Sequence[Row]], whole: bool) -> list[Key]:
    """The keys in which two answers differ: the source's own, where it has the row."""
    keys: dict[object, Key] = {}
    rows: dict[Primary, dict[object, Row]] = {"postgres": {}, "astra": {}}
    for side in ("postgres", "astra"):
        for row in answers[side]:
            values = dict(on_both_sides(flows.mapped, row))
            key = flows.cells.key(values)
            name = key.canonical or key.cells
            keys[name] = key
            rows[side][name] = {n: value for n, value in values.items() if n not in flows.cells.given_names}
    return [keys[name] for name in suspects(rows["astra"], rows["postgres"], whole)]
