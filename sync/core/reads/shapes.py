"""The shape of a read: what it asks for, without values. One side may answer a shape that the other cannot."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sync.core.reads.query import OPERATORS, Direction, Index, OrderBy

Kind = Literal["find", "scan", "search"]


@dataclass(frozen=True, slots=True)
class Shape:
    """A kind of read. `where`: columns with their operators (`=`, or those of a range); `order`: columns with directions.

    All names are the application's.
    """

    kind: Kind
    where: tuple[tuple[str, tuple[str, ...]], ...] = ()
    order: tuple[tuple[str, Direction], ...] = ()

    def __str__(self) -> str:
        conditions = [f"{name} {operator}" for name, operators in self.where for operator in operators]
        order = [f"{name} {direction}" for name, direction in self.order]
        said = ", ".join(conditions) + (f" order by {', '.join(order)}" if order else "")
        return f"{self.kind} {said}" if said else self.kind

    def conditions(self) -> dict[str, Any]:
        """The shape's `where` with a value that is not null in each place."""
        return {name: 0 if ops == ("=",) else dict.fromkeys(ops, 0) for name, ops in self.where}

    def to_json(self) -> dict[str, Any]:
        """The shape as plain values."""
        return {"kind": self.kind, "where": [[n, *ops] for n, ops in self.where], "order": [list(o) for o in self.order]}


def shape_of(kind: Kind, where: Mapping[str, Any] | None = None, order_by: OrderBy | None = None) -> Shape:
    """The shape of a read with these arguments."""
    given = (where or {}).items()
    columns = sorted((name, _operators(value)) for name, value in given)
    return Shape(kind, tuple(columns), tuple((name, direction) for name, direction in order_by or ()))


def _operators(value: Any) -> tuple[str, ...]:
    ranged = isinstance(value, Mapping) and value and all(operator in OPERATORS for operator in value)
    return tuple(sorted(value)) if ranged else ("=",)


def from_json(value: Mapping[str, Any]) -> Shape:
    """The shape of `to_json`."""
    where = tuple((str(name), tuple(map(str, operators))) for name, *operators in value["where"])
    return Shape(value["kind"], where, tuple((str(name), direction) for name, direction in value["order"]))


@dataclass(frozen=True, slots=True)
class Unanswerable:
    """A read that the application makes and the other side cannot answer: why, and what would make it answer."""

    table: str
    shape: Shape
    why: str
    indexes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {"table": self.table, "read": str(self.shape), "why": self.why, "indexes": list(self.indexes)}


def missing_indexes(
    refusal: Callable[[Mapping[str, Index]], str], there: Mapping[str, Index], columns: Sequence[str]
) -> tuple[str, ...]:
    """The columns whose indexes would make a side answer; none if no index would.

    `refusal` says why the side does not answer with these indexes, or nothing; `there` are those that it has.
    """
    found = {**there, **dict.fromkeys(columns, Index(ranges=True))}
    if refusal(found):
        return ()
    lacking = []
    for column in columns:
        without = {name: index for name, index in found.items() if name != column}
        if refusal({**without, **({column: there[column]} if column in there else {})}):
            lacking.append(column)
    return tuple(lacking)
